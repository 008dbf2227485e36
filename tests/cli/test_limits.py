"""Limits of settings, and `report` at every moment of a run."""

import json
import logging
import os
import threading
import time

import pytest
from click.testing import CliRunner

from linksyn_gpu.cli import main
from linksyn_gpu.cli.console import show_warnings
from tests.cli.test_server import reply
from tests.conftest import QUICK, SEEDS
from tests.llm.fake_server import FakeServer

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


def test_control_characters_of_a_server_do_not_reach_the_terminal(tmp_path):
    words = ("run", SEEDS, "--out", tmp_path / "out", "--paths", "2", "--engine", "openai", "--base-url")
    with FakeServer(models=("fa\x1b[31mke",)) as server:
        refused = invoke(*words, server.url, "--model", "other", code=1)
    assert "fa\N{REPLACEMENT CHARACTER}[31mke" in refused.stderr
    assert "\x1b" not in refused.output


def test_control_characters_of_a_warning_do_not_reach_the_terminal():
    with CliRunner().isolation() as (_, err, _):
        show_warnings()
        logging.getLogger("linksyn_gpu.llm").warning("the server said %s", "\x1b[2Jgone")
        assert err.getvalue() == "Warning: the server said \N{REPLACEMENT CHARACTER}[2Jgone\n".encode()


@pytest.mark.parametrize("url", ["http://[::1/v1", "http://host:port/v1", "ftp://host/v1", "localhost:8000", ""])
def test_an_address_that_is_none_is_refused_before_any_work(tmp_path, url):
    words = ("run", SEEDS, "--out", tmp_path / "out", "--engine", "openai", f"--base-url={url}")
    assert "base_url" in invoke(*words, code=2).stderr
    assert not (tmp_path / "out").exists()


def test_doctor_checks_its_numbers(tmp_path):
    for words in (("--length", "0"), ("--length", "999"), ("--round-paths", HUGE)):
        assert "is not in the range" in invoke("doctor", *words, code=2).stderr


def test_a_stage_that_is_forced_keeps_the_settings_that_no_flag_changes(tmp_path):
    """Otherwise `synthesize DIR --force` would leave the recorded server for the default engine."""
    out = tmp_path / "out"
    with FakeServer(reply) as server:
        run_against(server, out, "--language", "en")
        asked = len(server.bodies)
        invoke("synthesize", out, "--force", "--language", "zh")
        assert len(server.bodies) == 2 * asked
    invoke("walk", out, "--force", "--length", "3")
    entry = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["stages"]["walk"]
    walk = entry["settings"]["walk"]
    assert (entry["operational"]["paths"], walk["length"], walk["calibration_rounds"]) == (6, 3, 2)


def test_report_after_each_stage_and_while_a_run_is_going_on(tmp_path):
    out = tmp_path / "out"
    invoke("ingest", SEEDS, "--out", out)
    for words in (
        ["build", out],
        ["walk", out, "--paths", "12", "--calibration-rounds", "2"],
        ["synthesize", out, "--engine", "batch", "--model", "m"],
        [],
    ):
        text = invoke("report", out).stdout
        assert "180 records = 180 seeds" in text
        assert "None" not in text
        if words:
            invoke(*words)


def test_report_of_a_run_at_work_says_how_many_requests_have_an_outcome(tmp_path):
    out = tmp_path / "out"

    def slow(body, n):
        return {**reply(body, n), "latency": 4.0 if len(server.bodies) > 3 else 0.0}

    with FakeServer(slow) as server:
        worker = threading.Thread(target=run_against, args=(server, out))
        worker.start()
        while len(server.bodies) < 5:
            time.sleep(0.02)
        text = invoke("report", out).stdout
        worker.join()
    assert "synthesize: not finished; 3 requests have an outcome by now" in text
    assert "by now" not in invoke("report", out).stdout


def test_report_of_a_folder_that_cannot_be_written_prints_the_figures(tmp_path, monkeypatch):
    plan_only(tmp_path / "out")

    def refuse(*words, **options):
        raise PermissionError(13, "Permission denied", str(tmp_path / "out" / "report.html"))

    monkeypatch.setattr("linksyn_gpu.pipeline.folder.Workspace.replacing", refuse)
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
