"""Forms in which a benchmark item turns up in training data: each changes its text in a way that readers do not notice.

A form returns None where it changes nothing, such as shuffled options of an item without options.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

from linksyn_gpu.quality.contamination import BenchmarkItem, searched_text
from linksyn_gpu.text import CJK_RANGES

Form = Callable[[BenchmarkItem, random.Random, Sequence[BenchmarkItem]], str | None]
"""Given an item, random numbers and the other items, returns the text."""

ONE_IN = 12
"""One word of so many is removed. A Chinese character is a word."""
LINE = (30, 50)
"""Characters of a hard-wrapped line, at least and at most."""
_WORD = re.compile(rf"[{CJK_RANGES}]|[^\s{CJK_RANGES}]+")
_BREAK = re.compile(rf"\s|(?<=[{CJK_RANGES}])")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_PUNCTUATION = re.compile(r"(?<![\d\\])[.,;:?!。，、；：？！．](?!\d)|(?<=\d)[.,;:?!。，、；：？！．](?!\d)")
_NUMBER = re.compile(r"\d+")
_LATEX = [
    (re.compile(pattern), by)
    for pattern, by in (
        (r"\$\$([^$]*)\$\$", r"$\1$"),
        (r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"\\dfrac{\1}{\2}"),
        (r"\\(?:left|right)\s*(?=[()\[\]|])", ""),
        (r"\{\{(\w+)\}\^\{(\w+)\}\}", r"\1^\2"),
        (r"\{\{(\w+)\}_\{(\w+)\}\}", r"\1_\2"),
        (r"\^\{(\w)\}", r"^\1"),
        (r"_\{(\w)\}", r"_\1"),
        (r"\\times(?![A-Za-z])\s*", "×"),
        (r"\\div(?![A-Za-z])\s*", "÷"),
        (r"\\cdot(?![A-Za-z])\s*", "·"),
        (r"\\textgreater(?:\{\})?\s*", ">"),
        (r"\\textless(?:\{\})?\s*", "<"),
        (r"\\geqslant(?![A-Za-z])", r"\\ge"),
        (r"\\leqslant(?![A-Za-z])", r"\\le"),
        (r"\\text\s*\{([^{}]*)\}", r"\\mathrm{\1}"),
        (r"(?:\{\})?\^\{?\\circ\s*\}?", "°"),
        (r"\\pi(?![A-Za-z])", "π"),
        (r"\\alpha(?![A-Za-z])", "α"),
        (r"\\%", "%"),
    )
]
_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}


def _verbatim(item: BenchmarkItem, rng: random.Random, others: Sequence[BenchmarkItem]) -> str | None:
    return _text(item)


def _wrapped(item: BenchmarkItem, rng: random.Random, others: Sequence[BenchmarkItem]) -> str | None:
    """Lines of about 40 characters, broken at spaces and between Chinese characters."""
    lines, line = [], ""
    for piece in _pieces(_text(item)):
        if len(line) + len(piece) > rng.randint(*LINE):
            lines.append(line)
            line = ""
        line += piece
    lines.append(line)
    return "\n".join(lines) if len(lines) > 1 else None


def _inside(item: BenchmarkItem, rng: random.Random, others: Sequence[BenchmarkItem]) -> str | None:
    """Between the texts of two other items."""
    before, after = rng.choice(others), rng.choice(others)
    return f"{_text(before)} {_text(item)} {_text(after)}"


def _punctuation_and_case(item: BenchmarkItem, rng: random.Random, others: Sequence[BenchmarkItem]) -> str | None:
    """Without punctuation, except in numbers; in capitals, except LaTeX commands."""
    text = _PUNCTUATION.sub("", _text(item))
    parts = _COMMAND.split(text)
    commands = [*_COMMAND.findall(text), ""]
    return "".join(part.upper() + command for part, command in zip(parts, commands, strict=True))


def _latex(item: BenchmarkItem, rng: random.Random, others: Sequence[BenchmarkItem]) -> str | None:
    """Other commands, braces and dollar signs for the same formula; signs of Unicode instead of commands."""
    text = _text(item)
    return _other(text, functools.reduce(lambda now, rule: rule[0].sub(rule[1], now), _LATEX, text))


def _options_shuffled(item: BenchmarkItem, rng: random.Random, others: Sequence[BenchmarkItem]) -> str | None:
    if len(set(item.options)) < 2:
        return None
    options = list(item.options)
    while tuple(options) == item.options:
        rng.shuffle(options)
    return searched_text(item.question, options, item.answer)


def _words_removed(item: BenchmarkItem, rng: random.Random, others: Sequence[BenchmarkItem]) -> str | None:
    """One word in twelve: one at random of each twelve, and of a shorter rest in proportion."""
    text = _text(item)
    words = [match.span() for match in _WORD.finditer(text)]
    for first in range((len(words) - 1) // ONE_IN * ONE_IN, -1, -ONE_IN):
        place = first + rng.randrange(ONE_IN)
        if place < len(words):
            begin, end = words[place]
            text = text[:begin] + text[end:]
    return _other(_text(item), text)


def _numbers_changed(item: BenchmarkItem, rng: random.Random, others: Sequence[BenchmarkItem]) -> str | None:
    """Every number is another one of at most one digit more: this is another question of the same pattern."""
    text = _text(item)
    return _other(text, _NUMBER.sub(lambda match: str(int(match[0][-18:]) + rng.randint(1, 9)), text))


def _full_width(item: BenchmarkItem, rng: random.Random, others: Sequence[BenchmarkItem]) -> str | None:
    return _text(item).translate(_WIDE)


def _traditional(item: BenchmarkItem, rng: random.Random, others: Sequence[BenchmarkItem]) -> str | None:
    """Chinese in traditional characters."""
    text = _text(item)
    return _other(text, "".join(_opencc().convert(part) for part in text.splitlines(keepends=True)))


FORMS: dict[str, Form] = {
    "verbatim": _verbatim,
    "hard-wrapped": _wrapped,
    "inside a longer text": _inside,
    "punctuation and case changed": _punctuation_and_case,
    "LaTeX respelt": _latex,
    "options shuffled": _options_shuffled,
    "one word in twelve removed": _words_removed,
    "numbers changed": _numbers_changed,
    "full-width characters": _full_width,
    "traditional characters": _traditional,
}


def injected(name: str, item: BenchmarkItem, others: Sequence[BenchmarkItem]) -> str | None:
    """The text of an item in one of `FORMS`, always the same; None where the form changes nothing."""
    return FORMS[name](item, random.Random(f"{name}\n{item.file}\n{item.id}\n{item.question}"), others)


def _text(item: BenchmarkItem) -> str:
    return searched_text(item.question, item.options, item.answer)


def _other(text: str, changed: str) -> str | None:
    return None if changed == text else changed


def _pieces(text: str) -> list[str]:
    """The text cut after each place where a line may be broken."""
    ends = [match.end() for match in _BREAK.finditer(text)]
    return [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True) if a < b]


@functools.cache
def _opencc() -> Any:
    import opencc

    return opencc.OpenCC("s2t")
