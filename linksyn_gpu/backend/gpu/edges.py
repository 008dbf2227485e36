"""From counts to a graph, on the device: validation, weights, pruning, components, and the statistics of KPs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import cupy as cp
import numpy as np

from linksyn_gpu.backend.gpu.build import (
    PAIR_BYTES,
    cooccurrence,
    cooccurrence_with_evidence,
    count_keys,
    evidence,
    offsets,
    upper,
)
from linksyn_gpu.backend.gpu.cuda import launch
from linksyn_gpu.backend.gpu.device import DeviceArray, flatnonzero, free_memory, from_device, size_of, to_device
from linksyn_gpu.backend.gpu.memory import items_that_fit
from linksyn_gpu.backend.gpu.paths import count_occurrences
from linksyn_gpu.backend.protocol import EdgeRule, GraphArrays, KPCounts
from linksyn_gpu.backend.reference.bundle import LabelTable
from linksyn_gpu.backend.reference.edges import WEIGHT_BITS, fixed_point, npmi
from linksyn_gpu.errors import DataError

KINDS = {"cosine": 1, "jaccard": 2}  # as kernels/edges.cu numbers them


def check_incidence(indptr: DeviceArray, kp_indices: DeviceArray, n_kps: int) -> None:
    """Offsets first, then one thread per mention."""
    n_seeds, n_mentions = indptr.size - 1, kp_indices.size
    if n_seeds < 0 or [size_of(indptr[0]), size_of(indptr[-1])] != [0, n_mentions] or _falls(indptr):
        raise DataError(f"indptr must rise from 0 to the number of entries, {n_mentions:,}")
    first, outside = cp.full(1, n_seeds, np.int64), cp.zeros(1, np.int64)
    launch("check_mentions", n_mentions, indptr, kp_indices, n_seeds, n_mentions, n_kps, first, outside)
    if size_of(outside[0]):
        raise DataError(f"kp_indices must lie in 0 .. {n_kps - 1}")
    if (seed := size_of(first[0])) < n_seeds:
        raise DataError(f"the KPs of seed {seed} must ascend without repeats")


def _falls(indptr: Any) -> bool:
    return size_of((indptr[1:] < indptr[:-1]).sum()) > 0


def graph_arrays(
    indptr: DeviceArray, kp_indices: DeviceArray, n_kps: int, rule: EdgeRule, *, memory_limit: int | None = None
) -> GraphArrays:
    """One sort gives counts and postings; batches of pairs where memory is low. The result crosses once."""
    every = cp.ones(kp_indices.size, np.uint8)
    seed_count = count_occurrences(kp_indices.reshape((kp_indices.size, 1)), every, n_kps)
    found = cooccurrence_with_evidence(indptr, kp_indices, n_kps, memory_limit)
    rows, columns, count = found[:3] if found else cooccurrence(indptr, kp_indices, n_kps, memory_limit=memory_limit)
    weight = _weights(rows, columns, count, seed_count, indptr.size - 1, rule.weight)
    keep, drops = _kept(rows, columns, count, weight, rule)
    postings = found[3:] if found else None
    if keep is not None:
        if postings is not None:
            postings = _kept_postings(*postings, rows, columns, keep)
        kept, running = flatnonzero(keep), offsets(keep)
        rows, columns, count, weight = running[rows], columns[kept], count[kept], weight[kept]
    if postings is None:
        postings = evidence(indptr, kp_indices, rows, columns)
    names = ("indptr", "indices", "count", "seed_count", "evidence_indptr", "evidence", "component")
    parts = rows, columns, count, seed_count, *postings, _components(rows, columns)
    arrays = {name: from_device(part, "finished graph") for name, part in zip(names, parts, strict=True)}
    arrays["weight"] = arrays["count"] if rule.weight == "count" else from_device(weight, "finished graph")
    return GraphArrays(**arrays, drops=drops)


def _weights(rows: Any, columns: Any, count: Any, seed_count: Any, n_seeds: int, kind: str) -> Any:
    """Weights as the reference computes them: int32 [n_entries]."""
    if kind == "count":
        return count
    n_kps, n_entries = rows.size - 1, columns.size
    if kind == "npmi":
        indptr, indices, counts, f = (from_device(a, "npmi weights") for a in (rows, columns, count, seed_count))
        fu, fv = np.repeat(f, np.diff(indptr)).astype(np.float64), f[indices].astype(np.float64)
        return to_device(fixed_point(npmi(counts.astype(np.float64), fu, fv, n_seeds)), "npmi weights")
    weight = cp.empty(n_entries, np.int32)
    launch(
        "weigh_edges", n_entries,
        rows, columns, count, seed_count, n_kps, n_entries, KINDS[kind], 1 << WEIGHT_BITS, weight,
    )  # fmt: skip
    return weight


def _kept(rows: Any, columns: Any, count: Any, weight: Any, rule: EdgeRule) -> tuple[Any, Counter[str]]:
    """Entries that are kept, uint8 [n_entries] or None for all, and the edges that are not."""
    drops = Counter[str]()
    if not rule.prunes:
        return None, drops
    n_kps, n_entries = rows.size - 1, columns.size
    keep = (count >= rule.min_count).astype(np.uint8)
    n_kept = size_of(keep.sum())
    if n_kept < n_entries:
        drops["min_count"] = (n_entries - n_kept) // 2
    if rule.top_k is not None:
        keys, heavy = cp.empty(n_entries, np.uint64), cp.empty(n_entries, np.uint8)
        launch("heaviest_first", n_entries, rows, weight, keep, n_kps, n_entries, keys)
        order = cp.argsort(keys)  # stable: of equal weights the smaller neighbour comes first
        launch("mark_heavy", n_entries, rows, order, keep, n_kps, n_entries, rule.top_k, heavy)
        keep = cp.empty(n_entries, np.uint8)
        launch("either_end", n_entries, rows, columns, heavy, n_kps, n_entries, keep)
        drops["top_k"] = (n_kept - size_of(keep.sum())) // 2
    return keep, drops


def _kept_postings(indptr: Any, seeds: Any, rows: Any, columns: Any, keep: Any) -> tuple[Any, Any]:
    """Evidence of the edges that are kept."""
    n_kps, n_edges, n_postings = rows.size - 1, indptr.size - 1, seeds.size
    first, running = upper(rows, columns)
    kept = cp.empty(n_postings, np.uint8)
    launch("keep_postings", n_postings, indptr, first, running, keep, n_kps, n_edges, n_postings, kept)
    ends = offsets(kept)[indptr]
    return ends[_first_of_runs(ends)], seeds[flatnonzero(kept)]


def _first_of_runs(ends: Any) -> Any:
    """Places where a new value begins: an edge that was pruned has the end of the edge before it."""
    change = cp.ones(ends.size, np.bool_)
    change[1:] = ends[1:] != ends[:-1]
    return flatnonzero(change)


def _components(rows: Any, columns: Any) -> Any:
    """Number of each KP's component: roots of neighbours are joined until none is left to join."""
    n_kps, n_entries = rows.size - 1, columns.size
    parent, root = cp.arange(n_kps, dtype=np.int32), cp.arange(n_kps, dtype=np.int32)
    while True:
        joined = cp.zeros(1, np.int64)
        launch("join_components", n_entries, rows, columns, n_kps, n_entries, root, parent, joined)
        if not size_of(joined[0]):
            break
        root = cp.empty(n_kps, np.int32)
        launch("find_roots", n_kps, parent, n_kps, root)
    number = cp.cumsum(root == cp.arange(n_kps, dtype=np.int32), dtype=np.int32) - 1
    return number[root]


def kp_counts(
    indptr: DeviceArray, kp_indices: DeviceArray, n_kps: int, labels: LabelTable, n_disciplines: int
) -> KPCounts:
    """Counters per KP, added to atomically; disciplines are counted by a sort of (KP, discipline)."""
    n_seeds, n_mentions = indptr.size - 1, kp_indices.size
    counters = [cp.zeros(n_kps, np.int64) for _ in range(3)]
    launch("count_levels", n_mentions, indptr, kp_indices, labels.level, n_seeds, n_mentions, *counters)
    per_mention = cp.empty(n_mentions, np.int64)
    launch("labels_of_mention", n_mentions, indptr, labels.indptr, n_seeds, n_mentions, per_mention)
    running = cp.cumsum(per_mention, dtype=np.int64)
    n_items = size_of(running[-1]) if n_mentions else 0

    def expand(first: int, size: int, keys: Any) -> None:
        launch(
            "expand_labels", size,
            indptr, kp_indices, labels.indptr, labels.disciplines, running, n_seeds, n_mentions, n_disciplines, first,
            size, keys,
        )  # fmt: skip

    keys, count = count_keys(n_items, items_that_fit(free_memory(), PAIR_BYTES, n_items), expand)
    width = max(n_disciplines, 1)
    rows = cp.searchsorted(keys, cp.arange(n_kps + 1, dtype=np.uint64) * width)
    parts = *counters, rows.astype(np.int64), (keys % width).astype(np.int32), count.astype(np.int64)
    return KPCounts(*(from_device(part, "KP statistics") for part in parts))
