"""Stage curate: each step counts its drops; thresholds change without asking the model again; QA of other files."""

import json

import pyarrow.parquet as pq
import pytest

from linksyn_gpu.quality.rubric import read_rubric
from tests.dataset.conftest import invoke
from tests.llm.fake_server import FakeServer, ok

LONG = "Why does ice float on the surface of a lake in winter while the water below it stays liquid"
HAMLET = {"question": "Who wrote the tragedy of Hamlet, prince of Denmark?", "answer": "William Shakespeare."}
GOOD = [
    {"question": "How many protons does an atom of carbon have?", "answer": "It has 6 protons.", "id": "carbon"},
    {"question": f"{LONG}?", "answer": "Ice is less dense than liquid water.", "id": "ice"},
    {"question": "Which organ pumps blood through the body?", "answer": "The heart pumps blood.", "id": "heart"},
    {"question": "What is the derivative of x squared?", "answer": "The derivative is 2x.", "id": "x"},
    {**HAMLET, "id": "hamlet"},
]
TWIN = {**GOOD[1], "id": "ice2", "question": f"{LONG} always?", "explanation": "Water expands as it freezes."}
EMPTY = {"question": "What is the boiling point of water at sea level?", "answer": "", "id": "no answer"}
BENCHMARK = HAMLET


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def ids(folder, name="curated.parquet"):
    return set(pq.read_table(folder / name, columns=["id"]).column("id").to_pylist())


def steps(folder):
    counts = json.loads((folder / "manifest.json").read_text())["stages"]["curate"]["counts"]
    for before, after in zip(counts["steps"], counts["steps"][1:], strict=False):
        assert before["kept"] == after["in"]
    for step in counts["steps"]:
        assert step["in"] == step["kept"] + step["dropped"]
        assert step["dropped"] == sum(step["dropped_by_reason"].values())
    assert counts["qa"] == counts["kept"] + counts["dropped"] + counts["reserve"]
    return {step["step"]: step["dropped_by_reason"] for step in counts["steps"]}, counts


@pytest.fixture
def files(tmp_path):
    return write(tmp_path / "qa.jsonl", [*GOOD, TWIN, EMPTY]), tmp_path / "files"


def test_each_step_drops_its_kind_of_row_with_a_reason(files, tmp_path):
    source, out = files
    against = write(tmp_path / "benchmark.jsonl", [BENCHMARK])
    output = invoke("curate", source, "--out", out, "--against", against).output
    assert steps(out)[0] == {
        "checks": {"empty_answer": 1},
        "duplicates": {"near_duplicate": 1},
        "benchmarks": {"contaminated": 1},
    }
    assert ids(out) == {"carbon", "ice2", "heart", "x"}  # of two near-duplicates the one with an explanation
    dropped = {row["id"]: row for row in pq.read_table(out / "curate-dropped.parquet").to_pylist()}
    assert (dropped["ice"]["step"], dropped["ice"]["repeats"]) == ("duplicates", "ice2")
    assert "benchmark.jsonl" in dropped["hamlet"]["detail"]
    clusters = pq.read_table(out / "clusters.parquet").to_pylist()
    assert {(row["id"], row["kept"], row["seed"]) for row in clusters} == {("ice", False, False), ("ice2", True, False)}
    (kept,) = (row for row in pq.read_table(out / "curated.parquet").to_pylist() if row["id"] == "ice2")
    assert kept["near_duplicates"] == 1
    assert "7 QA = 4 kept + 3" in output


def test_thresholds_change_from_call_to_call_and_other_files_are_refused(files, tmp_path):
    source, out = files
    invoke("curate", source, "--out", out)
    assert "ice" not in ids(out)
    invoke("curate", source, "--out", out, "--near-duplicates", 1, "--checks-off", "empty_answer")
    assert ids(out) == {row["id"] for row in (*GOOD, TWIN, EMPTY)}
    invoke("curate", out, "--near-duplicates", 0.8)  # the folder alone
    assert "ice" not in ids(out)
    other = write(tmp_path / "other.jsonl", GOOD[:2])
    assert "other settings" in invoke("curate", other, "--out", out, code=2).output


def test_qa_that_repeat_given_seeds_are_dropped(files, tmp_path):
    source, out = files
    seeds = write(tmp_path / "seeds.jsonl", [{**GOOD[2], "id": "s1"}])
    invoke("curate", source, "--out", out, "--seeds", seeds)
    dropped = {row["id"]: row for row in pq.read_table(out / "curate-dropped.parquet").to_pylist()}
    assert (dropped["heart"]["reason"], dropped["heart"]["repeats"]) == ("near_seed", "s1")


def test_a_campaign_and_a_folder_of_files_are_not_mixed_up(files, out):
    source, folder = files
    assert "holds a campaign" in invoke("curate", source, "--out", out, code=2).output
    invoke("curate", source, "--out", folder)
    invoke("run", source, "--out", folder, "--engine", "batch", "--model", "m", code=2)
    assert "QA of files" in invoke("build", folder, code=2).output
    assert "need --out" in invoke("curate", source, source, code=2).output


# ---------------------------------------------------------------------- judge


class Judge:
    """Scores each question by `score`, and solves it with `answer`."""

    def __init__(self, score=lambda question: 5, answer=lambda question: "", down=lambda question: False):
        self.score, self.answer, self.down = score, answer, down
        self.asked = {"score": 0, "solve": 0, "compare": 0}

    def __call__(self, body, n):
        kind = body["response_format"]["json_schema"]["name"]
        text = body["messages"][-1]["content"]
        question = next((row["question"] for row in (*GOOD, TWIN) if row["question"] in text), "")
        if self.down(question):
            return {"status": 500, "json": {"error": {"message": "busy"}}}
        self.asked[kind] += 1
        if kind == "score":
            value = self.score(question)
            fields = {"faults": ["a fault"], "correctness": value, "clarity": 5, "worth": 5}
            return ok(json.dumps(fields) if value is not None else "I would rather not say")
        if kind == "solve":
            return ok(json.dumps({"explanation": "", "answer": self.answer(question)}))
        return ok(json.dumps({"same": True}))


def judged(source, out, server, *flags, code=0):
    once = write(source.with_name("once.toml"), [])
    once.write_text("[synthesis]\nmax_attempts = 1\n")
    words = (
        "curate",
        source,
        "--out",
        out,
        "--judge",
        "--engine",
        "openai",
        "--base-url",
        server.url,
        "--config",
        once,
    )
    return invoke(*words, *flags, code=code)


def test_the_judge_drops_low_scores_and_a_changed_threshold_asks_nothing_again(files):
    source, out = files
    judge = Judge(score=lambda question: 3 if "carbon" in question else 5)
    with FakeServer(judge) as server:
        output = judged(source, out, server).output
        assert judge.asked["score"] == 5
        assert steps(out)[0]["judge"] == {"low_score": 1}
        assert ids(out) == {"ice2", "heart", "x", "hamlet"}
        assert "tokens read" in output
        judged(source, out, server, "--judge-score", 3)
        assert judge.asked["score"] == 5
    assert "carbon" in ids(out)
    scores = {row["id"]: row["judge_score"] for row in pq.read_table(out / "curated.parquet").to_pylist()}
    assert scores["carbon"] == 3


def test_a_score_that_cannot_be_read_is_never_filled_in(files):
    source, out = files
    with FakeServer(Judge(score=lambda question: None if "carbon" in question else 5)) as server:
        judged(source, out, server)
    dropped = {row["id"]: row for row in pq.read_table(out / "curate-dropped.parquet").to_pylist()}
    assert (dropped["carbon"]["reason"], dropped["carbon"]["judge_score"]) == ("not_judged", None)


def test_independent_solutions_must_agree(files):
    source, out = files
    answers = {row["question"]: row["answer"] for row in (*GOOD, TWIN)} | {GOOD[0]["question"]: "7"}
    judge = Judge(answer=lambda question: answers[question])
    with FakeServer(lambda body, n: judge(body, n) if "carbon" not in str(body) else unequal(judge, body, n)) as server:
        judged(source, out, server, "--judge-solves", 3)
    dropped = {row["id"]: row for row in pq.read_table(out / "curate-dropped.parquet").to_pylist()}
    assert dropped["carbon"]["reason"] == "solves_disagree"
    kept = {row["id"]: row["judge_agreed"] for row in pq.read_table(out / "curated.parquet").to_pylist()}
    assert set(kept.values()) == {3}


def unequal(judge, body, n):
    if body["response_format"]["json_schema"]["name"] == "compare":
        return ok(json.dumps({"same": False}))
    return judge(body, n)


def test_judgements_that_wait_leave_the_stage_open_and_the_same_command_completes_it(files):
    source, out = files
    judge = Judge(down=lambda question: "carbon" in question)
    with FakeServer(judge) as server:
        output = judged(source, out, server, code=3).output
        assert "1 of 7 QA wait for the judge" in output
        assert not (out / "curated.parquet").exists()
        judge.down = lambda question: False
        judged(source, out, server)
    assert judge.asked["score"] == 5
    assert "carbon" in ids(out)


def test_a_limit_on_requests_holds_for_the_judge(files):
    source, out = files
    judge = Judge()
    with FakeServer(judge) as server:
        judged(source, out, server, "--max-requests", 2)
        assert judge.asked["score"] == 2


def test_the_judge_of_a_campaign_is_asked_once_per_row_and_its_drops_are_filled_up(tmp_path):
    from tests.dataset.conftest import write_seeds
    from tests.dataset.varied_server import varied

    asked = []

    def server_of(body, n):
        if body["response_format"]["json_schema"]["name"] != "score":
            return varied(body, n)
        text = body["messages"][-1]["content"]
        asked.append(text)
        score = 2 if len(text) % 3 == 0 else 5
        return ok(json.dumps({"faults": [], "correctness": score, "clarity": score, "worth": score}))

    words = ("run", write_seeds(tmp_path / "seeds.jsonl"), "--out", tmp_path / "out", "--qa", 30, "--length", 3)
    flags = ("--calibration-rounds", 1, "--rounds", 2, "--engine", "openai", "--judge", "--near-duplicates", 1)
    with FakeServer(server_of) as server:
        invoke(*words, *flags, "--base-url", server.url)
    assert len(ids(tmp_path / "out")) == 30
    found, counts = steps(tmp_path / "out")
    assert found["judge"]["low_score"] > 0
    assert len(asked) == len(set(asked)) == counts["requests_answered"]


def test_the_score_of_a_qa_is_the_least_of_the_three():
    scores = read_rubric('{"faults": ["x"], "correctness": 5, "clarity": 2, "worth": 4}')
    assert (scores.least, scores.faults) == (2, ("x",))
    assert read_rubric('{"correctness": 5, "clarity": 9, "worth": 4}') is None
    assert read_rubric("no") is None


def test_commands_that_need_walks_refuse_a_folder_of_files_and_change_nothing(files, tmp_path):
    source, out = files
    invoke("curate", source, "--out", out)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file() and path.name != ".lock"}
    for words in (
        ("export", out, "--to", tmp_path / "dataset"),
        ("prove", out, "--all"),
        ("prove", out, "ice"),
        ("trace", out, "--seed", "ice"),
        ("revoke", out, "ice"),
    ):
        assert f"'{words[0]}' needs the run folder of a campaign" in invoke(*words, code=2).output
    after = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file() and path.name != ".lock"}
    assert after == before
    assert not (tmp_path / "dataset").exists()
