"""Seeds without knowledge points: the extractor is chosen, and extraction is as reliable as synthesis."""

import json

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from linksyn_gpu.cli import main
from linksyn_gpu.config import ExtractConfig, RunConfig
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.knowledge.extract import choice
from linksyn_gpu.knowledge.extract.choice import choose_extractor
from linksyn_gpu.knowledge.extract.llm import read_labels
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.pipeline import stages
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.taxonomy.disciplines import load_taxonomy
from tests.llm.fake_server import FakeServer, ok

TOPICS = ("supply and demand", "price elasticity", "market equilibrium", "opportunity cost")
QUICK = ("--paths", "4", "--length", "2", "--calibration-rounds", "1")
BATCH = ("--engine", "batch", "--model", "m")


def seeds_file(tmp_path, n=8, given=0):
    """Seeds about two neighbouring topics each, the first `given` of them with knowledge points."""
    lines = []
    for i in range(n):
        one, other = TOPICS[i % 4], TOPICS[(i + 1) % 4]
        seed = {"question": f"How does {one} change if {other} changes by {i} percent?", "answer": f"By {i} percent."}
        lines.append(json.dumps(seed | ({"knowledge_points": [one, other]} if i < given else {})))
    path = tmp_path / "seeds.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def invoke(*words, code=0):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def points(folder):
    return pq.read_table(folder / "annotated.parquet").column("knowledge_points").to_pylist()


def answer(*names):
    listed = [{"name": name, "confidence": 80} for name in names]
    return json.dumps({"knowledge_points": listed, "discipline": "economics", "difficulty": 2})


def labels(body, n):
    """A model that names the topics of the seed, and answers everything else with a new question."""
    text = body["messages"][-1]["content"]
    name = body.get("response_format", {}).get("json_schema", {}).get("name")
    return ok(answer(*(topic for topic in TOPICS if topic in text))) if name == "extract" else ok()


def once(tmp_path):
    """Flags with which a request is not repeated in the same call."""
    path = tmp_path / "once.toml"
    path.write_text("[synthesis]\nmax_attempts = 1\n", encoding="utf-8")
    return ("--config", path)


@pytest.mark.parametrize(
    ("seeds", "without", "engine", "extractor"),
    [
        (10, 0, "openai", "given"),
        (10, 10, "openai", "llm"),
        (10, 10, "vllm", "llm"),
        (10, 3, "openai", "llm"),
        (10, 3, "smol", "names"),
        (10, 3, "batch", "names"),
        (10, 10, "smol", "yake"),
        (10, 10, "batch", "yake"),
    ],
)
def test_the_choice_depends_on_the_seeds_and_the_engine(monkeypatch, seeds, without, engine, extractor):
    monkeypatch.setattr(choice, "PACKAGES", ())
    chosen, why = choose_extractor(seeds, without, engine)
    assert chosen == extractor
    assert why


def test_without_the_packages_of_key_phrases_the_message_names_each_way_out(monkeypatch):
    monkeypatch.setattr(choice, "PACKAGES", ("no_such_package",))
    with pytest.raises(ConfigError, match="no seed has knowledge points") as error:
        choose_extractor(5, 5, "smol")
    for way in ('pip install "linksyn-gpu[extract]"', "--engine openai", "--glossary", "--map knowledge_points="):
        assert way in str(error.value)
    assert choose_extractor(5, 5, "openai")[0] == "llm"


def test_a_run_on_seeds_without_knowledge_points_uses_key_phrases_and_says_why(tmp_path):
    pytest.importorskip("yake", reason="needs the extra 'extract'")
    out = tmp_path / "out"
    words = ("run", seeds_file(tmp_path), "--out", out, *QUICK, *BATCH)
    result = invoke(*words)
    assert "extractor  yake: no seed has knowledge points, and engine batch has no model" in result.stdout
    assert result.stderr.index("extractor yake: no seed has") < result.stderr.index("seeds read")
    assert any("supply" in name for names in points(out) for name in names)
    assert "extractor  yake" in invoke(*words).stdout  # the same command again is the same run
    assert "extractor" not in invoke("report", out).stderr


def test_names_from_free_text_are_merged_by_form_unless_the_extractor_was_set(tmp_path):
    pytest.importorskip("yake", reason="needs the extra 'extract'")
    chosen, given = tmp_path / "chosen", tmp_path / "set"
    path = seeds_file(tmp_path)
    invoke("run", path, "--out", chosen, *QUICK, *BATCH)
    invoke("run", path, "--out", given, *QUICK, *BATCH, "--extractor", "yake")
    with Workspace(chosen, create=False) as ws:
        assert ws.settings("extract")["extract"]["merge"] == "forms"
    with Workspace(given, create=False) as ws:
        assert ws.settings("extract")["extract"]["merge"] == "none"


def test_a_run_with_a_model_lets_it_name_the_missing_knowledge_points(tmp_path):
    out = tmp_path / "out"
    with FakeServer(labels) as server:
        words = ("run", seeds_file(tmp_path), "--out", out, *QUICK, "--engine", "openai", "--base-url", server.url)
        result = invoke(*words)
        assert "extractor  llm: no seed has knowledge points, and engine openai has a model" in result.stdout
        assert "in 8 answers" in result.stdout
        assert points(out)[0] == list(TOPICS[:2])
        asked = len(server.bodies)
        invoke(*words)
        assert len(server.bodies) == asked


def test_names_of_other_seeds_are_found_in_seeds_that_have_none(tmp_path):
    out = tmp_path / "out"
    result = invoke("run", seeds_file(tmp_path, given=4), "--out", out, *QUICK, *BATCH)
    assert "extractor  names: 4 seeds have no knowledge points" in result.stdout
    assert points(out)[:4] == points(out)[4:]


def test_seeds_that_all_have_knowledge_points_need_no_stage(tmp_path):
    result = invoke(
        "run", seeds_file(tmp_path, given=8), "--out", tmp_path / "out", *QUICK, *BATCH
    )  # fmt: skip
    assert "extract" not in result.stdout
    assert not (tmp_path / "out" / "annotated.parquet").exists()


def test_a_glossary_that_is_set_is_used(tmp_path):
    glossary = tmp_path / "terms.txt"
    glossary.write_text("\n".join(TOPICS), encoding="utf-8")
    out = tmp_path / "out"
    result = invoke("run", seeds_file(tmp_path), "--out", out, *QUICK, *BATCH, "--glossary", glossary)
    assert "extractor  terms: " in result.stdout
    assert points(out)[1] == list(TOPICS[1:3])


def test_a_folder_keeps_the_choice_with_which_it_was_made(tmp_path):
    seeds, out = seeds_file(tmp_path, given=4), tmp_path / "out"
    invoke("run", seeds, "--out", out, *QUICK, *BATCH, "--extractor", "given")
    with Workspace(out) as ws:
        config, why = stages.resolve_extractor(ws, RunConfig())
        assert (config.extract, why) == (ExtractConfig(extractor="given"), "this folder was made without extraction")
    assert "extractor" not in invoke("run", seeds, "--out", out, *QUICK, *BATCH).stdout
    invoke("extract", out, "--extractor", "names", "--force")
    with Workspace(out) as ws:
        assert stages.resolve_extractor(ws, RunConfig())[0].extract.extractor == "names"


def test_a_build_that_found_no_knowledge_point_does_not_block_extraction(tmp_path):
    out = tmp_path / "out"
    invoke("ingest", seeds_file(tmp_path), "--out", out)
    assert "linksyn-gpu extract" in invoke("build", out, code=1).stderr
    with FakeServer(labels) as server:
        invoke("extract", out, "--engine", "openai", "--base-url", server.url)
    assert "4 KPs" in invoke("build", out).stdout


# ---------------------------------------------------------------------- failures and limits


def test_server_errors_leave_seeds_pending_and_the_next_call_goes_on(tmp_path):
    down = True

    def script(body, n):
        if down and "by 3 percent" in body["messages"][-1]["content"]:
            return {"status": 500, "json": {"error": {"message": "out of memory"}}}
        return labels(body, n)

    out = tmp_path / "out"
    with FakeServer(script) as server:
        words = ("run", seeds_file(tmp_path), "--out", out, *QUICK, "--engine", "openai", "--base-url", server.url)
        first = invoke(*words, *once(tmp_path), code=3)
        assert "1 requests are pending (server_error 1)" in first.stdout
        assert "run the same command again" in first.stderr
        assert not (out / "annotated.parquet").exists()
        assert "1 requests are pending" in invoke("report", out).stdout
        down = False
        invoke(*words, *once(tmp_path))
        of_seeds = [body for body in server.bodies if "percent?" in body["messages"][-1]["content"]]
        extractions = [body for body in of_seeds if body["response_format"]["json_schema"]["name"] == "extract"]
        assert len(extractions) == 9  # eight seeds, one of them twice
    assert all(points(out))


def test_the_limit_on_requests_holds_for_the_whole_run(tmp_path):
    out = tmp_path / "out"
    with FakeServer(labels) as server:
        words = ("run", seeds_file(tmp_path), "--out", out, *QUICK, "--engine", "openai", "--base-url", server.url)
        first = invoke(*words, "--max-requests", 3)
        assert "Stopped at the limit you set: the limit of 3 requests" in first.stderr
        assert "5 requests are pending" in first.stdout
        assert "synth" not in first.stdout
        assert len(server.bodies) == 3
        invoke(*words, "--max-requests", 10)  # eight for extraction, two for new QA
        assert len(server.bodies) == 10
        with Journal(out / "journal", writable=False) as journal:
            assert len(journal.index()) == 2
        invoke(*words)
        assert len(server.bodies) == 12


def test_the_budget_of_tokens_holds_for_the_whole_run(tmp_path):
    def script(body, n):
        reply = labels(body, n)
        reply["json"]["usage"] = {"prompt_tokens": 1500, "completion_tokens": 500}
        return reply

    with FakeServer(script) as server:
        words = ("run", seeds_file(tmp_path), "--out", tmp_path / "out", *QUICK, "--concurrency", 1)
        words += ("--engine", "openai", "--base-url", server.url)
        first = invoke(*words, "--budget-tokens", 9000)
        assert "(--budget-tokens)" in first.stderr
        answers = len(server.bodies)
        assert 1 <= answers < 8
        assert f"{1500 * answers:,} read, {500 * answers:,} written, in {answers} answers" in first.stdout
        assert "(--budget-tokens)" in invoke(*words, "--budget-tokens", 20000).stderr
        assert 8 < len(server.bodies) <= 10  # eight for extraction, and no more than two for new QA


def test_pending_answers_about_names_keep_the_stage_unfinished(tmp_path):
    def script(body, n):
        return {"status": 500, "json": {"error": {"message": "busy"}}}

    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text(json.dumps({"question": "Why?", "answer": "x", "knowledge_points": ["a b"], "discipline": "Zzz"}))
    with FakeServer(script) as server:
        invoke("ingest", seeds, "--out", tmp_path / "out")
        words = ("extract", tmp_path / "out", "--map-labels", "--engine", "openai", "--base-url", server.url)
        assert "1 requests are pending" in invoke(*words, *once(tmp_path), code=3).stdout
    with Workspace(tmp_path / "out") as ws:
        assert not ws.finished("extract")


def test_a_plan_stops_at_pending_extractions_and_goes_on_later(tmp_path):
    with FakeServer(labels) as server:
        words = ("plan", seeds_file(tmp_path), "--out", tmp_path / "out", *QUICK)
        words += ("--engine", "openai", "--base-url", server.url)
        first = invoke(*words, "--max-requests", 3)
        assert "5 requests are pending" in first.stdout
        assert "paths " not in first.stdout
        assert "4 requested" in invoke(*words).stdout
        assert len(server.bodies) == 8


def test_a_batch_engine_cannot_extract(tmp_path):
    words = (
        "run",
        seeds_file(tmp_path),
        "--out",
        tmp_path / "out",
        *QUICK,
        "--engine",
        "batch",
        "--model",
        "m",
        "--extractor",
        "llm",
    )
    assert "batch" in invoke(*words, code=2).stderr


def test_a_finished_extraction_does_not_start_the_engine_again(tmp_path):
    out = tmp_path / "out"
    invoke("ingest", seeds_file(tmp_path), "--out", out)
    with FakeServer(labels) as server:
        words = (
            "extract",
            out,
            "--extractor",
            "llm",
            "--engine",
            "openai",
            "--base-url",
            server.url,
            "--model",
            "fake",
        )
        invoke(*words)
    invoke(*words, "--merge", "forms", "--force")  # no server: every answer is in the journal
    assert points(out)[0] == list(TOPICS[:2])


@pytest.mark.parametrize(
    "text",
    [
        "Here are the points.\n```json\n" + answer("mass") + "\n```",
        "<think>{} or maybe {\"a\": 1}</think>" + answer("mass"),
        '{"result": ' + answer("mass") + "}",
        "[" + answer("mass") + "]",
        '["mass"]',
        '[{"name": "mass", "confidence": 70}]',
        '{"knowledge_points": []} ' + answer("mass"),
    ],
)  # fmt: skip
def test_what_models_put_around_json_does_no_harm(text):
    found = read_labels(text, load_taxonomy())
    assert not isinstance(found, str), found
    assert found.names == ("mass",)


def test_json_that_ends_too_early_is_not_used():
    assert read_labels(answer("mass")[:-30], load_taxonomy()) == "invalid_json"
