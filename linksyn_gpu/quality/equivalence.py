"""Whether two answers to one question are the same, as far as rules can tell; what they cannot tell, a model must.

What counts:

    multiple choice   the option that each answer names, by its whole text or its letter (`checks.match_option`)
    proof, case       never by a rule
    all others        equal texts (but for NFKC, white space, a final stop, "$" and case; case counts in texts that are
                      short or hold a digit: CO is not Co), or equal quantities: one number each and the same unit,
                      letter by letter. Two whole numbers must be equal, any others may differ by 1 %. Quantities of
                      one unit that differ are a "no"; another unit, or none, is left to a model: 1 km is 1000 m.

Knowledge points have a normal form of their own (`knowledge.normal_form`), which drops brackets: as answers (0, 1) and
[0, 1] are not the same.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from linksyn_gpu.quality.checks import fold, match_option, split_label
from linksyn_gpu.text.latex import POWERS, THOUSANDS, plain_name

TOLERANCE = 0.01
SHORT = 6
_NUMBER = re.compile(
    r"(?:[^\W\d_][\w ()'|/]{0,20}\s*[=≈]\s*|[=≈~]\s*)?"  # "v = ", "P(A) = "
    r"(?P<sign>[+-]?)\s*(?P<digits>\d+(?:\.\d*)?|\.\d+)"
    r"(?:\s*/\s*(?P<below>\d+(?:\.\d+)?)(?![\d.]))?"
    r"(?:[eE](?P<e>[+-]?\d+)|\s*(?P<ten>[×*·]\s*10)(?!\d)\s*(?:\^\s*\(?(?P<power>[+-]?\d+)\)?)?)?"
    r"(?!\s*\^)(?P<unit>(?:\s*[^\W\d_]|\s*[°%‰·*/().℃Ω$€£¥]|\^\(?-?\d+\)?)*)"
)
_MIXED = re.compile(r"\d\s*(?:\\[dt]?frac|[¼-¾⅐-⅞])")
"""A mixed number: without its mark-up 3½ would read as 31/2."""
_UNIT_CHARACTERS = 24


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its unit."""

    value: float
    unit: str
    whole: bool
    """Written as a whole number."""


def same_answer(given: str, solved: str, question_type: str, options: Sequence[str] = ()) -> bool | None:
    """Whether a solve agrees with the answer given, by the rules above; None: they cannot tell."""
    if question_type == "multiple_choice":
        right = match_option(given, tuple(options))
        return right is not None and match_option(solved, tuple(options)) == right
    if question_type in ("proof", "case"):
        return None
    if plain_answer(given) == plain_answer(solved):
        return True
    one, other = read_quantity(given), read_quantity(solved)
    if one is None or other is None or one.unit != other.unit:
        return None
    if one.whole and other.whole:
        return one.value == other.value
    return math.isclose(one.value, other.value, rel_tol=TOLERANCE)


def plain_answer(text: str) -> str:
    """The form in which answers are compared as texts."""
    # LaTeX keeps its braces: without them x^{2y} would be x^2y.
    plain = " ".join(unicodedata.normalize("NFKC", text.translate(POWERS)).replace("$", "").split()).rstrip(" .。")
    return plain if len(plain) < SHORT or any(c.isdigit() for c in plain) else fold(plain)


def read_quantity(text: str) -> Quantity | None:
    """The quantity that a text is, such as '-1.5 × 10^3 m/s^2', 'P = 3/8' or '12 %'; None where it says more.

    A value that no float holds is none either.
    """
    if _MIXED.search(text):
        return None
    plain = unicodedata.normalize("NFKC", plain_name(text).translate(POWERS)).translate({0x2212: "-", 0x2044: "/"})
    match = _NUMBER.fullmatch(THOUSANDS.sub("", " ".join(plain.split())).rstrip(" .。"))
    if match is None:
        return None
    unit = re.sub(r"\^\((-?\d+)\)", r"^\1", match["unit"]).replace("*", "·").strip()
    unit = re.sub(r"\s+", "", re.sub(r"(?<=[^\W_])\s+(?=[^\W\d_])", "·", unit))  # m s is no ms
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


def by_letter(options: Sequence[str]) -> dict[str, str]:
    """Options under the letters by which `match_option` knows them: their own labels, else A, B, C by place."""
    parts = [split_label(option) for option in options]
    labels = [label for label, _ in parts]
    if not all(labels) or len(set(labels)) < len(labels):
        labels = [chr(ord("A") + place) for place in range(len(parts))]
    return {str(label): text for label, (_, text) in zip(labels, parts, strict=True)}
