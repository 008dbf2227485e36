"""The forecast's figures against sums by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linksyn_gpu.sampling.forecast import PathFigures, cost_of, noise_floor, sampled_total, scale_to_tokens
from linksyn_gpu.tables import Cell

CELLS = [Cell("physics", None, 10), Cell(None, 3, 10)]
OWN = [np.array([True, True, False, False]), None]
LEVELS = np.array([3, 0, 5, 3], np.int64)

rows = st.lists(
    st.tuples(
        st.lists(st.integers(0, 7), min_size=2, max_size=4, unique=True),
        st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True),
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=20,
)


def padded(lists, width):
    return np.array([[*row, *[-1] * (width - len(row))] for row in lists], np.int32)


def figures(paths, batch):
    made = PathFigures(8, CELLS, OWN, LEVELS)
    for i in range(0, len(paths), batch):
        part = paths[i : i + batch]
        cell = np.array([row[2] for row in part], np.int32)
        made.add(padded([row[0] for row in part], 4), padded([row[1] for row in part], 3), cell)
    return made


@given(rows, st.integers(1, 20))
def test_figures_are_sums_over_the_paths_for_any_batch(paths, batch):
    made = figures(paths, batch)
    for n, kps, seeds in made.coverage_curve(points=7):
        assert kps == len({v for row in paths[:n] for v in row[0]})
        assert seeds == len({s for row in paths[:n] for s in row[1]})
    assert made.coverage_curve()[-1][0] == made.kept == len(paths)
    assert made.distinct_kp_sets() == len({frozenset(row[0]) for row in paths})
    own = [s for row in paths if row[2] == 0 for s in row[1]]
    assert made.of_cell(0)["own_share"] == (None if not own else pytest.approx(sum(s < 2 for s in own) / len(own)))
    assert made.of_cell(0)["level_share"] is None
    rated = [LEVELS[s] for row in paths if row[2] == 1 for s in row[1] if LEVELS[s]]
    if rated:
        assert made.of_cell(1)["level_share"] == pytest.approx(np.mean(np.array(rated) == 3))
        assert made.of_cell(1)["level_distance"] == pytest.approx(np.mean(np.abs(np.array(rated) - 3)))
    for cell in (0, 1):
        visits = np.bincount([v for row in paths if row[2] == cell for v in row[0]], minlength=8)
        assert np.array_equal(made.visits[cell], visits)


def test_a_campaign_without_a_kept_path_has_an_empty_curve():
    assert PathFigures(8, CELLS, OWN, LEVELS).coverage_curve() == [(0, 0, 0)]
    assert PathFigures(8, CELLS, OWN, LEVELS).distinct_kp_sets() == 0
    assert noise_floor(np.ones(8), 0) is None
    assert noise_floor(np.array([0.5, 0.5, 0.0]), 10) == 1 / 20


def test_a_sample_gives_the_total_within_its_standard_error():
    rng = np.random.default_rng(0)
    population = rng.integers(300, 900, 5000)
    off = []
    for _ in range(200):
        total, error = sampled_total(rng.choice(population, 400, replace=False).tolist(), 5000)
        off.append((total - population.sum()) / error)
    assert abs(np.mean(off)) < 0.25
    assert 0.8 < np.std(off) < 1.2
    assert sampled_total(population.tolist(), 5000) == (population.sum(), 0.0)


def test_cost_and_scale_are_their_formulas():
    assert cost_of(2e6, 1e6, 0.5, 2.0) == 3.0
    measured = {
        "tokens_per_answer": 400.0,
        "kept_share": 0.5,
        "requests_per_path": 0.8,
        "bytes_per_path": 100.0,
        "bytes_per_request": 3000.0,
        "bytes_per_answer": 2000.0,
        "prompt_tokens_per_request": 600.0,
    }
    found = scale_to_tokens(50e9, measured)
    assert found["requests"] == 250_000_000
    assert found["paths"] == 312_500_000
    assert found["bytes"] == 312_500_000 * 100 + 250_000_000 * 5000
    assert (found["written_tokens"], found["read_tokens"]) == (100_000_000_000, 150_000_000_000)
    assert found["days"] is None
    assert scale_to_tokens(50e9, {**measured, "tokens_per_second": 2000.0})["days"] == pytest.approx(
        1e11 / 2000 / 86400
    )
