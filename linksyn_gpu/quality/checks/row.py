"""One QA as the checks read it: its texts, what was asked for, the thresholds, and what several checks need of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from linksyn_gpu.config import ChecksConfig
from linksyn_gpu.tables import Asked, Item
from linksyn_gpu.text import CJK
from linksyn_gpu.text.languages import guess_language

ALPHANUMERIC = re.compile(r"[^\W_]+")


@dataclass(frozen=True, eq=False)
class Row:
    """One QA under examination."""

    item: Item
    asked: Asked
    config: ChecksConfig
    similarity: float | None = None
    """Cosine of the vectors of question and answer; None: not known."""

    @cached_property
    def ideographs(self) -> str:
        """Chinese characters of the question."""
        return "".join(CJK.findall(self.item.question))

    @cached_property
    def words(self) -> list[str]:
        """Words and numbers of the question, case folded, without Chinese."""
        return ALPHANUMERIC.findall(CJK.sub(" ", self.item.question).casefold())

    @property
    def multiple_choice(self) -> bool:
        """Whether a multiple choice question was asked for."""
        return self.asked.question_type == "multiple_choice"

    @property
    def texts(self) -> tuple[tuple[str, str], ...]:
        """(name, text) of question, answer and explanation."""
        item = self.item
        return ("question", item.question), ("answer", item.answer), ("explanation", item.explanation)


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
