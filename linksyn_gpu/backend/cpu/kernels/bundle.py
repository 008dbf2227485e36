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
INSERTION_MAX = 32

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


@jit
def order_tasks(counter, n_tasks, indptr, seeds, rank, out_seeds, ties):
    """Each edge's seeds by (rank, seed), and how many have the best rank. The seeds of an edge are given ascending."""
    n_edges = indptr.size - 1
    for task in tasks_of(counter, n_tasks):
        # Tasks of about equal numbers of seeds; an edge belongs to the task in which its seeds begin.
        begin = np.searchsorted(indptr, indptr[n_edges] * task // n_tasks)
        end = n_edges
        if task < n_tasks - 1:
            end = np.searchsorted(indptr, indptr[n_edges] * (task + 1) // n_tasks)
        for edge in range(begin, end):
            low, high = indptr[edge], indptr[edge + 1]
            size = high - low
            if size <= INSERTION_MAX:
                for i in range(low, high):
                    x = seeds[i]
                    k = i
                    while k > low and rank[out_seeds[k - 1]] > rank[x]:
                        out_seeds[k] = out_seeds[k - 1]
                        k -= 1
                    out_seeds[k] = x
            else:
                ranks = np.empty(size, np.int64)
                for i in range(size):
                    ranks[i] = rank[seeds[low + i]]
                order = np.argsort(ranks, kind="mergesort")  # stable: seeds of one rank stay ascending
                for i in range(size):
                    out_seeds[low + i] = seeds[low + order[i]]
            best = 0
            while low + best < high and rank[out_seeds[low + best]] == rank[out_seeds[low]]:
                best += 1
            ties[edge] = best


class Ordered(NamedTuple):
    """Evidence in a round's order of preference."""

    indptr: Int64
    """[n_edges + 1]"""
    seeds: Int32
    """Seeds of each edge, best first."""
    ties: Int32
    """[n_edges] seeds of the best rank."""


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
def link_tasks(counter, n_tasks, edges, ordered, nodes, ids, keep, key, out):
    """A seed for each edge of each kept path, as in the reference; `edges` is a `build.UpperEdges`."""
    indptr, seeds, ties = ordered
    n, length = out.shape
    for task in tasks_of(counter, n_tasks):
        for i in range(n * task // n_tasks, n * (task + 1) // n_tasks):
            for k in range(length):
                out[i, k] = -1
            if not keep[i]:
                continue
            size = 0
            for step in range(1, length + 1):
                if nodes[i, step] < 0:
                    break
                edge = _edge_number(edges, int64(nodes[i, step - 1]), int64(nodes[i, step]))
                if edge < 0:
                    out[i, 0] = NOT_A_PATH
                    break
                begin, total, best = indptr[edge], indptr[edge + 1] - indptr[edge], int64(ties[edge])
                bits, _ = draw(key[0], key[1], ids[i], step, 0)
                offset = int64(mulhi(bits, uint64(best)))
                for k in range(total):
                    at = k
                    if k < best:
                        at = offset + k if offset + k < best else offset + k - best
                    seed = seeds[begin + at]
                    used = False
                    for before in range(size):
                        used |= out[i, before] == seed
                    if not used:
                        out[i, size] = seed
                        size += 1
                        break
