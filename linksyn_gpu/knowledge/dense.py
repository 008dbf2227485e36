"""Nearest neighbours of vectors of unit length: exact in blocks up to `EXACT`, in random-hyperplane buckets beyond.

GPU seam: `similar_vectors` is what a vector index on a device (cuVS) would stand in for; none is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

EXACT = 65_536
TABLES = 12
BUCKET = 1024
BLOCK = 2048


def similar_vectors(
    vectors: NDArray[np.float32], threshold: float, top_k: int = 8, seed: int = 0
) -> list[tuple[int, int, float]]:
    """Pairs (i, j, cosine) with i < j and a cosine of at least `threshold`, at most `top_k` of each row and table."""
    n = len(vectors)
    found: dict[tuple[int, int], float] = {}
    if n <= EXACT:
        _search(vectors, np.arange(n), np.arange(n), threshold, top_k, found)
    else:
        draw = np.random.default_rng(seed)
        bits = max(1, int(np.ceil(np.log2(n / BUCKET))))
        for _ in range(TABLES):
            planes = draw.standard_normal((vectors.shape[1], bits)).astype(np.float32)
            code = ((vectors @ planes) > 0) @ (1 << np.arange(bits))
            order = np.argsort(code, kind="stable")
            borders = np.flatnonzero(np.diff(code[order])) + 1
            for rows in np.split(order, borders):
                _search(vectors, rows, rows, threshold, top_k, found)
    return [(i, j, score) for (i, j), score in sorted(found.items())]


def _search(
    vectors: Any, rows: Any, others: Any, threshold: float, top_k: int, found: dict[tuple[int, int], float]
) -> None:
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        for other_start in range(0, len(others), 8 * BLOCK):
            part = others[other_start : other_start + 8 * BLOCK]
            scores = vectors[block] @ vectors[part].T
            scores[block[:, None] >= part[None, :]] = -1.0
            if scores.shape[1] > top_k:
                least = np.partition(scores, -top_k, axis=1)[:, -top_k][:, None]
                scores[scores < least] = -1.0
            for at, to in zip(*np.nonzero(scores >= threshold), strict=True):
                found[int(block[at]), int(part[to])] = float(scores[at, to])
