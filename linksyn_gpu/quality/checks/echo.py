"""Echo of the prompt: passages, phrases and markup of the instructions that a weak model repeats."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from linksyn_gpu.quality.checks.row import Row
from linksyn_gpu.quality.options import fold
from linksyn_gpu.text import CJK
from linksyn_gpu.text.languages import WORD

ECHO_WORDS = 8
ECHO_CJK = 14
"""A passage of this many words or Chinese characters is not in the prompts by chance."""
PASSAGE = re.compile(f"{CJK.pattern}{{{ECHO_CJK},}}")
ECHOES = re.compile(
    r"</?data>|\"qa\"|knowledge_points|\bwrite \d+ new questions?\b"
    r"|\b(?:based on|according to|from|using|like|unlike) the (?:solved questions?|reference data)\b"
    r"|\bknowledge points? (?:of|on|from|in) the (?:path|data)\b",
    re.IGNORECASE,
)
ECHO_WORDS_IN = frozenset(("data", "qa", "knowledge", "new", "solved"))
"""Words of which each match of `ECHOES` contains one."""
ECHOES_CJK = re.compile("知识点路径|只是参考数据|已解题目")
"""Markup and phrases of the prompts that exam questions do not contain."""


def prompt_phrase(row: Row) -> str | None:
    """Question or answer contains a phrase of the prompts."""
    spoken = not ECHO_WORDS_IN.isdisjoint(row.vocabulary)
    for text in (row.item.question, row.item.answer):
        match = ECHOES.search(text) if spoken else None
        if match is None and not text.isascii():
            match = ECHOES_CJK.search(text)
        if match:
            return match[0]
    return None


class Instructions:
    """The fixed text of the prompts, which no QA may repeat.

    A passage of it has at least one of `_marks`: of each passage the longest word. A text without them is not searched.
    """

    def __init__(self, text: str) -> None:
        self._passages = frozenset(passages(text))
        self._marks = frozenset(max(passage, key=len) for passage in self._passages)

    def repeated(self, row: Row) -> str | None:
        """A passage that a text of the row repeats."""
        for _, text in row.texts:
            if text.isascii() and self._marks.isdisjoint(row.vocabulary):
                continue
            if not self._passages.isdisjoint(passages(text)):
                return " ".join(next(passage for passage in passages(text) if passage in self._passages))
        return None


def passages(text: str) -> Iterator[tuple[str, ...]]:
    """Each sequence of `ECHO_WORDS` words or `ECHO_CJK` Chinese characters; they identify a copied passage."""
    yield from _windows(WORD.findall(CJK.sub(" ", fold(text))), ECHO_WORDS)
    for passage in PASSAGE.findall(text):
        yield from _windows(passage, ECHO_CJK)


def _windows(tokens: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[start:] for start in range(size)), strict=False)
