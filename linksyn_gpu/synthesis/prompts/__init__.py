"""Prompts: Jinja templates that turn a bundle of linked seeds into chat messages, and the answer's schema.

Templates run in a sandbox and escape what they print, so the text of a seed can neither close the data section
nor reach Python. A user's folder overrides them by file name; `default/NAME` still names the package's own, so a
template may begin with `{% extends "default/synthesize.en.jinja" %}` and replace single blocks.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linksyn_gpu.llm.prompting import Messages, fixed_words, read_templates, render_messages
from linksyn_gpu.taxonomy.difficulty import LEVELS

TEMPLATES = Path(__file__).parent / "templates"
LANGUAGES = ("en", "zh")
ENHANCEMENT = ("judge", "solve", "compare", "enhance")
"""Templates of stage `enhance`, by what stands before the language in their file names."""


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
    """Chat messages for a task.

    Parameters
    ----------
    templates : str, optional
        Folder with the user's own templates, found by file name before the package's.

    Raises
    ------
    ConfigError
        A template is missing, wrong, uses a name that is not there, or tries to leave the sandbox.
    """
    values = {
        "seeds": [shown_seed(seed, task.question_type) for seed in task.seeds],
        "kp_path": list(task.kp_path),
        "discipline": task.discipline,
        "difficulty": task.difficulty,
        "level": LEVELS[task.language].get(task.difficulty) if task.difficulty else None,
        "question_type": task.question_type,
        "n": task.n,
    }
    return render_messages(TEMPLATES, f"synthesize.{task.language}.jinja", values, templates)


def prompt_digest(templates: str | None = None) -> str:
    """Name the prompts by their content (templates, level definitions, schema): 16 hex digits of SHA-256."""
    return _digest(templates)


def instruction_text(templates: str | None = None) -> str:
    """The fixed words of all templates and levels, without any seed: what an answer must not echo."""
    parts = [fixed_words(text) for text in _sources(templates)]
    return "\n".join([*parts, *(text for levels in LEVELS.values() for text in levels.values())])


def answer_schema(task: Task, limit: int | None = None) -> dict[str, Any]:
    """JSON schema of an answer: `{"qa": [...]}` with exactly `task.n` items.

    Parameters
    ----------
    limit : int, optional
        Longest question in characters, and tight bounds on all else (`text_limits`): small models end their
        strings only where a grammar makes them. A text that fills its room was cut off in mid-sentence, which
        `quality.checks` looks for. None: no bounds, and the knowledge points are free.
    """
    text: dict[str, Any] = {"type": "string"}
    kps: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
    question, explanation, answer, option, discipline = text, text, text, text, text
    if (rooms := text_limits(limit)) is not None:
        question, explanation, answer, option = (
            {"type": "string", "maxLength": rooms[name]} for name in ("question", "explanation", "answer", "options")
        )
        names = list(dict.fromkeys(task.kp_path))
        kps = {"type": "array", "items": {"enum": names}, "minItems": 1, "maxItems": min(3, len(names))}
        discipline = {"enum": [task.discipline]} if task.discipline else {"type": "string", "maxLength": 40}
    options = {"type": "array", "items": option, "minItems": 4, "maxItems": 4}
    # The explanation stands before the answer, so that a model without thinking reasons before it decides.
    fields = {
        "question": question,
        "options": options,
        "explanation": explanation,
        "answer": answer,
        "knowledge_points": kps,
        "discipline": discipline,
        "difficulty": {"type": "integer", "minimum": 1, "maximum": 5},
    }
    if task.question_type != "multiple_choice":
        del fields["options"]
    item = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    items = {"type": "array", "items": item, "minItems": task.n, "maxItems": task.n}
    return {
        "type": "object",
        "properties": {"qa": items},
        "required": ["qa"],
        "additionalProperties": False,
    }


def text_limits(limit: int | None) -> dict[str, int] | None:
    """Longest text of each field of an item, in characters, under a schema with `limit`; None: no bounds."""
    if limit is None:
        return None
    return {
        "question": limit,
        "explanation": max(60, 2 * limit // 3),
        "answer": max(60, 2 * limit // 3),
        "options": max(40, limit // 3),
    }


def shown_seed(seed: Mapping[str, Any], question_type: str) -> dict[str, Any]:
    """What a prompt shows of a seed. Options only where they serve as a model: they are many tokens."""
    parts = ["question", "options", "answer"] if question_type == "multiple_choice" else ["question", "answer"]
    return {part: seed[part] for part in parts if seed.get(part)}


def _sources(templates: str | None) -> list[str]:
    """Texts of the user's templates, then the package's; those of stage `enhance` are no concern of this prompt."""
    own = [] if templates is None else read_templates(Path(templates))
    every = [*own, *read_templates(TEMPLATES)]
    return [text for name, text in every if name.partition(".")[0] not in ENHANCEMENT]


@functools.lru_cache(maxsize=8)
def _digest(templates: str | None) -> str:
    sample = Task((), ("a", "b"), "c", 1, "multiple_choice", "en")
    schema = [answer_schema(sample, limit) for limit in (None, 400)]
    content = json.dumps([_sources(templates), {k: dict(v) for k, v in LEVELS.items()}, schema])
    return hashlib.sha256(content.encode()).hexdigest()[:16]
