"""Pairs of near vectors on the CPU: all against all up to `EXACT`, in a forest of random splits beyond."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from linksyn_gpu.backend.neighbours import MARGIN, SPARE, Float32, Nearest, near_in_block
from linksyn_gpu.backend.neighbours import SimilarPairs as SimilarPairs
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.tables import Int64

EXACT = 65_536
"""Most vectors that are compared all with all."""
TREES = 12
LEAF = 1024
"""Most vectors of a leaf, which are compared all with all."""
CELLS = 2**24  # scores of a block
CHUNK = 2**16  # vectors that are projected at once


def similar_pairs(vectors: Float32, threshold: float, *, top_k: int = 8) -> SimilarPairs:
    """Pairs of vectors with a cosine of at least `threshold`, one of them among the `top_k` nearest of the other.

    Up to `EXACT` vectors the search is exact. Beyond, `TREES` trees part the vectors at the median of their projections
    on the difference of two of them, down to leaves of `LEAF`, and only vectors that share a leaf are compared
    (Dasgupta and Freund 2008; directions as in Annoy): approximate, O(n * TREES * LEAF) whatever the vectors are, and
    the same result each time.
    """
    nearest = Nearest(vectors, threshold, top_k)
    n, unit, least, most = len(nearest), nearest.unit, threshold - MARGIN, top_k + SPARE
    if n <= EXACT:
        step = max(1, CELLS // max(1, n))
        for start in range(0, n, step):
            scores = unit[start : start + step] @ unit.T
            np.fill_diagonal(scores[:, start:], -2.0)
            row, column = near_in_block(scores, least, most)
            nearest.offer(row + start, column)
        return nearest.pairs("exact")
    draw = np.random.Generator(np.random.Philox(key=derive_key(0, Purpose.NEIGHBOURS)))
    for _ in range(TREES):
        for leaf in _leaves(unit, draw):
            members = unit[leaf]
            scores = members @ members.T
            np.fill_diagonal(scores, -2.0)
            row, column = near_in_block(scores, least, most)
            nearest.offer(leaf[row], leaf[column])
    return nearest.pairs(f"approximate: {TREES} trees with leaves of up to {LEAF}")


def _leaves(unit: Float32, draw: np.random.Generator) -> Iterator[Int64]:
    """Rows of each leaf of one tree."""
    stack: list[Int64] = [np.arange(len(unit))]
    while stack:
        rows = stack.pop()
        if rows.size <= LEAF:
            yield rows
            continue
        one, other = rows[draw.integers(rows.size, size=2)]
        direction = unit[one] - unit[other]
        height = np.concatenate([unit[rows[start : start + CHUNK]] @ direction for start in range(0, rows.size, CHUNK)])
        # The median, not a value: equal vectors are parted too, so that a tree ends and no leaf is large.
        order = np.argpartition(height, rows.size // 2)
        stack += [np.sort(rows[order[: rows.size // 2]]), np.sort(rows[order[rows.size // 2 :]])]
