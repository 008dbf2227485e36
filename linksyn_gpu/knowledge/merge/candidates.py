"""Similar names: approximate nearest neighbours under character n-gram TF-IDF, in bounded memory.

A name is a vector of hashed character n-grams with weights (1 + log tf) * sqrt(log(1 + N / df)) and unit length.
Without the root, the rare n-grams of a typo would outweigh the n-grams that two names share. n is 3, from 20,000 names
4, from 200,000 names 5, and always 2 in names with CJK characters.

The search looks for pairs with cosine >= `threshold`. Such a pair shares an n-gram of the *prefixes*: the rarest
n-grams of a name, up to the point where the rest of the vector is shorter than the threshold (prefix filtering,
Bayardo et al. 2007). Three limits bound the work and make the search approximate. For each prefix n-gram a name looks
at the `max_list` names before it in alphabetical order. It computes the full cosine with the `max_compared` names that
share most of the prefix. It keeps its `top_k` nearest neighbours.

Time is O(names * prefix * max_list), memory about 250 bytes per name. The vectors are sparse and stay on the CPU; the
dense vectors of an embedding model go to `similar_pairs` of the backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import get_num_threads, get_thread_id, njit, prange  # type: ignore[attr-defined]
from numpy.typing import NDArray

from linksyn_gpu.tables import Int32, Int64

FEATURE_BITS = 22
BLOCK_ROWS = 2**17
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Pairs:
    """Distinct candidate pairs with `left` < `right`."""

    left: Int32
    right: Int32
    score: Float32

    def __len__(self) -> int:
        return int(self.left.size)


def lookalike_pairs(
    forms: Sequence[str], *, threshold: float = 0.7, top_k: int = 8, max_list: int = 128, max_compared: int = 48
) -> Pairs:
    """Find pairs of forms with a cosine of at least `threshold`.

    Parameters
    ----------
    forms : sequence of str [n]
        Distinct normal forms.
    top_k : int
        Largest number of neighbours of a name among the names before it.
    max_list, max_compared : int
        Limits of the search (see above); larger values find more pairs and take longer.
    """
    n = len(forms)
    if n < 2:
        return Pairs(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))
    by_name = np.array(sorted(range(n), key=forms.__getitem__), np.int32)
    indptr, features, weights = _vectors([forms[i] for i in by_name])
    prefix_indptr, prefix_at = _prefixes(indptr, weights, np.float32(threshold))
    list_indptr, lists = _postings(prefix_indptr, prefix_at, features)
    found: list[tuple[Any, Any, Any]] = []
    threads = get_num_threads()
    stamp, met = np.full((threads, n), -1, np.int32), np.empty((threads, n), np.int32)
    share = np.zeros((threads, n), np.float32)
    for start in range(0, n, BLOCK_ROWS):
        stop = min(n, start + BLOCK_ROWS)
        neighbours = np.full((stop - start, top_k), -1, np.int32)
        scores = np.zeros((stop - start, top_k), np.float32)
        _search(
            start, stop, indptr, features, weights, prefix_indptr, prefix_at, list_indptr, lists,
            np.float32(threshold), max_list, max_compared, stamp, met, share, neighbours, scores,
        )  # fmt: skip
        row, column = np.nonzero(neighbours >= 0)
        found.append((neighbours[row, column], (row + start).astype(np.int32), scores[row, column]))
    one, two, score = (np.concatenate(parts) for parts in zip(*found, strict=True))
    left, right = np.minimum(by_name[one], by_name[two]), np.maximum(by_name[one], by_name[two])
    order = np.lexsort((left, right))
    return Pairs(left[order], right[order], score[order])


def _vectors(forms: Sequence[str]) -> tuple[Int64, Int32, Float32]:
    """TF-IDF vectors of unit length as CSR; features ascend within a row."""
    padded = [f" {form} " for form in forms]
    sizes = np.fromiter(map(len, padded), np.int64, len(padded))
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32)
    raw = np.empty(int(sizes.sum()), np.int32)
    tf = np.empty(raw.size, np.float32)
    lengths = np.empty(sizes.size, np.int64)
    gram = 3 + (sizes.size >= 20_000) + (sizes.size >= 200_000)
    df = np.zeros(2**FEATURE_BITS, np.int32)
    _count(codes, offsets, gram, raw, tf, lengths, df)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    features = np.empty(int(indptr[-1]), np.int32)
    weights = np.empty(features.size, np.float32)
    idf = np.sqrt(np.log1p(len(forms) / np.maximum(df, 1))).astype(np.float32)
    _weigh(offsets, raw, tf, indptr, idf, features, weights)
    return indptr, features, weights


@njit(cache=True, nogil=True)
def _count(codes, offsets, gram, raw, tf, lengths, df):  # type: ignore[no-untyped-def]
    """Fill the distinct hashed n-grams of each string (ascending), their term frequencies and document frequencies."""
    mask = np.uint64((1 << FEATURE_BITS) - 1)
    for i in range(offsets.size - 1):
        start, stop = offsets[i], offsets[i + 1]
        n = gram
        for p in range(start, stop):
            if codes[p] >= 0x2E80:
                n = 2
                break
        count = 0
        for p in range(start, stop - n + 1):
            h = np.uint64(1469598103934665603)
            for q in range(p, p + n):
                h = (h ^ np.uint64(codes[q])) * np.uint64(1099511628211)
            raw[start + count] = np.int32((h ^ (h >> np.uint64(29))) & mask)
            count += 1
        grams = np.sort(raw[start : start + count])
        distinct = 0
        for p in range(count):
            if p > 0 and grams[p] == grams[p - 1]:
                tf[start + distinct - 1] += 1.0
            else:
                raw[start + distinct] = grams[p]
                tf[start + distinct] = 1.0
                distinct += 1
                df[grams[p]] += 1
        lengths[i] = distinct


@njit(cache=True, nogil=True)
def _weigh(offsets, raw, tf, indptr, idf, features, weights):  # type: ignore[no-untyped-def]
    for i in range(indptr.size - 1):
        norm = 0.0
        for p in range(indptr[i + 1] - indptr[i]):
            feature = raw[offsets[i] + p]
            weight = (1.0 + np.log(tf[offsets[i] + p])) * idf[feature]
            features[indptr[i] + p] = feature
            weights[indptr[i] + p] = weight
            norm += weight * weight
        norm = np.sqrt(norm)
        for p in range(indptr[i], indptr[i + 1]):
            weights[p] /= norm


@njit(cache=True, nogil=True)
def _prefixes(indptr, weights, threshold):  # type: ignore[no-untyped-def]
    """Positions of each row's heaviest entries, until the rest of the row is shorter than the threshold.

    Prefix filtering needs the same order of features in all rows: rarest first. A weight is the feature's idf divided
    by the row's norm, therefore heaviest first is the same order, except for repeated n-grams.
    """
    n = indptr.size - 1
    prefix_indptr = np.zeros(n + 1, np.int64)
    at = np.empty(weights.size, np.int64)
    total = 0
    for i in range(n):
        order = np.argsort(-weights[indptr[i] : indptr[i + 1]], kind="mergesort")
        rest = 1.0
        for p in order:
            if rest < threshold * threshold:
                break
            weight = weights[indptr[i] + p]
            rest -= weight * weight
            at[total] = indptr[i] + p
            total += 1
        prefix_indptr[i + 1] = total
    return prefix_indptr, at[:total].copy()


def _postings(prefix_indptr: Int64, prefix_at: Int64, features: Int32) -> tuple[Int64, Int32]:
    """For each feature the rows that have it in their prefix, ascending."""
    held = features[prefix_at]
    rows = np.repeat(np.arange(prefix_indptr.size - 1, dtype=np.int32), np.diff(prefix_indptr))
    order = np.argsort(held, kind="stable")
    list_indptr = np.concatenate([[0], np.cumsum(np.bincount(held, minlength=2**FEATURE_BITS))])
    return list_indptr.astype(np.int64), rows[order]


@njit(cache=True, nogil=True, parallel=True)
def _search(  # type: ignore[no-untyped-def]
    start, stop, indptr, features, weights, prefix_indptr, prefix_at, list_indptr, lists,
    threshold, max_list, max_compared, stamps, mets, shares, neighbours, scores,
):  # fmt: skip
    """Fill the nearest earlier rows of rows start .. stop; `stamps`, `mets` and `shares` have one row per thread."""
    for i in prange(start, stop):
        me = get_thread_id()
        seen, met, share = stamps[me], mets[me], shares[me]
        count = 0
        for at in range(prefix_indptr[i], prefix_indptr[i + 1]):
            place = prefix_at[at]
            squared = weights[place] * weights[place]
            first = list_indptr[features[place]]
            here = first + np.searchsorted(lists[first : list_indptr[features[place] + 1]], i)
            for e in range(max(first, here - max_list), here):
                j = lists[e]
                if seen[j] != i:
                    seen[j] = i
                    share[j] = 0.0
                    met[count] = j
                    count += 1
                share[j] += squared
        least = np.float32(0.0)
        if count > max_compared:
            held = np.empty(count, np.float32)
            for c in range(count):
                held[c] = -share[met[c]]
            least = -np.partition(held, max_compared)[max_compared]
        for c in range(count):
            j = met[c]
            if share[j] > least or count <= max_compared:
                score = _dot(indptr[i], indptr[i + 1], indptr[j], indptr[j + 1], features, weights)
                if score >= threshold:
                    _insert(neighbours[i - start], scores[i - start], j, score)


@njit(cache=True, nogil=True)
def _dot(a, a_end, b, b_end, features, weights):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    while a < a_end and b < b_end:
        if features[a] == features[b]:
            total += weights[a] * weights[b]
            a += 1
            b += 1
        elif features[a] < features[b]:
            a += 1
        else:
            b += 1
    return total


@njit(cache=True, nogil=True)
def _insert(neighbours, scores, j, score):  # type: ignore[no-untyped-def]
    """Insert into a short list, best score first; of equal scores the smaller row stays."""
    place = neighbours.size
    while place > 0 and (
        neighbours[place - 1] < 0
        or score > scores[place - 1]
        or (score == scores[place - 1] and j < neighbours[place - 1])
    ):
        place -= 1
    if place == neighbours.size:
        return
    for p in range(neighbours.size - 1, place, -1):
        neighbours[p] = neighbours[p - 1]
        scores[p] = scores[p - 1]
    neighbours[place] = j
    scores[place] = score
