"""Takedown of a seed: no trace of its rows, every other row as before, the quota filled up again."""

import json
import os
import signal
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linksyn_gpu.streams import open_to_read
from tests.dataset.conftest import invoke, write_seeds
from tests.dataset.varied_server import varied
from tests.llm.fake_server import FakeServer
from tests.requests import requests_of

GONE = ("s7", "s40")
FLAGS = ("--length", 3, "--calibration-rounds", 2, "--rounds", 5, "--engine", "openai", "--concurrency", 32)


def rows_of(folder, name):
    return {row["id"]: row for row in pq.read_table(folder / name).to_pylist()}


def lines_of(folder, name):
    return {json.loads(line)["id"]: line for line in (folder / name).read_bytes().splitlines()}


def requests_by_id(folder):
    return {request["custom_id"]: request for request in requests_of(folder)}


def content_of(path):
    """Bytes of a file, decompressed."""
    with open_to_read(path) as stream:
        return stream.read()


def again(campaign, server, *flags):
    """The command that made the campaign, on a copy of it."""
    seeds = write_seeds(campaign.parent / "seeds.jsonl")
    words = ("run", seeds, "--out", campaign, "--paths", 500, "--per-path", 2, *FLAGS, "--base-url", server.url)
    return invoke(*words, *flags)


def test_no_trace_of_the_seeds_is_left_and_all_other_rows_are_the_same(campaign, tmp_path):
    dataset = tmp_path / "dataset"
    invoke("export", campaign, "--to", dataset, "--validation", 0)
    invoke("report", campaign)
    before = {name: rows_of(campaign, name) for name in ("qa.parquet", "curated.parquet")}
    lines = {name: lines_of(campaign, name) for name in ("qa.jsonl", "curated.jsonl")}
    asked = requests_by_id(campaign)
    texts = [row["question"] for row in before["qa.parquet"].values() if set(GONE) & set(row["seed_ids"])]
    expected = {name for name, row in before["qa.parquet"].items() if not set(GONE) & set(row["seed_ids"])}
    assert 0 < len(expected) < len(before["qa.parquet"])
    output = invoke("revoke", campaign, *GONE, "--dataset", dataset).output
    assert f"{len(texts)} QA" in output

    for name, rows in before.items():
        after = rows_of(campaign, name)
        assert after == {row: rows[row] for row in expected}
    for name, known in lines.items():
        assert lines_of(campaign, name) == {row: known[row] for row in expected}
    kept = {name.partition("-")[0] for name in expected}
    assert requests_by_id(campaign) == {name: asked[name] for name in kept}
    published = pa.concat_tables(pq.read_table(path) for path in (dataset / "data").iterdir()).to_pylist()
    assert {row["id"] for row in published} == expected
    seed_texts = [f"What is the number {name[1:]} of group".encode() for name in GONE]
    for path in [*campaign.rglob("*"), *dataset.rglob("*")]:
        if path.is_file() and "journal" not in path.parts:
            content = content_of(path)
            assert not [text for text in (*seed_texts, *(t.encode() for t in texts)) if text in content], path
    assert invoke("trace", campaign, "--seed", GONE[0]).output.startswith("0 QA")


def test_new_paths_fill_the_quota_and_never_use_the_seeds(campaign):
    invoke("revoke", campaign, *GONE)
    left = lines_of(campaign, "curated.jsonl")
    with FakeServer(varied) as server:
        again(campaign, server)
        asked = sum(server.asked.values())
    rows = rows_of(campaign, "curated.parquet")
    paths = pq.read_table(campaign / "paths.parquet").to_pylist()
    revoked = sum(path["drop_reason"] == "revoked" for path in paths)
    assert len(paths) == 500 + revoked
    assert asked == revoked
    assert len(rows) == 1000
    assert not [row for row in rows.values() if set(GONE) & set(row["seed_ids"])]
    now = lines_of(campaign, "curated.jsonl")
    assert {name: now[name] for name in left} == left
    assert " 0 differ" in invoke("prove", campaign, "--all").output


def test_answers_stay_in_the_journal_marked_unless_they_are_purged(campaign, tmp_path):
    def answers(folder):
        return b"".join(path.read_bytes() for path in sorted((folder / "journal").glob("answers-*.jsonl")))

    before = answers(campaign)
    invoke("revoke", campaign, "s7")
    assert answers(campaign) == before
    marked = [json.loads(line)["id"] for line in (campaign / "journal" / "revoked.jsonl").read_text().splitlines()]
    assert marked
    invoke("revoke", campaign, "s40", "--purge")
    assert len(answers(campaign)) < len(before)
    kept = {row.partition("-")[0] for row in rows_of(campaign, "qa.parquet")}
    assert all(name.encode() in answers(campaign) for name in kept)


def test_seeds_are_revoked_one_after_the_other_as_in_one_call(campaign, tmp_path):
    invoke("revoke", campaign, GONE[0])
    with FakeServer(varied) as server:
        again(campaign, server)
        invoke("revoke", campaign, GONE[1])
        again(campaign, server)
    rows = rows_of(campaign, "curated.parquet")
    assert len(rows) == 1000
    assert not [row for row in rows.values() if set(GONE) & set(row["seed_ids"])]
    assert " 0 differ" in invoke("prove", campaign, "--all").output


def test_more_seeds_can_be_added_after_a_takedown_and_the_text_does_not_come_back(campaign, tmp_path):
    invoke("revoke", campaign, "s7")
    more = tmp_path / "more.jsonl"
    lines = write_seeds(tmp_path / "all.jsonl", 330).read_text().splitlines(keepends=True)
    more.write_text("".join(lines[300:]))
    seeds = write_seeds(campaign.parent / "seeds.jsonl")
    with FakeServer(varied) as server:
        words = ("run", seeds, more, "--out", campaign, "--paths", 520, "--per-path", 2, *FLAGS)
        invoke(*words, "--base-url", server.url)
    assert b"What is the number 7 of group" not in (campaign / "seeds.arrow").read_bytes()
    assert not [row for row in rows_of(campaign, "curated.parquet").values() if "s7" in row["seed_ids"]]


@pytest.mark.parametrize("at", range(1, 8))
def test_a_killed_takedown_is_completed_by_the_same_command_and_blocks_all_others(campaign, at):
    script = f"""
import os, signal
from linksyn_gpu.pipeline.folder import Workspace
finish, count = Workspace._write_manifest, [0]
def dying(self):
    finish(self)
    count[0] += 1
    if count[0] == {3 * at}:
        os.kill(os.getpid(), signal.SIGKILL)
Workspace._write_manifest = dying
from linksyn_gpu.pipeline import stages
with Workspace({str(campaign)!r}, create=False) as ws:
    stages.revoke(ws, ["s7"])
"""
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ}, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with FakeServer(varied) as server:
        seeds = write_seeds(campaign.parent / "seeds.jsonl")
        words = ("run", seeds, "--out", campaign, "--paths", 500, "--per-path", 2, *FLAGS, "--base-url", server.url)
        assert "takedown was interrupted" in invoke(*words, code=2).output
        assert "takedown was interrupted" in invoke("revoke", campaign, "s40", code=2).output
        invoke("revoke", campaign, "s7")
        again(campaign, server)
    rows = rows_of(campaign, "curated.parquet")
    assert len(rows) == 1000
    assert not [row for row in rows.values() if "s7" in row["seed_ids"]]


def test_an_unknown_seed_changes_nothing(campaign):
    before = {path: path.read_bytes() for path in campaign.rglob("*") if path.is_file()}
    assert "no seed has the id nobody" in invoke("revoke", campaign, "s7", "nobody", code=2).output
    assert {path: path.read_bytes() for path in campaign.rglob("*") if path.is_file()} == before


def test_a_run_with_pending_requests_must_be_finished_first(out):
    ids = pa.ipc.open_file(out / "seeds.arrow").read_all().column("id").to_pylist()
    assert "is not finished" in invoke("revoke", out, ids[0], code=2).output


def test_a_campaign_with_extracted_knowledge_points_loses_the_texts_in_both_seed_tables(tmp_path):
    seeds, out = write_seeds(tmp_path / "seeds.jsonl", 120), tmp_path / "out"
    words = ("run", seeds, "--out", out, "--paths", 40, "--merge", "forms", *FLAGS, "--base-url")
    with FakeServer(varied) as server:
        invoke(*words, server.url)
        before = pq.read_table(out / "annotated.parquet").to_pylist()
        used = pq.read_table(out / "qa.parquet").to_pylist()[0]["seed_ids"][0]
        invoke("revoke", out, used)
        after = pq.read_table(out / "annotated.parquet").to_pylist()
        invoke(*words, server.url)
    row = next(i for i, seed in enumerate(before) if seed["id"] == used)
    assert (after[row]["question"], after[row]["answer"]) == ("", "")
    assert after[row]["knowledge_points"] == before[row]["knowledge_points"]
    assert [a for i, a in enumerate(after) if i != row] == [b for i, b in enumerate(before) if i != row]
    assert not [r for r in pq.read_table(out / "curated.parquet").to_pylist() if used in r["seed_ids"]]
    assert " 0 differ" in invoke("prove", out, "--all").output


def test_with_a_number_of_qa_asked_for_the_quota_is_met_again(tmp_path):
    seeds, out = write_seeds(tmp_path / "seeds.jsonl", 150), tmp_path / "out"
    flags = ("--qa", 60, "--discipline", "law=1", "--discipline", "physics=2", "--near-duplicates", 1)
    words = ("run", seeds, "--out", out, *flags, *FLAGS, "--base-url")
    with FakeServer(varied) as server:
        invoke(*words, server.url)
        used = pq.read_table(out / "curated.parquet").to_pylist()[0]["seed_ids"][0]
        invoke("revoke", out, used)
        assert pq.read_metadata(out / "curated.parquet").num_rows < 60
        invoke(*words, server.url)
    rows = pq.read_table(out / "curated.parquet").to_pylist()
    assert len(rows) == 60
    assert not [row for row in rows if used in row["seed_ids"]]


def test_a_takedown_of_every_seed_with_rows_leaves_an_empty_data_set(campaign, tmp_path):
    dataset = tmp_path / "dataset"
    invoke("export", campaign, "--to", dataset)
    used = sorted({seed for row in rows_of(campaign, "qa.parquet").values() for seed in row["seed_ids"]})
    invoke("revoke", campaign, *used, "--dataset", dataset)
    for name in ("qa.parquet", "curated.parquet"):
        assert rows_of(campaign, name) == {}
    assert not list(dataset.rglob("*.parquet"))
    assert "0 question-answer pairs" in (dataset / "README.md").read_text(encoding="utf-8")
