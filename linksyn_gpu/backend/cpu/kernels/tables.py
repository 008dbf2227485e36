"""Kernels of a round: value function, integer masses, prefix sums of rows, and the cells that answer draws.

A row of d entries with prefix sums S and total T (docs/method.md) is cut into d buckets of equal probability:
a draw of 64 bits x falls into bucket q = floor((x >> 32) * d / 2^32), and its answer is the first entry e with
S[e] > t, t = floor(x * T / 2^64). The draws of one bucket span about T / d values of t. Most buckets therefore contain
at most one boundary between entries, and one 8-byte cell answers the draw:

    bit 63       0
    bits 48..62  low 15 bits of S[e] >> coarse, e the first entry that the bucket can draw
    bits 24..47  neighbour of entry e + 1
    bits 0..23   neighbour of entry e

t is within 2^13 << coarse of S[e]: 15 bits show which is larger, unless they are equal; then, unless coarse is 0, the
row is searched. A bucket with more boundaries has bit 63 set and the entry e, counted from the start of the row, in
bits 0..23: a lower bound from which the prefix sums are searched. The cells never change an answer: every bound below
is on the safe side, and where a cell cannot decide, the prefix sums do.
"""

from __future__ import annotations

import numpy as np
from numba import float64, int64, uint64

from linksyn_gpu.backend.cpu.kernels.core import fetch_add, jit, jit_inline, tasks_of
from linksyn_gpu.backend.reference.walk import POTENTIAL_CAP, ROW_BITS, SMOOTHING, VALUE_CAP

ID_MASK = (1 << 24) - 1  # node ids and entry numbers within a row stay below 2^24 (tables.MAX_KPS)
RIGHT_SHIFT = 24
MARK_SHIFT = 48
MARK_MASK = (1 << 15) - 1
SPARE_PAIRS = 3  # places after the last pair that a search may read
MARK_REACH = 13  # a bucket spans fewer than 2^13 coarse steps, so 15-bit differences keep their sign
MANY = 1 << 63
COARSE_SHIFT = 56  # node word 0: start of the row, and coarse above it
# Turns a product that may be rounded down by a few units in the last place into an upper bound.
ROUND_UP = 1.0 + 2.0**-48


@jit
def value_tasks(counter, n_tasks, target, potential, visits, n_visits, beta, out):
    """V(v) as in the reference, operation for operation."""
    n = target.size
    for task in tasks_of(counter, n_tasks):
        for v in range(n * task // n_tasks, n * (task + 1) // n_tasks):
            deficit = (target[v] * n_visits + SMOOTHING) / (float64(visits[v]) + SMOOTHING)
            if beta == 0.0:
                feedback = 1.0
            elif beta == 0.5:
                feedback = np.sqrt(deficit)
            elif beta == 1.0:
                feedback = deficit
            else:
                feedback = deficit * deficit
            value = min(max(potential[v] * feedback, 1.0 / VALUE_CAP), VALUE_CAP)
            out[v] = value if target[v] > 0.0 else 0.0


@jit
def potential_tasks(counter, n_tasks, potential, target, visits, n_visits, out):
    """P(v) as in the reference, operation for operation."""
    n = target.size
    for task in tasks_of(counter, n_tasks):
        for v in range(n * task // n_tasks, n * (task + 1) // n_tasks):
            deficit = (target[v] * n_visits + SMOOTHING) / (float64(visits[v]) + SMOOTHING)
            out[v] = min(max(potential[v] * np.sqrt(deficit), 1.0 / POTENTIAL_CAP), POTENTIAL_CAP)


@jit
def column_max(indices, weight, own, foreign):
    """Largest weight of the own and of the foreign entries that lead to each node (0 if there is none)."""
    for e in range(indices.size):
        v = indices[e]
        own[v] = max(own[v], weight[e])
        foreign[v] = max(foreign[v], -weight[e])


@jit
def step_tasks(counter, n_tasks, indptr, indices, weight, nodes, counts):
    """Foreign steps of walks, and all steps."""
    n, width = nodes.shape
    for task in tasks_of(counter, n_tasks):
        foreign, steps = int64(0), int64(0)
        for i in range(n * task // n_tasks, n * (task + 1) // n_tasks):
            for step in range(1, width):
                if nodes[i, step] < 0:
                    break
                u, v = nodes[i, step - 1], nodes[i, step]
                begin, end = indptr[u], indptr[u + 1]
                while begin < end:
                    middle = (begin + end) >> 1
                    if indices[middle] < v:
                        begin = middle + 1
                    else:
                        end = middle
                foreign += int64(weight[begin] < 0)
                steps += 1
        fetch_add(counts, 0, foreign)
        fetch_add(counts, 1, steps)


@jit_inline
def bit_length(x):
    """Bit length of a uint64, as a uint64."""
    bits = uint64(0)
    while x > uint64(0):
        x >>= uint64(1)
        bits += uint64(1)
    return bits


@jit
def finish_row(sums, scratch, neighbours, begin, degree, pairs, cells):
    """Shift a row's sums into `pairs` and make its cells; return (total after the shift, coarse).

    Selections are written as masks: a branch would be mispredicted for every second cell.

    Parameters
    ----------
    sums : uint64 [> degree]
        Inclusive sums of the row's masses; overwritten with (prefix sum << 32 | neighbour).
    scratch : int32 [>= degree + 2]
    neighbours : int32
        Neighbour of each entry; the row begins at `begin`, as it does in `pairs` and `cells`.
    """
    one, half = uint64(1), uint64(32)
    last = degree - one
    shift = bit_length(sums[last] >> uint64(ROW_BITS))
    total = sums[last] >> shift
    for k in range(degree):
        pair = ((sums[k] >> shift) << half) | uint64(neighbours[begin + k])
        sums[k] = pair
        pairs[begin + k] = pair
    if total == uint64(0):
        return total, uint64(0)
    sums[degree] = uint64(MANY)  # an entry after the last, above every draw: read, never an answer
    # skip[q]: entries that bucket q cannot draw, because they end at or before its first t. Entry k is outside
    # every bucket q with q * T / d >= S[k]; the quotient is an upper bound, and no entry is left out wrongly.
    skip = scratch
    for q in range(degree + uint64(2)):
        skip[q] = 0
    buckets_per_mass = float64(int64(degree)) / float64(int64(total)) * ROUND_UP
    for k in range(degree):
        skip[int64(float64(int64(sums[k] >> half)) * buckets_per_mass) + 1] = k + one
    step = (total << half) // degree  # T / d in 32.32 fixed point, rounded down
    span = bit_length(total // degree + uint64(4))
    coarse = span - uint64(MARK_REACH) if span > uint64(MARK_REACH) else uint64(0)
    top = int64(total) - 1
    e = int64(0)
    low_sum, high_sum = uint64(0), step + one
    for q in range(degree):
        e = max(e, int64(skip[q]))
        entry = uint64(e)
        pair, next_pair = sums[entry], sums[entry + one]
        here, then = int64(pair >> half), int64(next_pair >> half)
        left, right = pair & uint64(ID_MASK), next_pair & uint64(ID_MASK)
        low = int64(low_sum >> half)  # no draw of the bucket lies below
        high = min(int64(high_sum >> half) + 1, top)  # nor above
        # All ones where ...
        some_left = uint64((low - here) >> 63)  # ... low < here: entry e can be drawn
        only_left = uint64((high - here) >> 63)  # ... high < here: no other can
        many = uint64((then - high - 1) >> 63) & ~only_left  # ... and more than e and e + 1 can
        first = right ^ ((left ^ right) & some_left)
        second = right ^ ((left ^ right) & only_left)
        mark = (uint64(here) >> coarse) & uint64(MARK_MASK)
        answer = (mark << uint64(MARK_SHIFT)) | (second << uint64(RIGHT_SHIFT)) | first
        cells[begin + q] = (answer & ~many) | ((uint64(MANY) | entry) & many)
        low_sum += step
        high_sum += step + one
    return total, coarse


@jit
def transition_tasks(
    counter, n_tasks, task_rows, indptr, indices, weight, scale, scaled_value, pairs, cells, node, max_degree
):
    """Table of a round; task i makes rows task_rows[i] .. task_rows[i + 1] - 1, about equal in entries.

    Entries of negative weight weigh -w * scale. `scaled_value` is V * 2^(40 - E): scaling by a power of two commutes
    with the rounding of w * V.
    """
    sums = np.empty(max_degree + 1, np.uint64)
    scratch = np.empty(max_degree + 2, np.int32)
    for task in tasks_of(counter, n_tasks):
        for row in range(task_rows[task], task_rows[task + 1]):
            begin = uint64(indptr[row])
            degree = uint64(indptr[row + 1]) - begin
            total, coarse = uint64(0), uint64(0)
            if degree > uint64(0):
                running = int64(0)
                for k in range(degree):
                    value = scaled_value[uint64(indices[begin + k])]
                    factor = float64(weight[begin + k])
                    mass = int64((factor if factor > 0.0 else -factor * scale) * value)
                    running += max(mass, int64(value > 0.0))
                    sums[k] = uint64(running)
                total, coarse = finish_row(sums, scratch, indices, begin, degree, pairs, cells)
            node[row, 0] = begin | (coarse << uint64(COARSE_SHIFT))
            node[row, 1] = (total << uint64(32)) | degree


@jit
def start_row(x, scale, second_scale, names, sums, scratch, pairs, cells):
    """Start draws as one row over all nodes: masses max(1, floor(x * scale * second_scale)), 0 where x is 0."""
    running = int64(0)
    for v in range(x.size):
        mass = int64(x[v] * scale * second_scale)
        running += max(mass, int64(x[v] > 0.0))
        sums[v] = uint64(running)
    return finish_row(sums, scratch, names, uint64(0), uint64(x.size), pairs, cells)


@jit
def search_row(pairs, begin, end, t):
    """First entry e in begin .. end - 1 whose prefix sum is above t (there must be one), by halving."""
    e, length = begin, end - begin
    while length > uint64(1):
        half = length >> uint64(1)
        if (pairs[e + half - uint64(1)] >> uint64(32)) <= t:
            e += half
        length -= half
    return e


@jit_inline
def first_above(pairs, begin, end, t):
    """The same, if the entry is likely one of the first four; those are compared without branches.

    Reads up to four places, some perhaps after the row: its last sum is above t and ends the count.
    """
    half, one = uint64(32), uint64(1)
    first = (pairs[begin] >> half) <= t
    second = first & ((pairs[begin + one] >> half) <= t)
    third = second & ((pairs[begin + uint64(2)] >> half) <= t)
    fourth = third & ((pairs[begin + uint64(3)] >> half) <= t)
    if fourth:
        return search_row(pairs, begin + uint64(4), end, t)
    return begin + uint64(first) + uint64(second) + uint64(third)
