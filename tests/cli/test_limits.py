"""Limits of settings, exit codes of runs that give nothing, a later --max-tokens, and `report` at every moment."""

import json
import os
import threading

import pytest
from click.testing import CliRunner

from linksyn_gpu.cli import main
from tests.cli.conftest import QUICK, SEEDS
from tests.cli.test_server import reply
from tests.llm.fake_server import FakeServer, ok

HUGE = "9" * 30


def invoke(*words, code=0):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), "a traceback"
    return result


def run_against(server, out, *flags, code=0, paths=6):
    quick = ("--paths", paths, "--calibration-rounds", "2", "--concurrency", "2")
    return invoke("run", SEEDS, "--out", out, *quick, "--engine", "openai", "--base-url", server.url, *flags, code=code)


def plan_only(out, *flags):
    return invoke("run", SEEDS, "--out", out, *QUICK, *flags)


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--paths", HUGE, "paths = 9999"),
        ("--paths", "0", "paths = 0 must be in 1"),
        ("--max-tokens", HUGE, "max_tokens"),
        ("--gpu-memory", HUGE, "at most 2^63 - 1 bytes"),
        ("--gpu-memory", "1" + "0" * 5000, "too large"),
        ("--gpu-memory", "0", "gpu_memory = 0 must be in 1"),
        ("--gpu-memory", "4 parsecs", "write bytes"),
        ("--paths", "9" * 5000, "is not a valid integer"),
        ("--seed", "-1", "seed = -1"),
        ("--tau", "inf", "tau = inf"),
        ("--p", "nan", "p = nan"),
    ],
)
def test_a_number_out_of_range_is_refused_with_its_name(tmp_path, flag, value, message):
    refused = invoke("run", SEEDS, "--out", tmp_path / "out", *QUICK, f"{flag}={value}", code=2)
    assert message in refused.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("url", ["http://[::1/v1", "http://host:port/v1", "ftp://host/v1", "localhost:8000", ""])
def test_an_address_that_is_none_is_refused_before_any_work(tmp_path, url):
    words = ("run", SEEDS, "--out", tmp_path / "out", "--engine", "openai", f"--base-url={url}")
    assert "base_url" in invoke(*words, code=2).stderr
    assert not (tmp_path / "out").exists()


def test_doctor_checks_its_numbers(tmp_path):
    for words in (("--length", "0"), ("--length", "999"), ("--round-paths", HUGE)):
        assert "is not in the range" in invoke("doctor", *words, code=2).stderr


def test_a_run_in_which_every_request_failed_does_not_exit_with_0(tmp_path):
    def prose(body, n):
        return ok("I would rather write a poem.")

    with FakeServer(prose) as server:
        done = run_against(server, tmp_path / "out", code=1)
        assert "every request failed (" in done.stderr
        assert "--force" in done.stderr
        assert "new QA" in done.stdout, "the figures are printed all the same"
        invoke("synthesize", tmp_path / "out", code=1)
        server.script = reply
        run_against(server, tmp_path / "out", "--force")


def test_max_tokens_may_change_for_requests_without_an_answer(tmp_path):
    out = tmp_path / "out"
    with FakeServer(reply) as server:
        run_against(server, out, "--max-tokens", "300", "--max-requests", "2")
        written = (out / "requests.jsonl").read_bytes()
        run_against(server, out, "--max-tokens", "700", "--max-requests", "4")
        invoke("synthesize", out, "--max-requests", "6")  # without the flag: the value of the last call
        limits = [body["max_tokens"] for body in server.bodies]
        assert limits == [300] * 2 + [700] * 4
        assert (out / "requests.jsonl").read_bytes() == written
        invoke("synthesize", out)
    rows = [json.loads(line) for line in (out / "qa.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(row["max_tokens"] for row in rows) == limits


def test_max_tokens_may_change_while_requests_are_still_being_written(tmp_path):
    """A run that ended during the walk writes its requests again: with the same ids, so that no answer is lost."""
    out = tmp_path / "out"
    with FakeServer(reply) as server:
        run_against(server, out, "--max-tokens", "300", "--max-requests", "2")
        for name in ("requests.jsonl", "tasks.parquet"):
            (out / name).unlink()
        run_against(server, out, "--max-tokens", "700")
        assert [body["max_tokens"] for body in server.bodies] == [300] * 2 + [700] * 4


def test_max_tokens_of_a_batch_may_change_for_pending_requests(out, tmp_path):
    from tests.cli.test_cli import answer, requests_of

    requests = requests_of(out)
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps(answer(requests[0])) + "\n")
    invoke("synthesize", out, "--collect", answers, "--max-tokens", "99")
    pending = [json.loads(line) for line in (out / "requests-pending.jsonl").read_text().splitlines()]
    assert {request["body"]["max_tokens"] for request in pending} == {99}
    assert [request["custom_id"] for request in pending] == [request["custom_id"] for request in requests[1:]]


def test_other_settings_of_the_requests_still_need_force(tmp_path):
    plan_only(tmp_path / "out")
    refused = invoke("synthesize", tmp_path / "out", "--per-path", "3", "--max-tokens", "99", code=2)
    assert "per_path was 1, is 3" in refused.stderr
    assert "max_tokens" not in refused.stderr


def test_report_after_each_stage_and_while_a_run_is_going_on(tmp_path):
    out = tmp_path / "out"
    invoke("ingest", SEEDS, "--out", out)
    for words in (
        ["build", out],
        ["walk", out, "--paths", "12", "--calibration-rounds", "2"],
        ["synthesize", out, "--engine", "batch"],
        [],
    ):
        text = invoke("report", out).stdout
        assert "180 records = 180 seeds" in text
        assert "None" not in text
        if words:
            invoke(*words)


def test_report_of_a_run_at_work_says_how_many_requests_have_an_outcome(tmp_path):
    out, gate = tmp_path / "out", threading.Event()

    def slow(body, n):
        if len(server.bodies) > 3:
            gate.wait(60)
        return reply(body, n)

    with FakeServer(slow) as server:
        worker = threading.Thread(target=run_against, args=(server, out))
        worker.start()
        while len(server.bodies) < 5:
            gate.wait(0.05)
        text = invoke("report", out).stdout
        gate.set()
        worker.join()
    assert "3 requests have an outcome so far" in text
    assert "have an outcome so far" not in invoke("report", out).stdout


def test_report_of_a_folder_that_cannot_be_written_prints_the_figures(tmp_path, monkeypatch):
    plan_only(tmp_path / "out")

    def refuse(*words, **options):
        raise PermissionError(13, "Permission denied", str(tmp_path / "out" / "report.html"))

    monkeypatch.setattr("linksyn_gpu.run.folder.Workspace.replacing", refuse)
    done = invoke("report", tmp_path / "out")
    assert "12 requested" in done.stdout
    assert "report.html was not written: [Errno 13] Permission denied" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_report_of_a_read_only_folder(tmp_path):
    plan_only(tmp_path / "out")
    (tmp_path / "out").chmod(0o555)
    try:
        assert "12 requested" in invoke("report", tmp_path / "out").stdout
    finally:
        (tmp_path / "out").chmod(0o755)
