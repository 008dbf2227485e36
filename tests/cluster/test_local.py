"""The same results, in the same order, for any number of worker processes, also when some of them die."""

import itertools
import os
import subprocess
import sys
import time

import psutil
import pytest

from linksyn_gpu.cluster import IN_PROCESS_SHARDS, TRIES, open_workers
from linksyn_gpu.errors import ConfigError, DataError, WorkerError
from tests.cluster import shards

SQUARES = [n * n for n in range(50)]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_results_come_in_the_order_of_the_shards(workers):
    with open_workers(workers) as mapped:
        assert list(mapped(shards.square, range(50))) == SQUARES
        assert list(mapped(shards.Scaled(3), range(5))) == [0, 3, 6, 9, 12]  # the same workers, another function
        assert list(mapped(shards.prints, range(3))) == [0, 1, 2]
        assert list(mapped(shards.square, [])) == []


def test_a_shard_whose_worker_is_killed_is_computed_again(tmp_path):
    with open_workers(2) as mapped:
        assert list(mapped(shards.Dies(tmp_path, (0, 7, 8, 49)), range(50))) == SQUARES


def test_a_shard_that_kills_each_worker_is_an_error_and_the_results_before_it_are_given(tmp_path):
    with open_workers(2) as mapped:
        found = mapped(shards.Dies(tmp_path, (3,), always=True), range(50))
        assert list(itertools.islice(found, 3)) == [0, 1, 4]
        with pytest.raises(WorkerError, match=f"died {TRIES} times"):
            next(found)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_function_is_raised_where_its_result_would_come(workers):
    with open_workers(workers) as mapped:
        found = mapped(shards.fails, range(50))
        assert list(itertools.islice(found, 5)) == [0, 1, 2, 3, 4]
        with pytest.raises(DataError, match="row 5 is damaged"):
            next(found)
        with pytest.raises(KeyError):
            list(mapped(shards.fails, [7]))
        assert list(mapped(shards.square, range(5))) == SQUARES[:5]


def test_shards_are_read_ahead_within_a_bound():
    read = []

    def made():
        for n in range(100):
            read.append(n)
            yield n

    with open_workers(2) as mapped:
        for done, _ in enumerate(mapped(shards.square, made())):
            assert len(read) <= done + 4


def test_few_shards_are_computed_in_this_process_unless_the_number_of_workers_is_set(monkeypatch):
    monkeypatch.setattr("linksyn_gpu.cluster.default_workers", lambda: 2)
    few, many = range(IN_PROCESS_SHARDS), range(IN_PROCESS_SHARDS + 1)
    with open_workers() as mapped:
        assert set(mapped(shards.pid, few)) == {os.getpid()}
        assert os.getpid() not in set(mapped(shards.pid, many))
    with open_workers(2) as mapped:
        assert os.getpid() not in set(mapped(shards.pid, few))
    with open_workers(1) as mapped:
        assert set(mapped(shards.pid, many)) == {os.getpid()}


def test_no_worker_outlives_the_block_or_an_abandoned_iteration():
    with open_workers(2) as mapped:
        found = mapped(shards.pid, range(1000))
        pids = {next(found) for _ in range(10)}
    assert pids
    assert not any(map(psutil.pid_exists, pids))


def test_workers_end_when_the_main_process_is_killed():
    script = """
from linksyn_gpu.cluster import open_workers
from tests.cluster import shards
with open_workers(2) as mapped:
    for pid in mapped(shards.pid, range(10**9)):
        print(pid, flush=True)
"""
    main = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    pids = {int(main.stdout.readline()) for _ in range(10)}
    main.kill()
    main.communicate()
    deadline = time.monotonic() + 20
    while any(map(psutil.pid_exists, pids)):
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.05)


def test_a_script_without_a_main_guard_is_not_run_again_in_the_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from linksyn_gpu.cluster import open_workers\n"
        "from tests.cluster import shards\n"
        "print('once')\n"
        "with open_workers(2) as mapped:\n"
        "    print(sum(mapped(shards.square, range(50))))\n"
    )
    path = os.pathsep.join(entry or "." for entry in sys.path)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert (done.stdout, done.stderr) == (f"once\n{sum(SQUARES)}\n", "")


def test_without_ray_a_cluster_is_a_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"linksyn-gpu\[ray\]"), open_workers(cluster="auto"):
        pass
