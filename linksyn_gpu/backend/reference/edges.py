"""The host's way from counts to a graph: weights, pruning, components, and the statistics of KPs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from linksyn_gpu.backend.protocol import EdgeRule, GraphArrays, KPCounts
from linksyn_gpu.backend.reference.bundle import LabelTable
from linksyn_gpu.errors import DataError
from linksyn_gpu.tables import Bool, Float64, Int32, Int64, check_offsets, first_row_out_of_order

WEIGHT_BITS = 16  # fixed point of weights that are not counts


def check_incidence(indptr: Int64, kp_indices: Int32, n_kps: int) -> None:
    """Offsets first, then columns, then their order."""
    check_offsets("indptr", indptr, kp_indices.size)
    if kp_indices.size and (kp_indices.min() < 0 or kp_indices.max() >= n_kps):
        raise DataError(f"kp_indices must lie in 0 .. {n_kps - 1}")
    if (seed := first_row_out_of_order(indptr, kp_indices)) is not None:
        raise DataError(f"the KPs of seed {seed} must ascend without repeats")


def host_graph(
    cooccurrence: Callable[..., tuple[Int64, Int32, Int32]],
    evidence: Callable[[Int64, Int32, Int64, Int32], tuple[Int64, Int32]],
    components: Callable[[Int64, Int32], Int32],
    indptr: Int64,
    kp_indices: Int32,
    n_kps: int,
    rule: EdgeRule,
    memory_limit: int | None,
) -> GraphArrays:
    """Build a graph by three functions of a backend, and weigh and prune it in between."""
    seed_count = np.bincount(kp_indices, minlength=n_kps).astype(np.int64)
    rows, columns, count = cooccurrence(indptr, kp_indices, n_kps, memory_limit=memory_limit)
    rows, columns, count, weight, drops = weigh_and_prune(rows, columns, count, seed_count, indptr.size - 1, rule)
    postings = evidence(indptr, kp_indices, rows, columns)
    return GraphArrays(rows, columns, count, weight, seed_count, *postings, components(rows, columns), drops)


def components(indptr: Int64, indices: Int32) -> Int32:
    """Connected components by SciPy, numbered by their first KP."""
    n_kps = indptr.size - 1
    ones = np.ones(indices.size, np.int8)
    graph = sparse.csr_array((ones, indices, indptr), shape=(n_kps, n_kps))
    return number_by_first(csgraph.connected_components(graph, directed=False)[1])


def number_by_first(label: NDArray[Any]) -> Int32:
    """The same partition, its parts numbered by their first KP."""
    first, part = np.unique(label, return_index=True, return_inverse=True)[1:]
    number = np.empty(first.size, np.int32)
    number[np.argsort(first)] = np.arange(first.size)
    return number[part]


def kp_counts(indptr: Int64, kp_indices: Int32, n_kps: int, labels: LabelTable, n_disciplines: int) -> KPCounts:
    """Products of the transposed incidence."""
    n_seeds = indptr.size - 1
    ones = np.ones(kp_indices.size, np.int64)
    held = sparse.csr_array((ones, kp_indices, indptr), shape=(n_seeds, n_kps)).T.tocsr()
    ones = np.ones(labels.disciplines.size, np.int64)
    membership = sparse.csr_array((ones, labels.disciplines, labels.indptr), shape=(n_seeds, n_disciplines))
    counts = (held @ membership).tocsr()
    counts.sort_indices()
    level = labels.level.astype(np.int64)
    return KPCounts(
        np.asarray(held.sum(axis=1), np.int64),
        held @ (level > 0).astype(np.int64),
        held @ level,
        counts.indptr.astype(np.int64),
        counts.indices.astype(np.int32),
        counts.data.astype(np.int64),
    )


def weigh_and_prune(
    indptr: Int64, indices: Int32, count: Int32, seed_count: Int64, n_seeds: int, rule: EdgeRule
) -> tuple[Int64, Int32, Int32, Int32, Counter[str]]:
    """Edge weights, then `min_count` and `top_k`; both keep the matrix symmetric. Drops are counted in edges."""
    drops = Counter[str]()
    if rule == EdgeRule():
        return indptr, indices, count, count, drops
    n_kps = indptr.size - 1
    rows = np.repeat(np.arange(n_kps, dtype=np.int64), np.diff(indptr))
    weight = count
    if rule.weight != "count":
        weight = fixed_point(_similarity(rule.weight, rows, indices, count, seed_count, n_seeds))
    if not rule.prunes:
        return indptr, indices, count, weight, drops
    keep = count >= rule.min_count
    if not keep.all():
        drops["min_count"] = int((~keep).sum()) // 2
    if rule.top_k is not None:
        heavy = _top_k(rows, indices, weight, keep, n_kps, rule.top_k)
        drops["top_k"] = int((keep & ~heavy).sum()) // 2
        keep &= heavy
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows[keep], minlength=n_kps))]).astype(np.int64)
    return indptr, indices[keep], count[keep], weight[keep], drops


def fixed_point(similarity: Float64) -> Int32:
    """max(1, floor(x * 2^WEIGHT_BITS))."""
    return np.maximum(1, np.floor(similarity * 2.0**WEIGHT_BITS)).astype(np.int32)


def _similarity(kind: str, rows: Int64, indices: Int32, count: Int32, seed_count: Int64, n_seeds: int) -> Float64:
    """Normalised edge weights in float64; the same for both entries of an edge.

    cosine = c / sqrt(f(u) f(v)); jaccard = c / (f(u) + f(v) - c); npmi = log(c n / (f(u) f(v))) / log(n / c),
    which is 1 where every seed holds both.
    """
    c = count.astype(np.float64)
    fu, fv = seed_count[rows].astype(np.float64), seed_count[indices].astype(np.float64)
    if kind == "cosine":
        return c / np.sqrt(fu * fv)
    if kind == "jaccard":
        return c / (fu + fv - c)
    return npmi(c, fu, fv, n_seeds)


def npmi(c: Float64, fu: Float64, fv: Float64, n_seeds: int) -> Float64:
    """Normalised pointwise mutual information. It needs a logarithm: every backend computes it on the host."""
    surprise = np.log(n_seeds / c)
    pmi = np.log(c * n_seeds / (fu * fv))
    return np.divide(pmi, surprise, out=np.ones_like(pmi), where=surprise > 0.0)


def _top_k(rows: Int64, indices: Int32, weight: Int32, keep: Bool, n_kps: int, k: int) -> Bool:
    """Entries whose edge is among the k heaviest of at least one end; ties go to the smaller neighbour."""
    order = np.lexsort((indices, -weight.astype(np.int64), ~keep, rows))
    degree = np.bincount(rows, minlength=n_kps)
    place = np.empty(rows.size, np.int64)
    place[order] = np.arange(rows.size) - np.repeat(np.cumsum(degree) - degree, degree)
    heavy = keep & (place < k)
    mirror = np.argsort(indices.astype(np.int64) * n_kps + rows, kind="stable")  # entry (v, u) of entry (u, v)
    kept: Bool = keep & (heavy | heavy[mirror])
    return kept
