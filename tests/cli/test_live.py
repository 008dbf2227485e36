"""The progress of a command: the live view on a terminal, plain lines elsewhere, and the figures for Prometheus."""

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter

import pytest
from rich.console import Console

from linksyn_gpu.cli import live
from linksyn_gpu.cli.console import printable
from linksyn_gpu.config import PlanConfig
from linksyn_gpu.llm.client import Stats
from linksyn_gpu.llm.endpoints import EndpointStats
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.progress import Progress, TaskProgress, silent
from linksyn_gpu.pipeline.stages.report import gather
from tests.cli.test_cli import answer, invoke
from tests.conftest import SEEDS
from tests.dataset.varied_server import varied
from tests.llm.fake_server import FakeServer

RUN = [sys.executable, "-m", "linksyn_gpu", "run", SEEDS, "--calibration-rounds", "2", "--model", "fake"]


def busy():
    """Progress of a run in the middle of stage synthesize."""
    progress = Progress()
    progress.begin(("ingest", "build", "walk", "synthesize", "curate"), PlanConfig(price_in=1.0, price_out=10.0).prices)
    for name in ("ingest", "build", "walk"):
        progress.done(name, {})
    stage = progress.of("synthesize")
    stage("answers", 100, 2000, found=60)
    task = stage.tasks["answers"]
    task.points.appendleft((time.monotonic() - 10.0, 0))
    stage.server = Stats(
        completed=38, failed=2, attempts=45, prompt_tokens=30_000, completion_tokens=4000, throttled=3, in_flight=4,
        slots=64, limit=8, seconds=10.0, idle_seconds=1.0, throttled_seconds=2.0, paused_until=time.monotonic() + 5.0,
        retries=Counter(timeout=5),
    )  # fmt: skip
    stage.checked.update({"": 9, "cut_text": 1})
    return progress


def drawn(progress, width, encoding="utf-8"):
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    Console(file=out, width=width, force_terminal=True, highlight=False).print(live._View(progress))
    out.seek(0)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.read())


def test_the_view_shows_stages_rate_time_left_tokens_cost_throttling_and_what_is_kept():
    text = drawn(busy(), 140)
    assert "ingest ✓  build ✓  walk ✓  synthesize ▸  curate ·" in text
    assert re.search(r"100 / 2,000 +4\.0/s +7 min \d+ s left", text)
    assert "38 usable, 2 without a usable answer" in text
    assert "90.0% of 10 sampled QA pass the rule checks, cut_text 10.0%" in text
    assert "30,000 read, 4,000 written, 400 written/s" in text
    assert "4 of 64 requests in flight, had work 90% of the time, 5 retries (timeout 5)" in text
    assert "at most 8 of 64 requests in flight; nothing is sent for" in text
    assert "0.07 so far, about 3.40 when all are there" in text  # 40 answers of this call, 1,900 to come


def test_each_of_several_servers_has_its_line():
    progress = busy()
    servers = progress.of("synthesize").server.endpoints
    servers["http://a/v1"] = EndpointStats(in_flight=4, slots=32, answered=40, seconds=10.0)
    assert "http://a" not in drawn(progress, 140)  # it is the only one
    servers["http://b/v1"] = EndpointStats(slots=32, errors=Counter(timeout=3), left_out=True)
    text = drawn(progress, 140)
    assert "http://a/v1: 4 of 32 in flight, 40 answers (4.0/s)" in text
    assert "http://b/v1: 0 of 32 in flight, 0 answers, 3 errors, left out until it works again" in text


@pytest.mark.parametrize("width", [20, 40, 59, 60, 80, 200])
def test_no_line_of_the_view_is_wider_than_the_terminal(width):
    progress = busy()
    progress.of("synthesize").note("a\x1b[2Jdecision\x07 of the stage")
    progress.of("synthesize")("a task with a rather long name of its own", 1, None)
    text = drawn(progress, width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "\x07" not in text


def test_a_view_without_unicode_has_words_for_marks():
    assert "synthesize running  curate to come" in drawn(busy(), 140, "ascii")


def test_the_rate_counts_only_what_this_call_did():
    task = TaskProgress("answers")
    task.move(500, 1000, 500)
    task.points[0] = (time.monotonic() - 10.0, 0)
    task.move(540, 1000, 500)
    assert 3.5 < task.rate <= 4.0
    assert 115 <= task.seconds_left < 132
    task.move(3, 1000, 0)  # the next part is counted from the start
    assert task.rate is None


def test_what_nobody_watches_is_not_remembered():
    silent.of("walk")("paths walked", 1, 2)
    silent.of("synthesize").asking().prompt_tokens += 5
    assert silent.stages == {}
    assert silent.of("synthesize").asking().prompt_tokens == 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (7260, "2 h 1 min"), (180000, "2 days 2 h")]
)
def test_durations_are_written_in_two_units(seconds, text):
    assert live.duration(seconds) == text


def figures(text):
    """Name with labels -> value, of Prometheus's text format."""
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    }


def test_the_figures_for_prometheus_end_as_the_counts_of_the_run(tmp_path, monkeypatch):
    pytest.importorskip("prometheus_client", reason="NOT CHECKED: pip install 'linksyn-gpu[metrics]'")
    from linksyn_gpu.cli import metrics

    scraped, addresses = [], []
    served = metrics.serve_metrics

    class Watched(metrics.ProgressCollector):
        def __init__(self, progress):
            super().__init__(progress)
            scraped.append(self)

    monkeypatch.setattr(metrics, "ProgressCollector", Watched)
    during = []

    def script(body, n):
        with urllib.request.urlopen(addresses[0], timeout=10) as reply:
            during.append(figures(reply.read().decode()))
        made = varied(body, n)
        made["json"]["usage"] = {"prompt_tokens": 700, "completion_tokens": 110}
        return made

    def serve(progress, host, port):
        context = served(progress, host, port)

        class Kept:
            def __enter__(self):
                addresses.append(context.__enter__())
                return addresses[0]

            def __exit__(self, *error):
                return context.__exit__(*error)

        return Kept()

    monkeypatch.setattr(metrics, "serve_metrics", serve)
    with FakeServer(script) as server:
        words = ["--calibration-rounds", "2", "--paths", "12", "--base-url", server.url, "--engine", "openai"]
        prices = ("--price-in", "1", "--price-out", "10", "--metrics-port", "0")
        result = invoke("run", SEEDS, "--out", tmp_path / "out", *words, "--model", "fake", *prices)
    assert "metrics: http://127.0.0.1:" in result.stderr
    counts = json.loads((tmp_path / "out/manifest.json").read_text())["stages"]["synthesize"]["counts"]
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(scraped[0])
    last = figures(generate_latest(registry).decode())
    stage = 'linksyn_gpu_{}{{{}stage="synthesize"}}'
    assert last['linksyn_gpu_requests_total{outcome="usable",stage="synthesize"}'] == counts["answered"] == 12
    assert last['linksyn_gpu_tokens_total{direction="read",stage="synthesize"}'] == counts["prompt_tokens"] == 8400
    assert last['linksyn_gpu_tokens_total{direction="written",stage="synthesize"}'] == counts["completion_tokens"]
    assert last['linksyn_gpu_task_items{stage="synthesize",task="answers"}'] == 12
    assert last['linksyn_gpu_task_items{stage="walk",task="paths walked"}'] == 12
    one = f'{{server="{server.url}",stage="synthesize"}}'
    assert last[f"linksyn_gpu_endpoint_answers_total{one}"] == 12
    assert last[f"linksyn_gpu_endpoint_working{one}"] == 1.0
    assert last["linksyn_gpu_cost_total"] == pytest.approx((8400 * 1 + 1320 * 10) / 1e6)
    with Workspace(tmp_path / "out", create=False, lock=False) as ws:
        assert gather(ws).overview.cost == pytest.approx(last["linksyn_gpu_cost_total"]), "the report has the same cost"
    assert last[stage.format("stage_running", "")] == 0.0
    assert last[stage.format("requests_in_flight", "")] == 0.0
    running = [found for found in during if found.get(stage.format("stage_running", "")) == 1.0]
    assert running, "no scrape during the stage"
    for found in during:  # nothing goes back
        assert all(found[name] <= last[name] for name in found if "_total" in name and not name.startswith("process"))


def test_a_port_that_is_taken_is_an_error_with_its_number(tmp_path):
    pytest.importorskip("prometheus_client", reason="NOT CHECKED: pip install 'linksyn-gpu[metrics]'")
    with FakeServer() as server:
        port = re.search(r":(\d+)/", server.url)[1]
        refused = invoke("ingest", SEEDS, "--out", tmp_path / "out", "--metrics-port", port, code=2)
    assert f"--metrics-port {port}: 127.0.0.1 cannot be used: Address already in use" in refused.stderr


def test_plain_lines_name_the_stage_and_its_rate(tmp_path):
    with FakeServer(varied) as server:
        words = [*RUN, "--out", str(tmp_path / "out"), "--paths", "40", "--engine", "openai", "--base-url", server.url]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout + done.stderr
    assert re.search(r"^walk: 40 of 40 paths walked", done.stderr, re.MULTILINE)
    assert re.search(r"^synthesize: 40 of 40 answers.*tokens read, \d+ written", done.stderr, re.MULTILINE)


def test_the_sample_is_checked_by_what_was_asked_for_also_of_requests_of_an_earlier_call(tmp_path):
    """The answers have no options: all of them are dropped where multiple choice was asked for."""
    words = ["run", SEEDS, "--out", tmp_path / "out", "--calibration-rounds", "2", "--paths", "12", "--model", "fake"]
    with FakeServer(lambda body, n: {"json": answer({"custom_id": "7"})["response"]["body"]}) as server:
        words += [
            "--engine",
            "openai",
            "--base-url",
            server.url,
            "--question-types",
            "multiple_choice=1",
            "--language",
            "en",
        ]
        first = invoke(*words, "--max-requests", "6")
        second = invoke(*words)
    for done in (first, second):
        assert re.search(r"0\.0% of \d+ sampled QA pass the rule checks, missing_options 100\.0%", done.stderr)
    assert "12 written = 0 kept + 12 (missing_options 12)" in second.stdout


def terminal(words, *, until, send=None, env=None):
    """Run a command on a terminal, stdout apart; returns (exit code, stdout, what the terminal got).

    When `until` has appeared on the terminal, send a signal.
    """
    main, side = pty.openpty()
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=side, stdin=side, env={**os.environ, "TERM": "xterm", **(env or {})}
    )
    os.close(side)
    shown = b""
    while True:
        if select.select([main], [], [], 0.1)[0]:
            try:
                part = os.read(main, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
        if send is not None and re.search(until, shown):
            process.send_signal(send)
            send = None
    out, _ = process.communicate(timeout=120)
    os.close(main)
    assert re.search(until, shown), shown[-2000:]
    return process.returncode, out.decode(), shown.decode()


def test_ctrl_c_on_a_terminal_keeps_the_answers_and_the_same_command_goes_on(tmp_path):
    out = tmp_path / "out"
    with FakeServer(lambda body, n: {**varied(body, n), "latency": 0.02}) as server:
        flags = ["--out", str(out), "--paths", "400", "--engine", "openai", "--base-url", server.url]
        words = [*RUN, *flags, "--concurrency", "4"]
        code, _, shown = terminal(words, until=rb"answers +\S+ +[1-9]\d* ", send=signal.SIGINT)
        assert code == 130
        assert "Interrupted. Finished work is kept; run the same command again to continue." in shown
        assert "Traceback" not in shown
        with Journal(out / "journal", writable=False) as journal:
            kept = len(journal.index())
        assert 0 < kept < 400
        code, stdout, shown = terminal(words, until=rb"curate \xe2\x9c\x93")
    assert code == 0
    assert "400 requests = 400 answered" in stdout, "results belong to stdout, also while a view is on the terminal"
    assert "400 requests" not in shown
    assert server.asked.total() <= 400 + 4, "an answer was asked for again"


@pytest.mark.parametrize(("flags", "env"), [(["--plain"], {}), ([], {"TERM": "dumb"})])
def test_a_terminal_gets_plain_lines_where_it_must(tmp_path, flags, env):
    words = [sys.executable, "-m", "linksyn_gpu", "ingest", SEEDS, "--out", str(tmp_path / "out"), *flags]
    code, _, shown = terminal(words, until=rb"ingest: \d+ of \d+ records read", env=env)
    assert code == 0
    assert "\x1b" not in shown


def test_control_characters_are_replaced():
    assert printable("a\x1b[2Jb\u202ec") == "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}c"
