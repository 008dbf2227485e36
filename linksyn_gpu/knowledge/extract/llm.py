"""Knowledge points, discipline and difficulty of seeds by a language model: requests and their checked answers.

There is one request per seed, in the seed's language, with a JSON schema. A request's id is the hash of its content:
equal seeds share one request, and a request with an answer in the journal is not sent again. The client repeats a
request whose answer is invalid; after that the seed is recorded with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linksyn_gpu.knowledge.extract.plain_text import is_name
from linksyn_gpu.knowledge.merge.normal_form import merge_key, normal_form
from linksyn_gpu.llm.json_answer import read_level, read_object
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
    "no_answer": "the request has no answer yet",
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

    A discipline is mapped to the taxonomy like any label; an invalid difficulty is left out.
    """
    value = read_object(text)
    if value is None:
        return "invalid_json"
    points: dict[str, tuple[str, float | None]] = {}
    listed = value.get("knowledge_points")
    for point in listed if isinstance(listed, list) else ():
        name, confidence = (point.get("name"), point.get("confidence")) if isinstance(point, dict) else (point, None)
        if isinstance(name, str) and is_name(name := " ".join(name.split()).rstrip(",;: ")) and len(name) < MAX_NAME:
            points.setdefault(merge_key(normal_form(name)), (name, share(confidence)))
    if not points:
        return "no_knowledge_points"
    kept: Sequence[tuple[str, float | None]] = list(points.values())[:most]
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
