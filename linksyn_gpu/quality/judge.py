"""A model examines a QA: how hard it is, what its answer is, and whether two answers are the same.

Readers return None for an answer that is not what was asked for: nothing is guessed. A level is asked for at
temperature 0, with the reasons before it: a model without a thinking mode then reasons before it decides. Solvers see
the question and its options, never the answer and no seeds; each has its own sampling seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from linksyn_gpu.config import DEFAULT_MAX_TOKENS, SynthesisConfig
from linksyn_gpu.llm.asking import Validate, is_pending, request_model
from linksyn_gpu.llm.json_answer import read_level, read_object
from linksyn_gpu.llm.prompting import content_request, object_schema, render_messages
from linksyn_gpu.llm.protocol import Failure, Outcome, unusable
from linksyn_gpu.quality.equivalence import same_answer
from linksyn_gpu.quality.options import by_letter
from linksyn_gpu.tables import Asked, Item
from linksyn_gpu.taxonomy.difficulty import LEVELS

TEMPLATES = Path(__file__).parent / "templates"
KINDS = ("judge", "solve", "compare")
"""Kinds of templates in `TEMPLATES`."""
REASON_CHARS = 240
MAX_REASONS = 3
SOLVE_TEMPERATURE = 0.7
"""At temperature 0 all solves would be the same."""

Request = dict[str, Any]
Ask = Callable[[str, Sequence[Request], Validate], Iterator[Outcome]]
"""(kind, requests, validate) -> the outcome of each, in order."""
QA = tuple[Item, Asked]
T = TypeVar("T")


@dataclass(frozen=True)
class Judgement:
    """The level of a question, and why."""

    level: int
    reasons: tuple[str, ...]


class Examiner:
    """Has a model judge and solve QA.

    Parameters
    ----------
    config : SynthesisConfig
        Model, templates and limits of the requests.
    ask : callable
        Sends requests and gives their outcomes.
    solves : int
        Independent solves of one QA.
    """

    def __init__(self, config: SynthesisConfig, ask: Ask, solves: int) -> None:
        self._config, self._ask, self._solves = config, ask, solves

    def judge(self, qas: Sequence[QA]) -> list[Judgement | Failure]:
        """The level of each QA, or why there is none."""
        requests = [judge_request(item, asked, self._config) for item, asked in qas]
        outcomes = self._ask("judge", requests, _valid_if(read_judgement))
        return [_read(outcome, read_judgement) for outcome in outcomes]

    def solve(self, qas: Sequence[QA]) -> list[int | Failure]:
        """How many solves agree with the answer of each QA; a failure while one of its answers is pending.

        A solve or comparison that cannot be read does not agree.
        """
        each = [(row, number) for row in range(len(qas)) for number in range(self._solves)]
        requests = [solve_request(*qas[row], number, self._config) for row, number in each]
        agreed: list[int | Failure] = [0] * len(qas)
        doubtful: list[tuple[int, str]] = []
        for (row, _), outcome in zip(each, self._ask("solve", requests, _valid_if(read_solution)), strict=True):
            solved = _read(outcome, read_solution)
            if isinstance(solved, str):
                item, asked = qas[row]
                same = same_answer(item.answer, solved, asked.question_type, item.options)
                if same is None:
                    doubtful.append((row, solved))
                _count(agreed, row, bool(same))
            elif is_pending(solved):
                agreed[row] = solved
        doubtful = [(row, solved) for row, solved in doubtful if not isinstance(agreed[row], Failure)]
        requests = [compare_request(*qas[row], solved, self._config) for row, solved in doubtful]
        for (row, _), outcome in zip(doubtful, self._ask("compare", requests, _valid_if(read_same)), strict=True):
            verdict = _read(outcome, read_same)
            if not isinstance(verdict, Failure):
                _count(agreed, row, verdict)
            elif is_pending(verdict):
                agreed[row] = verdict
        return agreed


def _count(agreed: list[int | Failure], row: int, same: bool) -> None:
    count = agreed[row]
    if not isinstance(count, Failure):
        agreed[row] = count + same


def _read(outcome: Outcome, read: Callable[[str], T | None]) -> T | Failure:
    """What a reader finds in an outcome, or a failure that says why it finds nothing."""
    if isinstance(outcome, Failure):
        return outcome
    found = None if unusable(outcome) else read(outcome.text)
    return Failure(outcome.id, unusable(outcome) or "invalid_json", "") if found is None else found


def _valid_if(read: Callable[[str], object]) -> Validate:
    """Ask again for an answer in which a reader finds nothing."""
    return lambda text: "invalid_json" if read(text) is None else None


def judge_request(item: Item, asked: Asked, config: SynthesisConfig) -> Request:
    """Ask for the level of a QA."""
    shown = {"question": item.question, "options": list(item.options), "answer": item.answer}
    values = {"qa": {part: value for part, value in shown.items() if value}, "levels": LEVELS[asked.language]}
    reason = {"type": "string", "maxLength": REASON_CHARS}
    fields = {
        "reasons": {"type": "array", "items": reason, "minItems": 1, "maxItems": MAX_REASONS},
        "level": {"type": "integer", "minimum": 1, "maximum": 5},
    }
    return _request("judge", asked.language, values, fields, config)


def read_judgement(text: str) -> Judgement | None:
    """The level in an answer; None without one of 1..5."""
    value = read_object(text)
    level = None if value is None else read_level(value.get("level"))
    if value is None or level is None:
        return None
    given = value.get("reasons")
    reasons: Sequence[Any] = given if isinstance(given, list) else [given]
    texts = (" ".join(reason.split())[:REASON_CHARS] for reason in reasons if isinstance(reason, str))
    return Judgement(level, tuple(text for text in texts if text)[:MAX_REASONS])


def solve_request(item: Item, asked: Asked, number: int, config: SynthesisConfig) -> Request:
    """Ask for the solution of a question; different numbers give independent requests."""
    options = by_letter(item.options) if asked.question_type == "multiple_choice" else {}
    qa = {"question": item.question, **({"options": options} if options else {})}
    limit = {} if config.field_limit is None else {"maxLength": config.field_limit}
    answer: dict[str, Any] = {"enum": list(options)} if options else {"type": "string", "minLength": 1, **limit}
    fields = {"explanation": {"type": "string", **limit}, "answer": answer}
    values = {"qa": qa, "question_type": asked.question_type}
    sampling = {"temperature": SOLVE_TEMPERATURE, "top_p": config.top_p, "number": number or None}
    return _request("solve", asked.language, values, fields, config, **sampling)


def read_solution(text: str) -> str | None:
    """The answer of a solver; None without one."""
    value = read_object(text)
    answer = None if value is None else value.get("answer")
    if isinstance(answer, (int, float)) and not isinstance(answer, bool):
        return str(answer)
    return answer if isinstance(answer, str) and answer else None


def compare_request(item: Item, asked: Asked, solved: str, config: SynthesisConfig) -> Request:
    """Ask whether a solver's answer is the same as the given one."""
    values = {"question": item.question, "first": item.answer, "second": solved}
    return _request("compare", asked.language, values, {"same": {"type": "boolean"}}, config)


def read_same(text: str) -> bool | None:
    """The yes or no in an answer; None without either."""
    value = read_object(text)
    same = None if value is None else value.get("same")
    return same if isinstance(same, bool) else None


def _request(
    name: str,
    language: str,
    values: Mapping[str, Any],
    fields: Mapping[str, Any],
    config: SynthesisConfig,
    **sampling: Any,
) -> Request:
    messages = render_messages(TEMPLATES, f"{name}.{language}.jinja", values, config.templates)
    schema = object_schema(fields)
    limits = {"max_tokens": config.max_tokens, "limit_in_id": DEFAULT_MAX_TOKENS}
    return content_request(messages, name, schema, model=request_model(config), **limits, **sampling)
