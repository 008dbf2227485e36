"""Seeds -> KP graph: number the knowledge points, count co-occurrences, weigh and prune edges, keep the evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from linksyn_gpu.backend import resolve
from linksyn_gpu.config import GraphConfig
from linksyn_gpu.config.loader import config_or_fields
from linksyn_gpu.errors import DataError
from linksyn_gpu.sampling.labels import seed_labels
from linksyn_gpu.tables import (
    MAX_KPS,
    Float64,
    Int32,
    Int64,
    KPGraph,
    KPStatistics,
    Seeds,
    check_offsets,
    first_row_out_of_order,
)

WEIGHT_BITS = 16  # fixed point of weights that are not counts


@dataclass(frozen=True, eq=False)
class Incidence:
    """Which seed holds which KP: rows of a 0/1 matrix, KPs ascending and distinct in a row."""

    indptr: Int64
    """[n_seeds + 1]"""
    kp_indices: Int32
    """[n_mentions]"""
    names: Sequence[str]
    """[n_kps] first spelling of each KP, in order of first appearance."""
    drops: Counter[str]
    """KP mentions left out, by reason."""


def build_graph(seeds: Seeds, config: GraphConfig | None = None, *, backend: str = "auto", **settings: Any) -> KPGraph:
    """Build the KP graph of seeds.

    Parameters
    ----------
    seeds : Seeds
    config : GraphConfig, optional
        Or its fields as keywords: `build_graph(seeds, kp_form="exact", min_count=2)`.
    backend : {'auto', 'cpu', 'gpu', 'reference'}

    Returns
    -------
    KPGraph
        With names, seed counts and evidence. A KP without neighbours stays as an isolated node.

    Raises
    ------
    DataError
        No seed has a knowledge point, or there are more KPs than the sampler's integers can hold.
    """
    config = config_or_fields(GraphConfig, config, settings)
    incidence = read_incidence(seeds, config, backend)
    graph = build_graph_from_incidence(
        incidence.indptr,
        incidence.kp_indices,
        len(incidence.names),
        config,
        names=incidence.names,
        backend=backend,
    )
    return replace(graph, drops=graph.drops + incidence.drops, statistics=kp_statistics(seeds, incidence))


def build_graph_from_incidence(
    indptr: Any,
    kp_indices: Any,
    n_kps: int,
    config: GraphConfig | None = None,
    *,
    names: Sequence[str] | None = None,
    backend: str = "auto",
    **settings: Any,
) -> KPGraph:
    """Build the KP graph of an incidence matrix in CSR form.

    Parameters
    ----------
    indptr : array_like of int [n_seeds + 1]
    kp_indices : array_like of int [n_mentions]
        KPs of each seed, ascending and distinct within a seed.
    n_kps : int
    config, settings
        `GraphConfig`, or its fields as keywords.
    names : sequence of str, optional
        [n_kps]

    Raises
    ------
    DataError
        The arrays are not such a matrix; the message says which rule they break.
    """
    config = config_or_fields(GraphConfig, config, settings)
    indptr = np.ascontiguousarray(indptr, np.int64)
    kp_indices = np.ascontiguousarray(kp_indices, np.int32)
    _check_incidence(indptr, kp_indices, n_kps)
    ops = resolve(backend).ops
    seed_count = np.bincount(kp_indices, minlength=n_kps).astype(np.int64)
    device_indptr, device_kps = ops.asarray(indptr), ops.asarray(kp_indices)
    product = ops.cooccurrence(device_indptr, device_kps, n_kps, memory_limit=config.memory_limit)
    rows, columns, count = map(ops.to_host, product)
    n_found = columns.size
    n_seeds = indptr.size - 1
    rows, columns, count, weight, drops = _weigh_and_prune(rows, columns, count, seed_count, n_seeds, config)
    kept = product[:2] if columns.size == n_found else (ops.asarray(rows), ops.asarray(columns))
    evidence_indptr, evidence = map(ops.to_host, ops.evidence(device_indptr, device_kps, *kept))
    return KPGraph(rows, columns, count, weight, seed_count, names, n_seeds, evidence_indptr, evidence, drops)


def read_incidence(seeds: Seeds, config: GraphConfig, backend: str = "auto") -> Incidence:
    """Number the KPs of seeds in order of first appearance, and list the KPs of each seed.

    Raises
    ------
    DataError
        No seed has a KP.
    """
    ops = resolve(backend).ops
    indptr, kp_indices, names, drops = ops.incidence(
        seeds.table.column("knowledge_points"), kp_form=config.kp_form, max_kps_per_seed=config.max_kps_per_seed
    )
    return Incidence(ops.to_host(indptr), ops.to_host(kp_indices), names, drops)


def kp_statistics(seeds: Seeds, incidence: Incidence) -> KPStatistics:
    """Discipline counts and mean difficulty of the seeds of each KP, over all mentions that the graph uses."""
    n_seeds, n_kps = len(seeds), len(incidence.names)
    ones = np.ones(incidence.kp_indices.size, np.int8)  # SciPy adds and multiplies them as int64
    held = sparse.csr_array((ones, incidence.kp_indices, incidence.indptr), shape=(n_seeds, n_kps)).T.tocsr()
    labels = seed_labels(seeds)
    rated = held @ (labels.difficulty > 0).astype(np.int64)
    mean = np.divide(held @ labels.difficulty, rated, out=np.full(n_kps, np.nan), where=rated > 0)
    counts = (held @ labels.membership).tocsr()
    return KPStatistics(held.sum(axis=1), mean, labels.disciplines, counts, labels)


def _weigh_and_prune(
    indptr: Int64, indices: Int32, count: Int32, seed_count: Int64, n_seeds: int, config: GraphConfig
) -> tuple[Int64, Int32, Int32, Int32, Counter[str]]:
    """Edge weights, then `min_count` and `top_k`; both keep the matrix symmetric. Drops are counted in edges."""
    n_kps = indptr.size - 1
    drops = Counter[str]()
    rows = np.repeat(np.arange(n_kps, dtype=np.int64), np.diff(indptr))
    weight = count
    if config.weight != "count":
        similarity = _similarity(config.weight, rows, indices, count, seed_count, n_seeds)
        weight = np.maximum(1, np.floor(similarity * 2.0**WEIGHT_BITS)).astype(np.int32)
    if config.min_count == 1 and config.top_k is None:
        return indptr, indices, count, weight, drops
    keep = count >= config.min_count
    if not keep.all():
        drops["min_count"] = int((~keep).sum()) // 2
    if config.top_k is not None:
        heavy = _top_k(rows, indices, weight, keep, n_kps, config.top_k)
        drops["top_k"] = int((keep & ~heavy).sum()) // 2
        keep &= heavy
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows[keep], minlength=n_kps))]).astype(np.int64)
    return indptr, indices[keep], count[keep], weight[keep], drops


def _similarity(kind: str, rows: Int64, indices: Int32, count: Int32, seed_count: Int64, n_seeds: int) -> Float64:
    """Normalised edge weights in float64, on the host once; the same for both entries of an edge.

    cosine = c / sqrt(f(u) f(v)); jaccard = c / (f(u) + f(v) - c); npmi = log(c n / (f(u) f(v))) / log(n / c),
    which is 1 where every seed holds both.
    """
    c = count.astype(np.float64)
    fu, fv = seed_count[rows].astype(np.float64), seed_count[indices].astype(np.float64)
    if kind == "cosine":
        return c / np.sqrt(fu * fv)
    if kind == "jaccard":
        return c / (fu + fv - c)
    surprise = np.log(n_seeds / c)
    pmi = np.log(c * n_seeds / (fu * fv))
    return np.divide(pmi, surprise, out=np.ones_like(pmi), where=surprise > 0.0)


def _top_k(rows: Int64, indices: Int32, weight: Int32, keep: Any, n_kps: int, k: int) -> Any:
    """Entries whose edge is among the k heaviest of at least one end; ties go to the smaller neighbour."""
    order = np.lexsort((indices, -weight.astype(np.int64), ~keep, rows))
    degree = np.bincount(rows, minlength=n_kps)
    place = np.empty(rows.size, np.int64)
    place[order] = np.arange(rows.size) - np.repeat(np.cumsum(degree) - degree, degree)
    heavy = keep & (place < k)
    mirror = np.argsort(indices.astype(np.int64) * n_kps + rows, kind="stable")  # entry (v, u) of entry (u, v)
    return keep & (heavy | heavy[mirror])


def _check_incidence(indptr: Int64, kp_indices: Int32, n_kps: int) -> None:
    """Raise `DataError` unless the arrays are an incidence matrix as the backends need it."""
    check_offsets("indptr", indptr, kp_indices.size)
    if n_kps > MAX_KPS:
        raise DataError(f"{n_kps:,} KPs; at most {MAX_KPS:,} are supported: merge them, or use fewer seeds")
    if kp_indices.size and (kp_indices.min() < 0 or kp_indices.max() >= n_kps):
        raise DataError(f"kp_indices must lie in 0 .. {n_kps - 1}")
    if (seed := first_row_out_of_order(indptr, kp_indices)) is not None:
        raise DataError(f"the KPs of seed {seed} must ascend without repeats")
