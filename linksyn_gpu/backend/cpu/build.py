"""Construction on the CPU: the co-occurrence graph and its evidence, in all threads and within a memory limit."""

from __future__ import annotations

import numpy as np

from linksyn_gpu.backend.cpu.kernels import build
from linksyn_gpu.backend.cpu.kernels.core import allocate, operand, run_tasks, thread_count
from linksyn_gpu.backend.cpu.tasks import ENTRIES_PER_TASK, offsets, split
from linksyn_gpu.backend.protocol import EdgeRule, GraphArrays
from linksyn_gpu.backend.reference.edges import host_graph
from linksyn_gpu.errors import DataError
from linksyn_gpu.machine import available_memory
from linksyn_gpu.tables import Int32, Int64

FREE_SHARE = 0.8  # of the free memory, if no limit is given


def cooccurrence(
    indptr: Int64, kp_indices: Int32, n_kps: int, *, memory_limit: int | None = None
) -> tuple[Int64, Int32, Int32]:
    """Row by row, in all threads.

    `memory_limit` includes the result. Rows are computed once, with space for repeats, if that fits; otherwise twice,
    first for their lengths.

    Raises
    ------
    DataError
        The KPs of a seed do not ascend or lie outside 0 .. n_kps - 1, there are 2^31 seeds or more, or the product does
        not fit in memory.
    """
    indptr, kp_indices = operand(indptr, np.int64), operand(kp_indices, np.int32)
    limit = int(available_memory() * FREE_SHARE) if memory_limit is None else memory_limit
    pairs = np.zeros(n_kps, np.int64)
    mentions = _mentions_of_kps(indptr, kp_indices, n_kps, after=False)
    build.pair_counts(indptr, kp_indices, pairs)
    pair_start = offsets(pairs)
    longest = int(pairs[pairs * build.DENSE_SHARE <= n_kps].max(initial=0))
    bits = max(1, int(n_kps - 1).bit_length())
    passes = -(-bits // build.DIGIT_MAX)
    task_rows = split(pair_start, ENTRIES_PER_TASK)
    sort = build.RowSort(longest, -(-bits // passes), passes)
    entries = np.zeros(n_kps, np.int64)

    def make_rows(place: Int64, n_entries: int) -> build.Rows:
        rows = build.Rows(place, allocate(n_entries, np.int32), allocate(n_entries, np.int32), entries)
        run_tasks(build.row_tasks, task_rows.size - 1, task_rows, pair_start, mentions, sort, rows)
        return rows

    per_thread = 8 * longest + (4 * n_kps if (pairs * build.DENSE_SHARE > n_kps).any() else 0)
    taken = mentions.spans.nbytes + 5 * 8 * n_kps + per_thread * thread_count()
    n_pairs = int(pair_start[-1])
    if taken + 16 * n_pairs <= limit:
        rows = make_rows(pair_start, n_pairs)
        out_indptr = offsets(entries)
        out = allocate(int(out_indptr[-1]), np.int32), allocate(int(out_indptr[-1]), np.int32)
        run_tasks(build.compact_tasks, task_rows.size - 1, task_rows, rows, out_indptr, out)
        return out_indptr, *out
    make_rows(pair_start, 0)  # only the lengths
    out_indptr = offsets(entries)
    n_entries = int(out_indptr[-1])
    if taken + 8 * n_entries > limit:
        raise DataError(
            f"the co-occurrence graph of {n_entries:,} entries takes {(taken + 8 * n_entries) >> 20:,} MiB to build, "
            f"{limit >> 20:,} MiB are allowed; raise memory_limit, or set max_kps_per_seed"
        )
    rows = make_rows(out_indptr, n_entries)
    return out_indptr, rows.columns, rows.counts


def _mentions_of_kps(indptr: Int64, kp_indices: Int32, n_kps: int, *, after: bool) -> build.Mentions:
    """Mentions of each KP; with `after`, the seeds too, and spans of only the KPs after the mention."""
    n_seeds, n_mentions = indptr.size - 1, int(kp_indices.size)
    if n_seeds >= 2**31:
        raise DataError(f"{n_seeds:,} seeds; fewer than 2^31 are supported")
    # A task needs a counter per KP: never more counters than mentions.
    n_tasks = max(1, min(thread_count(), n_mentions // max(1, n_kps)))
    histogram = np.empty((n_tasks, n_kps), np.int64)
    lost = np.zeros(n_tasks, np.int64)
    run_tasks(build.mention_counts, n_tasks, indptr, kp_indices, histogram, lost)
    if lost.any():
        raise DataError(f"the KPs of {int(lost.sum()):,} seeds do not ascend without repeats within 0 .. {n_kps - 1}")
    starts = np.empty(n_kps + 1, np.int64)
    build.mention_offsets(histogram, starts)
    seeds = allocate(n_mentions if after else 0, np.int32)
    mentions = build.Mentions(starts, allocate(n_mentions, np.uint64), seeds, kp_indices)
    run_tasks(build.scatter_mentions, n_tasks, indptr, histogram, after, mentions)
    return mentions


def evidence(indptr: Int64, kp_indices: Int32, graph_indptr: Int64, graph_indices: Int32) -> tuple[Int64, Int32]:
    """Row by row, in all threads: first the number of seeds of each edge, then the seeds."""
    indptr, kp_indices = operand(indptr, np.int64), operand(kp_indices, np.int32)
    graph_indptr, graph_indices = operand(graph_indptr, np.int64), operand(graph_indices, np.int32)
    n_kps = graph_indptr.size - 1
    mentions = _mentions_of_kps(indptr, kp_indices, n_kps, after=True)
    edges = build.UpperEdges(graph_indptr, graph_indices, np.zeros(n_kps, np.int64), np.zeros(n_kps + 1, np.int64))
    build.upper_start(*edges)
    task_rows = split(mentions.indptr + graph_indptr, ENTRIES_PER_TASK)
    sizes = np.empty(int(edges.running[-1]), np.int64)
    run_tasks(build.edge_count_tasks, task_rows.size - 1, task_rows, edges, mentions, sizes)
    edge_start = offsets(sizes)
    edge_seeds = allocate(int(edge_start[-1]), np.int32)
    run_tasks(build.edge_fill_tasks, task_rows.size - 1, task_rows, edges, mentions, edge_start, edge_seeds)
    return edge_start, edge_seeds


def graph_arrays(
    indptr: Int64, kp_indices: Int32, n_kps: int, rule: EdgeRule, *, memory_limit: int | None = None
) -> GraphArrays:
    """By `cooccurrence` and `evidence` of this backend."""
    return host_graph(cooccurrence, evidence, components, indptr, kp_indices, n_kps, rule, memory_limit)


def components(indptr: Int64, indices: Int32) -> Int32:
    """Connected components by union and find, numbered by their first KP."""
    label = np.empty(indptr.size - 1, np.int32)
    build.component_labels(operand(indptr, np.int64), operand(indices, np.int32), label)
    return label
