"""The reference's bundles: the evidence of each edge, the seeds that a round prefers, one seed per edge of a path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.backend import rng
from linksyn_gpu.backend.protocol import FEW_SEEDS, FOREIGN, NOT_A_PATH, OFF_CELL, RANKS_PER_USE
from linksyn_gpu.errors import DataError
from linksyn_gpu.tables import Bool, Float64, Int32, Int64, KPGraph, SeedLabels


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Disciplines and levels of seeds."""

    indptr: Int64
    """[n_seeds + 1]"""
    disciplines: Int32
    """[n_labels] disciplines of each seed."""
    level: NDArray[np.uint8]
    """[n_seeds] 0 where a seed has none."""


@dataclass(frozen=True, eq=False)
class EvidenceGraph:
    """Evidence of a graph, and what finds an edge in it."""

    graph_indptr: Int64
    graph_indices: Int32
    upper_first: Int64
    """[n_kps] first entry of a row whose column is above the row's KP."""
    upper_running: Int64
    """[n_kps + 1] undirected edges before a row."""
    indptr: Int64
    """[n_edges + 1]"""
    seeds: Int32
    """[sum of sizes] seeds of each edge, ascending."""


@dataclass(frozen=True, eq=False)
class RankedEvidence:
    """Evidence in a round, in which each seed has a rank."""

    rank: Int64
    """[n_seeds] lower is better."""


def load_labels(labels: SeedLabels) -> LabelTable:
    """Take the rows of the membership matrix."""
    rows = labels.membership
    return LabelTable(rows.indptr.astype(np.int64), rows.indices.astype(np.int32), labels.difficulty.astype(np.uint8))


def rank_seeds(
    labels: LabelTable, uses: Int64, wanted: NDArray[np.uint8], distances: Int64
) -> tuple[Int64, NDArray[np.uint8]]:
    """Which seeds have a wanted discipline is a difference of running sums."""
    running = np.concatenate([[0], np.cumsum(wanted[labels.disciplines], dtype=np.int64)])
    own = (running[labels.indptr[1:]] > running[labels.indptr[:-1]]).astype(np.uint8)
    return uses * RANKS_PER_USE + distances[labels.level] + np.where(own > 0, 0, FOREIGN), own


def load_evidence(graph: KPGraph, loaded: object | None = None) -> EvidenceGraph:
    """Take the graph's own arrays."""
    graph = graph.checked
    if graph.evidence is None or graph.evidence_indptr is None:
        raise DataError("the graph has no evidence: build it from seeds, not from a bare matrix")
    first, running = graph.upper
    return EvidenceGraph(graph.indptr, graph.indices, first, running, graph.evidence_indptr, graph.evidence)


def rank_evidence(evidence: EvidenceGraph, rank: Int64) -> RankedEvidence:
    """Keep the ranks."""
    return RankedEvidence(rank)


def link_paths(
    evidence: EvidenceGraph, ranked: RankedEvidence, nodes: Int32, ids: Int64, keep: Bool, key: int
) -> Int32:
    """Edge by edge, path by path; the seeds of each edge are sorted by (rank, seed)."""
    length = nodes.shape[1] - 1
    bundles = np.full((nodes.shape[0], length), -1, np.int32)
    offsets = [rng.draw(key, ids.astype(np.uint64), step, 0)[0] for step in range(1, length + 1)]
    for row in np.flatnonzero(keep):
        size = 0
        for step in range(1, length + 1):
            if nodes[row, step] < 0:
                break
            edge = _edge_number(evidence, int(nodes[row, step - 1]), int(nodes[row, step]))
            if edge < 0:
                bundles[row, 0] = NOT_A_PATH
                break
            seeds = evidence.seeds[evidence.indptr[edge] : evidence.indptr[edge + 1]]
            rank = ranked.rank[seeds]
            ordered = seeds[np.argsort(rank, kind="stable")]
            ties = int((rank == rank.min()).sum())
            offset = (int(offsets[step - 1][row]) * ties) >> 64
            for seed in np.concatenate([ordered[offset:ties], ordered[:offset], ordered[ties:]]):
                if seed not in bundles[row, :size]:
                    bundles[row, size] = seed
                    size += 1
                    break
    return bundles


def screen_bundles(
    bundles: Int32, status: NDArray[np.uint8], own: NDArray[np.uint8] | None, min_seeds: int, min_own_share: Float64
) -> NDArray[np.uint8]:
    """All rows at once."""
    size = (bundles >= 0).sum(axis=1)
    reason = np.where(size < min_seeds, FEW_SEEDS, 0)
    if own is not None:
        of_cell = ((own[np.maximum(bundles, 0)] > 0) & (bundles >= 0)).sum(axis=1)
        reason[(reason == 0) & (of_cell <= min_own_share[0] * size)] = OFF_CELL
    return np.where(status == 0, reason, status).astype(np.uint8)


def _edge_number(evidence: EvidenceGraph, u: int, v: int) -> int:
    """Number of the undirected edge (u, v) in the order of (smaller end, larger end); -1 if there is none."""
    low, high = min(u, v), max(u, v)
    row = evidence.graph_indices[evidence.upper_first[low] : evidence.graph_indptr[low + 1]]
    at = int(np.searchsorted(row, high))
    return int(evidence.upper_running[low]) + at if at < row.size and row[at] == high else -1
