"""Batch files go out and come back in any order, with every line that cannot be used counted."""

import contextlib
import json
import random

import pytest

from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.errors import DataError
from linksyn_gpu.llm import batchfile
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.llm.refusals import Dialect
from tests.llm.fake_server import GOOD, completion, request


def line(name, body=None, status=200, error=None):
    response = None if body is None else {"status_code": status, "request_id": "r", "body": body}
    return json.dumps({"id": "batch-1", "custom_id": name, "response": response, "error": error})


def write(folder, requests, **settings):
    """Write requests to one file; returns its rows."""
    config = SynthesisConfig(engine="batch", model="m")
    with batchfile.RequestFiles(lambda n: contextlib.nullcontext(folder / "out.jsonl"), config) as files:
        n = batchfile.write(requests, files, **settings)
    rows = [json.loads(row) for row in (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert n == len(rows)
    return rows


def collect(folder, lines, known, validate=None):
    file = folder / "answers.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with Journal(folder / "journal") as journal:
        result = batchfile.collect([file], journal, known, validate=validate)
        return result, {record["id"]: record for record in journal.read()}


def test_answers_are_taken_in_any_order(tmp_path):
    names = [str(i) for i in range(30)]
    lines = [line(name, completion(name)) for name in names]
    random.Random(0).shuffle(lines)
    result, records = collect(tmp_path, lines, names)
    assert (result.lines, result.completions, result.missing) == (30, 30, 0)
    assert all(records[name]["text"] == name for name in names)


def test_every_line_that_cannot_be_used_is_counted(tmp_path):
    vllm_error = line("e", {"error": {"message": "bad"}, "object": "error"}, 400)
    lines = [
        line("a", completion(GOOD)),
        line("a", completion("again")),
        line("b", completion("{", "length")),
        line("c", None, error={"code": "batch_expired", "message": "This request expired"}),
        line("d", completion("no JSON")),
        vllm_error,
        line("stranger", completion(GOOD)),
        "not json",
        '["no object"]',
        line("f", {"odd": 1}),
    ]
    result, records = collect(tmp_path, lines, [*"abcdefgh"], lambda text: None if text == GOOD else "invalid_json")
    assert result.lines == 10
    assert (result.completions, result.duplicates, result.unknown, result.unreadable) == (1, 1, 1, 2)
    assert result.failed == {
        "cut_off": 1,
        "expired": 1,
        "invalid_json": 1,
        "bad_request": 1,
        "bad_response": 1,
    }
    assert result.missing == 4  # g and h have no line, c and f are to be asked again
    assert "expired" in records["c"]["detail"]
    assert records["a"]["text"] == GOOD
    assert result.examples[0].startswith(str(tmp_path / "answers.jsonl") + ":3")


def test_a_second_file_replaces_failures_and_repeats_nothing(tmp_path):
    collect(tmp_path, [line("a", completion("A")), line("b", None, error={"message": "expired"})], "ab")
    result, records = collect(tmp_path, [line("a", completion("other")), line("b", completion("B"))], "ab")
    assert (result.completions, result.duplicates) == (1, 1)
    assert [records[name]["text"] for name in "ab"] == ["A", "B"]


def test_a_usable_answer_beats_an_earlier_failure_in_one_file_or_in_the_next(tmp_path):
    cut, whole = line("a", completion("{", "length")), line("a", completion("A"))
    for name, files in (("one", [[cut, whole]]), ("two", [[cut], [whole]])):
        (tmp_path / name).mkdir()
        for lines in files:
            result, records = collect(tmp_path / name, lines, "a")
        assert (result.completions, result.duplicates, result.missing) == (1, 0, 0)
        assert records["a"]["text"] == "A"
    result, _ = collect(tmp_path / "one", [cut, whole], "a")
    assert (result.completions, result.duplicates) == (0, 2)


def test_the_same_failure_again_is_counted_but_not_written_again(tmp_path):
    lines = [line("a", completion("{", "length")), line("b", None, error={"message": "expired"})]
    for _ in range(2):
        result, _ = collect(tmp_path, lines * 2, "abc")
        assert result.failed == {"cut_off": 2, "server_error": 2}
        assert result.missing == 2
    with Journal(tmp_path / "journal", writable=False) as journal:
        assert len(list(journal.lines())) == 2


def test_requests_that_are_missing_are_the_ones_written_to_be_asked_again(tmp_path):
    lines = [line("a", completion("A")), line("b", completion("{", "length")), line("c", {"odd": 1})]
    result, _ = collect(tmp_path, lines, "abcd")
    with Journal(tmp_path / "journal", writable=False) as journal:
        rows = write(tmp_path, map(request, "abcd"), settled=journal.index())
    assert len(rows) == result.missing == 2


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (402, {"message": "Insufficient Balance"}, "refused"),
        (429, {"message": "over", "code": "insufficient_quota"}, "refused"),
        (400, {"message": "Unsupported parameter: 'temperature'", "param": "temperature"}, "refused"),
        (400, {"message": "max_tokens is too large: context length is 900 tokens, 500 input tokens"}, "refused"),
        (
            400,
            {"message": "maximum context length is 900 tokens, your request has 950 input tokens"},
            "prompt_too_long",
        ),
        (400, {"message": "content filter"}, "filtered"),
        (500, {"message": "boom"}, "server_error"),
        (408, {"message": "too slow"}, "server_error"),
        (429, {"message": "Rate limit reached, try again in 2 s"}, "rate_limited"),
    ],
)
def test_lines_about_the_account_or_the_settings_leave_their_request_pending(tmp_path, status, error, reason):
    result, _ = collect(tmp_path, [line("a", {"error": error}, status), line("b", completion("B"))], "ab")
    assert result.failed == {reason: 1}
    assert result.missing == (reason not in ("prompt_too_long", "filtered"))


def test_a_file_in_which_every_line_is_refused_drops_no_request(tmp_path):
    refused = [line(name, {"error": {"message": "something new"}}, 400) for name in "abc"]
    result, records = collect(tmp_path, refused, "abc")
    assert (result.failed, result.missing, records) == ({"bad_request": 3}, 3, {})
    result, records = collect(tmp_path, [*refused, line("d", completion("D"))], "abcd")
    assert result.missing == 0
    assert records["a"]["reason"] == "bad_request"


@pytest.mark.parametrize(
    "damaged",
    [
        '{"custom_id": "a", "response": {"body": ' + "[" * 5000,
        '{"custom_id": "\\ud800", "response": null}',
        '{"custom_id": "a", "response": {"status_code": 200, "body": {"choices": [{"message": {"content": "x"}}], '
        '"usage": {"prompt_tokens": 1e400}}}}',
        '{"custom_id": "a", "error": ' + '{"error": ' * 300 + "1" + "}" * 300 + "}",
        '{"custom_id": "a", "response": {"status_code": true}}',
        '{"custom_id": "a", "response": {"status_code": 200, "body": {"choices": [{"message": {"content": '
        + "9" * 5000
        + "}}]}}}",
    ],
    ids=lambda text: text[:40],
)
def test_a_line_that_python_cannot_hold_is_counted_and_blocks_nothing(tmp_path, damaged):
    result, records = collect(tmp_path, [damaged, line("b", completion("B"))], "ab")
    assert result.lines == 2
    assert records["b"]["text"] == "B"


def test_parameters_are_left_out_and_renamed_in_the_file(tmp_path):
    dialect = Dialect(["seed"], {"max_tokens": "max_completion_tokens"})
    body = write(tmp_path, [request("a")], dialect=dialect, answer_limit=99)[0]["body"]
    assert body.keys() == {"model", "messages", "max_completion_tokens"}
    assert body["max_completion_tokens"] == 99


def test_a_file_of_another_run_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no line belongs"):
        collect(tmp_path, [line("x", completion(GOOD))], ["a"])


def test_requests_that_are_answered_are_not_written(tmp_path):
    collect(tmp_path, [line("a", completion("A"))], "ab")
    with Journal(tmp_path / "journal") as journal:
        rows = write(tmp_path, map(request, "ab"), settled=journal.index())
    assert [row["custom_id"] for row in rows] == ["b"]
