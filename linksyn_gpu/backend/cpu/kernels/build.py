"""Kernels that build the co-occurrence graph and its evidence, row by row.

Row u of C = A'A is the multiset of the KPs of u's seeds, sorted and run-length encoded. Rows do not depend on one
another: threads take runs of rows and hold only one row's KPs each, which stay in the cache while they are sorted.
(Sorting the pairs of all rows as one array moves every pair through memory several times.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int64, uint64

from linksyn_gpu.backend.cpu.kernels.core import jit, jit_inline, prefetch, tasks_of
from linksyn_gpu.tables import Int32, Int64, UInt64

INSERTION_MAX = 40  # rows up to this size are sorted by insertion
DENSE_SHARE = 4  # a row of more than n_kps / 4 KPs is counted in an array over all KPs instead of sorted
DIGIT_MAX = 11  # most bits that one pass of the sort uses
AHEAD = 12  # seeds whose KPs are prefetched
SPAN_SHIFT = 24  # a seed holds fewer than 2^24 KPs, each once
SPAN_MASK = (1 << SPAN_SHIFT) - 1


class Mentions(NamedTuple):
    """The mentions of each KP, in the order of seeds."""

    indptr: Int64
    """[n_kps + 1]"""
    spans: UInt64
    """[n_mentions] where the seed's KPs are: first place in `kp_indices` << 24 | their number."""
    seeds: Int32
    """[n_mentions], or empty if they are not needed."""
    kp_indices: Int32
    """[n_mentions] KPs of each seed."""


class UpperEdges(NamedTuple):
    """A graph, and its undirected edges: the entries of each row whose column is above the row's KP."""

    indptr: Int64
    """[n_kps + 1]"""
    indices: Int32
    """[n_entries]"""
    first: Int64
    """[n_kps] first such entry of a row."""
    running: Int64
    """[n_kps + 1] such entries before a row."""


class RowSort(NamedTuple):
    """How the KPs of a row are sorted."""

    longest: int
    """Rows of more KPs are counted in an array over all KPs."""
    digit: int
    """Bits of one pass."""
    passes: int


class Rows(NamedTuple):
    """Where the rows of C are written."""

    place: Int64
    """[n_kps + 1] place of each row in `columns` and `counts`."""
    columns: Int32
    """Empty: only the lengths are counted."""
    counts: Int32
    entries: Int64
    """[n_kps] length of each row."""


@jit
def mention_counts(counter, n_tasks, indptr, kp_indices, histogram, lost):
    """histogram[task, v]: mentions of v in the task's seeds; lost[task]: seeds whose KPs are out of order or range."""
    n_seeds, n_kps = indptr.size - 1, histogram.shape[1]
    for task in tasks_of(counter, n_tasks):
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
def mention_offsets(histogram, starts):
    """Turn the counts into each task's first place in each KP's list, and set `starts` to the begin of each list."""
    running = 0
    for v in range(histogram.shape[1]):
        starts[v] = running
        for task in range(histogram.shape[0]):
            count = histogram[task, v]
            histogram[task, v] = running
            running += count
    starts[histogram.shape[1]] = running


@jit
def scatter_mentions(counter, n_tasks, indptr, histogram, after, mentions):
    """Fill spans and seeds; with `after`, a span covers only the KPs of the seed after the mention itself."""
    kp_indices, spans, seeds = mentions.kp_indices, mentions.spans, mentions.seeds
    n_seeds = indptr.size - 1
    for task in tasks_of(counter, n_tasks):
        for seed in range(n_seeds * task // n_tasks, n_seeds * (task + 1) // n_tasks):
            begin, end = indptr[seed], indptr[seed + 1]
            for m in range(begin, end):
                v = uint64(kp_indices[m])
                at = uint64(histogram[task, v])
                histogram[task, v] += 1
                first = m + 1 if after else begin
                spans[at] = (uint64(first) << uint64(SPAN_SHIFT)) | uint64(end - first)
                if seeds.size > 0:
                    seeds[at] = seed


@jit
def pair_counts(indptr, kp_indices, out):
    """out[v]: ordered pairs (v, other KP of the same seed), repeats counted; out is zero before."""
    for seed in range(indptr.size - 1):
        others = indptr[seed + 1] - indptr[seed] - 1
        for m in range(indptr[seed], indptr[seed + 1]):
            out[kp_indices[m]] += others


@jit_inline
def _gather(u, mentions, out):
    """Collect the KPs other than u of u's seeds; return their number. `out` needs one place more than that."""
    spans, kp_indices = mentions.spans, mentions.kp_indices
    size = uint64(0)
    end = uint64(mentions.indptr[u + 1])
    for at in range(uint64(mentions.indptr[u]), end):
        if at + uint64(AHEAD) < end:
            prefetch(kp_indices, int64(spans[at + uint64(AHEAD)] >> uint64(SPAN_SHIFT)))
        first = spans[at] >> uint64(SPAN_SHIFT)
        for m in range(first, first + (spans[at] & uint64(SPAN_MASK))):
            v = kp_indices[m]
            out[size] = v
            size += uint64(v != u)
    return size


@jit_inline
def _digit_pass(source, sink, size, shift, mask, histogram):
    """One stable pass of a radix sort."""
    for b in range(uint64(mask) + uint64(1)):
        histogram[b] = 0
    for i in range(size):
        histogram[uint64((source[i] >> shift) & mask)] += 1
    running = int64(0)
    for b in range(uint64(mask) + uint64(1)):
        count = histogram[b]
        histogram[b] = running
        running += count
    for i in range(size):
        value = source[i]
        b = uint64((value >> shift) & mask)
        place = histogram[b]
        sink[uint64(place)] = value
        histogram[b] = place + 1


@jit
def _sort(values, spare, size, digit, passes, histogram):
    """Sort values[:size]; true where the result is in `spare`."""
    if size <= uint64(INSERTION_MAX):
        for i in range(1, int64(size)):
            x = values[i]
            k = i
            while k > 0 and values[k - 1] > x:
                values[k] = values[k - 1]
                k -= 1
            values[k] = x
        return False
    mask = (1 << digit) - 1
    for turn in range(0, passes, 2):
        _digit_pass(values, spare, size, turn * digit, mask, histogram)
        if turn + 1 == passes:
            return True
        _digit_pass(spare, values, size, (turn + 1) * digit, mask, histogram)
    return False


@jit_inline
def _run_lengths(ordered, size, columns, counts, at):
    """Distinct values and their counts, from place `at` on; return how many. Branch-free: repeats are unpredictable."""
    place = uint64(at)
    before, first = int64(-1), int64(0)
    for i in range(size):
        value = int64(ordered[i])
        new = value != before
        before = value
        place += uint64(new)
        first = int64(i) if new else first
        columns[place - uint64(1)] = value
        counts[place - uint64(1)] = int64(i) - first + 1
    return int64(place - uint64(at))


@jit
def _dense_row(u, mentions, tally, rows):
    """Row u by counting in an array over all KPs (zero before and after); return its number of entries."""
    spans, kp_indices, columns, counts = mentions.spans, mentions.kp_indices, rows.columns, rows.counts
    at = rows.place[u]
    for s in range(uint64(mentions.indptr[u]), uint64(mentions.indptr[u + 1])):
        first = spans[s] >> uint64(SPAN_SHIFT)
        for m in range(first, first + (spans[s] & uint64(SPAN_MASK))):
            tally[uint64(kp_indices[m])] += 1
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
def row_tasks(counter, n_tasks, task_rows, pair_start, mentions, sort, rows):
    """Rows of C, from the mentions of each KP."""
    place, columns, counts, entries = rows.place, rows.columns, rows.counts, rows.entries
    n_kps = entries.size
    values = np.empty(sort.longest + 1, np.int32)
    spare = np.empty(sort.longest + 1, np.int32)
    histogram = np.empty(1 << sort.digit, np.int64)
    tally = np.zeros(0, np.int32)
    for task in tasks_of(counter, n_tasks):
        for u in range(task_rows[task], task_rows[task + 1]):
            pairs = pair_start[u + 1] - pair_start[u]
            if pairs > sort.longest:
                if tally.size == 0:
                    tally = np.zeros(n_kps, np.int32)
                entries[u] = _dense_row(u, mentions, tally, rows)
                continue
            size = _gather(u, mentions, values)
            ordered = spare if _sort(values, spare, size, sort.digit, sort.passes, histogram) else values
            if columns.size > 0:
                entries[u] = _run_lengths(ordered, size, columns, counts, place[u])
            else:
                distinct = 0
                before = -1
                for i in range(size):
                    distinct += ordered[i] != before
                    before = ordered[i]
                entries[u] = distinct


@jit
def compact_tasks(counter, n_tasks, task_rows, rows, indptr, out):
    """Move each row from its place, which has space for repeats, to its place in the CSR; out = (columns, counts)."""
    place, columns, counts = rows.place, rows.columns, rows.counts
    out_columns, out_counts = out
    for task in tasks_of(counter, n_tasks):
        for u in range(task_rows[task], task_rows[task + 1]):
            source, sink = place[u], indptr[u]
            for k in range(indptr[u + 1] - sink):
                out_columns[sink + k] = columns[source + k]
                out_counts[sink + k] = counts[source + k]


# ---------------------------------------------------------------------- evidence


@jit
def upper_start(graph_indptr, graph_indices, first, running):
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
def edge_count_tasks(counter, n_tasks, task_rows, edges, mentions, size_of):
    """size_of[edge]: seeds that hold both ends; pairs without an edge in the graph are skipped."""
    graph_indptr, graph_indices, first, running = edges
    spans, kp_indices = mentions.spans, mentions.kp_indices
    edge_of = np.full(graph_indptr.size - 1, -1, np.int64)
    for task in tasks_of(counter, n_tasks):
        for u in range(task_rows[task], task_rows[task + 1]):
            edge = running[u]
            for e in range(first[u], graph_indptr[u + 1]):
                edge_of[graph_indices[e]] = edge
                size_of[edge] = 0
                edge += 1
            end = uint64(mentions.indptr[u + 1])
            for s in range(uint64(mentions.indptr[u]), end):
                if s + uint64(AHEAD) < end:
                    prefetch(kp_indices, int64(spans[s + uint64(AHEAD)] >> uint64(SPAN_SHIFT)))
                begin = spans[s] >> uint64(SPAN_SHIFT)
                for m in range(begin, begin + (spans[s] & uint64(SPAN_MASK))):
                    held = edge_of[uint64(kp_indices[m])]
                    if held >= 0:
                        size_of[uint64(held)] += 1
            for e in range(first[u], graph_indptr[u + 1]):
                edge_of[graph_indices[e]] = -1


@jit
def edge_fill_tasks(counter, n_tasks, task_rows, edges, mentions, edge_start, edge_seeds):
    """edge_seeds[edge_start[edge]:]: the edge's seeds, ascending because each KP's list of seeds is."""
    graph_indptr, graph_indices, first, running = edges
    spans, kp_indices, seeds = mentions.spans, mentions.kp_indices, mentions.seeds
    next_place = np.full(graph_indptr.size - 1, -1, np.int64)
    for task in tasks_of(counter, n_tasks):
        for u in range(task_rows[task], task_rows[task + 1]):
            edge = running[u]
            for e in range(first[u], graph_indptr[u + 1]):
                next_place[graph_indices[e]] = edge_start[edge]
                edge += 1
            end = uint64(mentions.indptr[u + 1])
            for s in range(uint64(mentions.indptr[u]), end):
                if s + uint64(AHEAD) < end:
                    prefetch(kp_indices, int64(spans[s + uint64(AHEAD)] >> uint64(SPAN_SHIFT)))
                begin = spans[s] >> uint64(SPAN_SHIFT)
                for m in range(begin, begin + (spans[s] & uint64(SPAN_MASK))):
                    v = uint64(kp_indices[m])
                    place = next_place[v]
                    if place >= 0:
                        edge_seeds[uint64(place)] = seeds[s]
                        next_place[v] = place + 1
            for e in range(first[u], graph_indptr[u + 1]):
                next_place[graph_indices[e]] = -1


# ---------------------------------------------------------------------- components


@jit
def _root_of(parent, v):
    """End of the chain of parents, which is halved by each search."""
    while parent[v] != v:
        parent[v] = parent[parent[v]]
        v = parent[v]
    return v


@jit
def component_labels(indptr, indices, label):
    """Number of each KP's component. The root of a component is its first KP, so that roots ascend with the numbers."""
    n_kps = label.size
    parent = np.arange(n_kps, dtype=np.int32)
    for u in range(n_kps):
        for e in range(indptr[u], indptr[u + 1]):
            if indices[e] > u:
                break
            a, b = _root_of(parent, u), _root_of(parent, indices[e])
            parent[max(a, b)] = min(a, b)
    number = 0
    for v in range(n_kps):
        if parent[v] == v:
            label[v] = number
            number += 1
        else:
            label[v] = label[parent[v]]
