"""Campaigns under simulated faults: a short list of seeds. `bench/faults.py` runs any number of them."""

import pytest

from tests.simulation.run import simulate

FIXED = 120


@pytest.mark.parametrize("first", range(0, FIXED, 20))
def test_every_promise_holds_under_faults(first):
    for seed in range(first, first + 20):
        simulate(seed)


def test_the_same_seed_is_the_same_run():
    traces = [], []
    for trace in traces:
        simulate(7, trace.append)
    assert traces[0] == traces[1]
    assert len(traces[0]) > 100


def test_the_fixed_runs_meet_every_kind_of_fault():
    lives = sum((simulate(seed).lives for seed in range(1, 30)), start=simulate(0).lives)
    assert {"calm", "kill", "power cut", "error", "full disk"} <= lives.keys()
