"""What the journals of a run hold: outcomes, tokens, and the server's use over time."""

import numpy as np
import pytest

from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.client import Limits
from linksyn_gpu.llm.dispatch import ask_all
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.outcomes import GAP, read_outcomes, timeline
from tests.llm.fake_server import FakeServer, ok


def rows(*outcomes):
    """(received, seconds, read, written, pauses) -> array [n, 5]"""
    return np.array(outcomes, np.float64)


def test_a_timeline_has_all_outcomes_tokens_and_pauses_where_they_arrived():
    found = timeline(rows((1010.0, 10.0, 100, 7, 2), (1004.0, 4.0, 50, 3, 0), (1010.0, 5.0, 1, 1, 1)), bins=10)
    assert (found.begin, found.bin_seconds) == (1000.0, 1.0)
    assert found.answers.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 2]
    assert (found.read_tokens[4], found.read_tokens[9]) == (50, 101)
    assert (found.written_tokens.sum(), found.pauses.sum()) == (11, 3)


def test_requests_in_flight_are_their_mean_in_each_bin():
    found = timeline(rows((1010.0, 10.0, 0, 0, 0), (1004.0, 4.0, 0, 0, 0), (1010.0, 5.0, 0, 0, 0)), bins=10)
    assert found.in_flight.tolist() == pytest.approx([2, 2, 2, 2, 1, 2, 2, 2, 2, 2])
    shorter = timeline(rows((1010.0, 10.0, 0, 0, 0), (1004.5, 1.0, 0, 0, 0)), bins=10)
    assert shorter.in_flight.tolist() == pytest.approx([1, 1, 1, 1.5, 1.5, 1, 1, 1, 1, 1])


def test_the_time_between_two_calls_is_left_out():
    night = 8 * 3600.0
    found = timeline(rows((1010.0, 10.0, 0, 0, 0), (1010.0 + night, 5.0, 0, 0, 0)), bins=10)
    assert found.bin_seconds * 10 == pytest.approx(15.0)
    assert found.in_flight.tolist() == pytest.approx([1] * 10)
    short = timeline(rows((1010.0, 10.0, 0, 0, 0), (1010.0 + GAP, 5.0, 0, 0, 0)), bins=10)
    assert short.bin_seconds * 10 == pytest.approx(10.0 + GAP)


def test_the_journal_of_a_throttled_run_tells_answers_failures_tokens_and_pauses(tmp_path):
    def script(body, n):
        name = body["messages"][-1]["content"]
        if name == "a" and n == 1:
            return {"status": 429, "headers": {"Retry-After": "0.01"}}
        return {"status": 400, "json": {"error": {"message": "no"}}} if name == "b" else ok()

    requests = [{"custom_id": name, "body": {"messages": [{"role": "user", "content": name}]}} for name in "abc"]
    with Workspace(tmp_path / "out") as ws:
        with FakeServer(script) as server, Journal(ws.path("journal")) as journal:
            ask_all(requests, Engine(server.url, "fake"), journal, limits=Limits(concurrency=1))
        (found,) = read_outcomes(ws).values()
    assert (found.stage, found.answered, found.failed.total(), found.settled) == ("synthesize", 2, 1, 3)
    assert (found.read_tokens, found.written_tokens) == (20, 10)
    assert found.timeline.answers.sum() == 3
    assert found.timeline.pauses.sum() == 1
    assert found.timeline.read_tokens.sum() == 20


def test_outcomes_of_a_batch_file_have_no_time(tmp_path):
    with Workspace(tmp_path / "out") as ws:
        with Journal(ws.path("journal")) as journal:
            for name in ("a", "b"):
                journal.append({"id": name, "text": "x", "prompt_tokens": 3, "completion_tokens": 4})
        (found,) = read_outcomes(ws).values()
    assert found.timeline is None
    assert (found.answered, found.read_tokens, found.written_tokens) == (2, 6, 8)
