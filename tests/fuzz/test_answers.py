"""Answers of models and servers of any shape are read, or are invalid answers: never an exception."""

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linksyn_gpu.errors import DataError
from linksyn_gpu.knowledge.extract.llm import read_labels
from linksyn_gpu.llm import batchfile
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.llm.protocol import from_record, read_body, to_record
from linksyn_gpu.quality.judge import read_judgement, read_same, read_solution
from linksyn_gpu.synthesis.answers import parse, validator
from linksyn_gpu.taxonomy.disciplines import load_taxonomy
from tests.fuzz.mutations import PAYLOADS, in_place_of, mutated
from tests.llm.fake_server import completion

pytestmark = pytest.mark.timeout(120)  # no input may take long
TAXONOMY = load_taxonomy()
MANY = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def items(text):
    found = parse(text).items
    for item in found:
        "".join((item.question, item.answer, item.explanation, *item.options, *item.knowledge_points)).encode()
    return found


# How the text of an answer is read, a valid text, and a value in it.
TEXTS = {
    "qa": (
        items,
        b'{"qa": [{"question": "What is $\\\\frac{a}{b}$?", "options": ["one", "two"], "answer": "one", '
        b'"explanation": "as shown", "knowledge_points": ["ratio"], "discipline": "law", "difficulty": 2}]}',
        b'"as shown"',
    ),
    "labels": (
        lambda text: read_labels(text, TAXONOMY),
        b'{"knowledge_points": [{"name": "ratio", "confidence": 70}], "discipline": "law", "difficulty": 2}',
        b"70",
    ),
    "judgement": (read_judgement, b'{"reasons": ["two steps"], "level": 3}', b'"two steps"'),
    "solution": (read_solution, b'{"explanation": "as shown", "answer": "12"}', b'"as shown"'),
    "comparison": (read_same, b'{"same": true, "why": "equal"}', b'"equal"'),
}


def read_text(name, document):
    return TEXTS[name][0](document.decode("utf-8", "replace"))


@pytest.mark.parametrize("name", TEXTS)
def test_the_texts_are_valid_before_they_are_changed(name):
    assert read_text(name, TEXTS[name][1])


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("name", TEXTS)
def test_a_value_of_any_shape_in_an_answer_is_read_or_invalid(name, payload):
    _, document, value = TEXTS[name]
    read_text(name, in_place_of(document, value, PAYLOADS[payload]))


@MANY
@given(st.data())
def test_a_changed_answer_is_read_or_invalid(data):
    name = data.draw(st.sampled_from(sorted(TEXTS)))
    read_text(name, data.draw(mutated(TEXTS[name][1])))


# ---------------------------------------------------------------------- bodies of replies


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5)
    | st.sampled_from([2**31, 2**63, -1, float("inf"), float("nan"), "9" * 5000, "\ud83d"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "type"]), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@MANY
@given(st.sampled_from(["choices", "usage", "model", "content", "finish_reason", "prompt_tokens"]), VALUES)
def test_a_body_with_any_value_becomes_an_outcome_that_the_journal_and_the_tables_can_hold(
    tmp_path_factory, name, value
):
    body = completion('{"qa": []}')
    if name in body:
        body[name] = value
    elif name == "content":
        body["choices"][0]["message"][name] = value
    elif name == "finish_reason":
        body["choices"][0][name] = value
    else:
        body["usage"][name] = value
    outcome = read_body("r", body)
    assert 0 <= outcome.prompt_tokens < 2**31, "a column of int32 holds it"
    with Journal(tmp_path_factory.mktemp("journal")) as journal:
        journal.append(to_record(outcome))
        (record,) = journal.read()
    assert from_record(record).id == "r"


# ---------------------------------------------------------------------- batch files


def batch_line(number):
    body = completion('{"qa": [{"question": "What is it now?", "answer": "x"}]}')
    return json.dumps({"custom_id": f"id{number}", "response": {"status_code": 200, "body": body}, "error": None})


BATCH = "\n".join(map(batch_line, range(3))).encode()


def collect(folder, document):
    file = folder / "answers.jsonl"
    file.write_bytes(document)
    with Journal(folder / "journal") as journal:
        found = batchfile.collect([file], journal, [f"id{i}" for i in range(3)], validate=validator(None))
        for record in journal.read():
            from_record(record)
    return found


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("value", [b'"id1"', b'"model"', b"10", b'"stop"', b'"index"', b"200"])
def test_a_line_of_a_batch_file_with_any_value_is_counted(tmp_path, payload, value):
    lines = BATCH.split(b"\n")
    lines[1] = lines[1].replace(value, PAYLOADS[payload], 1)
    found = collect(tmp_path, b"\n".join(lines))
    assert found.completions >= 2, "the other lines are taken"
    counted = found.completions + found.failed.total() + found.duplicates + found.unknown + found.unreadable
    assert counted == found.lines


@MANY
@given(mutated(BATCH))
def test_a_changed_batch_file_is_collected_line_by_line(tmp_path_factory, document):
    with contextlib.suppress(DataError):  # where no line belongs to the run
        collect(tmp_path_factory.mktemp("batch"), document)
