"""Engine batch on the command line: files within a service's limits, and answers from many files in any order."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linksyn_gpu.llm import batchfile
from linksyn_gpu.pipeline.folder import Workspace
from tests.cli.test_cli import answer
from tests.cli.test_server import SEEDS, invoke
from tests.llm import batch_format
from tests.requests import requests_of

BATCH = ("--engine", "batch", "--model", "writer-1", "--paths", "12", "--calibration-rounds", "2")


def run(out, *flags):
    return invoke("run", SEEDS, "--out", out, *BATCH, *flags)


def files(out, folder="requests"):
    return sorted((out / folder).iterdir())


def with_ids(path):
    return [json.loads(line)["custom_id"] for line in path.read_text(encoding="utf-8").splitlines()]


def failure(request, status, message):
    error = {"error": {"message": message}}
    return {"custom_id": request["custom_id"], "response": {"status_code": status, "body": error}, "error": None}


def expired(request):
    error = {"code": "batch_expired", "message": "This request could not be executed before the window expired."}
    return {"custom_id": request["custom_id"], "response": None, "error": error}


def as_lines(answers):
    return "".join(json.dumps(line) + "\n" for line in answers).encode()


def counts(out):
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))["stages"]["synthesize"]["counts"]


@pytest.mark.parametrize(
    "flags",
    [(), ("--without", "temperature,seed", "--rename", "max_tokens=max_completion_tokens"), ("--per-path", "3")],
)
def test_requests_files_are_valid_input_of_the_batch_api(tmp_path, flags):
    out = tmp_path / "out"
    run(out, "--batch-requests", "5", *flags)
    assert [len(with_ids(path)) for path in files(out)] == [5, 5, 2]
    for path in files(out):
        assert batch_format.faults(path.read_bytes()) == []
    names = [name for path in files(out) for name in with_ids(path)]
    assert len(set(names)) == 12
    assert json.loads(files(out)[0].read_text().splitlines()[0])["body"]["model"] == "writer-1"
    # The check itself can fail.
    first = files(out)[0].read_bytes()
    assert batch_format.faults(first + first) != []
    assert batch_format.faults(first.replace(b"writer-1", b"auto")) != []


def test_no_file_is_larger_than_the_limit_and_the_order_stays(tmp_path):
    small, one = tmp_path / "small", tmp_path / "one"
    run(one)
    (whole,) = files(one)
    run(small, "--batch-bytes", "20KB")
    assert len(files(small)) > 1
    assert max(path.stat().st_size for path in files(small)) <= 20_000
    assert b"".join(path.read_bytes() for path in files(small)) == whole.read_bytes()
    refused = invoke("run", SEEDS, "--out", tmp_path / "tiny", *BATCH, "--batch-bytes", "100", code=2)
    assert "--batch-bytes" in refused.stderr


def test_a_batch_without_a_model_is_refused_before_anything_is_written(tmp_path):
    refused = invoke("run", SEEDS, "--out", tmp_path / "out", "--engine", "batch", code=2)
    assert "engine 'batch' needs model" in refused.stderr
    assert "--model" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_of_a_version_that_needed_no_model_goes_on(tmp_path):
    out = tmp_path / "out"
    run(out)
    with Workspace(out) as ws:
        entry = ws.manifest["stages"]["synthesize"]
        entry["settings"]["synthesis"]["model"] = None
        entry["digest"] = ws._digest("synthesize", entry["settings"])
        ws._write_manifest()
    invoke("report", out)
    invoke("synthesize", out)
    assert 'synthesis.model was "auto", is "other"' in invoke("synthesize", out, "--model", "other", code=2).stderr


def test_answers_from_many_files_in_any_order_with_errors_in_some_lines(tmp_path):
    out, given = tmp_path / "out", tmp_path / "given"
    run(out, "--batch-requests", "4")
    first, second, third = ([*map(json.loads, path.read_text().splitlines())] for path in files(out))
    given.mkdir()
    (given / "c.jsonl").write_bytes(as_lines([answer(first[0]), failure(first[1], 429, "Too many requests")]))
    (given / "b.jsonl.gz").write_bytes(
        gzip.compress(as_lines([failure(second[0], 400, "flagged by our content policy"), *map(answer, second[1:])]))
    )
    with pa.CompressedOutputStream(str(given / "a.jsonl.zst"), "zstd") as stream:
        stream.write(as_lines([failure(third[0], 500, "overloaded"), expired(third[1]), *map(answer, third[2:])]))
    text = invoke("synthesize", out, "--collect", given / "c.jsonl", "--collect", given / "[ab].jsonl*").stdout
    assert "10 lines collected" in text
    found = counts(out)
    assert found["collected"]["failed"] == {"rate_limited": 1, "filtered": 1, "server_error": 1, "expired": 1}
    assert found["failed_by_reason"] == {"filtered": 1}
    assert found["pending_reasons"] == {"rate_limited": 1, "server_error": 1, "expired": 1, "no_answer": 2}
    dropped = pq.read_table(out / "dropped.parquet").to_pylist()
    assert [row["reason"] for row in dropped if row["stage"] == "request"] == ["filtered"]
    pending = [first[1], first[2], first[3], third[0], third[1]]
    assert [len(with_ids(path)) for path in files(out, "requests-pending")] == [4, 1]
    assert [name for path in files(out, "requests-pending") for name in with_ids(path)] == [
        request["custom_id"] for request in pending
    ]
    assert all(batch_format.faults(path.read_bytes()) == [] for path in files(out, "requests-pending"))

    # The same folder again, with the answers to what was pending: nothing is taken twice.
    (given / "d.jsonl").write_bytes(as_lines(map(answer, reversed(pending))))
    invoke("synthesize", out, "--collect", given)
    assert counts(out)["pending"] == 0
    assert counts(out)["answered"] == 11
    assert counts(out)["collected"]["duplicates"] == 6
    assert not (out / "requests-pending").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.mkdir(), "no file of answers in this folder"),
        (lambda path: path.write_bytes(gzip.compress(b"{}\n" * 999)[:20]), "cannot be read to its end"),
    ],
)
def test_answer_files_that_cannot_be_read_are_named(tmp_path, make, message):
    out, path = tmp_path / "out", tmp_path / "answers.jsonl.gz"
    run(out)
    make(path)
    stderr = invoke("synthesize", out, "--collect", path, code=1).stderr
    assert message in stderr
    assert str(path) in stderr


def test_the_requests_themselves_are_no_answers(tmp_path):
    out = tmp_path / "out"
    run(out)
    stderr = invoke("synthesize", out, "--collect", out / "requests", code=1).stderr
    assert "requests-00000.jsonl:1: has neither 'response' nor 'error', as a request has" in stderr
    assert counts(out)["pending"] == len(requests_of(out)) == 12


def test_a_line_of_unbounded_length_is_one_unreadable_line(tmp_path, monkeypatch):
    monkeypatch.setattr(batchfile, "MAX_LINE", 50_000)
    out, path = tmp_path / "out", tmp_path / "answers.jsonl.zst"
    run(out)
    with pa.CompressedOutputStream(str(path), "zstd") as stream:
        stream.write(as_lines([answer(requests_of(out)[0])]) + b"[" * 10**7 + b"\n")
        stream.write(as_lines([answer(requests_of(out)[1])]))
    invoke("synthesize", out, "--collect", path)
    collected = counts(out)["collected"]
    assert (collected["lines"], collected["completions"], collected["unreadable"]) == (3, 2, 1)
    assert f"{path}:2: longer than 50,000 bytes" in collected["examples"][0]
