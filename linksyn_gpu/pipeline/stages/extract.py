"""The optional stage `extract`: seeds.arrow -> annotated.parquet.

annotated.parquet   the seeds with the knowledge points, disciplines and difficulties that later stages use
extracted.parquet   one row per seed: result of the extractor with confidences, or the reason why there is none
merges.jsonl        one row per alias: rule, detail, and the line of a rules file that undoes the merge
doubtful.jsonl      pairs that no rule decided
merges.md           a summary for review
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linksyn_gpu.cluster import MapShards, open_workers
from linksyn_gpu.config import RunConfig
from linksyn_gpu.config.loader import file_digest, to_mapping
from linksyn_gpu.knowledge.extract.choice import choose_extractor
from linksyn_gpu.knowledge.extract.llm import TEMPLATES, Labels, extraction_request, read_labels
from linksyn_gpu.knowledge.extract.plain_text import JOINT
from linksyn_gpu.knowledge.merge.report import merge_report
from linksyn_gpu.llm.asking import is_pending
from linksyn_gpu.llm.prompting import prompt_chars, prompt_digest, read_templates
from linksyn_gpu.llm.protocol import Failure
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.growth import keep_rows, seeds_in_use
from linksyn_gpu.pipeline.progress import Progress, StageProgress, silent
from linksyn_gpu.pipeline.serving import JOURNALS, StartEngine, engine_of, run_budget
from linksyn_gpu.pipeline.stages.synthesize import OPERATIONAL
from linksyn_gpu.taxonomy.disciplines import UNKNOWN, Taxonomy, load_taxonomy

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from linksyn_gpu.knowledge.ask import Asker
    from linksyn_gpu.knowledge.merge.merge import Merging
    from linksyn_gpu.llm.embeddings import Embedded

JOURNAL = JOURNALS["extract"]
"""Answers by request id. The journal is not an output of the stage: --force and other settings reuse its answers."""
VECTORS = "embed-journal"
"""Vectors by model and name."""
FREE_TEXT = ("yake", "llm")
"""Extractors that write one name in several forms ("ion", "ions")."""
FILES = ("glossary", "merge_rules", "homographs", "taxonomy")
MODEL_SETTINGS = ("engine", "model", "max_prompt_chars")
"""Settings of the model on which the result depends."""


def extract(
    ws: Workspace,
    config: RunConfig,
    *,
    force: bool = False,
    engine: StartEngine | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Find, label and merge the knowledge points of a run's seeds; return the counts of the stage.

    Returns
    -------
    dict
        'pending' counts requests that are still to be asked (no answer, or a failure that passes), and
        'pending_reasons' says why: the stage is finished, and writes its files, when it is 0. 'stopped' is the message
        of an engine that failed.

    Raises
    ------
    ConfigError
        A setting is wrong, or a later stage was made without this one and `force` is not set.
    EngineError
        The engine could not be started or reached at all.
    """
    config, why = resolve_extractor(ws, config, force=force)
    if ws.begin("extract", _settings(config), operational=_operational(config), force=force):
        work = _Extraction(ws, config, progress.of("extract"))
        if why:
            work.progress.note(f"extractor {config.extract.extractor}: {why}")
        merging = None
        with work.engine(engine), open_workers(config.workers, config.cluster) as map_shards:
            work.find(map_shards)
            if not work.pending:
                work.label()
                merging = work.merge()
        counts = {"extractor": config.extract.extractor, "chosen_because": why, **work.counts(merging)}
        if work.pending:
            ws.note("extract", counts)
            return counts
        work.write(merging, counts)
        ws.finish("extract", counts)
    return ws.counts("extract")


def resolve_extractor(ws: Workspace, config: RunConfig, *, force: bool = False) -> tuple[RunConfig, str]:
    """The settings with the extractor that 'auto' stands for in this folder, and the reason; '' if it was set.

    A folder keeps the choice with which it was made, except with `force`. An extractor that 'auto' stands for reads
    only the seeds without knowledge points; if it finds free text (key phrases, names of a model), names with the same
    merge key are merged.
    """
    settings = config.extract
    if settings.extractor != "auto":
        return config, ""
    recorded = (ws.settings("extract") or {}).get("extract", {})
    if not force and ws.path("annotated.parquet").is_file() and "extractor" in recorded:
        kept = {name: recorded[name] for name in ("extractor", "only_missing") if name in recorded}
        if settings.merge == "none" and recorded["extractor"] in FREE_TEXT and "merge" in recorded:
            kept["merge"] = recorded["merge"]
        return replace(config, extract=replace(settings, **kept)), "this folder was made with it"
    if not force and ws.path("kps.parquet").is_file():
        return replace(config, extract=replace(settings, extractor="given")), "this folder was made without extraction"
    ingested = ws.counts("ingest")
    without = ingested["notes"].get("no_knowledge_points", 0)
    if settings.glossary is not None and without:
        extractor, why = "terms", f"{without:,} seeds have no knowledge points, and a glossary is set"
    else:
        extractor, why = choose_extractor(ingested["seeds"], without, config.synthesis.engine)
    only_missing = settings.only_missing or extractor != "given"
    merge = "forms" if settings.merge == "none" and extractor in FREE_TEXT else settings.merge
    chosen = replace(settings, extractor=extractor, only_missing=only_missing, merge=merge)
    return replace(config, extract=chosen), why


def _settings(config: RunConfig) -> dict[str, Any]:
    settings: dict[str, Any] = {"extract": to_mapping(config.extract)}
    settings["files"] = {name: file_digest(path) for name in FILES if (path := getattr(config.extract, name))}
    if config.extract.uses_model:
        settings["synthesis"] = {name: getattr(config.synthesis, name) for name in MODEL_SETTINGS}
        settings["prompts"] = _prompts_digest(config.synthesis.templates)
    return settings


def _operational(config: RunConfig) -> dict[str, Any]:
    """Settings of the server, which are the defaults of the next call."""
    if not config.extract.uses_model:
        return {}
    every = to_mapping(config.synthesis)
    return {"synthesis": {name: every[name] for name in OPERATIONAL}}


def _prompts_digest(templates: str | None) -> str:
    """Hash of the templates in use: those of this package, replaced by a user's of the same names."""
    texts = dict(read_templates(TEMPLATES))
    own = dict(read_templates(Path(templates))) if templates is not None else {}
    return prompt_digest("\0".join(own.get(name, text) for name, text in texts.items()))


class _Extraction:
    """The steps of the stage; columns of the seeds are Python lists."""

    def __init__(self, ws: Workspace, config: RunConfig, progress: StageProgress) -> None:
        self._ws, self._config, self._settings, self.progress = ws, config, config.extract, progress
        self._taxonomy: Taxonomy = load_taxonomy(config.extract.taxonomy)
        self._table: pa.Table = store.read_taken(ws)
        self._points: list[list[str]] = self._table.column("knowledge_points").to_pylist()
        self._disciplines: list[list[str]] = self._table.column("disciplines").to_pylist()
        self._difficulty: list[int | None] = self._table.column("difficulty").to_pylist()
        self._found: dict[int, Labels | tuple[str, str]] = {}  # seed row -> labels, or (reason, detail)
        self._asker: Asker | None = None
        self._unmapped = Counter[str]()
        self._embedding: dict[str, Any] | None = None  # counts of the search by meaning

    @contextlib.contextmanager
    def engine(self, given: StartEngine | None) -> Iterator[None]:
        """Run the engine if the settings need one."""
        if not self._settings.uses_model:
            yield
            return
        from linksyn_gpu.knowledge.ask import Asker
        from linksyn_gpu.llm.journal import Journal

        ws, synthesis = self._ws, self._config.synthesis
        with Journal(ws.path(JOURNAL)) as journal, engine_of(ws, self._config, given) as start:
            self._asker = Asker(start, journal, synthesis, run_budget(ws, synthesis, "extract", journal.index()))
            yield

    @property
    def pending(self) -> int:
        """Requests that a later call asks again."""
        return 0 if self._asker is None else self._asker.pending.total()

    # ------------------------------------------------------------------ knowledge points

    def find(self, map_shards: MapShards) -> None:
        """Extract the knowledge points of the selected seeds."""
        extractor = self._settings.extractor
        if extractor == "given":
            return
        rows = [row for row, points in enumerate(self._points) if not (self._settings.only_missing and points)]
        if extractor == "llm":
            self._ask(rows)
        else:
            self._match(rows, extractor, map_shards)
        for row, labels in self._found.items():
            if isinstance(labels, Labels):
                self._points[row] = list(labels.names)
                if not self._disciplines[row] and labels.discipline != UNKNOWN:
                    self._disciplines[row] = [labels.discipline]
                if self._difficulty[row] is None:
                    self._difficulty[row] = labels.difficulty

    def _match(self, rows: Sequence[int], extractor: str, map_shards: MapShards) -> None:
        from linksyn_gpu.knowledge.extract.glossary import Glossary, Term, read_glossary
        from linksyn_gpu.knowledge.extract.keyphrases import find_keyphrases
        from linksyn_gpu.knowledge.extract.selection import find_terms

        most = self._settings.max_kps
        primary = [self._same(labels[0]) if labels else "" for labels in self._disciplines]
        if extractor == "yake":
            languages = self._table.column("language").to_pylist()
            texts = ((text, languages[row], primary[row]) for row, text in self._read(rows))
            found = find_keyphrases(texts, most, map_shards)
        else:
            if extractor == "terms":
                assert self._settings.glossary is not None  # ExtractConfig checks it
                glossary = read_glossary(self._settings.glossary, self._same)
            else:
                used: dict[str, dict[str, None]] = {}  # name -> disciplines of the seeds that have it
                for points, discipline in zip(self._points, primary, strict=True):
                    for name in points:
                        used.setdefault(name, {})[discipline] = None
                glossary = Glossary(Term(name, (), tuple(filter(None, where))) for name, where in used.items())
            texts_of = ((text, primary[row]) for row, text in self._read(rows))
            found = find_terms(texts_of, glossary, most, map_shards)
        for row, names in zip(rows, found, strict=True):
            self._found[row] = Labels(tuple(names), (None,) * len(names)) if names else ("no_knowledge_points", "")

    def _same(self, label: str) -> str:
        """One name for all labels of a discipline: that of the taxonomy, or the label itself."""
        name = self._taxonomy.map_label(label)
        return label if name == UNKNOWN else name

    def _read(self, rows: Sequence[int]) -> Iterator[tuple[int, str]]:
        """Yield what `_texts` yields, and report the progress."""
        for done, (row, text) in enumerate(self._texts(rows), 1):
            yield row, text
            if done % 1000 == 0 or done == len(rows):
                self.progress("seeds read", done, len(rows))

    def _texts(self, rows: Sequence[int]) -> Iterator[tuple[int, str]]:
        """Yield (row, question, options and answer as one text); reads the table in batches of rows."""
        for start in range(0, len(rows), 4096):
            part = rows[start : start + 4096]
            columns = self._table.select(["question", "options", "answer"]).take(part).to_pylist()
            for row, seed in zip(part, columns, strict=True):
                yield row, JOINT.join([seed["question"], *seed["options"], seed["answer"]])

    def _ask(self, rows: Sequence[int]) -> None:
        assert self._asker is not None
        most, synthesis = self._settings.max_kps, self._config.synthesis
        limit = synthesis.prompt_limit

        def requests() -> Iterator[tuple[int, dict[str, Any] | None]]:
            for start in range(0, len(rows), 1024):
                part = rows[start : start + 1024]
                for row, seed in zip(part, self._table.take(part).to_pylist(), strict=True):
                    made = extraction_request(seed, self._taxonomy, most=most, templates=synthesis.templates)
                    yield row, made if prompt_chars(made["body"]["messages"]) <= limit else None

        def validate(text: str) -> str | None:
            labels = read_labels(text, self._taxonomy, most)
            return labels if isinstance(labels, str) else None

        self._asker.ask(
            (request for _, request in requests() if request is not None),
            validate,
            self.progress.asking(),
            lambda stats: self.progress("answers", stats.done + stats.skipped, len(rows), found=stats.skipped),
        )
        kept = [row for row, request in requests() if request is not None]
        for row in set(rows).difference(kept):
            self._found[row] = ("prompt_too_long", f"over {limit} characters")
        made = (request for _, request in requests() if request is not None)
        for row, outcome in zip(kept, self._asker.outcomes(made), strict=True):
            if is_pending(outcome):
                continue
            if isinstance(outcome, Failure):
                self._found[row] = (outcome.reason, outcome.detail)
            else:
                labels = read_labels(outcome.text, self._taxonomy, most)
                self._found[row] = (labels, "") if isinstance(labels, str) else labels

    # ------------------------------------------------------------------ labels and names

    def label(self) -> None:
        """Map disciplines to the taxonomy; an unknown label becomes 'unknown' followed by the label."""
        named = Counter(label for labels in self._disciplines for label in labels)
        mapped = {label: self._taxonomy.map_label(label) for label in named}
        unmapped = sorted(label for label, name in mapped.items() if name == UNKNOWN)
        if unmapped and self._settings.map_labels and self._asker is not None:
            mapped |= dict(zip(unmapped, self._asker.disciplines(unmapped, self._taxonomy), strict=True))
        self._unmapped = Counter({label: named[label] for label in unmapped if mapped[label] == UNKNOWN})
        for row, labels in enumerate(self._disciplines):
            names = (
                n for label in labels for n in ((UNKNOWN, label) if mapped[label] == UNKNOWN else (mapped[label],))
            )
            self._disciplines[row] = list(dict.fromkeys(names))

    def merge(self) -> Merging | None:
        """Merge the names of each knowledge point."""
        settings = self._settings
        if settings.merge == "none":
            return None
        from linksyn_gpu.knowledge.merge.merge import MergeOptions, merge_names
        from linksyn_gpu.knowledge.merge.normal_form import normal_form
        from linksyn_gpu.knowledge.merge.rules import read_rules
        from linksyn_gpu.knowledge.merge.synonyms import synonyms_in_text
        from linksyn_gpu.knowledge.merge.units import count_mentions, load_homographs

        primary = [labels[0] if labels and labels[0] != UNKNOWN else None for labels in self._disciplines]
        mentions = count_mentions(zip(self._points, primary, strict=True))
        homographs = dict(load_homographs(settings.homographs))
        if settings.embed_url is not None:
            from linksyn_gpu.knowledge.merge.senses import find_senses

            homographs |= find_senses(lambda: zip(self._points, primary, strict=True), homographs, self._vectors)
        options = MergeOptions(
            fuzzy=settings.merge == "fuzzy",
            threshold=settings.threshold,
            sure=settings.sure,
            rules=read_rules(settings.merge_rules),
            homographs=homographs,
            taxonomy=self._taxonomy,
            neighbours=self._neighbours if settings.embed_url is not None else None,
            vectors=self._vectors if settings.embed_url is not None else None,
            accept_similarity=settings.accept_similarity,
            decide=self._asker.same if settings.decide_doubtful and self._asker is not None else None,
        )
        synonyms = []
        if options.fuzzy:
            self.progress("texts searched", 0, None)
            forms = {normal_form(mention.name) for mention in mentions}
            rows = list(range(len(self._points)))
            synonyms = [found for _, text in self._texts(rows) for found in synonyms_in_text(text, forms.__contains__)]
        self.progress("names merged", 0, None)
        merging = merge_names(mentions, options, synonyms)
        if self._embedding is not None:
            merging.counts["embedding"] = self._embedding
        canonical = {(m.name, m.discipline): name for m, name in zip(mentions, merging.canonical, strict=True)}
        for row, points in enumerate(self._points):
            self._points[row] = list(dict.fromkeys(canonical[name, primary[row]] for name in points))
        return merging

    def _neighbours(self, names: Sequence[str]) -> Iterator[tuple[int, int, float]]:
        """Pairs of names with similar vectors, by an embedding model and the search of the backend."""
        from linksyn_gpu.backend import resolve

        backend = resolve(self._config.backend)
        embedded = self._embed(names)
        found = backend.ops.similar_pairs(embedded.vectors, self._settings.embed_threshold)
        backend.ops.release()
        self._embedding = {
            "model": self._settings.embed_model,
            "names": len(names),
            "without_vector": len(names) - len(embedded.rows),
            "pairs": len(found),
            "search": found.method,
            "backend": backend.name,
        }
        left, right = embedded.rows[found.left], embedded.rows[found.right]
        yield from zip(left.tolist(), right.tolist(), found.score.tolist(), strict=True)

    def _vectors(self, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Vectors of distinct names, without those that the server refused."""
        embedded = self._embed(names)
        return {names[row]: vector for row, vector in zip(embedded.rows.tolist(), embedded.vectors, strict=True)}

    def _embed(self, names: Sequence[str]) -> Embedded:
        """Vectors of names from the server, each asked for once; the journal keeps them."""
        from linksyn_gpu.llm import Engine, api_key
        from linksyn_gpu.llm.embeddings import embed
        from linksyn_gpu.llm.journal import Journal

        settings = self._settings
        assert settings.embed_url is not None
        assert settings.embed_model is not None
        engine = Engine(settings.embed_url.rstrip("/"), settings.embed_model, api_key())
        with Journal(self._ws.path(VECTORS)) as journal:
            return embed(
                names,
                engine,
                journal,
                timeout=self._config.synthesis.timeout,
                on_progress=lambda done: self.progress("names embedded", done, len(names)),
            )

    # ------------------------------------------------------------------ results

    def counts(self, merging: Merging | None) -> dict[str, Any]:
        """Counts of the stage; 'asked_about' leaves out the seeds whose requests are pending."""
        failed = Counter(found[0] for found in self._found.values() if isinstance(found, tuple))
        return {
            "seeds": self._table.num_rows,
            "asked_about": len(self._found),
            "labelled": len(self._found) - failed.total(),
            "failed": failed.total(),
            "failed_by_reason": dict(failed),
            "without_knowledge_points": sum(not points for points in self._points),
            "unknown_disciplines": dict(self._unmapped.most_common()),
            "merging": None if merging is None else merging.counts,
            **({"pending": 0} if self._asker is None else self._asker.counts()),
        }

    def write(self, merging: Merging | None, counts: Mapping[str, Any]) -> None:
        """Write the files of the stage."""
        import pyarrow as pa

        schema = self._table.schema
        table = self._table
        for name, values in (
            ("knowledge_points", self._points),
            ("disciplines", self._disciplines),
            ("difficulty", self._difficulty),
        ):
            table = table.set_column(
                schema.get_field_index(name), schema.field(name), pa.array(values, schema.field(name).type)
            )
        merges, doubtful = (merging.merges, merging.doubtful) if merging is not None else ([], [])
        store.write_lines(self._ws, "merges.jsonl", merges)
        store.write_lines(self._ws, "doubtful.jsonl", doubtful)
        store.write_table(self._ws, "extracted.parquet", self._extracted())
        with self._ws.replacing("merges.md") as part:
            part.write_text(merge_report(counts, merges, doubtful), encoding="utf-8")
        if (used := seeds_in_use(self._ws)) and self._ws.intact("annotated.parquet"):
            table = keep_rows(table, store.read_table(self._ws, "annotated.parquet"), used)
        if self._settings.taxonomy is not None:
            with self._ws.replacing(store.TAXONOMY) as part:
                part.write_bytes(Path(self._settings.taxonomy).read_bytes())
        store.write_table(self._ws, "annotated.parquet", table)

    def _extracted(self) -> pa.Table:
        import pyarrow as pa

        ids = self._table.column("id").to_pylist()
        rows = []
        for row, found in sorted(self._found.items()):
            if isinstance(found, tuple):
                rows.append({"id": ids[row], "reason": found[0], "detail": found[1]})
            else:
                rows.append(
                    {"id": ids[row], **vars(found), "names": list(found.names), "confidences": list(found.confidences)}
                )
        schema = pa.schema(
            [
                ("id", pa.string()),
                ("names", pa.list_(pa.string())),
                ("confidences", pa.list_(pa.float32())),
                ("discipline", pa.string()),
                ("discipline_confidence", pa.float32()),
                ("difficulty", pa.int8()),
                ("difficulty_confidence", pa.float32()),
                ("reason", pa.string()),  # null: labelled
                ("detail", pa.string()),
            ]
        )
        return pa.Table.from_pylist(rows, schema)
