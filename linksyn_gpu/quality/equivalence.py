"""Rules that decide whether two answers to one question are the same. They leave other cases to a model.

The rules by question type:

    multiple choice   both answers name the same option, by its whole text or its letter (`options.match_option`)
    proof, case       no rule: a model compares them
    all others        equal texts, equal quantities (one number each, with the same unit), or equal expressions

Texts are compared by their `options.plain_answer`. Two whole numbers must be equal, other numbers may differ by 1 %.
Different quantities of one unit are a "no". Different units are left to a model: 1 km is 1000 m. Expressions, sets and
intervals are compared by math-verify, which can say only "yes": 2\\sqrt{3} is \\sqrt{12}. It does not see texts with
words, since it takes each letter for a variable: "tea" would be "eat".

The normal form of knowledge points is not used here, since it drops brackets: (0, 1) and [0, 1] are different answers.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from linksyn_gpu.quality.options import match_option, plain_answer
from linksyn_gpu.text.latex import POWERS, THOUSANDS, plain_name

TOLERANCE = 0.01
_NUMBER = re.compile(
    r"(?:[^\W\d_][\w ()'|/]{0,20}\s*[=≈]\s*|[=≈~]\s*)?"  # "v = ", "P(A) = "
    r"(?P<sign>[+-]?)\s*(?P<digits>\d+(?:\.\d*)?|\.\d+)"
    r"(?:\s*/\s*(?P<below>\d+(?:\.\d+)?)(?![\d.]))?"
    r"(?:[eE](?P<e>[+-]?\d+)|\s*(?P<ten>[×*·]\s*10)(?!\d)\s*(?:\^\s*\(?(?P<power>[+-]?\d+)\)?)?)?"
    r"(?!\s*\^)(?P<unit>(?:\s*[^\W\d_]|\s*[°%‰·*/().℃$€£¥]|\^\(?-?\d+)*)"
)
"""Each character has one place in the pattern, which is therefore matched in linear time."""
_MIXED = re.compile(r"\d\s*(?:\\[dt]?frac|[¼-¾⅐-⅞])")
"""A mixed number: without this rule, 3½ would be read as 31/2."""
_WORD = re.compile(r"(?<![A-Za-z\\])(?!(?:sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi)(?![A-Za-z]))[A-Za-z]{2}")
_HUGE = re.compile(r"!|\^[\s({]*-?\d{4}|\^\s*[({][^(){}]*\^")
"""Factorials, exponents of four digits and powers of powers: their values can have more digits than fit in memory."""
EXPRESSION_SECONDS = 5
"""Longest time to read or compare expressions; after that a model compares them."""
_UNIT_CHARACTERS = 24
_QUANTITY_CHARACTERS = 200
"""A longer text says more than a quantity."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its unit."""

    value: float
    unit: str
    whole: bool
    """Written as a whole number."""


def same_answer(given: str, solved: str, question_type: str, options: Sequence[str] = ()) -> bool | None:
    """Whether a solve agrees with the given answer, by the rules above; None: no rule applies."""
    if question_type == "multiple_choice":
        right = match_option(given, tuple(options))
        return right is not None and match_option(solved, tuple(options)) == right
    if question_type in ("proof", "case"):
        return None
    if plain_answer(given) == plain_answer(solved):
        return True
    one, other = read_quantity(given), read_quantity(solved)
    if one is None or other is None or one.unit != other.unit:
        return True if same_expression(given, solved) else None
    if one.whole and other.whole:
        return one.value == other.value
    return math.isclose(one.value, other.value, rel_tol=TOLERANCE)


def same_expression(given: str, solved: str) -> bool:
    """Whether math-verify finds two expressions equal; False also where it cannot tell."""
    if not (_is_expression(given) and _is_expression(solved)):
        return False
    from math_verify import LatexExtractionConfig, parse, verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # a comparison that takes too long is not a warning here
    # Its clock is a signal, which only the main thread can have.
    seconds = EXPRESSION_SECONDS if threading.current_thread() is threading.main_thread() else None
    one, other = (parse(_formula(text), [LatexExtractionConfig()], parsing_timeout=seconds) for text in (given, solved))
    return bool(one and other) and bool(verify(one, other, timeout_seconds=seconds))


def _is_expression(text: str) -> bool:
    if len(text) > _QUANTITY_CHARACTERS or not text.isascii():
        return False
    return not (_WORD.search(text) or _HUGE.search(text))


def _formula(text: str) -> str:
    plain = text.strip().removesuffix(".").strip()
    for begin, end in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        if plain.startswith(begin) and plain.endswith(end) and len(plain) > len(begin) + len(end):
            plain = plain[len(begin) : -len(end)]
            break
    return f"${plain}$"


def read_quantity(text: str) -> Quantity | None:
    """A text that is one quantity, such as '-1.5 × 10^3 m/s^2', 'P = 3/8' or '12 %'; None for any other text.

    None also for a value outside the range of float.
    """
    if len(text) > _QUANTITY_CHARACTERS or _MIXED.search(text):
        return None
    plain = unicodedata.normalize("NFKC", plain_name(text).translate(POWERS)).translate({0x2212: "-", 0x2044: "/"})
    match = _NUMBER.fullmatch(THOUSANDS.sub("", " ".join(plain.split())).rstrip(" .。"))
    if match is None:
        return None
    unit = re.sub(r"\^\((-?\d+)\)", r"^\1", match["unit"]).replace("*", "·").strip()
    unit = re.sub(r"\s+", "", re.sub(r"(?<=[^\W_])\s+(?=[^\W\d_])", "·", unit))  # m s is not ms
    below = 1.0 if match["below"] is None else float(match["below"])
    if len(unit) > _UNIT_CHARACTERS or below == 0.0:
        return None
    exponent = match["e"] or match["power"] or ("1" if match["ten"] else "0")
    try:
        value = float(f"{match['digits']}e{exponent}") / below
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(value):
        return None
    whole = match["digits"].isdigit() and match["below"] is None and exponent == "0"
    return Quantity(-value if match["sign"] == "-" else value, unit, whole)
