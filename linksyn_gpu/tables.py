"""What passes between stages: seeds, the KP graph, walks, bundles and new QA.

A stage knows these tables, never another stage. Arrays are NumPy arrays on the host unless a docstring says
otherwise. Text is kept in Arrow tables, which hold tens of millions of rows without a Python object for each.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.errors import DataError
from linksyn_gpu.taxonomy.disciplines import Taxonomy, default_taxonomy
from linksyn_gpu.text import name_key

if TYPE_CHECKING:
    import pyarrow as pa

    from linksyn_gpu.config import SeedsConfig

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt32 = NDArray[np.uint32]
UInt64 = NDArray[np.uint64]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

# Largest number of KPs, and of entries in a row: 2^24 masses of at most 2^40 still fit in uint64.
MAX_KPS = 2**24 - 1


def seed_schema() -> pa.Schema:
    """Columns of a seed table. `difficulty` is 1..5 or null; the first of `disciplines` is the primary one.

    `source_id` is the id in the file, null where it had none: `id` is unique among all files. `explanation` is the
    worked solution, or null.
    """
    import pyarrow as pa

    return pa.schema(
        [
            ("id", pa.string()),
            ("question", pa.string()),
            ("answer", pa.string()),
            ("options", pa.list_(pa.string())),
            ("disciplines", pa.list_(pa.string())),
            ("difficulty", pa.int8()),
            ("knowledge_points", pa.list_(pa.string())),
            ("language", pa.string()),
            ("source", pa.string()),
            ("license", pa.string()),
            ("source_id", pa.string()),
            ("explanation", pa.string()),
        ]
    )


@dataclass(frozen=True)
class Reject:
    """One input record that was not accepted: where it is and why."""

    file: str
    line: int
    """1-based line in a line-based file, 1-based record number otherwise."""
    reason: str
    """One of `linksyn_gpu.seeds.normalize.REASONS`."""
    detail: str


@dataclass(frozen=True, eq=False, repr=False)
class Seeds:
    """Seed QA, and the records that were rejected.

    `len(seeds) + len(seeds.rejects)` is the number of records in the input files.
    """

    table: pa.Table
    """One row per seed, columns of `seed_schema()`."""
    rejects: Sequence[Reject] = ()
    notes: Counter[str] = field(default_factory=Counter)
    """Seeds kept with a remark, by remark: 'empty_answer', 'no_knowledge_points', 'difficulty_off_scale', ..."""
    layouts: Counter[str] = field(default_factory=Counter)
    """Records by the layout that was found, one of `config.LAYOUTS`."""
    remarks: Sequence[str] = ()
    """What to know about the files: encodings found, answer columns that were not used, files that were skipped."""
    unanswered: Sequence[str] = ()
    """Files of which no seed has a usable answer."""
    taxonomy: Taxonomy = field(default_factory=default_taxonomy)
    """By which discipline labels are compared."""

    @classmethod
    def from_records(cls, records: Iterable[Any], config: SeedsConfig | None = None, **fields: Any) -> Seeds:
        """Make seeds from records in memory, with the rules of `read_seeds`.

        Parameters
        ----------
        records : iterable of mappings
            Column name -> value; NumPy arrays and scalars are taken as lists and numbers. The `line` of a reject is
            the 1-based number of the record.
        config, **fields
            A `SeedsConfig`, or its fields as keywords.
        """
        from linksyn_gpu.seeds.normalize import seeds_from_records

        return seeds_from_records(records, config, fields)

    @classmethod
    def from_arrow(cls, data: Any, config: SeedsConfig | None = None, **fields: Any) -> Seeds:
        """Make seeds from an Arrow table, record batch or reader, or of any object with `__arrow_c_stream__`."""
        import pyarrow as pa

        from linksyn_gpu.seeds.normalize import seeds_from_batches

        reader = data if isinstance(data, pa.RecordBatchReader) else pa.table(data).to_reader()
        return seeds_from_batches(reader, config, fields)

    @classmethod
    def from_pandas(cls, frame: Any, config: SeedsConfig | None = None, **fields: Any) -> Seeds:
        """Make seeds from a pandas data frame; its index is ignored."""
        rows = frame.astype(object).where(frame.notna(), None).itertuples(index=False, name=None)
        return cls.from_records((dict(zip(frame.columns, row, strict=True)) for row in rows), config, **fields)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        return f"Seeds({len(self):,} seeds, {len(self.rejects):,} rejects)"

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Return seed `row` as a dict of plain Python values."""
        return {name: self.table.column(name)[row].as_py() for name in self.table.column_names}


@dataclass(frozen=True, eq=False)
class SeedLabels:
    """Disciplines and levels of seeds."""

    disciplines: Sequence[str]
    """Disciplines of the seeds, in order of first appearance and in their first spelling."""
    membership: Any
    """scipy CSR array [n_seeds, n_disciplines] of int64: 1 where a seed is of a discipline."""
    difficulty: Int64
    """[n_seeds] level 1..5; 0 where a seed has none."""
    taxonomy: Taxonomy
    """By which discipline labels are compared."""


@dataclass(frozen=True, eq=False)
class KPStatistics:
    """Properties of each KP's seeds: rows of `kps.parquet`."""

    seed_count: Int64
    """[n_kps] f(v)."""
    mean_difficulty: Float64
    """[n_kps] mean level of v's seeds that have one; NaN where none has."""
    disciplines: Sequence[str]
    """Disciplines of the seeds, in order of first appearance and in their first spelling."""
    discipline_counts: Any
    """scipy CSR array [n_kps, n_disciplines] of int64: seeds of v that are of a discipline."""
    labels: SeedLabels | None = None
    """Those of the seeds themselves; None where only the statistics of KPs were read."""


@dataclass(frozen=True, eq=False, repr=False)
class KPGraph:
    """Co-occurrence graph of knowledge points: symmetric CSR with sorted columns and no self-loop.

    C = A'A without its diagonal, A the seeds x KPs incidence: `count[e]` seeds hold both ends of entry e. An
    undirected edge has two entries.
    """

    indptr: Int64
    """[n_kps + 1] start of each KP's row."""
    indices: Int32
    """[n_entries] neighbour, ascending within a row."""
    count: Int32
    """[n_entries] seeds that hold both ends, > 0."""
    weight: Int32
    """[n_entries] edge weight w of the walk, > 0; equal to `count` unless the graph has another weight."""
    seed_count: Int64
    """[n_kps] f(v), the number of seeds that hold v."""
    names: Sequence[str] | None = None
    """[n_kps] name of each KP, in its first spelling."""
    n_seeds: int | None = None
    """Number of seeds that the graph was built from; None when it was not built from seeds."""
    evidence_indptr: Int64 | None = None
    """[n_edges + 1] start of each undirected edge's seeds in `evidence`; edges in order of (u, v), u < v."""
    evidence: Int32 | None = None
    """[sum of count over edges] seeds (rows of the seed table) that hold both ends, ascending within an edge."""
    drops: Counter[str] = field(default_factory=Counter)
    """What pruning removed, by reason, in edges (in KP mentions for 'max_kps_per_seed')."""
    component: Int32 | None = None
    """[n_kps] connected component of each KP, numbered by its first KP; None when the graph was not just built."""
    statistics: KPStatistics | None = None
    """What quotas need of the seeds; None when the graph was not built from seeds."""

    @classmethod
    def from_csr(
        cls,
        indptr: Any,
        indices: Any,
        count: Any,
        names: Sequence[str] | None = None,
        *,
        seed_count: Any = None,
        check: bool = True,
    ) -> KPGraph:
        """Make a graph from a symmetric CSR matrix of co-occurrence counts.

        Parameters
        ----------
        indptr, indices, count : array_like
            [n_kps + 1], [n_entries], [n_entries] of integers.
        names : sequence of str, optional
            [n_kps].
        seed_count : array_like, optional
            [n_kps] f(v). Default: the sum of the row's counts, because a co-occurrence matrix alone does not say
            how many seeds hold a KP.
        check : bool
            Verify the properties of this class in O(n_entries); switch it off only for arrays that have them.

        Raises
        ------
        DataError
            The arrays lack a property of this class; the message names it.
        """
        for name, array in (("indptr", indptr), ("indices", indices), ("count", count)):
            values = np.asarray(array)
            if values.size and not np.issubdtype(values.dtype, np.integer):
                raise DataError(f"{name} must hold integers, not {values.dtype}")
        indptr = np.ascontiguousarray(indptr, np.int64)
        indices = np.ascontiguousarray(indices, np.int32)
        count = np.ascontiguousarray(count, np.int32)
        if indptr.ndim != 1 or count.shape != indices.shape:
            raise DataError(f"indptr has shape {indptr.shape}, indices {indices.shape}, count {count.shape}")
        if check:
            check_offsets("indptr", indptr, indices.size)
        if seed_count is None:
            running = np.concatenate([[0], np.cumsum(count, dtype=np.int64)])
            seed_count = running[indptr[1:]] - running[indptr[:-1]]
        graph = cls(indptr, indices, count, count, np.ascontiguousarray(seed_count, np.int64), names)
        if check:
            _check_graph(graph)
        return graph

    def __repr__(self) -> str:
        origin = "" if self.n_seeds is None else f" from {self.n_seeds:,} seeds"
        return f"KPGraph({self.n_kps:,} KPs, {self.n_edges:,} edges{origin})"

    @property
    def n_kps(self) -> int:
        return int(self.indptr.size - 1)

    @property
    def n_edges(self) -> int:
        """Undirected edges."""
        return int(self.indices.size // 2)

    @property
    def degree(self) -> Int64:
        """[n_kps] neighbours of each KP."""
        return np.diff(self.indptr)

    @cached_property
    def upper(self) -> tuple[Int64, Int64]:
        """Entries with u < v: ([n_kps] the first such entry of each row, [n_kps + 1] their running count)."""
        rows = np.repeat(np.arange(self.n_kps, dtype=np.int32), self.degree)
        below = np.concatenate([[0], np.cumsum(self.indices < rows, dtype=np.int64)])
        first = self.indptr[:-1] + below[self.indptr[1:]] - below[self.indptr[:-1]]
        running = np.concatenate([[0], np.cumsum(self.indptr[1:] - first)])
        return first, running

    @cached_property
    def checked(self) -> KPGraph:
        """The graph itself, after a check of every property of this class in O(n_entries).

        Compiled code reads the arrays without a bounds check: every backend takes a graph from here. The check is done
        once per graph.

        Raises
        ------
        DataError
            An array lacks a property; the message names it.
        """
        try:
            _check_graph(self)
            _check_evidence(self)
        except DataError as error:
            raise DataError(f"damaged KP graph: {error}. Build it again (stage build, with --force)") from None
        return self

    def to_scipy(self, values: str = "count") -> Any:
        """Return `count` or `weight` as a `scipy.sparse.csr_array` [n_kps, n_kps]; the values are not copied."""
        from scipy.sparse import csr_array

        return csr_array((getattr(self, values), self.indices, self.indptr), shape=(self.n_kps, self.n_kps))

    def neighbors(self, name: str) -> dict[str, int]:
        """Return the neighbours of a KP with the seeds that each shares with it, most first.

        Raises
        ------
        DataError
            The graph has no such name; the message lists similar ones.
        """
        row = slice(*self.indptr[self.index_of(name) :][:2])
        order = np.argsort(-self.count[row], kind="stable")
        names = self.names or ()
        return {names[i]: int(n) for i, n in zip(self.indices[row][order], self.count[row][order], strict=True)}

    def index_of(self, name: str) -> int:
        """Return the number of a KP, by its name in any case and width.

        Raises
        ------
        DataError
            The graph has no such name; the message lists similar ones.
        """
        keys = self._index
        if (found := keys.get(name, keys.get(name_key(name)))) is None:
            similar = [self.names[keys[key]] for key in get_close_matches(name_key(name), keys)] if self.names else []
            raise DataError(f"the graph has no KP {name!r}" + (f"; similar: {', '.join(similar)}" if similar else ""))
        return found

    @cached_property
    def _index(self) -> dict[str, int]:
        """Number of each KP by its name and by its key; an exact name takes precedence."""
        names = self.names or ()
        return {**{name_key(n): i for i, n in reversed([*enumerate(names)])}, **{n: i for i, n in enumerate(names)}}


def first_row_out_of_order(indptr: Int64, values: NDArray[Any]) -> int | None:
    """First row whose values do not ascend without repeats; None if all do."""
    rises = values[1:] > values[:-1]
    ends = indptr[1:-1]
    rises[ends[(ends > 0) & (ends < values.size)] - 1] = True
    return None if rises.all() else int(np.searchsorted(indptr, np.argmin(rises), side="right")) - 1


def check_offsets(name: str, indptr: NDArray[Any], size: int) -> None:
    """Raise `DataError` unless the offsets rise from 0 to `size`."""
    if indptr.size == 0 or indptr[0] != 0 or indptr[-1] != size or (indptr[1:] < indptr[:-1]).any():
        raise DataError(f"{name} must rise from 0 to the number of entries, {size:,}")


def _check_integers(name: str, array: NDArray[Any], size: int) -> None:
    if array.shape != (size,) or not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{name} must hold {size:,} integers; its shape is {array.shape}, its type {array.dtype}")


def _check_graph(graph: KPGraph) -> None:
    """Raise `DataError` unless the arrays are a symmetric CSR with sorted columns, no diagonal and counts > 0."""
    indptr, indices, n = graph.indptr, graph.indices, graph.n_kps
    _check_integers("indptr", indptr, max(n + 1, 1))
    _check_integers("indices", indices, indices.size)
    _check_integers("count", graph.count, indices.size)
    _check_integers("weight", graph.weight, indices.size)
    _check_integers("seed_count", graph.seed_count, n)
    if graph.names is not None and len(graph.names) != n:
        raise DataError(f"{len(graph.names)} names for {n} KPs")
    if n > MAX_KPS:
        raise DataError(f"{n:,} KPs; at most {MAX_KPS:,} are supported")
    check_offsets("indptr", indptr, indices.size)
    if graph.seed_count.min(initial=0) < 0:
        raise DataError("no seed_count can be negative")
    if indices.size == 0:
        return
    if indices.min() < 0 or indices.max() >= n:
        raise DataError(f"indices must lie in 0 .. {n - 1}")
    if graph.count.min() <= 0 or graph.weight.min() <= 0:
        raise DataError("every count and weight must be positive; leave out entries that are 0")
    rows = np.repeat(np.arange(n, dtype=np.int32), graph.degree)
    if (rows == indices).any():
        raise DataError(f"self-loop at KP {rows[rows == indices][0]}; the diagonal must be left out")
    if (row := first_row_out_of_order(indptr, indices)) is not None:
        raise DataError(f"columns of row {row} must ascend without repeats")
    for name in ("count",) if graph.weight is graph.count else ("count", "weight"):
        matrix = graph.to_scipy(name)
        transposed = matrix.T.tocsr()  # counting sort: O(n_entries)
        parts = ((getattr(matrix, part), getattr(transposed, part)) for part in ("indptr", "indices", "data"))
        if not all(np.array_equal(one, other) for one, other in parts):
            raise DataError(f"the matrix of indices and {name} is not symmetric")


def _check_evidence(graph: KPGraph) -> None:
    """Raise `DataError` unless each edge has `count` seeds, ascending and below `n_seeds`."""
    indptr, seeds = graph.evidence_indptr, graph.evidence
    if indptr is None and seeds is None:
        return
    if indptr is None or seeds is None or graph.n_seeds is None:
        raise DataError("evidence, evidence_indptr and n_seeds must be given together")
    _check_integers("evidence_indptr", indptr, graph.n_edges + 1)
    _check_integers("evidence", seeds, seeds.size)
    check_offsets("evidence_indptr", indptr, seeds.size)
    rows = np.repeat(np.arange(graph.n_kps, dtype=np.int32), graph.degree)
    if not np.array_equal(np.diff(indptr), graph.count[rows < graph.indices]):
        raise DataError("evidence_indptr must give each edge as many seeds as its count")
    if seeds.size and (seeds.min() < 0 or seeds.max() >= graph.n_seeds):
        raise DataError(f"evidence must lie in 0 .. {graph.n_seeds - 1}")
    if (edge := first_row_out_of_order(indptr, seeds)) is not None:
        raise DataError(f"the evidence of edge {edge} must ascend without repeats")


@dataclass(frozen=True)
class Cell:
    """One combination of discipline, difficulty and group of licenses in a campaign."""

    discipline: str | None
    """None: any."""
    difficulty: int | None
    """Level 1..5; None: any."""
    n_paths: int
    license_group: str | None = None
    """Group of licenses that all seeds of its bundles have; None: any."""

    @property
    def label(self) -> str:
        """The cell as text."""
        parts = [self.discipline or "any discipline", f"level {self.difficulty}" if self.difficulty else ""]
        parts.append(f"licenses {self.license_group}" if self.license_group else "")
        return ", ".join(part for part in parts if part)


# Why a path was not kept; the index is the code in `WalkBatch.status`.
PATH_STATUS = ("kept", "too_short", "repeated", "few_seeds", "off_cell", "no_start", "revoked")
_WALK_COLUMNS = ("nodes", "lengths", "ids", "status", "cell", "round")  # the first fields of a `WalkBatch`, in order


@dataclass(frozen=True, eq=False, repr=False)
class WalkBatch:
    """Walks of one or several rounds."""

    nodes: Int32
    """[n, length + 1] KPs of each path, padded with -1."""
    lengths: Int32
    """[n] KPs on each path."""
    ids: Int64
    """[n] walk id, unique in the campaign."""
    status: NDArray[np.uint8]
    """[n] index into `PATH_STATUS`; a path that no redraw could keep stays here with its reason."""
    cell: Int32
    """[n] cell of the plan."""
    round: Int32
    """[n] round of the campaign."""
    redraws: int = 0
    """Walks that were drawn again."""
    cells: Sequence[Cell] = ()
    """The plan that `cell` refers to; empty: one cell over everything."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What `Walker.sample` drew the walks with: 'seed' and the fields of the `WalkConfig` as 'walk'."""

    def __len__(self) -> int:
        return int(self.lengths.size)

    def __repr__(self) -> str:
        return f"WalkBatch({len(self):,} paths of up to {self.nodes.shape[1]} KPs)"

    def __getitem__(self, rows: slice) -> WalkBatch:
        """Some rows, without the number of their redraws."""
        parts: list[Any] = [getattr(self, name)[rows] for name in _WALK_COLUMNS]
        return WalkBatch(*parts)

    @classmethod
    def concatenate(cls, batches: Sequence[WalkBatch]) -> WalkBatch:
        """Join batches in their order."""
        joined: dict[str, Any] = {name: np.concatenate([getattr(b, name) for b in batches]) for name in _WALK_COLUMNS}
        return cls(**joined, redraws=sum(b.redraws for b in batches))

    def to_arrow(self, graph: KPGraph) -> pa.Table:
        """Return the paths as a table: walk_id, round, cell, path (KP names) and drop_reason (null: kept)."""
        import pyarrow as pa

        reasons = np.array([None, *PATH_STATUS[1:]], object)
        return pa.table(
            {
                "walk_id": self.ids,
                "round": self.round,
                "cell": self.cell,
                "path": named_lists(self.nodes, self.lengths, graph.names),
                "drop_reason": pa.array(reasons[self.status], pa.string()),
            }
        )


@dataclass(frozen=True, eq=False, repr=False)
class Bundles:
    """Seeds linked along paths, one row per path of the batch that they belong to."""

    seeds: Int32
    """[n, length] rows of the seed table, in the order of the path's edges, padded with -1."""
    status: NDArray[np.uint8]
    """[n] index into `PATH_STATUS`: why a path was dropped before it was linked, or has no bundle."""
    origin: tuple[WalkBatch, KPGraph, Seeds] | None = None
    """What `link_seeds` linked: the paths, their graph and its seeds."""

    def __len__(self) -> int:
        return int(self.status.size)

    def __repr__(self) -> str:
        return f"Bundles({len(self):,} paths with up to {self.seeds.shape[1]} seeds)"

    @cached_property
    def sizes(self) -> Int32:
        """[n] seeds of each bundle."""
        sizes: Int32 = (self.seeds >= 0).sum(axis=1, dtype=np.int32)
        return sizes

    @property
    def kept(self) -> Bool:
        """[n] which paths have a bundle."""
        kept: Bool = self.status == 0
        return kept

    @property
    def drops(self) -> Counter[str]:
        """Paths without a bundle, by reason."""
        return +Counter({reason: int((self.status == i).sum()) for i, reason in enumerate(PATH_STATUS) if i})

    @property
    def drop_reason(self) -> NDArray[np.object_]:
        """[n] why a path has no bundle: a word of `PATH_STATUS`; None where it has one."""
        return np.array([None, *PATH_STATUS[1:]], object)[self.status]

    def linked(self) -> tuple[WalkBatch, KPGraph, Seeds]:
        """Return `origin`.

        Raises
        ------
        DataError
            The bundles were not made by `link_seeds`.
        """
        if self.origin is None:
            raise DataError("these bundles hold neither their paths nor their seeds; make them with link_seeds")
        return self.origin

    def to_arrow(self) -> pa.Table:
        """Return the columns of `WalkBatch.to_arrow` and seed_ids; drop_reason includes those of linking."""
        import pyarrow as pa

        paths, graph, seeds = self.linked()
        ids = named_lists(self.seeds, self.sizes, seeds.table.column("id"))
        table = paths.to_arrow(graph).drop(["drop_reason"]).append_column("seed_ids", ids)
        return table.append_column("drop_reason", pa.array(self.drop_reason, pa.string()))


def named_lists(padded: Int32, sizes: Int32, names: Any = None) -> pa.Array:
    """Return rows of -1 padded numbers as an Arrow array of lists, of their names where there are any."""
    import pyarrow as pa

    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))
    values = pa.array(padded[padded >= 0])
    if isinstance(names, pa.ChunkedArray):
        values = names.take(values).combine_chunks()
    elif names is not None:
        values = pa.array(names, pa.string()).take(values)
    return pa.ListArray.from_arrays(offsets, values)


@dataclass(frozen=True, slots=True)
class Item:
    """One new QA as the model wrote it; text is stripped, nothing else is changed."""

    question: str
    answer: str
    options: tuple[str, ...] = ()
    explanation: str = ""
    knowledge_points: tuple[str, ...] = ()
    discipline: str | None = None
    difficulty: int | None = None
    """Level 1..5 as the model gave it; None without one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an item was asked to be."""

    question_type: str
    language: str
    limits: Mapping[str, int] | None = None
    """Longest text of each field that the answer's schema allowed, in characters; None: no limit."""


def cut_field(item: Item, limits: Mapping[str, int]) -> str | None:
    """Name of the first field whose text is as long as its schema allows, and was therefore cut off; None: no field.

    The explanation does not count: a QA is complete without it (see `without_cut_explanation`).
    """
    texts = {"question": (item.question,), "answer": (item.answer,), "options": item.options}
    for name, values in texts.items():
        if any(_has_full_length(text, limits[name]) for text in values):
            return name
    return None


def without_cut_explanation(item: Item, limits: Mapping[str, int] | None) -> Item:
    """The item, with an empty explanation if the schema's limit cut the explanation off."""
    if limits is None or not _has_full_length(item.explanation, limits["explanation"]):
        return item
    return replace(item, explanation="")


def _has_full_length(text: str, limit: int) -> bool:
    return len(text) >= limit - 2  # stripping may have removed a blank or two


def qa_schema() -> pa.Schema:
    """Columns of qa.parquet; qa.jsonl has the same keys."""
    import pyarrow as pa

    texts = pa.list_(pa.string())
    return pa.schema(
        [
            ("id", pa.string()),
            ("question", pa.string()),
            ("options", texts),
            ("answer", pa.string()),
            ("explanation", pa.string()),
            ("reasoning", pa.string()),
            ("knowledge_points", texts),
            ("discipline", pa.string()),
            ("difficulty", pa.int8()),
            ("language", pa.string()),
            ("question_type", pa.string()),
            ("walk_id", pa.int64()),
            ("path", texts),
            ("seed_ids", texts),
            ("seed_difficulties", pa.list_(pa.int8())),  # null: not rated
            ("difficulty_asked", pa.int8()),  # of the cell; null: any
            ("cell", pa.int32()),
            ("request_id", pa.string()),
            ("prompt_digest", pa.string()),
            ("model", pa.string()),
            ("temperature", pa.float64()),
            ("top_p", pa.float64()),
            ("seed", pa.int64()),
            ("max_tokens", pa.int32()),
            ("left_out", texts),  # parameters that were not sent
            ("prompt_tokens", pa.int32()),
            ("completion_tokens", pa.int32()),
            ("license_group", pa.string()),  # of all its seeds; null: the campaign has no groups
        ]
    )


_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def clean_text(text: str) -> str:
    """A text that any database stores: no control characters except tab and line feed, and no lone surrogates."""
    if text.isprintable():
        return text
    text = _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return text.encode(errors="replace").decode()


def _cleaned(value: Any) -> Any:
    return clean_text(value) if isinstance(value, str) else [clean_text(text) for text in value]


class RowWriter:
    """Writes rows to a Parquet file and, if given, to a JSON Lines file; use as a context manager."""

    def __init__(self, schema: pa.Schema, parquet: str | Path, jsonl: str | Path | None = None) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._schema = schema
        self._texts = [field.name for field in schema if field.type in (pa.string(), pa.list_(pa.string()))]
        self._lines: IO[bytes] | None = None if jsonl is None else Path(jsonl).open("wb")  # noqa: SIM115 - see __exit__
        self._parquet = pq.ParquetWriter(parquet, schema, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._parquet.close()
        if self._lines is not None:
            self._lines.close()

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append rows, with their texts cleaned: one row group, and one line for each."""
        import pyarrow as pa

        clean = []
        for row in rows:
            texts = {name: row[name] for name in self._texts if row.get(name) is not None}
            clean.append({**row, **{name: _cleaned(text) for name, text in texts.items()}})
        self._parquet.write_batch(pa.RecordBatch.from_pylist(clean, schema=self._schema))
        if self._lines is not None:
            self._lines.writelines(map(json_line, clean))

    def copy(self, table: pa.Table) -> None:
        """Append rows of another file of this schema, for a writer without a JSON Lines file: one row group."""
        self._parquet.write_table(table, row_group_size=max(1, table.num_rows))


def json_line(row: Mapping[str, Any]) -> bytes:
    """A row as a line of compact JSON in UTF-8; a lone surrogate, which is not Unicode, becomes a question mark."""
    import orjson

    try:
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, or an integer of more than 64 bits
        return (json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n").encode(errors="replace")
