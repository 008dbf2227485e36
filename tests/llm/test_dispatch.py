"""Many requests through one server: none waits for those that are still to be made, and memory stays constant."""

import threading
import time

import pytest

from linksyn_gpu.errors import DataError, StopAsking
from linksyn_gpu.llm import Engine, dispatch
from linksyn_gpu.llm.budget import Budget
from linksyn_gpu.llm.client import Limits
from linksyn_gpu.llm.dispatch import READ_AHEAD, ask_all
from linksyn_gpu.llm.journal import Journal
from tests.llm.fake_server import FakeServer, ok, request

LIMITS = Limits(concurrency=4, timeout=5.0, backoff=0.01, unreachable_after=0.5)


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@pytest.mark.parametrize("first", [1, 3, 4, 20])
def test_requests_that_were_read_are_answered_while_the_next_one_is_not_made_yet(tmp_path, first):
    answered, seen_while_blocked = threading.Event(), []

    def requests():
        for i in range(first):
            yield request(f"before {i}")
        assert answered.wait(10), "a request that was read waits for one that is not made yet"
        seen_while_blocked.append(len(server.bodies))
        yield request("after")

    def progress(stats):
        if stats.done == first:
            answered.set()

    with FakeServer() as server, Journal(tmp_path) as journal:
        stats = ask_all(requests(), Engine(server.url, "m"), journal, limits=LIMITS, on_progress=progress)
    assert stats.completed == first + 1
    assert seen_while_blocked == [first]


def test_answers_arrive_while_the_iterator_blocks(tmp_path):
    """The slow request is in flight when the iterator blocks, and its answer comes before the iterator goes on."""
    done = threading.Event()

    def requests():
        yield request("slow")
        assert done.wait(10)

    with FakeServer(lambda body, n: {**ok(), "latency": 0.2}) as server, Journal(tmp_path) as journal:
        stats = ask_all(
            requests(), Engine(server.url, "m"), journal, limits=LIMITS, on_progress=lambda stats: done.set()
        )
    assert stats.completed == 1


def test_a_bounded_number_of_requests_is_read_ahead(tmp_path):
    read, ahead = 0, []

    def requests():
        nonlocal read
        for i in range(3000):
            read += 1
            yield request(str(i))

    with FakeServer() as server, Journal(tmp_path) as journal:
        stats = ask_all(
            requests(),
            Engine(server.url, "m"),
            journal,
            limits=LIMITS,
            on_progress=lambda stats: ahead.append(read - stats.done),
        )
    assert stats.completed == 3000
    assert max(ahead) <= READ_AHEAD + LIMITS.concurrency + 2


def test_an_error_of_the_iterator_is_raised_and_answers_are_kept(tmp_path):
    def requests():
        yield from (request(str(i)) for i in range(10))
        wait_until(lambda: len(server.bodies) == 10)
        raise DataError("line 11 is damaged")

    with FakeServer() as server, Journal(tmp_path) as journal:
        with pytest.raises(DataError, match="line 11"):
            ask_all(requests(), Engine(server.url, "m"), journal, limits=LIMITS)
        assert len(journal.index()) >= 10 - LIMITS.concurrency


def test_the_caller_may_go_on_with_the_iterator_after_a_bound_was_met(tmp_path):
    def requests():
        for i in range(1000):
            time.sleep(0.0005)
            yield request(str(i))

    made = requests()
    with FakeServer() as server, Journal(tmp_path) as journal:
        ask_all(made, Engine(server.url, "m"), journal, limits=LIMITS, budget=Budget(max_requests=5))
        assert len(server.bodies) == len(journal.index()) == 5
    left = list(made)  # not "generator already executing"
    assert len(left) >= 1000 - 5 - READ_AHEAD - 2


def refused_names(journal):
    return {record["id"] for record in journal.read() if record["kind"] == "failure"}


QUOTA = {"status": 429, "json": {"error": {"message": "over", "code": "insufficient_quota"}}}


@pytest.mark.parametrize(
    "refusal",
    [
        {"status": 401, "json": {"error": "expired"}},
        {"status": 402, "json": {"error": "Insufficient Balance"}},
        QUOTA,
        {"status": 404, "json": {"error": "The model `fake` does not exist"}},
        {"status": 400, "json": {"error": "something new"}},
        {"status": 403, "json": {"error": "forbidden"}},
        {"status": 307, "json": {}},
    ],
    ids=str,
)
def test_a_server_that_begins_to_refuse_everything_stops_the_run_and_no_request_is_used_up(tmp_path, refusal):
    names = [f"r{i}" for i in range(200)]

    def script(body, n):
        return ok() if len(server.bodies) <= 20 else refusal

    with FakeServer(script) as server, Journal(tmp_path) as journal:
        with pytest.raises(StopAsking, match=f"HTTP {refusal['status']}"):
            ask_all(map(request, names), Engine(server.url, "m"), journal, limits=LIMITS)
        assert len(server.bodies) < 50
        assert not refused_names(journal)
        server.script = lambda body, n: ok()
        ask_all(map(request, names), Engine(server.url, "m"), journal, limits=LIMITS)
        assert sorted(record["id"] for record in journal.read()) == sorted(names)
        assert not refused_names(journal)
    assert sum(server.asked.values()) < 250


@pytest.mark.parametrize("status", [400, 403, 404, 307])
def test_a_server_that_refuses_one_request_in_twenty_gets_all_the_others(tmp_path, status):
    names = [f"r{i}" for i in range(200)]
    bad = set(names[3::20])

    def script(body, n):
        if body["messages"][0]["content"] in bad:
            return {"status": status, "json": {"error": "not this one"}}
        return {**ok(), "latency": 0.01}

    with FakeServer(script) as server, Journal(tmp_path) as journal:
        stats = ask_all(map(request, names), Engine(server.url, "m"), journal, limits=LIMITS)
        assert stats.completed == 190
        assert refused_names(journal) == bad
        assert "not this one" in journal.outcome(names[3]).detail


@pytest.mark.parametrize("n", [1, 2, 6, 40])
def test_a_run_in_which_every_request_is_refused_stops_and_drops_nothing(tmp_path, n):
    with FakeServer(lambda body, n: {"status": 400, "json": {"error": "no"}}) as server, Journal(tmp_path) as journal:
        with pytest.raises(StopAsking, match="HTTP 400: no"):
            ask_all([request(str(i)) for i in range(n)], Engine(server.url, "m"), journal, limits=LIMITS)
        assert len(journal.index()) == 0


def test_refusals_of_the_last_requests_stop_the_run_if_the_server_refuses_a_short_one_too(tmp_path):
    def script(body, n):
        return ok() if len(server.bodies) <= 10 else {"status": 400, "json": {"error": f"limit {n} reached"}}

    with FakeServer(script) as server, Journal(tmp_path) as journal:
        with pytest.raises(StopAsking, match="limit 1 reached"):
            ask_all([request(str(i)) for i in range(14)], Engine(server.url, "m"), journal, limits=LIMITS)
        assert len(journal.index()) == 10


def test_requests_that_a_server_refuses_alone_are_dropped_also_when_no_other_is_left(tmp_path):
    """A call that has only such requests left must not stop for ever."""

    def script(body, n):
        content = body["messages"][0]["content"]
        return {"status": 403, "json": {"error": "not that"}} if content.startswith("bad") else ok()

    with FakeServer(script) as server, Journal(tmp_path) as journal:
        names = [f"bad {i}" for i in range(40)]
        ask_all(map(request, names), Engine(server.url, "m"), journal, limits=LIMITS)
        assert refused_names(journal) == set(names)
        assert server.asked["Reply: OK"] == 3
        assert server.bodies[-1]["max_tokens"] <= 64


TOO_LONG = {
    "status": 400,
    "json": {"error": "maximum context length is 512 tokens and your request has 600 input tokens"},
}


def test_a_context_that_is_too_small_for_every_prompt_stops_the_run(tmp_path):
    with FakeServer(lambda body, n: TOO_LONG) as server, Journal(tmp_path) as journal:
        for n in (3, 100):
            with pytest.raises(StopAsking, match="512 tokens"):
                ask_all([request(str(i)) for i in range(n)], Engine(server.url, "m"), journal, limits=LIMITS)
        assert len(journal.index()) == 0
        assert len(server.bodies) < 50


def test_a_prompt_that_is_too_long_is_dropped_after_others_were_answered(tmp_path):
    script = lambda body, n: TOO_LONG if body["messages"][0]["content"] == "long" else ok()  # noqa: E731
    with FakeServer(script) as server, Journal(tmp_path) as journal:
        for name in ("short", "long"):
            ask_all([request(name)], Engine(server.url, "m"), journal, limits=LIMITS)
        assert journal.outcome("long").reason == "prompt_too_long"


def test_one_refusal_at_the_end_is_about_that_request(tmp_path):
    def script(body, n):
        return {"status": 400, "json": {"error": "no"}} if body["messages"][0]["content"] == "9" else ok()

    with FakeServer(script) as server, Journal(tmp_path) as journal:
        ask_all([request(str(i)) for i in range(10)], Engine(server.url, "m"), journal, limits=LIMITS)
        assert refused_names(journal) == {"9"}


def test_answers_in_flight_are_kept_when_the_run_stops(tmp_path):
    """Three slow answers are in flight when the fourth request meets an empty account."""

    def script(body, n):
        return QUOTA if body["messages"][0]["content"] == "3" else {**ok(), "latency": 0.4}

    with FakeServer(script) as server, Journal(tmp_path) as journal:
        with pytest.raises(StopAsking):
            ask_all([request(str(i)) for i in range(50)], Engine(server.url, "m"), journal, limits=LIMITS)
        assert {record["id"] for record in journal.read()} == {"0", "1", "2"}
        assert len(server.bodies) == 4


def test_answers_in_flight_are_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(dispatch, "DRAIN_SECONDS", 0.2)

    def script(body, n):
        return QUOTA if body["messages"][0]["content"] == "3" else {**ok(), "latency": 15}

    with FakeServer(script) as server, Journal(tmp_path) as journal:
        with pytest.raises(StopAsking):
            ask_all([request(str(i)) for i in range(50)], Engine(server.url, "m"), journal, limits=LIMITS)
        assert list(journal.read()) == []


def test_a_repeated_request_is_asked_once(tmp_path):
    def requests():
        yield request("a")
        wait_until(lambda: "a" in journal.index())
        yield request("a")

    with FakeServer() as server, Journal(tmp_path) as journal:
        stats = ask_all(requests(), Engine(server.url, "m"), journal, limits=LIMITS)
    assert (stats.completed, stats.skipped, len(server.bodies)) == (1, 1, 1)
