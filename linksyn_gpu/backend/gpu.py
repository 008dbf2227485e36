"""The GPU backend: CuPy arrays, kernels/*.cu between them, the same bits as the reference.

Same public names and signatures as `reference.py` and `cpu.py`; what only a GPU has (memory plan, count of
crossings, cuGraph's walks) is listed in GPU_ONLY. Arrays stay on the device from call to call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cupy as cp
import numpy as np

from linksyn_gpu.backend.gpu_device import (
    Array,
    asarray,
    flatnonzero,
    free_memory,
    limit_memory,
    release,
    size_of,
    to_device,
    to_host,
    walk_ids,
)
from linksyn_gpu.backend.gpu_graph import (
    EvidenceGraph,
    OrderedEvidence,
    cooccurrence,
    evidence,
    link_paths,
    load_evidence,
    order_evidence,
)
from linksyn_gpu.backend.gpu_memory import Crossings, MemoryPlan, crossings, plan_memory
from linksyn_gpu.backend.gpu_neighbours import SimilarPairs, similar_pairs
from linksyn_gpu.backend.gpu_rapids import analytics, incidence_from_table, sample_walks_cugraph
from linksyn_gpu.backend.kernels import BLOCK_SIZES, WARP, launch
from linksyn_gpu.backend.reference import MAX_BATCH, StepRule
from linksyn_gpu.tables import KPGraph

GPU_ONLY = (
    "Crossings",
    "MemoryPlan",
    "crossings",
    "free_memory",
    "limit_memory",
    "plan_memory",
    "release",
    "sample_walks_cugraph",
)

__all__ = [
    "Crossings",
    "EvidenceGraph",
    "KeySet",
    "MemoryPlan",
    "OrderedEvidence",
    "SimilarPairs",
    "StartTable",
    "StepRule",
    "TransitionTable",
    "WalkGraph",
    "analytics",
    "asarray",
    "calibrated_potential",
    "cooccurrence",
    "count_occurrences",
    "crossings",
    "evidence",
    "flatnonzero",
    "free_memory",
    "incidence_from_table",
    "key_set",
    "limit_memory",
    "link_paths",
    "load_evidence",
    "load_graph",
    "node_value",
    "order_evidence",
    "path_keys",
    "path_lengths",
    "plan_memory",
    "release",
    "sample_walks",
    "sample_walks_cugraph",
    "screen_paths",
    "similar_pairs",
    "start_table",
    "to_host",
    "transition_table",
    "walk_ids",
    "walks_that_fit",
]

LONG_ROW = 2048  # a row from this length on is summed by a whole block


@dataclass(frozen=True, eq=False)
class WalkGraph:
    """A graph as walks need it, in device memory."""

    indptr: Any
    indices: Any
    weight: Any
    long_rows: Any
    """int64: rows of LONG_ROW entries or more."""


@dataclass(frozen=True, eq=False)
class TransitionTable:
    """Inclusive prefix sums of integer masses inside each row, shifted so that a row's total fits in 32 bits."""

    prefix: Any
    """[n_entries] uint32"""
    total: Any
    """[n_kps] uint32: the last prefix of each row; 0 for an empty or massless row."""


@dataclass(frozen=True, eq=False)
class StartTable:
    """Inclusive prefix sums of start masses over all KPs, shifted so that the total fits in 32 bits."""

    prefix: Any
    """[n_kps] uint32"""

    @property
    def total(self) -> int:
        return size_of(self.prefix[-1]) if self.prefix.size else 0


@dataclass(eq=False)
class KeySet:
    """Names of the KP sets sampled so far in a campaign."""

    keys: Any
    """uint64, ascending"""


def walks_that_fit(graph: KPGraph, length: int, *, memory: int | None = None) -> int:
    """Walks that the backend's memory holds at once beside the graph, its tables and postings.

    Parameters
    ----------
    length : int
        Steps of a walk.
    memory : int, optional
        Bytes that may be taken; None: all that is free.
    """
    if memory is not None:
        limit_memory(memory)
    postings = 0 if graph.evidence is None else graph.evidence.size
    plan = plan_memory(graph.n_kps, graph.indices.size, postings, MAX_BATCH, length, False, free_memory())
    return plan.walks_per_batch


def load_graph(graph: KPGraph, *, second_order: bool) -> WalkGraph:
    """Bring a graph into the backend's memory; node2vec's neighbour test searches the rows themselves."""
    long_rows = np.flatnonzero(graph.degree >= LONG_ROW).astype(np.int64)
    return WalkGraph(*(to_device(a, "load_graph") for a in (graph.indptr, graph.indices, graph.weight, long_rows)))


# ---------------------------------------------------------------------- value function


def node_value(target: Array, potential: Array, visits: Array, beta: float) -> Array:
    """V(v) = P(v) * F(v), clipped to [2^-20, 2^20]; 0 where the target is 0.

    F(v) = ((T(v) * N + s) / (n(v) + s)) ^ beta, what KP v is still owed: this project's own formula.
    """
    value = cp.empty(target.size, np.float64)
    launch(
        "node_value", target.size,
        target, potential, visits, visits.sum(), target.size, int(2 * beta), value,
    )  # fmt: skip
    return value


def calibrated_potential(potential: Array, target: Array, visits: Array) -> Array:
    """P(v) <- clip(P(v) * sqrt((T(v) * M + s) / (m(v) + s)), 2^-10, 2^10): this project's own rule."""
    renewed = cp.empty(target.size, np.float64)
    launch("calibrated_potential", target.size, potential, target, visits, visits.sum(), target.size, renewed)
    return renewed


# ---------------------------------------------------------------------- tables


def transition_table(graph: WalkGraph, value: Array) -> TransitionTable:
    """Table of a round: edge masses w * V, quantised to integers, summed exactly within rows."""
    n_kps, n_entries = graph.indptr.size - 1, graph.indices.size
    top_bits = cp.zeros(1, np.uint64)
    launch("largest_weight", n_entries, graph.indices, graph.weight, value, n_entries, top_bits)
    top = top_bits.view(np.float64)
    prefix, total = cp.empty(n_entries, np.uint32), cp.zeros(n_kps, np.uint32)
    launch(
        "prefix_short_rows", WARP * n_kps,
        graph.indptr, graph.indices, graph.weight, value, top, n_kps, LONG_ROW, prefix, total,
    )  # fmt: skip
    n_long = graph.long_rows.size
    launch(
        "prefix_long_rows", BLOCK_SIZES["prefix_long_rows"] * n_long,
        graph.indptr, graph.indices, graph.weight, value, top, graph.long_rows, n_long, prefix, total,
    )  # fmt: skip
    return TransitionTable(prefix, total)


def start_table(table: TransitionTable, target: Array, value: Array) -> StartTable:
    """Table of start draws: masses T * V over KPs whose row is not massless."""
    n_kps = target.size
    prefix = cp.empty(n_kps, np.uint32)
    if n_kps == 0:
        return StartTable(prefix)
    weight = cp.empty(n_kps, np.float64)
    launch("start_weights", n_kps, table.total, target, value, n_kps, weight)
    mass = cp.empty(n_kps, np.uint64)
    launch("quantise", n_kps, weight, weight.max(), n_kps, mass)
    launch("shift_prefix", n_kps, cp.cumsum(mass, dtype=np.uint64), n_kps, prefix)
    return StartTable(prefix)


# ---------------------------------------------------------------------- walks


def sample_walks(
    graph: WalkGraph,
    table: TransitionTable,
    start: StartTable,
    ids: Array,
    *,
    length: int,
    rule: StepRule,
    key: int,
) -> Array:
    """Draw one walk for each id.

    A guide table is built first when there are at least as many steps to take as it has entries: it costs one
    search per entry, and shortens that of every step. It cannot change a walk.

    Returns
    -------
    nodes : int32 [n, length + 1], -1 padded; step-major in memory
    """
    n_walks, n_kps = ids.size, start.prefix.size
    guided = n_walks * length >= graph.indices.size
    guide = _guide(graph, table) if guided else table.total  # not read unless guided
    back, near, far = rule.acceptance()
    nodes = cp.empty((length + 1, n_walks), np.int32)
    launch(
        "sample_walks", n_walks,
        graph.indptr, graph.indices, table.prefix, table.total, guide, guided, start.prefix, n_kps,
        ids, n_walks, length, key, rule.no_revisit, rule.second_order, back, near, far, nodes,
    )  # fmt: skip
    return nodes.T


def _guide(graph: WalkGraph, table: TransitionTable) -> Any:
    """Where the search of each bucket of a row's draws begins: uint32 [n_entries]."""
    n_kps, n_entries = graph.indptr.size - 1, graph.indices.size
    guide = cp.empty(n_entries, np.uint32)
    launch("build_guide", n_entries, graph.indptr, table.prefix, table.total, n_kps, n_entries, guide)
    return guide


# ---------------------------------------------------------------------- what walks leave behind


def path_lengths(nodes: Array) -> Array:
    """KPs on each path: int32 [n]."""
    lengths = cp.empty(nodes.shape[0], np.int32)
    launch("path_lengths", nodes.shape[0], nodes, *_layout(nodes), lengths)
    return lengths


def count_occurrences(table: Array, keep: Any, size: int) -> Array:
    """How often each number 0 .. size - 1 stands in the kept rows of a -1 padded table: int64 [size].

    Visits of KPs over paths, and uses of seeds over bundles.
    """
    counts = cp.zeros(size, np.int64)
    launch("count_occurrences", table.size, table, keep, *_layout(table), size, counts)
    return counts


def key_set() -> KeySet:
    """Make an empty set of KP sets already sampled."""
    return KeySet(cp.empty(0, np.uint64))


def screen_paths(nodes: Array, min_length: int, seen: KeySet | None) -> Any:
    """Judge each path, in row order: index into `tables.PATH_STATUS`.

    Too short: fewer than `min_length` KPs. Repeated: its set of KPs is in `seen` or was kept in an earlier row
    (not asked when `seen` is None). The sets of kept paths are added to `seen`.
    """
    short = path_lengths(nodes) < min_length
    status = short.astype(np.uint8)
    rows = flatnonzero(~short)
    if seen is None or rows.size == 0:
        return status
    keys = path_keys(nodes)[rows]
    order = cp.argsort(keys)  # stable: the earliest row of a set stands first
    keys = keys[order]
    repeated = cp.zeros(keys.size, np.bool_)
    repeated[1:] = keys[1:] == keys[:-1]
    if seen.keys.size:
        at = cp.minimum(cp.searchsorted(seen.keys, keys), seen.keys.size - 1)
        repeated |= seen.keys[at] == keys
    status[rows[order]] = 2 * repeated.astype(np.uint8)
    seen.keys = cp.concatenate((seen.keys, keys[flatnonzero(~repeated)]))
    seen.keys.sort()
    return status


def path_keys(nodes: Array) -> Array:
    """64-bit name of each path's set of KPs: the sum, over its distinct KPs, of splitmix64's finaliser.

    Two sets share a name with probability 2^-64; then the later path is taken for a repeat and drawn again.
    """
    keys = cp.empty(nodes.shape[0], np.uint64)
    launch("path_keys", nodes.shape[0], nodes, *_layout(nodes), keys)
    return keys


def _layout(table: Any) -> tuple[int, int, int, int]:
    """Rows, columns, and the strides of both in elements."""
    row_stride, column_stride = (step // table.itemsize for step in table.strides)
    return table.shape[0], table.shape[1], row_stride, column_stride
