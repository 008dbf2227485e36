"""Seeded graph makers for benchmarks: Zipf incidence (seeds x KPs) and its co-occurrence graph.

KPs of real question banks are used very unevenly; here the KP of rank r is drawn with probability proportional to
r ** -exponent, and ids are shuffled: neighbouring ids are unrelated in popularity. Graphs are cached in the user's
cache folder (LINKSYN_BENCH_CACHE overrides it; it is safe to delete).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from linksyn_gpu.tables import Int32, Int64, KPGraph

GENERATOR = 1  # part of the cache's file names: increase it if the makers change

# (seeds, KPs) -> entries of the co-occurrence graph, about, at exponent 0.9 and 3-8 KPs per seed
SIZES = {
    "0.1M": (4_000, 3_000),
    "1M": (45_000, 20_000),
    "10M": (500_000, 200_000),
    "40M": (2_200_000, 800_000),
    "100M": (5_600_000, 2_000_000),
}


def cache_folder() -> Path:
    """Folder of cached graphs."""
    given = os.environ.get("LINKSYN_BENCH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(given) if given else Path(base) / "linksyn-gpu" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def zipf_incidence(
    n_seeds: int = 500_000,
    n_kps: int = 200_000,
    *,
    exponent: float = 0.9,
    fewest: int = 3,
    most: int = 8,
    seed: int = 20261122,
) -> tuple[Int64, Int32]:
    """Seeds x KPs incidence as (indptr int64 [n_seeds + 1], kp_indices int32), KPs ascending within a seed.

    A seed draws `fewest` .. `most` KPs (uniformly many); repeats within a seed are one.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(fewest, most + 1, n_seeds)
    share = np.cumsum(np.arange(1, n_kps + 1, dtype=np.float64) ** -exponent)
    rank = np.minimum(np.searchsorted(share, rng.random(drawn.sum()) * share[-1]), n_kps - 1)
    kp = rng.permutation(n_kps)[rank]
    key = np.unique(np.repeat(np.arange(n_seeds, dtype=np.int64), drawn) * n_kps + kp)
    indptr = np.zeros(n_seeds + 1, np.int64)
    np.cumsum(np.bincount(key // n_kps, minlength=n_seeds), out=indptr[1:])
    return indptr, (key % n_kps).astype(np.int32)


def cached_incidence(n_seeds: int, n_kps: int, exponent: float = 0.9) -> tuple[Int64, Int32]:
    """`zipf_incidence`, cached on disk."""
    file = cache_folder() / f"zipf-{GENERATOR}-{n_seeds}-{n_kps}-{exponent}.npz"
    if not file.exists():
        indptr, kp_indices = zipf_incidence(n_seeds, n_kps, exponent=exponent)
        part = file.with_suffix(f".{os.getpid()}.npz")
        np.savez(part, indptr=indptr, kp_indices=kp_indices)
        part.replace(file)
    with np.load(file) as arrays:
        return arrays["indptr"], arrays["kp_indices"]


def zipf_graph(n_seeds: int = 500_000, n_kps: int = 200_000, exponent: float = 0.9) -> KPGraph:
    """Co-occurrence graph of `cached_incidence`, built by the CPU backend."""
    from linksyn_gpu.backend.cpu import operations as cpu

    indptr, kp_indices = cached_incidence(n_seeds, n_kps, exponent)
    rows, columns, count = cpu.cooccurrence(indptr, kp_indices, n_kps)
    seed_count = np.bincount(kp_indices, minlength=n_kps).astype(np.int64)
    return KPGraph(rows, columns, count, count, seed_count, n_seeds=n_seeds)
