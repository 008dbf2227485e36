"""Pairs of similar vectors: what the `similar_pairs` of every backend shares after its search for candidates.

A search in single precision, exact or approximate, only proposes pairs. One formula in double precision decides here,
on the host, whether two vectors are similar. A reported pair therefore has the same score on every backend, and an
approximate search can miss pairs but cannot report wrong ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.tables import Bool, Float64, Int32, Int64

SPARE = 24
"""Candidates of a row beyond `top_k`: the rounding of a search must not decide which `top_k` are kept."""
MARGIN = 1e-4
"""Largest error of a search in single precision: candidates have at least threshold - MARGIN."""
CHUNK = 2**22  # numbers of a temporary array
PENDING = 2**22  # candidates that are collected before the next cut
Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SimilarPairs:
    """Pairs of rows, each once, ordered by `left`, then `right`."""

    left: Int32
    right: Int32
    """Larger than `left`."""
    score: Float64
    """Cosine, in double precision."""
    method: str
    """How candidates were found; begins with 'exact' or 'approximate'."""

    def __len__(self) -> int:
        return int(self.left.size)


class Nearest:
    """The nearest `top_k` of each row, by exact cosine, among the offered candidates.

    Parameters
    ----------
    vectors : float32 [n, d], finite
    threshold : float
        Least cosine of a pair, in (0, 1].
    top_k : int
        Neighbours that a row keeps; of equal cosines those of the smaller rows.

    Raises
    ------
    ValueError
        An argument is out of these bounds.
    """

    def __init__(self, vectors: Float32, threshold: float, top_k: int) -> None:
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or not 0.0 < threshold <= 1.0 or top_k < 1:
            raise ValueError(f"vectors {vectors.shape}, threshold {threshold}, top_k {top_k}")
        self.norms = _norms(vectors)
        if not np.isfinite(self.norms).all():
            raise ValueError(
                f"vector {int(np.flatnonzero(~np.isfinite(self.norms))[0])} has a number that is not finite"
            )
        self._vectors, self._threshold, self._top_k = vectors, threshold, top_k
        self._rows: list[Int32] = []
        self._others: list[Int32] = []
        self._scores: list[Float64] = []
        self._pending = 0

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def unit(self) -> Float32:
        """[n, d] vectors scaled to length 1 for a search; a vector of length 0 stays 0."""
        lengths = np.maximum(self.norms, np.finfo(np.float64).tiny)[:, None]
        return np.asarray(self._vectors / lengths, np.float32)

    def offer(self, rows: NDArray[np.integer], others: NDArray[np.integer]) -> None:
        """Test candidates: `others[i]` may be near `rows[i]`; a row is not its own candidate."""
        for start in range(0, len(rows), step := max(1, CHUNK // max(1, self._vectors.shape[1]))):
            row, other = rows[start : start + step], others[start : start + step]
            score = self._cosines(row, other)
            near = (score >= self._threshold) & (row != other)
            self._rows.append(row[near].astype(np.int32))
            self._others.append(other[near].astype(np.int32))
            self._scores.append(score[near])
            self._pending += int(near.sum())
        if self._pending > max(PENDING, 2 * self._top_k * len(self)):
            self._cut()

    def pairs(self, method: str) -> SimilarPairs:
        """All pairs in which at least one row keeps the other."""
        self._cut()
        rows, others, scores = self._rows[0], self._others[0], self._scores[0]
        left, right = np.minimum(rows, others), np.maximum(rows, others)
        _, first = np.unique(left.astype(np.int64) * max(1, len(self)) + right, return_index=True)
        return SimilarPairs(left[first], right[first], scores[first], method)

    def _cosines(self, rows: NDArray[np.integer], others: NDArray[np.integer]) -> Float64:
        products = (self._vectors[rows].astype(np.float64) * self._vectors[others].astype(np.float64)).sum(axis=1)
        return cosine(products, self.norms[rows], self.norms[others])

    def _cut(self) -> None:
        """Keep each row's nearest `top_k`; the nearest of all are among the nearest of each part."""
        rows = np.concatenate([np.empty(0, np.int32), *self._rows])
        others = np.concatenate([np.empty(0, np.int32), *self._others])
        scores = np.concatenate([np.empty(0, np.float64), *self._scores])
        order = np.lexsort((others, -scores, rows))
        rows, others, scores = rows[order], others[order], scores[order]
        fresh = np.ones(rows.size, bool)  # a candidate that was offered twice is next to itself
        fresh[1:] = (rows[1:] != rows[:-1]) | (others[1:] != others[:-1])
        rows, others, scores = rows[fresh], others[fresh], scores[fresh]
        place = np.arange(rows.size) - np.searchsorted(rows, rows)
        kept = place < self._top_k
        self._rows, self._others, self._scores = [rows[kept]], [others[kept]], [scores[kept]]
        self._pending = int(kept.sum())


def cosine(products: Float64, norms: Float64, others_norms: Float64) -> Float64:
    """a.b / (|a| |b|), never above 1; 0 where a vector has length 0."""
    lengths = norms * others_norms
    found = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return np.asarray(np.minimum(found, 1.0), np.float64)


def near_in_block(scores: Float32, least: float, most: int) -> tuple[Int64, Int64]:
    """Places (row, column) of the scores of a block that are at least `least`; per row only the `most` largest."""
    near: Bool = scores >= np.float32(least)
    crowded = np.flatnonzero(near.sum(axis=1) > most)
    if crowded.size:
        largest = np.argpartition(scores[crowded], -most, axis=1)[:, -most:]
        near[crowded] = False
        near[crowded[:, None], largest] = True
    row, column = np.nonzero(near)
    return row, column


def _norms(vectors: Float32) -> Float64:
    step = max(1, CHUNK // max(1, vectors.shape[1]))
    norms = np.empty(len(vectors), np.float64)
    for start in range(0, len(vectors), step):
        part = vectors[start : start + step].astype(np.float64)
        norms[start : start + step] = np.sqrt((part * part).sum(axis=1))
    return norms
