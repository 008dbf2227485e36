"""Each missing path, KP and QA has one cause, and the causes add up."""

from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from linksyn_gpu import QuotaConfig, WalkConfig, Walker, build_graph
from linksyn_gpu.sampling.bundle import SeedLinker
from linksyn_gpu.sampling.causes import (
    KP_CAUSES,
    PATH_CAUSES,
    QA_CAUSES,
    PathRules,
    ShortfallExplainer,
    list_paths,
    qa_causes,
)
from linksyn_gpu.sampling.labels import seed_labels
from linksyn_gpu.sampling.plan import cell_goals, plan_cells
from linksyn_gpu.tables import PATH_STATUS
from tests.graphs import make_seeds, random_graph

OPEN = QuotaConfig()


def rules(config, quota=OPEN, min_seeds=2):
    return PathRules(
        config.length, config.min_length, config.no_revisit, config.distinct, min_seeds, quota.min_own_share
    )


def campaign(rows, n, quota=OPEN, **walk):
    """Walk `n` paths on the graph of these seeds: explainer, drops by cell, KPs visited, graph, KP sets of all rows."""
    settings = {"length": 3, "calibration_rounds": 2, "calibration_paths": 50, "rounds": 2, "distinct": True, **walk}
    config = WalkConfig(**settings)
    seeds = make_seeds(rows)
    graph = build_graph(seeds, backend="reference")
    cells = plan_cells(quota, n)
    goals = cell_goals(cells, graph, graph.statistics, quota, config.tau)
    walker = Walker(graph, config, 3, "cpu", goals=goals)
    linker = SeedLinker(graph, seeds, None, 3, "cpu", quota=quota)
    explainer = ShortfallExplainer(graph, cells, goals, seed_labels(seeds), rules(config, quota))
    drops, visited, drawn = [Counter() for _ in cells], np.zeros(graph.n_kps, bool), set()
    for number, cell in enumerate(cells):
        linker.begin_round(cell)
        batch, bundles = walker.sample_linked(cell.n_paths, number, linker)
        explainer.add(batch.nodes, batch.cell, bundles.kept)
        drops[number] += bundles.drops
        visited[batch.nodes[bundles.kept][batch.nodes[bundles.kept] >= 0]] = True
        drawn |= {frozenset(v for v in row if v >= 0) for row in batch.nodes.tolist()}
    return explainer, drops, visited, graph, drawn


def seed(*kps, discipline="physics"):
    return {"knowledge_points": [f"k{k}" for k in kps], "disciplines": [discipline]}


# The seeds of a bank, and the cause of every path that is missing there.
BANKS = {
    "component_too_small": ([seed(0, 1), seed(0, 1)], {"min_length": 3}, OPEN),
    "too_few_distinct_seeds": ([seed(0, 1, 2)], {}, OPEN),
    "too_few_own_seeds": (
        # The physics seed knows k0 alone; the edges of k0 have law seeds only.
        [seed(0), seed(0, 1, discipline="law"), seed(1, 2, discipline="law"), seed(0, 2, discipline="law")],
        {},
        QuotaConfig(discipline={"physics": 1.0}),
    ),
    "kp_sets_used_up": ([seed(0, 1), seed(1, 2), seed(0, 2)], {}, OPEN),
}


@pytest.mark.parametrize("cause", BANKS)
def test_the_cause_of_a_bank_without_a_further_path(cause):
    rows, walk, quota = BANKS[cause]
    explainer, drops, *_ = campaign(rows, 6, quota, max_redraws=3, **walk)
    lost = drops[0].total()
    assert lost == (5 if cause == "kp_sets_used_up" else 6)
    assert explainer.path_causes() == [{cause: lost}]


def test_a_longer_path_than_the_graph_has_is_a_component_too_small():
    """A star has many KPs, but no path of four."""
    rows = [row for i in range(1, 7) for row in (seed(0, i), seed(0, i))]
    explainer, drops, *_ = campaign(rows, 5, min_length=4, max_redraws=2)
    assert drops == [Counter(too_short=5)]
    assert explainer.path_causes() == [{"component_too_small": 5}]


def test_the_bound_on_redraws_is_the_cause_while_a_further_path_exists():
    """A chain of components: one draw finds few of its KP sets, and one draw is all that is allowed."""
    rows = [seed(i, i + 1) for i in range(12)]
    explainer, drops, *_ = campaign(rows, 9, max_redraws=0)
    assert 0 < drops[0].total() < 9
    assert explainer.path_causes() == [{"redraw_bound": drops[0].total()}]


def test_every_kp_without_a_path_has_one_cause():
    rows = [
        *(seed(0, 1), seed(1, 2), seed(0, 2)),  # a triangle of three seeds: paths exist
        seed(3),  # alone
        *(seed(4, 5), seed(4, 5)),  # two KPs
        seed(6, 7, 8),  # three KPs of one seed
        *(seed(9, 10, discipline="law"), seed(10, 11, discipline="law"), seed(9, 11, discipline="law")),
    ]
    quota = QuotaConfig(discipline={"physics": 1.0}, cross_discipline=0.0)
    explainer, _, visited, graph, _ = campaign(rows, 8, quota, min_length=3)
    causes = explainer.kp_causes(visited)
    assert causes == {"no_neighbour": 1, "component_too_small": 2, "too_few_distinct_seeds": 3, "not_in_quota": 3}
    assert sum(causes.values()) + visited.sum() == graph.n_kps
    assert explainer.kp_causes(np.zeros(graph.n_kps, bool))["not_drawn"] == 3


banks = st.lists(
    st.builds(
        lambda kps, discipline: seed(*kps, discipline=discipline),
        st.sets(st.integers(0, 9), min_size=1, max_size=3),
        st.sampled_from(["physics", "law"]),
    ),
    min_size=2,
    max_size=14,
)


@settings(max_examples=15, deadline=None)
@given(banks, st.booleans(), st.integers(2, 3), st.booleans(), st.integers(0, 4))
def test_causes_add_up_in_every_cell(rows, steered, min_length, no_revisit, max_redraws):
    has = [any(len(r["knowledge_points"]) > 1 and r["disciplines"] == [d] for r in rows) for d in ("physics", "law")]
    if not all(has):
        rows = [*rows, seed(0, 1), seed(0, 1, discipline="law")]
    quota = QuotaConfig(discipline={"physics": 1.0, "law": 1.0}) if steered else OPEN
    walk = {"min_length": min_length, "no_revisit": no_revisit, "max_redraws": max_redraws}
    explainer, drops, visited, graph, _ = campaign(rows, 10, quota, **walk)
    unvisited = explainer.kp_causes(visited)
    assert set(unvisited) <= {*KP_CAUSES, "not_drawn"}
    assert sum(unvisited.values()) + visited.sum() == graph.n_kps
    for found, dropped in zip(explainer.path_causes(), drops, strict=True):
        assert set(found) <= set(PATH_CAUSES)
        assert sum(found.values()) == dropped.total()


@settings(max_examples=10, deadline=None)
@given(banks, st.integers(6, 30))
def test_used_up_is_what_a_search_of_all_paths_finds_used_up(rows, n):
    rows = [*rows, seed(0, 1), seed(0, 1)]
    explainer, drops, _, graph, drawn = campaign(rows, n, max_redraws=60)
    causes = explainer.path_causes()[0]
    possible = linkable_sets(graph, rows, 3)
    kept = n - drops[0].total()
    assert kept <= len(possible)
    if kept == len(possible) and drops[0].total():
        assert "redraw_bound" not in causes
    if set(causes) == {"kp_sets_used_up"} and connected_components(adjacency(graph))[0] == 1:
        assert possible <= drawn, "a KP set that can give a bundle was never drawn"


def adjacency(graph):
    """The KPs with a neighbour, and their edges."""
    live = graph.degree > 0
    matrix = csr_array((graph.count, graph.indices, graph.indptr), shape=(graph.n_kps, graph.n_kps))
    return matrix[live][:, live]


def linkable_sets(graph, rows, length):
    """KP sets of walks of `length` steps that could have two distinct seeds, found by brute force."""
    neighbours = [graph.indices[a:b].tolist() for a, b in pairwise(graph.indptr)]
    holders = {}
    for i, row in enumerate(rows):
        for pair in combinations(sorted({graph.names.index(name) for name in row["knowledge_points"]}), 2):
            holders.setdefault(pair, set()).add(i)
    paths = [[v] for v in range(graph.n_kps)]
    done = []
    for _ in range(length):
        longer = [[*path, v] for path in paths for v in neighbours[path[-1]] if v not in path]
        grown = {tuple(path[:-1]) for path in longer}
        done += [path for path in paths if tuple(path) not in grown]
        paths = longer
    sets = set()
    for path in (*done, *paths):
        seeds = [holders[min(a, b), max(a, b)] for a, b in pairwise(path)]
        if len(path) >= 2 and len(seeds) >= 2 and len(set().union(*seeds)) >= 2:
            sets.add(frozenset(path))
    return sets


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.booleans())
def test_listed_paths_are_those_of_a_search_by_hand(number, length, no_revisit):
    graph = random_graph(12, 7, number)
    neighbours = [graph.indices[a:b].tolist() for a, b in pairwise(graph.indptr)]
    live = np.random.default_rng(number).random(graph.n_kps) < 0.8
    expected, paths = [], [[v] for v in range(graph.n_kps) if live[v]]
    for step in range(length + 1):
        longer = [
            [*path, v] for path in paths for v in neighbours[path[-1]] if live[v] and not (no_revisit and v in path)
        ]
        grown = {tuple(path[:-1]) for path in longer}
        expected += [path for path in paths if step == length or tuple(path) not in grown]
        paths = longer
    found = list_paths(
        graph, live, np.flatnonzero(live).astype(np.int32), PathRules(length, 2, no_revisit, True, 2, 0.5)
    )
    assert sorted(tuple(v for v in row if v >= 0) for row in found.tolist()) == sorted(
        tuple(path) for path in expected if len(path) >= 2
    )


counts = st.fixed_dictionaries(
    {
        "failed_by_reason": st.dictionaries(st.sampled_from(["bad_request", "cut_off"]), st.integers(1, 5)),
        "paths_dropped_by_reason": st.dictionaries(
            st.sampled_from(["prompt_too_long", *PATH_STATUS[1:]]), st.integers(1, 5)
        ),
        "pending_reasons": st.dictionaries(st.sampled_from(["no_answer", "timeout"]), st.integers(1, 5)),
        "items_missing": st.integers(0, 5),
        "dropped_by_reason": st.dictionaries(st.sampled_from(["repeats_seed", "empty_answer"]), st.integers(1, 5)),
    }
)


@given(
    counts,
    st.dictionaries(st.sampled_from(sorted(PATH_CAUSES)), st.integers(1, 5)),
    st.integers(1, 4),
    st.booleans(),
    st.integers(0, 30),
    st.integers(0, 40),
)
def test_causes_of_missing_qa_add_up(counts, lost, per_path, bounded, kept, fewer):
    """Also where a cell has more paths than it needs, and where it is to get further ones."""
    asked = kept + fewer
    causes = qa_causes(asked, kept, per_path, lost, counts, {}, bounded=bounded)
    assert sum(causes.values()) == fewer
    assert {name.split(":")[0] for name in causes} <= set(QA_CAUSES)
    assert ("budget" in causes) <= bounded


def test_a_campaign_of_paths_names_the_cause_of_each_missing_qa():
    counts = {
        "failed_by_reason": {"cut_off": 1},
        "paths_dropped_by_reason": {"repeated": 3, "prompt_too_long": 1},
        "pending_reasons": {"no_answer": 2},
        "items_missing": 1,
        "dropped_by_reason": {"repeats_seed": 4},
    }
    lost = {"kp_sets_used_up": 2, "redraw_bound": 1}
    missing = 2 * (3 + 1 + 1 + 2) + 1 + 4
    assert qa_causes(40, 40 - missing, 2, lost, counts, {}, bounded=True) == {
        "kp_sets_used_up": 4,
        "redraw_bound": 2,
        "lost_in_requests: cut_off": 2,
        "lost_in_requests: prompt_too_long": 2,
        "budget": 4,
        "lost_in_answers: item_missing": 1,
        "lost_to_checks: repeats_seed": 4,
    }
