"""Quotas, presets and question types by flags."""

import json
from collections import Counter

import pyarrow.parquet as pq

from tests.cli.test_server import SEEDS, invoke

BATCH = ("--calibration-rounds", "2", "--rounds", "4", "--engine", "batch", "--model", "m")


def run(out, *words, code=0):
    return invoke("run", SEEDS, "--out", out, *BATCH, *words, code=code)


def cells(out):
    return json.loads((out / "plan.json").read_text(encoding="utf-8"))["cells"]


def test_shares_by_flags_may_be_repeated_and_replace_those_of_a_file(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("[quota.discipline]\nlaw = 1.0\n[quota.difficulty]\n5 = 1.0\n", encoding="utf-8")
    words = ("--discipline", "physics=3", "--discipline", "Biology=1", "--difficulty", "2=0.5,3=0.5")
    text = run(tmp_path / "out", "--paths", "16", "--config", file, *words).stdout
    found = [(cell["discipline"], cell["difficulty"], cell["asked"]) for cell in cells(tmp_path / "out")]
    assert found == [("physics", 2, 6), ("physics", 3, 6), ("Biology", 2, 2), ("Biology", 3, 2)]
    assert "the shares of quota.discipline sum to 4: each was divided by that" in text
    assert "quota.difficulty sum" not in text


def test_presets_follow_the_seeds_and_stay_those_of_the_first_call(tmp_path):
    out = tmp_path / "out"
    run(out, "--paths", "36", "--discipline", "uniform")
    first = [(cell["discipline"], cell["asked"]) for cell in cells(out)]
    assert len(first) > 5
    assert {asked for _, asked in first} <= {36 // len(first), 36 // len(first) + 1}
    run(out, "--paths", "72", "--discipline", "uniform")
    assert [cell["discipline"] for cell in cells(out)] == [name for name, _ in first]
    assert sum(cell["asked"] for cell in cells(out)) == 72


def test_numbers_of_qa_by_flags(tmp_path):
    out = tmp_path / "out"
    run(out, "--discipline", "physics=4,law=6", "--quota-unit", "qa")
    assert [cell["asked"] for cell in cells(out)] == [4, 6]


def test_mistakes_in_flags_say_what_to_write(tmp_path):
    for words, message in (
        (("--discipline", "physics"), "NAME=SHARE"),
        (("--discipline", "seeds", "--discipline", "law=1"), "a preset stands alone"),
        (("--difficulty", "6=1"), "quota.difficulty: '6' is not a level"),
        (("--question-types", "law:opne=1"), "question_types.law: 'opne' is not a question type"),
        (("--discipline", "phisics=1"), "did you mean"),
    ):
        assert message in run(tmp_path / "out", *words, code=2).stderr


def test_question_types_by_discipline_and_the_columns_about_levels(tmp_path):
    out = tmp_path / "out"
    quota = ("--discipline", "physics=1,law=1", "--difficulty", "3=1")
    run(out, "--paths", "20", *quota, "--question-types", "open=1", "--question-types", "law:case=0.5,proof=0.5")
    tasks = [row for row in pq.read_table(out / "tasks.parquet").to_pylist() if row["request_id"]]
    types = {
        name: Counter(row["question_type"] for row in tasks if row["discipline"] == name) for name in ("physics", "law")
    }
    assert set(types["physics"]) == {"open"}
    assert abs(types["law"]["case"] - types["law"]["proof"]) <= 1
    assert {row["difficulty_asked"] for row in tasks} == {3}
