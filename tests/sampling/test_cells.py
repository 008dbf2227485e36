"""Cells: discipline by share, level without penalty for unrated seeds, the same paths on every backend."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linksyn_gpu import QuotaConfig, WalkConfig, Walker, build_graph
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.sampling.bundle import SeedLinker
from linksyn_gpu.sampling.labels import find_discipline, seed_labels, seeds_of
from linksyn_gpu.sampling.plan import CellGoal, cell_goals, cell_weight, goals_digest, plan_cells, plan_table
from linksyn_gpu.tables import PATH_STATUS, Cell
from linksyn_gpu.taxonomy.disciplines import default_taxonomy
from tests.graphs import make_seeds

QUOTA = QuotaConfig(discipline={"physics": 1.0, "law": 1.0}, difficulty={"2": 1.0, "5": 1.0})
QUICK = WalkConfig(length=4, calibration_rounds=6, calibration_paths=400, rounds=4, distinct=True)


def bank(n=300, n_kps=40, seed=0):
    """Physics lives on the first KPs, law on the last ones, history everywhere; labels vary."""
    rng = np.random.default_rng(seed)
    spellings = {"physics": ["physics", "Physics", "物理学"], "law": ["law", "法学"], "history": ["history"]}
    rows = []
    for i in range(n):
        name = ["physics", "law", "history", "history", "history"][i % 5]
        low, high = {"physics": (0, 20), "law": (20, 40), "history": (0, 40)}[name]
        rows.append(
            {
                "knowledge_points": [f"k{k}" for k in rng.choice(np.arange(low, high), 3, replace=False)],
                "disciplines": [str(rng.choice(spellings[name]))],
                "difficulty": int(rng.integers(1, 5)) if i % 3 else None,
            }
        )
    return make_seeds(rows)


def sample(seeds, graph, backend, n=80, batch_size=None, quota=QUOTA):
    cells = plan_cells(quota, n)
    goals = cell_goals(cells, graph, graph.statistics, quota, QUICK.tau)
    walker = Walker(graph, QUICK, 5, backend, goals=goals, batch_size=batch_size)
    linker = SeedLinker(graph, seeds, None, 5, backend, quota=quota)
    found = []
    for _ in range(2):
        for number, cell in enumerate(cells):
            linker.begin_round(cell)
            found.append((cell, *walker.sample_linked(cell.n_paths, number, linker)))
    return found, walker, linker


@pytest.mark.parametrize("batch_size", [None, 7])
def test_backends_and_batches_give_the_same_cells(batch_size):
    seeds = bank()
    graph = build_graph(seeds, backend="reference")
    expected, walker, linker = sample(seeds, graph, "reference")
    found, other_walker, other_linker = sample(seeds, graph, "cpu", batch_size=batch_size)
    for (_, batch, bundles), (_, other_batch, other_bundles) in zip(expected, found, strict=True):
        assert np.array_equal(batch.nodes, other_batch.nodes)
        assert np.array_equal(batch.ids, other_batch.ids)
        assert np.array_equal(bundles.seeds, other_bundles.seeds)
        assert np.array_equal(bundles.status, other_bundles.status)
        assert batch.redraws == other_batch.redraws
    assert np.array_equal(walker.visits, other_walker.visits)
    assert np.array_equal(linker.uses, other_linker.uses)


def test_more_than_half_of_the_seeds_of_a_kept_path_are_of_its_discipline():
    seeds = bank()
    graph = build_graph(seeds, backend="cpu")
    found, _, linker = sample(seeds, graph, "cpu")
    uses = np.zeros(len(seeds), np.int64)
    shares = []
    for cell, batch, bundles in found:
        own = seeds_of(cell.discipline, graph.statistics.labels)
        assert np.array_equal(batch.status, bundles.status)
        for row, size, kept in zip(bundles.seeds, bundles.sizes, bundles.kept, strict=True):
            if kept:
                assert size >= 2
                assert own[row[:size]].mean() > 0.5
                shares.append(own[row[:size]].mean())
                uses[row[:size]] += 1
    assert np.array_equal(linker.uses, uses)
    assert np.mean(shares) > 0.88


def test_walks_start_at_kps_of_the_discipline():
    seeds = bank()
    graph = build_graph(seeds, backend="cpu")
    held = {
        name
        for row in seeds.table.to_pylist()
        if row["disciplines"][0] in ("law", "法学")
        for name in row["knowledge_points"]
    }
    found, _, _ = sample(seeds, graph, "cpu", quota=QuotaConfig(discipline={"law": 1.0}))
    for _, batch, _ in found:
        assert {graph.names[v] for v in batch.nodes[:, 0]} <= held


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.0, 1.0), st.sampled_from(["count", "cosine"]))
def test_the_weight_of_an_own_edge_follows_its_own_seeds_and_is_symmetric(seed, share, weight):
    seeds = bank(60, 12, seed) if seed % 2 else bank(80, 40, seed)
    graph = build_graph(seeds, backend="reference", weight=weight)
    own = np.random.default_rng(seed).random(len(seeds)) < share
    found = cell_weight(graph, own)
    edge = 0
    entries = {}
    for u in range(graph.n_kps):
        for at in range(graph.indptr[u], graph.indptr[u + 1]):
            entries[u, int(graph.indices[at])] = at
    for (u, v), at in entries.items():
        assert found[at] == found[entries[v, u]]
        if u < v:
            evidence = graph.evidence[graph.evidence_indptr[edge] : graph.evidence_indptr[edge + 1]]
            n_own, w, c = int(own[evidence].sum()), int(graph.weight[at]), int(graph.count[at])
            assert found[at] == (max(1, w * n_own // c) if n_own else -w)
            edge += 1


def test_labels_are_compared_through_the_taxonomy():
    labels = ["Math", "数学", "法学（1级学科）", "botany of Mars", "psychology"]
    taxonomy = default_taxonomy()
    assert find_discipline("mathematics", labels, taxonomy) == [0, 1]
    assert find_discipline("law", labels, taxonomy) == [2]
    assert find_discipline("Botany of mars", labels, taxonomy) == [3]
    assert find_discipline("formal sciences", labels, taxonomy) == [0, 1]  # a group: its disciplines


def test_two_spellings_of_one_discipline_in_a_quota_are_refused():
    graph = build_graph(bank(), backend="cpu")
    with pytest.raises(ConfigError, match="twice"):
        Walker(graph, QUICK, 5, "cpu", quota=QuotaConfig(discipline={"law": 1, "法学": 1}))


def test_an_unknown_discipline_gets_similar_names_and_never_a_long_list():
    with pytest.raises(ConfigError, match="did you mean physics"):
        find_discipline("phsics", ["physics", "law"], default_taxonomy())
    with pytest.raises(ConfigError, match="500 disciplines, among them") as error:
        find_discipline("xyzzy", [f"d{i}" for i in range(500)], default_taxonomy())
    assert len(str(error.value)) < 200


def test_the_plan_counts_the_seeds_of_each_level():
    seeds = make_seeds([{"disciplines": ["Law"], "difficulty": d} for d in (1, 1, 4, None)])
    cells = [Cell("law", 1, 3), Cell("law", 5, 2), Cell(None, None, 1)]
    rows = plan_table(cells, seed_labels(seeds), [3, 0, 1], [{}, {"off_cell": 2}, {}])
    assert [row["seeds"] for row in rows] == [4, 4, 4]
    assert [row["seeds_of_level"] for row in rows] == [2, 0, None]
    assert [row["asked"] - row["delivered"] for row in rows] == [sum(row["dropped_by_reason"].values()) for row in rows]


def test_a_discipline_whose_seeds_share_no_kp_cannot_start_a_walk():
    seeds = make_seeds(
        [
            {"knowledge_points": ["a", "b"], "disciplines": ["law"]},
            {"knowledge_points": ["c"], "disciplines": ["physics"]},
        ]
    )
    graph = build_graph(seeds, backend="reference")
    quota = QuotaConfig(discipline={"law": 1, "physics": 1})
    for backend in ("reference", "cpu"):
        walker = Walker(graph, WalkConfig(length=2, calibration_rounds=1), 0, backend, quota=quota)
        batch = walker.sample(8)
        reasons = [PATH_STATUS[code] for code in batch.status[batch.cell == 1]]
        assert reasons == ["no_start"] * 4
        assert (batch.nodes[batch.cell == 1] == -1).all()
        assert batch.ids.tolist() == list(range(8))


def test_reasons_of_dropped_paths_are_known_words():
    assert PATH_STATUS == ("kept", "too_short", "repeated", "few_seeds", "off_cell", "no_start", "revoked")


def test_the_digest_of_goals_changes_with_the_last_bit_of_a_target():
    target = np.array([0.25, 0.75])
    goal = CellGoal(target, target, np.array([1, -1], np.int32), 0.1)
    digest = goals_digest([goal])
    assert digest == goals_digest([replace(goal, target=target.copy())])
    others = [
        replace(goal, target=np.nextafter(target, 1.0)),
        replace(goal, starts=np.nextafter(target, 1.0)),
        replace(goal, weight=None),
        replace(goal, cross_discipline=0.2),
    ]
    assert digest not in {goals_digest([other]) for other in others}
    assert goals_digest([goal, others[0]]) != goals_digest([others[0], goal])
