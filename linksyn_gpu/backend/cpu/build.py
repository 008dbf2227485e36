"""Construction on the CPU: the co-occurrence graph and its postings, in all threads and within a memory limit."""

from __future__ import annotations

import numpy as np

from linksyn_gpu.backend.cpu.kernels import build
from linksyn_gpu.backend.cpu.kernels.core import allocate, free_memory, operand, run_tasks, thread_count
from linksyn_gpu.backend.cpu.tasks import ENTRIES_PER_TASK, offsets, split
from linksyn_gpu.errors import DataError
from linksyn_gpu.tables import Int32, Int64, UInt64

FREE_SHARE = 0.8  # of the free memory, when no limit is given


def cooccurrence(
    indptr: Int64, kp_indices: Int32, n_kps: int, *, memory_limit: int | None = None
) -> tuple[Int64, Int32, Int32]:
    """C = A'A without its diagonal, as CSR with sorted columns.

    Parameters
    ----------
    indptr : int64 [n_seeds + 1]
    kp_indices : int32 [n_mentions]
        KPs of each seed, ascending and distinct within a seed.
    n_kps : int
    memory_limit : int, optional
        Bytes that the product may take, the result included; None: a share of what the machine has free. Rows are
        made once, with room for repeats, when that fits; else twice, first for their lengths.

    Returns
    -------
    indptr int64 [n_kps + 1], indices int32 [n_entries], count int32 [n_entries]

    Raises
    ------
    DataError
        The KPs of a seed do not ascend or lie outside 0 .. n_kps - 1, there are 2^31 seeds or more, or the
        product does not fit in memory.
    """
    indptr, kp_indices = operand(indptr, np.int64), operand(kp_indices, np.int32)
    limit = int(free_memory() * FREE_SHARE) if memory_limit is None else memory_limit
    pairs = np.zeros(n_kps, np.int64)
    post_indptr, spans, _ = _mentions_of_kps(indptr, kp_indices, n_kps, after=False)
    build.pair_counts(indptr, kp_indices, pairs)
    pair_start = offsets(pairs)
    longest = int(pairs[pairs * build.DENSE_SHARE <= n_kps].max(initial=0))
    bits = max(1, int(n_kps - 1).bit_length())
    passes = -(-bits // build.DIGIT_MAX)
    digit = -(-bits // passes)
    task_rows = split(pair_start, ENTRIES_PER_TASK)
    entries = np.zeros(n_kps, np.int64)
    nothing = np.zeros(0, np.int32)

    def make_rows(place: Int64, columns: Int32, counts: Int32) -> None:
        fixed = (task_rows, pair_start, post_indptr, spans, kp_indices, longest, digit, passes)
        run_tasks(build.row_tasks, task_rows.size - 1, *fixed, place, columns, counts, entries)

    per_thread = 8 * longest + (4 * n_kps if (pairs * build.DENSE_SHARE > n_kps).any() else 0)
    taken = spans.nbytes + 5 * 8 * n_kps + per_thread * thread_count()
    n_pairs = int(pair_start[-1])
    if taken + 16 * n_pairs <= limit:
        columns, counts = allocate(n_pairs, np.int32), allocate(n_pairs, np.int32)
        make_rows(pair_start, columns, counts)
        out_indptr = offsets(entries)
        out_columns, out_counts = (allocate(int(out_indptr[-1]), np.int32) for _ in range(2))
        moved = (task_rows, pair_start, columns, counts, out_indptr, out_columns, out_counts)
        run_tasks(build.compact_tasks, task_rows.size - 1, *moved)
        return out_indptr, out_columns, out_counts
    make_rows(pair_start, nothing, nothing)
    out_indptr = offsets(entries)
    n_entries = int(out_indptr[-1])
    if taken + 8 * n_entries > limit:
        raise DataError(
            f"the co-occurrence graph of {n_entries:,} entries takes {(taken + 8 * n_entries) >> 20:,} MiB to build, "
            f"{limit >> 20:,} MiB are allowed; raise memory_limit, or set max_kps_per_seed"
        )
    out_columns, out_counts = allocate(n_entries, np.int32), allocate(n_entries, np.int32)
    make_rows(out_indptr, out_columns, out_counts)
    return out_indptr, out_columns, out_counts


def _mentions_of_kps(indptr: Int64, kp_indices: Int32, n_kps: int, *, after: bool) -> tuple[Int64, UInt64, Int32]:
    """For each KP its mentions, in the order of seeds: see `build.postings_scatter`; seeds only with `after`."""
    n_seeds = indptr.size - 1
    if n_seeds >= 2**31:
        raise DataError(f"{n_seeds:,} seeds; fewer than 2^31 are supported")
    # A task needs a counter per KP: never more counters than mentions.
    n_tasks = max(1, min(thread_count(), int(kp_indices.size) // max(1, n_kps)))
    histogram = np.empty((n_tasks, n_kps), np.int64)
    lost = np.zeros(n_tasks, np.int64)
    run_tasks(build.postings_histogram, n_tasks, indptr, kp_indices, histogram, lost)
    if lost.any():
        raise DataError(f"the KPs of {int(lost.sum()):,} seeds do not ascend without repeats within 0 .. {n_kps - 1}")
    starts = np.empty(n_kps + 1, np.int64)
    build.postings_offsets(histogram, starts)
    spans = allocate(int(kp_indices.size), np.uint64)
    seeds = allocate(int(kp_indices.size) if after else 0, np.int32)
    run_tasks(build.postings_scatter, n_tasks, indptr, kp_indices, histogram, after, spans, seeds)
    return starts, spans, seeds


def evidence(indptr: Int64, kp_indices: Int32, graph_indptr: Int64, graph_indices: Int32) -> tuple[Int64, Int32]:
    """Postings: for each undirected edge (u < v, in row order), the seeds that hold both ends, ascending.

    Pairs whose edge is not in the graph (it was pruned) are left out.

    Returns
    -------
    evidence_indptr int64 [n_edges + 1], evidence int32
    """
    indptr, kp_indices = operand(indptr, np.int64), operand(kp_indices, np.int32)
    graph_indptr, graph_indices = operand(graph_indptr, np.int64), operand(graph_indices, np.int32)
    n_kps = graph_indptr.size - 1
    post_indptr, spans, post_seeds = _mentions_of_kps(indptr, kp_indices, n_kps, after=True)
    first, running = np.zeros(n_kps, np.int64), np.zeros(n_kps + 1, np.int64)
    build.upper_start(graph_indptr, graph_indices, first, running)
    task_rows = split(post_indptr + graph_indptr, ENTRIES_PER_TASK)
    fixed = (task_rows, graph_indptr, graph_indices, first, running, post_indptr, spans)
    sizes = np.empty(int(running[-1]), np.int64)
    run_tasks(build.edge_count_tasks, task_rows.size - 1, *fixed, kp_indices, sizes)
    edge_start = offsets(sizes)
    edge_seeds = allocate(int(edge_start[-1]), np.int32)
    run_tasks(build.edge_fill_tasks, task_rows.size - 1, *fixed, post_seeds, kp_indices, edge_start, edge_seeds)
    return edge_start, edge_seeds
