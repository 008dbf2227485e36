"""Servers that start, die, hang and stay behind, in virtual time: never two at once, and none is left."""

import pytest

from linksyn_gpu.llm.servers.supervisor import Supervisor
from tests.simulation.supervisor import RESTARTS, supervise
from tests.simulation.world import Violation

SEEDS = range(300)


def test_one_server_at_a_time_and_none_is_left(tmp_path):
    assert {1, RESTARTS + 1} <= supervise_all(tmp_path / "log")


def supervise_all(log):
    """How often the server was started, in any of the runs."""
    return {len(supervise(seed, log).servers) for seed in SEEDS}


def leaves_the_server(patch):
    patch.setattr(Supervisor, "_end", lambda supervisor: None)


def kills_no_orphans(patch):
    patch.setattr(Supervisor, "_kill", lambda supervisor: None)


def is_up_at_once(patch):
    patch.setattr(Supervisor, "_until_up", lambda supervisor, began: None)


@pytest.mark.parametrize("plant", [leaves_the_server, kills_no_orphans, is_up_at_once])
def test_a_planted_bug_is_found(plant, monkeypatch, tmp_path):
    plant(monkeypatch)
    with pytest.raises(Violation):
        supervise_all(tmp_path / "log")
