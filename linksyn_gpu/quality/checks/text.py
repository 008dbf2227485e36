"""Checks of any text of a QA: complete, clean, in the right language."""

from __future__ import annotations

import re

from linksyn_gpu.quality.checks.row import Row
from linksyn_gpu.quality.repetition import repetition
from linksyn_gpu.tables import cut_field
from linksyn_gpu.text.languages import other_language

PLACEHOLDER = re.compile(
    r"\W{0,3}(?:your|insert|insert the|insert your) (?:NAME)(?: text)?(?: goes)?(?: here)?\W{0,3}"
    r"|\W{0,3}(?:the |new )?(?:NAME)(?: text)?(?: goes)? here\W{0,3}|[<\[{]+ *(?:NAME) *[>\]}]+".replace(
        "NAME", "question|answer|explanation|option"
    ),
    re.IGNORECASE,
)
"""A whole text that is a placeholder: "The answer goes here", "<answer>"."""


def cut_text(row: Row) -> str | None:
    """A text is as long as the schema allows: it was cut off there."""
    limits = row.asked.limits
    return None if limits is None else cut_field(row.item, limits)


def placeholder(row: Row) -> str | None:
    """A text is a placeholder."""
    for text in (row.item.question, row.item.answer):
        if match := PLACEHOLDER.fullmatch(text):
            return match.group(0)
    return None


def degenerate(row: Row) -> str | None:
    """A text repeats itself."""
    for _, text in row.texts:
        if repeated := repetition(text):
            return repeated
    return None


def wrong_language(row: Row) -> str | None:
    """The question is not in the language asked for."""
    return other_language(row.item.question, row.asked.language)
