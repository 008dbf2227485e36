"""Values, tables and walks on the CPU: what the reference does, in Numba on all cores, with the same bits.

docs/walks.md explains how walks are made fast; the kernels are in `kernels/`. Threads are Numba's setting
(NUMBA_NUM_THREADS, `numba.set_num_threads`), and no result depends on it.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field, replace

import numpy as np

from linksyn_gpu.backend.cpu.kernels import tables, walk
from linksyn_gpu.backend.cpu.kernels.core import allocate, operand, run_tasks
from linksyn_gpu.backend.cpu.tasks import (
    ENTRIES_PER_TASK,
    ROWS_PER_TASK,
    WALKS_PER_TASK,
    count_tasks,
    key_words,
    offsets,
    split,
)
from linksyn_gpu.backend.protocol import StepRule
from linksyn_gpu.backend.reference.walk import MASS_BITS
from linksyn_gpu.backend.reference.walk import calibrated_scale as calibrated_scale
from linksyn_gpu.tables import Float64, Int32, Int64, KPGraph, UInt32, UInt64

_LANES = 64  # walks that a thread advances together


@dataclass(frozen=True, eq=False)
class WalkGraph:
    """A graph, as walks need it."""

    indptr: Int64
    indices: Int32
    weight: Int32
    """[n_entries] > 0; in the graph of a cell, < 0 for a foreign edge."""
    column_max: Int32
    """[2, n_kps] largest weight of the entries that lead to a KP, own edges and foreign ones: they give the largest
    mass of a round at once."""
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
    """Arrays of freed tables. New memory would cost as much as the table itself, because the system clears it."""


@dataclass(frozen=True, eq=False)
class TransitionTable:
    """Inclusive prefix sums of integer masses inside each row, and the cells that answer draws from them."""

    pairs: UInt64
    """[n_entries + 3] (prefix << 32 | neighbour): a search finds both in one place. The last 3 are never answers."""
    cells: UInt64
    """[n_entries + 1] see `kernels/tables.py`; the last is never used."""
    node: UInt64
    """[n_kps, 2] start of the row and its coarse shift; total and degree of the row."""

    @property
    def prefix(self) -> UInt32:
        """[n_entries] (a copy)."""
        return (self.pairs[: -tables.SPARE_PAIRS] >> np.uint64(32)).astype(np.uint32)

    @property
    def total(self) -> UInt32:
        """[n_kps] the last prefix of each row; 0 for an empty or massless row."""
        return (self.node[:, 1] >> np.uint64(32)).astype(np.uint32)


@dataclass(frozen=True, eq=False)
class StartTable:
    """Inclusive prefix sums of start masses over all KPs, and the cells that answer draws from them."""

    pairs: UInt64
    """[n_kps + 3] (prefix << 32 | KP)"""
    cells: UInt64
    """[n_kps]"""
    total: int
    coarse: int

    @property
    def prefix(self) -> UInt32:
        """[n_kps] (a copy)."""
        return (self.pairs[: -tables.SPARE_PAIRS] >> np.uint64(32)).astype(np.uint32)


def load_graph(graph: KPGraph, *, second_order: bool) -> WalkGraph:
    """Take the graph's own arrays, and build the hash tables of the neighbour test if `second_order`."""
    graph = graph.checked
    indptr = operand(graph.indptr, np.int64)
    indices, weight = operand(graph.indices, np.int32), operand(graph.weight, np.int32)
    n_kps = indptr.size - 1
    task_rows = split(indptr, ENTRIES_PER_TASK)
    edge_start, edge_slots = np.zeros(0, np.int64), np.zeros(0, np.int32)
    if second_order:
        above = np.zeros(n_kps, np.int64)
        run_tasks(walk.upper_degree_tasks, task_rows.size - 1, task_rows, indptr, indices, above)
        edge_start = offsets(2 * above)
        edge_slots = allocate(int(edge_start[-1]), np.int32)
        run_tasks(walk.edge_slot_tasks, task_rows.size - 1, task_rows, indptr, indices, edge_start, edge_slots)
    return WalkGraph(
        indptr=indptr,
        indices=indices,
        weight=weight,
        column_max=_column_max(indices, weight, n_kps),
        names=np.arange(n_kps, dtype=np.int32),
        task_rows=task_rows,
        max_degree=int(np.diff(indptr).max(initial=0)),
        edge_start=edge_start,
        edge_slots=edge_slots,
    )


def cell_graph(graph: WalkGraph, weight: Int32) -> WalkGraph:
    """The same graph with the weights of a cell."""
    weight = operand(weight, np.int32)
    return replace(graph, weight=weight, column_max=_column_max(graph.indices, weight, graph.names.size))


def _column_max(indices: Int32, weight: Int32, n_kps: int) -> Int32:
    found = np.zeros((2, n_kps), np.int32)
    tables.column_max(indices, weight, *found)
    return found


# ---------------------------------------------------------------------- value function


def node_value(target: Float64, potential: Float64, visits: Int64, beta: float) -> Float64:
    """V(v), in all threads."""
    target, potential = operand(target, np.float64), operand(potential, np.float64)
    visits = operand(visits, np.int64)
    out = np.empty(target.size, np.float64)
    arguments = (target, potential, visits, float(visits.sum()), float(beta), out)
    run_tasks(tables.value_tasks, count_tasks(target.size, ROWS_PER_TASK), *arguments)
    return out


def calibrated_potential(potential: Float64, target: Float64, visits: Int64) -> Float64:
    """One step of calibration, in all threads."""
    target, potential = operand(target, np.float64), operand(potential, np.float64)
    visits = operand(visits, np.int64)
    out = np.empty(target.size, np.float64)
    arguments = (potential, target, visits, float(visits.sum()), out)
    run_tasks(tables.potential_tasks, count_tasks(target.size, ROWS_PER_TASK), *arguments)
    return out


def count_steps(graph: WalkGraph, nodes: Int32) -> Int64:
    """Walk by walk, in all threads."""
    nodes = operand(nodes, np.int32)
    counts = np.zeros(2, np.int64)
    arguments = (graph.indptr, graph.indices, graph.weight, nodes, counts)
    run_tasks(tables.step_tasks, count_tasks(nodes.shape[0], WALKS_PER_TASK), *arguments)
    return counts


# ---------------------------------------------------------------------- tables


def transition_table(
    graph: WalkGraph, value: Float64, scale: Float64 | None = None, *, steps: int = 0
) -> TransitionTable:
    """Masses w * V, their sums, and the cells that answer draws, row by row; cells pay for any number of steps."""
    value = operand(value, np.float64)
    n_kps, n_entries = graph.indptr.size - 1, graph.indices.size
    factor = 1.0 if scale is None else float(scale[0])
    own, foreign = graph.column_max
    # Rounding is monotone, so the largest w * V is that of the heaviest entry into some KP.
    _, exponent = math.frexp(float((np.maximum(own, foreign * factor) * value).max(initial=0.0)))
    scaled = value * math.ldexp(1.0, MASS_BITS - exponent)
    try:
        arrays = graph.spare.pop()
    except IndexError:
        arrays = (
            allocate(n_entries + tables.SPARE_PAIRS, np.uint64),
            allocate(n_entries + 1, np.uint64),
            allocate((n_kps, 2), np.uint64),
        )
    pairs, cells, node = arrays
    fixed = (graph.task_rows, graph.indptr, graph.indices, graph.weight, factor, scaled)
    run_tasks(tables.transition_tasks, graph.task_rows.size - 1, *fixed, pairs, cells, node, graph.max_degree)
    table = TransitionTable(pairs, cells, node)
    weakref.finalize(table, graph.spare.append, arrays)
    return table


def start_table(table: TransitionTable, target: Float64, value: Float64) -> StartTable:
    """Masses T * V as one row over all KPs."""
    mass = np.where(table.total > 0, np.asarray(target) * np.asarray(value), 0.0)
    n_kps = mass.size
    pairs, cells = np.zeros(n_kps + tables.SPARE_PAIRS, np.uint64), np.zeros(n_kps, np.uint64)
    if n_kps == 0:
        return StartTable(pairs, cells, 0, 0)
    _, exponent = math.frexp(float(mass.max()))
    # Two factors: one alone would overflow where all masses lie near the smallest float.
    first = min(MASS_BITS - exponent, 1000)
    scales = math.ldexp(1.0, first), math.ldexp(1.0, MASS_BITS - exponent - first)
    scratch = np.empty(n_kps + 1, np.uint64), np.empty(n_kps + 2, np.int32)
    names = np.arange(n_kps, dtype=np.int32)
    total, coarse = tables.start_row(mass, *scales, names, *scratch, pairs, cells)
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
    """Batches of walks, in all threads."""
    ids = operand(ids, np.int64)
    nodes: Int32 = allocate((ids.size, length + 1), np.int32)
    if ids.size == 0 or start.total == 0:
        nodes.fill(-1)
        return nodes
    if rule.second_order and graph.edge_start.size == 0:
        raise ValueError("load_graph(..., second_order=True) is needed for p or q other than 1")
    run_tasks(
        walk.walk_tasks(rule.no_revisit, rule.second_order),
        count_tasks(ids.size, WALKS_PER_TASK),
        walk.Tables(table.node, table.cells, table.pairs),
        walk.EdgeSlots(graph.edge_start, graph.edge_slots),
        walk.Starts(start.pairs, start.cells, np.uint64(start.total), np.uint64(start.coarse)),
        ids,
        length,
        walk.Rule(*map(np.uint64, rule.acceptance())),
        key_words(key),
        _LANES,
        nodes,
    )
    return nodes
