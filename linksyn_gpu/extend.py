"""Walking on from the end of a path: more knowledge points, and so more linked seeds, for a harder question.

Steps are drawn in proportion to the edge weight alone, p(u -> v) ~ w(u, v), over the neighbours that the path has
not visited: the value function steers where a campaign's paths go, not how one path is made longer. The draw is
exact: integer weights, their running sum, and 64 bits of Philox for (walk id, step) under a key of (seed, attempt).
The same seed so gives the same extensions everywhere, whatever else is in work.
"""

from __future__ import annotations

import numpy as np

from linksyn_gpu.backend import rng
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.tables import Int32, KPGraph


def extend_path(graph: KPGraph, nodes: Int32, walk_id: int, steps: int, *, seed: int, attempt: int = 0) -> Int32:
    """Walk on from the last knowledge point of a path.

    Parameters
    ----------
    graph : KPGraph
    nodes : int32 [n]
        KPs of the path, at least one.
    walk_id : int
    steps : int
        Steps to take, at most: the walk ends early where every neighbour was visited.
    seed : int
        Campaign seed.
    attempt : int
        Each attempt draws another extension of the same path.

    Returns
    -------
    int32 [n .. n + steps]
        The path with what was added. No KP is added that is there already.
    """
    key = derive_key(seed, Purpose.EXTENSION, attempt)
    ids = np.array([walk_id], np.uint64)
    path = np.asarray(nodes, np.int32)
    for step in range(1, steps + 1):
        row = slice(*graph.indptr[path[-1] : path[-1] + 2].tolist())
        open_ones = ~np.isin(graph.indices[row], path)
        neighbours = graph.indices[row][open_ones]
        running = np.cumsum(graph.weight[row][open_ones], dtype=np.uint64)
        if running.size == 0:
            break
        bits, _ = rng.draw(key, ids, step, 0)
        target = (int(bits[0]) * int(running[-1])) >> 64
        path = np.append(path, neighbours[np.searchsorted(running, np.uint64(target), side="right")])
    return path
