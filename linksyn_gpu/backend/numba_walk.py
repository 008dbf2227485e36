"""The walk kernel: many walks at once per thread, so that the memory answers many questions at a time.

A step reads three places: the node (start, total and degree of its row), a cell of the row, and sometimes the row's
prefix sums. On a large graph each is a cache miss, and a single walk would wait for one after the other. So a
thread keeps a group of walks, its lanes, and does each part of a step for all lanes before the next part: the
reads of a part are asked for in the part before (prefetch) and arrive together. A lane whose walk is over takes the
next walk of the task at once. Nothing of this can be seen in the result: a draw is a function of
(walk id, step, trial) and of the row alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64, uint64

from linksyn_gpu.backend.numba_core import fetch_add, jit, mulhi, prefetch
from linksyn_gpu.backend.numba_philox import draw, philox
from linksyn_gpu.backend.numba_tables import (
    COARSE_SHIFT,
    ID_MASK,
    MARK_SHIFT,
    RIGHT_SHIFT,
    first_above,
)
from linksyn_gpu.backend.reference import TRIALS
from linksyn_gpu.backend.rng import LOW

ROW_START = (1 << COARSE_SHIFT) - 1
EMPTY = -1
SPREAD = 0x9E3779B1  # Fibonacci hashing: 2^32 / golden ratio, odd


# ---------------------------------------------------------------------- the neighbour test of node2vec


@jit
def edge_slot_tasks(
    counter: Any, n_tasks: Any, task_rows: Any, indptr: Any, indices: Any, slot_start: Any, slots: Any
) -> None:
    """Fill the set of edges: one small hash table per node, of its neighbours with a larger id."""
    while True:
        task = fetch_add(counter, 0, 1)
        if task >= n_tasks:
            break
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
def upper_degree_tasks(counter: Any, n_tasks: Any, task_rows: Any, indptr: Any, indices: Any, out: Any) -> None:
    """Neighbours with a larger id, of each node."""
    while True:
        task = fetch_add(counter, 0, 1)
        if task >= n_tasks:
            break
        for u in range(task_rows[task], task_rows[task + 1]):
            above = 0
            for e in range(indptr[u], indptr[u + 1]):
                above += indices[e] > u
            out[u] = above


@jit
def _home(v: Any, size: Any) -> Any:
    return int64((((uint64(v) * uint64(SPREAD)) & uint64(LOW)) * uint64(size)) >> uint64(32))


@jit
def _edge_slot(slot_start: Any, u: Any, v: Any) -> Any:
    """Where the search for edge (u, v) begins."""
    low, high = min(u, v), max(u, v)
    return slot_start[low] + _home(high, slot_start[low + 1] - slot_start[low])


@jit
def _has_edge(slot_start: Any, slots: Any, u: Any, v: Any) -> Any:
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


@jit
def _acceptance(edges: Any, bounds: Any, previous: Any, proposal: Any) -> Any:
    """floor(a * 2^53) of a step to `proposal`, by its place relative to the previous node."""
    back, near, far = bounds
    if proposal == previous:
        return back
    return near if _has_edge(edges[0], edges[1], previous, proposal) else far


# ---------------------------------------------------------------------- the exact scan


@jit
def _scan_row(
    table: Any,
    edges: Any,
    bounds: Any,
    no_revisit: Any,
    second_order: Any,
    path: Any,
    step: Any,
    key: Any,
    walk_id: Any,
) -> Any:
    """Draw from what the proposals may reach, as `reference._scan_row`; -1 when that is nothing."""
    node, _, prefix, indices = table
    here = path[step - 1]
    begin = int64(node[here, 0] & uint64(ROW_START))
    end = begin + int64(node[here, 1] & uint64(LOW))
    target = uint64(0)
    running = uint64(0)
    for turn in range(2):  # first the sum, then the entry where the draw falls
        running = uint64(0)
        before = uint64(0)
        for e in range(begin, end):
            mass = uint64(prefix[e]) - before
            before = uint64(prefix[e])
            if mass == uint64(0):
                continue
            scale = uint64(1) << uint64(32)
            if no_revisit:
                seen = False
                for k in range(step):
                    seen |= path[k] == indices[e]
                if seen:
                    continue
            if second_order and step > 1:
                scale = _acceptance(edges, bounds, path[step - 2], indices[e]) >> uint64(21)
            running += mass * scale
            if turn == 1 and running > target:
                return int64(indices[e])
        if running == uint64(0):
            break
        bits, _ = draw(key[0], key[1], walk_id, step, TRIALS)
        target = mulhi(bits, running)
    return int64(-1)


# ---------------------------------------------------------------------- walks


@jit
def _starts(start: Any, ids: Any, key: Any, begin: Any, end: Any, out: Any, cell_at: Any, drawn: Any) -> None:
    """Draw the first node of walks begin .. end - 1 (fewer than the scratch arrays hold)."""
    prefix, cells, total, coarse = start
    n = uint64(prefix.size)
    for i in range(begin, end):
        bits, _ = draw(key[0], key[1], ids[i], 0, 0)
        cell_at[i - begin] = int64(((bits >> uint64(32)) * n) >> uint64(32))
        drawn[i - begin] = mulhi(bits, total)
        prefetch(cells, cell_at[i - begin])
    for i in range(begin, end):
        out[i, 0] = _answer(cells[cell_at[i - begin]], drawn[i - begin], coarse, prefix, 0, prefix.size)


@jit
def _answer(cell: Any, t: Any, coarse: Any, prefix: Any, begin: Any, end: Any) -> Any:
    """What a cell of the start row says to draw t (entries of that row are nodes)."""
    if int64(cell) < 0:
        return first_above(prefix, begin + int64(cell & uint64(ID_MASK)), end, t) - begin
    difference = int64(((t >> coarse) - (cell >> uint64(MARK_SHIFT))) << uint64(49))
    if difference == 0 and coarse > uint64(0):
        return first_above(prefix, begin, end, t) - begin
    return int64(cell & uint64(ID_MASK)) if difference < 0 else int64((cell >> uint64(RIGHT_SHIFT)) & uint64(ID_MASK))


@jit
def walk_tasks(
    counter: Any,
    n_tasks: Any,
    table: Any,
    edges: Any,
    start: Any,
    ids: Any,
    length: Any,
    no_revisit: Any,
    second_order: Any,
    bounds: Any,
    key: Any,
    n_lanes: Any,
    out: Any,
) -> None:
    """Walks of the ids, cut into n_tasks runs of consecutive ids; `out` is int32 [n, length + 1].

    table = (node, cells, prefix, indices), edges = (slot_start, slots), start = (prefix, cells, total, coarse),
    bounds = acceptance of a step (back, to a neighbour of the previous node, elsewhere), key = two key words.
    """
    node, cells, prefix, indices = table
    n = ids.size
    longest = n // n_tasks + 1
    cell_at = np.empty(max(longest, n_lanes), np.int64)
    drawn = np.empty(max(longest, n_lanes), np.uint64)
    id_low, id_high = np.empty(n_lanes, np.uint64), np.empty(n_lanes, np.uint64)
    step_of, trial_of = np.empty(n_lanes, np.uint64), np.empty(n_lanes, np.uint64)
    bits, accept_bits = np.empty(n_lanes, np.uint64), np.empty(n_lanes, np.uint64)
    walk, at, proposal = np.empty(n_lanes, np.int64), np.empty(n_lanes, np.int64), np.empty(n_lanes, np.int64)
    searching = np.empty(n_lanes, np.int64)
    least = min(bounds[0], min(bounds[1], bounds[2]))
    half, low = uint64(32), uint64(LOW)
    while True:
        task = fetch_add(counter, 0, 1)
        if task >= n_tasks:
            break
        begin, end = n * task // n_tasks, n * (task + 1) // n_tasks
        _starts(start, ids, key, begin, end, out, cell_at, drawn)
        active = min(n_lanes, end - begin)
        next_walk = begin + active
        for j in range(active):
            i = begin + j
            walk[j], at[j] = i, out[i, 0]
            name = uint64(ids[i])
            id_low[j], id_high[j], step_of[j], trial_of[j] = name & low, name >> half, uint64(1), uint64(0)
            prefetch(node, at[j])
        while active > 0:
            for j in range(active):
                w0, w1, w2, w3 = philox(id_low[j], id_high[j], step_of[j], trial_of[j], key[0], key[1])
                bits[j] = (w0 << half) | w1
                accept_bits[j] = ((w2 << half) | w3) >> uint64(11)
            for j in range(active):
                row, extent = node[at[j], 0], node[at[j], 1]
                k = int64(row & uint64(ROW_START)) + int64(((bits[j] >> half) * (extent & low)) >> half)
                cell_at[j] = k
                drawn[j] = mulhi(bits[j], extent >> half)
                prefetch(cells, k)
            n_searching = 0
            for j in range(active):
                row = node[at[j], 0]
                cell = cells[cell_at[j]]
                coarse = row >> uint64(COARSE_SHIFT)
                difference = int64(((drawn[j] >> coarse) - (cell >> uint64(MARK_SHIFT))) << uint64(49))
                right = int64((cell >> uint64(RIGHT_SHIFT)) & uint64(ID_MASK))
                left = int64(cell & uint64(ID_MASK))
                proposal[j] = left if difference < 0 else right
                if int64(cell) < 0 or (difference == 0 and coarse > uint64(0)):
                    if node[at[j], 1] >> half == uint64(0):
                        proposal[j] = -1
                        continue
                    e = int64(row & uint64(ROW_START)) + (left if int64(cell) < 0 else 0)
                    searching[n_searching], cell_at[j] = j, e
                    n_searching += 1
                    prefetch(prefix, e)
                    prefetch(indices, e)
                elif node[at[j], 1] >> half == uint64(0):
                    proposal[j] = -1
            for s in range(n_searching):
                j = searching[s]
                row_end = int64(node[at[j], 0] & uint64(ROW_START)) + int64(node[at[j], 1] & low)
                proposal[j] = indices[first_above(prefix, cell_at[j], row_end, drawn[j])]
            if second_order:
                for j in range(active):
                    if proposal[j] >= 0 and step_of[j] > uint64(1) and accept_bits[j] >= least:
                        prefetch(edges[1], _edge_slot(edges[0], out[walk[j], int64(step_of[j]) - 2], proposal[j]))
            for j in range(active - 1, -1, -1):
                i, step, to = walk[j], int64(step_of[j]), proposal[j]
                accepted = True
                if no_revisit:
                    seen = False
                    for k in range(step):
                        seen |= out[i, k] == to
                    accepted = not seen
                if second_order and accepted and to >= 0 and step > 1 and accept_bits[j] >= least:
                    accepted = accept_bits[j] < _acceptance(edges, bounds, out[i, step - 2], to)
                if not accepted:
                    trial_of[j] += uint64(1)
                    if trial_of[j] < uint64(TRIALS):
                        continue
                    to = _scan_row(table, edges, bounds, no_revisit, second_order, out[i], step, key, ids[i])
                out[i, step] = to
                if to >= 0 and step < length:
                    at[j] = to
                    step_of[j], trial_of[j] = uint64(step + 1), uint64(0)
                    prefetch(node, to)
                    continue
                for k in range(step + 1, length + 1):
                    out[i, k] = -1
                if next_walk < end:
                    i = next_walk
                    next_walk += 1
                    walk[j], at[j] = i, out[i, 0]
                    name = uint64(ids[i])
                    id_low[j], id_high[j], step_of[j], trial_of[j] = name & low, name >> half, uint64(1), uint64(0)
                    prefetch(node, at[j])
                else:  # this lane takes over the last one, which has been served already
                    active -= 1
                    walk[j], at[j] = walk[active], at[active]
                    id_low[j], id_high[j] = id_low[active], id_high[active]
                    step_of[j], trial_of[j] = step_of[active], trial_of[active]


# ---------------------------------------------------------------------- what walks leave behind


@jit
def length_tasks(counter: Any, n_tasks: Any, nodes: Any, out: Any) -> None:
    """Entries of each row that are not -1."""
    n = nodes.shape[0]
    while True:
        task = fetch_add(counter, 0, 1)
        if task >= n_tasks:
            break
        for i in range(n * task // n_tasks, n * (task + 1) // n_tasks):
            count = 0
            for k in range(nodes.shape[1]):
                count += nodes[i, k] >= 0
            out[i] = count


@jit
def occurrence_tasks(counter: Any, n_tasks: Any, table: Any, keep: Any, counts: Any) -> None:
    """Count numbers in kept rows; task i fills counts[i]."""
    n = table.shape[0]
    while True:
        task = fetch_add(counter, 0, 1)
        if task >= n_tasks:
            break
        for v in range(counts.shape[1]):
            counts[task, v] = 0
        for i in range(n * task // n_tasks, n * (task + 1) // n_tasks):
            if keep[i]:
                for k in range(table.shape[1]):
                    if table[i, k] >= 0:
                        counts[task, table[i, k]] += 1
