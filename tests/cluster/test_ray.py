"""Text work as tasks of a Ray cluster: several nodes on this machine, of which some are killed."""

import pytest

from linksyn_gpu.cluster import TRIES, open_workers
from linksyn_gpu.errors import ConfigError, DataError, WorkerError
from tests.cluster import shards, test_files
from tests.cluster.test_files import assert_same, make

ray = pytest.importorskip("ray", reason="NOT CHECKED: pip install 'linksyn-gpu[ray]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # Ray leaves processes to the system
]

small_shards, once = test_files.small_shards, test_files.once
"""Fixtures of that module, for this one."""


def patiently(start):
    """Start something of Ray again that was not ready within Ray's 30 seconds: the machine is busy."""
    for left in (2, 1, 0):
        try:
            return start()
        except Exception as error:
            if left == 0 or "timed out during startup" not in str(error):
                raise
    return None


class Nodes:
    """A head without cores for tasks, and two nodes with one core each."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.address = cluster.address
        self.working = [self._add() for _ in range(2)]

    def _add(self):
        return patiently(lambda: self.cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20))

    def replace_one(self):
        """Kill a node with its workers; another one joins."""
        self.cluster.remove_node(self.working.pop(0), allow_graceful=False)
        self.working.append(self._add())


@pytest.fixture(scope="module")
def nodes():
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
    yield Nodes(cluster)
    ray.shutdown()
    cluster.shutdown()


def test_tasks_give_results_in_order_while_workers_and_nodes_die(nodes, tmp_path):
    with open_workers(cluster=nodes.address) as mapped:
        squares = [n * n for n in range(30)]
        found = []
        for place, result in enumerate(mapped(shards.Dies(tmp_path, (3, 9)), range(30))):
            found.append(result)
            if place == 5:
                nodes.replace_one()
        assert found == squares
        assert list(mapped(shards.Scaled(3), range(3))) == [0, 3, 6]
        with pytest.raises(DataError, match="row 5 is damaged"):
            list(mapped(shards.fails, range(9)))
        with pytest.raises(WorkerError, match=f"died {TRIES} times"):
            list(mapped(shards.Dies(tmp_path, (1,), always=True), range(2)))


def test_files_are_the_same_when_nodes_are_killed_during_rendering_and_checks(nodes, once, monkeypatch, tmp_path):
    from linksyn_gpu.cluster.ray_tasks import RayWorkers

    computed, killed_in = [], []
    submit = RayWorkers.submit

    def kill_once_per_step(self, function, shard):
        name = type(getattr(function, "func", function)).__name__
        computed.append(name)
        if name in ("Render", "Examine") and computed.count(name) == 3:
            nodes.replace_one()
            killed_in.append(name)
        return submit(self, function, shard)

    monkeypatch.setattr(RayWorkers, "submit", kill_once_per_step)
    assert_same(make(tmp_path, "--cluster", nodes.address), once)
    assert killed_in == ["Render", "Examine"]
    assert len(set(computed)) > 2


def test_a_cluster_without_nodes_is_an_error_instead_of_waiting_for_ever(nodes, monkeypatch):
    from linksyn_gpu.cluster import ray_tasks

    monkeypatch.setattr(ray_tasks, "WAIT_SECONDS", 0.5)
    monkeypatch.setattr(ray_tasks, "NODE_SECONDS", 1.0)
    with open_workers(cluster=nodes.address) as mapped:
        while nodes.working:
            nodes.cluster.remove_node(nodes.working.pop(), allow_graceful=False)
        with pytest.raises(WorkerError, match="no node left"):
            list(mapped(shards.square, range(3)))


def test_an_address_without_a_cluster_is_a_clear_error():
    with pytest.raises(ConfigError, match="there is no Ray cluster"), open_workers(cluster="127.0.0.1:1"):
        pass
