"""Values, tables and walks on the device: CuPy arrays, kernels/*.cu between them, the bits of the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cupy as cp
import numpy as np

from linksyn_gpu.backend.gpu.cuda import WARP, block_size, launch
from linksyn_gpu.backend.gpu.device import DeviceArray, free_memory, limit_memory, size_of, to_device
from linksyn_gpu.backend.gpu.memory import plan_memory
from linksyn_gpu.backend.protocol import MAX_BATCH, CampaignSize, StepRule
from linksyn_gpu.tables import KPGraph

LONG_ROW = 2048  # rows of this length or more are summed by a whole block
HALF = np.uint64(32)


@dataclass(frozen=True, eq=False)
class WalkGraph:
    """A graph, as walks need it, in device memory."""

    indptr: Any
    indices: Any
    weight: Any
    """[n_entries] > 0; in the graph of a cell, < 0 for a foreign edge."""
    long_rows: Any
    """int64: rows of LONG_ROW entries or more."""


@dataclass(frozen=True, eq=False)
class TransitionTable:
    """Inclusive prefix sums of integer masses inside each row, packed so that a step reads few sectors."""

    rows: Any
    """[n_kps, 2] uint64: begin of the row; total << 32 | degree."""
    pairs: Any
    """[n_entries] uint64: prefix sum << 32 | neighbour."""
    guide: Any
    """[n_entries] uint32: begin of the search for each bucket of a row's draws; empty where it would not pay."""

    @property
    def prefix(self) -> Any:
        """[n_entries] uint32 (a copy)."""
        return (self.pairs >> HALF).astype(np.uint32)

    @property
    def total(self) -> Any:
        """[n_kps] uint32 (a copy): the last prefix of each row; 0 for an empty or massless row."""
        return (self.rows[:, 1] >> HALF).astype(np.uint32)


@dataclass(frozen=True, eq=False)
class StartTable:
    """Inclusive prefix sums of start masses over all KPs, shifted so that the total fits in 32 bits."""

    prefix: Any
    """[n_kps] uint32"""

    @property
    def total(self) -> int:
        return size_of(self.prefix[-1]) if self.prefix.size else 0


def walks_that_fit(size: CampaignSize, length: int, *, memory: int | None = None) -> tuple[int, int]:
    """What the memory plan says."""
    if memory is not None:
        limit_memory(memory)
    plan = plan_memory(size, MAX_BATCH, length, free_memory())
    return plan.walks_per_batch, plan.n_weights


def load_graph(graph: KPGraph, *, second_order: bool) -> WalkGraph:
    """Copy the arrays; the neighbour test searches the rows themselves."""
    graph = graph.checked
    long_rows = np.flatnonzero(graph.degree >= LONG_ROW).astype(np.int64)
    return WalkGraph(*(to_device(a, "load_graph") for a in (graph.indptr, graph.indices, graph.weight, long_rows)))


def cell_graph(graph: WalkGraph, weight: DeviceArray) -> WalkGraph:
    """The same graph with the weights of a cell."""
    return replace(graph, weight=weight)


# ---------------------------------------------------------------------- value function


def node_value(target: DeviceArray, potential: DeviceArray, visits: DeviceArray, beta: float) -> DeviceArray:
    """V(v), one thread per KP."""
    value = cp.empty(target.size, np.float64)
    launch(
        "node_value", target.size,
        target, potential, visits, visits.sum(), target.size, int(2 * beta), value,
    )  # fmt: skip
    return value


def calibrated_potential(potential: DeviceArray, target: DeviceArray, visits: DeviceArray) -> DeviceArray:
    """One step of calibration, one thread per KP."""
    out = cp.empty(target.size, np.float64)
    launch("calibrated_potential", target.size, potential, target, visits, visits.sum(), target.size, out)
    return out


def calibrated_scale(scale: DeviceArray, share: DeviceArray, steps: DeviceArray) -> DeviceArray:
    """One step of calibration, one thread."""
    out = cp.empty(1, np.float64)
    launch("calibrated_scale", 1, scale, share, steps, out)
    return out


def count_steps(graph: WalkGraph, nodes: DeviceArray) -> DeviceArray:
    """One thread per walk; two counters, added to atomically."""
    counts = cp.zeros(2, np.int64)
    row_stride, column_stride = (step // nodes.itemsize for step in nodes.strides)
    launch(
        "count_steps", nodes.shape[0],
        graph.indptr, graph.indices, graph.weight, nodes, *nodes.shape, row_stride, column_stride, counts,
    )  # fmt: skip
    return counts


# ---------------------------------------------------------------------- tables


def transition_table(
    graph: WalkGraph, value: DeviceArray, scale: DeviceArray | None = None, *, steps: int = 0
) -> TransitionTable:
    """Masses w * V and their sums: a warp per short row, a block per long one.

    A guide table is built if at least as many steps are announced as it has entries: it costs one search per entry,
    and shortens the search of every step.
    """
    n_kps, n_entries = graph.indptr.size - 1, graph.indices.size
    if scale is None:
        scale = cp.ones(1, np.float64)
    top_bits = cp.zeros(1, np.uint64)
    launch("largest_weight", n_entries, graph.indices, graph.weight, scale, value, n_entries, top_bits)
    top = top_bits.view(np.float64)
    rows, pairs = cp.empty((n_kps, 2), np.uint64), cp.empty(n_entries, np.uint64)
    launch(
        "prefix_short_rows", WARP * n_kps,
        graph.indptr, graph.indices, graph.weight, scale, value, top, n_kps, LONG_ROW, rows, pairs,
    )  # fmt: skip
    n_long = graph.long_rows.size
    launch(
        "prefix_long_rows", block_size("prefix_long_rows") * n_long,
        graph.indptr, graph.indices, graph.weight, scale, value, top, graph.long_rows, n_long, rows, pairs,
    )  # fmt: skip
    guide = cp.empty(n_entries if steps >= n_entries else 0, np.uint32)
    launch("build_guide", guide.size, graph.indptr, rows, pairs, n_kps, n_entries, guide)
    return TransitionTable(rows, pairs, guide)


def start_table(table: TransitionTable, target: DeviceArray, value: DeviceArray) -> StartTable:
    """Masses T * V and their sums."""
    n_kps = target.size
    prefix = cp.empty(n_kps, np.uint32)
    if n_kps == 0:
        return StartTable(prefix)
    weight = cp.empty(n_kps, np.float64)
    launch("start_weights", n_kps, table.rows, target, value, n_kps, weight)
    mass = cp.empty(n_kps, np.uint64)
    launch("quantise", n_kps, weight, weight.max(), n_kps, mass)
    launch("shift_prefix", n_kps, cp.cumsum(mass, dtype=np.uint64), n_kps, prefix)
    return StartTable(prefix)


# ---------------------------------------------------------------------- walks


def sample_walks(
    graph: WalkGraph,
    table: TransitionTable,
    start: StartTable,
    ids: DeviceArray,
    *,
    length: int,
    rule: StepRule,
    key: int,
) -> DeviceArray:
    """One thread per walk; the result is step-major in memory."""
    n_walks, n_kps = ids.size, start.prefix.size
    back, near, far = rule.acceptance()
    nodes = cp.empty((length + 1, n_walks), np.int32)
    launch(
        "sample_walks", n_walks,
        table.rows, table.pairs, graph.indices, table.guide, table.guide.size > 0, start.prefix, n_kps,
        ids, n_walks, length, key, rule.no_revisit, rule.second_order, back, near, far, nodes,
    )  # fmt: skip
    return nodes.T
