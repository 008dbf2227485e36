"""Pairs of names at one edit: a character inserted, deleted, changed, or swapped with its neighbour.

Two such names have a string in common after deleting at most one character from each. The search hashes each name and
its deletions and compares names with equal hashes. It is exact, except in groups of more than `MAX_GROUP` names. Hashes
are processed in partitions to bound memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from linksyn_gpu.tables import Int32

HASHES_PER_PARTITION = 2**24
MIN_LENGTH = 6
MAX_GROUP = 64
"""Members of larger groups ("type 1", "type 2", ...) are compared with the first member only."""


def one_edit_pairs(forms: Sequence[str]) -> tuple[Int32, Int32]:
    """Find pairs (left < right) of forms at one edit; forms shorter than `MIN_LENGTH` characters are skipped."""
    sizes = np.fromiter(map(len, forms), np.int64, len(forms))
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    codes = np.frombuffer("".join(forms).encode("utf-32-le", "surrogatepass"), np.uint32)
    partitions = max(1, int(-(-(codes.size + sizes.size) // HASHES_PER_PARTITION)))
    found: list[Any] = [np.empty(0, np.int64)]
    for partition in range(partitions):
        hashes, rows = _deletions(codes, offsets, partitions, partition)
        order = np.argsort(hashes, kind="stable")
        pairs = _pairs(hashes[order], rows[order], codes, offsets)
        found.append(np.unique(pairs[:, 0].astype(np.int64) * len(forms) + pairs[:, 1]))
    keys = np.unique(np.concatenate(found))
    left, right = np.divmod(keys, max(1, len(forms)))
    return left.astype(np.int32), right.astype(np.int32)


@njit(cache=True, nogil=True)
def _deletions(codes, offsets, partitions, partition):  # type: ignore[no-untyped-def]
    """Hashes of all strings and their deletions in a partition; a polynomial hash takes O(1) per deletion."""
    base, modulus = np.uint64(0x9E3779B97F4A7C15), np.uint64(partitions)
    capacity = 1024
    hashes, rows = np.empty(capacity, np.uint64), np.empty(capacity, np.int32)
    count = 0
    for i in range(offsets.size - 1):
        start, stop = offsets[i], offsets[i + 1]
        if stop - start < MIN_LENGTH:
            continue
        after, power = np.uint64(0), np.uint64(1)  # hash of the characters after the gap, base ** their number
        before = np.uint64(0)
        for p in range(start, stop):
            before = before * base + np.uint64(codes[p]) + np.uint64(1)
        whole = before
        for gap in range(stop, start - 1, -1):  # gap == stop: the string itself
            h = whole
            if gap < stop:
                # remove the last character of the hash: subtract it and divide by the odd base
                before = (before - (np.uint64(codes[gap]) + np.uint64(1))) * _INVERSE
                h = before * power + after
                after += (np.uint64(codes[gap]) + np.uint64(1)) * power
                power *= base
                if gap > start and codes[gap - 1] == codes[gap]:
                    continue  # "ll": deleting either letter gives the same string
            h ^= h >> np.uint64(31)
            if h % modulus != np.uint64(partition):
                continue
            if count == capacity:
                capacity *= 2
                hashes = np.concatenate((hashes, np.empty(capacity - count, np.uint64)))
                rows = np.concatenate((rows, np.empty(capacity - count, np.int32)))
            hashes[count] = h
            rows[count] = i
            count += 1
    return hashes[:count].copy(), rows[:count].copy()


_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 2**64))


@njit(cache=True, nogil=True)
def _pairs(hashes, rows, codes, offsets):  # type: ignore[no-untyped-def]
    capacity, count = 1024, 0
    pairs = np.empty((capacity, 2), np.int32)
    start = 0
    while start < hashes.size:
        stop = start + 1
        while stop < hashes.size and hashes[stop] == hashes[start]:
            stop += 1
        firsts = stop - start if stop - start <= MAX_GROUP else 1
        for a in range(start, start + firsts):
            for b in range(a + 1, stop):
                i, j = min(rows[a], rows[b]), max(rows[a], rows[b])
                if i == j or not _one_edit(codes[offsets[i] : offsets[i + 1]], codes[offsets[j] : offsets[j + 1]]):
                    continue
                if count == capacity:
                    capacity *= 2
                    pairs = np.concatenate((pairs, np.empty((capacity - count, 2), np.int32)))
                pairs[count, 0], pairs[count, 1] = i, j
                count += 1
        start = stop
    return pairs[:count].copy()


@njit(cache=True, nogil=True)
def _one_edit(a, b):  # type: ignore[no-untyped-def]
    if a.size > b.size:
        a, b = b, a
    if b.size - a.size > 1:
        return False
    head = 0
    while head < a.size and a[head] == b[head]:
        head += 1
    tail = 0
    while tail < a.size - head and a[a.size - 1 - tail] == b[b.size - 1 - tail]:
        tail += 1
    left, right = a.size - head - tail, b.size - head - tail
    if left <= 1 and right <= 1:
        return True
    return left == 2 and right == 2 and a[head] == b[head + 1] and a[head + 1] == b[head]
