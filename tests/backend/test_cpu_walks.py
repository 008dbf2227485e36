"""The CPU sampler: exact probabilities, only edges, nothing without mass; and its cells, draw by draw."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba import njit, uint64
from scipy import sparse, stats

from linksyn_gpu.backend.cpu import operations as cpu
from linksyn_gpu.backend.cpu.kernels import tables as numba_tables
from linksyn_gpu.backend.cpu.kernels import walk as numba_walk
from linksyn_gpu.backend.cpu.kernels.core import mulhi
from linksyn_gpu.backend.reference import operations as ref
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.tables import KPGraph
from tests.graphs import edge_graph, random_incidence

KEY = derive_key(11, Purpose.WALK)
P_VALUE = 1e-4  # of a fixed seed: a failure is a bug, not bad luck


def walked(graph, n, length, rule, value=None, target=None):
    value = np.ones(graph.n_kps) if value is None else value
    target = np.ones(graph.n_kps) if target is None else target
    loaded = cpu.load_graph(graph, second_order=rule.second_order)
    table = cpu.transition_table(loaded, value)
    start = cpu.start_table(table, target, value)
    return cpu.sample_walks(loaded, table, start, cpu.walk_ids(0, n), length=length, rule=rule, key=KEY)


def zipf_graph(n_kps=400, seed=3) -> KPGraph:
    indptr, kps = random_incidence(3000, n_kps, np.random.default_rng(seed), most=7)
    return KPGraph.from_csr(*ref.cooccurrence(indptr, kps, n_kps))


def dense(graph) -> np.ndarray:
    shape = (graph.n_kps, graph.n_kps)
    return sparse.csr_array((graph.weight, graph.indices, graph.indptr), shape=shape).toarray().astype(float)


def assert_fits(steps, share):
    """Chi-square of the steps to each KP against shares; KPs with a small expected count are combined."""
    observed, share = np.bincount(steps, minlength=share.size), share / share.sum()
    assert (observed[share == 0] == 0).all(), "a KP without mass was drawn"
    expected = share * steps.size
    small = expected < 5
    counts = np.append(observed[~small], observed[small].sum())
    wanted = np.append(expected[~small], expected[small].sum())
    if wanted[-1] < 5:
        counts[-2] += counts[-1]
        wanted[-2] += wanted[-1]
        counts, wanted = counts[:-1], wanted[:-1]
    if counts.size > 1:
        assert stats.chisquare(counts, wanted * counts.sum() / wanted.sum()).pvalue > P_VALUE


def test_first_order_steps_are_proportional_to_weight_times_value_and_only_along_edges():
    graph, rng = zipf_graph(), np.random.default_rng(1)
    value = np.exp(rng.normal(size=graph.n_kps)) * (rng.random(graph.n_kps) < 0.8)
    nodes = walked(graph, 400_000, 3, ref.StepRule(False, 1.0, 1.0), value)
    nodes = nodes[(nodes >= 0).all(axis=1)]
    weights = dense(graph)
    assert (weights[nodes[:, :-1], nodes[:, 1:]] > 0).all()
    assert not np.isin(nodes, np.flatnonzero(value == 0)).any()
    busiest = np.argsort(np.bincount(nodes[:, 0]))[-25:]
    for u in busiest:
        assert_fits(nodes[:, 1:][nodes[:, :-1] == u], weights[u] * value)


def test_no_revisit_steps_are_proportional_within_the_rest_of_the_row():
    graph = zipf_graph(60)
    value = np.exp(np.random.default_rng(2).normal(size=60))
    nodes = walked(graph, 300_000, 2, ref.StepRule(True, 1.0, 1.0), value)
    weights = dense(graph)
    pairs, counts = np.unique(nodes[:, :2], axis=0, return_counts=True)
    for u, v in pairs[np.argsort(counts)[-20:]]:
        steps = nodes[(nodes[:, 0] == u) & (nodes[:, 1] == v), 2]
        share = weights[v] * value
        share[[u, v]] = 0.0
        assert_fits(steps, share)


@pytest.mark.parametrize(("p", "q"), [(0.5, 2.0), (2.0, 0.5), (8.0, 1.0), (2.0**-16, 2.0**16)])
@pytest.mark.parametrize("no_revisit", [False, True])
def test_second_order_steps_follow_node2vec(p, q, no_revisit):
    graph = zipf_graph(60)
    value = np.exp(np.random.default_rng(4).normal(size=60))
    nodes = walked(graph, 300_000, 2, ref.StepRule(no_revisit, p, q), value)
    weights = dense(graph)
    pairs, counts = np.unique(nodes[:, :2], axis=0, return_counts=True)
    for u, v in pairs[np.argsort(counts)[-20:]]:
        steps = nodes[(nodes[:, 0] == u) & (nodes[:, 1] == v), 2]
        share = weights[v] * value * np.where(weights[u] > 0, 1.0, 1.0 / q)
        share[u] = 0.0 if no_revisit else weights[v, u] * value[u] / p
        assert_fits(steps, share)


def test_a_leaf_with_half_the_weight_of_a_hub_is_drawn_half_the_time():
    leaves = 5000
    graph = edge_graph(leaves + 1, {(0, v): leaves - 1 if v == 1 else 1 for v in range(1, leaves + 1)})
    start = np.zeros(leaves + 1)
    start[0] = 1.0
    nodes = walked(graph, 200_000, 1, ref.StepRule(False, 1.0, 1.0), target=start)
    assert stats.binomtest(int((nodes[:, 1] == 1).sum()), 200_000, 0.5).pvalue > P_VALUE


def test_expected_visits_agree_with_power_iteration():
    graph, rng = zipf_graph(120), np.random.default_rng(6)
    value, target = np.exp(rng.normal(size=120)), rng.random(120)
    nodes = walked(graph, 300_000, 8, ref.StepRule(False, 1.0, 1.0), value, target)
    step = sparse.csr_array((graph.weight * value[graph.indices], graph.indices, graph.indptr), shape=(120, 120))
    step = sparse.diags_array(1.0 / np.maximum(step.sum(axis=1), 1e-300)) @ step
    at = np.where(graph.degree > 0, target * value, 0.0)
    at /= at.sum()
    for k in range(9):
        assert_fits(nodes[:, k], at)
        at = step.T @ at


@njit
def decide(x, cells, pairs, total, coarse, degree, out, unsure, bound):
    for i in range(x.size):
        cell = cells[((x[i] >> uint64(32)) * uint64(degree)) >> uint64(32)]
        out[i], unsure[i] = numba_walk._decided(cell, mulhi(x[i], total), coarse)
        bound[i] = numba_walk._lower_bound(cell)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    degree=st.sampled_from([1, 2, 3, 17, 1000, 70_000]),
    largest=st.sampled_from([1, 3, 2**12, 2**40]),
    zeros=st.sampled_from([0.0, 0.5, 0.99]),
    heavy=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_a_cell_gives_the_right_answer_or_none(degree, largest, zeros, heavy, seed):
    """At and next to every boundary of the row and of the buckets, where a bound off by one would show."""
    rng = np.random.default_rng(seed)
    mass = np.floor(np.exp(rng.random(degree) * np.log(largest + 1))).clip(1) * (rng.random(degree) >= zeros)
    mass[rng.integers(degree)] = max(1.0, largest if heavy else 1.0)
    mass = mass.astype(np.uint64)
    sums = np.append(np.cumsum(mass), np.uint64(0))
    names = (np.arange(degree) * (2**24 // degree)).astype(np.int32)  # up to the largest id
    pairs, cells = np.zeros(degree, np.uint64), np.zeros(degree, np.uint64)
    total, coarse = numba_tables.finish_row(
        sums, np.zeros(degree + 2, np.int32), names, np.uint64(0), np.uint64(degree), pairs, cells
    )
    prefix = (pairs >> np.uint64(32)).astype(np.int64)
    some = rng.choice(degree, min(degree, 300), replace=False)
    edges = [-(-(int(s) << 64) // int(total)) for s in prefix[some]]  # first draw at or above a boundary
    edges += [-(-(int(q) << 32) // degree) << 32 for q in some]  # first draw of a bucket
    near = [x + d for x in edges for d in (-(2**33), -(2**32), -1, 0, 1, 2**32) if 0 <= x + d < 2**64]
    x = np.array([*near, 0, 2**64 - 1, *rng.integers(0, 2**63, 50).tolist()], np.uint64)
    out, unsure, bound = np.zeros(x.size, np.int64), np.zeros(x.size, np.int64), np.zeros(x.size, np.int64)
    decide(x, cells, pairs, np.uint64(total), np.uint64(coarse), degree, out, unsure, bound)
    t = np.array([int(v) * int(total) >> 64 for v in x.tolist()])
    entry = np.searchsorted(prefix, t, side="right")
    sure = unsure == 0
    assert np.array_equal(out[sure], names[entry[sure]])
    assert (bound[~sure] <= entry[~sure]).all()
