"""Pairs of near vectors on the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from linksyn_gpu.backend.neighbours import MARGIN, SPARE, Float32, Nearest, SimilarPairs, near_in_block
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.tables import Int64

EXACT = 65_536
"""Largest number of vectors that are all compared with one another."""
TREES = 12
LEAF = 1024
"""Largest number of vectors in a leaf, which are all compared with one another."""
CELLS = 2**24  # scores of a block
CHUNK = 2**16  # vectors that are projected at once


def similar_pairs(vectors: Float32, threshold: float, *, top_k: int = 8) -> SimilarPairs:
    """All against all up to `EXACT` vectors, in a forest of random splits beyond.

    Each of `TREES` trees splits the vectors at the median of their projections on the difference of two of them, down
    to leaves of `LEAF`; only vectors that share a leaf are compared (Dasgupta and Freund 2008; directions as in Annoy).
    This is approximate, costs O(n * TREES * LEAF) for any vectors, and gives the same result each time.
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
        # Split at the median position, not at a value: equal vectors are split too, and no leaf is large.
        order = np.argpartition(height, rows.size // 2)
        stack += [np.sort(rows[order[: rows.size // 2]]), np.sort(rows[order[rows.size // 2 :]])]
