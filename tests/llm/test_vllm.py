"""Engine 'vllm' with a stand-in for the program: started, watched, restarted, and always ended."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from linksyn_gpu.cli import main
from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.client import Limits
from linksyn_gpu.llm.dispatch import ask_all
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.llm.servers import launch, supervisor, vllm
from tests.llm.fake_server import request

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="engine 'vllm' is for Linux")

STANDIN = Path(__file__).with_name("standin_vllm.py")
ROOT = Path(__file__).parents[2]
PROGRAM = shlex.join([sys.executable, "-S", str(STANDIN)])
FAST = Limits(concurrency=8, timeout=20.0, max_attempts=2, backoff=0.01, backoff_cap=0.05, unreachable_after=0.3)


@pytest.fixture(autouse=True)
def _no_device(monkeypatch):
    monkeypatch.setattr(vllm, "devices", list)


def settings_of(folder, *words, **settings):
    words = ("--folder", str(folder), *words)
    return SynthesisConfig(engine="vllm", model="small", vllm_command=PROGRAM, vllm_args=words, **settings)


def starts(folder):
    return [json.loads(line) for line in (folder / "starts.jsonl").read_text().splitlines()]


def pids(folder):
    return [pid for start in starts(folder) for pid in start["pids"]]


def alive(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def left(folder, seconds=0.0):
    """Processes of the stand-in that are still there after so long."""
    deadline = time.monotonic() + seconds
    while (found := [pid for pid in pids(folder) if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def answer_all(config, folder, n, limits=FAST):
    """Ask `n` requests; their records by id."""
    with Journal(folder / "journal") as journal, launch.running(config, folder=folder) as engine:
        stats = ask_all([request(f"r{i}") for i in range(n)], engine, journal, limits=limits)
        records = list(journal.read())
    assert sorted(record["id"] for record in records) == sorted(f"r{i}" for i in range(n)), "each is answered once"
    return {record["id"]: record for record in records}, stats


def test_it_starts_answers_and_is_stopped_with_all_its_processes(tmp_path, capfd):
    _, stats = answer_all(settings_of(tmp_path), tmp_path, 20)
    assert stats.completed == 20
    assert len(starts(tmp_path)) == 1
    assert left(tmp_path) == []
    assert "serving small" in (tmp_path / "vllm.log").read_text()
    said = capfd.readouterr().err
    for part in ("vLLM: starting small on 127.0.0.1:", str(tmp_path / "vllm.log"), "vLLM: ready after", "stopping"):
        assert part in said


def test_its_key_is_in_no_command_line_log_or_message(tmp_path, capfd):
    with launch.running(settings_of(tmp_path), folder=tmp_path) as engine:
        key = engine.api_key
        assert len(key) == 32
        for pid in pids(tmp_path):
            assert key.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert key not in repr(engine)
    assert key not in (tmp_path / "vllm.log").read_text() + (tmp_path / "starts.jsonl").read_text()
    assert key not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "fault",
    [
        ("--die-at", "12"),
        pytest.param(("--die-at", "12", "--stubborn"), marks=pytest.mark.slow),
        ("--lose-engine-at", "12"),
    ],
    ids=["dies", "dies-and-leaves-a-stubborn-worker", "loses-its-engine"],
)
def test_a_server_that_dies_is_restarted_and_no_request_loses_an_attempt(fault, tmp_path, capfd):
    config = settings_of(tmp_path, *fault, "--latency", "0.02")
    records, stats = answer_all(config, tmp_path, 60)
    assert stats.completed == 60
    assert {record["attempts"] for record in records.values()} == {1}
    assert stats.retries["server_died"] >= 1
    first, second = starts(tmp_path)
    assert first["argv"] == second["argv"], "the same port"
    assert "restart 1 of 3" in capfd.readouterr().err
    assert left(tmp_path) == []


class Scripted:
    """A watch with a fixed state."""

    state, detail, starts = "starting", "failed for good, says the watch", 1


def test_a_starting_server_counts_as_reachable_until_its_watch_reports_a_failure(tmp_path):
    watch = Scripted()
    engine = Engine(f"http://127.0.0.1:{vllm.free_port()}/v1", "small", watch=watch)
    giving_up = threading.Timer(3 * FAST.unreachable_after, setattr, (watch, "state", "failed"))
    giving_up.start()
    with Journal(tmp_path) as journal, pytest.raises(EngineError, match="failed for good, says the watch"):
        ask_all([request("r")], engine, journal, limits=FAST)
    giving_up.join()


def test_a_server_that_dies_each_time_ends_the_run_and_answers_are_kept(tmp_path):
    config = settings_of(tmp_path, "--die-at", "5", "--lives", "9", vllm_restarts=2)
    with (
        Journal(tmp_path / "journal") as journal,
        launch.running(config, folder=tmp_path) as engine,
        pytest.raises(EngineError) as error,
    ):
        ask_all([request(f"r{i}") for i in range(60)], engine, journal, limits=FAST)
    assert len(starts(tmp_path)) == 3
    assert "started 3 times" in str(error.value)
    assert str(tmp_path / "vllm.log") in str(error.value)
    assert "dying on request" in str(error.value)
    with Journal(tmp_path / "journal") as journal:
        records = list(journal.read())
    assert 1 <= len(records) <= 12
    assert {record["kind"] for record in records} == {"completion"}, "a dead server is no request's failure"
    assert left(tmp_path) == []


def test_a_server_that_does_not_start_is_not_restarted_and_its_log_is_shown(tmp_path):
    with pytest.raises(EngineError, match="no such model, says the stand-in") as error:
        launch.running(settings_of(tmp_path, "--refuse"), folder=tmp_path).__enter__()
    assert "ended with status 1" in str(error.value)
    assert len(starts(tmp_path)) == 1
    assert left(tmp_path) == []


def test_a_server_that_is_never_ready_is_stopped_after_the_time_allowed(tmp_path):
    config = settings_of(tmp_path, "--never-ready", vllm_start_timeout=1.5)
    with pytest.raises(EngineError, match=r"not ready after 1\.5 s"):
        launch.running(config, folder=tmp_path).__enter__()
    assert len(starts(tmp_path)) == 1
    assert left(tmp_path) == []


def test_a_server_that_ignores_sigterm_is_killed(tmp_path):
    port = vllm.free_port()
    words = [*shlex.split(PROGRAM), "serve", "small", "--port", str(port), "--folder", str(tmp_path), "--stubborn"]
    command = supervisor.Command("stand-in", words, {**os.environ, "VLLM_API_KEY": "k"}, port)
    log = tmp_path / "a.log"
    with supervisor.Supervisor(command, log, restarts=0, start_timeout=20.0, grace=0.2, say=lambda line: None):
        assert len(left(tmp_path)) == 2
    assert left(tmp_path) == []
    assert "SIGKILL" in log.read_text()


def test_it_is_stopped_when_the_block_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), launch.running(settings_of(tmp_path), folder=tmp_path):
        1 / 0  # noqa: B018
    assert left(tmp_path) == []


OWNER = """
import sys, time
from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.servers import launch, vllm
vllm.devices = list
folder, program = sys.argv[1:]
config = SynthesisConfig(engine="vllm", model="small", vllm_command=program, vllm_args=("--folder", folder))
with launch.running(config, folder=folder):
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_no_process_outlives_its_owner(number, tmp_path):
    """Ctrl-C as a terminal sends it, to the whole process group; and deaths that leave the owner no time."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=environment,
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"up\n", owner.communicate()[1].decode()
    assert len(left(tmp_path)) == 2
    os.killpg(owner.pid, number)
    owner.communicate(timeout=30)
    assert left(tmp_path, 10.0) == []
    assert not (tmp_path / "interrupted").exists(), "Ctrl-C went to the owner alone"


def test_several_stages_share_one_server_that_starts_when_it_is_first_needed(tmp_path):
    with launch.lazily(settings_of(tmp_path), folder=tmp_path):
        pass
    assert not (tmp_path / "starts.jsonl").exists()
    with launch.lazily(settings_of(tmp_path), folder=tmp_path) as engine:
        assert not (tmp_path / "starts.jsonl").exists()
        assert engine() is engine()
        assert len(left(tmp_path)) == 2
    assert len(starts(tmp_path)) == 1
    assert left(tmp_path) == []


def test_the_name_that_the_server_gives_the_model_is_used(tmp_path):
    config = settings_of(tmp_path, "--served-model-name", "other")
    with launch.running(config, folder=tmp_path) as engine:
        assert engine.model == "other"
        assert engine.watch is not None


def test_it_does_not_see_the_packages_of_this_program_and_gets_memory_for_its_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/of/this/program")
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    with launch.running(settings_of(tmp_path), folder=tmp_path):
        pass
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    with launch.running(settings_of(tmp_path), folder=tmp_path):
        pass
    first, second = (start["environment"] for start in starts(tmp_path))
    assert first["PYTHONPATH"] is None
    assert 1 <= int(first["VLLM_CPU_KVCACHE_SPACE"]) <= 4
    assert second["VLLM_CPU_KVCACHE_SPACE"] == "7", "what the user set stays"


def test_the_command_line_runs_a_whole_campaign_through_it(tmp_path):
    out = tmp_path / "out"
    words = ["run", str(ROOT / "examples" / "seeds.jsonl"), "--out", str(out), "--paths", "12"]
    words += ["--calibration-rounds", "2", "--concurrency", "4", "--engine", "vllm", "--model", "small"]
    words += ["--vllm-command", PROGRAM, "--vllm-args", f"--folder {shlex.quote(str(tmp_path))} --die-at 5"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert (out / "qa.jsonl").read_text(encoding="utf-8")
    assert len(re.findall(r"^== .* start \d", (out / "vllm.log").read_text(), re.MULTILINE)) == 2
    assert left(tmp_path) == []
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["stages"]["synthesize"]["operational"]["synthesis"]["vllm_command"] == PROGRAM
