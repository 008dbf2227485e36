"""Options of a multiple choice question: their labels and texts, and which one an answer names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase

from linksyn_gpu.text.latex import POWERS

SHORT = 6
"""Characters of a text in which case always counts: CO is not Co."""
LABEL = re.compile(r"\s*[(（]?([A-Ha-h])[)）.．:：、]\s*")
LETTER = re.compile(r"(?:the answer is |answer:? |option |答案是?)?[(（]?([a-h])[)）]?", re.IGNORECASE)
CAPITAL = re.compile(r"[A-Z](?![a-z]{2})")
"""A capital that begins no word: CO, Yy, P.M."""


def fold(text: str) -> str:
    """The form in which questions are compared: NFKC, case folded, each run of white space one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def plain_answer(text: str) -> str:
    """The form in which answers and options are compared.

    NFKC, white space, "$" and a final stop are made equal. Case is folded only where it carries no meaning: in texts
    of `SHORT` characters and more that hold neither digits nor capitals but at the beginning of words.
    """
    # LaTeX keeps its braces: without them x^{2y} would be x^2y.
    plain = " ".join(unicodedata.normalize("NFKC", text.translate(POWERS)).replace("$", "").split())
    plain = plain.rstrip(" .。") or plain  # a stop alone is a text
    case_counts = len(plain) < SHORT or CAPITAL.search(plain) or any(map(str.isdigit, plain))
    return plain if case_counts else fold(plain)


def split_label(option: str) -> tuple[str | None, str]:
    """Part 'B. text' into ('B', 'text'); without a label (None, text)."""
    match = LABEL.match(option)
    if match is None:
        return None, option.strip()
    return match.group(1).upper(), option[match.end() :].strip()


def by_letter(options: Sequence[str]) -> dict[str, str]:
    """Options under their letters: their own labels where all have different ones, otherwise A, B, C by place.

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
    """Which option an answer names, by its whole text or by its letter; None when none or not one alone."""
    lettered = by_letter(options)
    for form in (plain_answer, fold):
        # With its label or without: the text of an option, such as the order "E, C, B", may look labelled.
        written, texts = list(map(form, options)), list(map(form, lettered.values()))
        for candidate in filter(None, map(form, (answer, split_label(answer)[1]))):
            for choices in (written, texts):
                if choices.count(candidate) == 1:
                    return choices.index(candidate)
    bare = LETTER.fullmatch(fold(answer).rstrip(" .。:："))
    return None if bare is None or bare[1].upper() not in lettered else list(lettered).index(bare[1].upper())
