"""The value function: targets, levels, feedback and calibration, against formulas computed by hand."""

import numpy as np
import pytest

from linksyn_gpu.backend.reference import operations as reference
from linksyn_gpu.errors import DataError
from linksyn_gpu.sampling.value import divergence, gini, level_kernel, target_shares

F = np.array([1, 4, 9, 0], np.int64)


def test_target_is_popularity_at_tau_1_and_uniform_at_tau_0():
    assert target_shares(F, 1.0) == pytest.approx([1 / 14, 4 / 14, 9 / 14, 0])
    assert target_shares(F[:3], 0.0) == pytest.approx([1 / 3] * 3)
    assert target_shares(F, 0.5) == pytest.approx([1 / 6, 2 / 6, 3 / 6, 0])


def test_own_and_foreign_kps_have_their_shares_however_many_there_are():
    own = np.array([1, 0, 0, 2], np.int64)
    seeds = np.array([1, 50, 50, 4], np.int64)
    target = target_shares(seeds, 1.0, own_count=own, cross_discipline=0.1)
    foreign = np.array([0, 50, 50, 2]) / 102
    assert target == pytest.approx(0.9 * own / 3 + 0.1 * foreign)
    assert target_shares(seeds, 0.0, own_count=own) == pytest.approx([0.5, 0, 0, 0.5])


def test_kps_without_rated_seeds_are_neutral():
    kernel = level_kernel(np.array([3.0, 5.0, np.nan]), 3, 1.0)
    assert kernel == pytest.approx([1.0, np.exp(-2.0), (1.0 + np.exp(-2.0)) / 2])
    assert level_kernel(np.full(2, np.nan), 3, 1.0).tolist() == [1.0, 1.0]
    assert target_shares(F[:3], 0.0, kernel=np.array([1.0, 0.0, 3.0])) == pytest.approx([0.25, 0, 0.75])


@pytest.mark.parametrize(("beta", "power"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (2.0, 2.0)])
def test_value_is_potential_times_feedback(beta, power):
    target = np.array([0.5, 0.25, 0.25])
    visits = np.array([8, 0, 2], np.int64)
    potential = np.array([2.0, 1.0, 1.0])
    deficit = np.array([(5 + 1) / 9, (2.5 + 1) / 1, (2.5 + 1) / 3])
    value = reference.node_value(target, potential, visits, beta)
    assert value == pytest.approx(potential * deficit**power, rel=1e-15)


def test_value_is_clipped_and_zero_without_a_target():
    target = np.array([1.0, 0.0])
    value = reference.node_value(target, np.array([1024.0, 1.0]), np.array([0, 10**12], np.int64), 2.0)
    assert value.tolist() == [2.0**20, 0.0]
    low = reference.node_value(np.array([1e-9, 1.0]), np.ones(2), np.array([10**9, 0], np.int64), 2.0)
    assert low[0] == 2.0**-20


def test_calibration_moves_the_potential_by_the_square_root_and_within_its_bounds():
    target, visits = np.array([0.5, 0.5]), np.array([7, 1], np.int64)
    moved = reference.calibrated_potential(np.ones(2), target, visits)
    assert moved == pytest.approx([np.sqrt(5 / 8), np.sqrt(5 / 2)])
    for _ in range(60):
        moved = reference.calibrated_potential(moved, target, np.array([10**6, 0], np.int64))
    assert moved.tolist() == [2.0**-10, 2.0**10]


def test_divergence_is_zero_on_target_and_log_2_when_half_is_missed():
    reachable = np.array([True, True, False])
    assert divergence(np.array([5, 5, 0]), np.array([0.3, 0.3, 0.4]), reachable) == pytest.approx(0.0)
    assert divergence(np.array([5, 0, 0]), np.array([0.3, 0.3, 0.4]), reachable) == pytest.approx(np.log(2))
    with pytest.raises(DataError):
        divergence(np.zeros(3, np.int64), np.ones(3), reachable)


def test_gini_runs_from_equality_to_one_taking_all():
    assert gini([3, 3, 3]) == pytest.approx(0.0)
    assert gini([0, 0, 0, 8]) == pytest.approx(0.75)
    assert gini([]) == 0.0
