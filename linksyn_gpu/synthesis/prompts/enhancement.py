"""The prompt that has a question made harder, and what names the prompts of stage `enhance` by their content."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linksyn_gpu.llm.prompting import Messages, fixed_words, read_templates, render_messages
from linksyn_gpu.synthesis.prompts import ENHANCEMENT, TEMPLATES, Task, shown_seed
from linksyn_gpu.taxonomy.difficulty import LEVELS


@dataclass(frozen=True)
class Rewriting:
    """A question that is to become harder."""

    task: Task
    """Seeds and path after the extension, and the level asked for."""
    original: Mapping[str, Any]
    """Its question, options and answer."""
    reasons: Sequence[str]
    """Why it is not what was asked for."""
    failures: Sequence[Mapping[str, Any]] = ()
    """Earlier attempts: each with its question and what was wrong with it."""


def render_rewriting(rewriting: Rewriting, templates: str | None = None) -> Messages:
    """Chat messages that ask for one harder question; see `rendering.render_messages`."""
    task = rewriting.task
    assert task.difficulty is not None
    original = {part: rewriting.original[part] for part in ("question", "options", "answer")}
    values = {
        "seeds": [shown_seed(seed, task.question_type) for seed in task.seeds],
        "kp_path": list(task.kp_path),
        "discipline": task.discipline,
        "difficulty": task.difficulty,
        "level": LEVELS[task.language][task.difficulty],
        "question_type": task.question_type,
        "original": {part: value for part, value in original.items() if value},
        "reasons": list(rewriting.reasons),
        "failures": list(rewriting.failures),
    }
    return render_messages(TEMPLATES, f"enhance.{task.language}.jinja", values, templates)


@functools.lru_cache(maxsize=8)
def enhancement_digest(templates: str | None = None) -> str:
    """Name the prompts of the stage by their content (templates, level definitions): 16 hex digits of SHA-256."""
    content = json.dumps([_sources(templates), {k: dict(v) for k, v in LEVELS.items()}])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def enhancement_instructions(templates: str | None = None) -> str:
    """The fixed words of the stage's templates and levels: what a rewritten question must not echo."""
    levels = (text for language in LEVELS.values() for text in language.values())
    return "\n".join([*map(fixed_words, _sources(templates)), *levels])


def _sources(templates: str | None) -> list[str]:
    """Texts of the user's templates but for those of stage `synthesize`, then the package's for this stage."""
    own = [] if templates is None else read_templates(Path(templates))
    texts = [text for name, text in own if name.partition(".")[0] != "synthesize"]
    return texts + [text for name, text in read_templates(TEMPLATES) if name.partition(".")[0] in ENHANCEMENT]
