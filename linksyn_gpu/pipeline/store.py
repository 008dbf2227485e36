"""Tables to files of a run folder and back: Parquet for rows, memory-mapped .npy for the graph's arrays."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu.errors import DataError
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.tables import (
    PATH_STATUS,
    Bundles,
    Float64,
    Int32,
    Int64,
    KPGraph,
    KPStatistics,
    Reject,
    Seeds,
    WalkBatch,
    json_line,
    named_lists,
)
from linksyn_gpu.taxonomy.disciplines import default_taxonomy, load_taxonomy

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

GRAPH_ARRAYS = ("indptr", "indices", "count", "weight", "seed_count", "evidence_indptr", "evidence")
ROWS_PER_READ = 65_536
TAXONOMY = "taxonomy.toml"
"""A copy of the file of `extract.taxonomy`, if that is set."""
SEED_BATCH_ROWS, SEED_BATCH_BYTES = 65_536, 2**27
"""Rows of a batch of seeds.arrow, and its size: stages read seeds from all over the file, batch by batch."""


class SeedFiles:
    """seeds.arrow and rejects.jsonl while they are written, a batch or a reject at a time.

    The seeds at the rows `revoked` are written without their texts.
    """

    def __init__(self, seeds: Path, rejects: IO[bytes], schema: pa.Schema, revoked: Sequence[int] = ()) -> None:
        import pyarrow as pa

        self._path, self._rejects = seeds, rejects
        self._revoked, self._taken = np.array(sorted(revoked), np.int64), 0
        self._writer = pa.ipc.new_file(str(seeds), schema)
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append seeds; they are written when there are enough for a batch of the file."""
        first, last = np.searchsorted(self._revoked, [self._taken, self._taken + batch.num_rows])
        if first < last:
            batch = without_texts(batch, self._revoked[first:last] - self._taken)
        self._taken += batch.num_rows
        if self._bytes + batch.nbytes > SEED_BATCH_BYTES:
            self._flush()
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= SEED_BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting).combine_chunks())
        self._waiting, self._rows, self._bytes = [], 0, 0

    def reject(self, reject: Reject) -> None:
        """Append a rejected record."""
        self._rejects.write(json_line(vars(reject)))

    def close(self) -> None:
        """End the file of seeds."""
        self._flush()
        self._writer.close()

    def table(self) -> pa.Table:
        """Return the seeds that were written, after `close`."""
        return _mapped(self._path)


@contextlib.contextmanager
def replacing_seeds(ws: Workspace, schema: pa.Schema) -> Iterator[SeedFiles]:
    """Yield `SeedFiles` to write; their files get their names when the block succeeds."""
    revoked = ws.facts("ingest").get("revoked", ())
    with ws.replacing("rejects.jsonl") as rejects, ws.replacing("seeds.arrow") as seeds, rejects.open("wb") as lines:
        files = SeedFiles(seeds, lines, schema, revoked)
        try:
            yield files
        finally:
            files.close()
    ws.path("seeds.parquet").unlink(missing_ok=True)  # of an older version


def without_texts(batch: pa.RecordBatch, rows: Int64) -> pa.RecordBatch:
    """Seeds of which those at some rows have no question, answer, options and explanation."""
    import pyarrow as pa

    blank: dict[str, Any] = {"question": "", "answer": "", "options": [], "explanation": None}
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    for name, value in blank.items():
        if name in columns:
            values = columns[name].to_pylist()
            for row in rows.tolist():
                values[row] = value
            columns[name] = pa.array(values, batch.schema.field(name).type)
    return pa.RecordBatch.from_arrays([*columns.values()], schema=batch.schema)


def write_seeds(ws: Workspace, seeds: Seeds) -> None:
    """Write seeds.arrow and rejects.jsonl."""
    with replacing_seeds(ws, seeds.table.schema) as files:
        for batch in seeds.table.to_batches():
            files.write(batch)
        for reject in seeds.rejects:
            files.reject(reject)


def read_seed_table(ws: Workspace, columns: Sequence[str] | None = None) -> Seeds:
    """Read the seeds that stages after `extract` use, annotated if that stage ran, or some of their columns."""
    if not ws.finished("extract"):
        return Seeds(read_taken(ws, columns))
    own = ws.path(TAXONOMY)  # one that is missing or damaged makes the stage unfinished
    taxonomy = load_taxonomy(own) if own.is_file() else default_taxonomy()
    return Seeds(read_table(ws, "annotated.parquet", columns), taxonomy=taxonomy)


def file_of_seeds(ws: Workspace) -> str:
    """Return the name of the file that stage `ingest` wrote; older versions wrote seeds.parquet."""
    old = ws.path("seeds.parquet").exists() and not ws.path("seeds.arrow").exists()
    return "seeds.parquet" if old else "seeds.arrow"


def read_taken(ws: Workspace, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the seeds as stage `ingest` took them, or some of their columns, memory-mapped."""
    import pyarrow as pa

    name = file_of_seeds(ws)
    if name == "seeds.parquet":
        return read_table(ws, name, columns)
    path = ws.checked(name)
    try:
        table = _mapped(path)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(ws, name, error) from error
    return table if columns is None else table.select(list(columns))


def _mapped(path: Path) -> pa.Table:
    """Open an Arrow file; its pages are read when they are used."""
    import pyarrow as pa

    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def read_table(ws: Workspace, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file of the run.

    Raises
    ------
    DataError
        It is missing or damaged; the message says how to make it again.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = ws.checked(name)
    try:
        return pq.read_table(path, columns=None if columns is None else list(columns))
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(ws, name, error) from error


def _unreadable(ws: Workspace, name: str, error: Exception) -> DataError:
    """Return the error for a file that the system does not open, or that has no checksum and is damaged.

    A file whose checksum was verified is never called damaged: then the machine lacks memory or descriptors.
    """
    path = ws.path(name)
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, OSError) and error.errno is not None:
        return DataError(f"{path} cannot be opened: {os.strerror(error.errno)}")
    if ws.has_checksum(name):
        return DataError(f"{path} cannot be read ({error}); its checksum is right: run the same command again")
    return DataError(f"{path} is damaged ({error}); remove it and run the same command again")


def write_table(ws: Workspace, name: str, table: pa.Table) -> None:
    """Write a table as a Parquet file."""
    import pyarrow.parquet as pq

    with ws.replacing(name) as part:
        pq.write_table(table, part, compression="zstd")


def write_lines(ws: Workspace, name: str, rows: Iterable[Any]) -> None:
    """Write rows as JSON Lines."""
    with ws.replacing(name) as part, part.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_aliases(ws: Workspace) -> dict[str, list[str]]:
    """Read the other names of each KP that stage `extract` merged, by the name that was kept."""
    aliases: dict[str, list[str]] = {}
    if ws.finished("extract"):
        with ws.checked("merges.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                aliases.setdefault(row["canonical"], []).append(row["alias"])
    return aliases


def write_graph(
    ws: Workspace, graph: KPGraph, statistics: KPStatistics, aliases: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Write graph/*.npy and kps.parquet; `aliases` are other names of a KP, by its name."""
    for name in GRAPH_ARRAYS:
        with ws.replacing(f"graph/{name}.npy") as part, part.open("wb") as out:
            np.save(out, getattr(graph, name))
    import pyarrow as pa

    counts = statistics.discipline_counts
    labels = pa.array(statistics.disciplines, pa.string()).take(pa.array(counts.indices))
    entries = pa.MapArray.from_arrays(
        pa.array(counts.indptr.astype(np.int32)), labels, pa.array(counts.data.astype(np.int64))
    )
    table = pa.table(
        {
            "kp": pa.array(np.arange(graph.n_kps, dtype=np.int32)),
            "name": pa.array(graph.names, pa.string()),
            "aliases": pa.array([(aliases or {}).get(name, ()) for name in graph.names or ()], pa.list_(pa.string())),
            "seed_count": pa.array(statistics.seed_count),
            "degree": pa.array(graph.degree),
            "mean_difficulty": pa.array(statistics.mean_difficulty, from_pandas=True),
            "disciplines": entries,
        }
    )
    write_table(ws, "kps.parquet", table)


def read_graph(ws: Workspace) -> tuple[KPGraph, KPStatistics]:
    """Read the graph, its arrays memory-mapped, and the statistics of its KPs."""
    from scipy import sparse

    # Mode "c" (copy on write): compiled kernels need writable arrays, and the files must not change.
    arrays: dict[str, Any] = {}
    for name in GRAPH_ARRAYS:
        path = ws.checked(f"graph/{name}.npy")
        try:
            arrays[name] = np.asarray(np.load(path, mmap_mode="c"))
        except (OSError, ValueError, EOFError) as error:
            raise _unreadable(ws, f"graph/{name}.npy", error) from error
    table = read_table(ws, "kps.parquet").combine_chunks()
    counts = ws.counts("build")
    graph = KPGraph(
        **arrays, names=table.column("name").to_pylist(), n_seeds=counts["seeds"], drops=Counter(counts["drops"])
    )
    column = table.column("disciplines").combine_chunks()
    labels = column.keys.dictionary_encode()
    held = sparse.csr_array(
        (column.items.to_numpy(), labels.indices.to_numpy(), column.offsets.to_numpy()),
        shape=(graph.n_kps, len(labels.dictionary)),
    )
    mean = table.column("mean_difficulty").to_numpy(zero_copy_only=False).astype(np.float64)
    return graph, KPStatistics(graph.seed_count, mean, labels.dictionary.to_pylist(), held)


def write_analytics(ws: Workspace, graph: KPGraph, columns: dict[str, Any]) -> None:
    """Write analytics.parquet: one row per KP."""
    import pyarrow as pa

    kps = {"kp": np.arange(graph.n_kps, dtype=np.int32), "name": pa.array(graph.names, pa.string())}
    write_table(ws, "analytics.parquet", pa.table({**kps, **columns}))


def read_kp_names(ws: Workspace) -> list[str]:
    """Read the name of each KP."""
    return list(read_table(ws, "kps.parquet", ["name"]).column("name").to_pylist())


def path_schema() -> pa.Schema:
    """Columns of paths.parquet: every path of the campaign, kept or not."""
    import pyarrow as pa

    return pa.schema(
        [
            ("walk_id", pa.int64()),
            ("round", pa.int32()),
            ("cell", pa.int32()),
            ("nodes", pa.list_(pa.int32())),
            ("seeds", pa.list_(pa.int32())),
            ("drop_reason", pa.string()),  # null: kept
        ]
    )


def paths_writer(part: Path) -> pq.ParquetWriter:
    """A writer of paths.parquet for tables of `paths_table`: one row group per round."""
    import pyarrow.parquet as pq

    return pq.ParquetWriter(part, path_schema(), compression="zstd")


def paths_table(batch: WalkBatch, bundles: Bundles) -> pa.Table:
    """Paths with their seeds as rows of paths.parquet."""
    import pyarrow as pa

    columns = [
        pa.array(batch.ids),
        pa.array(batch.round),
        pa.array(batch.cell),
        named_lists(batch.nodes, batch.lengths),
        named_lists(bundles.seeds, bundles.sizes),
        pa.array(bundles.drop_reason, pa.string()),
    ]
    return pa.table(columns, schema=path_schema())


def paths_of(table: pa.Table, length: int) -> tuple[WalkBatch, Bundles]:
    """Return rows of paths.parquet as the arrays that `paths_table` made them from."""
    statuses = {reason: code for code, reason in enumerate(PATH_STATUS)} | {None: 0}
    status = np.array([statuses[reason] for reason in table.column("drop_reason").to_pylist()], np.uint8)
    nodes, lengths = _padded(table.column("nodes").combine_chunks(), length + 1)
    seeds, _ = _padded(table.column("seeds").combine_chunks(), length)
    columns = [table.column(name).to_numpy() for name in ("walk_id", "cell", "round")]
    return WalkBatch(nodes, lengths, columns[0], status, *columns[1:]), Bundles(seeds, status)


def padded_lists(lists: pa.ListArray, width: int) -> Int32:
    """Lists of numbers as rows of `width` entries, padded with -1."""
    return _padded(lists, width)[0]


def _padded(lists: pa.ListArray, width: int) -> tuple[Int32, Int32]:
    """Lists as rows padded with -1, and the length of each."""
    sizes = np.diff(lists.offsets.to_numpy()).astype(np.int32)
    padded = np.full((sizes.size, width), -1, np.int32)
    padded[np.arange(width) < sizes[:, None]] = lists.flatten().to_numpy()
    return padded, sizes


def write_visits(ws: Workspace, visits: Int64, rows: int) -> None:
    """Write visits.npz: int64 [n_cells, n_kps] visits of the walks of the first `rows` paths."""
    with ws.replacing("visits.npz") as part, part.open("wb") as file:
        np.savez_compressed(file, visits=visits, rows=np.int64(rows))


def read_visits(ws: Workspace) -> tuple[Int64, int] | None:
    """Read the visits, and of how many paths; None if the file is missing or damaged."""
    if not (ws.path("visits.npz").is_file() and ws.intact("visits.npz")):
        return None
    with np.load(ws.path("visits.npz"), allow_pickle=False) as file:
        return np.asarray(file["visits"], np.int64), int(file["rows"])


def write_factors(ws: Workspace, factor: Float64) -> None:
    """Write kp-factors.npy: float64 [n_kps] factor of each KP's target by the scores of a student model."""
    with ws.replacing("kp-factors.npy") as part, part.open("wb") as file:
        np.save(file, factor)


def read_factors(ws: Workspace) -> Float64 | None:
    """Read the factors; None if the campaign has no scores."""
    if not ws.path("kp-factors.npy").is_file():
        return None
    return np.asarray(np.load(ws.checked("kp-factors.npy"), allow_pickle=False), np.float64)


def count_rows(ws: Workspace, name: str) -> int:
    """Return the number of rows of a Parquet file; 0 if it is missing or damaged."""
    import pyarrow.parquet as pq

    return pq.read_metadata(ws.path(name)).num_rows if ws.intact(name) else 0


def read_schema(ws: Workspace, name: str) -> pa.Schema:
    """Return the columns of a Parquet file."""
    import pyarrow.parquet as pq

    return pq.read_schema(ws.checked(name))


def read_rows(ws: Workspace, name: str, first: int, last: int) -> Iterator[pa.Table]:
    """Read the rows `first` .. `last` - 1 of a Parquet file, one table for each row group.

    The groups are those of the file: a copy of all rows is the same file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if first >= last:
        return
    path = ws.checked(name)
    try:
        with pq.ParquetFile(path) as file:
            begin = 0
            for number in range(file.num_row_groups):
                size = file.metadata.row_group(number).num_rows
                a, b = max(first - begin, 0), min(last - begin, size)
                if a < b:
                    yield file.read_row_group(number).slice(a, b - a)
                begin += size
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(ws, name, error) from error


def read_batches(
    ws: Workspace, name: str, columns: Sequence[str] | None = None, rows: int = ROWS_PER_READ
) -> Iterator[pa.RecordBatch]:
    """Read a Parquet file of the run, or some of its columns, in batches; errors as in `read_table`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = ws.checked(name)
    try:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(rows, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(ws, name, error) from error


def write_plan(part: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write plan.json: a row per cell, as `sampling.plan.plan_table` makes them."""
    part.write_text(json.dumps({"cells": rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_plan(ws: Workspace) -> list[dict[str, Any]]:
    """Read the rows of plan.json; what an older version did not write there is None or empty."""
    path = ws.checked("plan.json")
    later: dict[str, Any] = {"license_group": None, "seeds": None, "seeds_of_level": None, "dropped_by_reason": {}}
    try:
        return [{**later, **cell} for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(ws, "plan.json", error) from error
