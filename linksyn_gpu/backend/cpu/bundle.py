"""Linking seeds along paths, on the CPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linksyn_gpu.backend.cpu.kernels import bundle
from linksyn_gpu.backend.cpu.kernels.build import UpperEdges
from linksyn_gpu.backend.cpu.kernels.core import allocate, operand, run_tasks
from linksyn_gpu.backend.cpu.tasks import WALKS_PER_TASK, count_tasks, key_words, offsets
from linksyn_gpu.backend.reference import bundle as reference
from linksyn_gpu.tables import Bool, Int32, Int64, KPGraph

LONG_EDGE = 32  # the best seeds of an edge with more seeds are listed once per round


@dataclass(frozen=True, eq=False)
class EvidenceGraph:
    """Evidence of a graph, and what finds an edge in it."""

    edges: UpperEdges
    indptr: Int64
    """[n_edges + 1]"""
    seeds: Int32
    """[sum of sizes] seeds of each edge, ascending."""
    long_edges: Int64
    """[n_long] edges with more than LONG_EDGE seeds, ascending."""
    long_start: Int64
    """[n_long + 1] seeds of long edges before each of them."""


@dataclass(frozen=True, eq=False)
class RankedEvidence:
    """Evidence in a round, in which each seed has a rank; the best seeds of a long edge once a path takes it."""

    rank: Int64
    """[n_seeds] lower is better."""
    best: bundle.Listed


def load_evidence(graph: KPGraph, loaded: object | None = None) -> EvidenceGraph:
    """Take the graph's own arrays, and find the long edges."""
    plain = reference.load_evidence(graph)
    indptr = operand(plain.indptr, np.int64)
    sizes = np.diff(indptr)
    long_edges = np.flatnonzero(sizes > LONG_EDGE)
    edges = UpperEdges(
        operand(plain.graph_indptr, np.int64),
        operand(plain.graph_indices, np.int32),
        operand(plain.upper_first, np.int64),
        operand(plain.upper_running, np.int64),
    )
    return EvidenceGraph(edges, indptr, operand(plain.seeds, np.int32), long_edges, offsets(sizes[long_edges]))


def rank_evidence(evidence: EvidenceGraph, rank: Int64) -> RankedEvidence:
    """Keep the ranks, and make space for the seeds of long edges."""
    n_long = evidence.long_edges.size
    seeds = allocate(int(evidence.long_start[-1]), np.int32)
    size, ties, last = np.zeros(n_long, np.int32), np.zeros(n_long, np.int32), np.zeros(n_long, np.int64)
    best = bundle.Listed(LONG_EDGE, evidence.long_edges, evidence.long_start, seeds, size, ties, last)
    return RankedEvidence(operand(rank, np.int64), best)


def link_paths(
    evidence: EvidenceGraph, ranked: RankedEvidence, nodes: Int32, ids: Int64, keep: Bool, key: int
) -> Int32:
    """The edges of all paths, the best seeds of the long ones, then the bundles; path by path, in all threads."""
    nodes, ids, keep = operand(nodes, np.int32), operand(ids, np.int64), operand(keep, np.bool_)
    n, length = nodes.shape[0], nodes.shape[1] - 1
    n_tasks, best = count_tasks(n, WALKS_PER_TASK), ranked.best
    edge_of: Int64 = allocate((n, length), np.int64)
    wanted = np.zeros(best.edges.size, np.bool_)
    run_tasks(bundle.edge_tasks, n_tasks, evidence.edges, evidence.indptr, best, nodes, keep, edge_of, wanted)
    todo = np.flatnonzero(wanted)
    run_tasks(bundle.list_tasks, todo.size, todo, evidence.indptr, evidence.seeds, ranked.rank, length, best)
    bundles: Int32 = allocate((n, length), np.int32)
    arguments = (evidence.indptr, evidence.seeds, ranked.rank, best, edge_of, ids, key_words(key), bundles)
    run_tasks(bundle.link_tasks, n_tasks, *arguments)
    return bundles
