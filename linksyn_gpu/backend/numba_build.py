"""Kernels that build the co-occurrence graph and its postings, row by row.

Row u of C = A'A is the multiset of the KPs of u's seeds, sorted and run-length encoded. Rows do not depend on one
another, so threads take runs of rows and hold no more than one row's KPs each; what is sorted stays in the
cache. (Sorting the pairs of all rows as one array moves every pair through memory several times.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64

from linksyn_gpu.backend.numba_core import fetch_add, jit, prefetch

INSERTION_MAX = 40  # rows up to this size are sorted by insertion
DENSE_SHARE = 4  # a row of more than n_kps / 4 KPs is counted in an array over all KPs instead of sorted
DIGIT_MAX = 11
AHEAD = 8  # seeds whose KPs are asked for ahead of their use


@jit
def postings_histogram(counter: Any, n_tasks: Any, indptr: Any, kp_indices: Any, histogram: Any, lost: Any) -> None:
    """histogram[task, v]: mentions of v in the task's seeds; lost[task]: seeds whose KPs are out of order or range."""
    n_seeds, n_kps = indptr.size - 1, histogram.shape[1]
    while True:
        task = fetch_add(counter, 0, 1)
        if task >= n_tasks:
            break
        for v in range(n_kps):
            histogram[task, v] = 0
        bad = 0
        for seed in range(n_seeds * task // n_tasks, n_seeds * (task + 1) // n_tasks):
            before = -1
            for m in range(indptr[seed], indptr[seed + 1]):
                v = kp_indices[m]
                if v <= before or v >= n_kps:
                    bad += 1
                    break
                before = v
                histogram[task, v] += 1
        lost[task] = bad


@jit
def postings_offsets(histogram: Any, starts: Any) -> None:
    """Turn the counts into each task's first place in each KP's list, and `starts` into the lists' begins."""
    running = 0
    for v in range(histogram.shape[1]):
        starts[v] = running
        for task in range(histogram.shape[0]):
            count = histogram[task, v]
            histogram[task, v] = running
            running += count
    starts[histogram.shape[1]] = running


@jit
def postings_scatter(counter: Any, n_tasks: Any, indptr: Any, kp_indices: Any, histogram: Any, seeds: Any) -> None:
    """seeds: for each KP its seeds, ascending."""
    n_seeds = indptr.size - 1
    while True:
        task = fetch_add(counter, 0, 1)
        if task >= n_tasks:
            break
        for seed in range(n_seeds * task // n_tasks, n_seeds * (task + 1) // n_tasks):
            for m in range(indptr[seed], indptr[seed + 1]):
                v = kp_indices[m]
                seeds[histogram[task, v]] = seed
                histogram[task, v] += 1


@jit
def pair_counts(indptr: Any, kp_indices: Any, out: Any) -> None:
    """out[v]: ordered pairs (v, other KP of the same seed), repeats counted; out is zero before."""
    for seed in range(indptr.size - 1):
        others = indptr[seed + 1] - indptr[seed] - 1
        for m in range(indptr[seed], indptr[seed + 1]):
            out[kp_indices[m]] += others


@jit
def _gather(u: Any, post_indptr: Any, post_seeds: Any, indptr: Any, kp_indices: Any, out: Any) -> Any:
    """Collect the KPs other than u of u's seeds; give their number. `out` needs one place more than that."""
    size = 0
    end = post_indptr[u + 1]
    for at in range(post_indptr[u], end):
        if at + 2 * AHEAD < end:
            prefetch(indptr, int64(post_seeds[at + 2 * AHEAD]))
            prefetch(kp_indices, indptr[post_seeds[at + AHEAD]])
        seed = post_seeds[at]
        for m in range(indptr[seed], indptr[seed + 1]):
            out[size] = kp_indices[m]
            size += kp_indices[m] != u
    return size


@jit
def _sort(values: Any, spare: Any, size: Any, digit: Any, passes: Any, histogram: Any) -> Any:
    """Sort values[:size]; give the array that holds the result (`values` or `spare`)."""
    if size <= INSERTION_MAX:
        for i in range(1, size):
            x = values[i]
            k = i
            while k > 0 and values[k - 1] > x:
                values[k] = values[k - 1]
                k -= 1
            values[k] = x
        return values
    mask = (1 << digit) - 1
    source, sink = values, spare
    for turn in range(passes):
        shift = turn * digit
        for b in range(mask + 1):
            histogram[b] = 0
        for i in range(size):
            histogram[(source[i] >> shift) & mask] += 1
        running = 0
        for b in range(mask + 1):
            count = histogram[b]
            histogram[b] = running
            running += count
        for i in range(size):
            b = (source[i] >> shift) & mask
            sink[histogram[b]] = source[i]
            histogram[b] += 1
        source, sink = sink, source
    return source


@jit
def _dense_row(
    u: Any,
    post_indptr: Any,
    post_seeds: Any,
    indptr: Any,
    kp_indices: Any,
    tally: Any,
    columns: Any,
    counts: Any,
    at: Any,
) -> Any:
    """Row u by counting in an array over all KPs (zero before and after); give its number of entries."""
    end = post_indptr[u + 1]
    for s in range(post_indptr[u], end):
        if s + 2 * AHEAD < end:
            prefetch(indptr, int64(post_seeds[s + 2 * AHEAD]))
            prefetch(kp_indices, indptr[post_seeds[s + AHEAD]])
        seed = post_seeds[s]
        for m in range(indptr[seed], indptr[seed + 1]):
            tally[kp_indices[m]] += 1
    tally[u] = 0
    size = 0
    for v in range(tally.size):
        if tally[v] > 0:
            if columns.size > 0:
                columns[at + size] = v
                counts[at + size] = tally[v]
            tally[v] = 0
            size += 1
    return size


@jit
def row_tasks(
    counter: Any,
    n_tasks: Any,
    task_rows: Any,
    pair_start: Any,
    post_indptr: Any,
    post_seeds: Any,
    indptr: Any,
    kp_indices: Any,
    longest_sorted: Any,
    digit: Any,
    passes: Any,
    place: Any,
    columns: Any,
    counts: Any,
    entries: Any,
) -> None:
    """Rows of C: row u goes to columns[place[u]:] and counts[place[u]:], its length to entries[u].

    With empty `columns` only the lengths are found.
    """
    n_kps = entries.size
    values = np.empty(longest_sorted + 1, np.int32)
    spare = np.empty(longest_sorted + 1, np.int32)
    histogram = np.empty(1 << digit, np.int64)
    tally = np.zeros(0, np.int32)
    while True:
        task = fetch_add(counter, 0, 1)
        if task >= n_tasks:
            break
        for u in range(task_rows[task], task_rows[task + 1]):
            pairs = pair_start[u + 1] - pair_start[u]
            at = place[u]
            if pairs > longest_sorted:
                if tally.size == 0:
                    tally = np.zeros(n_kps, np.int32)
                entries[u] = _dense_row(u, post_indptr, post_seeds, indptr, kp_indices, tally, columns, counts, at)
                continue
            size = _gather(u, post_indptr, post_seeds, indptr, kp_indices, values)
            ordered = _sort(values, spare, size, digit, passes, histogram)
            m = 0
            i = 0
            while i < size:
                v = ordered[i]
                k = i + 1
                while k < size and ordered[k] == v:
                    k += 1
                if columns.size > 0:
                    columns[at + m] = v
                    counts[at + m] = k - i
                m += 1
                i = k
            entries[u] = m


@jit
def compact_tasks(
    counter: Any,
    n_tasks: Any,
    task_rows: Any,
    place: Any,
    columns: Any,
    counts: Any,
    indptr: Any,
    out_columns: Any,
    out_counts: Any,
) -> None:
    """Move each row from its place with room to spare to its place in the CSR."""
    while True:
        task = fetch_add(counter, 0, 1)
        if task >= n_tasks:
            break
        for u in range(task_rows[task], task_rows[task + 1]):
            source, sink = place[u], indptr[u]
            for k in range(indptr[u + 1] - sink):
                out_columns[sink + k] = columns[source + k]
                out_counts[sink + k] = counts[source + k]


# ---------------------------------------------------------------------- postings of edges


@jit
def upper_start(graph_indptr: Any, graph_indices: Any, first: Any, running: Any) -> None:
    """first[u]: first entry of row u with a column above u; running[u]: such entries in the rows before."""
    total = 0
    for u in range(graph_indptr.size - 1):
        low, high = graph_indptr[u], graph_indptr[u + 1]
        while low < high:
            middle = (low + high) >> 1
            if graph_indices[middle] < u:
                low = middle + 1
            else:
                high = middle
        first[u] = low
        running[u] = total
        total += graph_indptr[u + 1] - low
    running[graph_indptr.size - 1] = total


@jit
def edge_count_tasks(
    counter: Any,
    n_tasks: Any,
    task_rows: Any,
    graph_indptr: Any,
    graph_indices: Any,
    first: Any,
    running: Any,
    post_indptr: Any,
    post_seeds: Any,
    indptr: Any,
    kp_indices: Any,
    size_of: Any,
) -> None:
    """size_of[edge]: seeds that hold both ends; pairs that are no edge of the graph are passed over."""
    edge_of = np.full(graph_indptr.size - 1, -1, np.int64)
    while True:
        task = fetch_add(counter, 0, 1)
        if task >= n_tasks:
            break
        for u in range(task_rows[task], task_rows[task + 1]):
            edge = running[u]
            for e in range(first[u], graph_indptr[u + 1]):
                edge_of[graph_indices[e]] = edge
                size_of[edge] = 0
                edge += 1
            for s in range(post_indptr[u], post_indptr[u + 1]):
                seed = post_seeds[s]
                for m in range(indptr[seed], indptr[seed + 1]):
                    v = kp_indices[m]
                    if v > u and edge_of[v] >= 0:
                        size_of[edge_of[v]] += 1
            for e in range(first[u], graph_indptr[u + 1]):
                edge_of[graph_indices[e]] = -1


@jit
def edge_fill_tasks(
    counter: Any,
    n_tasks: Any,
    task_rows: Any,
    graph_indptr: Any,
    graph_indices: Any,
    first: Any,
    running: Any,
    post_indptr: Any,
    post_seeds: Any,
    indptr: Any,
    kp_indices: Any,
    edge_start: Any,
    edge_seeds: Any,
) -> None:
    """edge_seeds[edge_start[edge]:]: the edge's seeds, ascending because each KP's list of seeds is."""
    next_place = np.full(graph_indptr.size - 1, -1, np.int64)
    while True:
        task = fetch_add(counter, 0, 1)
        if task >= n_tasks:
            break
        for u in range(task_rows[task], task_rows[task + 1]):
            edge = running[u]
            for e in range(first[u], graph_indptr[u + 1]):
                next_place[graph_indices[e]] = edge_start[edge]
                edge += 1
            for s in range(post_indptr[u], post_indptr[u + 1]):
                seed = post_seeds[s]
                for m in range(indptr[seed], indptr[seed + 1]):
                    v = kp_indices[m]
                    if v > u and next_place[v] >= 0:
                        edge_seeds[next_place[v]] = seed
                        next_place[v] += 1
            for e in range(first[u], graph_indptr[u + 1]):
                next_place[graph_indices[e]] = -1
