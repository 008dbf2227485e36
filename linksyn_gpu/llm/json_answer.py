r"""JSON in the text of a model's answer: tolerant of what models put around it, never of JSON that ends too early.

Thinking, code fences, prose, several objects, a bare list, a single object: all are read. Nothing is appended to make
cut-off JSON parse. One thing is repaired: LaTeX whose backslashes were not doubled. `\frac` in a JSON string reads as a
form feed and "rac"; decoding raises no error and the formula is lost. See `restore_latex`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any


class TruncatedAnswer(Exception):
    """The answer's JSON ends too early."""


_DECODER = json.JSONDecoder(strict=False)  # raw line breaks in strings are common and harmless
_OPENING = re.compile(r"[{\[]")
_LONE_BACKSLASH = re.compile(r'\\(?:(["\\/bfnrt]|u[0-9a-fA-F]{4})|)', re.DOTALL)


def json_values(text: str) -> Iterator[Any]:
    """Every outermost JSON object or list in `text`, from left to right."""
    at = 0
    while match := _OPENING.search(text, at):
        start = match.start()
        try:
            value, at = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            if error.msg.startswith("Invalid \\"):
                # LaTeX such as \sin or \alpha: no JSON escape, so what was meant is certain.
                text = text[:start] + _LONE_BACKSLASH.sub(_doubled, text[start:])
                try:
                    value, at = _DECODER.raw_decode(text, start)
                except json.JSONDecodeError as again:
                    error = again
                else:
                    yield value
                    continue
            if _ended(text, error):
                raise TruncatedAnswer(f"{error.msg} at character {error.pos} of {len(text)}") from None
            at = start + 1
        except RecursionError:
            at = len(text)
        else:
            yield value


def _doubled(match: re.Match[str]) -> str:
    return match.group(0) if match.group(1) else "\\\\"


def _ended(text: str, error: json.JSONDecodeError) -> bool:
    """The decoder ran out of text, rather than into something wrong."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(text.rstrip().rstrip("`").rstrip())


def read_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text, with the LaTeX of its texts restored.

    None where there is none, or where it ends too early.
    """
    try:
        found = next((value for value in json_values(text.strip()) if isinstance(value, dict)), None)
    except TruncatedAnswer:
        return None
    if found is None:
        return None
    return {name: restore_latex(value).strip() if isinstance(value, str) else value for name, value in found.items()}


def read_level(value: Any) -> int | None:
    """A level of difficulty 1..5; None for anything else."""
    try:
        level = int(value) if not isinstance(value, bool) else 0
    except (TypeError, ValueError, OverflowError):
        return None
    return level if 1 <= level <= 5 else None


# A form feed or backspace has no other business in a text. A tab, line break or carriage return has: there only
# the rests of commands count that begin no English word.
_EATEN = re.compile(
    r"[\f\b](?=[a-zA-Z])"
    r"|\t(?=(?:imes|ext(?:bf|it|rm)?\{|heta|an(?![a-z])|au(?![a-z])|riangle|frac|ilde|o(?![a-z])))"
    r"|\n(?=(?:abla|eq(?![a-z])|u(?![a-z])|otin|eg(?![a-z])))"
    r"|\r(?=(?:ight|ho(?![a-z])|angle|ightarrow))"
)
_LETTER = {"\f": "\\f", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def restore_latex(text: str) -> str:
    r"""Give back the backslashes of `\frac`, `\beta`, `\times`, `\neq`, `\right`, which JSON read as escapes."""
    if text.isprintable():  # it holds no control character
        return text
    return _EATEN.sub(lambda match: _LETTER[match.group(0)], text)
