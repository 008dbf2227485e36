"""`linksyn-gpu ingest`: what it prints, records and refuses."""

import json

import pytest
from click.testing import CliRunner

from linksyn_gpu.cli import main
from linksyn_gpu.pipeline.api import open_run

GSM8K = {"question": "6 times 7?", "answer": "It is <<6*7=42>>42.\n#### 42", "kps": ["product"]}
LETTERS = {"question": "Which bone is longest?", "answer": "B", "kps": ["bone"]}


@pytest.fixture
def ingest(tmp_path):
    """Calls `linksyn-gpu ingest` on records."""

    def call(*records, flags=(), code=0, out="out"):
        path = tmp_path / "seeds.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        result = CliRunner().invoke(main, ["ingest", str(path), "--out", str(tmp_path / out), *flags])
        assert result.exit_code == code, result.output
        return result.output

    return call


def test_the_layout_and_remarks_are_printed_and_recorded(ingest, tmp_path):
    printed = ingest(GSM8K, {**LETTERS, "answer": "femur", "label": 3})
    assert "layout: columns 1, gsm8k 1" in printed
    assert "'label' not used, but named like answer" in printed
    counts = open_run(tmp_path / "out").counts["ingest"]
    assert counts["layouts"] == {"gsm8k": 1, "columns": 1}
    assert len(counts["remarks"]) == 1


def test_the_layout_can_be_set(ingest, tmp_path):
    ingest(GSM8K, flags=["--layout", "columns"])
    assert open_run(tmp_path / "out").seeds[0]["answer"] == GSM8K["answer"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"question": "q"}, "empty_answer 1"),
        (LETTERS, "letter_without_options 1"),
        ({**LETTERS, "choices": ["rib"]}, "answer_unresolved 1"),
        ({**LETTERS, "answer": None, "label": 1}, "'label' not used"),
    ],
)
def test_a_file_without_any_usable_answer_is_refused_unless_that_is_allowed(ingest, tmp_path, record, reason):
    printed = ingest(record, code=1)
    assert "has a usable answer" in printed
    assert reason in printed
    assert "--allow-empty-answers" in printed
    printed = ingest(record, flags=["--allow-empty-answers"])
    assert "no usable answer in" in printed
    counts = open_run(tmp_path / "out").counts["ingest"]
    assert len(counts["files_without_answers"]) == 1
    ingest(record)  # finished: the flag does not change the seeds


def test_one_usable_answer_in_a_file_is_enough(ingest):
    ingest(LETTERS, {**LETTERS, "question": "And the shortest?", "answer": "stapes"})


def test_other_settings_for_the_same_files_are_refused(ingest):
    ingest(GSM8K)
    printed = ingest(GSM8K, flags=["--layout", "columns"], code=2)
    assert "was started with other settings" in printed


def test_options_are_mapped_from_several_columns(ingest, tmp_path):
    ingest({**LETTERS, "w": "rib", "x": "femur"}, flags=["--map", "options=w,x"])
    assert open_run(tmp_path / "out").seeds[0]["answer"] == "femur"


def test_a_field_that_is_mapped_twice_is_an_error(ingest):
    printed = ingest(GSM8K, flags=["--map", "answer=a", "--map", "question=q", "--map", "answer=b"], code=2)
    assert "--map is given twice for 'answer' (answer=a, answer=b); keep one of them" in printed


def test_seeds_come_from_standard_input(tmp_path):
    data = json.dumps(GSM8K)
    words = ["ingest", "-", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, words, input=data)
    assert result.exit_code == 0, result.output
    assert open_run(tmp_path / "out").seeds[0]["answer"] == "42"
    again = CliRunner().invoke(main, words, input=data)
    assert again.exit_code == 0
    assert again.stdout == result.stdout
