"""Rows and counts that the report reads from the files of a run folder, in passes of constant memory."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.report.stats import FinalRows, Knowledge
from linksyn_gpu.tables import Int64

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_TEXT = 600
"""Characters of the text of a dropped row, at most."""
SHOWN_SEED = 200
"""Characters of a seed's question, at most."""
FREQUENT, MERGES, DOUBTFUL = 20, 12, 12
DROPS = {
    "paths.parquet": "drop_reason",
    "dropped.parquet": "reason",
    "enhance-dropped.parquet": "reason",
    "curate-dropped.parquet": "reason",
}
"""Files with dropped rows, and the column of the reason."""


def file_of_final(ws: Workspace) -> str | None:
    """The file with the final QA of the stages that are finished, or of stage synthesize so far; None: none yet."""
    for stage, name in (("curate", "curated.parquet"), ("enhance", "enhanced.parquet")):
        if ws.finished(stage):
            return name
    return "qa.parquet" if ws.path("qa.parquet").is_file() else None


def final_rows(ws: Workspace, name: str) -> tuple[FinalRows, dict[str, Counter[str]]]:
    """Counts of the final QA, and their number by language, question type, discipline and difficulty."""
    import pyarrow.compute as pc

    schema = store.read_schema(ws, name)
    one_discipline = "discipline" if "discipline" in schema.names else "disciplines"  # QA of files are read as seeds
    groups = [group for group in ("language", "question_type", one_discipline, "difficulty") if group in schema.names]
    texts = ["question", "answer"]
    kept_by: dict[str, Counter[str]] = {group.removesuffix("s"): Counter() for group in groups}
    by_cell, models, n = Counter[tuple[str, str]](), Counter[str](), 0
    lengths = {text: Counter[int]() for text in texts}
    models_column = ["model"] if "model" in schema.names else []
    for batch in store.read_batches(ws, name, [*groups, *texts, *models_column]):
        n += batch.num_rows
        for group in groups:
            kept_by[group.removesuffix("s")].update(_labels(batch.column(group)))
        by_cell.update(zip(_labels(batch.column(one_discipline)), _labels(batch.column("difficulty")), strict=True))
        if models_column:
            models.update(_labels(batch.column("model")))
        for text in texts:
            lengths[text].update(_below(pc.utf8_length(batch.column(text)).drop_null().to_numpy()))
    return FinalRows(name, n, by_cell, lengths, models), kept_by


def _labels(column: pa.Array) -> list[str]:
    """Values as text; the first one of a list."""
    found = []
    for value in column.to_pylist():
        first = next(iter(value), None) if isinstance(value, list) else value
        found.append("unknown" if first is None else str(first))
    return found


def _below(lengths: Int64) -> Counter[int]:
    """Lengths by the power of two that is not above them."""
    bounds, counts = np.unique(np.frexp(lengths.astype(np.float64))[1], return_counts=True)
    return Counter({0 if e == 0 else 1 << (e - 1): n for e, n in zip(bounds.tolist(), counts.tolist(), strict=True)})


# ---------------------------------------------------------------------- samples


def sample_rows(ws: Workspace, name: str, n: int) -> list[dict[str, Any]]:
    """Final QA of different cells and paths, each with its seeds: the first rows of each cell, in turn."""
    schema = store.read_schema(ws, name)
    keys = [key for key in ("discipline", "disciplines", "difficulty", "question_type") if key in schema.names]
    walks = ["walk_id"] if "walk_id" in schema.names else []
    places: dict[tuple[str, ...], list[int]] = defaultdict(list)
    seen, first = set[Any](), 0
    for batch in store.read_batches(ws, name, [*keys, *walks]):
        labels = list(zip(*(_labels(batch.column(key)) for key in keys), strict=True)) if keys else []
        numbers = batch.column("walk_id").to_pylist() if walks else range(first, first + batch.num_rows)
        for row, walk in enumerate(numbers):
            cell = labels[row] if labels else ()
            if len(places[cell]) < n and walk not in seen:
                seen.add(walk)
                places[cell].append(first + row)
        first += batch.num_rows
    turns = (cell[turn] for turn in range(n) for cell in places.values() if turn < len(cell))
    chosen = sorted(islice(turns, n))
    rows = [table.to_pylist()[0] for place in chosen for table in store.read_rows(ws, name, place, place + 1)]
    questions = _seed_questions(ws, {seed for row in rows for seed in row.get("seed_ids") or ()})
    for row in rows:
        row["seeds"] = [{"id": seed, "question": questions.get(seed, "")} for seed in row.get("seed_ids") or ()]
    return rows


def _seed_questions(ws: Workspace, ids: set[str]) -> dict[str, str]:
    """The beginnings of the questions of seeds, by id."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not ids:
        return {}
    table = store.read_taken(ws, ["id", "question"])
    rows = table.filter(pc.is_in(table.column("id"), pa.array(sorted(ids)))).to_pylist()
    return {row["id"]: shortened(row["question"], SHOWN_SEED) for row in rows}


def shortened(text: str | None, limit: int) -> str:
    """The beginning of a text, with '...' if there is more."""
    text = text or ""
    return text if len(text) <= limit else text[: limit - 3] + "..."


# ---------------------------------------------------------------------- drops


def drop_examples(ws: Workspace, rejected: Mapping[str, int]) -> dict[str, dict[str, dict[str, str]]]:
    """The first dropped row of each reason, by file; `rejected` has the reasons that rejects.jsonl holds."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    if ws.path("rejects.jsonl").is_file() and rejected:
        found["rejects.jsonl"] = _first_rejects(ws, set(rejected))
    for name, column in DROPS.items():
        if ws.intact(name):
            found[name] = {reason: _shown(ws, row) for reason, row in _first_rows(ws, name, column).items()}
    return found


def _first_rejects(ws: Workspace, reasons: set[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    with ws.path("rejects.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            if len(found) == len(reasons):
                break
            row = json.loads(line)
            where = f"{PurePath(row['file']).name}, line {row['line']}"  # a report is shown to others: no folder names
            found.setdefault(row["reason"], {"what": where, "detail": shortened(row["detail"], SHOWN_TEXT), "text": ""})
    return found


def _first_rows(ws: Workspace, name: str, column: str) -> dict[str, dict[str, Any]]:
    import pyarrow.compute as pc

    found: dict[str, dict[str, Any]] = {}
    for batch in store.read_batches(ws, name):
        for reason in pc.unique(batch.column(column)).drop_null().to_pylist():
            if reason not in found:
                row = pc.index(batch.column(column), reason).as_py()
                found[reason] = batch.slice(row, 1).to_pylist()[0]
    return found


def _shown(ws: Workspace, row: Mapping[str, Any]) -> dict[str, str]:
    """What the report shows of a dropped row."""
    if "nodes" in row:
        names = store.read_kp_names(ws)
        return {
            "what": f"path {row['walk_id']}",
            "detail": "",
            "text": " \u2192 ".join(names[kp] for kp in row["nodes"]),
        }
    detail = row.get("detail") or ""
    if row.get("repeats"):
        detail = f"{detail} repeats {row['repeats']}".strip()
    what = row.get("id") or row.get("request_id") or f"path {row.get('walk_id')}"
    text = row.get("text") or row.get("question")
    return {"what": what, "detail": shortened(detail, SHOWN_TEXT), "text": shortened(text, SHOWN_TEXT)}


# ---------------------------------------------------------------------- clusters, certificate, knowledge points


def cluster_sizes(ws: Workspace) -> Counter[int]:
    """Clusters of near-duplicates by their number of members."""
    members = Counter[str]()
    if ws.intact("clusters.parquet"):
        for batch in store.read_batches(ws, "clusters.parquet", ["cluster"]):
            members.update(batch.column("cluster").to_pylist())
    return Counter(members.values())


def read_certificate(ws: Workspace) -> dict[str, Any] | None:
    """The certificate of the search in QA, or else of that in seeds; None: no benchmark was given."""
    for name, searched in (("curate-certificate.json", "QA"), ("certificate.json", "seeds")):
        if ws.intact(name):
            return {"searched": searched, **json.loads(ws.path(name).read_text(encoding="utf-8"))}
    return None


def read_knowledge(ws: Workspace) -> Knowledge:
    """The most frequent KPs, and merges and doubtful pairs of stage extract."""
    import pyarrow.compute as pc

    frequent = []
    if ws.finished("build"):
        kps = store.read_table(ws, "kps.parquet", ["name", "seed_count", "degree"])
        order = [("seed_count", "descending"), ("name", "ascending")]
        frequent = kps.take(pc.select_k_unstable(kps, k=min(FREQUENT, kps.num_rows), sort_keys=order)).to_pylist()
    if not ws.finished("extract"):
        return Knowledge(frequent)
    merges = sorted(_lines(ws, "merges.jsonl"), key=lambda row: (-row["seeds"], row["canonical"], row["alias"]))
    return Knowledge(frequent, merges[:MERGES], list(islice(_lines(ws, "doubtful.jsonl"), DOUBTFUL)))


def _lines(ws: Workspace, name: str) -> Iterator[dict[str, Any]]:
    if ws.path(name).is_file():
        with ws.checked(name).open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


# ---------------------------------------------------------------------- paths


def path_counts(ws: Workspace, n_seeds: int) -> tuple[Counter[int], Counter[int]]:
    """Kept paths by their number of KPs, and seeds by the number of kept paths that use them."""
    import pyarrow.compute as pc

    lengths, uses = Counter[int](), np.zeros(n_seeds, np.int64)
    for batch in store.read_batches(ws, "paths.parquet", ["nodes", "seeds", "drop_reason"]):
        kept = batch.filter(pc.is_null(batch.column("drop_reason")))
        lengths.update(pc.list_value_length(kept.column("nodes")).to_pylist())
        uses += np.bincount(kept.column("seeds").flatten().to_numpy(), minlength=n_seeds)
    return lengths, _counted(uses)


def _counted(values: Int64) -> Counter[int]:
    found, counts = np.unique(values, return_counts=True)
    return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))


# ---------------------------------------------------------------------- the run itself


def run_overview(ws: Workspace, stages: Sequence[str]) -> dict[str, Any]:
    """When the run was made, by which versions and models, its tokens, digest and settings."""
    entries = {name: ws.facts(name) for name in stages if ws.facts(name)}
    counts = {name: ws.counts_so_far(name) or {} for name in entries}
    last = next(reversed(entries), None)
    ended = [entry["finished"] for entry in entries.values() if "finished" in entry]
    return {
        "kind": "QA of files" if ws.of_files else "campaign",
        "begun": ws.manifest.get("created"),
        "finished": max(ended, default=None),
        "digest": None if last is None else entries[last]["digest"],
        "digest_stage": last,
        "models": _models(entries),
        "tokens": {
            name: (found["prompt_tokens"], found["completion_tokens"])
            for name, found in counts.items()
            if "prompt_tokens" in found
        },
        "versions": _first(entry.get("environment", {}) for entry in reversed(entries.values())),
        "backends": sorted({entry["backend"]["name"] for entry in entries.values() if "backend" in entry}),
        "server": {name: found["server"] for name, found in counts.items() if found.get("server")},
        "settings": {name: entry["settings"] for name, entry in entries.items()},
    }


def _models(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Stage -> the model that its settings name; the models that answered are counted in the final QA."""
    found = {}
    for name, entry in entries.items():
        synthesis = entry["settings"].get("synthesis") or {}
        if model := synthesis.get("model"):
            found[name] = f"{model} ({synthesis.get('engine')})"
    return found


def _first(found: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return next((entry for entry in found if entry), {})
