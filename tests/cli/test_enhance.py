"""The command line of stage enhance, within `run` and alone: its table, exit codes and flags."""

import json
import signal
import subprocess
import sys
import time

import pytest

from linksyn_gpu.cli.summary import judged_table
from linksyn_gpu.llm.protocol import Failure
from tests.cli.test_server import SEEDS, invoke
from tests.enhancing import kind_of
from tests.llm.fake_server import FakeServer
from tests.pipeline.test_enhance_stage import Server

SETTINGS = """
paths = 8
[walk]
calibration_rounds = 2
[synthesis]
engine = "openai"
question_types = ["open"]
language = "en"
max_attempts = 1
concurrency = 1
"""


@pytest.fixture
def words(tmp_path):
    (tmp_path / "run.toml").write_text(SETTINGS, encoding="utf-8")
    return ("run", SEEDS, "--out", tmp_path / "out", "--config", tmp_path / "run.toml", "--base-url")


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_run_enhances_and_prints_the_levels_asked_and_reached(tmp_path, words):
    flags = ("--enhance-disciplines", "all", "--enhance-level", "4", "--enhance-tries", "2", "--enhance-solves", "2")
    model = Server()
    with FakeServer(model) as server:
        done = invoke(*words, server.url, *flags)
    assert model.asked["solve"] == 2 * 8
    rows = lines_of(tmp_path / "out" / "enhanced.jsonl")
    assert [row["level_judged"] for row in rows] == [4] * 8
    assert "enhanced   8 QA = " in done.stdout
    assert "level (target: 4)  1  2  3  4  5  unknown  all" in done.stdout
    assert "after              0  0  0  8  0        0    8" in done.stdout
    assert "enhanced.jsonl" in done.stdout
    report = invoke("report", tmp_path / "out").stdout
    assert "after              0  0  0  8  0        0    8" in report
    assert "4 (target)" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_run_without_disciplines_does_not_enhance(tmp_path, words):
    model = Server()
    with FakeServer(model) as server:
        done = invoke(*words, server.url)
    assert set(model.asked) == set()
    assert "enhanced" not in done.stdout
    assert not (tmp_path / "out" / "enhanced.jsonl").exists()


def test_pending_rows_give_exit_code_3_and_the_command_alone_continues(tmp_path, words):
    class Flaky(Server):
        broken = True

        def reply(self, body):
            if self.broken and kind_of(body) == "judge" and "Q2 " in body["messages"][-1]["content"]:
                return Failure("", "server_error", "")
            return super().reply(body)

    model = Flaky()
    out = tmp_path / "out"
    with FakeServer(model) as server:
        first = invoke(*words, server.url, "--enhance-disciplines", "all", "--enhance-level", "4", code=3)
        assert "pending: server_error 1" in first.stdout
        assert "run the same command again" in first.stderr
        model.broken = False
        again = invoke("enhance", out)  # the folder remembers the stage, the engine and its address
        assert "pending:" not in again.stdout
        assert invoke("enhance", out).stdout == again.stdout
    assert set(model.answered.values()) == {1}
    assert len(lines_of(out / "enhanced.jsonl")) == 8


def test_the_command_alone_takes_disciplines_separated_by_commas(tmp_path, words):
    out = tmp_path / "out"
    with FakeServer(Server()) as server:
        invoke(*words, server.url)
        names = sorted({row["discipline"] for row in lines_of(out / "qa.jsonl")})
        chosen = names[:2]
        invoke("enhance", out, "--enhance-disciplines", f"{chosen[0]} , {chosen[1]}", "--enhance-level", "4")
        rows = lines_of(out / "enhanced.jsonl")
        assert {row["discipline"] for row in rows if row["asked_level"]} == set(chosen)
        assert {row["discipline"] for row in rows if row["asked_level"] is None} == set(names[2:])
        other = invoke("enhance", out, "--enhance-level", "3", code=2)
        assert "enhance.level was 4, is 3" in other.stderr
        assert "after" in invoke("enhance", out, "--enhance-level", "3", "--force").stdout


def test_a_missing_or_wrong_setting_is_reported_in_one_line(tmp_path, words):
    out = tmp_path / "out"
    with FakeServer(Server()) as server:
        invoke(*words, server.url)
    assert "--enhance-disciplines" in invoke("enhance", out, code=2).stderr
    assert "empty name" in invoke("enhance", out, "--enhance-disciplines", "law,,physics", code=2).stderr
    assert "level = 7" in invoke("enhance", out, "--enhance-disciplines", "law", "--enhance-level", "7", code=2).stderr
    batch = invoke("enhance", out, "--enhance-disciplines", "all", "--engine", "batch", "--model", "m", code=2)
    assert "--engine openai" in batch.stderr


@pytest.mark.slow
def test_a_run_killed_while_it_enhances_repeats_only_the_requests_in_flight(tmp_path, words):
    """SIGKILL in every step. Each answer is in the journal and its request is not sent again."""
    out, kills, at_once = tmp_path / "out", 0, 1

    class Slow(Server):
        def __call__(self, body, n):
            return {**super().__call__(body, n), "latency": 0.03}

    model = Slow()
    with FakeServer(model) as server:
        invoke(*words, server.url)
        model.answered.clear()
        flags = ("--enhance-disciplines", "all", "--enhance-level", "4")
        command = [sys.executable, "-m", "linksyn_gpu", "enhance", str(out), *flags]
        for _ in range(20):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            before = model.answered.total()
            while process.poll() is None and model.answered.total() < before + 9:
                time.sleep(0.005)
            if process.poll() is not None:
                break
            process.kill()
            assert process.wait() == -signal.SIGKILL, "the run ended before the kill"
            kills += 1
    assert process.wait() == 0
    assert kills >= 3
    assert model.answered.total() <= len(model.answered) + (at_once + 1) * kills
    assert len(lines_of(out / "enhanced.jsonl")) == 8


def test_the_table_of_levels_counts_each_pair_of_asked_and_judged_once():
    table = judged_table({("2", "2"): 3, ("2", "4"): 1, ("any", "5"): 1200})
    rows = [line.split() for line in table.splitlines() if line.strip()]
    assert rows[-2:] == [["level", "2", "0", "3", "0", "1", "0"], ["any", "0", "0", "0", "0", "1,200"]]
