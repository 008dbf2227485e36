"""Extending a path: new KPs over edges, in proportion to their weight, the same for the same seed."""

import numpy as np
import pytest

from linksyn_gpu.sampling.extend import extend_path
from linksyn_gpu.tables import KPGraph

# 0 - 1 - 2 - 3, and 3 - 4 (weight 1), 3 - 5 (weight 3)
EDGES = {(0, 1): 1, (1, 2): 1, (2, 3): 1, (3, 4): 1, (3, 5): 3}


@pytest.fixture
def graph():
    pairs = sorted([(u, v, w) for (u, v), w in EDGES.items()] + [(v, u, w) for (u, v), w in EDGES.items()])
    indptr = np.searchsorted([u for u, _, _ in pairs], np.arange(7))
    return KPGraph.from_csr(indptr, [v for _, v, _ in pairs], [w for _, _, w in pairs])


def extended(graph, nodes, walk_id=0, steps=1, **key):
    path, before = extend_path(graph, np.array(nodes), walk_id, steps, **{"seed": 1, **key})
    assert path[before : before + len(nodes)].tolist() == nodes
    return path.tolist()


def test_a_path_is_extended_along_edges_to_unvisited_kps(graph):
    path = extended(graph, [0, 1], 5, 3)
    assert path[:4] == [0, 1, 2, 3]
    assert path[4] in (4, 5)


def test_a_path_with_a_dead_end_is_extended_at_its_beginning(graph):
    assert extended(graph, [2, 3, 4], 0, 2) == [0, 1, 2, 3, 4]
    assert extended(graph, [1, 2, 3, 4], 0, 5) == [0, 1, 2, 3, 4], "and no further than there are KPs"


def test_steps_are_proportional_to_the_weight(graph):
    ends = [extended(graph, [2, 3], i, seed=3)[-1] for i in range(2000)]
    counts = np.bincount(ends, minlength=6)
    assert counts[[0, 1, 2, 3]].sum() == 0
    expected = np.array([500.0, 1500.0])
    assert ((counts[[4, 5]] - expected) ** 2 / expected).sum() < 10.83  # chi-square of 1 degree, p = 0.001


def test_only_seed_walk_and_attempt_determine_the_extension(graph):
    def ends(**key):
        return [extended(graph, [2, 3], i, **key)[-1] for i in range(64)]

    assert ends(seed=3, attempt=1) == ends(seed=3, attempt=1)
    assert ends(seed=3, attempt=1) != ends(seed=3, attempt=2)
    assert ends(seed=3, attempt=1) != ends(seed=4, attempt=1)
    assert len(set(ends(seed=3, attempt=1))) == 2, "walks of one campaign differ"
