"""Knowledge points, discipline and difficulty of seeds by a language model: requests out, checked answers in.

One request a seed, in the seed's language, with a JSON schema; many in flight, so that a server batches them. A
request's id is a digest of its content: equal seeds are asked once, and a journal that has an answer is not asked
again. An answer that does not fit is asked again by the client, and then recorded with its reason; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from linksyn_gpu.knowledge.extract.plain_text import is_name
from linksyn_gpu.knowledge.merge.normal_form import key_of, normal_form
from linksyn_gpu.knowledge.prompting import make_request
from linksyn_gpu.llm.json_answer import read_level, read_object
from linksyn_gpu.llm.prompting import object_schema
from linksyn_gpu.taxonomy.difficulty import LEVELS
from linksyn_gpu.taxonomy.disciplines import UNKNOWN, Taxonomy

MAX_NAME = 60
REASONS = {
    "invalid_json": "the answer is not the JSON object asked for",
    "no_knowledge_points": "the answer names no knowledge point that could be one",
    "prompt_too_long": "the prompt is longer than max_prompt_chars, or than the model can take",
    "no_answer": "the request has no answer yet",
}
"""Why a seed was not labelled, beside the reasons of `llm.protocol`."""


@dataclass(frozen=True)
class Labels:
    """What a model said of a seed. Confidences are the model's own, 0..1, or None where it gave none."""

    names: tuple[str, ...]
    confidences: tuple[float | None, ...]
    discipline: str = UNKNOWN
    discipline_confidence: float | None = None
    difficulty: int | None = None
    difficulty_confidence: float | None = None


def extraction_request(
    seed: Mapping[str, Any], taxonomy: Taxonomy, *, most: int = 8, templates: str | None = None, model: str = "auto"
) -> dict[str, Any]:
    """The request that asks for a seed's labels."""
    language = "zh" if (seed.get("language") or "en").casefold().startswith("zh") else "en"
    shown = {part: seed[part] for part in ("question", "options", "answer") if seed.get(part)}
    values = {"seed": shown, "disciplines": taxonomy.leaves, "levels": LEVELS[language], "most": most}
    schema = answer_schema(taxonomy, most)
    return make_request(f"extract.{language}.jinja", values, schema, templates=templates, model=model)


def answer_schema(taxonomy: Taxonomy, most: int) -> dict[str, Any]:
    """JSON schema of an answer."""
    percent = {"type": "integer", "minimum": 0, "maximum": 100}
    name = {"type": "string", "minLength": 1, "maxLength": MAX_NAME}
    point = object_schema({"name": name, "confidence": percent})
    return object_schema(
        {
            "knowledge_points": {"type": "array", "items": point, "minItems": 1, "maxItems": most},
            "discipline": {"enum": [*taxonomy.leaves, UNKNOWN]},
            "discipline_confidence": percent,
            "difficulty": {"type": "integer", "minimum": 1, "maximum": 5},
            "difficulty_confidence": percent,
        }
    )


def read_labels(text: str, taxonomy: Taxonomy, most: int = 8) -> Labels | str:
    """The labels in an answer, or the reason (of `REASONS`) why there are none.

    A discipline outside the taxonomy is mapped as any label is; a difficulty that is no level is left out.
    """
    value = read_object(text)
    if value is None:
        return "invalid_json"
    points: dict[str, tuple[str, float | None]] = {}
    listed = value.get("knowledge_points")
    for point in listed if isinstance(listed, list) else ():
        name, confidence = (point.get("name"), point.get("confidence")) if isinstance(point, dict) else (point, None)
        if isinstance(name, str) and is_name(name := " ".join(name.split()).rstrip(",;: ")) and len(name) < MAX_NAME:
            points.setdefault(key_of(normal_form(name)), (name, share(confidence)))
    if not points:
        return "no_knowledge_points"
    kept: Sequence[tuple[str, float | None]] = list(points.values())[:most]
    label, level = value.get("discipline"), value.get("difficulty")
    level = read_level(level)
    return Labels(
        tuple(name for name, _ in kept),
        tuple(confidence for _, confidence in kept),
        taxonomy.map_label(label) if isinstance(label, str) else UNKNOWN,
        share(value.get("discipline_confidence")),
        level,
        share(value.get("difficulty_confidence")) if level is not None else None,
    )


def share(value: Any) -> float | None:
    """A confidence in percent as 0..1; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 100:
        return None
    return value / 100
