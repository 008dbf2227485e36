"""The walker: rounds, redraws, ids and visits; the same seed gives the same paths."""

import itertools

import numpy as np
import pytest

from linksyn_gpu import WalkConfig, Walker
from linksyn_gpu.backend import resolve
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.sampling.value import divergence, gini, target_shares
from tests.graphs import edge_graph, random_graph

QUICK = {"calibration_rounds": 2, "calibration_paths": 200, "rounds": 4}
BACKENDS = ["reference", "cpu"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_paths_are_edges_padded_with_minus_one(backend):
    graph = random_graph(seed=2)
    batch = Walker(graph, WalkConfig(length=5, **QUICK), seed=1, backend=backend).sample(200)
    assert batch.nodes.shape == (200, 6)
    assert batch.nodes.dtype == batch.lengths.dtype == np.int32
    for path, length in zip(batch.nodes, batch.lengths, strict=True):
        assert (path[:length] >= 0).all()
        assert (path[length:] == -1).all()
        assert len(set(path[:length].tolist())) == length
        for u, v in itertools.pairwise(path[:length]):
            assert v in graph.indices[graph.indptr[u] : graph.indptr[u + 1]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_seed_gives_the_same_paths_and_another_does_not(backend):
    graph, config = random_graph(), WalkConfig(**QUICK)
    first, again, other = (Walker(graph, config, seed, backend).sample(100).nodes for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_backends_agree_to_the_bit_over_a_campaign():
    graph = random_graph(n_seeds=200, n_kps=40)
    for settings in ({"beta": 2.0, "tau": 0.0}, {"p": 0.5, "q": 3.0}, {"distinct": True, "beta": 0.5}):
        a, b = (Walker(graph, WalkConfig(**QUICK, **settings), 3, name).sample(400) for name in BACKENDS)
        assert np.array_equal(a.nodes, b.nodes)
        assert np.array_equal(a.status, b.status)
        assert a.redraws == b.redraws


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_round_builds_its_table_once_and_announces_its_steps(backend, monkeypatch):
    """Batches and redraws draw from the same table."""
    ops = resolve(backend).ops
    build, sample, steps, batches = ops.transition_table, ops.sample_walks, [], []
    monkeypatch.setattr(ops, "transition_table", lambda *a, **k: steps.append(k["steps"]) or build(*a, **k))
    monkeypatch.setattr(ops, "sample_walks", lambda *a, **k: batches.append(1) or sample(*a, **k))
    config = WalkConfig(length=3, distinct=True, **QUICK)
    walker = Walker(random_graph(), config, seed=4, backend=backend, batch_size=60)
    batch = walker.sample_round(150)
    assert batch.redraws > 0
    assert len(batches) > 2 * 4 + 3  # 200 paths in 60s, twice; 150 in 60s; and redraws
    assert steps == [200 * 3, 200 * 3, 150 * 3]


def test_visits_count_all_walks_and_continue_from_call_to_call():
    walker = Walker(random_graph(), WalkConfig(**QUICK), seed=5)
    first, second = walker.sample(50), walker.sample(70)
    assert np.array_equal(np.concatenate([first.ids, second.ids]), np.arange(120))
    visited = np.concatenate([first.nodes.ravel(), second.nodes.ravel()])
    assert np.array_equal(walker.visits, np.bincount(visited[visited >= 0], minlength=20))


def test_distinct_paths_share_no_kp_set_and_the_others_are_marked():
    graph = edge_graph(3, {(0, 1): 1, (1, 2): 1})  # sets: {0, 1}, {1, 2}; of length 1
    config = WalkConfig(length=1, distinct=True, max_redraws=30, **QUICK)
    batch = Walker(graph, config, seed=1).sample(6)
    kept = batch.nodes[batch.status == 0]
    assert {frozenset(path) for path in kept.tolist()} == {frozenset({0, 1}), frozenset({1, 2})}
    assert len(kept) == 2
    assert (batch.status[batch.status != 0] == 2).all()
    assert batch.redraws >= 4 * 30


def test_paths_below_min_length_are_redrawn_or_marked():
    graph = edge_graph(5, {(0, 1): 1, (2, 3): 1, (3, 4): 1})
    one_round = {**QUICK, "rounds": 1}
    batch = Walker(graph, WalkConfig(length=2, min_length=3, max_redraws=0, **one_round), seed=1).sample(40)
    assert set(batch.status.tolist()) == {0, 1}
    assert ((batch.lengths < 3) == (batch.status == 1)).all()
    redrawn = Walker(graph, WalkConfig(length=2, min_length=3, max_redraws=60, **one_round), seed=1).sample(40)
    assert (redrawn.lengths == 3).all()
    untouched = batch.status == 0
    assert np.array_equal(batch.nodes[untouched], redrawn.nodes[untouched])


def test_rounds_sum_to_n_even_with_more_rounds_than_paths():
    walker = Walker(random_graph(), WalkConfig(rounds=20, calibration_rounds=0), seed=0)
    sizes = []
    assert len(walker.sample(7, sizes.append)) == sum(sizes) == 7
    assert len(walker.sample(0)) == 0


def test_feedback_and_calibration_bring_visits_to_the_target():
    graph = random_graph(n_seeds=400, n_kps=40, seed=4)
    live = graph.degree > 0
    spread = {}
    for name, settings in {
        "plain": {"beta": 0.0, "calibration_rounds": 0},
        "both": {"beta": 1.0, "calibration_rounds": 20},
    }.items():
        walker = Walker(graph, WalkConfig(length=4, tau=0.0, **settings), seed=2)
        walker.sample(4000)
        target = target_shares(graph.seed_count, 0.0)
        spread[name] = divergence(walker.visits, target, live), gini(walker.visits[live])
    assert spread["both"][0] < 0.2 * spread["plain"][0]
    assert spread["both"][1] < spread["plain"][1]


def test_without_feedback_and_calibration_the_start_is_the_target_itself():
    """beta = 0, no calibration: V = 1 and starts are proportional to T."""
    graph = edge_graph(4, {(0, 1): 6, (1, 2): 3, (2, 3): 1})
    walker = Walker(graph, WalkConfig(length=1, tau=1.0, beta=0.0, calibration_rounds=0), seed=9)
    starts = np.bincount(walker.sample(50_000).nodes[:, 0], minlength=4)
    target = target_shares(graph.seed_count, 1.0)
    assert ((starts - 50_000 * target) ** 2 / (50_000 * target)).sum() < 21.1  # 1e-4, 3 degrees of freedom


@pytest.mark.parametrize(
    "settings", [{"beta": 3.0}, {"length": 0}, {"tau": -1.0}, {"p": 0.0}, {"min_length": 9}, {"rounds": 0}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError):
        WalkConfig(**settings)


def test_unknown_backends_and_seeds_are_refused():
    with pytest.raises(ConfigError):
        resolve("tpu")
    with pytest.raises(ConfigError):
        Walker(random_graph(), seed=2**64)


def test_kps_without_new_paths_do_not_starve_the_others():
    """Two KPs with a single path between them are exhausted at once; feedback must not send all later walks there."""
    edges = {(u, v): 1 for u in range(2, 40) for v in range(u + 1, 40)}
    graph = edge_graph(40, {(0, 1): 1, **edges})
    batch = Walker(graph, WalkConfig(length=3, tau=0.0, distinct=True, calibration_rounds=5), seed=1).sample(2000)
    assert (batch.status == 0).mean() > 0.97


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("settings", [{}, {"distinct": True, "length": 2}, {"min_length": 4, "length": 4}])
def test_batches_never_change_a_path(backend, settings):
    graph = random_graph(n_seeds=40, n_kps=12, seed=3)
    config = WalkConfig(**QUICK, **settings)
    whole = Walker(graph, config, seed=1, backend=backend)
    expected = whole.sample(150)
    for batch_size in (1, 7, 64):
        walker = Walker(graph, config, seed=1, backend=backend, batch_size=batch_size)
        batch = walker.sample(150)
        assert np.array_equal(batch.nodes, expected.nodes)
        assert np.array_equal(batch.status, expected.status)
        assert np.array_equal(batch.lengths, expected.lengths)
        assert np.array_equal(walker.visits, whole.visits)
        assert batch.redraws == expected.redraws
