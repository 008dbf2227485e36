"""The walk kernel: each thread advances many walks together, to have many memory reads in flight.

A step reads three places: the node (start, total and degree of its row), a cell of the row, and sometimes the row's
prefix sums. On a large graph each is a cache miss, and a single walk would wait for one after the other. A thread
therefore keeps a group of walks, its lanes, and does each part of a step for all lanes before the next part: the reads
of a part are prefetched in the part before. A lane whose walk has ended takes the next walk of the task at once. The
result does not depend on any of this: a draw is a function of (walk id, step, trial) and of the row.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import int64, uint64

from linksyn_gpu.backend.cpu.kernels.core import jit, jit_inline, mulhi, prefetch, tasks_of
from linksyn_gpu.backend.cpu.kernels.philox import draw, philox_lanes
from linksyn_gpu.backend.cpu.kernels.tables import (
    COARSE_SHIFT,
    ID_MASK,
    MARK_SHIFT,
    RIGHT_SHIFT,
    first_above,
)
from linksyn_gpu.backend.reference.walk import TRIALS
from linksyn_gpu.backend.rng import LOW
from linksyn_gpu.tables import Int32, Int64, UInt64

ROW_START = (1 << COARSE_SHIFT) - 1
EMPTY = -1
SPREAD = 0x9E3779B1  # Fibonacci hashing: 2^32 / golden ratio, odd


class Tables(NamedTuple):
    """Transition table of a round: see `tables.finish_row`."""

    node: UInt64
    cells: UInt64
    pairs: UInt64


class Starts(NamedTuple):
    """Start table of a round."""

    pairs: UInt64
    cells: UInt64
    total: np.uint64
    coarse: np.uint64


class EdgeSlots(NamedTuple):
    """The set of edges: one small hash table per node, of its neighbours with a larger id."""

    start: Int64
    slots: Int32


class Rule(NamedTuple):
    """floor(a * 2^53) of a step, by its place relative to the previous node."""

    back: np.uint64
    near: np.uint64
    far: np.uint64


# ---------------------------------------------------------------------- the neighbour test of node2vec


@jit
def edge_slot_tasks(counter, n_tasks, task_rows, indptr, indices, slot_start, slots):
    """Fill the hash tables of `EdgeSlots`."""
    for task in tasks_of(counter, n_tasks):
        for u in range(task_rows[task], task_rows[task + 1]):
            begin, size = slot_start[u], slot_start[u + 1] - slot_start[u]
            for k in range(begin, begin + size):
                slots[k] = EMPTY
            for e in range(indptr[u], indptr[u + 1]):
                v = indices[e]
                if v > u:
                    k = _home(v, size)
                    while slots[begin + k] != EMPTY:
                        k = k + 1 if k + 1 < size else 0
                    slots[begin + k] = v


@jit
def upper_degree_tasks(counter, n_tasks, task_rows, indptr, indices, out):
    """Neighbours with a larger id, of each node."""
    for task in tasks_of(counter, n_tasks):
        for u in range(task_rows[task], task_rows[task + 1]):
            above = 0
            for e in range(indptr[u], indptr[u + 1]):
                above += indices[e] > u
            out[u] = above


@jit_inline
def _home(v, size):
    return int64((((uint64(v) * uint64(SPREAD)) & uint64(LOW)) * uint64(size)) >> uint64(32))


@jit_inline
def _edge_slot(slot_start, u, v):
    """Slot where the search for edge (u, v) begins."""
    low, high = min(u, v), max(u, v)
    return slot_start[low] + _home(high, slot_start[low + 1] - slot_start[low])


@jit_inline
def _has_edge(slot_start, slots, u, v):
    low, high = min(u, v), max(u, v)
    begin, end = slot_start[low], slot_start[low + 1]
    if begin == end:
        return False
    k = begin + _home(high, end - begin)
    while slots[k] != EMPTY:
        if slots[k] == high:
            return True
        k = k + 1 if k + 1 < end else begin
    return False


@jit_inline
def _acceptance(edges, rule, previous, proposal):
    """floor(a * 2^53) of a step to `proposal`."""
    if proposal == previous:
        return rule.back
    return rule.near if _has_edge(edges.start, edges.slots, previous, proposal) else rule.far


# ---------------------------------------------------------------------- the exact scan
#
# The weight of an entry is its mass times a factor: floor(a * 2^32) of node2vec, 2^32 without it, 0 for visited KPs.
# Most entries have one factor, `far`. The running sum of the weights is therefore the table's prefix sum times `far`,
# plus corrections at the neighbours that the row shares with that of the previous KP: the shorter of the two rows is
# read. Visited KPs are taken out afterwards; there are no more than the path has. Sums are integers modulo 2^64, and
# those of a row stay below 2^64: they have the bits of a sum entry by entry.


class WeighedRow(NamedTuple):
    """The row that is scanned, and that of the previous KP."""

    begin: np.uint64
    end: np.uint64
    total: np.uint64
    previous: np.int64
    previous_begin: np.uint64
    previous_end: np.uint64
    weighed: np.bool_
    """Whether p and q apply: not on the first step."""
    far: np.uint64


@jit
def _entry_of(pairs, begin, end, v):
    """Entry of the neighbour v in a row, or where it would be."""
    while begin < end:
        middle = (begin + end) >> uint64(1)
        if (pairs[middle] & uint64(LOW)) < v:
            begin = middle + uint64(1)
        else:
            end = middle
    return begin


@jit_inline
def _mass(pairs, row, entry):
    below = pairs[entry - uint64(1)] >> uint64(32) if entry > row.begin else uint64(0)
    return (pairs[entry] >> uint64(32)) - below


@jit_inline
def _factor(edges, rule, row, v):
    return _acceptance(edges, rule, row.previous, v) >> uint64(21) if row.weighed else row.far


@jit
def _first_above_weighed(pairs, edges, rule, row, target):
    """First entry whose running sum exceeds `target`, and 0; if there is none, the end and the weight of the row."""
    one, low_word = uint64(1), uint64(LOW)
    low, high, corrected = row.begin, row.end, uint64(0)
    if row.weighed:
        own = row.end - row.begin
        other = row.previous_end - row.previous_begin + one  # with the previous KP itself, in its place
        place = uint64(0)
        if other < own:
            place = _entry_of(pairs, row.previous_begin, row.previous_end, uint64(row.previous)) - row.previous_begin
        for i in range(min(own, other)):
            entry = row.begin + uint64(i)
            if other < own:
                v = uint64(row.previous)
                if i != place:
                    at = uint64(i) if i < place else uint64(i) - one
                    v = pairs[row.previous_begin + at] & low_word
                entry = _entry_of(pairs, row.begin, row.end, v)
                if entry == row.end or (pairs[entry] & low_word) != v:
                    continue
            factor = _factor(edges, rule, row, int64(pairs[entry] & low_word))
            if factor == row.far:
                continue
            more = corrected + _mass(pairs, row, entry) * (factor - row.far)
            if row.far * (pairs[entry] >> uint64(32)) + more > target:
                high = entry
                break
            low, corrected = entry + one, more
    if high == row.end and row.far * row.total + corrected <= target:
        return high, row.far * row.total + corrected
    while low < high:
        middle = (low + high) >> one
        if row.far * (pairs[middle] >> uint64(32)) + corrected <= target:
            low = middle + one
        else:
            high = middle
    return low, uint64(0)


@jit
def _visited_weight(pairs, edges, rule, row, nodes, walk, step, last):
    """Weight of the visited KPs among the entries up to `last`."""
    weight = uint64(0)
    for k in range(step):
        v = int64(nodes[walk, k])
        entry = _entry_of(pairs, row.begin, row.end, uint64(v))
        if entry < row.end and entry <= last and int64(pairs[entry] & uint64(LOW)) == v:
            weight += _mass(pairs, row, entry) * _factor(edges, rule, row, v)
    return weight


@jit_inline
def _bounds(node, v):
    """Begin and end of a row."""
    begin = node[v, 0] & uint64(ROW_START)
    return begin, begin + (node[v, 1] & uint64(LOW))


@jit
def _scan_row(table, edges, rule, no_revisit, second_order, nodes, walk, step, key, walk_id):
    """Draw from what the proposals can reach, as in the reference; -1 if that is nothing."""
    node, pairs = table.node, table.pairs
    here = uint64(nodes[walk, step - 1])
    begin, end = _bounds(node, here)
    weighed = second_order and step > 1
    previous, previous_begin, previous_end, far = int64(-1), uint64(0), uint64(0), uint64(1) << uint64(32)
    if weighed:
        previous, far = int64(nodes[walk, step - 2]), rule.far >> uint64(21)
        previous_begin, previous_end = _bounds(node, uint64(previous))
    total = node[here, 1] >> uint64(32)
    row = WeighedRow(begin, end, total, previous, previous_begin, previous_end, weighed, far)
    visited = uint64(0)
    if no_revisit:
        visited = _visited_weight(pairs, edges, rule, row, nodes, walk, step, end)
    _, weight = _first_above_weighed(pairs, edges, rule, row, ~uint64(0))
    if weight == visited:
        return int64(-1)
    bits, _ = draw(key[0], key[1], walk_id, step, TRIALS)
    target = mulhi(bits, weight - visited)
    # Visited KPs before the answer move it on, perhaps past other visited ones: until none is added.
    passed = uint64(0)
    while True:
        entry, _ = _first_above_weighed(pairs, edges, rule, row, target + passed)
        now = uint64(0)
        if no_revisit:
            now = _visited_weight(pairs, edges, rule, row, nodes, walk, step, entry)
        if now == passed:
            return int64(pairs[entry] & uint64(LOW))
        passed = now


@jit
def _all_visited(pairs, begin, degree, nodes, walk, step):
    """Whether every neighbour was visited; asked only where the row is shorter than the path."""
    seen = True
    for entry in range(begin, begin + degree):
        seen &= _on_path(nodes, walk, step, int64(pairs[entry] & uint64(LOW)))
    return seen


@jit_inline
def _on_path(nodes, walk, step, to):
    """Whether a walk visited `to` before `step`."""
    seen = False
    for k in range(step):
        seen |= nodes[walk, k] == to
    return seen


# ---------------------------------------------------------------------- walks


@jit_inline
def _decided(cell, t, coarse):
    """Answer of a cell to draw t: (node, whether the prefix sums must decide instead)."""
    difference = int64(((t >> coarse) - (cell >> uint64(MARK_SHIFT))) << uint64(49))  # 15 bits with their sign
    right = uint64(RIGHT_SHIFT) & uint64(~(difference >> 63))
    unsure = (cell >> uint64(63)) | (uint64(difference == 0) & uint64(coarse > uint64(0)))
    return (cell >> right) & uint64(ID_MASK), unsure


@jit_inline
def _lower_bound(cell):
    """Entry of the row where the search for an undecided draw begins: that of the cell, or the first."""
    return (cell & uint64(ID_MASK)) & (uint64(0) - (cell >> uint64(63)))


@jit
def _starts(start, ids, key, begin, end, names, turns, cell_at, drawn, unsure_walks, out):
    """Draw the first node of walks begin .. end - 1 (no more than fit in the scratch arrays)."""
    pairs, cells, total, coarse = start
    n = uint64(cells.size)
    for k in range(end - begin):
        names[k], turns[k] = uint64(ids[begin + k]), uint64(0)
    philox_lanes(end - begin, names, turns, key[0], key[1], drawn, None)
    for k in range(end - begin):
        cell_at[k] = ((drawn[k] >> uint64(32)) * n) >> uint64(32)
        drawn[k] = mulhi(drawn[k], total)
        prefetch(cells, int64(cell_at[k]))
    n_unsure = uint64(0)
    for k in range(end - begin):
        name, unsure = _decided(cells[cell_at[k]], drawn[k], coarse)
        out[begin + k, 0] = name
        unsure_walks[n_unsure] = k
        n_unsure += unsure
    for u in range(n_unsure):
        k = unsure_walks[u]
        cell_at[k] = _lower_bound(cells[cell_at[k]])
        prefetch(pairs, int64(cell_at[k]))
    for u in range(n_unsure):
        k = unsure_walks[u]
        out[begin + int64(k), 0] = first_above(pairs, cell_at[k], n, drawn[k])


@cache
def walk_tasks(no_revisit: bool, second_order: bool) -> Any:
    """The walk kernel for one kind of step rule: its machine code contains only what the rule uses."""

    @jit
    def tasks(counter, n_tasks, table, edges, start, ids, length, rule, key, n_lanes, out):
        """Walks of the ids, cut into n_tasks runs of consecutive ids; `out` is int32 [n, length + 1]."""
        node, cells, pairs = table
        n = ids.size
        size = max(n // n_tasks + 1, n_lanes)
        cell_at, drawn = np.empty(size, np.uint64), np.empty(size, np.uint64)
        names, turns = np.empty(size, np.uint64), np.empty(size, np.uint64)
        bits, accept_bits = np.empty(n_lanes, np.uint64), np.empty(size, np.uint64)
        walk, at = np.empty(n_lanes, np.int64), np.empty(n_lanes, np.uint64)
        rows, extents = np.empty(n_lanes, np.uint64), np.empty(n_lanes, np.uint64)
        proposal, search_at = np.empty(n_lanes, np.int64), np.empty(n_lanes + 1, np.uint64)
        unsure_lanes = np.empty(size + 1, np.uint64)
        least, most = min(rule.back, min(rule.near, rule.far)), max(rule.near, rule.far)
        half, low = uint64(32), uint64(LOW)
        for task in tasks_of(counter, n_tasks):
            begin, end = n * task // n_tasks, n * (task + 1) // n_tasks
            _starts(start, ids, key, begin, end, names, turns, cell_at, drawn, unsure_lanes, out)
            active = min(n_lanes, end - begin)
            next_walk = begin + active
            for j in range(active):
                walk[j], at[j] = begin + j, uint64(out[begin + j, 0])
                names[j], turns[j] = uint64(ids[begin + j]), uint64(1)
                prefetch(node, int64(at[j]))
            while active > 0:
                philox_lanes(active, names, turns, key[0], key[1], bits, accept_bits if second_order else None)
                if second_order and no_revisit:
                    # Nothing is accepted with these bits (going back is a revisit): skip to the next trial that may be.
                    for j in range(active):
                        while (
                            accept_bits[j] >= most and turns[j] & low > uint64(1) and turns[j] >> half < uint64(TRIALS)
                        ):
                            turns[j] += uint64(1) << half
                            bits[j], accept_bits[j] = draw(key[0], key[1], names[j], turns[j] & low, turns[j] >> half)
                            accept_bits[j] >>= uint64(11)
                for j in range(active):
                    row, extent = node[at[j], 0], node[at[j], 1]
                    rows[j], extents[j] = row, extent
                    cell_at[j] = (row & uint64(ROW_START)) + (((bits[j] >> half) * (extent & low)) >> half)
                    drawn[j] = mulhi(bits[j], extent >> half)
                    prefetch(cells, int64(cell_at[j]))
                # Branch-free: whether a cell decides its draw is unpredictable. A lane that needs no search prefetches
                # the first pairs, which are in the cache anyway.
                n_unsure = uint64(0)
                for j in range(active):
                    cell = cells[cell_at[j]]
                    to, unsure = _decided(cell, drawn[j], rows[j] >> uint64(COARSE_SHIFT))
                    proposal[j] = int64(to)
                    unsure_lanes[n_unsure] = j
                    search_at[n_unsure] = (rows[j] & uint64(ROW_START)) + _lower_bound(cell)
                    prefetch(pairs, int64(search_at[n_unsure] & (uint64(0) - unsure)))
                    n_unsure += unsure
                    prefetch(node, int64(to))
                for u in range(n_unsure):
                    j = unsure_lanes[u]
                    if extents[j] >> half > uint64(0):
                        row_end = (rows[j] & uint64(ROW_START)) + (extents[j] & low)
                        proposal[j] = int64(pairs[first_above(pairs, search_at[u], row_end, drawn[j])] & low)
                        prefetch(node, proposal[j])
                if second_order:
                    for j in range(active):
                        step = int64(turns[j] & low)
                        if step > 1 and accept_bits[j] >= least:
                            prefetch(edges.slots, _edge_slot(edges.start, int64(out[walk[j], step - 2]), proposal[j]))
                for j in range(active - 1, -1, -1):
                    i, step, to = walk[j], int64(turns[j] & low), proposal[j]
                    if extents[j] >> half == uint64(0):  # nothing to draw from: the cell belongs to another row
                        to = -1
                    accepted = True
                    if no_revisit or second_order:
                        accepted = turns[j] >> half < uint64(TRIALS) or to < 0
                    if no_revisit and accepted:
                        accepted = not _on_path(out, i, step, to)
                    if second_order and accepted and to >= 0 and step > 1 and accept_bits[j] >= least:
                        accepted = accept_bits[j] < _acceptance(edges, rule, int64(out[i, step - 2]), to)
                    if not accepted:
                        turns[j] += uint64(1) << half
                        degree = extents[j] & low
                        if (
                            no_revisit
                            and degree < uint64(step)
                            and _all_visited(pairs, rows[j] & uint64(ROW_START), degree, out, i, step)
                        ):
                            to = -1
                        elif turns[j] >> half < uint64(TRIALS):
                            continue
                        else:
                            to = _scan_row(table, edges, rule, no_revisit, second_order, out, i, step, key, ids[i])
                    out[i, step] = to
                    if to >= 0 and step < length:
                        at[j], turns[j] = uint64(to), uint64(step + 1)
                        continue
                    for k in range(step + 1, length + 1):
                        out[i, k] = -1
                    if next_walk < end:
                        walk[j], at[j] = next_walk, uint64(out[next_walk, 0])
                        names[j], turns[j] = uint64(ids[next_walk]), uint64(1)
                        prefetch(node, int64(at[j]))
                        next_walk += 1
                    else:  # move the last lane here: it has been advanced already
                        active -= 1
                        walk[j], at[j], names[j], turns[j] = walk[active], at[active], names[active], turns[active]

    return tasks


# ---------------------------------------------------------------------- paths


@jit
def length_tasks(counter, n_tasks, nodes, out):
    """Entries of each row that are not -1."""
    n = nodes.shape[0]
    for task in tasks_of(counter, n_tasks):
        for i in range(n * task // n_tasks, n * (task + 1) // n_tasks):
            count = 0
            for k in range(nodes.shape[1]):
                count += nodes[i, k] >= 0
            out[i] = count


@jit
def occurrence_tasks(counter, n_tasks, table, keep, counts):
    """Count numbers in kept rows; task i fills counts[i]."""
    n = table.shape[0]
    for task in tasks_of(counter, n_tasks):
        for v in range(counts.shape[1]):
            counts[task, v] = 0
        for i in range(n * task // n_tasks, n * (task + 1) // n_tasks):
            if keep[i]:
                for k in range(table.shape[1]):
                    if table[i, k] >= 0:
                        counts[task, table[i, k]] += 1
