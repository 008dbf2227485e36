"""Several servers of one model: the least loaded one is asked, one that fails is left out, every answer counts once."""

import contextlib
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.config.loader import from_mapping, to_mapping
from linksyn_gpu.errors import ConfigError, EngineError, StopAsking
from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.client import Limits
from linksyn_gpu.llm.dispatch import ask_all
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.llm.servers import launch
from tests.llm.fake_server import FakeServer, ok, request

FAKE = Path(__file__).parents[2] / "bench" / "fake_llm.py"
LIMITS = Limits(concurrency=4, timeout=5.0, backoff=0.01, unreachable_after=0.5, rest=0.02, rest_cap=0.1)


def start(port=0, latency=0.002):
    words = [sys.executable, str(FAKE), "--port", str(port), "--latency", str(latency)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline())


def engine_of(*urls):
    return Engine(urls[0], "m", more_urls=urls[1:])


def closed_url():
    with FakeServer() as server:
        return server.url


def lines(journal):
    return [record for _, record in journal.lines()]


@contextlib.contextmanager
def processes():
    started = []
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_each_request_is_answered_once_while_a_server_is_killed_and_restarted(tmp_path):
    """Three servers: the first one dies at 150 of 600 answers and comes back at 300; the last one is slow."""
    with processes() as started, Journal(tmp_path) as journal:
        ports = []
        for latency in (0.002, 0.002, 0.05):
            process, port = start(latency=latency)
            started.append(process)
            ports.append(port)
        urls = [f"http://127.0.0.1:{port}/v1" for port in ports]
        seen, answers_before = {}, []

        def progress(stats):
            seen["stats"] = stats
            if stats.done >= 150 and started[0].poll() is None and len(started) == 3:
                started[0].kill()
                started[0].wait()
            if stats.done >= 300 and len(started) == 3:
                answers_before.append(stats.endpoints[urls[0]].answered)
                started.append(start(ports[0])[0])

        def requests():
            yield from (request(str(i)) for i in range(600))
            deadline = time.monotonic() + 30
            i = 600
            while seen["stats"].endpoints[urls[0]].answered == answers_before[0]:
                assert time.monotonic() < deadline, "the restarted server is never asked again"
                yield request(str(i))
                i += 1

        stats = ask_all(requests(), engine_of(*urls), journal, limits=LIMITS, on_progress=progress)
        records = lines(journal)
    kept = Counter(record["id"] for record in records if record["kind"] == "completion")
    assert set(kept.values()) == {1}
    assert len(kept) == len(records) == stats.completed >= 600
    figures = stats.summary()["endpoints"]
    assert Counter(record["endpoint"] for record in records) == {url: figures[url]["answered"] for url in urls}
    assert figures[urls[0]]["times_left_out"] >= 1
    assert not figures[urls[0]]["left_out"]
    assert figures[urls[0]]["errors"]
    assert figures[urls[2]]["answered"] < figures[urls[1]]["answered"], "the slow server gets fewer requests"
    assert not figures[urls[2]]["errors"]


def test_each_server_gets_its_own_number_of_requests_in_flight(tmp_path):
    script = lambda body, n: {**ok(), "latency": 0.02}  # noqa: E731
    with FakeServer(script) as one, FakeServer(script) as two, Journal(tmp_path) as journal:
        ask_all((request(str(i)) for i in range(60)), engine_of(one.url, two.url), journal, limits=LIMITS)
    assert one.most_in_flight == two.most_in_flight == LIMITS.concurrency


@pytest.mark.parametrize(
    ("fault", "error"),
    [({"status": 500}, "server_error"), ({"drop": True}, "connection"), ({"latency": 3.0, **ok()}, "timeout")],
)
def test_a_server_that_fails_in_a_row_is_left_out_and_costs_no_request(tmp_path, fault, error):
    limits = Limits(concurrency=4, timeout=0.5, backoff=0.01, rest=0.2, rest_cap=60.0, max_attempts=6)
    with FakeServer(lambda body, n: fault) as bad, FakeServer() as good, Journal(tmp_path) as journal:
        engine = engine_of(bad.url, good.url)
        stats = ask_all((request(str(i)) for i in range(200)), engine, journal, limits=limits)
    assert stats.completed == 200
    figures = stats.endpoints[bad.url]
    assert figures.left_out
    assert set(figures.errors) == {error}
    assert figures.errors[error] < 30, "it is tried again with single requests only"
    assert stats.endpoints[good.url].answered == 200


def test_a_server_that_throttles_does_not_hold_up_the_others(tmp_path):
    wait = {"status": 429, "headers": {"Retry-After": "60"}}
    with FakeServer(lambda body, n: wait) as full, FakeServer() as free, Journal(tmp_path) as journal:
        engine = engine_of(full.url, free.url)
        stats = ask_all((request(str(i)) for i in range(50)), engine, journal, limits=LIMITS)
    assert stats.completed == stats.endpoints[free.url].answered == 50
    assert stats.endpoints[full.url].errors["throttled"] <= LIMITS.concurrency


def test_the_run_stops_and_requests_stay_pending_when_no_server_can_be_reached(tmp_path):
    with Journal(tmp_path) as journal:
        with pytest.raises(StopAsking, match="could not be reached"):
            ask_all([request("a")], engine_of(closed_url(), closed_url()), journal, limits=LIMITS)
        assert not lines(journal)


def test_a_server_that_fails_everything_stops_the_run_when_the_other_one_is_gone(tmp_path):
    requests = (request(str(i)) for i in range(500))
    with (
        FakeServer(lambda body, n: {"status": 500}) as bad,
        Journal(tmp_path) as journal,
        pytest.raises(StopAsking, match="all failed"),
    ):
        ask_all(requests, engine_of(closed_url(), bad.url), journal, limits=LIMITS)


def test_other_servers_answer_the_same_requests_of_a_folder(tmp_path):
    """Ids do not depend on the server: what one answered, another one is not asked."""
    requests = [request(str(i)) for i in range(20)]
    with FakeServer() as one, FakeServer() as two:
        with Journal(tmp_path) as journal:
            ask_all(requests[:10], engine_of(one.url), journal, limits=LIMITS)
        with Journal(tmp_path) as journal:
            stats = ask_all(requests, engine_of(two.url, one.url), journal, limits=LIMITS)
    assert (stats.skipped, stats.completed) == (10, 10)


def test_a_server_that_is_absent_at_the_start_is_logged_and_used_later(caplog):
    absent = closed_url()
    with FakeServer() as server, launch.running(config_of(absent, server.url)) as engine:
        assert engine.urls == (absent, server.url)
        assert engine.model == "fake"
    assert absent in caplog.text
    with pytest.raises(EngineError, match="no server at"), launch.running(config_of(absent, closed_url())):
        pass


def test_servers_of_different_models_are_refused():
    with (
        FakeServer() as one,
        FakeServer(models=("other",)) as two,
        pytest.raises(EngineError, match=f"{two.url} does not serve model 'fake'"),
        launch.running(config_of(one.url, two.url)),
    ):
        pass


def config_of(*urls):
    return SynthesisConfig(engine="openai", base_url=urls)


def test_addresses_are_a_text_or_a_list_and_each_is_named_once():
    one, two = "http://a/v1", "http://b/v1"
    for value in (one, [one], one + "/"):
        assert from_mapping(SynthesisConfig, {"engine": "openai", "base_url": value}).base_url == one
    assert to_mapping(config_of(one, two))["base_url"] == [one, two]
    for wrong, match in (
        ([one, one + "/"], "twice"),
        ([one, "b"], "base_url"),
        ([], "needs base_url"),
        (3, "base_url"),
    ):
        with pytest.raises(ConfigError, match=match):
            from_mapping(SynthesisConfig, {"engine": "openai", "base_url": wrong})
