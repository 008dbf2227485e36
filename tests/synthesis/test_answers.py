"""Answers are parsed from any surrounding text, and never when the JSON ends too early."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linksyn_gpu.llm.json_answer import json_values, read_object
from linksyn_gpu.synthesis.answers import REASONS, parse, validator
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
def test_items_are_found_in_any_surrounding_text(text):
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
        (r"$x \ne 0, \nu \ni 1$", r"$x \ne 0, \nu \ni 1$"),
        (r"$\left\lfloor x \right\rfloor \therefore \textless \rm{kg} \notin$",) * 2,
        (r"x \ne 0", r"x \ne 0"),
        (r"$\underline{u} \uparrow \u4e2d$", "$\\underline{u} \\uparrow \u4e2d$"),
        (r"$\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}$", r"$\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}$"),
        (r"$\begin{cases}x\\y\\\alpha\end{cases}$", r"$\begin{cases}x\\y\\\alpha\end{cases}$"),
        (r"$\\begin{pmatrix}1 & 2 \\\\ 3 & 4\\end{pmatrix}$", r"$\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}$"),
        (r"$\left(x\right)$ \\ next", r"$\left(x\right)$ \\ next"),
        (r"$\\alpha$ and $\beta$", r"$\alpha$ and $\beta$"),
        (r"\(x\) and \\(y\\)", r"\(x\) and \(y\)"),
        (r"Let $x \in A$.\nThen\t$\tan x$ \"exists\"", 'Let $x \\in A$.\nThen\t$\\tan x$ "exists"'),
        (r"Note:\nless is more.\ne.g. $\pi$", "Note:\nless is more.\ne.g. $\\pi$"),
        (r"a\nnew line\tand a tab", "a\nnew line\tand a tab"),
        (r"$\\frac{1}{2}$", r"$\frac{1}{2}$"),
        (r"C:\\new\\text", r"C:\new\text"),
        (r"don\'t", "don't"),
        ("a\\\nb", "a\nb"),
    ],
)
def test_latex_whose_backslashes_were_not_doubled_is_read_as_meant(written, meant):
    assert parse(f'{{"question": "{written}"}}').items[0].question == meant


@pytest.mark.parametrize(
    "answer",
    [
        "9" * 5001,
        "-" + "9" * 5001,
        "1e400",
        "NaN",
        "Infinity",
        r'"\ud800"',
        "[" * 500 + "1" + "]" * 500,
        '{"a":' * 500 + "1" + "}" * 500,
    ],
)
def test_a_value_that_python_cannot_hold_or_write_again_is_an_invalid_answer(answer):
    text = f'{{"qa": [{{"question": "Q?", "answer": {answer}}}]}}'
    assert parse(text).reason == "invalid_json"
    assert read_object(text) is None


HOSTILE = ["{", "[", '{"a":', '{"a": x ', "[1, x [", '{"', "[[[[x", r"\\ne", '{"a": "' + r"\ne "]


@pytest.mark.parametrize("text", HOSTILE)
def test_reading_takes_time_in_proportion_to_the_length(text):
    """Counted in steps of the interpreter, not in seconds: four times the text, at most six times the steps."""

    def steps(n):
        count = 0

        def step(frame, event, argument):
            nonlocal count
            count += 1
            return step

        sys.settrace(step)
        try:
            parse(text * n)
        finally:
            sys.settrace(None)
        return count

    assert steps(4000) <= 6 * steps(1000) + 1000


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_json_that_is_well_formed_reads_as_the_decoder_reads_it(value):
    """But for a string that holds LaTeX with control characters in the place of its first letters."""
    text = json.dumps({"x": value})
    if "\\" not in text:
        assert list(json_values(text)) == [json.loads(text)]


@given(st.text(max_size=300))
def test_no_text_raises_an_error(text):
    parsed = parse(text)
    assert bool(parsed.items) != (parsed.reason in REASONS)


def items(*questions):
    return [{"question": question, "answer": "A"} for question in questions]


def questions(text, n):
    parsed = parse(text, n)
    return [item.question for item in parsed.items], parsed.surplus


def test_of_one_list_with_too_many_items_the_first_count():
    assert questions(json.dumps({"qa": items("one?", "two?", "three?")}), 2) == (["one?", "two?"], 1)


def test_a_draft_before_the_final_text_does_not_count():
    draft, final = json.dumps({"qa": items("draft?")}), json.dumps({"qa": items("final?")})
    assert questions(f"First try: {draft}\nBetter: {final}", 1) == (["final?"], 1)
    assert questions("\n".join(json.dumps(item) for item in items("a?", "b?", "c?")), 2) == (["b?", "c?"], 1)


def test_items_that_come_one_per_object_are_all_of_the_answer():
    assert questions("\n".join(json.dumps(item) for item in items("a?", "b?")), 2) == (["a?", "b?"], 0)


def test_fewer_whole_items_than_asked_for_are_asked_for_again():
    good = json.dumps({"qa": items("a?", "b?")})
    broken = json.dumps({"qa": [*items("a?"), {"answer": "no question"}]})
    assert validator(None, 2)(good) is None
    assert validator(None, 2)(broken) == "item_missing"
    assert validator(None, 1)(broken) is None
    assert validator(None, 2)("{}") == "no_items"


def test_twenty_thousand_items_give_as_many_as_were_asked_for():
    text = json.dumps({"qa": items(*(f"What is {i}?" for i in range(20_000)))})
    assert questions(text, 1) == (["What is 0?"], 19_999)
    text = "\n".join(json.dumps(item) for item in items(*(f"What is {i}?" for i in range(20_000))))
    assert questions(text, 1) == (["What is 19999?"], 19_999)


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ([{"label": "A", "text": "newton"}, {"label": "B", "text": "joule"}], ("A. newton", "B. joule")),
        ([{"A": "newton"}, {"B": "joule"}], ("A. newton", "B. joule")),
        ([{"id": 1, "content": "newton"}, {"value": "joule", "correct": True}], ("1. newton", "joule")),
        ({"A": {"text": "newton"}, "B": "B. joule"}, ("A. newton", "B. joule")),
        ([{"letter": "A", "text": {"formula": "N", "unit": "kg"}}, {"x": 1, "y": 2}], ("", "")),
    ],
)
def test_an_option_written_as_an_object_becomes_its_text_or_is_empty(options, texts):
    value = {"question": "Which is a unit of force?", "options": options, "answer": {"label": "A", "text": "newton"}}
    item = parse(json.dumps({"qa": [value]})).items[0]
    assert item.options == texts
    assert item.answer == "A. newton"


def test_control_characters_are_removed_from_every_text():
    raw = "a\x00b\x1b[31m\x07\x85c\r\nd\te"
    value = {"question": raw, "answer": raw, "explanation": raw, "options": [raw], "knowledge_points": [raw]}
    item = parse(json.dumps({"qa": [value]})).items[0]
    clean = "ab[31mc\nd\te"
    assert item == Item(clean, clean, (clean,), clean, (clean,))
