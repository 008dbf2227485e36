"""Checks of the options of a multiple choice question."""

from __future__ import annotations

from collections import Counter

from linksyn_gpu.quality.checks.row import Row
from linksyn_gpu.quality.options import by_letter, match_option, plain_answer


def missing_options(row: Row) -> str | None:
    """A multiple choice question with fewer than two options."""
    if row.multiple_choice and len(row.item.options) < 2:
        return f"{len(row.item.options)} options"
    return None


def empty_option(row: Row) -> str | None:
    """An option has no text."""
    if not row.multiple_choice:
        return None
    texts = [plain_answer(text) for text in by_letter(row.item.options).values()]
    return None if all(texts) else f"option {texts.index('') + 1}"


def duplicate_options(row: Row) -> str | None:
    """Two options are the same."""
    if not row.multiple_choice:
        return None
    texts = [plain_answer(text) for text in by_letter(row.item.options).values()]
    return Counter(texts).most_common(1)[0][0][:80] if len(set(texts)) < len(texts) else None


def answer_not_in_options(row: Row) -> str | None:
    """The answer names none of the options, or several."""
    if row.multiple_choice and match_option(row.item.answer, row.item.options) is None:
        return row.item.answer[:80]
    return None
