"""Checks of the options of a multiple choice question, and of options where there should be none."""

from __future__ import annotations

import re
from collections import Counter

from linksyn_gpu.quality.checks.row import Row

FOLLOWING = re.compile(
    r"\b(?:which|what|any|one|each|all|none)(?: \w+){0,3} of (?:the )?(?:followings?|options"
    r"|statements below|choices)\b|\b(?:choose|select|pick) the (?:\w+ )?(?:correct|right|best|true)\b"
    r"|\bwhich (?:statement|option|choice|answer)\b|下列|下面.{0,10}[哪是]|以下.{0,10}[哪是]|选项中",
    re.IGNORECASE,
)
LISTED = re.compile(r"[:：;；]|\n|\([a-zA-Z0-9]\)|[①②]|[（(][一二1ⅠI][)）]|\bor\b|、.*[、和与]|还是|或", re.DOTALL)
"""Signs of a list in the question itself."""
CATCH_ALL = re.compile(
    r"\W{0,5}(?:[A-H][.)] ?)?(?:"
    r"(?:all|none|both|neither|any|either|two|three)(?: of)? (?:the )?(?:above|these|them|answers?|choices|options|"
    r"statements|foregoing)\b.{0,30}|both [a-e] and [a-e]|[a-e] and [a-e]"
    r"|以上.{0,8}|上述.{0,8}|[A-E][和与、及][A-E](?:都|均|皆)?(?:正确|对|是)?)\W{0,5}",
    re.IGNORECASE,
)
"""An option that speaks of the others."""
LETTERED = re.compile(r"(?:^|[\s;,，；。．.?？:：)$~])(?:[-*•] ?)?([(（]?)([A-H])([)）.、:：])(?=\s?\S)")


def missing_options(row: Row) -> str | None:
    """A multiple choice question with fewer than two options, or an open one that speaks of options."""
    item = row.item
    if row.multiple_choice:
        return f"{len(item.options)} options" if len(item.options) < 2 else None
    if not item.options and (match := FOLLOWING.search(item.question)):
        rest = item.question[match.end() :]
        listed = LISTED.search(rest) or rest.count(",") >= 2 or "|" in rest
        return None if listed else match[0]
    return None


def options_in_question(row: Row) -> str | None:
    """An open question contains its options: the letters A, B, C in the same form."""
    if row.multiple_choice or TO_MATCH.search(row.item.question):
        return None
    wanted: dict[tuple[str, str], int] = {}
    for match in LETTERED.finditer(row.item.question):
        form = match[1], match[3]
        if match[2] == "ABCDEFGH"[wanted.get(form, 0)]:
            wanted[form] = wanted.get(form, 0) + 1
            if wanted[form] == MIN_LETTERED:
                return row.item.question[match.start() :][:80]
    return None


TO_MATCH = re.compile(r"\||_{2,}[^\W_]|\bmatch", re.IGNORECASE)
"""Signs of an exercise that matches two lists."""
MIN_LETTERED = 3


def empty_option(row: Row) -> str | None:
    """An option has no text."""
    if not row.multiple_choice or all(row.options.values()):
        return None
    return f"option {list(row.options.values()).index('') + 1}"


def duplicate_options(row: Row) -> str | None:
    """Two options are the same."""
    texts = row.options.values()
    if not row.multiple_choice or len(set(texts)) == len(texts):
        return None
    return Counter(texts).most_common(1)[0][0][:80]


def answer_not_in_options(row: Row) -> str | None:
    """The answer names none of the options, or several."""
    return row.item.answer[:80] if row.multiple_choice and row.right is None else None


def catch_all_option(row: Row) -> str | None:
    """The right option is "all of the above", "none of these" or "both A and B"."""
    if not row.multiple_choice or row.right is None:
        return None
    right = row.item.options[row.right]
    return right if len(right) < MAX_CATCH_ALL and CATCH_ALL.fullmatch(right) else None


MAX_CATCH_ALL = 40
