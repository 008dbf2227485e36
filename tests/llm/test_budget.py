"""Limits on what is asked, over all calls that share a journal."""

import pytest

from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.budget import ENOUGH, Budget, prompt_tokens
from linksyn_gpu.llm.client import Limits
from linksyn_gpu.llm.dispatch import ask_all
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.llm.protocol import Completion
from linksyn_gpu.text import COMPLETION_GUESS
from tests.llm.fake_server import FakeServer, completion, ok, request

NAMES = [f"request number {i:03d}" for i in range(60)]


def answer(name, prompt=10, written=5):
    return Completion(name, "text", "", "stop", prompt, written, "m", spent_tokens=prompt + written)


def ask(folder, server, **bounds):
    with Journal(folder) as journal:
        index = journal.index()
        budget = Budget(**bounds, requests=len(index), tokens=index.tokens)
        stats = ask_all(
            map(request, NAMES), Engine(server.url, "m"), journal, limits=Limits(concurrency=4), budget=budget
        )
        return stats, budget, journal.index()


def test_no_more_requests_are_asked_than_the_bound_over_all_calls(tmp_path):
    with FakeServer() as server:
        stats, budget, index = ask(tmp_path, server, max_requests=25)
        assert (stats.done, len(index), sum(server.asked.values())) == (25, 25, 25)
        assert "--max-requests" in budget.met
        ask(tmp_path, server, max_requests=25)
        assert sum(server.asked.values()) == 25
        _, budget, index = ask(tmp_path, server, max_requests=1000)
        assert (len(index), budget.met) == (60, None)
    assert max(server.asked.values()) == 1


def test_tokens_are_bounded_as_the_server_reports_them_and_retries_count(tmp_path):
    """Each request is cut off once, so it takes two attempts of 15 tokens."""

    def cut_once(body, n):
        return {"json": completion("...", "length")} if n == 1 else ok()

    with FakeServer(cut_once) as server:
        _, budget, index = ask(tmp_path, server, max_tokens=900)
        assert "--budget-tokens" in budget.met
        assert index.tokens == budget.tokens == 30 * len(index)
        assert 0 < index.tokens <= 900
        again = ask(tmp_path, server, max_tokens=900)[2]
        assert again.tokens <= 900
        assert ask(tmp_path, server, max_tokens=10**6)[2].tokens == 30 * len(NAMES)


def test_estimates_follow_the_measured_tokens():
    budget = Budget(max_tokens=10**6)
    first = request("x" * 400)
    assert budget.admit(first)
    assert budget._in_flight == 100 + COMPLETION_GUESS == prompt_tokens(first) + COMPLETION_GUESS
    for i in range(ENOUGH):
        asked = request("x" * 396 + f"{i:04d}")
        budget.admit(asked)
        budget.settle(asked, answer(asked["custom_id"], prompt=150, written=50))
    assert budget._expected(first) == pytest.approx(200.0)
    assert budget.tokens == ENOUGH * 200


def test_a_long_queue_does_not_exceed_the_budget(tmp_path):
    """Answers are ten times longer than expected: no more is overspent than what was in flight."""

    def long(body, n):
        return {"json": {**completion("x"), "usage": {"prompt_tokens": 100, "completion_tokens": 3000}}}

    with FakeServer(long) as server:
        _, budget, _ = ask(tmp_path, server, max_tokens=20_000)
    assert budget.tokens <= 20_000 + 4 * 3100
    assert "--budget-tokens" in budget.met


def test_requests_in_flight_may_free_tokens_when_they_settle():
    budget = Budget(max_tokens=1000)
    first, second, third = (request("x" * 400 + str(i)) for i in range(3))
    assert (budget.admit(first), budget.admit(second), budget.admit(third)) == (True, True, None)
    budget.settle(first, answer(first["custom_id"], prompt=100, written=10))
    assert budget.admit(third) is True
    assert budget.met is None


def test_a_request_with_a_transient_failure_is_asked_again_within_the_limit(tmp_path):
    with FakeServer(lambda body, n: {"status": 500, "json": {}}) as server:
        ask(tmp_path, server, max_requests=10)
        server.script = lambda body, n: ok()
        stats, budget, index = ask(tmp_path, server, max_requests=10)
    assert (stats.completed, len(index)) == (10, 10)
    assert "--max-requests" in budget.met


def test_without_limits_every_request_is_admitted():
    budget = Budget()
    assert all(budget.admit(request(name)) for name in NAMES)
    assert budget.requests == 60
