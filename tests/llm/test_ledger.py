"""A journal whose index keeps up with what is appended."""

import pytest

from linksyn_gpu.llm import ledger
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.llm.ledger import Ledger
from linksyn_gpu.llm.protocol import Completion, Failure, to_record


def completion(name, text="yes"):
    return Completion(name, text, "", "stop", 1, 1, "m")


def requests(*names):
    return [{"custom_id": name} for name in names]


@pytest.fixture(params=[1, 2**16], ids=["merged at once", "never merged"])
def book(tmp_path, monkeypatch, request):
    monkeypatch.setattr(ledger, "MERGE_AT", request.param)
    with Ledger(tmp_path) as opened:
        yield opened


def test_what_was_appended_is_found_and_not_asked_again(book):
    book.append(to_record(completion("a")))
    book.append(to_record(Failure("b", "bad_request", "no")))
    book.append(to_record(Failure("c", "timeout", "late")))
    assert book.outcome("a").text == "yes"
    assert book.outcome("b").reason == "bad_request"
    assert book.outcome("d") is None
    assert [r["custom_id"] for r in book.unsettled(requests("a", "b", "c", "d", "d"))] == ["c", "d"]


def test_an_answer_beats_a_failure_that_passes_and_the_first_of_equals_stays(book):
    for record in (Failure("a", "timeout", ""), completion("a", "first"), completion("a", "second")):
        book.append(to_record(record))
    book.append(to_record(Failure("a", "timeout", "")))
    assert book.outcome("a").text == "first"


def test_a_ledger_opened_again_knows_what_is_on_disk(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append(to_record(completion("a")))
    with Ledger(tmp_path) as book:
        book.append(to_record(completion("b", "new")))
        assert (book.outcome("a").text, book.outcome("b").text) == ("yes", "new")
        assert not list(book.unsettled(requests("a", "b")))


def test_segments_are_no_border(tmp_path, monkeypatch):
    with Ledger(tmp_path) as book:
        book._segment_bytes = 200
        for i in range(20):
            book.append(to_record(completion(f"r{i}", f"text {i}")))
        assert len(list(tmp_path.glob("answers-*.jsonl"))) > 2
        assert [book.outcome(f"r{i}").text for i in range(20)] == [f"text {i}" for i in range(20)]
