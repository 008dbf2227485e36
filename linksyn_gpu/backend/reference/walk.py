"""The readable NumPy reference of values, tables and walks: the oracle that faster backends must match to the bit.

Plain array code, no attention to speed. Formulas and their sources are in docs/method.md; the arithmetic that runs
per round uses only + * / sqrt in float64 and integers, so that each backend gets the same bits.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from linksyn_gpu.backend import rng
from linksyn_gpu.backend.protocol import StepRule
from linksyn_gpu.tables import Bool, Float64, Int32, Int64, KPGraph, UInt32, UInt64

MASS_BITS = 40  # masses of edges lie in 1 .. 2^40
ROW_BITS = 32  # prefix sums of a row are shifted right until its total fits
TRIALS = 32  # proposals of a step before the exact scan of the row
SMOOTHING = 1.0  # s of the value function
VALUE_CAP = 2.0**20
POTENTIAL_CAP = 2.0**10
SCALE_CAP = 2.0**20


@dataclass(frozen=True, eq=False)
class WalkGraph:
    """A graph, as walks need it."""

    indptr: Int64
    indices: Int32
    weight: Int32
    """[n_entries] > 0; in the graph of a cell, < 0 for a foreign edge."""


@dataclass(frozen=True, eq=False)
class TransitionTable:
    """Inclusive prefix sums of integer masses inside each row, shifted so that a row's total fits in 32 bits."""

    prefix: UInt32
    """[n_entries]"""
    total: UInt32
    """[n_kps] the last prefix of each row; 0 for an empty or massless row."""


@dataclass(frozen=True, eq=False)
class StartTable:
    """Inclusive prefix sums of start masses over all KPs, shifted so that the total fits in 32 bits."""

    prefix: UInt32
    """[n_kps]"""

    @property
    def total(self) -> int:
        return int(self.prefix[-1]) if self.prefix.size else 0


def load_graph(graph: KPGraph, *, second_order: bool) -> WalkGraph:
    """Take the graph's own arrays; the neighbour test searches its rows."""
    graph = graph.checked
    return WalkGraph(graph.indptr, graph.indices, graph.weight)


def cell_graph(graph: WalkGraph, weight: Int32) -> WalkGraph:
    """The same graph with the weights of a cell."""
    return replace(graph, weight=weight)


# ---------------------------------------------------------------------- value function


def node_value(target: Float64, potential: Float64, visits: Int64, beta: float) -> Float64:
    """V(v), in NumPy."""
    n_visits = np.float64(visits.sum())
    deficit = (target * n_visits + SMOOTHING) / (visits.astype(np.float64) + SMOOTHING)
    if beta == 0.0:
        feedback = np.ones_like(deficit)
    elif beta == 0.5:
        feedback = np.sqrt(deficit)
    elif beta == 1.0:
        feedback = deficit
    else:
        feedback = deficit * deficit
    value = np.clip(potential * feedback, 1.0 / VALUE_CAP, VALUE_CAP)
    return np.where(target > 0.0, value, 0.0)


def calibrated_potential(potential: Float64, target: Float64, visits: Int64) -> Float64:
    """One step of calibration, in NumPy."""
    n_visits = np.float64(visits.sum())
    deficit = (target * n_visits + SMOOTHING) / (visits.astype(np.float64) + SMOOTHING)
    return np.clip(potential * np.sqrt(deficit), 1.0 / POTENTIAL_CAP, POTENTIAL_CAP)


def calibrated_scale(scale: Float64, share: Float64, steps: Int64) -> Float64:
    """One step of calibration, in NumPy."""
    wanted = share * np.float64(steps[1])
    return np.clip(scale * (wanted / np.float64(max(steps[0], 1))), 1.0 / SCALE_CAP, SCALE_CAP)


def count_steps(graph: WalkGraph, nodes: Int32) -> Int64:
    """Walk by walk."""
    counts = np.zeros(2, np.int64)
    for path in nodes:
        path = path[path >= 0]
        foreign = sum(int(graph.weight[_entry(graph, int(u), int(v))]) < 0 for u, v in itertools.pairwise(path))
        counts += (foreign, max(path.size - 1, 0))
    return counts


# ---------------------------------------------------------------------- tables


def transition_table(
    graph: WalkGraph, value: Float64, scale: Float64 | None = None, *, steps: int = 0
) -> TransitionTable:
    """Masses w * V and their sums within rows."""
    weight = graph.weight.astype(np.float64)
    if scale is not None:
        weight = np.where(weight > 0.0, weight, -weight * scale[0])
    masses = _quantise(weight * value[graph.indices])
    return TransitionTable(*_row_prefix(masses, graph.indptr))


def start_table(table: TransitionTable, target: Float64, value: Float64) -> StartTable:
    """Masses T * V and their sums."""
    masses = _quantise(np.where(table.total > 0, target * value, 0.0))
    prefix, _ = _row_prefix(masses, np.array([0, masses.size], np.int64))
    return StartTable(prefix)


def _quantise(x: Float64) -> UInt64:
    """Masses max(1, floor(x * 2^(40 - E))), 0 where x is 0, with E the binary exponent of the largest x."""
    top = x.max(initial=0.0)
    _, exponent = np.frexp(top)
    scaled = np.floor(np.ldexp(x, MASS_BITS - int(exponent)))
    return np.where(x > 0.0, np.maximum(scaled, 1.0), 0.0).astype(np.uint64)


def _row_prefix(masses: UInt64, indptr: Int64) -> tuple[UInt32, UInt32]:
    """Inclusive prefix sums in each row and row totals, shifted right by bit length of the total - 32."""
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(masses, dtype=np.uint64)])
    base, end = running[indptr[:-1]], running[indptr[1:]]  # differences are exact modulo 2^64
    degree = np.diff(indptr)
    excess = (end - base) >> np.uint64(ROW_BITS)
    shift = np.frexp(excess.astype(np.float64))[1].astype(np.uint64)  # bit length of the excess
    prefix = (running[1:] - np.repeat(base, degree)) >> np.repeat(shift, degree)
    return prefix.astype(np.uint32), ((end - base) >> shift).astype(np.uint32)


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
    """All walks step by step; proposals by binary search, the exact scan of a row after 32 rejections."""
    nodes = np.full((ids.size, length + 1), -1, np.int32)
    if ids.size == 0 or start.total == 0:
        return nodes
    walk_ids = ids.astype(np.uint64)
    bits, _ = rng.draw(key, walk_ids, 0, 0)
    targets = _scale(bits, np.full(ids.size, start.total, np.uint64))
    nodes[:, 0] = np.searchsorted(start.prefix, targets.astype(np.uint32), side="right")
    # One ascending key per entry makes the search in a row a search in one array.
    rows = np.repeat(np.arange(table.total.size, dtype=np.uint64), np.diff(graph.indptr))
    flat = (rows << np.uint64(32)) | table.prefix
    alive = np.flatnonzero(nodes[:, 0] >= 0)
    for step in range(1, length + 1):
        alive = alive[table.total[nodes[alive, step - 1]] > 0]
        pending = alive
        for trial in range(TRIALS):
            if pending.size == 0:
                break
            bits, acceptance_bits = rng.draw(key, walk_ids[pending], step, trial)
            here = nodes[pending, step - 1]
            targets = _scale(bits, table.total[here].astype(np.uint64))
            entry = np.searchsorted(flat, (here.astype(np.uint64) << np.uint64(32)) | targets, side="right")
            proposal = graph.indices[entry]
            accepted = _accepted(graph, rule, nodes[pending, :step], proposal, acceptance_bits)
            nodes[pending[accepted], step] = proposal[accepted]
            pending = pending[~accepted]
        for walk in pending:
            nodes[walk, step] = _scan_row(graph, table, rule, nodes[walk, :step], key, walk_ids[walk], step)
        alive = alive[nodes[alive, step] >= 0]
    return nodes


def _scale(bits: UInt64, total: UInt64) -> UInt64:
    """floor(bits * total / 2^64) for totals below 2^32."""
    half, low = np.uint64(32), np.uint64(rng.LOW)
    return ((bits >> half) * total + (((bits & low) * total) >> half)) >> half


def _accepted(graph: WalkGraph, rule: StepRule, path: Int32, proposal: Int32, bits: UInt64) -> Bool:
    """Which proposals are accepted: not visited before (no_revisit), and by node2vec's p and q."""
    accepted = np.ones(proposal.size, bool)
    if rule.no_revisit:
        accepted &= (path != proposal[:, None]).all(axis=1)
    if rule.second_order and path.shape[1] > 1:
        bound = _second_order(graph, rule, path[:, -2], proposal)
        accepted &= (bits >> np.uint64(11)) < bound
    return accepted


def _second_order(graph: WalkGraph, rule: StepRule, previous: Int32, proposal: Int32) -> UInt64:
    """floor(a * 2^53) of each proposal, by its place relative to the previous KP."""
    back, near, far = rule.acceptance()
    joined = np.fromiter(
        (_has_edge(graph, int(u), int(v)) for u, v in zip(previous, proposal, strict=True)), bool, proposal.size
    )
    bound = np.where(joined, np.uint64(near), np.uint64(far))
    return np.where(previous == proposal, np.uint64(back), bound)


def _has_edge(graph: WalkGraph, u: int, v: int) -> bool:
    at = _entry(graph, u, v)
    return at < graph.indptr[u + 1] and int(graph.indices[at]) == v


def _entry(graph: WalkGraph, u: int, v: int) -> int:
    """Entry of the neighbour v in row u, or where it would be."""
    begin, end = graph.indptr[u : u + 2]
    return int(begin + np.searchsorted(graph.indices[begin:end], v))


def _scan_row(
    graph: WalkGraph, table: TransitionTable, rule: StepRule, path: Int32, key: int, walk_id: np.uint64, step: int
) -> int:
    """Draw exactly from what the proposals can reach: masses without visited KPs, times node2vec's a.

    The draw is that of trial 32. a enters as floor(a * 2^32); a row's total stays below 2^64. Returns -1 if nothing
    can be reached: the walk ends.
    """
    here = int(path[-1])
    begin, end = graph.indptr[here], graph.indptr[here + 1]
    row = graph.indices[begin:end]
    mass = np.diff(table.prefix[begin:end].astype(np.uint64), prepend=np.uint64(0))
    scale = np.full(row.size, 1 << 32, np.uint64)
    if rule.second_order and path.size > 1:
        scale = _second_order(graph, rule, np.full(row.size, path[-2]), row) >> np.uint64(21)
    if rule.no_revisit:
        scale[np.isin(row, path)] = 0
    running = np.cumsum(mass * scale, dtype=np.uint64)
    if running[-1] == 0:
        return -1
    bits, _ = rng.draw(key, np.array([walk_id]), step, TRIALS)
    target = np.uint64((int(bits[0]) * int(running[-1])) >> 64)
    return int(row[np.searchsorted(running, target, side="right")])
