"""Options of a record, and answers that name one of them by its letter, label or number."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Any

from linksyn_gpu.seeds.values import decoded, texts_of

_LETTER = re.compile(r"[(\uff08\[]?([A-Za-z])[)\uff09\]]?[.\uff0e\u3001:\uff1a]?")
_NUMBER = re.compile(r"[+-]?\d{1,4}(\.0)?")
_INDEX_END = 10_000
_PREFIX = re.compile(r"\s*[(\uff08]?([A-Z])[)\uff09.\uff0e\u3001:\uff1a]")
_CHOICES = frozenset("ABCDEFGHIJ")
"""Answers that are one of these letters mean an option. Other letters, and small ones, also name quantities."""


def read_options(value: Any) -> tuple[list[str], list[str]]:
    """Return the texts of options and their labels, in upper case.

    Parameters
    ----------
    value : object
        A list of texts, or of objects {"label": ..., "text": ...}; an object, in the order of its keys
        ({"A": ..., "B": ...}) or with lists as {"text": [...], "label": [...]}; any other text is a single option.
    """
    value = decoded(value)
    labels: Any = None
    if isinstance(value, dict):
        if isinstance(value.get("text"), list):
            value, labels = value["text"], value.get("label")
        else:
            keys = sorted(value, key=lambda key: (len(key), key))  # "10" after "9"
            # A Parquet row has the keys of all rows: null is an option that this row does not have.
            labels = [key for key in keys if value[key] is not None]
            value = [value[key] for key in labels]
    elif isinstance(value, list) and value and all(isinstance(one, dict) and "text" in one for one in value):
        labels = [one.get("label") for one in value]
        value = [one["text"] for one in value]
    texts = texts_of("options", value)
    if not isinstance(labels, list) or len(labels) != len(texts) or None in labels:
        labels = _labels_in(texts) or string.ascii_uppercase[: len(texts)]
    return texts, [str(label).strip().upper() for label in labels]


def _labels_in(texts: Sequence[str]) -> list[str] | None:
    """Return the letters that all options begin with, as in 'B. tibia'."""
    found = [_PREFIX.match(text) for text in texts]
    letters = [match[1] for match in found if match]
    return letters if len(letters) == len(texts) == len(set(letters)) else None


def is_index(value: Any) -> bool:
    """Whether a raw answer is a small integer, also as a float without fraction or as text."""
    if isinstance(value, str):
        return _NUMBER.fullmatch(value.strip()) is not None
    whole = type(value) is int or (type(value) is float and value == value // 1)
    return whole and abs(value) < _INDEX_END


def resolve_answer(
    value: Any, text: str, options: Sequence[str], labels: Sequence[str], base: int | None
) -> tuple[str, str | None]:
    """Return the answer as text and what to note about it.

    Parameters
    ----------
    value, text : object, str
        The raw answer, and the same as text.
    options, labels : sequences of str
        As `read_options` returns them.
    base : int or None
        What integer answers count from; None: not known.
    """
    key = text.strip()
    letter = _LETTER.fullmatch(key)
    named = letter[1].upper() if letter is not None else key.upper()
    if not options:
        return text, "letter_without_options" if is_choice(text) else None
    if not key or text in options or key in (option.strip() for option in options):
        return text, None
    if named in labels:
        found = options[labels.index(named)]
        return (found, "answer_from_label") if found.strip() else ("", "answer_unresolved")
    if is_index(value):
        if isinstance(value, str) and any(_has_number(option, key) for option in options):
            return text, None  # '5' next to the option '5 cm' is a value
        place = -1 if base is None else int(float(value)) - base
        if 0 <= place < len(options) and options[place].strip():
            return options[place], "answer_from_index"
        return "", "answer_unresolved"
    if is_choice(text):
        return "", "answer_unresolved"
    return text, None


def _has_number(option: str, number: str) -> bool:
    return re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.]*\d)", option) is not None


def shown_base(value: Any, options: Sequence[str]) -> int | None:
    """What integer answers count from as one answer shows it: 0 if it is 0, 1 if it is the number of options."""
    if len(options) < 2 or not is_index(value) or str(value).strip() in options:
        return None
    return {0: 0, len(options): 1}.get(int(float(value)))


def is_choice(text: str) -> bool:
    """Whether an answer is a letter that means an option."""
    letter = _LETTER.fullmatch(text.strip())
    return letter is not None and letter[1] in _CHOICES


def is_reference(value: Any) -> bool:
    """Whether a raw answer may name an option: an integer or a single letter."""
    return is_index(value) or (isinstance(value, str) and _LETTER.fullmatch(value.strip()) is not None)
