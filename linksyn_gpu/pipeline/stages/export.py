"""The data set of a run folder as a folder that can be published.

data/, chat/, alpaca/, text/      Parquet files of each form, by split
README.md                         the card
croissant.json                    Croissant 1.1 metadata with the SHA-256 of each file
TRAINING_SUMMARY.md               entries for the summary of Article 53(1)(d) of the EU AI Act
settings.toml                     settings of the campaign

The same data set gives the same files, to the byte.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu.config import RunConfig
from linksyn_gpu.config.loader import to_mapping
from linksyn_gpu.dataset.card import render_card, render_summary, settings_toml
from linksyn_gpu.dataset.croissant import METADATA, croissant, published_file
from linksyn_gpu.dataset.facts import NOT_KNOWN, UNKNOWN, DatasetFacts, SourceLicense
from linksyn_gpu.dataset.forms import maker_of, schema_of
from linksyn_gpu.dataset.shards import ShardWriter
from linksyn_gpu.dataset.split import SPLITS, WITHHELD, split_rows
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.benchmarks import CERTIFICATE as SEED_CERTIFICATE
from linksyn_gpu.pipeline.folder import STAGES, Workspace
from linksyn_gpu.pipeline.progress import Progress, silent
from linksyn_gpu.pipeline.stages.curate import CERTIFICATE
from linksyn_gpu.tables import Int32, Int64

if TYPE_CHECKING:
    import pyarrow as pa

FOLDERS = {"qa": "data"}
"""Folder of a form, where it is not the form's name."""
EXTENT = ("paths", "qa")
"""Settings that do not shape a path, and are published."""
COUNTED = ("language", "question_type", "discipline", "difficulty")
TEXTS = ("question", "answer", "explanation")
FILES = ("glossary", "merge_rules", "homographs", "taxonomy", "kp_scores", "templates", "model_file")
"""Settings that name a file of this machine: only its name is published."""


def export(ws: Workspace, config: RunConfig, to: str | Path, *, progress: Progress = silent) -> dict[str, Any]:
    """Write the curated QA to a folder.

    Parameters
    ----------
    to : path
        A new folder, or one that an earlier call wrote: it is replaced when the new one is complete.

    Returns
    -------
    dict
        `rows` of each split, `files` and their `bytes`, and `remarks` for the publisher.

    Raises
    ------
    ConfigError
        The folder has other files, or the data set is not curated.
    """
    ws.require_campaign("export")
    target = Path(to)
    if target.exists() and not (target.is_dir() and ((target / METADATA).is_file() or not any(target.iterdir()))):
        raise ConfigError(f"{target} has other files than a data set of this command: choose another --to")
    ws.counts("curate")
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    seeds = _Seeds(ws)
    split = split_rows(seeds.offsets, seeds.numbers, seeds.ids, config.export.validation, config.export.max_withheld)
    facts = _Rows(ws, config, part, seeds, split, progress).write()
    files = [published_file(part, path) for path in sorted(part.rglob("*.parquet"))]
    (part / "README.md").write_text(render_card(facts), encoding="utf-8")
    (part / "TRAINING_SUMMARY.md").write_text(render_summary(facts), encoding="utf-8")
    tables = [*_tables(facts.stages), ("export", to_mapping(config.export))]
    (part / "settings.toml").write_text(settings_toml(tables), encoding="utf-8")
    metadata = json.dumps(croissant(facts, files), indent=1, ensure_ascii=False) + "\n"
    (part / METADATA).write_text(metadata, encoding="utf-8")
    if target.exists():
        shutil.rmtree(target)
    part.rename(target)
    return {
        "rows": dict(facts.splits),
        "files": len(files),
        "bytes": sum(file.size for file in files),
        "forms": list(facts.forms),
        "remarks": _remarks(config, facts),
    }


def campaign_digest(ws: Workspace) -> str:
    """Hash of a campaign: its input, settings, and the paths of each part."""
    stages = {name: ws.facts(name) for name in STAGES}
    known = {
        name: [entry["digest"], [part.get("digest") for part in entry.get("parts", ())]]
        for name, entry in stages.items()
        if "digest" in entry
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


class _Seeds:
    """The seeds that the curated QA use, with their sources and licenses."""

    def __init__(self, ws: Workspace) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        column = store.read_table(ws, "curated.parquet", ["seed_ids"]).column("seed_ids").combine_chunks()
        flat = column.flatten().dictionary_encode()
        self.ids: list[str] = flat.dictionary.to_pylist()
        self.numbers: Int32 = flat.indices.to_numpy().astype(np.int32)
        lengths = pc.list_value_length(column).to_numpy()
        self.offsets: Int64 = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        """Seeds of row i: `numbers[offsets[i]:offsets[i + 1]]`, places in `ids`."""
        table = store.read_seed_table(ws, ["id", "source", "license"]).table
        rows = pc.index_in(pa.array(self.ids, pa.string()), table.column("id").combine_chunks())
        found = table.take(rows)
        self.sources: list[str] = found.column("source").fill_null("").to_pylist()
        self.licenses: list[str] = found.column("license").fill_null(UNKNOWN).to_pylist()

    def of_rows(self, first: int, n: int, values: list[str]) -> pa.Array:
        """A list column for rows first .. first + n: the value of each of their seeds."""
        import pyarrow as pa

        offsets = self.offsets[first : first + n + 1]
        inner = pa.array(values, pa.string()).take(pa.array(self.numbers[offsets[0] : offsets[-1]]))
        return pa.ListArray.from_arrays(pa.array((offsets - offsets[0]).astype(np.int32)), inner)

    def licenses_of(self, published: Any) -> list[SourceLicense]:
        """Seeds and rows by source and license, over the rows where `published` is true, most rows first."""
        row = np.repeat(np.arange(self.offsets.size - 1), np.diff(self.offsets))
        taken = published[row]
        pairs = [*zip(self.sources, self.licenses, strict=True)]
        names = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
        of_seed = np.array([names[pair] for pair in pairs], np.int64)
        used = np.unique(self.numbers[taken])
        seeds = np.bincount(of_seed[used], minlength=len(names)) if used.size else np.zeros(len(names), np.int64)
        both = np.unique(row[taken] * len(names) + of_seed[self.numbers[taken]])
        rows = np.bincount(both % len(names), minlength=len(names)) if both.size else np.zeros(len(names), np.int64)
        found = [SourceLicense(*pair, int(seeds[i]), int(rows[i])) for pair, i in names.items() if seeds[i]]
        return sorted(found, key=lambda row: (-row.qa, row.source, row.license))


class _Rows:
    """Writes the rows in all forms, and collects what the documents state of them."""

    def __init__(
        self, ws: Workspace, config: RunConfig, part: Path, seeds: _Seeds, split: Any, progress: Progress
    ) -> None:
        self._ws, self._config, self._part, self._seeds, self._split = ws, config, part, seeds, split
        self._progress = progress.of("export")
        self._digest = campaign_digest(ws)
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in COUNTED}
        self._models, self._prompts, self._cells = Counter[str](), Counter[str](), Counter[int]()
        self._characters = 0
        self._tokens = 0
        self._requests: set[str] = set()

    def write(self) -> DatasetFacts:
        """Write all rows; gives the facts of the data set."""
        config = self._config.export
        schema = self._schema()
        done, total = 0, self._split.size
        languages = self._languages() if config.by_language else []
        names = [*config.forms, *(f"{form}-{language}" for form in config.forms for language in languages)]
        written: dict[str, dict[str, str]] = {name: {} for name in names}
        with ExitStack() as stack:
            writers: dict[tuple[str, str], ShardWriter] = {}
            for name in names:
                folder = self._part / _folder_of(name)
                folder.mkdir(parents=True, exist_ok=True)
                kind = schema_of(name.partition("-")[0], schema, reasoning=config.reasoning)
                for split in SPLITS[:WITHHELD]:
                    writer = ShardWriter(folder, split, kind, config.shard_bytes)
                    writers[name, split] = stack.enter_context(writer)
            for batch in self._batches(schema):
                numbers = self._split[done : done + batch.num_rows]
                for number, split in enumerate(SPLITS[:WITHHELD]):
                    self._write(batch.filter(numbers == number), split, writers, languages)
                done += batch.num_rows
                self._progress("rows exported", done, total)
        for (name, split), writer in writers.items():
            if writer.rows:
                written[name][split] = f"{_folder_of(name)}/{split}-*.parquet"
        return self._facts(schema, {name: patterns for name, patterns in written.items() if patterns})

    def _write(
        self,
        batch: pa.RecordBatch,
        split: str,
        writers: Mapping[tuple[str, str], ShardWriter],
        languages: list[str],
    ) -> None:
        rows = batch.to_pylist()
        self._count(rows)
        config = self._config.export
        for form in config.forms:
            made = batch if form == "qa" else [*map(maker_of(form, reasoning=config.reasoning), rows)]
            for name, taken in [(form, None), *((f"{form}-{language}", language) for language in languages)]:
                chosen = [row["language"] == taken for row in rows] if taken is not None else None
                writer = writers[name, split]
                if form == "qa":
                    writer.write(batch if chosen is None else batch.filter(np.array(chosen, bool)))
                elif chosen is None:
                    writer.write_rows(made)
                else:
                    writer.write_rows([row for row, own in zip(made, chosen, strict=True) if own])

    def _schema(self) -> pa.Schema:
        """Columns of form 'qa': those of the curated QA, and the origin of their seeds."""
        import pyarrow as pa

        texts = pa.list_(pa.string())
        return pa.schema(
            [
                *store.read_schema(self._ws, "curated.parquet").remove_metadata(),
                ("seed_sources", texts),
                ("seed_licenses", texts),
                ("campaign", pa.string()),
            ]
        )

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        first = 0
        for batch in store.read_batches(self._ws, "curated.parquet"):
            n = batch.num_rows
            columns = [
                *batch.columns,
                self._seeds.of_rows(first, n, self._seeds.sources),
                self._seeds.of_rows(first, n, self._seeds.licenses),
                pa.array([self._digest] * n, pa.string()),
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
            first += n

    def _languages(self) -> list[str]:
        column = store.read_table(self._ws, "curated.parquet", ["language"]).column("language")
        return sorted(name for name in column.unique().to_pylist() if name)

    def _count(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            for name in COUNTED:
                self._counts[name][NOT_KNOWN if row[name] is None else str(row[name])] += 1
            self._models[row["model"] or ""] += 1
            self._prompts[row["prompt_digest"] or ""] += 1
            self._cells[row["cell"]] += 1
            self._characters += sum(len(row[name] or "") for name in TEXTS) + sum(map(len, row["options"]))
            if row["request_id"] not in self._requests:
                self._requests.add(row["request_id"])
                self._tokens += row["completion_tokens"] or 0

    def _facts(self, schema: pa.Schema, forms: dict[str, dict[str, str]]) -> DatasetFacts:
        ws, config = self._ws, self._config.export
        entries = {name: ws.facts(name) for name in STAGES if ws.finished(name)}
        stages = {
            name: {
                "settings": {
                    **entry.get("settings", {}),
                    **{key: value for key, value in entry.get("operational", {}).items() if key in EXTENT},
                },
                "counts": entry.get("counts", {}),
                "environment": entry.get("environment", {}),
            }
            for name, entry in entries.items()
        }
        cells = [{**cell, "published": self._cells[number]} for number, cell in enumerate(store.read_plan(ws))]
        sizes = np.bincount(self._split, minlength=len(SPLITS)).tolist()
        return DatasetFacts(
            name=config.name or ws.folder.resolve().name,
            license=config.license,
            teacher_terms=config.teacher_terms,
            contact=config.contact,
            digest=self._digest,
            version=entries["curate"]["environment"]["linksyn-gpu"],
            finished=entries["curate"]["finished"],
            splits=dict(zip(SPLITS, sizes, strict=True)),
            forms=forms,
            columns=[(field.name, str(field.type)) for field in schema],
            counts={name.replace("_", " "): dict(counts.most_common()) for name, counts in self._counts.items()},
            tokens=self._tokens,
            characters=self._characters,
            licenses=self._seeds.licenses_of(self._split != WITHHELD),
            models=dict(self._models.most_common()),
            stages=stages,
            cells=cells,
            prompt_digests=dict(self._prompts.most_common()),
            certificate=_certificate(ws),
        )


def _certificate(ws: Workspace) -> Mapping[str, Any] | None:
    """The certificate of the search in QA, or else of that in seeds; None: no benchmark was given."""
    for name in (CERTIFICATE, SEED_CERTIFICATE):
        if ws.path(name).is_file():
            made: Mapping[str, Any] = json.loads(ws.checked(name).read_text(encoding="utf-8"))
            return {"searched": "rows" if name == CERTIFICATE else "seeds only", **made}
    return None


def _folder_of(configuration: str) -> str:
    """'data' for 'qa', and 'chat/en' for 'chat-en'."""
    form, _, language = configuration.partition("-")
    return "/".join(filter(None, (FOLDERS.get(form, form), language)))


def _tables(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Tables of settings.toml: the campaign's settings without addresses, and with the names of files only."""
    top: dict[str, Any] = {}
    tables: dict[str, dict[str, Any]] = {}
    for entry in stages.values():
        for name, value in entry["settings"].items():
            if name not in RunConfig.__annotations__:
                continue
            if isinstance(value, Mapping):
                tables.setdefault(name, {}).update(value)
            else:
                top[name] = value
    yield "", top
    for name, values in tables.items():
        known = {key: value for key, value in values.items() if not key.endswith("_url") and " " not in key}
        yield name, {key: Path(v).name if key in FILES and isinstance(v, str) else v for key, v in known.items()}


def _remarks(config: RunConfig, facts: DatasetFacts) -> list[str]:
    """What the publisher should know before publishing."""
    remarks = [*facts.license_remarks]
    if facts.license is None:
        remarks.append("No license is set for the new texts: --license.")
    if facts.teacher_terms is None:
        remarks.append("The terms of the teacher model are not stated: --teacher-terms.")
    asked = round(config.export.validation * sum(facts.splits.values()))
    if (got := facts.splits["validation"]) < asked:
        remarks.append(
            f"validation has {got:,} rows, not {asked:,}: more would need rows to be withheld, since walks link the "
            f"seeds; at most {config.export.max_withheld:.0%} may be (max_withheld)."
        )
    if facts.certificate is None:
        remarks.append("No benchmark was compared: the data set may contain its questions.")
    return remarks
