"""A model scores a QA by a rubric: correctness, clarity, and worth for learning.

The score of a QA is the least of the three. A score that cannot be read is never filled in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from linksyn_gpu.config import DEFAULT_MAX_TOKENS, SynthesisConfig
from linksyn_gpu.llm.asking import request_model
from linksyn_gpu.llm.json_answer import read_level, read_object
from linksyn_gpu.llm.prompting import content_request, object_schema, render_messages
from linksyn_gpu.quality.judge import TEMPLATES
from linksyn_gpu.quality.options import by_letter
from linksyn_gpu.tables import Asked, Item

KIND = "score"
CRITERIA = ("correctness", "clarity", "worth")
MAX_FAULTS = 4
FAULT_CHARS = 240


@dataclass(frozen=True)
class Scores:
    """Scores of a QA, 1..5."""

    correctness: int
    clarity: int
    worth: int
    faults: tuple[str, ...] = ()

    @property
    def least(self) -> int:
        """The least of the three."""
        return min(self.correctness, self.clarity, self.worth)

    @property
    def detail(self) -> str:
        """The scores and faults as text."""
        scores = ", ".join(f"{name} {getattr(self, name)}" for name in CRITERIA)
        return "; ".join([scores, *self.faults])


def score_request(item: Item, asked: Asked, config: SynthesisConfig) -> dict[str, Any]:
    """Ask for the scores of a QA, at temperature 0."""
    shown = {
        "question": item.question,
        "options": by_letter(item.options),
        "answer": item.answer,
        "explanation": item.explanation,
    }
    values = {"qa": {part: value for part, value in shown.items() if value}}
    messages = render_messages(TEMPLATES, f"{KIND}.{asked.language}.jinja", values, config.templates)
    fault = {"type": "string", "maxLength": FAULT_CHARS}
    score = {"type": "integer", "minimum": 1, "maximum": 5}
    fields = {"faults": {"type": "array", "items": fault, "maxItems": MAX_FAULTS}, **dict.fromkeys(CRITERIA, score)}
    return content_request(
        messages,
        KIND,
        object_schema(fields),
        model=request_model(config),
        max_tokens=config.max_tokens,
        limit_in_id=DEFAULT_MAX_TOKENS,
    )


def read_rubric(text: str) -> Scores | None:
    """The scores in an answer; None unless all three are numbers from 1 to 5."""
    value = read_object(text)
    if value is None:
        return None
    correctness, clarity, worth = (read_level(value.get(name)) for name in CRITERIA)
    if correctness is None or clarity is None or worth is None:
        return None
    given = value.get("faults")
    listed = given if isinstance(given, list) else []
    texts = [" ".join(fault.split())[:FAULT_CHARS] for fault in listed if isinstance(fault, str)]
    return Scores(correctness, clarity, worth, tuple(filter(None, texts))[:MAX_FAULTS])
