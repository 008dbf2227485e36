"""Stage enhance over a run folder, against a scripted server: files, counts, resuming, and rows it must not change."""

import importlib
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from linksyn_gpu.cli.summary import report_text
from linksyn_gpu.config import EnhanceConfig, RunConfig, SynthesisConfig, WalkConfig
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.protocol import Failure
from linksyn_gpu.pipeline import stages as pipeline
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.api import open_run
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.stages.report import gather
from linksyn_gpu.report.page import render_page
from tests.enhancing import Model, data_of, item, kind_of
from tests.llm.fake_server import FakeServer, ok

enhancement = importlib.import_module("linksyn_gpu.pipeline.stages.enhance")  # its package exports a function so named

SEEDS = Path(__file__).parents[2] / "examples" / "seeds.jsonl"
CONFIG = RunConfig(
    paths=10,
    seed=5,
    walk=WalkConfig(calibration_rounds=2, distinct=True),
    synthesis=SynthesisConfig(
        engine="openai",
        base_url="http://unused/v1",
        model="fake",
        question_types=("open",),
        language="en",
        max_attempts=1,
        concurrency=4,
    ),
    enhance=EnhanceConfig(("all",), level=4, solves=3, tries=2),
)


class Server(Model):
    """A `Model` behind HTTP. Its synthesis writes questions of levels 2, 3 and 4 in turn."""

    def __init__(self):
        super().__init__()
        self.written = 0
        self.answered = Counter()

    def reply(self, body):
        if kind_of(body) == "synthesize":
            self.written += 1
            level = 2 + self.written % 3
            return json.dumps({"qa": [item(f"Q{self.written} written at level {level} with key because?")]})
        return super().reply(body)

    def __call__(self, body, n):
        text = self.reply(body)
        if isinstance(text, Failure):
            return {"status": 500, "json": {"error": {"message": "out of order"}}}
        self.answered[json.dumps(body["messages"]), body["seed"]] += 1
        return ok(text)


@pytest.fixture(scope="module")
def synthesized(tmp_path_factory):
    """A run folder up to stage synthesize: ten QA."""
    folder = tmp_path_factory.mktemp("run") / "out"
    with FakeServer(Server()) as server, Workspace(folder) as ws:
        config = replace(CONFIG, synthesis=replace(CONFIG.synthesis, base_url=server.url, concurrency=1))
        pipeline.ingest(ws, [str(SEEDS)], config)
        pipeline.build(ws, config)
        pipeline.walk(ws, config)
        assert pipeline.synthesize(ws, config)["kept"] == 10
    return folder


@pytest.fixture
def folder(synthesized, tmp_path):
    shutil.copytree(synthesized, tmp_path / "out")
    return tmp_path / "out"


def enhance(folder, model, config=CONFIG, **options):
    with FakeServer(model) as server, Workspace(folder) as ws:
        return pipeline.enhance(ws, config, lambda: Engine(server.url, "fake"), **options)


def rows(folder, name):
    return pq.read_table(folder / name).to_pylist()


def test_every_qa_is_kept_at_the_level_or_dropped_with_a_reason(folder):
    counts = enhance(folder, Server())
    kept, dropped = rows(folder, "enhanced.parquet"), rows(folder, "enhance-dropped.parquet")
    before = Counter(int(row["question"].split("level ")[1][0]) for row in rows(folder, "qa.parquet"))
    assert counts["levels_before"] == {str(level): n for level, n in sorted(before.items())}
    assert counts["candidates"] == counts["qa"] == 10 == counts["kept"] + counts["dropped"]
    assert (len(kept), len(dropped), counts["pending"]) == (10, 0, 0)
    assert counts["levels_after"] == {"4": 10}
    assert counts["kept_as_they_were"] == before[4]
    assert counts["kept_rewritten"] == before[2] + before[3]
    assert counts["rewrites"] == 2 * before[2] + before[3] == counts["rewrite_requests"]
    assert counts["solve_requests"] == 30
    assert counts["judge_requests"] == 10 + counts["rewrites"]
    assert [json.loads(line) for line in (folder / "enhanced.jsonl").read_text().splitlines()] == kept


def test_a_rewritten_row_names_its_extended_path_its_seeds_and_its_request(folder):
    counts = enhance(folder, Server())
    originals = {row["id"]: row for row in rows(folder, "qa.parquet")}
    changed = [row for row in rows(folder, "enhanced.parquet") if row["enhanced"]]
    assert changed
    held = {seed["id"]: set(seed["knowledge_points"]) for seed in open_run(folder).seeds.table.to_pylist()}
    for row in changed:
        old = originals[row["id"]]
        assert row["question"] != old["question"]
        assert row["request_id"] != old["request_id"]
        assert row["prompt_digest"] != old["prompt_digest"]
        assert " > ".join(old["path"]) in " > ".join(row["path"])
        added = len(row["path"]) - len(old["path"])
        assert 0 <= added <= 2
        assert len(row["path"]) == len(set(row["path"]))
        for here, there in zip(row["path"], row["path"][1:], strict=False):
            assert any({here, there} <= points for points in held.values()), "each step is an edge of the graph"
        assert row["seed_ids"][: len(old["seed_ids"])] == old["seed_ids"]
        assert len(row["seed_ids"]) <= len(old["seed_ids"]) + added
        assert len(set(row["seed_ids"])) == len(row["seed_ids"])
        assert (row["asked_level"], row["level_judged"], row["level_before"]) == (4, 4, 4 - row["tries"])
        assert (row["solves_agreed"], row["solves"]) == (3, 3)
        assert row["level_reasons"] == ["it looks like 4"]
    grown = [row for row in changed if len(row["seed_ids"]) > len(originals[row["id"]]["seed_ids"])]
    assert len(grown) > len(changed) / 2
    short = sum(len(row["path"]) < len(originals[row["id"]]["path"]) + 2 for row in changed)
    assert counts["rewrites_with_short_extension"] >= short


def test_each_try_extends_the_path_differently_and_shows_the_longer_path_with_its_seeds(folder):
    class Stuck(Server):
        def judge(self, qa):
            return json.dumps({"reasons": [], "level": 3})

    model = Stuck()
    counts = enhance(folder, model)
    paths = {}
    for body in model.bodies:
        if kind_of(body) == "rewrite":
            first, *seeds = data_of(body)
            original = next(line["make harder"]["question"] for line in seeds if "make harder" in line)
            paths.setdefault(original, []).append(first["path"])
            assert sum("answer" in line for line in seeds) >= 2
    assert len(paths) == 10
    assert all(len(tries) == 2 for tries in paths.values())
    assert sum(one != two for one, two in paths.values()) > 5
    assert counts["rewrites"] == 20


def test_a_rewrite_that_repeats_a_question_of_the_run_is_dropped(folder):
    taken = rows(folder, "qa.parquet")[-1]["question"]

    class Copying(Server):
        def rewrite(self, original, failures):
            return json.dumps({"qa": [item(taken, "another answer")]})

    model = Copying()
    counts = enhance(folder, model)
    assert counts["dropped_by_reason"] == {"repeats_batch": counts["rewrites"] / 2}
    assert model.asked["judge"] == 10, "a repeated question is not judged"


@pytest.mark.parametrize(
    ("own", "linked", "before", "behind", "new"),
    [
        ((1, 2), (1, 2, 3, 4), 0, 2, [3, 4]),
        ((1, 2), (5, 6, 3, 4), 0, 2, [3, 4]),
        ((1, 2), (5, 6, 3, 4), 1, 1, [5, 4]),
        ((1, 2), (5, 6, 3, 4), 2, 0, [5, 6]),
        ((1, 2), (5, 1, 2), 0, 2, [5]),
        ((1, 2), (5, 6, 3, 4), 0, 0, []),
    ],
)
def test_a_bundle_grows_by_one_seed_per_step_starting_at_the_new_ends(own, linked, before, behind, new):
    assert enhancement.further_seeds(own, linked, before, behind) == new


def test_the_same_seed_gives_the_same_extended_paths(synthesized, tmp_path):
    paths = []
    for name in ("one", "two"):
        shutil.copytree(synthesized, tmp_path / name)
        enhance(tmp_path / name, Server())
        paths.append([(row["id"], row["path"], row["seed_ids"]) for row in rows(tmp_path / name, "enhanced.parquet")])
    assert paths[0] == paths[1]


def test_qa_of_other_disciplines_pass_through_unchanged(folder):
    before = rows(folder, "qa.parquet")
    chosen = Counter(row["discipline"] for row in before).most_common(1)[0][0]
    config = replace(CONFIG, enhance=replace(CONFIG.enhance, disciplines=(chosen.upper(), "alchemy")))
    model = Server()
    counts = enhance(folder, model, config)
    after = rows(folder, "enhanced.parquet")
    assert [row["id"] for row in after] == [row["id"] for row in before], "the order stays"
    others = [(old, new) for old, new in zip(before, after, strict=True) if old["discipline"] != chosen]
    assert others
    for old, new in others:
        assert {name: new[name] for name in old} == old
        assert (new["asked_level"], new["enhanced"], new["level_before"]) == (None, False, None)
    assert (counts["passed_through"], counts["candidates"]) == (len(others), 10 - len(others))
    assert counts["disciplines_without_qa"] == ["alchemy"]
    for old, _ in others:
        assert not any(old["question"] in str(body) for body in model.bodies), "no model is asked about it"


def test_a_dropped_row_has_its_reason_and_the_result_of_each_try(folder):
    class Stuck(Server):
        def judge(self, qa):
            return json.dumps({"reasons": ["too plain"], "level": 3})

        def solve(self, qa, seed):
            raise AssertionError("nothing below the level is solved")

    counts = enhance(folder, Stuck())
    assert counts["dropped_by_reason"] == {"level_not_reached": 10}
    assert (counts["levels_before"], counts["levels_after"]) == ({"3": 10}, {})
    assert rows(folder, "enhanced.parquet") == []
    first = rows(folder, "enhance-dropped.parquet")[0]
    assert (first["reason"], first["tries"], first["level_before"], first["level_judged"]) == (
        "level_not_reached", 2, 3, 3,
    )  # fmt: skip
    assert first["detail"].count("judged 3, asked 4") == 3
    assert "harder by 2" in first["text"]


def test_a_temporary_failure_leaves_rows_pending_and_a_later_call_asks_only_what_is_missing(folder):
    class Flaky(Server):
        def reply(self, body):
            if kind_of(body) == "solve" and "Q3" in body["messages"][-1]["content"]:
                return Failure("", "server_error", "")
            return super().reply(body)

    model = Flaky()
    counts = enhance(folder, model)
    assert (counts["pending"], counts["kept"]) == (1, 9)
    assert counts["pending_reasons"] == {"server_error": 1}
    assert len(rows(folder, "enhanced.parquet")) == 9
    assert rows(folder, "enhance-dropped.parquet") == []

    healthy = Server()
    counts = enhance(folder, healthy)
    assert (counts["pending"], counts["kept"]) == (0, 10)
    assert not set(model.answered) & set(healthy.answered), "what was answered is not asked again"
    assert set((model.answered + healthy.answered).values()) == {1}
    assert set(healthy.asked) == {"solve"}
    assert healthy.asked.total() == 3


def test_an_engine_that_stops_answering_stops_the_stage_and_decided_rows_are_written(folder, monkeypatch):
    from linksyn_gpu.llm import dispatch

    def soon(*args, made=dispatch._Doubts):
        doubts = made(*args)
        doubts._most_failed = 3
        return doubts

    monkeypatch.setattr(dispatch, "_Doubts", soon)

    class Gone(Server):
        def reply(self, body):
            return Failure("", "server_error", "") if kind_of(body) == "rewrite" else super().reply(body)

    model = Gone()
    counts = enhance(folder, model)
    assert "run the same command again" in counts["stopped"]
    assert counts["kept"] == counts["kept_as_they_were"] > 0
    assert counts["pending"] == 10 - counts["kept"]
    assert set(model.asked) == {"judge", "solve"}
    assert enhance(folder, Server())["kept"] == 10


@pytest.mark.parametrize("bound", [{"max_requests": 10 + 14}, {"budget_tokens": 1000}])
def test_the_limits_of_the_run_apply_to_both_stages_together(folder, bound):
    config = replace(CONFIG, synthesis=replace(CONFIG.synthesis, **bound))
    model = Server()
    counts = enhance(folder, model, config)
    assert counts["pending"] > 0
    assert "--max-requests" in counts["bound"] or "--budget-tokens" in counts["bound"]
    if "max_requests" in bound:
        assert model.asked.total() <= 14
    else:  # each answer takes 15 tokens, and those of stage synthesize count too
        assert 15 * model.asked.total() <= 1000
    again = Server()
    assert enhance(folder, again)["pending"] == 0, "without the bound it goes on"
    assert not set(model.answered) & set(again.answered)


def test_a_finished_stage_is_not_repeated_and_force_asks_nothing_again(folder):
    counts = enhance(folder, Server())

    def no_engine():
        raise AssertionError("nothing is to be asked")

    with Workspace(folder) as ws:
        assert pipeline.enhance(ws, CONFIG, no_engine) == counts
        assert pipeline.enhance(ws, CONFIG, no_engine, force=True) == counts


def test_a_bounded_number_of_rows_is_in_work_at_a_time(folder, monkeypatch):
    whole = enhance(folder, Server())
    table = rows(folder, "enhanced.parquet")
    monkeypatch.setattr(enhancement, "ROWS_IN_WORK", 3)
    parts = enhance(folder, Server(), force=True)
    assert parts == whole
    assert rows(folder, "enhanced.parquet") == table


def test_other_settings_are_refused(folder):
    enhance(folder, Server())
    other = replace(CONFIG, enhance=replace(CONFIG.enhance, level=5))
    with pytest.raises(ConfigError, match=r"enhance\.level was 4, is 5"):
        enhance(folder, Server(), other)


def test_the_stage_names_the_settings_that_it_needs(folder, tmp_path):
    with Workspace(folder) as ws:
        with pytest.raises(ConfigError, match="--enhance-disciplines"):
            pipeline.enhance(ws, replace(CONFIG, enhance=EnhanceConfig()), lambda: None)
        batch = replace(CONFIG, synthesis=replace(CONFIG.synthesis, engine="batch", model="m"))
        with pytest.raises(ConfigError, match="--engine openai"):
            pipeline.enhance(ws, batch, lambda: None)
    with Workspace(tmp_path / "new") as ws, pytest.raises(ConfigError, match="'synthesize' is not finished"):
        pipeline.enhance(ws, CONFIG, lambda: None)


def test_the_folder_remembers_the_settings_of_the_stage_and_of_its_engine(folder):
    with Workspace(folder) as ws:
        assert pipeline.recorded_enhancement(ws)["synthesis"]["engine"] == "openai"
    enhance(folder, Server())
    with Workspace(folder) as ws:
        recorded = pipeline.recorded_enhancement(ws)
    assert recorded["enhance"]["level"] == 4
    assert recorded["synthesis"]["base_url"] == "http://unused/v1"


def test_repeating_synthesis_removes_the_enhanced_rows_but_not_the_answers(folder):
    enhance(folder, Server())
    with FakeServer(Server()) as server, Workspace(folder) as ws:
        synthesis = replace(CONFIG.synthesis, base_url=server.url)
        pipeline.synthesize(ws, replace(CONFIG, synthesis=synthesis), force=True)
    assert not (folder / "enhanced.parquet").exists()
    assert list((folder / "enhance-journal").glob("answers-*.jsonl"))


def test_the_report_shows_the_levels_asked_and_reached(folder):
    counts = enhance(folder, Server())
    with Workspace(folder) as ws:
        stats = gather(ws)
        page = render_page(stats)
    assert stats.stages["enhance"] == counts
    assert "Levels before and after enhancement" in page
    assert "4 (target)" in page


def test_the_report_of_a_run_without_the_stage_has_no_such_table(folder):
    with Workspace(folder) as ws:
        assert "Levels before and after" not in render_page(gather(ws))
        assert len(store.read_kp_names(ws)) > 0


def test_the_report_of_an_enhancement_without_any_qa_has_empty_levels(folder):
    config = replace(CONFIG, enhance=replace(CONFIG.enhance, disciplines=("alchemy",)))
    assert enhance(folder, Server(), config)["candidates"] == 0
    with Workspace(folder) as ws:
        page = render_page(gather(ws))
        assert "Levels before and after enhancement" in page
        assert "0 QA have the target level 4" in page
        assert "0 QA = 0 kept" in report_text(gather(ws))


def test_the_report_of_an_enhancement_whose_judge_always_fails_has_empty_levels(folder):
    class Away(Server):
        def reply(self, body):
            return Failure("", "server_error", "") if kind_of(body) == "judge" else super().reply(body)

    enhance(folder, Away())
    with Workspace(folder) as ws:
        stats = gather(ws)
        assert stats.stages["enhance"]["pending"] == 10
        assert "10 pending" in report_text(stats)
        assert "Stage enhance is not finished" in render_page(stats)


def test_the_report_counts_outcomes_of_a_stage_that_is_running(folder):
    seen = []

    class Watched(Server):
        def __call__(self, body, n):
            reply = super().__call__(body, n)
            if self.asked["solve"] == 5:
                with Workspace(folder, create=False, lock=False) as ws:
                    seen.append(gather(ws))
            return reply

    enhance(folder, Watched())
    stats = seen[0]
    assert stats.stages["enhance"] is None
    assert 10 <= stats.outcomes["enhance"] < 60
    assert "enhance: not finished" in report_text(stats)
    assert "Stage enhance is not finished" in render_page(stats)


def test_the_report_page_fetches_nothing_and_has_no_control_characters(folder):
    with Workspace(folder) as ws:
        stats = gather(ws)
        stats.samples[0]["question"] = "before\x1b\x00after"
        page = render_page(stats)
    assert "beforeafter" in page
    assert "default-src 'none'" in page


def test_a_takedown_works_where_the_stage_dropped_nothing_and_where_all_rows_go(folder):
    enhance(folder, Server())
    assert rows(folder, "enhance-dropped.parquet") == []
    before = {row["id"]: row for row in rows(folder, "enhanced.parquet")}
    first = next(iter(before.values()))["seed_ids"][0]
    with Workspace(folder) as ws:
        pipeline.revoke(ws, [first])
    left = {row["id"]: row for row in rows(folder, "enhanced.parquet")}
    assert left == {name: row for name, row in before.items() if first not in row["seed_ids"]}
    every = sorted({seed for row in left.values() for seed in row["seed_ids"]})
    with Workspace(folder) as ws:
        pipeline.revoke(ws, every)
    assert rows(folder, "enhanced.parquet") == []
    last = [json.loads(line)["id"] for line in SEEDS.read_text(encoding="utf-8").splitlines()]
    with Workspace(folder) as ws:
        pipeline.revoke(ws, [name for name in last if name not in every][:1])
    assert rows(folder, "enhanced.parquet") == []
