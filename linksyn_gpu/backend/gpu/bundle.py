"""Linking seeds along paths, on the device."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np

from linksyn_gpu.backend.gpu.build import LOW, PAIR_BYTES, upper
from linksyn_gpu.backend.gpu.cuda import launch
from linksyn_gpu.backend.gpu.device import DeviceArray, free_memory, size_of, to_device
from linksyn_gpu.backend.gpu.memory import items_that_fit
from linksyn_gpu.backend.reference.bundle import EvidenceGraph, OrderedEvidence
from linksyn_gpu.errors import DataError
from linksyn_gpu.tables import KPGraph


def load_evidence(graph: KPGraph) -> EvidenceGraph:
    """Copy the arrays; what finds an edge is computed on the device."""
    graph = graph.checked
    if graph.evidence is None or graph.evidence_indptr is None:
        raise DataError("the graph has no evidence: build it from seeds, not from a bare matrix")
    indptr = to_device(graph.indptr, "load_evidence")
    indices = to_device(graph.indices, "load_evidence")
    return EvidenceGraph(
        indptr,
        indices,
        *upper(indptr, indices),
        to_device(graph.evidence_indptr, "load_evidence"),
        to_device(graph.evidence, "load_evidence"),
    )


def order_evidence(evidence: EvidenceGraph, rank: DeviceArray) -> OrderedEvidence:
    """Sort seeds once by (rank, seed); the evidence of an edge then sorts by the 64-bit key (edge, place of seed)."""
    best_first = cp.argsort(rank)  # stable: equal ranks stay in the order of seeds
    place = cp.empty(rank.size, np.int32)
    place[best_first] = cp.arange(rank.size, dtype=np.int32)
    best_first = best_first.astype(np.int32)
    n_edges, n_postings = evidence.indptr.size - 1, evidence.seeds.size
    ordered = cp.empty(n_postings, np.int32)
    batch = items_that_fit(free_memory(), PAIR_BYTES, n_postings)
    first = 0
    while first < n_postings:
        last = _end_of_batch(evidence.indptr, first, first + batch, n_postings)
        keys = cp.empty(last - first, np.uint64)
        launch(
            "posting_keys", last - first,
            evidence.indptr, evidence.seeds, place, n_edges, first, last - first, keys,
        )  # fmt: skip
        keys.sort()
        ordered[first:last] = best_first[(keys & LOW).astype(np.int64)]
        first = last
    ties = cp.empty(n_edges, np.int32)
    launch("best_ties", n_edges, evidence.indptr, ordered, rank, n_edges, ties)
    return OrderedEvidence(ordered, ties)


def _end_of_batch(indptr: Any, first: int, last: int, n_postings: int) -> int:
    """End of the last edge that begins at `first` or later and ends by `last`; of one edge if none does."""
    if last >= n_postings:
        return n_postings
    end = size_of(indptr[cp.searchsorted(indptr, cp.full(1, last, np.int64), side="right") - 1][0])
    if end > first:
        return end
    return size_of(indptr[cp.searchsorted(indptr, cp.full(1, first, np.int64), side="right")][0])


def link_paths(
    evidence: EvidenceGraph, ordered: OrderedEvidence, nodes: DeviceArray, ids: DeviceArray, keep: Any, key: int
) -> DeviceArray:
    """One thread per path."""
    n_paths, length = nodes.shape[0], nodes.shape[1] - 1
    bundles = cp.full((length, n_paths), -1, np.int32)
    row_stride, column_stride = (step // nodes.itemsize for step in nodes.strides)
    launch(
        "link_paths", n_paths,
        evidence.graph_indptr, evidence.graph_indices, evidence.upper_first, evidence.upper_running,
        evidence.indptr, ordered.seeds, ordered.ties, nodes, row_stride, column_stride,
        ids, keep, n_paths, length, key, bundles,
    )  # fmt: skip
    return bundles.T
