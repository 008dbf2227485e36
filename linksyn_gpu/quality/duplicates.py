"""Near-duplicates among texts: MinHash finds candidates, and the true Jaccard index of their n-gram sets decides.

Two texts are near-duplicates if their sets of word 3-grams (of characters in Chinese) have a Jaccard index of at least
the threshold. A cluster is a connected component of such pairs. Neither depends on the order of the texts, on batches
or on threads. Texts are compared as `text.ngrams` cuts them: without case, width, spaces and punctuation.

The permutations are split into 21 bands of 6: a pair with index 0.8 shares a band with probability 0.998, one with 0.3
with 0.015. For 1 million texts the sets take about 0.5 GB and the bands 0.2 GB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from numba import njit
from numpy.typing import NDArray

from linksyn_gpu.tables import Int64
from linksyn_gpu.text.ngrams import GramSets, UInt64, concatenated, gram_sets

N_GRAM = 3
THRESHOLD = 0.8
BANDS, ROWS = 21, 6
PERMUTATIONS = 128
SEED = 42
BATCH = 1 << 14
"""Texts that are cut and hashed at a time. Never changes a result."""


def compared_text(question: str, options: Sequence[str] | None) -> str:
    """The text of a QA that is compared: its question and its options."""
    return "\n".join([question, *(options or ())])


def clusters_of(texts: Iterable[str], threshold: float = THRESHOLD) -> Int64:
    """Find near-duplicates.

    Parameters
    ----------
    texts : iterable of str
        Read once, in batches.
    threshold : float
        Least Jaccard index of a pair, in (0, 1].

    Returns
    -------
    int64 [n_texts]
        Row number of the first text of each text's cluster; its own, if it is like no other. Texts without any token
        are like no other.
    """
    import rensa

    parts, bands = [], []
    for batch in _batches(texts):
        sets = gram_sets(batch, N_GRAM)
        matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(sets.grams, sets.indptr, PERMUTATIONS, SEED)
        parts.append(sets)
        bands.append(_band_keys(np.array(matrix.to_rows(), np.uint32).reshape(len(batch), PERMUTATIONS)))
    if not parts:
        return np.zeros(0, np.int64)
    sets, keys = concatenated(parts), np.concatenate(bands, axis=1)
    parent = np.arange(len(sets))
    filled = np.flatnonzero(sets.sizes > 0)
    for band in keys:
        order = filled[np.argsort(band[filled], kind="stable")]
        _join_buckets(order, band, sets.indptr, sets.grams, threshold, parent)
    return _roots(parent)


def jaccard(sets: GramSets, a: int, b: int) -> float:
    """Jaccard index of two of the sets; 0 if both are empty."""
    return float(_jaccard(sets.indptr, sets.grams, a, b))


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    rows = iter(texts)
    while batch := list(islice(rows, BATCH)):
        yield batch


def _band_keys(digests: NDArray[np.uint32]) -> UInt64:
    """[BANDS, n] hash of each band of each digest."""
    keys = np.zeros((BANDS, len(digests)), np.uint64)
    for row in range(ROWS):
        column = digests[:, row : BANDS * ROWS : ROWS].T.astype(np.uint64)
        keys = (keys ^ column) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


@njit(nogil=True, cache=True)
def _jaccard(indptr: Int64, grams: UInt64, a: int, b: int) -> float:
    i, i_end, j, j_end = indptr[a], indptr[a + 1], indptr[b], indptr[b + 1]
    total = (i_end - i) + (j_end - j)
    shared = 0
    while i < i_end and j < j_end:
        if grams[i] == grams[j]:
            shared += 1
            i += 1
            j += 1
        elif grams[i] < grams[j]:
            i += 1
        else:
            j += 1
    return 0.0 if total == 0 else shared / (total - shared)


@njit(nogil=True, cache=True)
def _find(parent: Int64, row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


@njit(nogil=True, cache=True)
def _join_buckets(order: Int64, band: UInt64, indptr: Int64, grams: UInt64, threshold: float, parent: Int64) -> None:
    """Join the near-duplicates among rows with the same key; `order` has these one after the other.

    Pairs that are in one cluster already are not compared: that changes no cluster.
    """
    begin = 0
    while begin < order.size:
        end = begin + 1
        while end < order.size and band[order[end]] == band[order[begin]]:
            end += 1
        for i in range(begin + 1, end):
            for j in range(begin, i):
                a, b = _find(parent, order[i]), _find(parent, order[j])
                if a != b and _jaccard(indptr, grams, order[i], order[j]) >= threshold:
                    parent[max(a, b)] = min(a, b)
        begin = end


@njit(nogil=True, cache=True)
def _roots(parent: Int64) -> Int64:
    roots = np.empty(parent.size, np.int64)
    for row in range(parent.size):
        roots[row] = _find(parent, row)
    return roots
