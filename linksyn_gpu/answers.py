r"""From the text of an answer to QA items, or to the reason why there are none.

Tolerant of what models put around JSON: thinking, code fences, prose, several objects, a bare list, a single
object. Never tolerant of JSON that ends too early: nothing is appended to make it parse.

One thing is mended: LaTeX whose backslashes were not doubled. `\frac` in a JSON string reads as a form feed and
"rac"; decoding raises no error and the formula is lost. See `_restore_latex`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

REASONS = {
    "invalid_json": "the answer holds no JSON that can be read",
    "truncated": "the answer's JSON ends too early",
    "no_items": "the answer is JSON but holds no question",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One new QA as the model wrote it; text is stripped, nothing else is changed."""

    question: str
    answer: str
    options: tuple[str, ...] = ()
    explanation: str = ""
    knowledge_points: tuple[str, ...] = ()
    discipline: str | None = None
    difficulty: int | None = None
    """Level 1..5 as the model sees it; None where it gave none or something else."""


@dataclass(frozen=True)
class Parsed:
    """Items of an answer; without any, `reason` (of `REASONS`) and `detail` say why."""

    items: tuple[Item, ...]
    reason: str | None = None
    detail: str = ""


def parse(text: str) -> Parsed:
    """Find the QA items in an answer's text."""
    text = text.strip().removeprefix("\ufeff")
    try:
        values = list(_values(text))
    except _TruncatedError as error:
        return Parsed((), "truncated", str(error))
    if not values:
        return Parsed((), "invalid_json", "no JSON object in the answer")
    items = tuple(item for value in values for item in _items(value))
    if not items:
        return Parsed((), "no_items", f"JSON without a question: {json.dumps(values[0])[:120]}")
    return Parsed(items)


def read_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text that asks for one, its own texts as `parse` reads those of an item.

    None where there is none, or where it ends too early.
    """
    try:
        found = next((value for value in _values(text.strip()) if isinstance(value, dict)), None)
    except _TruncatedError:
        return None
    if found is None:
        return None
    return {name: _restore_latex(value).strip() if isinstance(value, str) else value for name, value in found.items()}


class _TruncatedError(Exception):
    pass


_DECODER = json.JSONDecoder(strict=False)  # raw line breaks in strings are common and harmless
_OPENING = re.compile(r"[{\[]")
_LONE_BACKSLASH = re.compile(r'\\(?:(["\\/bfnrt]|u[0-9a-fA-F]{4})|)', re.DOTALL)


def _values(text: str) -> Iterator[Any]:
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
                raise _TruncatedError(f"{error.msg} at character {error.pos} of {len(text)}") from None
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


def _items(value: Any) -> Iterator[Item]:
    """Items in a decoded value: an item, a list of items, or an object that holds such a list."""
    if isinstance(value, list):
        for element in value:
            if isinstance(element, dict):
                yield from _items(element)
    elif isinstance(value, dict):
        if isinstance(value.get("question"), str):
            yield _item(value)
        else:
            lists = [value["qa"]] if "qa" in value else [v for v in value.values() if isinstance(v, list)]
            for inner in lists:
                yield from _items(inner)


def _item(value: dict[str, Any]) -> Item:
    options = value.get("options") or ()
    if isinstance(options, dict):  # {"A": "...", "B": "..."}
        options = [f"{letter}. {_text(option)}" for letter, option in options.items()]
    elif not isinstance(options, list):
        options = ()
    kps = value.get("knowledge_points") or ()
    kps = [kps] if isinstance(kps, str) else kps if isinstance(kps, list) else ()
    return Item(
        _text(value["question"]),
        _text(value.get("answer")),
        tuple(_text(option) for option in options),
        _text(value.get("explanation")),
        tuple(dict.fromkeys(name for name in map(_text, kps) if name)),
        _text(value.get("discipline")) or None,
        read_level(value.get("difficulty")),
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _restore_latex(value).strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list):
        return "\n".join(filter(None, map(_text, value)))
    return json.dumps(value, ensure_ascii=False)


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


def _restore_latex(text: str) -> str:
    r"""Give back the backslashes of `\frac`, `\beta`, `\times`, `\neq`, `\right`, which JSON read as escapes."""
    if text.isprintable():  # it holds no control character
        return text
    return _EATEN.sub(lambda match: _LETTER[match.group(0)], text)
