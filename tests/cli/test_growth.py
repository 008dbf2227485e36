"""A campaign that grows: more paths, more kept QA, more seeds; what is there stays as it is."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from linksyn_gpu.cli import main
from linksyn_gpu.pipeline.stages.walk import CampaignPart
from linksyn_gpu.synthesis.requests import requests_paths
from tests.cli.test_server import SEEDS, invoke, reply
from tests.llm.fake_server import FakeServer, ok
from tests.requests import requests_of

QUICK = ("--calibration-rounds", "2", "--concurrency", "4", "--rounds", "4")
BATCH = ("--engine", "batch", "--model", "m")


def rows(out, name="paths.parquet"):
    return pq.read_table(out / name).to_pylist()


def parts(out):
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    return [sum(part["paths"]) for part in manifest["stages"]["walk"]["parts"]]


def run(out, *words, code=0):
    return invoke("run", SEEDS, "--out", out, *QUICK, *words, code=code)


def server_words(server):
    return ("--engine", "openai", "--base-url", server.url)


def test_more_paths_continue_a_campaign_and_change_nothing_of_it(tmp_path):
    out = tmp_path / "out"
    with FakeServer(reply) as server:
        run(out, "--paths", "12", *server_words(server))
        paths, tasks, qa = rows(out), rows(out, "tasks.parquet"), rows(out, "qa.parquet")
        (file,) = requests_paths(out)
        first, n_first = file.read_bytes(), len(requests_of(out))
        asked = len(server.bodies)
        run(out, "--paths", "24", *server_words(server))
        assert len(server.bodies) == asked + len(requests_of(out)) - n_first
        assert max(server.asked.values()) == 1
    assert parts(out) == [12, 12]
    assert len(rows(out)) == 24
    assert rows(out)[:12] == paths
    assert rows(out, "tasks.parquet")[:12] == tasks
    assert rows(out, "qa.parquet")[: len(qa)] == qa
    assert file.read_bytes() == first
    assert [row["walk_id"] for row in rows(out)] == list(range(24))
    sets = [frozenset(row["nodes"]) for row in rows(out) if row["drop_reason"] is None]
    assert len(sets) == len(set(sets)), "a later part repeats the KPs of an earlier path"


def test_a_grown_campaign_is_the_same_for_every_way_to_get_there(tmp_path):
    """In one process or several, killed or not, with requests written at once or later."""
    run(tmp_path / "a", "--paths", "10", *BATCH)
    run(tmp_path / "a", "--paths", "30", *BATCH)
    b = tmp_path / "b"
    invoke("ingest", SEEDS, "--out", b)
    invoke("build", b)
    invoke("walk", b, "--paths", "10", *QUICK[:2], *QUICK[4:])
    invoke("walk", b, "--paths", "30", *QUICK[:2], *QUICK[4:])
    invoke("synthesize", b, *BATCH, "--concurrency", "4")
    for name in ("paths.parquet", "plan.json"):
        assert (tmp_path / "a" / name).read_bytes() == (b / name).read_bytes()
    assert requests_of(tmp_path / "a") == requests_of(b)
    for name in ("paths.parquet", "visits.npz"):
        (b / name).write_bytes(b"damaged")
        invoke("walk", b)
        assert (tmp_path / "a" / "paths.parquet").read_bytes() == (b / "paths.parquet").read_bytes()
    (b / "visits.npz").unlink()
    invoke("walk", b, "--paths", "40")
    run(tmp_path / "a", "--paths", "40", *BATCH)
    assert (tmp_path / "a" / "paths.parquet").read_bytes() == (b / "paths.parquet").read_bytes()


def test_fewer_paths_are_refused_and_none_given_means_as_many_as_there_are(tmp_path):
    out = tmp_path / "out"
    run(out, "--paths", "30", *BATCH)
    assert "can only grow" in run(out, "--paths", "12", *BATCH, code=2).stderr
    run(out, *BATCH)
    assert parts(out) == [30]
    run(out, "--paths", "12", "--force", *BATCH)
    assert parts(out) == [12]


def test_a_mistyped_number_of_paths_is_corrected_as_long_as_none_of_them_is_walked(tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(out, "--paths", "12", *BATCH)

    def stop(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CampaignPart, "rounds", stop)
        run(out, "--paths", "1000000000", *BATCH, code=130)
    assert parts(out) == [12, 999_999_988]
    run(out, "--paths", "20", *BATCH)
    assert parts(out) == [12, 8]


def test_a_quota_stays_exact_while_a_campaign_grows(tmp_path):
    out = tmp_path / "out"
    (tmp_path / "quota.toml").write_text("[quota.discipline]\nlaw = 1\nphysics = 2\nbiology = 2\n")
    for total in (7, 8, 20, 50):
        run(out, "--paths", str(total), "--config", tmp_path / "quota.toml", *BATCH)
    asked = [cell["asked"] for cell in json.loads((out / "plan.json").read_text())["cells"]]
    assert asked == [10, 20, 20]
    assert len(parts(out)) == 4


@pytest.mark.parametrize("lost", [0, 2])
def test_the_number_of_kept_qa_is_reached_exactly(tmp_path, lost):
    """Of each three answers some are unusable; further paths replace them. The best of each cell are chosen."""
    out = tmp_path / "out"

    def answer(body, n):
        return ok(json.dumps({"qa": []})) if hash(json.dumps(body["messages"])) % 3 < lost else reply(body, n)

    with FakeServer(answer) as server:
        words = ("--qa", "20", "--max-overdraw", "9", *server_words(server))
        text = run(out, *words).stdout
        asked = len(server.bodies)
        run(out, *words)
        assert len(server.bodies) == asked, "a campaign that has its number asks for nothing more"
    assert "20 asked for = 20 kept + 0 missing" in text
    assert len(rows(out, "curated.parquet")) == 20
    assert len((out / "curated.jsonl").read_text(encoding="utf-8").splitlines()) == 20
    kept = sorted(row["id"] for row in rows(out, "qa.parquet"))
    files = ("curated.parquet", "reserve.parquet", "curate-dropped.parquet")
    assert sorted(row["id"] for name in files for row in rows(out, name)) == kept
    assert len(parts(out)) > 1 or not lost


def test_a_cell_without_kept_qa_ends_at_the_bound_and_says_what_is_missing(tmp_path):
    out = tmp_path / "out"
    with FakeServer(lambda body, n: ok(json.dumps({"qa": []}))) as server:
        result = invoke(
            "run", SEEDS, "--out", out, *QUICK, "--qa", "10", "--max-overdraw", "2", *server_words(server), code=3
        )
    assert sum(parts(out)) == 20
    assert "10 asked for = 0 kept + 10 missing" in result.stdout


def test_a_killed_closed_loop_continues_where_it_was(tmp_path):
    """A campaign that is stopped several times ends with the same files as one that is not."""

    def answer(body, n):
        bad = int(json.dumps(body["messages"]).encode().hex(), 16) % 3 == 0
        return ok(json.dumps({"qa": []})) if bad else reply(body, n)

    with FakeServer(answer) as server:
        words = ("--qa", "16", *server_words(server))
        run(tmp_path / "whole", *words)
        for limit in (3, 9, 15, 17, 20):
            stopped = ("run", SEEDS, "--out", tmp_path / "stopped", *QUICK, *words, "--max-requests", str(limit))
            # 3: no answer so far was usable
            assert CliRunner().invoke(main, [str(word) for word in stopped]).exit_code in (0, 3)
        run(tmp_path / "stopped", *words, "--max-requests", "1000")
    for name in ("paths.parquet", "tasks.parquet", "qa.jsonl", "curated.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes(), name


def bank(tmp_path, *sizes):
    """The example seeds cut into files."""
    lines = Path(SEEDS).read_text(encoding="utf-8").splitlines(keepends=True)
    files, begin = [], 0
    for number, size in enumerate(sizes):
        file = tmp_path / f"bank-{number}.jsonl"
        file.write_text("".join(lines[begin : begin + size]), encoding="utf-8")
        files.append(file)
        begin += size
    return files


def test_new_seeds_join_a_campaign_and_earlier_rows_keep_their_provenance(tmp_path):
    out, (first, second) = tmp_path / "out", bank(tmp_path, 120, 60)
    with FakeServer(reply) as server:
        words = ("--out", out, *QUICK, *server_words(server))
        invoke("run", first, *words, "--paths", "20")
        before = {name: rows(out, name) for name in ("paths.parquet", "tasks.parquet", "qa.parquet")}
        kps = rows(out, "kps.parquet")
        invoke("run", first, second, *words, "--paths", "60")
        assert max(server.asked.values()) == 1
    for name, earlier in before.items():
        assert rows(out, name)[: len(earlier)] == earlier, name
    assert [kp["name"] for kp in rows(out, "kps.parquet")][: len(kps)] == [kp["name"] for kp in kps]
    new = rows(out)[20:]
    assert any(seed >= 120 for row in new for seed in row["seeds"]), "no later path uses a new seed"
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert [part["seeds"] for part in manifest["stages"]["walk"]["parts"]] == [120, 180]


def test_files_that_are_not_added_at_the_end_are_other_seeds(tmp_path):
    out, (first, second) = tmp_path / "out", bank(tmp_path, 120, 60)
    invoke("run", first, "--out", out, *QUICK, *BATCH)
    for files in ((second, first), (second,)):
        refused = invoke("run", *files, "--out", out, *QUICK, *BATCH, code=2).stderr
        assert "Seeds are added by files after all earlier ones, in their order: 'bank-0.jsonl'" in refused
    invoke("run", first, second, "--out", out, *QUICK, *BATCH)
    assert len(parts(out)) == 1
    invoke("run", first, "--out", out, *QUICK, *BATCH)  # no path refers to the second file yet
    assert len(pa.ipc.open_file(out / "seeds.arrow").read_all()) == 120


def test_seeds_that_paths_refer_to_cannot_be_taken_away(tmp_path):
    out, (first, second) = tmp_path / "out", bank(tmp_path, 120, 60)
    invoke("run", first, second, "--out", out, *QUICK, *BATCH)
    assert "paths refer to 180 seeds" in invoke("run", first, "--out", out, *QUICK, *BATCH, code=2).stderr
    assert len(pa.ipc.open_file(out / "seeds.arrow").read_all()) == 180
    invoke("run", first, second, "--out", out, *QUICK, *BATCH)


def test_new_seeds_keep_the_knowledge_points_that_an_extractor_found_before(tmp_path):
    out, (first, second) = tmp_path / "out", bank(tmp_path, 120, 60)
    words = ("--out", out, *QUICK, *BATCH, "--merge", "forms")
    invoke("run", first, *words)
    earlier = rows(out, "annotated.parquet")
    invoke("run", first, second, *words, "--paths", "40")
    assert rows(out, "annotated.parquet")[:120] == earlier
    assert len(rows(out, "annotated.parquet")) == 180


def test_near_duplicates_are_replaced_by_further_paths(tmp_path):
    out = tmp_path / "out"

    def answer(body, n):
        """Every third answer is the same question with other punctuation."""
        if hash(json.dumps(body["messages"])) % 3:
            return reply(body, n)
        tail = "?!."[hash(body["messages"][-1]["content"]) % 3]
        question = f"Which quantity stays constant when no external force acts on the two colliding bodies{tail}"
        item = {"question": question, "answer": "their total momentum", "explanation": "", "knowledge_points": []}
        return ok(json.dumps({"qa": [{**item, "discipline": "physics", "difficulty": 2}]}))

    with FakeServer(answer) as server:
        text = run(out, "--qa", "20", "--max-overdraw", "9", *server_words(server)).stdout
    assert "20 asked for = 20 kept + 0 missing" in text
    questions = [row["question"] for row in rows(out, "curated.parquet")]
    assert sum(question.startswith("Which quantity stays") for question in questions) <= 1
    dropped = rows(out, "curate-dropped.parquet")
    assert all(row["reason"] == "near_duplicate" for row in dropped)
    assert {row["repeats"] for row in dropped} <= {row["id"] for row in rows(out, "curated.parquet")} | {
        row["id"] for row in rows(out, "reserve.parquet")
    }
