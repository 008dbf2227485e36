"""Questions to a model about a QA: how hard it is, what its answer is, and whether two answers come to the same.

Requests go out in the OpenAI batch format, named by their content; readers take what comes back, or None where it is
not what was asked for: nothing is guessed. A level is asked at temperature 0, with its reasons before it, so that a
model without thinking reasons before it decides. Solvers see the question and its options, never the answer, and no
seeds; each has a sampling seed of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from linksyn_gpu.llm.json_answer import read_level, read_object
from linksyn_gpu.llm.prompting import content_request, object_schema, render_messages
from linksyn_gpu.quality.options import by_letter
from linksyn_gpu.synthesis.prompts import TEMPLATES
from linksyn_gpu.taxonomy.difficulty import LEVELS

REASON_CHARS = 240
MAX_REASONS = 3
SOLVE_TEMPERATURE = 0.7
"""Solves that all take the likeliest path would not be independent."""

Request = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What is judged or solved."""

    question: str
    options: tuple[str, ...]
    answer: str
    question_type: str
    language: str
    """'en' or 'zh'."""


@dataclass(frozen=True)
class Asking:
    """How requests are made: what `SynthesisConfig` says, as it holds for the engine."""

    model: str = "auto"
    templates: str | None = None
    temperature: float = 0.7
    """Of rewrites."""
    top_p: float = 0.95
    max_tokens: int = 1024
    field_limit: int | None = None
    """Longest question in characters, for models that end a text only where a grammar makes them."""
    max_prompt_chars: int = 48_000


@dataclass(frozen=True)
class Judgement:
    """The level of a question, and why."""

    level: int
    reasons: tuple[str, ...]


def judge_request(question: Question, asking: Asking) -> Request:
    """Ask for the level of a question that is shown with its answer."""
    shown = {"question": question.question, "options": list(question.options), "answer": question.answer}
    values = {"qa": {part: value for part, value in shown.items() if value}, "levels": LEVELS[question.language]}
    reason = {"type": "string", "maxLength": REASON_CHARS}
    fields = {
        "reasons": {"type": "array", "items": reason, "minItems": 1, "maxItems": MAX_REASONS},
        "level": {"type": "integer", "minimum": 1, "maximum": 5},
    }
    return _request("judge", question.language, values, fields, asking)


def read_judgement(text: str) -> Judgement | None:
    """The level in an answer; None where it holds none of 1..5."""
    value = read_object(text)
    level = None if value is None else read_level(value.get("level"))
    if value is None or level is None:
        return None
    given = value.get("reasons")
    reasons: Sequence[Any] = given if isinstance(given, list) else [given]
    texts = (" ".join(reason.split())[:REASON_CHARS] for reason in reasons if isinstance(reason, str))
    return Judgement(level, tuple(text for text in texts if text)[:MAX_REASONS])


def solve_request(question: Question, number: int, asking: Asking) -> Request:
    """Ask for the solution of a question; requests of one question with other numbers are independent."""
    options = by_letter(question.options) if question.question_type == "multiple_choice" else {}
    qa = {"question": question.question, **({"options": options} if options else {})}
    room = {} if asking.field_limit is None else {"maxLength": asking.field_limit}
    answer: dict[str, Any] = {"enum": list(options)} if options else {"type": "string", "minLength": 1, **room}
    fields = {"explanation": {"type": "string", **room}, "answer": answer}
    values = {"qa": qa, "question_type": question.question_type}
    sampling = {"temperature": SOLVE_TEMPERATURE, "top_p": asking.top_p, "number": number}
    return _request("solve", question.language, values, fields, asking, **sampling)


def read_solution(text: str) -> str | None:
    """The answer that a solver came to; None where it gave none."""
    value = read_object(text)
    answer = None if value is None else value.get("answer")
    if isinstance(answer, (int, float)) and not isinstance(answer, bool):
        return str(answer)
    return answer if isinstance(answer, str) and answer else None


def compare_request(question: Question, solved: str, asking: Asking) -> Request:
    """Ask whether a solver's answer comes to the same as the one given."""
    values = {"question": question.question, "first": question.answer, "second": solved}
    return _request("compare", question.language, values, {"same": {"type": "boolean"}}, asking)


def read_same(text: str) -> bool | None:
    """The yes or no in an answer; None where there is neither."""
    value = read_object(text)
    same = None if value is None else value.get("same")
    return same if isinstance(same, bool) else None


def _request(
    name: str, language: str, values: Mapping[str, Any], fields: Mapping[str, Any], asking: Asking, **sampling: Any
) -> Request:
    messages = render_messages(TEMPLATES, f"{name}.{language}.jinja", values, asking.templates)
    schema = object_schema(fields)
    return content_request(messages, name, schema, model=asking.model, max_tokens=asking.max_tokens, **sampling)
