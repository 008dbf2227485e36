"""The reference's bundles: the evidence of each edge, its order in a round, one seed per edge of a path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linksyn_gpu.backend import rng
from linksyn_gpu.backend.protocol import NOT_A_PATH
from linksyn_gpu.errors import DataError
from linksyn_gpu.tables import Bool, Int32, Int64, KPGraph


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
class OrderedEvidence:
    """Evidence in a round's order of preference."""

    seeds: Int32
    """[sum of sizes] seeds of each edge, best first."""
    ties: Int32
    """[n_edges] seeds of the best rank."""


def load_evidence(graph: KPGraph) -> EvidenceGraph:
    """Take the graph's own arrays."""
    graph = graph.checked
    if graph.evidence is None or graph.evidence_indptr is None:
        raise DataError("the graph has no evidence: build it from seeds, not from a bare matrix")
    first, running = graph.upper
    return EvidenceGraph(graph.indptr, graph.indices, first, running, graph.evidence_indptr, graph.evidence)


def order_evidence(evidence: EvidenceGraph, rank: Int64) -> OrderedEvidence:
    """One sort by (edge, rank, seed)."""
    n_edges = evidence.indptr.size - 1
    edge = np.repeat(np.arange(n_edges), np.diff(evidence.indptr))
    order = np.lexsort((evidence.seeds, rank[evidence.seeds], edge))
    seeds = evidence.seeds[order]
    best = np.repeat(rank[seeds[evidence.indptr[:-1]]], np.diff(evidence.indptr))
    ties = np.bincount(edge[rank[seeds] == best], minlength=n_edges).astype(np.int32)
    return OrderedEvidence(seeds, ties)


def link_paths(
    evidence: EvidenceGraph, ordered: OrderedEvidence, nodes: Int32, ids: Int64, keep: Bool, key: int
) -> Int32:
    """Edge by edge, path by path."""
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
            begin, end = evidence.indptr[edge], evidence.indptr[edge + 1]
            ties = int(ordered.ties[edge])
            offset = (int(offsets[step - 1][row]) * ties) >> 64
            best = ordered.seeds[begin : begin + ties]
            for seed in np.concatenate([best[offset:], best[:offset], ordered.seeds[begin + ties : end]]):
                if seed not in bundles[row, :size]:
                    bundles[row, size] = seed
                    size += 1
                    break
    return bundles


def _edge_number(evidence: EvidenceGraph, u: int, v: int) -> int:
    """Number of the undirected edge (u, v) in the order of (smaller end, larger end); -1 if there is none."""
    low, high = min(u, v), max(u, v)
    row = evidence.graph_indices[evidence.upper_first[low] : evidence.graph_indptr[low + 1]]
    at = int(np.searchsorted(row, high))
    return int(evidence.upper_running[low]) + at if at < row.size and row[at] == high else -1
