"""`plan` samples the campaign that `run` executes, asks for nothing, and says what it will give and cost."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import linksyn_gpu
from linksyn_gpu.sampling.causes import PATH_CAUSES
from tests.cli.test_server import QUICK, SEEDS, invoke, reply
from tests.llm.fake_server import FakeServer, ok

QUOTA = "[quota.discipline]\nphysics = 0.5\nlaw = 0.25\nmedicine = 0.25\n[quota.difficulty]\n2 = 0.5\n4 = 0.5\n"


def contents(out, *names):
    """Bytes of files of a run folder, those of requests/ included."""
    files = [out / name for name in names] + sorted((out / "requests").glob("*.jsonl"))
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def server_flags(server):
    return ("--engine", "openai", "--base-url", server.url, "--model", "fake", "--concurrency", "4")


def test_run_executes_the_planned_paths_and_requests(tmp_path):
    out, direct = tmp_path / "planned", tmp_path / "direct"
    with FakeServer(reply) as server:
        flags = (*QUICK, *server_flags(server))
        invoke("plan", SEEDS, "--out", out, *flags)
        assert not server.bodies, "a plan asks for nothing"
        planned = contents(out, "paths.parquet", "plan.json", "tasks.parquet")
        invoke("run", SEEDS, "--out", out, *flags)
        assert contents(out, "paths.parquet", "plan.json", "tasks.parquet") == planned
        asked = sorted(json.dumps(body, sort_keys=True) for body in server.bodies)
        server.bodies.clear()
        invoke("run", SEEDS, "--out", direct, *flags)
        assert contents(direct, "paths.parquet", "plan.json", "tasks.parquet") == planned
        assert sorted(json.dumps(body, sort_keys=True) for body in server.bodies) == asked
    assert (out / "qa.jsonl").read_bytes() == (direct / "qa.jsonl").read_bytes()


@pytest.mark.slow
def test_a_run_that_is_killed_executes_the_planned_paths_too(tmp_path):
    out = tmp_path / "out"

    def slow(body, n):
        return {**reply(body, n), "latency": 0.05}

    with FakeServer(slow) as server:
        flags = ("--paths", "60", "--calibration-rounds", "2", *server_flags(server))
        invoke("plan", SEEDS, "--out", out, *flags)
        planned = contents(out, "paths.parquet", "tasks.parquet")
        command = [sys.executable, "-m", "linksyn_gpu", "run", SEEDS, "--out", str(out), *flags]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(server.bodies) < 20:
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        invoke("run", SEEDS, "--out", out, *flags)
        assert contents(out, "paths.parquet", "tasks.parquet") == planned
    rows = pq.read_table(out / "tasks.parquet")["request_id"]
    assert json.loads((out / "manifest.json").read_text())["stages"]["synthesize"]["counts"]["answered"] == len(
        rows.drop_null()
    )


def test_the_forecast_counts_tokens_cost_and_time(tmp_path):
    out = tmp_path / "out"
    with FakeServer(reply) as server:
        server.tokenizer = lambda path, body: {"count": 500 + len(body["messages"])}
        flags = (*QUICK, *server_flags(server), "--price-in", "0.5", "--price-out", "2", "--tokens-per-second", "100")
        text = invoke("plan", SEEDS, "--out", out, *flags, "--tokens", "50e9").stdout
        found = json.loads((out / "forecast.json").read_text())
        assert (found["requests"], found["prompt_tokens"]) == (12, 12 * 502)
        assert (found["prompt_tokens_by"], found["prompt_tokens_error"]) == ("the server's tokenizer", 0.0)
        assert (found["completion_tokens"], found["hours"]) == (3600, 3600 / 100 / 3600)
        assert found["cost"] == (12 * 502 * 0.5 + 3600 * 2) / 1e6
        assert "not measured yet: kept_share, bytes_per_answer" in text
        assert re.search(r"paths    = requests / requests_per_path = 166,666,667", text)
        invoke("run", SEEDS, "--out", out, *(*QUICK, *server_flags(server)))
        text = invoke("plan", SEEDS, "--out", out, *flags, "--tokens", "50e9").stdout
        measured = json.loads((out / "forecast.json").read_text())
    assert measured["completion_tokens_by"] == "mean of 12 answers in this folder"
    assert measured["completion_tokens"] == 12 * 5
    assert measured["not_measured"] == []
    assert measured["measured"]["bytes_per_answer"] > 100
    kept = len((out / "qa.jsonl").read_text(encoding="utf-8").splitlines())
    assert measured["measured"]["kept_share"] == kept / 12 > 0
    assert "not measured yet" not in text
    assert "Forecast" in (out / "report.html").read_text(encoding="utf-8")


def test_without_a_server_tokens_are_estimated_and_this_is_said(tmp_path):
    out = tmp_path / "out"
    text = invoke("plan", SEEDS, "--out", out, *QUICK, "--engine", "batch", "--model", "m").stdout
    tasks = pq.read_table(out / "tasks.parquet")
    total = sum(tasks["prompt_tokens_estimated"].to_pylist())
    assert f"{total:,} tokens to read, estimated from characters" in text
    assert "cost" not in text
    with FakeServer(reply) as server:
        text = invoke("plan", SEEDS, "--out", tmp_path / "other", *QUICK, *server_flags(server)).stdout
        assert "the server does not count tokens" in text
        total = sum(pq.read_table(tmp_path / "other" / "tasks.parquet")["prompt_tokens_estimated"].to_pylist())
        invoke("run", SEEDS, "--out", tmp_path / "other", *QUICK, *server_flags(server))
        text = invoke("plan", SEEDS, "--out", tmp_path / "other", *QUICK, *server_flags(server)).stdout
    assert "120 tokens to read, estimated from characters (4 per token, 1.5 for CJK" in text, "10 for each answer"
    assert f"times {120 / total:.3f}, as the answers" in text


def test_a_plan_explains_each_missing_path_and_shows_each_cell(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text(QUOTA)
    out = tmp_path / "out"
    flags = ("--paths", "300", "--calibration-rounds", "2", "--engine", "batch", "--model", "m", "--config", config)
    text = invoke("plan", SEEDS, "--out", out, *flags).stdout
    stats = linksyn_gpu.open_run(out).stats
    assert len(stats.cells) == 6
    for cell in stats.cells:
        assert set(cell["causes"]) <= set(PATH_CAUSES)
        assert sum(cell["causes"].values()) == cell["asked"] - cell["delivered"]
        assert cell["own_share"] > 0.5
        assert 0.0 <= cell["level_share"] <= 1.0
    assert sum(cell["delivered"] for cell in stats.cells) < 300
    assert "missing because of" in text
    kps = stats.campaign
    assert kps["visited"] + sum(kps["unvisited"].values()) == kps["kps"]
    assert kps["curve"][-1] == (
        sum(cell["delivered"] for cell in stats.cells),
        kps["visited"],
        stats.coverage.seeds_used,
    )
    assert kps["distinct_kp_sets"] == kps["curve"][-1][0], "campaigns draw distinct KP sets"


def test_each_missing_qa_has_a_cause_after_a_run(tmp_path):
    """Some answers repeat a seed, some are not JSON, and a limit leaves some requests unasked."""
    out = tmp_path / "out"
    seed = json.loads(Path(SEEDS).read_text(encoding="utf-8").splitlines()[0])

    def script(body, n):
        which = len(server.bodies) % 3
        if which == 0:
            return {
                "json": {**reply(body, n)["json"], "choices": [{"finish_reason": "stop", "message": {"content": "no"}}]}
            }
        if which == 1:
            item = {"question": seed["question"], "answer": "x"}
            text = json.dumps({"qa": [item, item]})
            return {
                "json": {**reply(body, n)["json"], "choices": [{"finish_reason": "stop", "message": {"content": text}}]}
            }
        return reply(body, n)

    with FakeServer(script) as server:
        flags = (*server_flags(server), "--per-path", "2", "--max-requests", "30", "--paths", "60")
        invoke("run", SEEDS, "--out", out, *flags, "--calibration-rounds", "2")
    (cell,) = linksyn_gpu.open_run(out).stats.cells
    qa = cell["qa"]
    assert qa["asked"] == 120
    assert sum(qa["causes"].values()) == 120 - qa["kept"]
    assert {name.split(":")[0] for name in qa["causes"]} >= {"lost_to_checks", "budget", "lost_in_answers"}


def test_the_causes_of_a_cell_that_was_asked_for_qa_add_up(tmp_path):
    """Every second answer is nearly the one before: stage curate leaves it out, and the bound on paths is reached."""
    out = tmp_path / "out"

    def script(body, n):
        word = ["alpha", "beta", "gamma", "delta", "epsilon"][len(server.bodies) // 8 % 5]
        item = {"question": f"Which {word} follows when {word} {word} is dropped from the {word}?", "answer": word}
        return ok(json.dumps({"qa": [item]}))

    with FakeServer(script) as server:
        (tmp_path / "run.toml").write_text('[synthesis]\nquestion_types = ["open"]\n')
        flags = (*server_flags(server), "--calibration-rounds", "2", "--config", tmp_path / "run.toml")
        invoke("run", SEEDS, "--out", out, "--qa", "12", "--max-overdraw", "2", *flags)
    run = linksyn_gpu.open_run(out)
    (cell,) = run.stats.cells
    assert cell["qa"]["asked"] == 12
    assert cell["qa"]["kept"] == run.counts["curate"]["kept"] < 12
    assert sum(cell["qa"]["causes"].values()) == run.counts["curate"]["missing"]
    assert {name.split(":")[0] for name in cell["qa"]["causes"]} <= {"lost_to_checks", "lost_in_curation"}


def test_a_larger_plan_keeps_the_paths_of_the_smaller_one(tmp_path):
    out = tmp_path / "out"
    flags = ("--calibration-rounds", "2", "--engine", "batch", "--model", "m")
    invoke("plan", SEEDS, "--out", out, "--paths", "12", *flags)
    small = pq.read_table(out / "paths.parquet").to_pylist()
    invoke("plan", SEEDS, "--out", out, "--paths", "30", *flags)
    assert pq.read_table(out / "paths.parquet").to_pylist()[:12] == small
    assert json.loads((out / "forecast.json").read_text())["paths"] == 30
    invoke("run", SEEDS, "--out", out, "--paths", "40", *flags)
    assert linksyn_gpu.open_run(out).stats.forecast is None, "the forecast is of fewer paths"


def test_wrong_assumptions_are_refused(tmp_path):
    words = ("plan", SEEDS, "--out", tmp_path / "out", *QUICK, "--engine", "batch", "--model", "m")
    assert "price_in and price_out" in invoke(*words, "--price-in", "1", code=2).stderr
    assert "tokens_per_second = 0.0 must be positive" in invoke(*words, "--tokens-per-second", "0", code=2).stderr
    assert "tokenizer.json of the model" in invoke(*words, "--tokenizer", tmp_path / "none.json", code=2).stderr


def test_plan_from_python(tmp_path):
    planned = linksyn_gpu.plan(
        SEEDS, tmp_path / "out", paths=12, synthesis={"engine": "batch", "model": "m"}, plan={"tokens": 1e6}
    )
    assert planned.stats.forecast["scaled"]["requests"] == 3334
    assert "answered" not in planned.counts.get("synthesize", {})
