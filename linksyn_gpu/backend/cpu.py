"""The CPU backend: every primitive of `reference.py` in Numba, on all cores, with the same bits.

How walks are made fast is told in docs/walks.md; the kernels are in `numba_*.py`. Threads are Numba's setting
(NUMBA_NUM_THREADS, `numba.set_num_threads`), and no result depends on it.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.backend import numba_build, numba_bundle, numba_tables, numba_walk
from linksyn_gpu.backend.numba_core import allocate, free_memory, operand, run_tasks, thread_count
from linksyn_gpu.backend.reference import (
    MASS_BITS,
    EvidenceGraph,
    OrderedEvidence,
    StepRule,
)
from linksyn_gpu.backend.reference import load_evidence as load_evidence
from linksyn_gpu.backend.rng import LOW
from linksyn_gpu.errors import DataError
from linksyn_gpu.tables import Bool, Float64, Int32, Int64, KPGraph, UInt32, UInt64

_LANES = 48  # walks that a thread keeps going at once
_WALKS_PER_TASK = 1024
_ENTRIES_PER_TASK = 1 << 16
_ROWS_PER_TASK = 1 << 14
_FREE_SHARE = 0.8  # of the free memory, when no limit is given
_LEAST_SLOTS = 1 << 12


@dataclass(frozen=True, eq=False)
class WalkGraph:
    """A graph as walks need it."""

    indptr: Int64
    indices: Int32
    weight: Int32
    column_max: Int32
    """[n_kps] largest weight of the entries that lead to a KP: the round's largest mass without a look at them all."""
    names: Int32
    """[n_kps] 0 .. n_kps - 1, the neighbours in the row of start draws."""
    task_rows: Int64
    """[n_tasks + 1] rows cut into tasks of about equal numbers of entries."""
    max_degree: int
    edge_start: Int64
    """[n_kps + 1] begin of each KP's slots, for node2vec's neighbour test; empty without it."""
    edge_slots: Int32
    """Neighbours with a larger id, one hash table per KP at most half full; -1 where empty."""
    spare: list[tuple[UInt64, UInt64, UInt64]] = field(default_factory=list)
    """Arrays of tables that are gone. Fresh memory would cost as much as the table itself: the system clears it."""


@dataclass(frozen=True, eq=False)
class TransitionTable:
    """Inclusive prefix sums of integer masses inside each row, and the cells that answer draws from them."""

    pairs: UInt64
    """[n_entries] (prefix << 32 | neighbour): a search finds both in one place."""
    cells: UInt64
    """[n_entries + 1] see `numba_tables`; the last is never read for its value."""
    node: UInt64
    """[n_kps, 2] start of the row and its coarse shift; total and degree of the row."""

    @property
    def prefix(self) -> UInt32:
        """[n_entries] (a copy)."""
        return (self.pairs >> np.uint64(32)).astype(np.uint32)

    @property
    def total(self) -> UInt32:
        """[n_kps] the last prefix of each row; 0 for an empty or massless row."""
        return (self.node[:, 1] >> np.uint64(32)).astype(np.uint32)


@dataclass(frozen=True, eq=False)
class StartTable:
    """Inclusive prefix sums of start masses over all KPs, and the cells that answer draws from them."""

    pairs: UInt64
    """[n_kps] (prefix << 32 | KP)"""
    cells: UInt64
    """[n_kps]"""
    total: int
    coarse: int

    @property
    def prefix(self) -> UInt32:
        """[n_kps] (a copy)."""
        return (self.pairs >> np.uint64(32)).astype(np.uint32)


@dataclass(eq=False)
class KeySet:
    """Names of the KP sets sampled so far in a campaign: open addressing, at most half full."""

    slots: UInt64 = field(default_factory=lambda: np.zeros(_LEAST_SLOTS, np.uint64))
    """[a power of two] 0 where empty."""
    used: int = 0
    holds_zero: bool = False
    """The name 0, which means an empty slot, is kept here."""

    @property
    def keys(self) -> set[int]:
        """The names, as `reference.KeySet` has them."""
        held = set(self.slots[self.slots != 0].tolist())
        return held | {0} if self.holds_zero else held


# ---------------------------------------------------------------------- placement


def asarray(array: Any) -> Any:
    """Bring a host array into the backend's memory."""
    return np.asarray(array)


def to_host(array: Any) -> Any:
    """Bring a backend array to the host."""
    return np.asarray(array)


def walk_ids(begin: int, end: int) -> Int64:
    """Walk ids begin .. end - 1 in the backend's memory."""
    return np.arange(begin, end, dtype=np.int64)


def flatnonzero(array: Any) -> Any:
    """Rows where `array` is not 0, ascending."""
    return np.flatnonzero(array)


def load_graph(graph: KPGraph, *, second_order: bool) -> WalkGraph:
    """Bring a graph into the backend's memory, with what node2vec's neighbour test needs if `second_order`."""
    indptr = operand(graph.indptr, np.int64)
    indices, weight = operand(graph.indices, np.int32), operand(graph.weight, np.int32)
    n_kps = indptr.size - 1
    column_max = np.zeros(n_kps, np.int32)
    numba_tables.column_max(indices, weight, column_max)
    task_rows = _split(indptr, _ENTRIES_PER_TASK)
    edge_start, edge_slots = np.zeros(0, np.int64), np.zeros(0, np.int32)
    if second_order:
        above = np.zeros(n_kps, np.int64)
        run_tasks(numba_walk.upper_degree_tasks, task_rows.size - 1, task_rows, indptr, indices, above)
        edge_start = _offsets(2 * above)
        edge_slots = allocate(int(edge_start[-1]), np.int32)
        run_tasks(numba_walk.edge_slot_tasks, task_rows.size - 1, task_rows, indptr, indices, edge_start, edge_slots)
    return WalkGraph(
        indptr=indptr,
        indices=indices,
        weight=weight,
        column_max=column_max,
        names=np.arange(n_kps, dtype=np.int32),
        task_rows=task_rows,
        max_degree=int(np.diff(indptr).max(initial=0)),
        edge_start=edge_start,
        edge_slots=edge_slots,
    )


def _offsets(sizes: Any) -> Int64:
    """Where each of consecutive blocks begins, and where the last ends."""
    out = np.zeros(sizes.size + 1, np.int64)
    np.cumsum(sizes, out=out[1:])
    return out


def _split(offsets: Int64, work: int) -> Int64:
    """Cut blocks into runs of about `work` units: a hub makes a run of its own and keeps one thread busy, not all."""
    n_tasks = max(1, int(offsets[-1]) // work)
    targets = np.linspace(0, int(offsets[-1]), n_tasks + 1)[1:-1]
    inner = np.searchsorted(offsets, targets)
    return np.unique(np.concatenate([[0], inner, [offsets.size - 1]])).astype(np.int64)


# ---------------------------------------------------------------------- construction


def cooccurrence(
    indptr: Int64, kp_indices: Int32, n_kps: int, *, memory_limit: int | None = None
) -> tuple[Int64, Int32, Int32]:
    """C = A'A without its diagonal, as CSR with sorted columns.

    Parameters
    ----------
    indptr : int64 [n_seeds + 1]
    kp_indices : int32 [n_mentions]
        KPs of each seed, ascending and distinct within a seed.
    n_kps : int
    memory_limit : int, optional
        Bytes that the product may take, the result included; None: a share of what the machine has free. Rows are
        made once, with room for repeats, when that fits; else twice, first for their lengths.

    Returns
    -------
    indptr int64 [n_kps + 1], indices int32 [n_entries], count int32 [n_entries]

    Raises
    ------
    DataError
        The KPs of a seed do not ascend or lie outside 0 .. n_kps - 1, there are 2^31 seeds or more, or the
        product does not fit in memory.
    """
    indptr, kp_indices = operand(indptr, np.int64), operand(kp_indices, np.int32)
    limit = int(free_memory() * _FREE_SHARE) if memory_limit is None else memory_limit
    pairs = np.zeros(n_kps, np.int64)
    post_indptr, post_seeds = _seeds_of_kps(indptr, kp_indices, n_kps)
    numba_build.pair_counts(indptr, kp_indices, pairs)
    pair_start = _offsets(pairs)
    longest = int(pairs[pairs * numba_build.DENSE_SHARE <= n_kps].max(initial=0))
    bits = max(1, int(n_kps - 1).bit_length())
    passes = -(-bits // numba_build.DIGIT_MAX)
    digit = -(-bits // passes)
    task_rows = _split(pair_start, _ENTRIES_PER_TASK)
    entries = np.zeros(n_kps, np.int64)
    nothing = np.zeros(0, np.int32)

    def make_rows(place: Int64, columns: Int32, counts: Int32) -> None:
        fixed = (task_rows, pair_start, post_indptr, post_seeds, indptr, kp_indices, longest, digit, passes)
        run_tasks(numba_build.row_tasks, task_rows.size - 1, *fixed, place, columns, counts, entries)

    per_thread = 8 * longest + (4 * n_kps if (pairs * numba_build.DENSE_SHARE > n_kps).any() else 0)
    taken = post_seeds.nbytes + 5 * 8 * n_kps + per_thread * thread_count()
    n_pairs = int(pair_start[-1])
    if taken + 16 * n_pairs <= limit:
        columns, counts = allocate(n_pairs, np.int32), allocate(n_pairs, np.int32)
        make_rows(pair_start, columns, counts)
        out_indptr = _offsets(entries)
        out_columns, out_counts = (allocate(int(out_indptr[-1]), np.int32) for _ in range(2))
        moved = (task_rows, pair_start, columns, counts, out_indptr, out_columns, out_counts)
        run_tasks(numba_build.compact_tasks, task_rows.size - 1, *moved)
        return out_indptr, out_columns, out_counts
    make_rows(pair_start, nothing, nothing)
    out_indptr = _offsets(entries)
    n_entries = int(out_indptr[-1])
    if taken + 8 * n_entries > limit:
        raise DataError(
            f"the co-occurrence graph of {n_entries:,} entries takes {(taken + 8 * n_entries) >> 20:,} MiB to build, "
            f"{limit >> 20:,} MiB are allowed; raise memory_limit, or set max_kps_per_seed"
        )
    out_columns, out_counts = allocate(n_entries, np.int32), allocate(n_entries, np.int32)
    make_rows(out_indptr, out_columns, out_counts)
    return out_indptr, out_columns, out_counts


def _seeds_of_kps(indptr: Int64, kp_indices: Int32, n_kps: int) -> tuple[Int64, Int32]:
    """For each KP the seeds that hold it, ascending."""
    n_seeds = indptr.size - 1
    if n_seeds >= 2**31:
        raise DataError(f"{n_seeds:,} seeds; fewer than 2^31 are supported")
    # A task needs a counter per KP: never more counters than mentions.
    n_tasks = max(1, min(thread_count(), int(kp_indices.size) // max(1, n_kps)))
    histogram = np.empty((n_tasks, n_kps), np.int64)
    lost = np.zeros(n_tasks, np.int64)
    run_tasks(numba_build.postings_histogram, n_tasks, indptr, kp_indices, histogram, lost)
    if lost.any():
        raise DataError(f"the KPs of {int(lost.sum()):,} seeds do not ascend without repeats within 0 .. {n_kps - 1}")
    starts = np.empty(n_kps + 1, np.int64)
    numba_build.postings_offsets(histogram, starts)
    seeds = allocate(int(kp_indices.size), np.int32)
    run_tasks(numba_build.postings_scatter, n_tasks, indptr, kp_indices, histogram, seeds)
    return starts, seeds


def evidence(indptr: Int64, kp_indices: Int32, graph_indptr: Int64, graph_indices: Int32) -> tuple[Int64, Int32]:
    """Postings: for each undirected edge (u < v, in row order), the seeds that hold both ends, ascending.

    Pairs whose edge is not in the graph (it was pruned) are left out.

    Returns
    -------
    evidence_indptr int64 [n_edges + 1], evidence int32
    """
    indptr, kp_indices = operand(indptr, np.int64), operand(kp_indices, np.int32)
    graph_indptr, graph_indices = operand(graph_indptr, np.int64), operand(graph_indices, np.int32)
    n_kps = graph_indptr.size - 1
    post_indptr, post_seeds = _seeds_of_kps(indptr, kp_indices, n_kps)
    first, running = np.zeros(n_kps, np.int64), np.zeros(n_kps + 1, np.int64)
    numba_build.upper_start(graph_indptr, graph_indices, first, running)
    task_rows = _split(post_indptr + graph_indptr, _ENTRIES_PER_TASK)
    fixed = (task_rows, graph_indptr, graph_indices, first, running, post_indptr, post_seeds, indptr, kp_indices)
    sizes = np.empty(int(running[-1]), np.int64)
    run_tasks(numba_build.edge_count_tasks, task_rows.size - 1, *fixed, sizes)
    edge_start = _offsets(sizes)
    edge_seeds = allocate(int(edge_start[-1]), np.int32)
    run_tasks(numba_build.edge_fill_tasks, task_rows.size - 1, *fixed, edge_start, edge_seeds)
    return edge_start, edge_seeds


# ---------------------------------------------------------------------- value function


def node_value(target: Float64, potential: Float64, visits: Int64, beta: float) -> Float64:
    """V(v) = P(v) * F(v), clipped to [2^-20, 2^20]; 0 where the target is 0.

    F(v) = ((T(v) * N + s) / (n(v) + s)) ^ beta, what KP v is still owed: this project's own formula.
    """
    target, potential = operand(target, np.float64), operand(potential, np.float64)
    visits = operand(visits, np.int64)
    out = np.empty(target.size, np.float64)
    arguments = (target, potential, visits, float(visits.sum()), float(beta), out)
    run_tasks(numba_tables.value_tasks, _n_tasks(target.size, _ROWS_PER_TASK), *arguments)
    return out


def calibrated_potential(potential: Float64, target: Float64, visits: Int64) -> Float64:
    """P(v) <- clip(P(v) * sqrt((T(v) * M + s) / (m(v) + s)), 2^-10, 2^10): this project's own rule."""
    target, potential = operand(target, np.float64), operand(potential, np.float64)
    visits = operand(visits, np.int64)
    out = np.empty(target.size, np.float64)
    arguments = (potential, target, visits, float(visits.sum()), out)
    run_tasks(numba_tables.potential_tasks, _n_tasks(target.size, _ROWS_PER_TASK), *arguments)
    return out


def _n_tasks(size: int, per_task: int) -> int:
    return max(1, -(-size // per_task))


# ---------------------------------------------------------------------- tables


def transition_table(graph: WalkGraph, value: Float64) -> TransitionTable:
    """Table of a round: edge masses w * V, quantised to integers, summed exactly within rows."""
    value = operand(value, np.float64)
    n_kps, n_entries = graph.indptr.size - 1, graph.indices.size
    # Rounding is monotone, so the largest w * V is that of the heaviest entry into some KP.
    _, exponent = math.frexp(float((graph.column_max * value).max(initial=0.0)))
    scaled = value * math.ldexp(1.0, MASS_BITS - exponent)
    try:
        arrays = graph.spare.pop()
    except IndexError:
        arrays = (
            allocate(n_entries, np.uint64),
            allocate(n_entries + 1, np.uint64),
            allocate((n_kps, 2), np.uint64),
        )
    pairs, cells, node = arrays
    fixed = (graph.task_rows, graph.indptr, graph.indices, graph.weight, scaled)
    run_tasks(numba_tables.transition_tasks, graph.task_rows.size - 1, *fixed, pairs, cells, node, graph.max_degree)
    table = TransitionTable(pairs, cells, node)
    weakref.finalize(table, graph.spare.append, arrays)
    return table


def start_table(table: TransitionTable, target: Float64, value: Float64) -> StartTable:
    """Table of start draws: masses T * V over KPs whose row is not massless."""
    mass = np.where(table.total > 0, np.asarray(target) * np.asarray(value), 0.0)
    n_kps = mass.size
    pairs, cells = np.empty(n_kps, np.uint64), np.zeros(n_kps, np.uint64)
    if n_kps == 0:
        return StartTable(pairs, cells, 0, 0)
    _, exponent = math.frexp(float(mass.max()))
    # Two factors: one alone would overflow where all masses lie near the smallest float.
    first = min(MASS_BITS - exponent, 1000)
    scales = math.ldexp(1.0, first), math.ldexp(1.0, MASS_BITS - exponent - first)
    scratch = np.empty(n_kps + 1, np.uint64), np.empty(n_kps + 2, np.int32)
    names = np.arange(n_kps, dtype=np.int32)
    total, coarse = numba_tables.start_row(mass, *scales, names, *scratch, pairs, cells)
    return StartTable(pairs, cells, int(total), int(coarse))


# ---------------------------------------------------------------------- walks


def sample_walks(
    graph: WalkGraph,
    table: TransitionTable,
    start: StartTable,
    ids: Int64,
    *,
    length: int,
    rule: StepRule,
    key: int,
) -> Int32:
    """Draw one walk for each id.

    Returns
    -------
    nodes : int32 [n, length + 1], -1 padded
    """
    ids = operand(ids, np.int64)
    nodes: Int32 = allocate((ids.size, length + 1), np.int32)
    if ids.size == 0 or start.total == 0:
        nodes.fill(-1)
        return nodes
    if rule.second_order and graph.edge_start.size == 0:
        raise ValueError("load_graph(..., second_order=True) is needed for p or q other than 1")
    run_tasks(
        numba_walk.walk_tasks,
        _n_tasks(ids.size, _WALKS_PER_TASK),
        (table.node, table.cells, table.pairs),
        (graph.edge_start, graph.edge_slots),
        (start.pairs, start.cells, np.uint64(start.total), np.uint64(start.coarse)),
        ids,
        length,
        rule.no_revisit,
        rule.second_order,
        tuple(np.uint64(bound) for bound in rule.acceptance()),
        _key_words(key),
        _LANES,
        nodes,
    )
    return nodes


def _key_words(key: int) -> tuple[np.uint64, np.uint64]:
    return np.uint64(key & LOW), np.uint64(key >> 32)


# ---------------------------------------------------------------------- what walks leave behind


def path_lengths(nodes: Int32) -> Int32:
    """KPs on each path: int32 [n]."""
    nodes = operand(nodes, np.int32)
    out = np.empty(nodes.shape[0], np.int32)
    run_tasks(numba_walk.length_tasks, _n_tasks(nodes.shape[0], _ROWS_PER_TASK), nodes, out)
    return out


def count_occurrences(table: Int32, keep: Bool, size: int) -> Int64:
    """How often each number 0 .. size - 1 stands in the kept rows of a -1 padded table: int64 [size].

    Visits of KPs over paths, and uses of seeds over bundles.
    """
    table, keep = operand(table, np.int32), operand(keep, np.bool_)
    # A task has counters of its own: never more counters than numbers to count.
    n_tasks = max(1, min(thread_count(), table.size // max(1, size)))
    counts = np.empty((n_tasks, size), np.int64)
    run_tasks(numba_walk.occurrence_tasks, n_tasks, table, keep, counts)
    total: Int64 = counts.sum(axis=0)
    return total


def key_set() -> KeySet:
    """Make an empty set of KP sets already sampled."""
    return KeySet()


def screen_paths(nodes: Int32, min_length: int, seen: KeySet | None) -> NDArray[np.uint8]:
    """Judge each path, in row order: index into `tables.PATH_STATUS`.

    Too short: fewer than `min_length` KPs. Repeated: its set of KPs is in `seen` or was kept in an earlier row
    (not asked when `seen` is None). The sets of kept paths are added to `seen`.
    """
    status = (path_lengths(nodes) < min_length).astype(np.uint8)
    if seen is not None:
        needed = 2 * (seen.used + status.size)
        if needed > seen.slots.size:
            slots = allocate(1 << (needed - 1).bit_length(), np.uint64)
            slots.fill(0)
            numba_bundle.rehash(seen.slots, slots, _slot_shift(slots))
            seen.slots = slots
        added, seen.holds_zero = numba_bundle.screen_rows(
            path_keys(nodes), seen.slots, _slot_shift(seen.slots), seen.holds_zero, status
        )
        seen.used += added
    return status


def _slot_shift(slots: UInt64) -> np.uint64:
    """The top bits of a key name its slot: path keys are sums of well mixed words."""
    return np.uint64(64 - (slots.size - 1).bit_length())


def path_keys(nodes: Int32) -> UInt64:
    """64-bit name of each path's set of KPs: the sum, over its distinct KPs, of splitmix64's finaliser.

    Two sets share a name with probability 2^-64; then the later path is taken for a repeat and drawn again.
    """
    nodes = operand(nodes, np.int32)
    keys = np.empty(nodes.shape[0], np.uint64)
    run_tasks(numba_bundle.path_key_tasks, _n_tasks(nodes.shape[0], _WALKS_PER_TASK), nodes, keys)
    return keys


# ---------------------------------------------------------------------- bundles of seeds


def order_evidence(evidence: EvidenceGraph, rank: Int64) -> OrderedEvidence:
    """Sort each edge's seeds by (rank, seed), for one round.

    Parameters
    ----------
    rank : int64 [n_seeds]
        Lower is better: uses so far, then distance to the cell's difficulty.
    """
    indptr, seeds = operand(evidence.indptr, np.int64), operand(evidence.seeds, np.int32)
    ordered, ties = allocate(seeds.size, np.int32), np.empty(indptr.size - 1, np.int32)
    arguments = (indptr, seeds, operand(rank, np.int64), ordered, ties)
    run_tasks(numba_bundle.order_tasks, _n_tasks(seeds.size, _ENTRIES_PER_TASK), *arguments)
    return OrderedEvidence(ordered, ties)


def link_paths(
    evidence: EvidenceGraph, ordered: OrderedEvidence, nodes: Int32, ids: Int64, keep: Bool, key: int
) -> Int32:
    """One seed for each edge of each kept path, no seed twice in a bundle.

    Among the seeds of the best rank the search begins at a Philox draw and goes round; then come the others in
    their order. An edge all of whose seeds are in the bundle already adds none.

    Returns
    -------
    seeds : int32 [n, length], -1 padded
    """
    nodes, ids, keep = operand(nodes, np.int32), operand(ids, np.int64), operand(keep, np.bool_)
    graph = (
        operand(evidence.graph_indptr, np.int64),
        operand(evidence.graph_indices, np.int32),
        operand(evidence.upper_first, np.int64),
        operand(evidence.upper_running, np.int64),
    )
    postings = operand(evidence.indptr, np.int64), operand(ordered.seeds, np.int32), operand(ordered.ties, np.int32)
    bundles: Int32 = allocate((nodes.shape[0], nodes.shape[1] - 1), np.int32)
    arguments = (graph, *postings, nodes, ids, keep, _key_words(key), bundles)
    run_tasks(numba_bundle.link_tasks, _n_tasks(nodes.shape[0], _WALKS_PER_TASK), *arguments)
    return bundles
