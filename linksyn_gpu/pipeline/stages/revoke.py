"""Takedown of seeds: every QA that used one of them goes, all other rows stay as they are.

The seed keeps its row, without its texts: paths refer to seeds by row number, and its knowledge points decided earlier
walks. Its paths stay as rows with the reason 'revoked', and the campaign has room for as many new ones, which the next
`run` walks on a graph without the seed. The answers that were paid for stay in the journal, marked in
journal/revoked.jsonl, unless they are purged.

The takedown is recorded in the manifest before the first file is changed. After a kill, the same command completes it.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu.config import ExportConfig, RunConfig
from linksyn_gpu.config.loader import from_mapping, merged
from linksyn_gpu.disk import private
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.benchmarks import benchmark_digests
from linksyn_gpu.pipeline.folder import JOURNAL, OUTPUTS, PENDING, Workspace
from linksyn_gpu.pipeline.growth import record_parts, recorded_config
from linksyn_gpu.pipeline.progress import Progress, silent
from linksyn_gpu.pipeline.stages.build import build_again
from linksyn_gpu.pipeline.stages.curate import curate
from linksyn_gpu.pipeline.stages.enhance import JOURNAL as ENHANCE_JOURNAL
from linksyn_gpu.pipeline.stages.export import export
from linksyn_gpu.pipeline.stages.report import report
from linksyn_gpu.pipeline.stages.synthesize import assemble_again
from linksyn_gpu.pipeline.stages.walk import next_part
from linksyn_gpu.streams import open_to_read, open_to_write
from linksyn_gpu.synthesis.requests import requests_paths
from linksyn_gpu.tables import Bool, Int64

if TYPE_CHECKING:
    import pyarrow as pa

REVOKED = "revoked"


def revoke(
    ws: Workspace,
    ids: Sequence[str],
    *,
    purge: bool = False,
    dataset: str | Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Remove seeds and everything made from them.

    Parameters
    ----------
    ids : sequence of str
        Ids of seeds.
    purge : bool
        Also remove the answers from the journals, though they were paid for.
    dataset : path, optional
        A folder of command `export`, which is written again without them, with its own settings.

    Returns
    -------
    dict
        `seeds`, `paths`, `requests` and `qa` that were revoked by this call.

    Raises
    ------
    ConfigError
        The campaign has no such seed, or its seeds are in memory only.
    """
    ws.require_campaign("revoke")
    rows = _rows_of(ws, ids)
    benchmark_digests(
        recorded_config(ws, "curate").decontaminate
    )  # files that are gone must not stop a takedown half-way
    before = store.count_rows(ws, "qa.parquet")
    done = ws.begin_takedown(ids, "report.html")
    record_parts(ws)
    taken = [*dict.fromkeys([*ws.facts("ingest").get(REVOKED, ()), *rows])]
    _blank_seeds(ws, taken, extracted="extract" in done)
    paths = requests = 0
    if "build" in done:
        build_again(ws)
    if "walk" in done:
        paths = _revoke_paths(ws, np.array(taken, np.int64))
    if "synthesize" in done:
        requests = _revoke_requests(ws, np.array(taken, np.int64), purge=purge)
    for name in ("forecast.json", "report.html", "analytics.parquet"):
        ws.path(name).unlink(missing_ok=True)
    if "synthesize" in done:
        assemble_again(ws)
    if "enhance" in done:
        _revoke_enhanced(ws, set(ids), purge=purge)
    if "curate" in done:
        recorded = merged(ws.settings("walk") or {}, ws.settings("curate") or {})
        known = {name: value for name, value in recorded.items() if name in RunConfig.__annotations__}
        ws.reopen("curate")
        for name in OUTPUTS["curate"]:  # nothing stays if a judge is asked and does not answer
            ws.path(name).unlink(missing_ok=True)
        curate(ws, from_mapping(RunConfig, known), progress=progress)
    if dataset is not None:
        export(ws, RunConfig(export=_export_settings(Path(dataset))), dataset, progress=progress)
    if "report.html" in done:
        report(ws)
    ws.end_takedown()
    left = store.count_rows(ws, "qa.parquet")
    return {"seeds": len(rows), "paths": paths, "requests": requests, "qa": before - left}


def _rows_of(ws: Workspace, ids: Sequence[str]) -> list[int]:
    """Rows of seeds, by their ids."""
    place = {name: row for row, name in enumerate(store.read_taken(ws, ["id"]).column("id").to_pylist())}
    if unknown := [name for name in ids if name not in place]:
        raise ConfigError(
            f"{ws.folder}: no seed has the id {', '.join(unknown[:5])}; ids are in {store.file_of_seeds(ws)}"
        )
    return [place[name] for name in ids]


def _blank_seeds(ws: Workspace, rows: Sequence[int], *, extracted: bool) -> None:
    """Write the seed tables without the texts of some rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = np.array(sorted(rows), np.int64)
    table = store.read_taken(ws)
    counts = ws.counts_so_far("ingest")
    assert counts is not None
    with ws.replacing("seeds.arrow") as part, pa.ipc.new_file(str(part), table.schema) as file:
        for batch in _blanked(table.to_batches(), numbers):
            file.write_batch(batch)
    ws.path("seeds.parquet").unlink(missing_ok=True)
    ws.finish("ingest", counts, revoked=list(rows))
    if extracted:
        schema = store.read_schema(ws, "annotated.parquet")
        with ws.replacing("annotated.parquet") as part, pq.ParquetWriter(part, schema, compression="zstd") as out:
            for batch in _blanked(store.read_batches(ws, "annotated.parquet"), numbers):
                out.write_batch(batch)
        ws.finish("extract", ws.counts_so_far("extract") or {})


def _blanked(batches: Iterable[pa.RecordBatch], rows: Int64) -> Iterator[pa.RecordBatch]:
    """The seeds of a table, those at some rows without texts."""
    first = 0
    for batch in batches:
        inside = rows[(rows >= first) & (rows < first + batch.num_rows)] - first
        yield store.without_texts(batch, inside) if inside.size else batch
        first += batch.num_rows


def marked(table: pa.Table, revoked: Int64) -> pa.Table:
    """Rows of paths.parquet, in which paths with a revoked seed have no seeds and the reason 'revoked'."""
    import pyarrow as pa

    lists = table.column("seeds").combine_chunks()
    hit = _with_seeds(lists, revoked)
    if not hit.any():
        return table
    seeds = [[] if gone else row for gone, row in zip(hit, lists.to_pylist(), strict=True)]
    reasons = [REVOKED if gone else r for gone, r in zip(hit, table.column("drop_reason").to_pylist(), strict=True)]
    for name, values in (("seeds", seeds), ("drop_reason", reasons)):
        field = table.schema.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
    return table


def _revoke_paths(ws: Workspace, revoked: Int64) -> int:
    """Mark the paths, and count the campaign's paths again. Returns how many paths were marked now."""
    import pyarrow.compute as pc

    counts = Counter[str]()
    with ws.replacing("paths.parquet") as file, store.paths_writer(file) as writer:
        for table in store.read_rows(ws, "paths.parquet", 0, store.count_rows(ws, "paths.parquet")):
            now = marked(table, revoked)
            writer.write_table(now)
            counts.update(map(str, now.filter(pc.equal(now.column("drop_reason"), REVOKED)).column("cell").to_pylist()))
    before = Counter(ws.facts("walk").get("revoked_paths", {}))
    ws.record("walk", revoked_paths=dict(counts))
    config = recorded_config(ws, "walk")
    while (part := next_part(ws, config)) is not None:
        part.walk()
    return counts.total() - before.total()


def _revoke_requests(ws: Workspace, revoked: Int64, *, purge: bool) -> int:
    """Remove the requests of revoked paths from their files, and mark or purge their answers."""
    import pyarrow.parquet as pq

    from linksyn_gpu.llm.journal import Journal

    ids = [name for batch in store.read_batches(ws, "tasks.parquet") for name in _revoked_ids(batch, revoked)]
    names = {f'"{name}"'.encode() for name in ids}
    old_pending = [path for path in (ws.path("requests-pending.jsonl"),) if path.is_file()]
    for path in (*requests_paths(ws.folder), *sorted(ws.path(PENDING).glob("*.jsonl")), *old_pending):
        if ids:
            name, compressed = str(path.relative_to(ws.folder)), path.suffix != ".jsonl"
            with (
                ws.replacing(name) as part,
                open_to_read(path) as lines,
                open_to_write(part, compressed=compressed) as out,
            ):
                out.writelines(line for line in lines if not _custom_id(line) & names)
    if purge:
        with Journal(ws.path(JOURNAL)) as journal:
            journal.purge(set(ids))
    elif ids:
        marked = ws.path(JOURNAL) / "revoked.jsonl"
        with open(marked, "a", encoding="utf-8", opener=private) as out:
            out.writelines(json.dumps({"id": name}) + "\n" for name in ids)
    # Last: a call after a kill finds the same requests again.
    if ids:
        schema = store.read_schema(ws, "tasks.parquet")
        with ws.replacing("tasks.parquet") as part, pq.ParquetWriter(part, schema, compression="zstd") as out:
            for batch in store.read_batches(ws, "tasks.parquet"):
                out.write_batch(_without_requests(batch, revoked) if _revoked_ids(batch, revoked) else batch)
    return len(ids)


def _revoked_ids(batch: pa.RecordBatch, revoked: Int64) -> list[str]:
    """Ids of the requests whose bundles have a revoked seed."""
    hit = _with_seeds(batch.column("seeds"), revoked)
    return [name for name in batch.column("request_id").filter(hit).to_pylist() if name is not None]


def _without_requests(batch: pa.RecordBatch, revoked: Int64) -> pa.RecordBatch:
    """Rows of tasks.parquet; those with a revoked seed have no request, and the reason 'revoked'."""
    import pyarrow as pa

    gone: dict[str, Any] = {"request_id": None, "request_file": None, "seeds": [], "drop_reason": REVOKED, "seed": None}
    hit = _with_seeds(batch.column("seeds"), revoked)
    rows = [
        {**row, **gone} if at and row["request_id"] else row for at, row in zip(hit, batch.to_pylist(), strict=True)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=batch.schema)


def _with_seeds(lists: pa.ListArray, revoked: Int64) -> Bool:
    """bool [n] which lists hold a revoked seed."""
    sizes = np.diff(lists.offsets.to_numpy())
    hit = np.zeros(sizes.size, bool)
    np.logical_or.at(hit, np.repeat(np.arange(sizes.size), sizes), np.isin(lists.flatten().to_numpy(), revoked))
    return hit


def _custom_id(line: bytes) -> set[bytes]:
    """The id of a request, in quotation marks: the first value of its line."""
    head, _, rest = line.partition(b'"custom_id":')
    return {rest[: rest.index(b'"', 1) + 1]} if rest.startswith(b'"') else {head}


def _revoke_enhanced(ws: Workspace, ids: set[str], *, purge: bool) -> None:
    """Remove the rows of stage enhance that used a revoked seed, also one that the stage added."""
    import pyarrow as pa

    made = set(store.read_table(ws, "qa.parquet", ["id"]).column("id").to_pylist())
    table = store.read_table(ws, "enhanced.parquet")
    keep = [
        name in made and not ids.intersection(seeds)
        for name, seeds in zip(*(table.column(c).to_pylist() for c in ("id", "seed_ids")), strict=True)
    ]
    counts = dict(ws.counts_so_far("enhance") or {})
    left = table.filter(pa.array(keep, pa.bool_()))
    store.write_table(ws, "enhanced.parquet", left)
    kept_ids = set(left.column("id").to_pylist())
    _filter_lines(ws, "enhanced.jsonl", lambda row: row["id"] in kept_ids)
    dropped = store.read_table(ws, "enhance-dropped.parquet")
    keep = [name in made for name in dropped.column("id").to_pylist()]
    store.write_table(ws, "enhance-dropped.parquet", dropped.filter(pa.array(keep, pa.bool_())))
    if purge:
        shutil.rmtree(ws.path(ENHANCE_JOURNAL), ignore_errors=True)
    ws.finish("enhance", {**counts, REVOKED: counts.get(REVOKED, 0) + table.num_rows - left.num_rows})


def _filter_lines(ws: Workspace, name: str, keep: Callable[[dict[str, Any]], bool]) -> None:
    with ws.replacing(name) as part, ws.path(name).open("rb") as lines, part.open("wb") as out:
        out.writelines(line for line in lines if keep(json.loads(line)))


def _export_settings(folder: Path) -> ExportConfig:
    """The settings with which a data set was exported."""
    from linksyn_gpu.config.loader import read_toml

    known = read_toml(folder / "settings.toml").get("export", {})
    made: ExportConfig = from_mapping(ExportConfig, known)
    return made
