"""Prompts of this package: Jinja templates to requests in the OpenAI batch format, named by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linksyn_gpu.llm.prompting import content_request, render_messages

TEMPLATES = Path(__file__).parent / "templates"


def make_request(
    template: str,
    values: Mapping[str, Any],
    schema: Mapping[str, Any],
    *,
    templates: str | None = None,
    model: str = "auto",
    max_tokens: int = 512,
) -> dict[str, Any]:
    """Make a line of the OpenAI batch format; its id is a digest of its content, so one question is asked once.

    Raises
    ------
    ConfigError
        A template cannot be read or rendered; the message names it.
    """
    messages = render_messages(TEMPLATES, template, values, templates)
    return content_request(messages, template.partition(".")[0], schema, model=model, max_tokens=max_tokens)


def prompts_digest(templates: str | None = None) -> str:
    """Name the templates of this package, and a user's of the same names, by their content."""
    texts = []
    for path in sorted(TEMPLATES.glob("*.jinja")):
        own = Path(templates) / path.name if templates is not None else path
        texts.append((own if own.is_file() else path).read_text(encoding="utf-8"))
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
