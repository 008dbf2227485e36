"""Pairs of near vectors on the GPU: cuVS proposes neighbours, the host scores them like every backend."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cupy as cp
import numpy as np

from linksyn_gpu.backend.gpu.device import free_memory, from_device, to_device
from linksyn_gpu.backend.neighbours import SPARE, Nearest, SimilarPairs
from linksyn_gpu.errors import BackendUnavailable

EXACT = 2**18
"""Largest number of vectors for brute force; beyond, an IVF-Flat index searches only the nearest lists."""
QUERIES = 2**16  # vectors whose neighbours are searched at once
PROBED = 32  # one list in 32 is searched
LEAST_PROBES = 32


def similar_pairs(vectors: Any, threshold: float, *, top_k: int = 8) -> SimilarPairs:
    """Candidates by cuVS's brute force up to `EXACT` vectors, and by its IVF-Flat index beyond.

    Brute force in single precision only proposes. The index is approximate, and cuVS does not promise the same lists
    each time.

    Raises
    ------
    BackendUnavailable
        cuVS is not installed, or the vectors do not fit in device memory.
    """
    nearest = Nearest(vectors, threshold, top_k)
    n, k = len(nearest), min(len(nearest), top_k + SPARE + 1)  # plus 1: a vector is its own nearest
    if n < 2:
        return nearest.pairs("exact")
    unit = nearest.unit
    _require_memory(unit.nbytes * (1 if n <= EXACT else 2) + QUERIES * k * 12)
    search, method = _index(to_device(unit, "similar_pairs"), k)
    for start in range(0, n, QUERIES):
        stop = min(n, start + QUERIES)
        others = from_device(search(start, stop), "similar_pairs")
        rows = np.repeat(np.arange(start, stop), k)
        found = others.ravel()
        # An IVF index that finds fewer than k vectors pads its answer with numbers that are not rows.
        real = (found >= 0) & (found < n)
        nearest.offer(rows[real], found[real])
    return nearest.pairs(method)


def _index(unit: Any, k: int) -> tuple[Callable[[int, int], Any], str]:
    """Search of the k nearest of rows start .. stop - 1, and its name. The distance is Euclidean, squared.

    Among vectors of unit length it gives the order of the cosine, and it is defined for a vector of length 0.
    """
    brute_force, ivf_flat = _cuvs()
    # cuVS uses its own stream, and does not wait for what CuPy still copies on another.
    cp.cuda.runtime.deviceSynchronize()
    if len(unit) <= EXACT:
        whole = brute_force.build(unit, metric="sqeuclidean")

        def search_all(start: int, stop: int) -> Any:
            neighbours, distances = _result_arrays(stop - start, k)
            brute_force.search(whole, unit[start:stop], k, neighbors=neighbours, distances=distances)
            return neighbours

        return search_all, "exact: cuVS brute force"
    n_lists = 2 ** round(math.log2(2 * math.sqrt(len(unit))))
    probes = ivf_flat.SearchParams(n_probes=min(n_lists, max(LEAST_PROBES, n_lists // PROBED)))
    lists = ivf_flat.build(ivf_flat.IndexParams(n_lists=n_lists, metric="sqeuclidean"), unit)

    def search_lists(start: int, stop: int) -> Any:
        neighbours, distances = _result_arrays(stop - start, k)
        ivf_flat.search(probes, lists, unit[start:stop], k, neighbors=neighbours, distances=distances)
        return neighbours

    return search_lists, f"approximate: cuVS IVF-Flat, {n_lists} lists"


def _result_arrays(n_queries: int, k: int) -> tuple[Any, Any]:
    """Arrays that a search writes to: rows and distances of the neighbours, [n_queries, k] each."""
    arrays = cp.empty((n_queries, k), np.int64), cp.empty((n_queries, k), np.float32)
    cp.cuda.runtime.deviceSynchronize()  # the pool may return memory that an earlier kernel still reads
    return arrays


def _require_memory(n_bytes: int) -> None:
    if n_bytes > (free := free_memory()):
        raise BackendUnavailable(
            f"the vectors take {n_bytes / 2**30:.1f} GiB of device memory and {free / 2**30:.1f} GiB are free: "
            f"free some, or pass --backend cpu"
        )


def _cuvs() -> tuple[Any, Any]:
    """cuVS's two searches, which take CuPy arrays as they are."""
    try:
        from cuvs.neighbors import brute_force, ivf_flat
    except ModuleNotFoundError as error:
        if error.name != "cuvs":
            raise
        raise BackendUnavailable(
            "cuVS is not installed: create the environment of environment.yml, or pip install 'linksyn-gpu[gpu]', "
            "or pass --backend cpu"
        ) from None
    return brute_force, ivf_flat
