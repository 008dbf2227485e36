"""The reference backend against exact probabilities, and against the plain co-occurrence walk."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from linksyn_gpu.backend.reference import operations as ref
from linksyn_gpu.backend.reference import walk as reference_walk
from linksyn_gpu.backend.rng import Purpose, derive_key
from tests.graphs import edge_graph, random_graph

KEY = derive_key(42, Purpose.WALK)
P_VALUE = 1e-4  # of a fixed seed: a failure is a bug, not bad luck


def prepared(graph, value=None, target=None, second_order=False):
    value = np.ones(graph.n_kps) if value is None else value
    target = np.full(graph.n_kps, 1.0 / max(graph.n_kps, 1)) if target is None else target
    walk_graph = ref.load_graph(graph, second_order=second_order)
    table = ref.transition_table(walk_graph, value)
    return walk_graph, table, ref.start_table(table, target, value)


def sample(graph, n, length, rule, **tables):
    parts = prepared(graph, second_order=rule.second_order, **tables)
    return ref.sample_walks(*parts, ref.walk_ids(0, n), length=length, rule=rule, key=KEY)


def assert_distributed(observed: Counter, expected: dict) -> None:
    """Chi-square of counts against exact probabilities; nothing outside them may occur."""
    assert set(observed) <= set(expected), f"impossible outcomes {set(observed) - set(expected)}"
    if len(expected) == 1:
        return  # the one possible outcome is what occurred
    n = sum(observed.values())
    counts = [observed[k] for k in expected]
    total = sum(expected.values())
    assert stats.chisquare(counts, [float(n * p / total) for p in expected.values()]).pvalue > P_VALUE


def weight(graph, u, v):
    row = graph.indices[graph.indptr[u] : graph.indptr[u + 1]]
    return int(graph.weight[graph.indptr[u] + list(row).index(v)])


PLAIN = ref.StepRule(no_revisit=False, p=1.0, q=1.0)


def test_without_value_steps_are_the_plain_co_occurrence_walk():
    """p(u -> v) = c(u, v) / sum c(u, .): MathScale's walk, the case beta = 0 without calibration."""
    graph = random_graph(seed=1)
    value = ref.node_value(np.full(20, 0.05), np.ones(20), np.arange(20), beta=0.0)
    assert (value == 1.0).all()
    nodes = sample(graph, 20_000, 3, PLAIN, value=value)
    for u in range(20):
        steps = Counter(nodes[:, 1:][nodes[:, :-1] == u].tolist())
        row = graph.indices[graph.indptr[u] : graph.indptr[u + 1]]
        if row.size:
            assert_distributed(steps, {int(v): weight(graph, u, v) for v in row})


def test_steps_are_proportional_to_weight_times_value():
    graph = edge_graph(4, {(0, 1): 5, (0, 2): 1, (0, 3): 2})
    value = np.array([1.0, 0.25, 8.0, 0.0])
    start = np.array([1.0, 0.0, 0.0, 0.0])
    nodes = sample(graph, 50_000, 1, PLAIN, value=value, target=start)
    assert_distributed(Counter(nodes[:, 1].tolist()), {1: Fraction(5, 4), 2: Fraction(8)})


def test_starts_are_proportional_to_target_times_value_over_kps_with_neighbours():
    graph = edge_graph(4, {(0, 1): 1, (1, 2): 1})
    target, value = np.array([0.2, 0.3, 0.1, 0.4]), np.array([1.0, 2.0, 4.0, 1.0])
    nodes = sample(graph, 50_000, 1, PLAIN, value=value, target=target)
    assert_distributed(Counter(nodes[:, 0].tolist()), {0: Fraction(2), 1: Fraction(6), 2: Fraction(4)})


def test_a_leaf_with_half_the_weight_of_a_star_is_drawn_half_the_time():
    leaves = 1000
    graph = edge_graph(leaves + 1, {(0, v): (leaves - 1 if v == 1 else 1) for v in range(1, leaves + 1)})
    start = np.zeros(leaves + 1)
    start[0] = 1.0
    nodes = sample(graph, 40_000, 1, PLAIN, target=start)
    hits = int((nodes[:, 1] == 1).sum())
    assert stats.binomtest(hits, 40_000, 0.5).pvalue > P_VALUE


def test_no_revisit_draws_only_unvisited_kps():
    graph = edge_graph(4, {(0, 1): 8, (1, 2): 1, (1, 3): 3})
    start = np.array([1.0, 0, 0, 0])
    nodes = sample(graph, 40_000, 2, ref.StepRule(True, 1.0, 1.0), target=start)
    assert (nodes[:, 1] == 1).all()
    assert_distributed(Counter(nodes[:, 2].tolist()), {2: 1, 3: 3})


def test_the_exact_scan_decides_in_a_row_dominated_by_a_visited_kp():
    """1 - 1e-6 of row 1 leads back to KP 0: 32 proposals almost surely fail, the scan must decide 1 to 3."""
    graph = edge_graph(4, {(0, 1): 4_000_000, (1, 2): 1, (1, 3): 3})
    start = np.array([1.0, 0, 0, 0])
    nodes = sample(graph, 8_000, 2, ref.StepRule(True, 1.0, 1.0), target=start)
    assert_distributed(Counter(nodes[:, 2].tolist()), {2: 1, 3: 3})


@pytest.mark.parametrize(("p", "q"), [(0.25, 4.0), (4.0, 0.5), (1.0, 3.0), (1000.0, 1.0)])
def test_second_steps_follow_node2vec(p, q):
    # From 0 through 1: back to 0 weighs 1/p, to 2 (a neighbour of 0) weighs 1, to 3 weighs 1/q.
    graph = edge_graph(4, {(0, 1): 2, (0, 2): 1, (1, 2): 3, (1, 3): 2})
    start = np.array([1.0, 0, 0, 0])
    nodes = sample(graph, 20_000, 2, ref.StepRule(False, p, q), target=start)
    seconds = Counter(nodes[nodes[:, 1] == 1, 2].tolist())
    assert_distributed(seconds, {0: 2 / p, 2: 3.0, 3: 2 / q})


def test_the_scan_applies_p_and_q_if_every_proposal_fails():
    # q = 2^16 and p = 2^-16: proposals away from 0 pass with probability 2^-32, and 0 itself is visited.
    graph = edge_graph(4, {(0, 1): 1, (1, 2): 2, (1, 3): 6})
    start = np.array([1.0, 0, 0, 0])
    nodes = sample(graph, 6_000, 2, ref.StepRule(True, 2.0**-16, 2.0**16), target=start)
    assert_distributed(Counter(nodes[:, 2].tolist()), {2: 1, 3: 3})


def test_a_walk_ends_early_if_no_neighbour_is_left():
    graph = edge_graph(3, {(0, 1): 1, (1, 2): 1})
    nodes = sample(graph, 300, 5, ref.StepRule(True, 1.0, 1.0))
    assert sorted({tuple(row) for row in nodes.tolist()}) == [
        (0, 1, 2, -1, -1, -1),
        (1, 0, -1, -1, -1, -1),
        (1, 2, -1, -1, -1, -1),
        (2, 1, 0, -1, -1, -1),
    ]


def test_masked_kps_are_never_drawn():
    graph = random_graph(seed=3)
    value = np.where(np.arange(20) % 3 == 0, 0.0, 1.0)
    nodes = sample(graph, 5_000, 4, PLAIN, value=value)
    assert not np.isin(nodes, np.arange(0, 20, 3)).any()


@pytest.mark.parametrize("n_kps", [0, 1, 5])
def test_a_graph_without_edges_gives_empty_paths(n_kps):
    nodes = sample(edge_graph(n_kps, {}), 7, 3, PLAIN)
    assert nodes.shape == (7, 4)
    assert (nodes == -1).all()


def test_masses_lie_in_1_to_2_40_and_rows_fit_in_32_bits_exactly():
    graph = edge_graph(3, {(0, 1): 2**30, (0, 2): 1})
    walk_graph, table, _ = prepared(graph, value=np.array([1.0, 1.0, 2.0**-20]))
    # max x = 2^30 = 0.5 * 2^31, so E = 31: mass of (0, 1) = 2^39, of (0, 2) = floor(2^-20 * 2^9) -> 1
    masses = reference_walk._quantise(walk_graph.weight * np.array([1.0, 1.0, 2.0**-20])[walk_graph.indices])
    assert masses.tolist() == [2**39, 1, 2**39, 2**9]
    total = 2**39 + 1
    assert table.total[0] == total >> (total.bit_length() - 32)
    assert table.prefix[:2].tolist() == [2**39 >> 8, total >> 8]


def test_batches_of_ids_give_the_same_walks_as_one():
    graph = random_graph(seed=5)
    parts = prepared(graph)
    rule = ref.StepRule(True, 0.5, 2.0)
    ids = np.array([0, 7, 2**32 - 1, 2**32, 2**40 + 3], np.int64)
    whole = ref.sample_walks(*parts, ids, length=5, rule=rule, key=KEY)
    alone = [ref.sample_walks(*parts, ids[i : i + 1], length=5, rule=rule, key=KEY) for i in range(5)]
    assert np.array_equal(whole, np.concatenate(alone))


def test_visits_agree_with_the_stationary_power_iteration():
    graph = random_graph(n_seeds=80, n_kps=12, seed=8)
    target = graph.seed_count / graph.seed_count.sum()
    nodes = sample(graph, 40_000, 6, PLAIN, target=target)
    matrix = np.zeros((12, 12))
    rows = np.repeat(np.arange(12), graph.degree)
    matrix[rows, graph.indices] = graph.weight
    live = graph.degree > 0
    matrix[live] /= matrix[live].sum(axis=1, keepdims=True)
    at = np.where(live, target, 0.0)
    at /= at.sum()
    for step in range(7):
        observed = np.bincount(nodes[:, step], minlength=12)
        assert stats.chisquare(observed[live], 40_000 * at[live] / at[live].sum()).pvalue > P_VALUE
        at = at @ matrix


def test_path_keys_do_not_depend_on_order_and_repeats():
    keys = ref.path_keys(np.array([[1, 2, 3], [3, 1, 2], [1, 2, -1], [1, 2, 1], [2, 1, 2]], np.int32))
    assert keys[0] == keys[1]
    assert keys[2] == keys[3] == keys[4]
    assert keys[0] != keys[2]


def test_screening_keeps_the_first_path_of_a_set_and_remembers_the_set():
    seen = ref.key_set()
    paths = np.array([[1, 2, 3], [3, 2, 1], [4, -1, -1], [4, 5, -1]], np.int32)
    assert ref.screen_paths(paths, 2, seen).tolist() == [0, 2, 1, 0]
    assert ref.screen_paths(paths[[0, 2, 3]], 1, seen).tolist() == [2, 0, 2]
    assert ref.screen_paths(paths, 2, None).tolist() == [0, 0, 1, 0]


def test_occurrences_count_kept_rows_only():
    table = np.array([[0, 1], [1, -1], [2, 2]], np.int32)
    assert ref.count_occurrences(table, np.array([True, True, False]), 4).tolist() == [1, 2, 0, 0]
