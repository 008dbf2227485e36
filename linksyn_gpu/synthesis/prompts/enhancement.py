"""The prompt that asks for a harder version of a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from linksyn_gpu.llm.prompting import Messages, render_messages
from linksyn_gpu.synthesis.prompts import TEMPLATES, Task, task_values


@dataclass(frozen=True)
class Rewriting:
    """A question to make harder."""

    task: Task
    """Seeds and path after the extension, and the target level."""
    original: Mapping[str, Any]
    """Its question, options and answer."""
    reasons: Sequence[str]
    """What is wrong with it."""
    failures: Sequence[Mapping[str, Any]] = ()
    """Earlier attempts, each with its question and what is wrong with it."""


def render_rewriting(rewriting: Rewriting, templates: str | None = None) -> Messages:
    """Chat messages that ask for one harder question; see `llm.prompting.render_messages`."""
    task = rewriting.task
    original = {part: rewriting.original[part] for part in ("question", "options", "answer")}
    values = {
        **task_values(task),
        "original": {part: value for part, value in original.items() if value},
        "reasons": list(rewriting.reasons),
        "failures": list(rewriting.failures),
    }
    return render_messages(TEMPLATES, f"enhance.{task.language}.jinja", values, templates)
