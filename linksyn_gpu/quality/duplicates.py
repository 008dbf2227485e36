"""Near-duplicates among texts: MinHash finds candidates, and the true Jaccard index of their n-gram sets decides.

Two texts are near-duplicates if their sets of word 3-grams (of characters in Chinese) have a Jaccard index of at least
the threshold. A cluster is a connected component of such pairs. Neither depends on the order of the texts, on batches
or on threads. Texts are compared as `text.ngrams` cuts them: without case, width, spaces and punctuation.

The permutations are split into 21 bands of 6: a pair with index 0.8 shares a band with probability 0.998, one with 0.3
with 0.015. The sets and the bands are written to unnamed files: for a million texts 0.5 GB and 0.2 GB on the disk, and
about 50 bytes of memory for each text.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numba import njit
from numpy.typing import NDArray

from linksyn_gpu.cluster import MapShards, batched
from linksyn_gpu.tables import Int64
from linksyn_gpu.text.ngrams import GramSets, UInt64, gram_sets

N_GRAM = 3
THRESHOLD = 0.8
BANDS, ROWS = 21, 6
PERMUTATIONS = 128
SEED = 42
BATCH = 1 << 14
"""Texts of a shard, which are cut and hashed at a time. Never changes a result."""


def compared_text(question: str, options: Sequence[str] | None) -> str:
    """The text of a QA that is compared: its question and its options."""
    return "\n".join([question, *(options or ())])


def clusters_of(
    texts: Iterable[str],
    threshold: float = THRESHOLD,
    folder: Path | None = None,
    map_shards: MapShards = map,
) -> Int64:
    """Find near-duplicates.

    Parameters
    ----------
    texts : iterable of str
        Read once, in batches.
    threshold : float
        Least Jaccard index of a pair, in (0, 1].
    folder : Path, optional
        Where the unnamed files are; None: the system's folder for temporary files.
    map_shards : callable
        Maps `signatures` over the batches.

    Returns
    -------
    int64 [n_texts]
        Row number of the first text of each text's cluster; its own, if it is like no other. Texts without any token
        are like no other.
    """
    with contextlib.ExitStack() as files:
        gram_file, *band_files = (files.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(1 + BANDS))
        sizes = [np.zeros(0, np.int64)]
        for sets, keys in map_shards(signatures, batched(texts, BATCH)):
            sizes.append(sets.sizes)
            gram_file.write(sets.grams.data)
            for file, band in zip(band_files, keys, strict=True):
                file.write(band.data)
        size = np.concatenate(sizes)
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(size)])
        grams = _mapped(gram_file)
        parent = np.arange(size.size)
        filled = np.flatnonzero(size > 0)
        for file in band_files:
            band = _mapped(file)[filled]
            order = np.argsort(band, kind="stable")
            _join_buckets(filled[order], band[order], indptr, grams, threshold, parent)
        return _roots(parent)


def signatures(texts: Sequence[str]) -> tuple[GramSets, UInt64]:
    """The n-gram sets of texts, and [BANDS, n_texts] the hash of each band of their MinHash digests."""
    import rensa

    sets = gram_sets(texts, N_GRAM)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(sets.grams, sets.indptr, PERMUTATIONS, SEED)
    return sets, _band_keys(np.array(matrix.to_rows(), np.uint32).reshape(len(texts), PERMUTATIONS))


def _mapped(file: IO[bytes]) -> UInt64:
    """The numbers in a file, memory-mapped."""
    file.flush()
    if file.tell() == 0:
        return np.zeros(0, np.uint64)
    return np.asarray(np.memmap(file, np.uint64, "r+"))


def jaccard(sets: GramSets, a: int, b: int) -> float:
    """Jaccard index of two of the sets; 0 if both are empty."""
    return float(_jaccard(sets.indptr, sets.grams, a, b))


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
def _join_buckets(rows: Int64, keys: UInt64, indptr: Int64, grams: UInt64, threshold: float, parent: Int64) -> None:
    """Join the near-duplicates among rows with the same key; rows with equal keys stand one after the other.

    The members of a bucket are kept in groups of one cluster each. A row is compared with the members of other
    clusters only, and with those of one group until it is joined to it: that changes no cluster, and a bucket with
    many rows of one cluster takes time in proportion to its size.
    """
    following = np.empty(rows.size, np.int64)  # next member of the group; -1 behind its last one
    last = np.empty(rows.size, np.int64)  # last member, for the first one of a group
    firsts = np.empty(rows.size, np.int64)  # first members of the groups of this bucket
    begin = 0
    while begin < rows.size:
        n_groups = 0
        i = begin
        while i < rows.size and keys[i] == keys[begin]:
            own = -1
            following[i] = -1
            for group in range(n_groups):
                j = firsts[group]
                a, b = _find(parent, rows[i]), _find(parent, rows[j])
                if a != b:
                    while j >= 0 and _jaccard(indptr, grams, rows[i], rows[j]) < threshold:
                        j = following[j]
                    if j < 0:
                        continue
                    parent[max(a, b)] = min(a, b)
                if own < 0:
                    own = firsts[group]
            if own < 0:
                firsts[n_groups] = last[i] = i
                n_groups += 1
            else:
                following[last[own]] = i
                last[own] = i
            i += 1
        begin = i


@njit(nogil=True, cache=True)
def _roots(parent: Int64) -> Int64:
    roots = np.empty(parent.size, np.int64)
    for row in range(parent.size):
        roots[row] = _find(parent, row)
    return roots
