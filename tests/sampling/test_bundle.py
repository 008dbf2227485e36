"""Bundles: one seed per edge, none twice, the least used first, and counted drops."""

import itertools
from collections import Counter

import numpy as np
import pytest

from linksyn_gpu import WalkConfig, Walker, build_graph, link_seeds
from linksyn_gpu.backend.reference import operations as reference
from linksyn_gpu.errors import DataError
from linksyn_gpu.sampling.bundle import SeedLinker
from linksyn_gpu.tables import Cell, WalkBatch
from tests.graphs import edge_graph, make_seeds, random_graph

QUICK = WalkConfig(length=4, calibration_rounds=2, calibration_paths=100, rounds=3)
BACKENDS = ["reference", "cpu"]


def bank(n: int = 120, n_kps: int = 15) -> object:
    rng = np.random.default_rng(6)
    return make_seeds(
        [
            {
                "knowledge_points": [f"k{k}" for k in rng.choice(n_kps, rng.integers(1, 4), replace=False)],
                "difficulty": int(rng.integers(1, 6)) if i % 4 else None,
            }
            for i in range(n)
        ]
    )


def batch_of(paths: list[list[int]], rounds: list[int] | None = None) -> WalkBatch:
    nodes = np.array(paths, np.int32)
    n = len(paths)
    zeros = np.zeros(n, np.int32)
    return WalkBatch(
        nodes,
        reference.path_lengths(nodes),
        np.arange(n),
        np.zeros(n, np.uint8),
        zeros,
        np.array(rounds, np.int32) if rounds else zeros,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_seed_of_a_bundle_holds_both_ends_of_an_edge_of_the_path(backend):
    seeds = bank()
    graph = build_graph(seeds, backend=backend)
    batch = Walker(graph, QUICK, seed=4, backend=backend).sample(150)
    bundles = link_seeds(batch, graph, seeds, seed=4, backend=backend)
    assert bundles.seeds.shape == (150, 4)
    for path, length, row, size in zip(batch.nodes, batch.lengths, bundles.seeds, bundles.sizes, strict=True):
        chosen = row[:size].tolist()
        assert len(set(chosen)) == size
        assert (row[size:] == -1).all()
        edges = [{graph.names[u], graph.names[v]} for u, v in itertools.pairwise(path[:length])]
        at = 0
        for seed in chosen:  # in the order of the path's edges
            held = set(seeds[seed]["knowledge_points"])
            at = next(i for i in range(at, len(edges)) if edges[i] <= held) + 1


def test_backends_choose_the_same_seeds():
    seeds = bank()
    graph = build_graph(seeds, backend="reference")
    batch = Walker(graph, QUICK, seed=1, backend="reference").sample(200)
    a, b = (link_seeds(batch, graph, seeds, seed=1, cells=[Cell(None, 3, 1)], backend=name) for name in BACKENDS)
    assert np.array_equal(a.seeds, b.seeds)
    assert a.drops == b.drops


def test_the_least_used_seed_comes_first_then_the_nearest_level():
    seeds = make_seeds([{"knowledge_points": ["a", "b"], "difficulty": d} for d in (1, 4, None, 4)])
    graph = build_graph(seeds, backend="reference")
    linker = SeedLinker(graph, seeds, backend="reference")
    picks = []
    for number in range(5):
        chosen = int(linker.link_round(batch_of([[0, 1]], [number]), Cell(None, 5, 1)).seeds[0, 0])
        # A bundle of one seed is not kept and not counted as a use; count it here.
        linker._uses = linker._uses + np.bincount([chosen], minlength=4)
        picks.append(chosen)
    assert set(picks[:2]) == {1, 3}  # level 4 is one away from 5
    assert picks[2:4] == [2, 0]  # the unrated one at the mean distance 2, then level 1
    assert picks[4] in (1, 3)  # all used once: from the nearest again


def test_draws_spread_over_seeds_of_the_same_rank():
    seeds = make_seeds([{"knowledge_points": ["a", "b"]} for _ in range(8)])
    graph = build_graph(seeds, backend="reference")
    bundles = SeedLinker(graph, seeds, seed=3, backend="reference").link_round(batch_of([[0, 1]] * 4000))
    counts = np.bincount(bundles.seeds[:, 0], minlength=8)
    assert ((counts - 500) ** 2 / 500).sum() < 29.9  # the 1e-4 quantile, 7 degrees of freedom


def test_paths_with_fewer_than_two_seeds_are_dropped_and_counted():
    seeds = make_seeds([{"knowledge_points": ["a", "b", "c"]}, {"knowledge_points": ["c", "d"]}])
    graph = build_graph(seeds, backend="reference")
    bundles = link_seeds(batch_of([[0, 1, 2], [1, 2, 3], [0, 1, -1]]), graph, seeds, backend="reference")
    assert bundles.seeds.tolist() == [[0, -1], [0, 1], [0, -1]]
    assert bundles.kept.tolist() == [False, True, False]
    assert bundles.drops == Counter({"few_seeds": 2})


def test_paths_dropped_earlier_get_no_seeds_and_keep_their_reason():
    seeds = bank()
    graph = build_graph(seeds, backend="reference")
    batch = batch_of([[0, 1, 2]] * 3)
    batch.status[:] = [0, 1, 2]
    bundles = link_seeds(batch, graph, seeds, backend="reference")
    assert (bundles.seeds[1:] == -1).all()
    assert bundles.drops["too_short"] == bundles.drops["repeated"] == 1


def test_uses_count_kept_bundles_only():
    seeds = bank()
    graph = build_graph(seeds, backend="reference")
    walker = Walker(graph, QUICK, seed=2, backend="reference")
    linker = SeedLinker(graph, seeds, seed=2, backend="reference")
    total = 0
    for _ in range(3):
        bundles = linker.link_round(walker.sample_round(30))
        total += int(bundles.sizes[bundles.kept].sum())
    assert linker.uses.sum() == total


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_linker_that_forgets_its_uses_links_as_a_new_one(backend):
    seeds = bank()
    graph = build_graph(seeds, backend=backend)
    batch = Walker(graph, QUICK, seed=2, backend=backend).sample_round(30)
    linker = SeedLinker(graph, seeds, seed=2, backend=backend)
    first, second = linker.link_round(batch), linker.link_round(batch)
    assert not np.array_equal(first.seeds, second.seeds)
    linker.forget_uses()
    assert np.array_equal(linker.link_round(batch).seeds, first.seeds)


def test_a_graph_without_evidence_cannot_link():
    seeds = make_seeds([{}])
    with pytest.raises(DataError, match="no evidence"):
        SeedLinker(edge_graph(2, {(0, 1): 1}), seeds, backend="reference")


def test_an_empty_batch_gives_empty_bundles():
    graph, seeds = random_graph(n_seeds=60), make_seeds([{}] * 60)
    batch = Walker(graph, QUICK, backend="reference").sample(0)
    assert len(link_seeds(batch, graph, seeds, cells=[Cell(None, 2, 1)], backend="reference")) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_batches_never_change_a_bundle(backend):
    seeds = bank()
    graph = build_graph(seeds, backend=backend)
    linked = []
    for batch_size in (None, 1, 9):
        walker = Walker(graph, QUICK, seed=4, backend=backend, batch_size=batch_size or 1000)
        linker = SeedLinker(graph, seeds, seed=4, backend=backend, batch_size=batch_size)
        rounds = [walker.sample_round(40) for _ in range(3)]
        linked.append([linker.link_round(r) for r in rounds])
    for other in linked[1:]:
        for a, b in zip(linked[0], other, strict=True):
            assert np.array_equal(a.seeds, b.seeds)
            assert a.drops == b.drops


def test_seeds_that_the_graph_was_not_built_from_are_refused():
    graph = build_graph(bank(), backend="reference")
    with pytest.raises(DataError, match="built from 120 seeds, not from these 2"):
        SeedLinker(graph, make_seeds([{}, {}]), backend="reference")
