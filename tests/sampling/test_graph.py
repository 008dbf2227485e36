"""The KP graph against its definition, one pair at a time."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linksyn_gpu.backend.cpu import incidence
from linksyn_gpu.config import GraphConfig
from linksyn_gpu.errors import ConfigError, DataError
from linksyn_gpu.sampling.graph import build_graph, build_graph_from_incidence, kp_statistics, read_incidence
from linksyn_gpu.tables import KPGraph
from tests.graphs import edge_graph, make_seeds, random_incidence

BANK = make_seeds(
    [
        {"knowledge_points": ["Osmosis", "Cell"], "disciplines": ["biology"], "difficulty": 2},
        {"knowledge_points": ["osmosis ", "cell", "Diffusion"], "disciplines": ["Biology", "physics"]},
        {"knowledge_points": ["Ｄiffusion", "OSMOSIS"], "disciplines": ["physics"], "difficulty": 5},
        {"knowledge_points": ["Torque"], "disciplines": ["physics"], "difficulty": 4},
        {"knowledge_points": []},
    ]
)


def edges_of(graph: KPGraph) -> dict[tuple[int, int], int]:
    rows = np.repeat(np.arange(graph.n_kps), graph.degree)
    return {(int(u), int(v)): int(c) for u, v, c in zip(rows, graph.indices, graph.count, strict=True) if u < v}


def evidence_of(graph: KPGraph) -> dict[tuple[int, int], list[int]]:
    bounds = zip(graph.evidence_indptr[:-1], graph.evidence_indptr[1:], strict=True)
    lists = [graph.evidence[a:b].tolist() for a, b in bounds]
    return dict(zip(edges_of(graph), lists, strict=True))


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 12), st.integers(0, 10**6))
def test_counts_and_evidence_are_those_of_every_pair_of_every_seed(n_seeds, n_kps, seed):
    indptr, kps = random_incidence(n_seeds, n_kps, np.random.default_rng(seed))
    expected = defaultdict(list)
    for row in range(n_seeds):
        for pair in itertools.combinations(kps[indptr[row] : indptr[row + 1]].tolist(), 2):
            expected[pair].append(row)
    graph = build_graph_from_incidence(indptr, kps, n_kps, backend="reference")
    assert edges_of(graph) == {pair: len(rows) for pair, rows in expected.items()}
    assert evidence_of(graph) == dict(expected)
    assert graph.seed_count.tolist() == np.bincount(kps, minlength=n_kps).tolist()
    KPGraph.from_csr(graph.indptr, graph.indices, graph.count)  # its checks hold


def test_folded_names_are_one_kp_with_its_first_spelling():
    graph = build_graph(BANK, backend="reference")
    assert list(graph.names) == ["Osmosis", "Cell", "Diffusion", "Torque"]
    assert graph.seed_count.tolist() == [3, 2, 2, 1]
    assert edges_of(graph) == {(0, 1): 2, (0, 2): 2, (1, 2): 1}


def test_exact_names_are_compared_byte_for_byte():
    graph = build_graph(BANK, kp_form="exact", backend="reference")
    assert list(graph.names)[:4] == ["Osmosis", "Cell", "osmosis ", "cell"]
    assert graph.n_kps == 8


def test_a_kp_named_twice_in_a_seed_counts_once_and_is_reported():
    graph = build_graph(make_seeds([{"knowledge_points": ["a", "A", "b"]}]), backend="reference")
    assert edges_of(graph) == {(0, 1): 1}
    assert graph.drops == Counter({"repeated_in_seed": 1})


def test_max_kps_per_seed_keeps_the_first_of_the_seeds_own_order():
    seeds = make_seeds([{"knowledge_points": ["z", "y", "x"]}, {"knowledge_points": ["x", "z"]}])
    graph = build_graph(seeds, max_kps_per_seed=2, backend="reference")
    assert graph.drops == Counter({"max_kps_per_seed": 1})
    assert edges_of(graph) == {(0, 1): 1, (0, 2): 1}


def test_pruned_edges_are_counted_and_lose_their_evidence():
    graph = build_graph(BANK, min_count=2, backend="reference")
    assert graph.drops == Counter({"min_count": 1})
    assert evidence_of(graph) == {(0, 1): [0, 1], (0, 2): [1, 2]}


def test_top_k_keeps_an_edge_that_is_heavy_for_either_end():
    indptr = np.arange(0, 21, 2)
    kps = np.array([0, 1] * 4 + [0, 2] * 3 + [0, 3] * 2 + [2, 3], np.int32)
    graph = build_graph_from_incidence(indptr, kps, 4, top_k=1, backend="reference")
    # 1 is heaviest for 0; 0 is heaviest for 1, 2 and 3; 2-3 is heaviest for none.
    assert edges_of(graph) == {(0, 1): 4, (0, 2): 3, (0, 3): 2}
    assert graph.drops == Counter({"top_k": 1})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("count", {(0, 1): 2, (0, 2): 2, (1, 2): 1}),
        ("cosine", {(0, 1): 2 / np.sqrt(6), (0, 2): 2 / np.sqrt(6), (1, 2): 1 / 2}),
        ("jaccard", {(0, 1): 2 / 3, (0, 2): 2 / 3, (1, 2): 1 / 3}),
        (
            "npmi",
            {
                (0, 1): np.log(2 * 5 / 6) / np.log(5 / 2),
                (0, 2): np.log(2 * 5 / 6) / np.log(5 / 2),
                (1, 2): np.log(1 * 5 / 4) / np.log(5),
            },
        ),
    ],
)
def test_edge_weights_are_fixed_point_of_their_formula(kind, expected):
    graph = build_graph(BANK, weight=kind, backend="reference")
    rows = np.repeat(np.arange(graph.n_kps), graph.degree)
    scale = 1 if kind == "count" else 2**16
    for u, v, w in zip(rows.tolist(), graph.indices.tolist(), graph.weight.tolist(), strict=True):
        assert w == max(1, int(np.floor(expected[min(u, v), max(u, v)] * scale)))


def test_statistics_summarise_the_seeds_of_a_kp():
    held = read_incidence(BANK, GraphConfig())
    statistics = kp_statistics(BANK, held)
    assert statistics.disciplines == ["biology", "physics"]
    assert statistics.discipline_counts.toarray().tolist() == [[2, 2], [2, 1], [1, 2], [0, 1]]
    assert statistics.mean_difficulty.tolist() == [3.5, 2.0, 5.0, 4.0]
    assert statistics.seed_count.tolist() == [3, 2, 2, 1]


def test_seeds_without_any_kp_are_an_error_that_says_what_to_do():
    with pytest.raises(DataError, match="--map knowledge_points=COLUMN"):
        build_graph(make_seeds([{}, {}]), backend="reference")


def test_a_config_and_keywords_together_are_refused():
    with pytest.raises(ConfigError):
        build_graph(BANK, GraphConfig(), min_count=2)
    with pytest.raises(ConfigError, match="colour"):
        build_graph(BANK, colour="red")


@pytest.mark.parametrize(
    ("indptr", "kps", "message"),
    [
        ([0, 2], [1, 0], "ascend"),
        ([0, 2], [1, 1], "ascend"),
        ([0, 1], [5], "must lie in"),
        ([0, 3], [0, 1], "number of entries, 2"),
        ([0, 2, 1, 2], [0, 1], "indptr must rise"),
    ],
)
def test_arrays_that_are_not_an_incidence_are_refused(indptr, kps, message):
    with pytest.raises(DataError, match=message):
        build_graph_from_incidence(indptr, kps, 3, backend="reference")


@pytest.mark.parametrize(
    ("indptr", "indices", "count", "message"),
    [
        ([0, 1, 2], [1, 0], [1, 2], "not symmetric"),
        ([0, 1, 1], [1], [1], "not symmetric"),
        ([0, 1, 2], [0, 1], [1, 1], "self-loop at KP 0"),
        ([0, 1, 2], [1, 0], [0, 0], "positive"),
        ([0, 1, 2], [1, 2], [1, 1], "must lie in"),
        ([0, 2, 3, 4], [2, 1, 0, 0], [1, 1, 1, 1], "columns of row 0 must ascend"),
        ([0, 2, 1], [1, 0], [1, 1], "must rise"),
    ],
)
def test_a_matrix_that_is_not_a_kp_graph_is_refused(indptr, indices, count, message):
    with pytest.raises(DataError, match=message):
        KPGraph.from_csr(indptr, indices, count)


def test_counts_that_are_not_integers_are_refused():
    with pytest.raises(DataError, match="count must hold integers, not float64"):
        KPGraph.from_csr([0, 1, 2], [1, 0], [2.7, 2.7])


def test_a_bare_matrix_uses_the_weighted_degree_as_popularity():
    assert edge_graph(3, {(0, 1): 5, (1, 2): 2}).seed_count.tolist() == [5, 7, 2]
    with pytest.raises(DataError, match="2 names for 3 KPs"):
        KPGraph.from_csr([0, 0, 0, 0], [], [], names=["a", "b"])


@pytest.mark.parametrize("kp_form", ["folded", "exact"])
@pytest.mark.parametrize("limit", [None, 1])
@pytest.mark.parametrize("part", [1, 2, 3])
def test_kps_are_numbered_the_same_however_many_seeds_are_read_at_once(monkeypatch, part, limit, kp_form):
    config = GraphConfig(kp_form=kp_form, max_kps_per_seed=limit)
    whole = read_incidence(BANK, config)
    monkeypatch.setattr(incidence, "SEEDS_PER_PART", part)
    cut = read_incidence(BANK, config)
    assert (cut.indptr.tolist(), cut.kp_indices.tolist()) == (whole.indptr.tolist(), whole.kp_indices.tolist())
    assert (cut.names, cut.drops) == (whole.names, whole.drops)
    assert cut.indptr.dtype == np.int64
