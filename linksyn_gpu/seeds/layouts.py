"""Layouts: where the records of a file hold the fields of a seed.

A layout is made once for all records with the same keys. It maps seed fields to columns by their usual names or as the
user says (`SeedsConfig.columns`). Shapes of records that need more than a name, such as two columns in one field, are
functions in `SHAPES`; to support another one, add a function.
"""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from linksyn_gpu.errors import DataError
from linksyn_gpu.seeds.values import Unfit, listed, text_of

USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "uid", "question_id"),
    "question": ("question", "prompt", "instruction", "problem", "query"),
    "answer": ("answer", "response", "output", "solution"),
    "options": ("options", "choices"),
    "disciplines": ("discipline", "disciplines", "subject", "category"),
    "difficulty": ("difficulty", "level"),
    "knowledge_points": ("knowledge_points", "kps", "concepts", "tags"),
    "language": ("language", "lang"),
    "source": ("source",),
    "license": ("license", "licence"),
}
"""Names of the column of each field, in order of preference; case, `_`, `-` and spaces are ignored. The first one that
a record has is used, even when its value is empty: records with the same keys use the same columns."""

Fields = dict[str, Any]
"""Seed field -> raw value."""

_MAX_LAYOUTS = 1024
_NAME_NOISE = re.compile(r"[_\-\s]")


def _folded(name: str) -> str:
    return _NAME_NOISE.sub("", name.casefold())


_FOLDED_NAMES = {field: tuple(map(_folded, names)) for field, names in USUAL_NAMES.items()}


@dataclass(frozen=True)
class Step:
    """What a shape does with a record after its fields were read from their columns."""

    columns: tuple[str, ...]
    """Columns that it reads."""
    apply: Callable[[Mapping[str, Any], Fields], None]
    """Given the record and its fields, changes the fields in place. Raises `Unfit` to reject the record."""


@dataclass(frozen=True)
class Layout:
    """How to read the fields of a seed from records with the same keys."""

    columns: Mapping[str, str]
    """Seed field -> column."""
    steps: tuple[Step, ...] = ()

    def read(self, record: Mapping[str, Any]) -> Fields:
        """Return the raw values of a record's fields."""
        fields = {field: record[column] for field, column in self.columns.items()}
        for step in self.steps:
            step.apply(record, fields)
        return fields

    def used(self) -> list[str]:
        """Columns that `read` looks at."""
        return list(dict.fromkeys([*self.columns.values(), *(name for step in self.steps for name in step.columns)]))


def _alpaca(names: Mapping[str, str], columns: Mapping[str, str]) -> Step | None:
    """Alpaca: a non-blank `input` follows the question in `instruction` after a blank line."""
    column = names.get("input")
    if column is None or column in columns.values() or _folded(columns.get("question", "")) != "instruction":
        return None

    def apply(record: Mapping[str, Any], fields: Fields) -> None:
        question = fields["question"]
        if isinstance(question, str) and question.strip() and (extra := text_of("input", record[column])).strip():
            fields["question"] = f"{question}\n\n{extra}"

    return Step((column,), apply)


def _lettered(names: Mapping[str, str], columns: Mapping[str, str]) -> Step | None:
    """MMLU, CMMLU, C-Eval: options in columns A, B, C, ...; an answer that is a letter stands for its option."""
    letters = list(itertools.takewhile(lambda letter: letter in names, string.ascii_lowercase))
    own = tuple(names[letter] for letter in letters)
    if len(own) < 2 or "options" in columns or not set(own).isdisjoint(columns.values()):
        return None

    def apply(record: Mapping[str, Any], fields: Fields) -> None:
        options = {letter: text_of(name, record[name]) for letter, name in zip(letters, own, strict=True)}
        fields["options"] = [option for option in options.values() if option.strip()]
        answer = text_of("answer", fields.get("answer")).strip(" ().").lower()
        if options.get(answer, "").strip():
            fields["answer"] = options[answer]

    return Step(own, apply)


SHAPES: tuple[Callable[[Mapping[str, str], Mapping[str, str]], Step | None], ...] = (_alpaca, _lettered)
"""Each is given the columns of a record by their folded names, and the columns found for the fields; it returns what
to do with such records, or None when they do not have its shape."""


class Layouts:
    """The layouts of the records of one source.

    Parameters
    ----------
    source : str
        Name of the file, for messages.
    mapped : mapping
        Seed field -> column, as the user set it.
    """

    def __init__(self, source: str, mapped: Mapping[str, str]) -> None:
        self.source = source
        self._mapped = mapped
        self._missing = set(mapped.values())
        self._seen: dict[str, None] = {}  # columns in order of appearance
        self._layouts: dict[tuple[str, ...], Layout | None] = {}

    def layout(self, names: tuple[str, ...]) -> Layout:
        """Return the layout of records with these keys.

        Raises
        ------
        Unfit
            They have no question.
        """
        if names in self._layouts:
            found = self._layouts[names]
        else:
            found = self._find(names)
            self._missing.difference_update(names)
            if len(self._layouts) < _MAX_LAYOUTS:  # a limit for files whose records all have different keys
                self._layouts[names] = found
                self._seen.update(dict.fromkeys(names))
        if found is None:
            wanted = (self._mapped["question"],) if "question" in self._mapped else USUAL_NAMES["question"]
            raise Unfit("no_question", f"no column {', '.join(wanted)} among {listed(names)}")
        return found

    def _find(self, names: tuple[str, ...]) -> Layout | None:
        by_folded: dict[str, str] = {}
        for name in names:
            by_folded.setdefault(_folded(name), name)
        columns: dict[str, str] = {}
        for field, usual in _FOLDED_NAMES.items():
            if field in self._mapped:
                column = self._mapped[field] if self._mapped[field] in names else None
            else:
                column = next((by_folded[name] for name in usual if name in by_folded), None)
            if column is not None:
                columns[field] = column
        if "question" not in columns:
            return None
        steps = (shape(by_folded, columns) for shape in SHAPES)
        return Layout(columns, tuple(step for step in steps if step is not None))

    def select(self, names: Sequence[str]) -> list[str]:
        """Return the columns to read from a source that has a header; a wrong mapping is an error here.

        Raises
        ------
        DataError
            A mapped column does not exist.
        """
        try:
            used = self.layout(tuple(names)).used()
        except Unfit:
            used = []
        self.check()
        return used

    def check(self) -> None:
        """Raise `DataError` when a mapped column was in no record."""
        if self._missing and self._seen:
            missing = listed(sorted(self._missing))
            raise DataError(f"{self.source}: there is no column {missing}; its columns are {listed(self._seen)}")
