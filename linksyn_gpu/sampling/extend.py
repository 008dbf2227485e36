"""Extending a path at one of its ends: more knowledge points and linked seeds, for a harder question.

Steps are drawn in proportion to the edge weight, p(u -> v) ~ w(u, v), over the neighbours that the path has not
visited. The value function balances the paths of a campaign; it plays no part in the extension of one path. The draw is
exact: integer weights, their running sum, and 64 bits of Philox for (walk id, step) under a key of (seed, attempt). The
same seed therefore gives the same extensions on every machine and in any order of work.
"""

from __future__ import annotations

import numpy as np

from linksyn_gpu.backend import rng
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.errors import DataError
from linksyn_gpu.tables import Int32, KPGraph


def extend_path(
    graph: KPGraph, nodes: Int32, walk_id: int, steps: int, *, seed: int, attempt: int = 0
) -> tuple[Int32, int]:
    """Extend a path from its last knowledge point, or from the first if the last has no unvisited neighbour.

    Parameters
    ----------
    graph : KPGraph
    nodes : int32 [n]
        KPs of the path, at least one.
    walk_id : int
    steps : int
        Largest number of steps: fewer if every neighbour of both ends was visited.
    seed : int
        Campaign seed.
    attempt : int
        Each attempt draws a different extension of the same path.

    Returns
    -------
    path : int32 [n .. n + steps]
        The path with what was added before and after it. No KP is added twice.
    before : int
        KPs added before the old first one.

    Raises
    ------
    DataError
        The graph is damaged, or the path has no KP, or one that the graph does not have.
    """
    key = derive_key(seed, Purpose.EXTENSION, attempt)
    ids = np.array([walk_id], np.uint64)
    graph, path, before = graph.checked, np.asarray(nodes, np.int32), 0
    if path.size == 0 or path.min() < 0 or path.max() >= graph.n_kps:
        raise DataError(f"the KPs of a path must lie in 0 .. {graph.n_kps - 1}: the path is not of this graph")
    for step in range(1, steps + 1):
        bits = int(rng.draw(key, ids, step, 0)[0][0])
        if (found := _step(graph, path, int(path[-1]), bits)) >= 0:
            path = np.append(path, np.int32(found))
        elif (found := _step(graph, path, int(path[0]), bits)) >= 0:  # most paths that end early end in a dead end
            path, before = np.insert(path, 0, np.int32(found)), before + 1
        else:
            break
    return path, before


def _step(graph: KPGraph, path: Int32, here: int, bits: int) -> int:
    """An unvisited neighbour of a KP, drawn by 64 random bits in proportion to the edge weight; -1 if there is none."""
    row = slice(*graph.indptr[here : here + 2].tolist())
    unvisited = ~np.isin(graph.indices[row], path)
    running = np.cumsum(graph.weight[row][unvisited], dtype=np.uint64)
    if running.size == 0:
        return -1
    target = np.uint64((bits * int(running[-1])) >> 64)
    return int(graph.indices[row][unvisited][np.searchsorted(running, target, side="right")])
