"""Parts of a campaign when files are damaged, calls are killed or refused, and stages run one by one."""

import json
import shutil

import pytest

import linksyn_gpu
from linksyn_gpu.config import QuotaConfig, RunConfig
from linksyn_gpu.config.loader import from_mapping
from linksyn_gpu.pipeline import stages, store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.stages.walk import CampaignPart
from tests.cli.test_growth import BATCH, QUICK, bank, parts, rows, run, server_words
from tests.cli.test_server import SEEDS, invoke, reply
from tests.llm.fake_server import FakeServer, ok


def manifest(out):
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def made(out):
    """Bytes of the files that stages made, without the manifest, the journal and the report."""
    kinds = (".parquet", ".jsonl", ".npy", ".npz", ".json")
    files = [p for p in out.rglob("*") if p.suffix in kinds and "journal" not in p.parts and p.name != "manifest.json"]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_requests_of_a_killed_call_are_asked_when_the_campaign_grows_further(tmp_path):
    out = tmp_path / "out"
    with FakeServer(reply) as server:
        run(out, "--paths", "12", *server_words(server))
        invoke("walk", out, "--paths", "24")
        with Workspace(out) as ws:  # as a call that was killed before its first answer
            stages.prepare(ws, from_mapping(RunConfig, ws.settings("synthesize")))
        run(out, "--paths", "36", *server_words(server))
        assert max(server.asked.values()) == 1
    assert manifest(out)["stages"]["synthesize"]["counts"]["pending"] == 0
    assert "finished" in manifest(out)["stages"]["synthesize"]


DAMAGED = (
    "visits.npz",
    "paths.parquet",
    "tasks.parquet",
    "plan.json",
    "requests/requests-00000.jsonl.zst",
    "requests/requests-00001.jsonl.zst",
)


@pytest.mark.parametrize("harm", ["changed", "removed"])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_of_a_grown_campaign_is_made_again_to_the_byte(tmp_path, name, harm):
    out = tmp_path / "out"
    with FakeServer(reply) as server:
        for total in ("8", "16"):
            run(out, "--paths", total, *server_words(server))
        before, asked = made(out), len(server.bodies)
        content = bytearray((out / name).read_bytes())
        content[len(content) // 2] ^= 1
        (out / name).write_bytes(content) if harm == "changed" else (out / name).unlink()
        run(out, "--paths", "16", *server_words(server))
        assert len(server.bodies) == asked
    assert made(out) == before


def test_a_campaign_goes_on_from_paths_to_kept_qa_and_back(tmp_path):
    out = tmp_path / "out"
    with FakeServer(reply) as server:
        run(out, "--qa", "6", *server_words(server))
        invoke("walk", out, "--paths", "30")
        invoke("walk", out, "--qa", "8")
        run(out, *server_words(server))
    assert sum(parts(out)) == 30


def test_without_a_number_a_small_campaign_keeps_its_size(tmp_path):
    out = tmp_path / "out"
    run(out, "--paths", "6", *BATCH)
    run(out, *BATCH)
    assert parts(out) == [6]


def test_knowledge_points_of_a_damaged_file_are_extracted_again(tmp_path):
    out, (first,) = tmp_path / "out", bank(tmp_path, 120)
    words = ("run", first, "--out", out, *QUICK, *BATCH, "--merge", "forms")
    invoke(*words)
    before = rows(out, "annotated.parquet")
    (out / "annotated.parquet").write_bytes(b"damaged")
    invoke(*words)
    assert rows(out, "annotated.parquet") == before


def test_a_refused_input_leaves_the_folder_as_it_was(tmp_path):
    """However often it is passed, and also if seeds.arrow must be made again."""
    out, (first, second) = tmp_path / "out", bank(tmp_path, 120, 60)
    words = ("--out", out, *QUICK, *BATCH)
    for _ in range(2):  # the second call writes requests-pending/
        invoke("run", first, second, *words)
    before, stages_before = made(out), manifest(out)["stages"]
    for _ in range(2):
        assert "paths refer to 180 seeds" in invoke("run", first, *words, code=2).stderr
    settings = tmp_path / "other.toml"
    settings.write_text("[seeds]\nmax_chars = 100\n", encoding="utf-8")
    refused = invoke("run", first, second, *words, "--config", settings, code=2).stderr
    assert "seeds.max_chars was 32000, is 100" in refused
    assert made(out) == before
    assert manifest(out)["stages"] == stages_before
    (out / "seeds.arrow").unlink()
    refused = invoke("run", second, first, *words, code=2).stderr
    assert (
        f"Seeds are added by files after all earlier ones, in their order: {first.name!r}, {second.name!r}" in refused
    )
    invoke("run", first, second, *words)
    assert made(out) == before


def test_a_call_killed_before_it_recorded_its_paths_protects_their_seeds(tmp_path, monkeypatch):
    out, (first, second) = tmp_path / "out", bank(tmp_path, 120, 60)
    words = ("--out", out, *QUICK, *BATCH)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CampaignPart, "finish", killed)
        invoke("run", first, second, *words, code=130)
    assert len(rows(out)) == 24
    assert "paths refer to 180 seeds" in invoke("run", first, *words, code=2).stderr
    invoke("run", first, second, *words)
    invoke("run", first, second, "--out", tmp_path / "whole", *QUICK, *BATCH)
    found, whole = (manifest(folder)["stages"]["walk"] for folder in (out, tmp_path / "whole"))
    assert found["parts"] == whole["parts"]
    assert found["counts"] == whole["counts"]


@pytest.mark.parametrize("stop", [(CampaignPart, "finish"), (store, "write_visits")])
def test_a_part_that_is_walked_again_has_its_requests_once(tmp_path, monkeypatch, stop):
    """Its call was killed when its paths and requests were written, and some had answers."""

    def killed(*_):
        raise KeyboardInterrupt

    with FakeServer(reply) as server:
        for out in (tmp_path / "out", tmp_path / "whole"):
            server.bodies.clear()
            run(out, "--paths", "8", *server_words(server))
            with monkeypatch.context() as patch:
                if out.name == "out":
                    patch.setattr(*stop, killed)
                run(out, "--paths", "16", *server_words(server), code=130 if out.name == "out" else 0)
            run(out, "--paths", "24", *server_words(server))
            bodies = [json.dumps(body) for body in server.bodies]
            assert len(set(bodies)) == len(bodies)
    assert made(tmp_path / "out") == made(tmp_path / "whole")


def test_paths_of_an_older_version_stay_when_seeds_are_added(tmp_path):
    out, (first, second) = tmp_path / "out", bank(tmp_path, 120, 60)
    words = ("--out", out, *QUICK, *BATCH)
    invoke("run", first, *words, "--paths", "12")
    found = manifest(out)
    del found["stages"]["walk"]["parts"]
    (out / "manifest.json").write_text(json.dumps(found), encoding="utf-8")
    shutil.copytree(out, tmp_path / "again")
    before = rows(out)
    invoke("run", first, second, *words, "--paths", "24")
    assert rows(out)[:12] == before
    assert [part["seeds"] for part in manifest(out)["stages"]["walk"]["parts"]] == [120, 180]
    (tmp_path / "again" / "plan.json").unlink()
    invoke("run", first, "--out", tmp_path / "again", *QUICK, *BATCH)
    assert rows(tmp_path / "again") == before


def enhanced(body, n):
    """A model whose QA a judge puts at level 4, and solvers answer rightly."""
    fields = json.dumps(body["response_format"])
    if body["response_format"]["json_schema"]["name"] == "qa":
        return reply(body, n)
    if '"level"' in fields:
        return ok(json.dumps({"reasons": ["it looks like 4"], "level": 4}))
    return ok(json.dumps({"explanation": "", "answer": "nothing"}))


@pytest.mark.parametrize(("first", "second"), [(("--paths", "8"), ("--paths", "16")), (("--qa", "6"), ("--qa", "10"))])
def test_enhanced_qa_stay_while_a_campaign_grows(tmp_path, first, second):
    out = tmp_path / "out"
    with FakeServer(enhanced) as server:
        words = (*server_words(server), "--enhance-disciplines", "all", "--enhance-level", "4")
        run(out, *first, *words)
        before = rows(out, "enhanced.parquet")
        run(out, *second, *words)
        bodies = [json.dumps(body) for body in server.bodies]
        assert len(set(bodies)) == len(bodies)
    assert rows(out, "enhanced.parquet")[: len(before)] == before
    if "--qa" in second:
        assert len(rows(out, "curated.parquet")) == 10
        assert "level_judged" in rows(out, "curated.parquet")[0]


def test_bundles_from_memory_with_cells_of_a_quota_cannot_grow(tmp_path):
    seeds = linksyn_gpu.read_seeds(SEEDS)
    graph = linksyn_gpu.build_graph(seeds)
    quota = QuotaConfig(discipline={"law": 1, "physics": 1})
    walks = linksyn_gpu.Walker(graph, calibration_rounds=1, quota=quota).sample(10)
    with FakeServer(reply) as server:
        linksyn_gpu.synthesize(
            linksyn_gpu.link_seeds(walks, graph, seeds), engine="openai", base_url=server.url, out=tmp_path / "out"
        )
    assert "no paths can be added" in invoke("walk", tmp_path / "out", "--paths", "20", code=2).stderr


def test_pending_requests_after_an_older_version_hold_no_answered_one(tmp_path):
    """Its tasks.parquet has other columns: all requests are written again, and some have answers."""
    from tests.cli.test_cli import answer

    out, answers = tmp_path / "out", tmp_path / "answers.jsonl"
    run(out, "--paths", "12", *BATCH)
    lines = (out / "requests" / "requests-00000.jsonl").read_text(encoding="utf-8").splitlines()
    answers.write_text("".join(json.dumps(answer(json.loads(line))) + "\n" for line in lines), encoding="utf-8")
    invoke("synthesize", out, "--collect", answers)
    with Workspace(out) as ws:
        store.write_table(ws, "tasks.parquet", store.read_table(ws, "tasks.parquet").drop_columns(["request_file"]))
    run(out, "--paths", "24", *BATCH)
    pending = (out / "requests-pending" / "requests-00000.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(pending) == len(rows(out, "tasks.parquet")) - 12
    assert not set(pending) & set(lines)


def test_a_quota_in_another_order_means_the_same_cells(tmp_path):
    out, shares = tmp_path / "out", ("physics = 3", "biology = 1")
    quotas = {name: tmp_path / name for name in ("first.toml", "second.toml")}
    for quota, order in zip(quotas.values(), (1, -1), strict=True):
        quota.write_text("\n".join(("[quota.discipline]", *shares[::order])), encoding="utf-8")
    with FakeServer(reply) as server:
        for words in (("--paths", "4"), ("--paths", "8"), ("--qa", "12")):
            for folder, quota in ((out, "second.toml"), (tmp_path / "same", "first.toml")):
                name = quota if (folder / "manifest.json").exists() else "first.toml"
                run(folder, *words, "--config", quotas[name], *server_words(server))
    assert made(out) == made(tmp_path / "same")
    assert [cell["discipline"] for cell in planned_cells(out)] == ["physics", "biology"]


def planned_cells(out):
    return json.loads((out / "plan.json").read_text(encoding="utf-8"))["cells"]


def test_enhancement_can_follow_a_curated_campaign(tmp_path):
    """And then decides which QA count as kept."""
    out = tmp_path / "out"
    with FakeServer(enhanced) as server:
        run(out, "--qa", "8", *server_words(server))
        assert "level_judged" not in rows(out, "curated.parquet")[0]
        run(out, "--qa", "8", *server_words(server), "--enhance-disciplines", "all", "--enhance-level", "4")
    assert len(rows(out, "curated.parquet")) == 8
    assert "level_judged" in rows(out, "curated.parquet")[0]


@pytest.mark.parametrize("value", ["inf", "nan", "0.5"])
def test_a_bound_of_paths_must_be_a_number_of_at_least_one(tmp_path, value):
    assert "max_overdraw" in run(tmp_path / "out", "--qa", "6", "--max-overdraw", value, *BATCH, code=2).stderr
