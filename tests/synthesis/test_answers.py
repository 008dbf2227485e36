"""Answers are parsed whatever stands around the JSON, and never when the JSON ends too early."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linksyn_gpu.synthesis.answers import REASONS, parse
from linksyn_gpu.tables import Item

QA = {"question": "Q?", "answer": "A", "knowledge_points": ["k", "k", ""], "difficulty": 3}
ITEM = Item("Q?", "A", knowledge_points=("k",), difficulty=3)
TEXT = json.dumps({"qa": [QA]})


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"```json\n{TEXT}\n```",
        f"Sure! Here it is:\n{TEXT}\nI hope {{this}} helps [1].",
        json.dumps([QA]),
        json.dumps(QA),
        json.dumps({"questions": [QA], "note": "x"}),
        f"{{not json}} {TEXT}",
        "\ufeff" + TEXT,
    ],
)
def test_items_are_found_whatever_stands_around_them(text):
    assert parse(text).items == (ITEM,)


def test_several_objects_give_all_their_items():
    assert len(parse(f"{json.dumps(QA)}\n\n{TEXT}").items) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no JSON here", "invalid_json"),
        ("", "invalid_json"),
        ("{}", "no_items"),
        ('{"qa": []}', "no_items"),
        ('{"qa": [{"answer": "A"}]}', "no_items"),
        (TEXT[:-1], "truncated"),
        (f"```json\n{TEXT[:-2]}\n```", "truncated"),
        ("[" * 100_000, "invalid_json"),
    ],
)
def test_an_answer_without_items_has_a_reason(text, reason):
    parsed = parse(text)
    assert (parsed.items, parsed.reason) == ((), reason)
    assert reason in REASONS


def test_no_part_of_a_truncated_answer_is_taken():
    text = json.dumps({"qa": [QA, {**QA, "question": "Second?"}]})
    for end in range(len(text)):
        assert parse(text[:end]).items == (), text[:end]


def test_fields_of_other_types_are_read_or_left_out():
    item = parse(
        json.dumps(
            {
                "question": " Q? ",
                "answer": 42,
                "options": {"A": "x", "B": 2},
                "explanation": ["one", "two"],
                "knowledge_points": "k",
                "difficulty": "hard",
                "discipline": None,
            }
        )
    ).items[0]
    assert item == Item("Q?", "42", ("A. x", "B. 2"), "one\ntwo", ("k",), None, None)
    assert parse('{"question": "Q", "difficulty": "4"}').items[0].difficulty == 4
    assert parse('{"question": "Q", "difficulty": 9}').items[0].difficulty is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"$\frac{1}{2}$", r"$\frac{1}{2}$"),
        (r"$\beta \times \theta$", r"$\beta \times \theta$"),
        (r"$\sin\alpha \neq \rho$", r"$\sin\alpha \neq \rho$"),
        (r"$\left(x\right)$ \\ next", r"$\left(x\right)$ \ next"),
        (r"a\nnew line\tand a tab", "a\nnew line\tand a tab"),
        (r"$\\frac{1}{2}$", r"$\frac{1}{2}$"),
    ],
)
def test_latex_whose_backslashes_were_not_doubled_is_read_as_meant(written, meant):
    assert parse(f'{{"question": "{written}"}}').items[0].question == meant


@given(st.text(max_size=300))
def test_no_text_makes_it_fail(text):
    parsed = parse(text)
    assert bool(parsed.items) != (parsed.reason in REASONS)
