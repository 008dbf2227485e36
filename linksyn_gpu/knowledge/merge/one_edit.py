"""Pairs of names that differ in one character: inserted, left out, changed, or swapped with its neighbour.

Found by deletion neighbourhoods, exactly but for groups over `MAX_GROUP`: two such names share a string with at most
one character left out. Each name's own hash and those of its deletions are grouped; hashes are dealt into partitions,
so that memory stays bounded whatever the number of names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from linksyn_gpu.tables import Int32

HASHES_PER_PARTITION = 2**24
MIN_LENGTH = 6
MAX_GROUP = 64  # larger groups are families ("type 1", "type 2", ...), whose members are compared with the first alone


def one_edit_pairs(forms: Sequence[str]) -> tuple[Int32, Int32]:
    """Find pairs (left < right) of forms at one edit from each other; forms under `MIN_LENGTH` characters have none."""
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
    """Hashes of every string and its deletions that fall into a partition; polynomial, so each costs O(1)."""
    base, modulus = np.uint64(0x9E3779B97F4A7C15), np.uint64(partitions)
    room = 1024
    hashes, rows = np.empty(room, np.uint64), np.empty(room, np.int32)
    count = 0
    for i in range(offsets.size - 1):
        start, stop = offsets[i], offsets[i + 1]
        if stop - start < MIN_LENGTH:
            continue
        after, power = np.uint64(0), np.uint64(1)  # hash of what stands behind the gap, base ** its length
        before = np.uint64(0)
        for p in range(start, stop):
            before = before * base + np.uint64(codes[p]) + np.uint64(1)
        whole = before
        for gap in range(stop, start - 1, -1):  # gap == stop: the string itself
            h = whole
            if gap < stop:
                # before(start..gap) follows from before(start..gap+1): subtract and divide by an odd base
                before = (before - (np.uint64(codes[gap]) + np.uint64(1))) * _INVERSE
                h = before * power + after
                after += (np.uint64(codes[gap]) + np.uint64(1)) * power
                power *= base
                if gap > start and codes[gap - 1] == codes[gap]:
                    continue  # "ll": the other deletion gives the same string
            h ^= h >> np.uint64(31)
            if h % modulus != np.uint64(partition):
                continue
            if count == room:
                room *= 2
                hashes = np.concatenate((hashes, np.empty(room - count, np.uint64)))
                rows = np.concatenate((rows, np.empty(room - count, np.int32)))
            hashes[count] = h
            rows[count] = i
            count += 1
    return hashes[:count].copy(), rows[:count].copy()


_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 2**64))


@njit(cache=True, nogil=True)
def _pairs(hashes, rows, codes, offsets):  # type: ignore[no-untyped-def]
    room, count = 1024, 0
    pairs = np.empty((room, 2), np.int32)
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
                if count == room:
                    room *= 2
                    pairs = np.concatenate((pairs, np.empty((room - count, 2), np.int32)))
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
