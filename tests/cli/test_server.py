"""The command line against a server that speaks the OpenAI protocol: it fails, it comes back, and the run is killed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from linksyn_gpu.cli import main
from tests.llm.fake_server import FakeServer, ok

SEEDS = str(Path(__file__).parents[2] / "examples" / "seeds.jsonl")
QUICK = ("--paths", "12", "--calibration-rounds", "2", "--concurrency", "4")


def reply(body, n):
    """A usable answer that differs from request to request."""
    tag = body["messages"][-1]["content"]
    item = {
        "question": f"What follows in case {abs(hash(tag)) % 10**9} once its first premise is dropped?",
        "options": ["nothing", "the converse", "the premise", "a doubt"],
        "answer": "nothing",
        "explanation": "",
        "knowledge_points": [],
        "discipline": "law",
        "difficulty": 2,
    }
    return ok(json.dumps({"qa": [item]}))


def failing(body, n):
    return {"status": 500, "json": {"error": {"message": "out of order"}}}


def invoke(*words, code=0):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def test_a_server_that_fails_stops_the_run_early_and_a_later_call_goes_on(tmp_path):
    out = tmp_path / "out"
    with FakeServer(failing) as server:
        first = invoke("run", SEEDS, "--out", out, *QUICK, "--engine", "openai", "--base-url", server.url, code=3)
        assert "run the same command again" in first.stderr
        assert "requests have no answer yet" in first.stdout
        server.script = reply
        again = invoke("synthesize", out)  # the folder remembers engine and address
        assert "no answer yet" not in again.stdout
        asked = sum(server.asked.values())
        assert invoke("synthesize", out).stdout == again.stdout
        assert sum(server.asked.values()) == asked, "a finished stage asks nothing"
    assert (out / "qa.jsonl").read_text(encoding="utf-8")


def test_no_server_is_one_line_that_says_how_to_fix_it(tmp_path):
    words = ("run", SEEDS, "--out", tmp_path / "out", *QUICK, "--engine", "openai", "--base-url")
    assert "--base-url" in invoke(*words, "http://127.0.0.1:9/v1", code=1).stderr


@pytest.mark.slow
def test_a_run_killed_while_it_asks_loses_nothing_and_asks_nothing_twice(tmp_path):
    """SIGKILL with requests in flight, several times: each request is answered once, only those in flight are lost."""
    out = tmp_path / "out"
    flags = ["--paths", "150", "--calibration-rounds", "2", "--concurrency", "4", "--engine", "openai", "--base-url"]
    kills = 0

    def slow(body, n):
        return {**reply(body, n), "latency": 0.05}

    with FakeServer(slow) as server:
        command = [sys.executable, "-m", "linksyn_gpu", "run", SEEDS, "--out", str(out), *flags, server.url]
        for _ in range(20):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            before = len(server.bodies)
            while process.poll() is None and (len(server.bodies) < before + 25 or not server.in_flight):
                time.sleep(0.005)
            if process.poll() is not None:
                break
            process.kill()
            kills += process.wait() == -signal.SIGKILL
        assert process.wait() == 0
        requests = (out / "requests.jsonl").read_text(encoding="utf-8").count("\n")
        answered = [json.loads(line.split(" ", 1)[1])["id"] for line in journal_lines(out)]
        assert kills >= 3
        assert len(answered) == len(set(answered)) == requests, "an answer is lost, or is there twice"
        assert len(server.bodies) <= requests + 4 * kills, "more was asked again than was in flight"
    kept = (out / "qa.jsonl").read_text(encoding="utf-8").count("\n")
    assert f"{requests} generated = {kept} kept" in CliRunner().invoke(main, ["report", str(out)]).stdout


def journal_lines(out):
    for path in sorted((out / "journal").glob("answers-*.jsonl")):
        yield from path.read_text(encoding="utf-8").splitlines()
