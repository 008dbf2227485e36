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
from tests.requests import requests_of

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


def test_a_missing_server_gives_one_line_that_says_how_to_fix_it(tmp_path):
    words = ("run", SEEDS, "--out", tmp_path / "out", *QUICK, "--engine", "openai", "--base-url")
    assert "--base-url" in invoke(*words, "http://127.0.0.1:9/v1", code=1).stderr


def said(status, message, **more):
    return {"status": status, "json": {"error": {"message": message, **more}}}


def test_a_run_survives_an_empty_account_a_spent_quota_and_changed_parameters_without_force(tmp_path):
    """Each call meets another refusal; each request is answered once, and none is dropped."""
    out = tmp_path / "out"
    words = ("run", SEEDS, "--out", out, *QUICK, "--engine", "openai", "--base-url")

    def after(n, refusal):
        return lambda body, asked: reply(body, asked) if len(server.bodies) <= start + n else refusal

    with FakeServer() as server:
        for n, refusal, shown in (
            (3, said(402, "Insufficient Balance"), "Insufficient Balance"),
            (2, said(429, "No quota left", code="insufficient_quota"), "No quota left"),
            (0, said(404, "The model `fake` does not exist"), "does not exist"),
        ):
            start = len(server.bodies)
            server.script = after(n, refusal)
            result = invoke(*words, server.url, code=3)
            assert shown in result.stderr
            assert "0 dropped" in result.stdout

        def picky(body, n):
            for name, status in (("seed", 422), ("temperature", 400)):
                if name in body:
                    return said(status, f"{name}: Extra inputs are not permitted")
            if body["max_tokens"] > 600:
                return said(400, "maximum context length is 1024 tokens and your request has 424 input tokens")
            return reply(body, n)

        server.script = picky
        result = invoke(*words, server.url)
    assert "no answer yet" not in result.stdout
    rows = [json.loads(line) for line in (out / "qa.jsonl").read_text(encoding="utf-8").splitlines()]
    adapted = [row for row in rows if row["left_out"]]
    assert adapted
    assert all(row["left_out"] == ["seed", "temperature"] for row in adapted)
    assert all((row["seed"], row["temperature"], row["max_tokens"]) == (None, None, 600) for row in adapted)
    assert all(row["temperature"] == 0.7 and row["seed"] is not None for row in rows if not row["left_out"])
    answered = [json.loads(line.split(" ", 1)[1]) for line in journal_lines(out)]
    assert {record["kind"] for record in answered} == {"completion"}
    assert len(answered) == len({record["id"] for record in answered})


def test_the_answer_limit_may_change_without_force_and_no_request_is_sent_twice(tmp_path):
    out = tmp_path / "out"
    words = ("run", SEEDS, "--out", out, *QUICK, "--engine", "openai", "--base-url")

    def half(body, n):
        return reply(body, n) if len(server.bodies) <= 4 else {"status": 500, "json": {}}

    with FakeServer(half) as server:
        invoke(*words, server.url, code=3)
        paid = {name for name, n in server.asked.items() if n == 1}
        server.script = reply
        server.bodies.clear()
        server.asked.clear()
        invoke("synthesize", out, "--max-tokens", "333")
        assert {body["max_tokens"] for body in server.bodies} == {333}
        assert set(server.asked.values()) == {1}
        assert len(paid & server.asked.keys()) <= len(paid) - 4 + 1
        asked = sum(server.asked.values())
        invoke("synthesize", out, "--max-tokens", "444")
        assert sum(server.asked.values()) == asked, "a finished stage asks nothing"


@pytest.mark.parametrize("limit", [(), ("--max-requests", 2)], ids=["all", "up to a limit"])
def test_a_run_in_which_every_answer_is_unusable_does_not_exit_with_0(tmp_path, limit):
    words = ("run", SEEDS, "--out", tmp_path / "out", *QUICK, *limit, "--engine", "openai", "--base-url")
    with FakeServer(lambda body, n: ok("I would rather not.")) as server:
        result = invoke(*words, server.url, code=3)
    assert "No request had a usable answer" in result.stderr


def test_extraction_stops_at_an_empty_account_too_and_goes_on_later(tmp_path):
    words = ("run", SEEDS, "--out", tmp_path / "out", *QUICK, "--extractor", "llm", "--engine", "openai", "--base-url")
    with FakeServer(lambda body, n: said(402, "Insufficient Balance")) as server:
        assert "Insufficient Balance" in invoke(*words, server.url, code=3).stderr


def test_a_password_in_an_address_is_refused_and_stored_nowhere(tmp_path):
    out = tmp_path / "out"
    for url in ("http://user:hunter2@127.0.0.1:9/v1", "http://127.0.0.1:9/v1?key=hunter2"):
        result = invoke("run", SEEDS, "--out", out, *QUICK, "--engine", "openai", "--base-url", url, code=2)
        assert "LINKSYN_API_KEY" in result.stderr
        assert "hunter2" not in result.output
    assert not any(b"hunter2" in path.read_bytes() for path in out.rglob("*") if path.is_file())


def test_batch_files_leave_out_and_rename_parameters(tmp_path):
    out = tmp_path / "out"
    flags = ("--without", "temperature,seed", "--rename", "max_tokens=max_completion_tokens")
    invoke(
        "run",
        SEEDS,
        "--out",
        out,
        "--paths",
        "12",
        "--calibration-rounds",
        "2",
        "--engine",
        "batch",
        "--model",
        "m",
        *flags,
    )
    lines = (out / "requests/requests-00000.jsonl").read_text(encoding="utf-8").splitlines()
    for line in lines:
        body = json.loads(line)["body"]
        assert not {"temperature", "seed", "max_tokens"} & body.keys()
        assert body["max_completion_tokens"] == 1024
    result = invoke("synthesize", out, "--without", "temperature,seed,top_p", "--max-tokens", "99")
    assert "requests-pending/*.jsonl" in result.stdout
    pending = [json.loads(line) for line in (out / "requests-pending/requests-00000.jsonl").read_text().splitlines()]
    assert [row["custom_id"] for row in pending] == [json.loads(line)["custom_id"] for line in lines]
    assert all("top_p" not in row["body"] for row in pending)
    assert all(row["body"]["max_completion_tokens"] == 99 for row in pending)
    assert (
        "'speed' is not a parameter of a request; allowed: temperature"
        in invoke("synthesize", out, "--without", "speed", code=2).stderr
    )


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
        requests = len(requests_of(out))
        answered = [json.loads(line.split(" ", 1)[1])["id"] for line in journal_lines(out)]
        assert kills >= 3
        assert len(answered) == len(set(answered)) == requests, "an answer is lost, or is there twice"
        assert len(server.bodies) <= requests + 4 * kills, "more was asked again than was in flight"
    kept = (out / "qa.jsonl").read_text(encoding="utf-8").count("\n")
    assert f"{requests} written = {kept} kept" in CliRunner().invoke(main, ["report", str(out)]).stdout


def journal_lines(out):
    for path in sorted((out / "journal").glob("answers-*.jsonl")):
        yield from path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("flags", [(), ("--engine", "vllm", "--model", "m")])
def test_an_address_that_the_engine_would_ignore_is_refused(tmp_path, flags):
    refused = invoke("run", SEEDS, "--out", tmp_path / "out", "--base-url", "http://127.0.0.1:9/v1", *flags, code=2)
    assert "--engine openai" in refused.stderr
