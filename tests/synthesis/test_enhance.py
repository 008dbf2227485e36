"""The steps of stage enhance over plain rows: judged, solved, rewritten, and kept or dropped with a reason."""

import json
from dataclasses import replace

import pytest

from linksyn_gpu.config import EnhanceConfig, RunConfig, SynthesisConfig
from linksyn_gpu.config.loader import from_mapping
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.llm.asking import MeteredAsk
from linksyn_gpu.quality import checks, judge
from linksyn_gpu.synthesis.enhance import REASONS, Enhancer, Extension, Work, chooser
from tests.enhancing import Model, data_of, failing, item, kind_of

ASKING = SynthesisConfig(engine="openai", base_url="http://unused/v1")
NAMES = [f"kp {i}" for i in range(12)]
SEEDS = {i: {"question": f"What is sample question number {i}?", "answer": str(i), "options": []} for i in range(12)}


def row(name="Alpha", level=3, **fields):
    return {
        "id": name,
        "question": f"{name} asked at level {level} with key because?",
        "options": [],
        "answer": "because",
        "explanation": "",
        "discipline": "physics",
        "language": "en",
        "question_type": "open",
        "walk_id": 7,
        "request_id": "r1",
        **fields,
    }


def work(*args, **fields):
    return Work(row(*args, **fields), (0, 1, 2), (0, 1))


def enhancer(model, extend=None, asking=ASKING, earlier=(), **settings):
    def longer(works, number):
        return [Extension((*w.nodes, 2 + 2 * number, 3 + 2 * number), (*w.seeds, 3 + number), 2) for w in works]

    ask = MeteredAsk(model.ask, asking.prompt_limit)
    config = EnhanceConfig(disciplines=("all",), **{"level": 4, "solves": 3, "tries": 2, **settings})
    return Enhancer(
        config,
        asking,
        ask,
        judge.Examiner(asking, ask, config.solves),
        checks.Checker(SEEDS.values(), "", earlier).check,
        checks.REASONS,
        extend or longer,
        lambda rows: {i: SEEDS[i] for i in rows},
        NAMES,
    )


def run(model, *works, **settings):
    made = enhancer(model, **settings)
    made.run(works)
    return made


def test_a_qa_that_is_hard_and_confirmed_is_kept_unchanged():
    model, one = Model(), work(level=5)
    run(model, one)
    assert (one.state, one.last.level, one.last.agreed, len(one.versions)) == ("kept", 5, 3, 1)
    assert model.asked == {"judge": 1, "solve": 3}


def test_a_qa_below_the_level_is_rewritten_and_kept_at_the_first_try():
    model, one = Model(), work(level=3)
    run(model, one)
    assert one.state == "kept"
    assert [v.level for v in one.versions] == [3, 4]
    assert one.last.item.question == "Alpha harder by 1 is of level 4 with key because?"
    assert one.last.extension == Extension((0, 1, 2, 4, 5), (0, 1, 4), 2)
    assert model.asked == {"judge": 2, "rewrite": 1, "solve": 3}


def test_a_second_try_gets_another_extension_and_the_faults_of_the_first():
    model, one = Model(), work(level=2)
    run(model, one)
    assert one.state == "kept"
    assert [v.level for v in one.versions] == [2, 3, 4]
    assert one.versions[1].fault == ("level_not_reached", "judged 3, asked 4")
    first, second = ("\n".join(map(str, data_of(b))) for b in model.bodies if kind_of(b) == "rewrite")
    assert "it looks like 2" in first
    assert "kp 4" in first
    assert "kp 6" in second
    assert "it looks like 3" in second
    assert "Alpha harder by 1" in second
    assert "sample question number 4" in first
    assert "sample question number 5" in second


def test_a_qa_that_never_reaches_the_level_is_dropped_with_the_reason():
    model, one = Model(), work(level=1)
    run(model, one)
    assert one.state == "dropped"
    assert one.last.fault == ("level_not_reached", "judged 3, asked 4")
    assert model.asked["rewrite"] == 2, "tries are bounded"
    assert model.asked["solve"] == 0, "nothing below the level is worth a solve"


class Wrong(Model):
    def solve(self, qa, seed):
        return json.dumps({"explanation": "", "answer": "something else"})


def test_an_answer_that_solvers_do_not_find_is_not_kept():
    model, one = Wrong(), work(level=4)
    run(model, one)
    assert one.state == "dropped"
    assert [v.fault[0] for v in one.versions] == ["answer_not_confirmed"] * 3
    assert one.last.fault[1] == "0 of 3 solves agree, 2 must"
    texts = [str(data_of(b)) for b in model.bodies if kind_of(b) == "rewrite"]
    assert "independent solvers came to other answers" in texts[0]


def test_a_chinese_question_is_made_harder_in_chinese():
    model, one = Wrong(), work(level=4, language="zh")
    run(model, one, tries=1)
    (asked,) = (b["messages"] for b in model.bodies if kind_of(b) == "judge")
    assert "回忆或辨认" in asked[0]["content"]
    (asked_again,) = (b["messages"][-1]["content"] for b in model.bodies if kind_of(b) == "rewrite")
    assert "独立解题者" in asked_again
    assert one.last.fault[0] == "wrong_language", "the scripted writer knows English only"


@pytest.mark.parametrize(("right", "agree", "kept"), [(2, None, True), (1, None, False), (1, 1, True), (2, 3, False)])
def test_more_than_half_of_the_solves_must_agree_or_as_many_as_are_set(right, agree, kept):
    class Half(Model):
        def solve(self, qa, seed):
            seen = self.asked["solve"]
            return json.dumps({"answer": "because" if seen % 3 and seen % 3 <= right else "no"})

    one = work(level=4)
    run(Half(), one, agree=agree, tries=1)
    assert one.versions[0].agreed == right
    assert (one.versions[0].fault is None) == kept
    assert (len(one.versions) == 1) == kept


def test_solves_of_one_question_are_independent_requests():
    model = Model()
    run(model, work(level=5))
    seeds = {b["seed"] for b in model.bodies if kind_of(b) == "solve"}
    assert len(seeds) == 3
    assert all(b["temperature"] > 0 for b in model.bodies if kind_of(b) == "solve")


def test_solvers_see_neither_the_answer_nor_the_seeds():
    model = Model()
    run(model, work(level=5, answer="a secret", question="What of level 5 has key because?"))
    for body in (b for b in model.bodies if kind_of(b) == "solve"):
        text = json.dumps(body["messages"])
        assert "secret" not in text
        assert "seed question" not in text


def test_a_qa_whose_judge_gives_no_level_is_dropped():
    class Broken(Model):
        def judge(self, qa):
            return json.dumps({"reasons": [], "level": 9})

    model, one = Broken(), work()
    run(model, one)
    assert (one.state, one.last.fault[0], one.last.level) == ("dropped", "judge_failed", None)
    assert model.asked == {"judge": 1}


def test_a_judge_that_fails_on_a_rewrite_ends_only_that_try():
    class Once(Model):
        def judge(self, qa):
            return "no idea" if "by 1" in qa["question"] else super().judge(qa)

    one = work(level=3)
    run(Once(), one)
    assert one.state == "kept"
    assert [v.fault[0] if v.fault else None for v in one.versions] == ["level_not_reached", "judge_failed", None]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I cannot do that", "rewrite_failed"),
        (json.dumps({"qa": [item("Too short")]}), "too_short"),
        (json.dumps({"qa": [item("What is sample question number 3?")]}), "repeats_seed"),
        (json.dumps({"qa": [item("Alpha asked at level 3 with key because?")]}), "repeats_batch"),
    ],
)
def test_a_rewrite_passes_the_same_checks_as_any_new_qa(text, reason):
    class Fixed(Model):
        def rewrite(self, original, failures):
            return text

    one = work(level=3)
    run(Fixed(), one, tries=1, earlier=[row()])
    assert (one.state, one.last.fault[0]) == ("dropped", reason)


@pytest.mark.parametrize("kind", ["judge", "solve", "rewrite", "compare"])
def test_a_failure_that_passes_makes_a_row_pending_never_dropped(kind):
    class Away(Model):
        def reply(self, body):
            return failing("timeout") if kind_of(body) == kind else super().reply(body)

        def solve(self, qa, seed):
            return json.dumps({"answer": "since it must be"})  # no rule can tell, so a model is asked

    one = work(level=3)
    run(Away(), one)
    assert (one.state, one.pending_reason) == ("pending", "timeout")


def test_a_prompt_that_is_too_long_is_never_sent():
    model, one = Model(), work(level=3)
    run(model, one, asking=replace(ASKING, max_prompt_chars=1500))
    assert (one.state, one.last.fault[0]) == ("dropped", "rewrite_failed")
    assert "prompt_too_long" in one.last.fault[1]
    assert model.asked == {"judge": 1}


def test_each_step_is_done_for_all_rows_before_the_next():
    class Steps(Model):
        def ask(self, kind, requests, validate):
            self.steps = [*getattr(self, "steps", []), (kind, len(requests))]
            return super().ask(kind, requests, validate)

    model = Steps()
    works = [work(f"Row{i}", level) for i, level in enumerate((5, 4, 3, 3, 2))]
    run(model, *works, solves=2)
    assert [w.state for w in works] == ["kept"] * 5
    asked = [step for step in model.steps if step[1]]
    first, later = asked[:5], asked[5:]
    assert first == [("judge", 5), ("solve", 4), ("rewrite", 3), ("judge", 3), ("solve", 4)]
    assert later == [("rewrite", 1), ("judge", 1), ("solve", 2)]


def test_requests_and_tokens_are_counted():
    made = run(Model(), work(level=3))
    assert made.ask.spent == {
        "judge_requests": 2, "rewrite_requests": 1, "solve_requests": 3, "prompt_tokens": 60, "completion_tokens": 30,
    }  # fmt: skip


def test_the_same_rows_ask_the_same_requests():
    first, second = Model(), Model()
    run(first, work(level=2))
    run(second, work(level=2))
    assert first.bodies == second.bodies


@pytest.mark.parametrize(
    ("disciplines", "name", "chosen"),
    [
        (("physics",), "Physics", True),
        (("physics",), "law", False),
        (("physics", "law"), "law", True),
        (("physics",), None, False),
        (("all",), None, True),
        ((), "physics", False),
    ],
)
def test_only_the_chosen_disciplines_are_enhanced(disciplines, name, chosen):
    assert chooser(disciplines)(name) is chosen


@pytest.mark.parametrize(
    "wrong",
    [{"level": 1}, {"level": 6}, {"solves": 0}, {"tries": 0}, {"agree": 4}, {"disciplines": ("all", "law")},
     {"disciplines": ("",)}, {"extra_steps": 0}],
)  # fmt: skip
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        EnhanceConfig(**wrong)


def test_settings_are_read_from_the_table_enhance():
    config = from_mapping(RunConfig, {"enhance": {"disciplines": ["law"], "level": 4, "agree": 2}})
    assert config.enhance == EnhanceConfig(("law",), 4, agree=2)
    assert not RunConfig().enhance.asked_for


def test_every_reason_is_explained():
    assert all(REASONS.values())
