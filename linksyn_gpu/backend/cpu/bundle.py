"""Linking seeds along paths, on the CPU."""

from __future__ import annotations

import numpy as np

from linksyn_gpu.backend.cpu.kernels import bundle
from linksyn_gpu.backend.cpu.kernels.build import UpperEdges
from linksyn_gpu.backend.cpu.kernels.core import allocate, operand, run_tasks
from linksyn_gpu.backend.cpu.tasks import ENTRIES_PER_TASK, WALKS_PER_TASK, count_tasks, key_words
from linksyn_gpu.backend.reference.bundle import EvidenceGraph, OrderedEvidence
from linksyn_gpu.tables import Bool, Int32, Int64


def order_evidence(evidence: EvidenceGraph, rank: Int64) -> OrderedEvidence:
    """Edge by edge, in all threads."""
    indptr, seeds = operand(evidence.indptr, np.int64), operand(evidence.seeds, np.int32)
    ordered, ties = allocate(seeds.size, np.int32), np.empty(indptr.size - 1, np.int32)
    arguments = (indptr, seeds, operand(rank, np.int64), ordered, ties)
    run_tasks(bundle.order_tasks, count_tasks(seeds.size, ENTRIES_PER_TASK), *arguments)
    return OrderedEvidence(ordered, ties)


def link_paths(
    evidence: EvidenceGraph, ordered: OrderedEvidence, nodes: Int32, ids: Int64, keep: Bool, key: int
) -> Int32:
    """Path by path, in all threads."""
    nodes, ids, keep = operand(nodes, np.int32), operand(ids, np.int64), operand(keep, np.bool_)
    edges = UpperEdges(
        operand(evidence.graph_indptr, np.int64),
        operand(evidence.graph_indices, np.int32),
        operand(evidence.upper_first, np.int64),
        operand(evidence.upper_running, np.int64),
    )
    best_first = bundle.Ordered(operand(evidence.indptr, np.int64), ordered.seeds, ordered.ties)
    bundles: Int32 = allocate((nodes.shape[0], nodes.shape[1] - 1), np.int32)
    arguments = (edges, best_first, nodes, ids, keep, key_words(key), bundles)
    run_tasks(bundle.link_tasks, count_tasks(nodes.shape[0], WALKS_PER_TASK), *arguments)
    return bundles
