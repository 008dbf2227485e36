"""One QA as the checks read it: its texts, what was asked for, the thresholds, and what several checks need of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from linksyn_gpu.config import ChecksConfig
from linksyn_gpu.quality.options import by_letter, match_option, plain_answer
from linksyn_gpu.tables import Asked, Item
from linksyn_gpu.text import CJK
from linksyn_gpu.text.languages import guess_language

ENGLISH_WORD = re.compile(r"[a-z]+")
ALPHANUMERIC = re.compile(r"[^\W_]+")


@dataclass(frozen=True, eq=False)
class Row:
    """One QA under examination."""

    item: Item
    asked: Asked
    config: ChecksConfig
    similarity: float | None = None
    """Cosine of the vectors of question and answer; None: not known."""

    @property
    def chinese(self) -> bool:
        """Whether Chinese was asked for."""
        return self.asked.language == "zh"

    @property
    def multiple_choice(self) -> bool:
        """Whether a multiple choice question was asked for."""
        return self.asked.question_type == "multiple_choice"

    @cached_property
    def texts(self) -> tuple[tuple[str, str], ...]:
        """(name, text) of question, answer and explanation, without empty ones."""
        item = self.item
        texts = (("question", item.question), ("answer", item.answer), ("explanation", item.explanation))
        return tuple(pair for pair in texts if pair[1])

    @cached_property
    def vocabulary(self) -> set[str]:
        """English words of question, answer and explanation, in lower case: whether a long pattern can match at all."""
        return set(ENGLISH_WORD.findall(" ".join([text for _, text in self.texts]).lower()))

    @cached_property
    def ideographs(self) -> str:
        """Chinese characters of the question."""
        return "" if self.item.question.isascii() else "".join(CJK.findall(self.item.question))

    @cached_property
    def words(self) -> list[str]:
        """Words and numbers of the question, case folded, without Chinese."""
        question = CJK.sub(" ", self.item.question) if self.ideographs else self.item.question
        return ALPHANUMERIC.findall(question.casefold())

    @cached_property
    def options(self) -> dict[str, str]:
        """Options by letter, in the form in which they are compared."""
        return {letter: plain_answer(text) for letter, text in by_letter(self.item.options).items()}

    @cached_property
    def right(self) -> int | None:
        """Number of the option that the answer names."""
        return match_option(self.item.answer, self.item.options)


def length(text: str) -> int:
    """Length of a text: its words and numbers, and each Chinese character as one."""
    if text.isascii():
        return len(ALPHANUMERIC.findall(text))
    return len(CJK.findall(text)) + len(ALPHANUMERIC.findall(CJK.sub(" ", text)))


def item_of(row: Mapping[str, Any]) -> tuple[Item, Asked]:
    """Read a QA of any file: a mapping with the columns of qa.parquet or of a seed table, of which most may be missing.

    Without `question_type`, options make it multiple choice; without `language` 'en' or 'zh', the question decides.
    """
    question, answer, explanation = (_text(row.get(name)) for name in ("question", "answer", "explanation"))
    options = tuple(_text(option) for option in row.get("options") or ())
    language = row.get("language")
    if language not in ("en", "zh"):
        language = "zh" if guess_language(question) == "zh" else "en"
    kind = row.get("question_type") or ("multiple_choice" if options else "open")
    return Item(question, answer, options, explanation), Asked(kind, language)


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
