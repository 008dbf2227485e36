"""Quotas to cells and rounds: counts are integers that sum exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linksyn_gpu.config import QuotaConfig
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.sampling.plan import largest_remainder, plan_cells, plan_rounds
from linksyn_gpu.tables import Cell


@given(st.lists(st.floats(0.01, 100.0), min_size=1, max_size=20), st.integers(0, 10**6))
def test_largest_remainder_sums_exactly_and_stays_within_one_of_the_share(shares, total):
    counts = largest_remainder(shares, total)
    assert sum(counts) == total
    exact = np.array(shares) / sum(shares) * total
    assert (np.abs(np.array(counts) - exact) < 1.0 + 1e-6).all()


def test_without_a_quota_there_is_one_cell_over_everything():
    assert plan_cells(QuotaConfig(), 7) == [Cell(None, None, 7)]


def test_cells_are_the_product_of_the_shares():
    quota = QuotaConfig(discipline={"law": 1, "physics": 3}, difficulty={"2": 0.5, "5": 0.5})
    cells = plan_cells(quota, 16)
    assert cells == [Cell("law", 2, 2), Cell("law", 5, 2), Cell("physics", 2, 6), Cell("physics", 5, 6)]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=6), st.integers(1, 40))
def test_rounds_serve_every_cell_exactly_and_in_turn(sizes, n_rounds):
    cells = [Cell(None, None, n) for n in sizes]
    rounds = plan_rounds(cells, n_rounds)
    served = np.zeros(len(cells), int)
    for part in rounds:
        served[part.cell] += part.n_paths
    assert served.tolist() == sizes
    assert len(rounds) <= n_rounds + len(cells)


def test_large_cells_are_interleaved():
    rounds = plan_rounds([Cell("a", None, 100), Cell("b", None, 100)], 4)
    assert [part.cell for part in rounds] == [0, 1, 0, 1]


def test_a_share_too_small_for_one_path_keeps_its_cell_in_the_plan():
    cells = plan_cells(QuotaConfig(discipline={"law": 1, "physics": 1000}), 10)
    assert cells == [Cell("law", None, 0), Cell("physics", None, 10)]
    assert [part.cell for part in plan_rounds(cells, 2)] == [1, 1]


@pytest.mark.parametrize(
    "quota",
    [
        {"difficulty": {"6": 1}},
        {"discipline": {"law": -1}},
        {"discipline": {"law": 0}},
        {"cross_discipline": 2},
        {"cross_discipline": 0.4, "min_own_share": 0.6},
    ],
)
def test_an_invalid_quota_is_refused(quota):
    with pytest.raises(ConfigError):
        QuotaConfig(**quota)
