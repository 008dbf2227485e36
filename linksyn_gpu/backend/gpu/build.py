"""Construction on the device: pairs of KPs, sorted by CuPy, counted and placed by kernels/pairs.cu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy as cp
import numpy as np

from linksyn_gpu.backend.gpu.cuda import launch
from linksyn_gpu.backend.gpu.device import DeviceArray, flatnonzero, free_memory, size_of
from linksyn_gpu.backend.gpu.memory import items_that_fit
from linksyn_gpu.errors import DataError

# Bytes per item of a batch at the peak of its sort: keys, the second copy of the radix sort, runs.
PAIR_BYTES = 48
KEY_BITS = 64
LOW = 0xFFFFFFFF


def cooccurrence(
    indptr: DeviceArray, kp_indices: DeviceArray, n_kps: int, *, memory_limit: int | None = None
) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
    """Sort and count pairs in batches that fit in `memory_limit` (None: what the device has free).

    Each pair u < v of a seed becomes the key u * n_kps + v; equal keys are counted after a sort. Both triangles are
    then placed in one pass.
    """
    running = _pairs_up_to(indptr, kp_indices)
    n_pairs = size_of(running[-1]) if kp_indices.size else 0

    def expand(first: int, size: int, keys: Any) -> None:
        launch("expand_pairs", size, kp_indices, running, kp_indices.size, n_kps, first, size, keys)

    batch = items_that_fit(memory_limit or free_memory(), PAIR_BYTES, n_pairs)
    return symmetric_csr(*count_keys(n_pairs, batch, expand), n_kps)


def cooccurrence_with_evidence(
    indptr: DeviceArray, kp_indices: DeviceArray, n_kps: int, memory_limit: int | None = None
) -> tuple[Any, Any, Any, Any, Any] | None:
    """Counts and postings by one sort of (edge, seed); None if the pairs do not fit in memory, or in 64 bits each."""
    running = _pairs_up_to(indptr, kp_indices)
    n_seeds, n_pairs = indptr.size - 1, size_of(running[-1]) if kp_indices.size else 0
    seed_bits = max(n_seeds - 1, 1).bit_length()
    fits = items_that_fit(memory_limit or free_memory(), PAIR_BYTES, n_pairs) >= n_pairs
    if not fits or (n_kps * n_kps).bit_length() + seed_bits > KEY_BITS:
        return None
    keys = cp.empty(n_pairs, np.uint64)
    launch(
        "expand_postings", n_pairs,
        indptr, kp_indices, running, n_seeds, kp_indices.size, n_kps, seed_bits, n_pairs, keys,
    )  # fmt: skip
    keys.sort()
    seeds = (keys & ((1 << seed_bits) - 1)).astype(np.int32)
    keys >>= seed_bits
    starts = _run_starts(keys)
    edges, count = keys[starts[:-1]], (starts[1:] - starts[:-1]).astype(np.int32)
    del keys
    return *symmetric_csr(edges, count, n_kps), starts, seeds


def count_keys(n_keys: int, batch: int, expand: Callable[[int, int, Any], None]) -> tuple[Any, Any]:
    """Distinct keys, ascending, and how often each occurs; `expand(first, size, out)` makes those of a batch."""
    keys, count = cp.empty(0, np.uint64), cp.empty(0, np.int32)
    for first in range(0, n_keys, batch):
        part = cp.empty(min(batch, n_keys - first), np.uint64)
        expand(first, part.size, part)
        part.sort()
        part_keys, part_count = _count_runs(part)
        if keys.size:
            keys, count = _merge(cp.concatenate((keys, part_keys)), cp.concatenate((count, part_count)))
        else:
            keys, count = part_keys, part_count
    return keys, count


def _pairs_up_to(indptr: Any, kp_indices: Any) -> Any:
    """Pairs that begin with each mention or one before it: int64 [n_mentions]."""
    pairs = cp.empty(kp_indices.size, np.int64)
    launch("pairs_of_mention", kp_indices.size, indptr, indptr.size - 1, kp_indices.size, pairs)
    return cp.cumsum(pairs, dtype=np.int64)


def _run_starts(keys: Any) -> Any:
    """Begin of each run of equal keys, then the number of keys: int64 [n_runs + 1]."""
    change = cp.ones(keys.size + 1, np.bool_)
    change[1:-1] = keys[1:] != keys[:-1]
    return flatnonzero(change)


def _count_runs(keys: Any) -> tuple[Any, Any]:
    """Distinct keys of a sorted array, and how often each occurs: uint64, int32."""
    starts = _run_starts(keys)
    return keys[starts[:-1]], (starts[1:] - starts[:-1]).astype(np.int32)


def _merge(keys: Any, count: Any) -> tuple[Any, Any]:
    """Add the counts of equal keys: ascending distinct keys uint64, int32."""
    order = cp.argsort(keys)
    keys = keys[order]
    running = cp.zeros(keys.size + 1, np.int64)
    running[1:] = cp.cumsum(count[order], dtype=np.int64)
    starts = _run_starts(keys)
    return keys[starts[:-1]], (running[starts[1:]] - running[starts[:-1]]).astype(np.int32)


def symmetric_csr(keys: Any, count: Any, n_kps: int) -> tuple[Any, Any, Any]:
    """CSR of both triangles from the ascending keys of the upper one.

    A row's entries below its KP come from the transposed keys, sorted; those above it follow unchanged.
    """
    n = max(n_kps, 1)
    row_starts = cp.arange(n_kps + 1, dtype=np.uint64) * n
    transposed = (keys % n) * n + keys // n
    order = cp.argsort(transposed)
    lower_keys, lower_count = transposed[order], count[order]
    upper_running = cp.searchsorted(keys, row_starts)
    lower_running = cp.searchsorted(lower_keys, row_starts)
    indptr = (upper_running + lower_running).astype(np.int64)
    n_edges = keys.size
    indices, counts = cp.empty(2 * n_edges, np.int32), cp.empty(2 * n_edges, np.int32)
    lower_base = indptr[:-1] - lower_running[:-1]
    upper_base = indptr[1:] - upper_running[1:]
    launch("place_entries", n_edges, lower_keys, lower_count, lower_base, n, n_edges, indices, counts)
    launch("place_entries", n_edges, keys, count, upper_base, n, n_edges, indices, counts)
    return indptr, indices, counts


def evidence(
    indptr: DeviceArray, kp_indices: DeviceArray, graph_indptr: DeviceArray, graph_indices: DeviceArray
) -> tuple[DeviceArray, DeviceArray]:
    """Place the seeds of each edge, batch by batch: pairs come in the order of their seeds."""
    n_edges = graph_indices.size // 2
    if n_edges >= LOW or indptr.size > 2**31:
        raise DataError(
            f"{n_edges:,} edges of {indptr.size - 1:,} seeds exceed the 32 bits of an evidence key: prune edges, or "
            "pass --backend cpu"
        )
    upper_first, upper_running = upper(graph_indptr, graph_indices)
    running = _pairs_up_to(indptr, kp_indices)
    n_pairs = size_of(running[-1]) if kp_indices.size else 0
    batch = items_that_fit(free_memory(), PAIR_BYTES, n_pairs)

    def postings(first: int) -> Any:
        size = min(batch, n_pairs - first)
        keys = cp.empty(size, np.uint64)
        launch(
            "pair_postings", size,
            indptr, kp_indices, running, indptr.size - 1, kp_indices.size,
            graph_indptr, graph_indices, upper_first, upper_running, first, size, keys,
        )  # fmt: skip
        return keys

    held = cp.zeros(n_edges, np.int64)
    for first in range(0, n_pairs, batch):
        keys = postings(first)
        launch("count_postings", keys.size, keys, keys.size, held)
    evidence_indptr = offsets(held)
    seeds = cp.empty(size_of(evidence_indptr[-1]), np.int32)
    placed = cp.zeros(n_edges, np.int64)
    for first in range(0, n_pairs, batch):
        keys = postings(first)
        keys.sort()
        launch("place_postings", keys.size, keys, keys.size, evidence_indptr, placed, seeds)
        launch("count_postings", keys.size, keys, keys.size, placed)
    return evidence_indptr, seeds


def offsets(sizes: Any) -> Any:
    """Running sum with a 0 in front: int64 [n + 1]."""
    indptr = cp.zeros(sizes.size + 1, np.int64)
    indptr[1:] = cp.cumsum(sizes, dtype=np.int64)
    return indptr


def upper(graph_indptr: Any, graph_indices: Any) -> tuple[Any, Any]:
    """First entry of each row above its KP, and the undirected edges before each row."""
    n_kps = graph_indptr.size - 1
    first = cp.empty(n_kps, np.int64)
    launch("first_above", n_kps, graph_indptr, graph_indices, n_kps, first)
    return first, offsets(graph_indptr[1:] - first)
