"""Kernels of a round: value function, integer masses, row prefix sums, and the cells that answer draws.

A row of d entries with prefix sums S and total T (docs/method.md) is cut into d buckets of equal probability:
a draw of 64 bits x falls into bucket q = floor((x >> 32) * d / 2^32), and asks for the first entry e with
S[e] > t, t = floor(x * T / 2^64). The draws of one bucket span about T / d values of t, so most buckets hold at
most one boundary between entries, and then one 8-byte cell answers the draw:

    bit 63       0
    bits 48..62  low 15 bits of S[e] >> coarse, e the first entry that the bucket can draw
    bits 24..47  neighbour of entry e + 1
    bits 0..23   neighbour of entry e

t lies within 2^13 << coarse of S[e], so 15 bits tell which is larger, unless the two agree; then, unless coarse is
0, the row is searched. A bucket with more boundaries has bit 63 set and the entry e, counted from
the row's start, in bits 0..23: a lower bound from which the prefix sums are searched. The cells never change an
answer: every bound below is on the safe side, and what a cell cannot decide the prefix sums do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float64, int32, int64, uint32, uint64

from linksyn_gpu.backend.numba_core import fetch_add, jit
from linksyn_gpu.backend.reference import POTENTIAL_CAP, ROW_BITS, SMOOTHING, VALUE_CAP

ID_MASK = (1 << 24) - 1  # node ids and entry numbers within a row stay below 2^24 (tables.MAX_KPS)
RIGHT_SHIFT = 24
MARK_SHIFT = 48
MARK_MASK = (1 << 15) - 1
MARK_REACH = 13  # a bucket spans fewer than 2^13 coarse steps, so 15-bit differences keep their sign
MANY = 1 << 63
COARSE_SHIFT = 56  # node word 0: start of the row, and coarse above it
# Makes a product that may be rounded down by a few units in the last place a bound from above.
ROUND_UP = 1.0 + 2.0**-48


@jit
def value_tasks(
    counter: Any, n_tasks: Any, target: Any, potential: Any, visits: Any, n_visits: Any, beta: Any, out: Any
) -> None:
    """V(v) as `reference.node_value`, operation for operation."""
    n = target.size
    while True:
        task = fetch_add(counter, 0, 1)
        if task >= n_tasks:
            break
        for v in range(n * task // n_tasks, n * (task + 1) // n_tasks):
            owed = (target[v] * n_visits + SMOOTHING) / (float64(visits[v]) + SMOOTHING)
            if beta == 0.0:
                feedback = 1.0
            elif beta == 0.5:
                feedback = np.sqrt(owed)
            elif beta == 1.0:
                feedback = owed
            else:
                feedback = owed * owed
            value = min(max(potential[v] * feedback, 1.0 / VALUE_CAP), VALUE_CAP)
            out[v] = value if target[v] > 0.0 else 0.0


@jit
def potential_tasks(
    counter: Any, n_tasks: Any, potential: Any, target: Any, visits: Any, n_visits: Any, out: Any
) -> None:
    """P(v) as `reference.calibrated_potential`, operation for operation."""
    n = target.size
    while True:
        task = fetch_add(counter, 0, 1)
        if task >= n_tasks:
            break
        for v in range(n * task // n_tasks, n * (task + 1) // n_tasks):
            owed = (target[v] * n_visits + SMOOTHING) / (float64(visits[v]) + SMOOTHING)
            out[v] = min(max(potential[v] * np.sqrt(owed), 1.0 / POTENTIAL_CAP), POTENTIAL_CAP)


@jit
def column_max(indices: Any, weight: Any, out: Any) -> None:
    """Largest weight of the entries that lead to each node (0 where none does)."""
    for e in range(indices.size):
        v = indices[e]
        if weight[e] > out[v]:
            out[v] = weight[e]


@jit
def bit_length(x: Any) -> Any:
    """Bits of a non-negative number."""
    bits = 0
    rest = uint64(x)
    while rest > uint64(0):
        rest >>= uint64(1)
        bits += 1
    return bits


@jit
def finish_row(sums: Any, guess: Any, neighbours: Any, begin: Any, degree: Any, prefix: Any, cells: Any) -> Any:
    """Shift a row's sums into `prefix` and make its cells; give (total after the shift, coarse).

    Parameters
    ----------
    sums : uint64 [>= degree]
        Inclusive sums of the row's masses.
    guess : int32 [>= degree + 2]
        Scratch.
    neighbours : int32
        Neighbour of each entry; the row's begin at `begin`, as they do in `prefix` and `cells`.
    """
    shift = uint64(bit_length(sums[degree - 1] >> uint64(ROW_BITS)))
    total = sums[degree - 1] >> shift
    for k in range(degree):
        prefix[begin + k] = uint32(sums[k] >> shift)
    if total == uint64(0):
        return total, 0
    # guess[q]: entries that bucket q cannot draw, because they end at or before its first t. Entry k is out of
    # every bucket q with q * T / d >= S[k]; the quotient is bounded from above, so no entry is left out wrongly.
    for q in range(degree + 2):
        guess[q] = 0
    buckets_per_mass = float64(degree) / float64(total) * ROUND_UP
    for k in range(degree):
        guess[int32(float64(prefix[begin + k]) * buckets_per_mass) + 1] = k + 1
    step = (total << uint64(32)) // uint64(degree)  # T / d in 32.32 fixed point, rounded down
    coarse = max(0, bit_length(total // uint64(degree) + uint64(4)) - MARK_REACH)
    coarse_shift = uint64(coarse)
    last = degree - 1
    e = 0
    low_sum, high_sum = uint64(0), step + uint64(1)
    for q in range(degree):
        e = max(e, guess[q])
        after = min(e + 1, last)
        here, then = uint64(prefix[begin + e]), uint64(prefix[begin + after])
        left, right = uint64(neighbours[begin + e]), uint64(neighbours[begin + after])
        low = low_sum >> uint64(32)  # no draw of the bucket lies below
        high = min((high_sum >> uint64(32)) + uint64(1), total - uint64(1))  # nor above
        first = right if here <= low else left
        second = left if here > high else right
        mark = (here >> coarse_shift) & uint64(MARK_MASK)
        answer = (mark << uint64(MARK_SHIFT)) | (second << uint64(RIGHT_SHIFT)) | first
        cells[begin + q] = answer if then > high else uint64(MANY) | uint64(e)
        low_sum += step
        high_sum += step + uint64(1)
    return total, coarse


@jit
def transition_tasks(
    counter: Any,
    n_tasks: Any,
    task_rows: Any,
    indptr: Any,
    indices: Any,
    weight: Any,
    scaled_value: Any,
    prefix: Any,
    cells: Any,
    node: Any,
    max_degree: Any,
) -> None:
    """Table of a round; task i makes rows task_rows[i] .. task_rows[i + 1] - 1, about equal in entries.

    `scaled_value` is V * 2^(40 - E): scaling by a power of two commutes with the rounding of w * V.
    """
    sums = np.empty(max_degree + 1, np.uint64)
    guess = np.empty(max_degree + 2, np.int32)
    while True:
        task = fetch_add(counter, 0, 1)
        if task >= n_tasks:
            break
        for row in range(task_rows[task], task_rows[task + 1]):
            begin = indptr[row]
            degree = indptr[row + 1] - begin
            total, coarse = uint64(0), 0
            if degree > 0:
                running = int64(0)
                for k in range(degree):
                    value = scaled_value[indices[begin + k]]
                    mass = int64(float64(weight[begin + k]) * value)
                    running += max(mass, int64(value > 0.0))
                    sums[k] = uint64(running)
                total, coarse = finish_row(sums, guess, indices, begin, degree, prefix, cells)
            node[row, 0] = uint64(begin) | (uint64(coarse) << uint64(COARSE_SHIFT))
            node[row, 1] = (total << uint64(32)) | uint64(degree)


@jit
def start_row(x: Any, scale: Any, second_scale: Any, names: Any, sums: Any, guess: Any, prefix: Any, cells: Any) -> Any:
    """Start draws as one row over all nodes: masses max(1, floor(x * scale * second_scale)), 0 where x is 0."""
    running = uint64(0)
    for v in range(x.size):
        mass = int64(x[v] * scale * second_scale)
        running += uint64(max(mass, int64(x[v] > 0.0)))
        sums[v] = running
    return finish_row(sums, guess, names, 0, x.size, prefix, cells)


@jit
def first_above(prefix: Any, begin: Any, end: Any, t: Any) -> Any:
    """First entry e in begin .. end - 1 with prefix[e] > t (there must be one): near `begin` first, then by halving."""
    e = begin
    near = min(end, begin + 8)
    while e < near:
        if uint64(prefix[e]) > t:
            return e
        e += 1
    length = end - e
    while length > 1:
        half = length >> 1
        if uint64(prefix[e + half - 1]) <= t:
            e += half
        length -= half
    return e
