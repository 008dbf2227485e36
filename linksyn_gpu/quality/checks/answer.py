"""Checks of the answer: that it is one, of the kind asked for, and that the explanation supports it."""

from __future__ import annotations

from linksyn_gpu.quality.checks.row import Row
from linksyn_gpu.quality.options import fold

PUNCTUATION = frozenset(".,;:!?…\"'()[]{}_-–—~。，、；：！？“”‘’（）【】《》")


def empty_answer(row: Row) -> str | None:
    """The answer is empty or only punctuation; signs without any punctuation are an answer: "+", "∅", "≥"."""
    answer = row.item.answer
    says_nothing = not any(map(str.isalnum, answer)) and not PUNCTUATION.isdisjoint(answer)
    return answer[:80] if not answer or (says_nothing and answer not in row.item.options) else None


def answer_is_question(row: Row) -> str | None:
    """The answer only repeats the question."""
    return row.item.answer[:80] if fold(row.item.answer) == fold(row.item.question) else None
