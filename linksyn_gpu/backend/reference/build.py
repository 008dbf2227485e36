"""The reference's construction: the co-occurrence graph and the seeds of each edge."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from linksyn_gpu.backend.protocol import EdgeRule, GraphArrays
from linksyn_gpu.backend.reference.edges import components, host_graph
from linksyn_gpu.tables import Int32, Int64


def cooccurrence(
    indptr: Int64, kp_indices: Int32, n_kps: int, *, memory_limit: int | None = None
) -> tuple[Int64, Int32, Int32]:
    """The product itself, by SciPy; the reference ignores `memory_limit`."""
    ones = np.ones(kp_indices.size, np.int64)
    incidence = sparse.csr_array((ones, kp_indices, indptr), shape=(indptr.size - 1, n_kps))
    product = (incidence.T @ incidence).tocoo()
    off = product.row != product.col
    product = sparse.csr_array((product.data[off], (product.row[off], product.col[off])), shape=(n_kps, n_kps))
    product.sort_indices()
    return (
        product.indptr.astype(np.int64),
        product.indices.astype(np.int32),
        product.data.astype(np.int32),
    )


def evidence(indptr: Int64, kp_indices: Int32, graph_indptr: Int64, graph_indices: Int32) -> tuple[Int64, Int32]:
    """Every pair of every seed, sorted by edge, then seed."""
    n_kps = graph_indptr.size - 1
    rows = np.repeat(np.arange(n_kps, dtype=np.int64), np.diff(graph_indptr))
    edge_keys = (rows * n_kps + graph_indices)[rows < graph_indices]
    pair_keys, pair_seeds = [], []
    for seed in range(indptr.size - 1):
        kps = kp_indices[indptr[seed] : indptr[seed + 1]].astype(np.int64)
        first, second = np.triu_indices(kps.size, 1)
        pair_keys.append(kps[first] * n_kps + kps[second])
        pair_seeds.append(np.full(first.size, seed, np.int32))
    if not pair_keys:
        return np.zeros(1, np.int64), np.zeros(0, np.int32)
    keys, seeds = np.concatenate(pair_keys), np.concatenate(pair_seeds)
    known = np.isin(keys, edge_keys)
    keys, seeds = keys[known], seeds[known]
    order = np.lexsort((seeds, keys))
    starts = np.searchsorted(keys[order], edge_keys, side="left")
    return np.append(starts, keys.size).astype(np.int64), seeds[order]


def graph_arrays(
    indptr: Int64, kp_indices: Int32, n_kps: int, rule: EdgeRule, *, memory_limit: int | None = None
) -> GraphArrays:
    """By `cooccurrence` and `evidence` of this backend."""
    return host_graph(cooccurrence, evidence, components, indptr, kp_indices, n_kps, rule, memory_limit)
