"""The files of a run are the same bytes for any number of workers, also when workers or nodes of a cluster are killed.

Every step of text work is in the run: terms, requests, answers with their checks, near-duplicates, and benchmark items
in seeds and in QA. Shards are made small, so that each step has several.
"""

import importlib
import io
import itertools
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from linksyn_gpu.cluster import local, open_workers
from linksyn_gpu.knowledge.extract.keyphrases import find_keyphrases
from tests.cli.test_server import SEEDS, invoke
from tests.requests import requests_of

LEAKED = "Which force keeps a satellite on its circular orbit around the Earth at every moment?"
TERMS = "derivative logarithm probability energy cell momentum matrix reaction acid demand gene force function enzyme"
NOT_COMPARED = ("manifest.json", "journal", "lock")
"""They hold times."""


SHARDS = {
    "pipeline.benchmarks.SHARD_ROWS": 30,
    "pipeline.stages.curate.SHARD_ROWS": 3,
    "quality.duplicates.BATCH": 5,
    "synthesis.requests.BATCH_ROWS": 3,
    "synthesis.synthesize.BATCH_ROWS": 3,
    "knowledge.extract.keyphrases.SHARD_SEEDS": 30,
    "knowledge.extract.selection.SHARD_SEEDS": 30,
}


@pytest.fixture(scope="module", autouse=True)
def small_shards():
    with pytest.MonkeyPatch.context() as patch:
        for name, rows in SHARDS.items():
            module, _, constant = name.rpartition(".")
            patch.setattr(importlib.import_module(f"linksyn_gpu.{module}"), constant, rows)
        yield


def answer(place, request):
    """A line of a batch output: most QA pass the checks, some repeat another one or a benchmark item, some are bad."""
    lifted = f"the load of bricks number {place}" if place % 3 else f"{60 + place} kg of bricks by {place + 2} m"
    rest = "to the roof of a tall house in the old town on a windy day in late autumn, without any friction at all"
    question = f"How much work is done when a crane lifts {lifted} {rest}?"
    if place % 7 == 3:
        question = LEAKED
    text = {"question": question, "answer": "" if place % 11 == 5 else "It follows from W = m g h.", "explanation": "-"}
    content = "no JSON" if place % 13 == 7 else json.dumps({"qa": [text]})
    body = {"model": "m", "choices": [{"message": {"content": content}, "finish_reason": "stop"}], "usage": {}}
    return {"custom_id": request["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}


def make(folder, *workers):
    """A run from seeds to the data set; returns the content of its files by name."""
    out, glossary = folder / "out", folder.parent / "glossary.txt"
    glossary.write_text(TERMS.replace(" ", "\n"), encoding="utf-8")
    extractor = ("--extractor", "terms", "--glossary", glossary)
    batch = ("--engine", "batch", "--model", "m", "--paths", "40", "--calibration-rounds", "2")
    with Path(SEEDS).open(encoding="utf-8") as lines:
        exam = folder.parent / "exam.jsonl"
        exam.write_text(list(lines)[70], encoding="utf-8")
    invoke("run", SEEDS, "--out", out, "--against", exam, *batch, *extractor, *workers)
    answers = folder / "answers.jsonl"
    answers.write_text("".join(json.dumps(answer(*pair)) + "\n" for pair in enumerate(requests_of(out))))
    invoke("synthesize", out, "--collect", answers, *workers)
    benchmark = folder / "benchmark.jsonl"
    benchmark.write_text(json.dumps({"question": LEAKED, "answer": "gravity"}) + "\n")
    invoke("curate", out, "--against", benchmark, "--checks-off", "empty_answer", *workers)
    return contents(out)


def contents(out):
    files = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not any(word in name for word in NOT_COMPARED)}


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """The files that one process makes."""
    return make(tmp_path_factory.mktemp("once"), "--workers", "1")


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def test_the_run_has_what_each_step_must_treat(once):
    assert once["curated.jsonl"].count(b"\n") > 2
    assert once["contaminated.jsonl"].count(b"\n") == 1
    for name, column in (("clusters", "id"), ("dropped", "reason"), ("curate-dropped", "reason"), ("extracted", "id")):
        found = pq.read_table(io.BytesIO(once[f"{name}.parquet"])).column(column).to_pylist()
        assert len(set(found)) >= 2, name


def test_files_do_not_depend_on_the_number_of_workers(once, tmp_path):
    assert_same(make(tmp_path, "--workers", "4"), once)


def test_files_do_not_depend_on_workers_that_are_killed(once, monkeypatch, tmp_path):
    killed = []
    result = local.LocalWorkers.result

    def kill_sometimes(self, handle):
        if self._processes and len(killed) < 8:
            process = self._processes[-1]._popen
            process.kill()
            killed.append(process.pid)
        return result(self, handle)

    monkeypatch.setattr(local.LocalWorkers, "result", kill_sometimes)
    assert_same(make(tmp_path, "--workers", "2"), once)
    assert len(killed) == 8


def test_key_phrases_do_not_depend_on_the_number_of_workers():
    pytest.importorskip("yake", reason="NOT CHECKED: pip install 'linksyn-gpu[extract]'")
    with Path(SEEDS).open(encoding="utf-8") as lines:
        seeds = [(seed["question"], "en", seed["discipline"]) for seed in map(json.loads, itertools.islice(lines, 70))]
    with open_workers(2) as map_shards:
        assert list(find_keyphrases(seeds, 8, map_shards)) == list(find_keyphrases(seeds, 8))
