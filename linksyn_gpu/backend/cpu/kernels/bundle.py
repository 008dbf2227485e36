"""Kernels after the walk: keys of KP sets and their hash table, and the linking of seeds along paths."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int64, uint64

from linksyn_gpu.backend.cpu.kernels.core import jit, mulhi, prefetch, tasks_of
from linksyn_gpu.backend.cpu.kernels.philox import draw, splitmix
from linksyn_gpu.backend.protocol import NOT_A_PATH
from linksyn_gpu.tables import Int32, Int64

AHEAD = 16  # keys whose slot is prefetched
NO_STEP = -1

# ---------------------------------------------------------------------- KP sets seen before


@jit
def path_key_tasks(counter, n_tasks, nodes, out):
    """Keys of the KP sets of paths, as in the reference."""
    n = nodes.shape[0]
    for task in tasks_of(counter, n_tasks):
        for i in range(n * task // n_tasks, n * (task + 1) // n_tasks):
            key = uint64(0)
            for k in range(nodes.shape[1]):
                v = nodes[i, k]
                if v < 0:
                    continue
                seen = False
                for before in range(k):
                    seen |= nodes[i, before] == v
                if not seen:
                    key += splitmix(uint64(int64(v) + 1))
            out[i] = key


@jit
def screen_rows(keys, slots, shift, holds_zero, status):
    """Look up and add the keys of rows with status 0, in row order; a key that is present sets status 2.

    `slots` is an open-addressing table of 2^(64 - shift) keys, 0 where empty, with space for all of `keys`; key 0 is
    stored separately. Returns (keys added to `slots`, whether key 0 is present).
    """
    added = 0
    mask = slots.size - 1
    for i in range(keys.size):
        if i + AHEAD < keys.size:
            prefetch(slots, int64(keys[i + AHEAD] >> shift))
        if status[i] != 0:
            continue
        key = keys[i]
        if key == uint64(0):
            if holds_zero:
                status[i] = 2
            holds_zero = True
            continue
        k = int64(key >> shift)
        while slots[k] != uint64(0) and slots[k] != key:
            k = (k + 1) & mask
        if slots[k] == key:
            status[i] = 2
        else:
            slots[k] = key
            added += 1
    return added, holds_zero


@jit
def rehash(old, new, shift):
    """Move all keys to a larger, empty table."""
    mask = new.size - 1
    for i in range(old.size):
        key = old[i]
        if key != uint64(0):
            k = int64(key >> shift)
            while new[k] != uint64(0):
                k = (k + 1) & mask
            new[k] = key


# ---------------------------------------------------------------------- bundles of seeds


class Listed(NamedTuple):
    """The best seeds of long edges in a round: those of the best rank, and at least as many as a path has steps."""

    above: int
    """An edge with more seeds is long."""
    edges: Int64
    """[n_long] long edges, ascending."""
    start: Int64
    """[n_long + 1] where the list of each begins."""
    seeds: Int32
    """Seeds in the order of (rank, seed)."""
    size: Int32
    """[n_long] seeds that are listed; 0: none yet."""
    ties: Int32
    """[n_long] seeds of the best rank."""
    last: Int64
    """[n_long] rank of the last seed that is listed."""


@jit
def _edge_number(edges, u, v):
    """Number of the undirected edge (u, v) in the order of (smaller end, larger end); -1 if there is none."""
    graph_indptr, graph_indices, first, running = edges
    low, high = min(u, v), max(u, v)
    begin, end = first[low], graph_indptr[low + 1]
    while begin < end:
        middle = (begin + end) >> 1
        if graph_indices[middle] < high:
            begin = middle + 1
        else:
            end = middle
    if begin == graph_indptr[low + 1] or graph_indices[begin] != high:
        return int64(-1)
    return running[low] + begin - first[low]


@jit
def edge_tasks(counter, n_tasks, edges, indptr, best, nodes, keep, edge_of, wanted):
    """edge_of[path, step]: edge of each step, NO_STEP behind the end of a path, NOT_A_PATH where the graph has none.

    Marks the long edges among them. `edges` is a `build.UpperEdges`.
    """
    n, length = edge_of.shape
    for task in tasks_of(counter, n_tasks):
        for i in range(n * task // n_tasks, n * (task + 1) // n_tasks):
            for k in range(length):
                edge_of[i, k] = NO_STEP
            if not keep[i]:
                continue
            for k in range(length):
                if nodes[i, k + 1] < 0:
                    break
                edge = _edge_number(edges, int64(nodes[i, k]), int64(nodes[i, k + 1]))
                edge_of[i, k] = edge if edge >= 0 else int64(NOT_A_PATH)
                if edge < 0:
                    break
                if indptr[edge + 1] - indptr[edge] > best.above:
                    wanted[np.searchsorted(best.edges, edge)] = True


@jit
def list_tasks(counter, n_tasks, todo, indptr, seeds, rank, length, best):
    """List the best seeds of long edges: rank by rank, all seeds of a rank, until there is one for every step."""
    for task in tasks_of(counter, n_tasks):
        number = todo[task]
        low, high = indptr[best.edges[number]], indptr[best.edges[number] + 1]
        place, size = best.start[number], int64(best.size[number])
        while size < min(int64(length), high - low):
            found, least = int64(0), int64(0)
            for i in range(low, high):
                r = rank[seeds[i]]
                if (size == 0 or r > best.last[number]) and (found == 0 or r <= least):
                    if found == 0 or r < least:
                        found, least = int64(0), r
                    best.seeds[place + size + found] = seeds[i]
                    found += 1
            if size == 0:
                best.ties[number] = found
            best.last[number] = least
            size += found
        best.size[number] = size


@jit
def _in_bundle(bundle, size, seed):
    held = False
    for i in range(size):
        held |= bundle[i] == seed
    return held


@jit
def _choose_listed(best, number, bits, bundle, size):
    """The seed for a long edge: those of the best rank from a drawn place on, wrapping around, then the others."""
    begin, ties = best.start[number], int64(best.ties[number])
    offset = int64(mulhi(bits, uint64(ties)))
    for i in range(best.size[number]):
        at = i
        if i < ties:
            at = i + offset if i + offset < ties else i + offset - ties
        seed = best.seeds[begin + at]
        if not _in_bundle(bundle, size, seed):
            return seed
    return np.int32(-1)


@jit
def _choose(seeds, rank, low, high, bits, bundle, size):
    """The same for a short edge, in two passes over its seeds: the best rank, then the seed."""
    best, ties = rank[seeds[low]], int64(0)
    for i in range(low, high):
        r = rank[seeds[i]]
        if r < best:
            best, ties = r, int64(0)
        ties += r == best
    offset = int64(mulhi(bits, uint64(ties)))
    tie, wrapped, other, other_rank = int64(0), np.int32(-1), np.int32(-1), int64(0)
    for i in range(low, high):
        seed, r = seeds[i], rank[seeds[i]]
        tie += r == best
        if _in_bundle(bundle, size, seed):
            continue
        if r == best:
            if tie > offset:
                return seed
            if wrapped < 0:
                wrapped = seed
        elif other < 0 or r < other_rank:
            other, other_rank = seed, r
    return wrapped if wrapped >= 0 else other


@jit
def link_tasks(counter, n_tasks, indptr, seeds, rank, best, edge_of, ids, key, out):
    """A seed for each edge of each path, as in the reference."""
    n, length = out.shape
    for task in tasks_of(counter, n_tasks):
        for i in range(n * task // n_tasks, n * (task + 1) // n_tasks):
            for k in range(length):
                out[i, k] = -1
            size = 0
            for k in range(length):
                edge = edge_of[i, k]
                if edge < 0:
                    if edge == NOT_A_PATH:
                        out[i, 0] = NOT_A_PATH
                    break
                bits, _ = draw(key[0], key[1], ids[i], k + 1, 0)
                low, high = indptr[edge], indptr[edge + 1]
                if high - low > best.above:
                    seed = _choose_listed(best, np.searchsorted(best.edges, edge), bits, out[i], size)
                else:
                    seed = _choose(seeds, rank, low, high, bits, out[i], size)
                if seed >= 0:
                    out[i, size] = seed
                    size += 1
