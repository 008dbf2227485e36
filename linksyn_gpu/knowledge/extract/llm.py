"""Knowledge points, discipline and difficulty of seeds by a language model: requests and their checked answers.

There is one request per seed, in the seed's language, with a JSON schema. A request's id is the hash of its content:
equal seeds share one request, and a request with an answer in the journal is not sent again. The client repeats a
request whose answer is invalid; after that the seed is recorded with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linksyn_gpu.knowledge.extract.plain_text import is_name
from linksyn_gpu.knowledge.merge.normal_form import merge_key, normal_form
from linksyn_gpu.llm.json_answer import TruncatedAnswer, json_values, read_level
from linksyn_gpu.llm.prompting import content_request, object_schema, render_messages
from linksyn_gpu.taxonomy.difficulty import LEVELS
from linksyn_gpu.taxonomy.disciplines import UNKNOWN, Taxonomy

TEMPLATES = Path(__file__).parents[1] / "templates"
MAX_NAME = 60
PERCENT = {"type": "integer", "minimum": 0, "maximum": 100}
REASONS = {
    "invalid_json": "the answer is not the requested JSON object",
    "no_knowledge_points": "the answer has no usable knowledge point",
    "prompt_too_long": "the prompt is longer than max_prompt_chars or the context of the model",
}
"""Why a seed was not labelled, in addition to the reasons of `llm.protocol`."""


@dataclass(frozen=True)
class Labels:
    """A model's labels of a seed. Confidences are the model's own, 0..1, or None if it gave none."""

    names: tuple[str, ...]
    confidences: tuple[float | None, ...]
    discipline: str = UNKNOWN
    discipline_confidence: float | None = None
    difficulty: int | None = None
    difficulty_confidence: float | None = None


def extraction_request(
    seed: Mapping[str, Any], taxonomy: Taxonomy, *, most: int = 8, templates: str | None = None
) -> dict[str, Any]:
    """Request for the labels of a seed."""
    language = "zh" if (seed.get("language") or "en").casefold().startswith("zh") else "en"
    shown = {part: seed[part] for part in ("question", "options", "answer") if seed.get(part)}
    values = {"seed": shown, "disciplines": taxonomy.leaves, "levels": LEVELS[language], "most": most}
    messages = render_messages(TEMPLATES, f"extract.{language}.jinja", values, templates)
    return content_request(messages, "extract", labels_schema(taxonomy, most))


def labels_schema(taxonomy: Taxonomy, most: int) -> dict[str, Any]:
    """JSON schema of an answer."""
    name = {"type": "string", "minLength": 1, "maxLength": MAX_NAME}
    point = object_schema({"name": name, "confidence": PERCENT})
    return object_schema(
        {
            "knowledge_points": {"type": "array", "items": point, "minItems": 1, "maxItems": most},
            "discipline": {"enum": [*taxonomy.leaves, UNKNOWN]},
            "discipline_confidence": PERCENT,
            "difficulty": {"type": "integer", "minimum": 1, "maximum": 5},
            "difficulty_confidence": PERCENT,
        }
    )


def read_labels(text: str, taxonomy: Taxonomy, most: int = 8) -> Labels | str:
    """Labels of an answer, or the reason (of `REASONS`) why it has none.

    The first object with a usable name counts: prose, an example, or a bare list of names around it do no harm. A
    discipline is mapped to the taxonomy like any label; an invalid difficulty is left out.
    """
    reason = "invalid_json"
    try:
        for value in json_values(text):
            for answer in _answers(value):
                if points := _points(answer["knowledge_points"]):
                    return _labels(answer, points[:most], taxonomy)
            reason = "no_knowledge_points"
    except TruncatedAnswer:
        return "invalid_json"
    return reason


def _answers(value: Any) -> Iterator[Mapping[str, Any]]:
    """Objects with the key 'knowledge_points' in a decoded value; a bare list of names is read as one."""
    if isinstance(value, list):
        yield {"knowledge_points": value}
    for inner in value if isinstance(value, list) else (value, *value.values()):
        if isinstance(inner, dict) and "knowledge_points" in inner:
            yield inner


def _points(listed: Any) -> Sequence[tuple[str, float | None]]:
    """Usable names with their confidences, each name once."""
    points: dict[str, tuple[str, float | None]] = {}
    for point in listed if isinstance(listed, list) else ():
        name, confidence = (point.get("name"), point.get("confidence")) if isinstance(point, dict) else (point, None)
        if isinstance(name, str) and is_name(name := " ".join(name.split()).rstrip(",;: ")) and len(name) < MAX_NAME:
            points.setdefault(merge_key(normal_form(name)), (name, share(confidence)))
    return list(points.values())


def _labels(value: Mapping[str, Any], kept: Sequence[tuple[str, float | None]], taxonomy: Taxonomy) -> Labels:
    label, level = value.get("discipline"), read_level(value.get("difficulty"))
    return Labels(
        tuple(name for name, _ in kept),
        tuple(confidence for _, confidence in kept),
        taxonomy.map_label(label) if isinstance(label, str) else UNKNOWN,
        share(value.get("discipline_confidence")),
        level,
        share(value.get("difficulty_confidence")) if level is not None else None,
    )


def share(value: Any) -> float | None:
    """A confidence in percent as 0..1; None if it is not a number in 0..100."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 100:
        return None
    return value / 100
