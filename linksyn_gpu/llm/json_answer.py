r"""JSON in the text of a model's answer: tolerant of what models put around it, never of JSON that ends too early.

Prose, code fences, several objects, a bare list, a single object: all are read. Nothing is appended to make cut-off
JSON parse. NaN, numbers that no float holds, lone surrogates and nesting deeper than `MAX_DEPTH` are not JSON here; a
value nested too deep ends the reading.

One thing is repaired: LaTeX whose backslashes were not doubled. In a JSON string `\frac` reads as a form feed and
"rac"; decoding raises no error and the formula is lost. `latex.escape_latex` therefore looks at the raw text of each
string before it is decoded.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from linksyn_gpu.llm.latex import escape_latex

MAX_DEPTH = 32
"""Deepest nesting that is read; an answer's schema has 4 levels. Bounds the work on hostile text."""
MAX_DIGITS = 300
"""Longest integer that is read: Python refuses 4,301 digits, and no float holds 310."""

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
# What begins a JSON object or list, so that braces of prose and of formulas are passed over.
_START = re.compile(r'\{(?=\s*["}])|\[(?=\s*[\]\[{"\-0-9tfn])')
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\Z)|[{}\[\]]', re.DOTALL)


class TruncatedAnswer(Exception):
    """The answer's JSON ends too early."""


def json_values(text: str) -> Iterator[Any]:
    """Every outermost JSON object or list in `text`, from left to right, with the LaTeX of its strings restored.

    Raises
    ------
    TruncatedAnswer
        The text ends inside a value that was JSON up to there.
    """
    at = 0
    while match := _START.search(text, at):
        start = match.start()
        extent = _extent(text, start)
        if extent is None:
            return
        end, closed = extent
        raw = _STRING.sub(_escaped, text[start:end]) if "\\" in text[start:end] else text[start:end]
        try:
            value = _DECODER.decode(raw)
            json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no UTF-8
        except json.JSONDecodeError as error:
            if not closed and _ran_out(raw, error):
                raise TruncatedAnswer(f"{error.msg} at character {start + error.pos} of {len(text)}") from None
            at = start + 1
        except ValueError:  # NaN, a huge number, a surrogate: nothing inside the value is worth reading
            at = end
        else:
            yield value
            at = end


def read_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text, its own strings stripped; None where there is none or it ends too early."""
    try:
        found = next((value for value in json_values(text.strip()) if isinstance(value, dict)), None)
    except TruncatedAnswer:
        return None
    if found is None:
        return None
    return {name: value.strip() if isinstance(value, str) else value for name, value in found.items()}


def read_level(value: Any) -> int | None:
    """A level of difficulty 1..5; None for anything else."""
    try:
        level = int(value) if not isinstance(value, bool) else 0
    except (TypeError, ValueError, OverflowError):
        return None
    return level if 1 <= level <= 5 else None


def _extent(text: str, start: int) -> tuple[int, bool] | None:
    """End of the value that begins at `start`, and whether its brackets close; None where it is too deep."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        mark = token.group(0)
        if mark in "{[":
            depth += 1
            if depth > MAX_DEPTH:
                return None
        elif mark in "}]":
            depth -= 1
            if depth == 0:
                return token.end(), True
    return len(text), False


def _escaped(match: re.Match[str]) -> str:
    return f'"{escape_latex(match.group(1))}"'


def _ran_out(raw: str, error: json.JSONDecodeError) -> bool:
    """Whether the decoder ran out of text, rather than into something wrong."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(raw.rstrip().rstrip("`").rstrip())


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits} is too large for a float")
    return value


def _not_json(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# strict=False: raw line breaks in strings are common and harmless.
_DECODER = json.JSONDecoder(strict=False, parse_int=_integer, parse_float=_float, parse_constant=_not_json)
