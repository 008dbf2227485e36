"""Prompts that ask for new QA: a bundle of linked seeds -> chat messages, and the JSON schema of the answer.

`llm.prompting` describes how templates are found and why a seed's text cannot leave the data section.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linksyn_gpu.llm.prompting import (
    Messages,
    fixed_words,
    object_schema,
    prompt_digest,
    render_messages,
    stage_templates,
)
from linksyn_gpu.taxonomy.difficulty import LEVELS

TEMPLATES = Path(__file__).parent / "templates"
LANGUAGES = ("en", "zh")
KIND = "synthesize"
OTHER_KINDS = ("judge", "solve", "compare", "enhance", "score")
"""Kinds of templates that stage `enhance` uses."""


@dataclass(frozen=True)
class Task:
    """What one request asks for."""

    seeds: Sequence[Mapping[str, Any]]
    """The linked seeds, as `Seeds.__getitem__` gives them."""
    kp_path: Sequence[str]
    """Knowledge points of the path, in its order."""
    discipline: str | None
    difficulty: int | None
    """Level 1..5, or None: the seeds' own."""
    question_type: str
    """One of `config.QUESTION_TYPES`."""
    language: str
    """'en' or 'zh'."""
    n: int = 1
    """New QA asked for."""


def render(task: Task, templates: str | None = None) -> Messages:
    """Chat messages for a task; `templates` and errors as in `llm.prompting.render_messages`."""
    return render_messages(TEMPLATES, f"{KIND}.{task.language}.jinja", {**task_values(task), "n": task.n}, templates)


def task_values(task: Task) -> dict[str, Any]:
    """Names that the templates for writing a QA use."""
    return {
        "seeds": [_shown_seed(seed, task.question_type) for seed in task.seeds],
        "kp_path": list(task.kp_path),
        "discipline": task.discipline,
        "difficulty": task.difficulty,
        "level": LEVELS[task.language].get(task.difficulty) if task.difficulty else None,
        "question_type": task.question_type,
    }


@functools.lru_cache(maxsize=8)
def synthesis_digest(templates: str | None = None) -> str:
    """Hash of the templates, level definitions and schema."""
    sample = Task((), ("a", "b"), "c", 1, "multiple_choice", "en")
    schema = [answer_schema(sample, limit) for limit in (None, 400)]
    return prompt_digest(json.dumps([_sources(templates), LEVELS, schema]))


def instruction_text(templates: str | None = None) -> str:
    """The fixed text of the prompts, which an answer must not repeat."""
    return fixed_text(_sources(templates))


def fixed_text(templates: Sequence[str]) -> str:
    """The fixed text of templates and of the level definitions."""
    levels = (text for language in LEVELS.values() for text in language.values())
    return "\n".join([*map(fixed_words, templates), *levels])


def answer_schema(task: Task, limit: int | None = None) -> dict[str, Any]:
    """JSON schema of an answer: `{"qa": [...]}` with exactly `task.n` items. It is shared; do not change it.

    Parameters
    ----------
    limit : int, optional
        Longest question in characters; the other fields get limits in proportion (`text_limits`). Small models end
        their strings only where a grammar makes them. A text of the full length was cut off in mid-sentence, and
        `quality.checks` drops it. None: no limits, and the knowledge points are free.
    """
    if limit is None:
        return _free_schema(task.question_type, task.n)
    return _schema(task.question_type, task.n, limit, list(dict.fromkeys(task.kp_path)), task.discipline)


@functools.lru_cache(maxsize=64)
def _free_schema(question_type: str, n: int) -> dict[str, Any]:
    """The schema without limits, which is the same for all paths."""
    return _schema(question_type, n, None, [], None)


def _schema(
    question_type: str, n: int, limit: int | None, kp_names: list[str], discipline_asked: str | None
) -> dict[str, Any]:
    text: dict[str, Any] = {"type": "string"}
    kps: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
    question, explanation, answer, option, discipline = text, text, text, text, text
    if (limits := text_limits(limit)) is not None:
        question, explanation, answer, option = (
            {"type": "string", "maxLength": limits[name]} for name in ("question", "explanation", "answer", "options")
        )
        kps = {"type": "array", "items": {"enum": kp_names}, "minItems": 1, "maxItems": min(3, len(kp_names))}
        discipline = {"enum": [discipline_asked]} if discipline_asked else {"type": "string", "maxLength": 40}
    options = {"type": "array", "items": option, "minItems": 4, "maxItems": 4}
    # The explanation comes before the answer: a model without a thinking mode then reasons before it decides.
    fields = {
        "question": question,
        "options": options,
        "explanation": explanation,
        "answer": answer,
        "knowledge_points": kps,
        "discipline": discipline,
        "difficulty": {"type": "integer", "minimum": 1, "maximum": 5},
    }
    if question_type != "multiple_choice":
        del fields["options"]
    items = {"type": "array", "items": object_schema(fields), "minItems": n, "maxItems": n}
    return object_schema({"qa": items})


def text_limits(limit: int | None) -> dict[str, int] | None:
    """Longest text of each field of an item, in characters, under a schema with `limit`; None: no limits."""
    if limit is None:
        return None
    return {
        "question": limit,
        "explanation": max(60, 2 * limit // 3),
        "answer": max(60, 2 * limit // 3),
        "options": max(40, limit // 3),
    }


def _shown_seed(seed: Mapping[str, Any], question_type: str) -> dict[str, Any]:
    """The parts of a seed that a prompt shows. Options only for multiple choice tasks: they cost many tokens."""
    parts = ["question", "options", "answer"] if question_type == "multiple_choice" else ["question", "answer"]
    return {part: seed[part] for part in parts if seed.get(part)}


def _sources(templates: str | None) -> list[str]:
    return stage_templates([TEMPLATES], [KIND], templates, OTHER_KINDS)
