"""Options of a multiple choice question: their labels and texts, and which one an answer names."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase

from linksyn_gpu.text.latex import POWERS

SHORT = 6
"""In a shorter text, case counts: CO is not Co."""
LABEL = re.compile(r"\s*[(（]?([A-Ha-h])[)）.．:：、]\s*")
LETTER = re.compile(r"(?:the answer is |answer:? |option |答案是?)?[(（]?([a-h])[)）]?", re.IGNORECASE)
CASE_COUNTS = re.compile(r"\d|[A-Z](?![a-z]{2})")
"""A digit, or a capital that does not begin a word: CO, Yy, P.M."""


def fold(text: str) -> str:
    """The form in which texts are compared: NFKC, case folding, and a single space for each run of white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@functools.lru_cache(maxsize=1024)
def plain_answer(text: str) -> str:
    """The form in which answers and options are compared.

    NFKC; white space, "$" and a final stop make no difference. Case is folded only in texts of at least `SHORT`
    characters without a digit and without capitals inside or instead of words.
    """
    # LaTeX keeps its braces: without them x^{2y} would be x^2y.
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(POWERS))
    plain = " ".join(text.replace("$", "").split())
    plain = plain.rstrip(" .。") or plain  # a text may be a single stop
    return plain if len(plain) < SHORT or CASE_COUNTS.search(plain) else fold(plain)


def split_label(option: str) -> tuple[str | None, str]:
    """Split 'B. text' into ('B', 'text'); without a label: (None, text)."""
    match = LABEL.match(option)
    if match is None:
        return None, option.strip()
    return match.group(1).upper(), option[match.end() :].strip()


def by_letter(options: Sequence[str]) -> dict[str, str]:
    """Options by their letters: their own labels if all have different ones, otherwise A, B, C by position.

    A label that is not the option's letter belongs to the text: 'B. F. Skinner' as the third option.
    """
    parts = [split_label(option) for option in options]
    labels = [label for label, _ in parts if label is not None]
    if len(set(labels)) == len(parts):
        return dict(zip(labels, (text for _, text in parts), strict=True))
    letters = [*ascii_uppercase, *map(str, range(len(ascii_uppercase) + 1, len(parts) + 1))][: len(parts)]
    return {
        letter: text if label == letter else option.strip()
        for letter, option, (label, text) in zip(letters, options, parts, strict=True)
    }


def match_option(answer: str, options: Sequence[str]) -> int | None:
    """Index of the option that an answer names, by its whole text or its letter; None if it names none or several."""
    lettered = by_letter(options)
    texts = list(lettered.values())
    for form in (plain_answer, fold):
        candidates = list(filter(None, map(form, (answer, split_label(answer)[1]))))
        # The text of an option may itself look labelled, such as the order "E, C, B".
        for choices in (texts, options) if texts != list(options) else (texts,):
            forms = list(map(form, choices))
            for candidate in candidates:
                if forms.count(candidate) == 1:
                    return forms.index(candidate)
    bare = LETTER.fullmatch(fold(answer).rstrip(" .。:："))
    return None if bare is None or bare[1].upper() not in lettered else list(lettered).index(bare[1].upper())
