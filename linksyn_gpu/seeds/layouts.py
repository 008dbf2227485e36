"""Layouts: where the records of a file hold the fields of a seed.

A layout is made once for all records with the same keys. It maps seed fields to columns by their usual names or as the
user says (`SeedsConfig.columns`). Shapes of records that need more than a name are functions in `SHAPES`, named after
the dataset that made them common; to support another one, add a function there and its name to `config.LAYOUTS`.
"""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from linksyn_gpu.config import SeedsConfig
from linksyn_gpu.errors import DataError
from linksyn_gpu.seeds.answers import is_reference
from linksyn_gpu.seeds.values import Unfit, decoded, kind_of, listed, text_of

USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "uid", "question_id"),
    "question": ("question", "prompt", "instruction", "problem", "query", "question_stem"),
    "answer": (
        *("answer", "response", "output", "solution"),
        *("answer_key", "correct_answer", "best_answer", "final_answer", "answers"),
    ),
    "options": ("options", "choices"),
    "disciplines": ("discipline", "disciplines", "subject", "category", "subject_name"),
    "difficulty": ("difficulty", "level"),
    "knowledge_points": ("knowledge_points", "kps", "concepts", "tags"),
    "language": ("language", "lang"),
    "source": ("source",),
    "license": ("license", "licence"),
    "explanation": ("explanation", "rationale", "analysis", "solution", "exp", "support"),
}
"""Names of the column of each field, in order of preference; case, `_`, `-` and spaces are ignored. The first one that
a record has is used, even when its value is empty: records with the same keys use the same columns."""

OTHER_ANSWERS = (
    *("label", "gold", "target", "targets", "completion", "correct", "correct_option", "correct_choice", "cop"),
    *("reference", "ground_truth", "ideal", "chosen", "mc1_targets"),
)
OTHER_OPTIONS = ("endings", "candidates", "answer_choices", "alternatives")
"""Further names of answers and options. Their meaning differs from bank to bank, so they are named, not used."""

MAX_FINAL_ANSWER = 100
"""Characters of the final answer after '####'; a longer last line is part of the text."""

Fields = dict[str, Any]
"""Seed field -> raw value. A dialogue has its (question, answer) pairs under 'pairs'."""

_MAX_LAYOUTS = 1024
_NAME_NOISE = re.compile(r"[_\-\s]")


def _folded(name: str) -> str:
    return _NAME_NOISE.sub("", name.casefold())


_FOLDED_NAMES = {field: tuple(map(_folded, names)) for field, names in USUAL_NAMES.items()}
_LIKE_ANSWERS = {*_FOLDED_NAMES["answer"], *map(_folded, OTHER_ANSWERS)}
_LIKE_OPTIONS = {*_FOLDED_NAMES["options"], *map(_folded, OTHER_OPTIONS)}


def has_question(names: Sequence[str]) -> bool:
    """Whether one of the columns is usual for a question."""
    return not {*map(_folded, names)}.isdisjoint(_FOLDED_NAMES["question"])


@dataclass(frozen=True)
class Step:
    """What a shape does with a record after its fields were read from their columns."""

    columns: tuple[str, ...]
    """Columns that it reads, or that its shape is known by."""
    gives: tuple[str, ...]
    """Seed fields that it sets from columns of its own: a field that the user maps is not set in this way."""
    apply: Callable[[Mapping[str, Any], Fields], bool]
    """Given the record and its fields, changes the fields in place; returns whether the record has the shape. Raises
    `Unfit` to reject the record."""


@dataclass(frozen=True)
class Layout:
    """How to read the fields of a seed from records with the same keys."""

    columns: Mapping[str, str]
    """Seed field -> column."""
    steps: Mapping[str, Step]
    """Name of a shape -> what it does."""
    all_turns: bool = False
    """Whether each pair of a dialogue is a seed; otherwise the last one is."""
    index_base: int | None = 0
    """What integer answers count from where the records do not show it; None: such answers stay unresolved."""

    def read(self, record: Mapping[str, Any]) -> tuple[str, list[Fields]]:
        """Return the name of the record's shape, and the raw values of each seed in it."""
        fields = {field: record[column] for field, column in self.columns.items()}
        found = [name for name, step in self.steps.items() if step.apply(record, fields)]
        name = found[0] if found else "columns"
        pairs = fields.pop("pairs", None)
        if not pairs:
            return name, [fields]
        if not self.all_turns:
            question, answer = pairs[-1]
            left_out = ("earlier_turns_left_out",) if len(pairs) > 1 else ()
            return name, [{**fields, "question": question, "answer": answer, "notes": left_out}]
        ids = [fields.get("id")] * len(pairs)
        if len(pairs) > 1 and (own := text_of("id", ids[0])).strip():
            ids = [f"{own}-{number}" for number in range(1, len(pairs) + 1)]
        both = zip(ids, pairs, strict=True)
        return name, [{**fields, "id": id_, "question": question, "answer": answer} for id_, (question, answer) in both]

    def used(self) -> list[str]:
        """Columns that `read` looks at."""
        of_steps = (name for step in self.steps.values() for name in step.columns)
        return list(dict.fromkeys([*self.columns.values(), *of_steps]))


# --- shapes: given the columns of a record by folded name and those found for the fields, a step, or None for no match


def _dialogue(*usual: str) -> Callable[[Mapping[str, str], Mapping[str, str]], Step | None]:
    """Turns of a user and an assistant, {role, content} or {from, value}, where no columns hold a QA."""

    def shape(names: Mapping[str, str], columns: Mapping[str, str]) -> Step | None:
        column = next((names[name] for name in usual if name in names), None)
        if column is None or ("question" in columns and "answer" in columns):
            return None

        def apply(record: Mapping[str, Any], fields: Fields) -> bool:
            fields["pairs"] = _pairs(column, decoded(record[column]))
            return True

        return Step((column,), ("question", "answer"), apply)

    return shape


_ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model", "bot"), "assistant"),
}


def _pairs(column: str, turns: Any) -> list[tuple[str, str]]:
    """Return the (question, answer) pairs of a dialogue; turns of other roles are not part of a pair."""
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise Unfit("wrong_type", f"{column} is {kind_of(turns)}, not a list of turns")
    pairs: list[tuple[str, str]] = []
    asked: list[str] = []
    for turn in turns:
        role = _ROLES.get(text_of("a role", turn.get("role", turn.get("from"))).strip().lower())
        text = _turn_text(turn.get("content", turn.get("value")))
        if role == "user" and text.strip():
            asked.append(text)
        elif role == "assistant" and text.strip() and asked:
            pairs.append(("\n\n".join(asked), text))
            asked = []
    if not pairs and asked:
        pairs = [("\n\n".join(asked), "")]
    if not pairs:
        raise Unfit("no_question", f"{column} has no turn of a user with text")
    return pairs


def _turn_text(value: Any) -> str:
    """Return the text of a turn, which may be a list of parts with type 'text'."""
    if isinstance(value, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in value]
        return "\n".join(text for part in parts if (text := text_of("a part of a turn", part)))
    return text_of("a turn", value)


def _alpaca(names: Mapping[str, str], columns: Mapping[str, str]) -> Step | None:
    """A non-blank `input` follows the question in `instruction` after a blank line."""
    column = names.get("input")
    if column is None or column in columns.values() or _folded(columns.get("question", "")) != "instruction":
        return None

    def apply(record: Mapping[str, Any], fields: Fields) -> bool:
        question = fields["question"]
        if isinstance(question, str) and question.strip() and (extra := text_of("input", record[column])).strip():
            fields["question"] = f"{question}\n\n{extra}"
        return True

    return Step((column,), (), apply)


def _gsm8k(names: Mapping[str, str], columns: Mapping[str, str]) -> Step | None:
    """The last line of the answer is '#### 42', the final answer; <<6*7=42>> are marks for a calculator."""
    if "answer" not in columns:
        return None

    def apply(record: Mapping[str, Any], fields: Fields) -> bool:
        text = fields["answer"]
        if not isinstance(text, str):
            return False
        before, mark, final = text.rpartition("####")
        final = final.strip()
        if not mark or not 0 < len(final) <= MAX_FINAL_ANSWER or "\n" in final or before[-1:] not in ("", "\n"):
            return False
        fields["answer"], fields["explanation"] = final, _CALCULATION.sub("", before).strip()
        return True

    return Step((), (), apply)


_CALCULATION = re.compile(r"<<[^<>\n]*>>")


def _math(names: Mapping[str, str], columns: Mapping[str, str]) -> Step | None:
    r"""A `problem` with a `solution`, whose last \boxed{...} is the answer; `type` is the discipline."""
    if _folded(columns.get("question", "")) != "problem" or _folded(columns.get("answer", "")) != "solution":
        return None
    kind = names.get("type") if "disciplines" not in columns else None

    def apply(record: Mapping[str, Any], fields: Fields) -> bool:
        if kind is not None:
            fields["disciplines"] = record[kind]
        solution = fields["answer"]
        final = _boxed(solution) if isinstance(solution, str) else None
        if final is None:
            return False
        fields["answer"], fields["explanation"] = final, solution
        return True

    return Step(() if kind is None else (kind,), (), apply)


def _boxed(text: str) -> str | None:
    r"""Return what the last \boxed{...} or \fbox{...} of a solution holds; None where there is none."""
    at = max(text.rfind(r"\boxed{"), text.rfind(r"\fbox{"))
    if at < 0:
        return None
    start = text.index("{", at) + 1
    depth, end = 1, start
    while depth and end < len(text):
        if text[end] == "\\":
            end += 1  # \{ and \} are text
        elif text[end] in "{}":
            depth += 1 if text[end] == "{" else -1
        end += 1
    return text[start : end - 1].strip() or None if depth == 0 else None


def _arc(names: Mapping[str, str], columns: Mapping[str, str]) -> Step | None:
    """`answerKey` names one of the choices {text, label}; the question may be an object with its stem and choices."""
    if _folded(columns.get("answer", "")) != "answerkey" or "question" not in columns:
        return None

    def apply(record: Mapping[str, Any], fields: Fields) -> bool:
        question = decoded(fields["question"])
        if isinstance(question, dict) and "stem" in question:
            fields["question"], fields["options"] = question["stem"], question.get("choices")
        return True

    return Step((), (), apply)


def _mmlu(names: Mapping[str, str], columns: Mapping[str, str]) -> Step | None:
    """A list of choices; the answer is the index of one, or its letter."""
    if not {"question", "options", "answer"} <= set(columns):
        return None

    def apply(record: Mapping[str, Any], fields: Fields) -> bool:
        return bool(fields["options"]) and is_reference(fields["answer"])

    return Step((), (), apply)


def _ceval(names: Mapping[str, str], columns: Mapping[str, str]) -> Step | None:
    """Options in columns A, B, C, ... (C-Eval, CMMLU, MMLU as CSV)."""
    letters = list(itertools.takewhile(lambda letter: letter in names, string.ascii_lowercase))
    own = tuple(names[letter] for letter in letters)
    if "options" in columns or not set(own).isdisjoint(columns.values()):
        return None
    return _options_in(own)


def _options_in(own: tuple[str, ...]) -> Step | None:
    """Options in these columns; the answer may be the letter of one, by its place."""
    if len(own) < 2:
        return None

    def apply(record: Mapping[str, Any], fields: Fields) -> bool:
        texts = (text_of(name, record[name]) for name in own)
        fields["options"] = {
            letter: text for letter, text in zip(string.ascii_uppercase, texts, strict=False) if text.strip()
        }
        return True

    return Step(own, ("options",), apply)


def _sciq(names: Mapping[str, str], columns: Mapping[str, str]) -> Step | None:
    """A correct answer and distractors, each in a column (SciQ, GPQA). The options are sorted, so that the place of
    the answer tells nothing."""
    wrong = [column for name, column in names.items() if re.fullmatch(r"distractor\d*|incorrectanswer\d+", name)]
    if "correctanswer" not in names or not wrong:
        return None
    correct, own = names["correctanswer"], tuple(wrong)

    def apply(record: Mapping[str, Any], fields: Fields) -> bool:
        fields["answer"] = record[correct]
        texts = {text_of(name, record[name]) for name in (correct, *own)}
        fields["options"] = sorted(text for text in texts if text.strip())
        return True

    return Step((correct, *own), ("answer", "options"), apply)


def _medmcqa(names: Mapping[str, str], columns: Mapping[str, str]) -> Step | None:
    """Options in columns opa, opb, ...; `cop` is the number of one, counted from 0 or from 1."""
    own = tuple(names[f"op{letter}"] for letter in string.ascii_lowercase[:8] if f"op{letter}" in names)
    options = _options_in(own)
    if "cop" not in names or options is None:
        return None
    answer = names["cop"]

    def apply(record: Mapping[str, Any], fields: Fields) -> bool:
        fields["answer"] = record[answer]
        return options.apply(record, fields)

    return Step((answer, *own), ("answer", "options"), apply)


def _squad(names: Mapping[str, str], columns: Mapping[str, str]) -> Step | None:
    """A question about a `context`, which goes before it; the first of `answers` is the answer."""
    if not {"context", "answers"} <= set(names) or "question" not in columns:
        return None
    context, answers = names["context"], names["answers"]

    def apply(record: Mapping[str, Any], fields: Fields) -> bool:
        question, passage = fields["question"], text_of("context", record[context])
        if isinstance(question, str) and question.strip() and passage.strip():
            fields["question"] = f"{passage}\n\n{question}"
        found = decoded(record[answers])
        if isinstance(found, dict):
            found = found.get("text")
        if isinstance(found, list):
            found = found[0] if found else None
        fields["answer"] = found.get("text") if isinstance(found, dict) else found
        return True

    return Step((context, answers), ("answer",), apply)


def _truthfulqa(names: Mapping[str, str], columns: Mapping[str, str]) -> Step | None:
    """`best_answer` is the answer, also next to lists of correct and incorrect ones."""
    if "bestanswer" not in names or "question" not in columns:
        return None
    column = names["bestanswer"]

    def apply(record: Mapping[str, Any], fields: Fields) -> bool:
        fields["answer"] = record[column]
        return True

    return Step((column,), ("answer",), apply)


def _hotpotqa(names: Mapping[str, str], columns: Mapping[str, str]) -> Step | None:
    """A question over several documents. Its context is long and the question complete without it: it is not read."""
    if "supportingfacts" not in names or not {"question", "answer"} <= set(columns):
        return None
    return Step((names["supportingfacts"],), (), lambda record, fields: True)


SHAPES: Mapping[str, Callable[[Mapping[str, str], Mapping[str, str]], Step | None]] = {
    "chat": _dialogue("messages"),
    "sharegpt": _dialogue("conversations", "conversation"),
    "alpaca": _alpaca,
    "gsm8k": _gsm8k,
    "math": _math,
    "arc": _arc,
    "sciq": _sciq,
    "medmcqa": _medmcqa,
    "ceval": _ceval,
    "mmlu": _mmlu,
    "squad": _squad,
    "truthfulqa": _truthfulqa,
    "hotpotqa": _hotpotqa,
}
"""Each is given the columns of a record by their folded names, and the columns found for the fields; it returns what
to do with such records, or None when they do not have its shape. The first one that a record has names its layout."""


class Layouts:
    """The layouts of the records of one source.

    Parameters
    ----------
    source : str
        Name of the file, for messages.
    config : SeedsConfig
        Its `columns`, `layout` and `turns`.
    """

    def __init__(self, source: str, config: SeedsConfig) -> None:
        self.source = source
        # The options may be in several columns: 'A,B,C,D'.
        self._mapped = {
            field: [name.strip() for name in column.split(",")] if field == "options" else [column]
            for field, column in config.columns.items()
        }
        self._all_turns = config.turns == "all"
        self._chosen = config.layout
        self._missing = {column for columns in self._mapped.values() for column in columns}
        self._seen: dict[str, None] = {}  # columns in order of appearance
        self._layouts: dict[tuple[str, ...], Layout | None] = {}
        self.unused: dict[str, str] = {}
        """Column that looks like an answer or like options and was not used -> the field."""

    def layout(self, names: tuple[str, ...]) -> Layout:
        """Return the layout of records with these keys.

        Raises
        ------
        Unfit
            They have no question, or not the columns of the layout that the user chose.
        """
        if names in self._layouts:
            found = self._layouts[names]
        else:
            found = self._find(names)
            if len(self._layouts) < _MAX_LAYOUTS:  # a limit for files whose records all have different keys
                self._layouts[names] = found
                self._seen.update(dict.fromkeys(names))
        if found is None:
            if self._chosen not in ("auto", "columns"):
                raise Unfit(
                    "no_question",
                    f"not the columns of layout {self._chosen}, or its fields are mapped: {listed(names)}",
                )
            wanted = self._mapped.get("question", USUAL_NAMES["question"])
            raise Unfit("no_question", f"no column {', '.join(wanted)} among {listed(names)}")
        return found

    def _find(self, names: tuple[str, ...]) -> Layout | None:
        by_folded: dict[str, str] = {}
        for name in names:
            by_folded.setdefault(_folded(name), name)
        self._missing.difference_update(names)
        columns: dict[str, str] = {}
        for field, usual in _FOLDED_NAMES.items():
            if field in self._mapped:
                own = self._mapped[field] if len(self._mapped[field]) == 1 else []  # several are read by a step
            else:
                own = [by_folded[name] for name in usual if name in by_folded]
            if field == "explanation":  # the column of the answer does not explain it
                own = [name for name in own if name != columns.get("answer")]
            if own and own[0] in names:
                columns[field] = own[0]
        steps = self._steps(names, by_folded, columns)
        if steps is None or not ("question" in columns or any("question" in step.gives for step in steps.values())):
            return None
        layout = Layout(columns, steps, self._all_turns, None if "medmcqa" in steps else 0)
        used = set(layout.used())
        for name, column in by_folded.items():
            if column not in used and name in _LIKE_ANSWERS | _LIKE_OPTIONS:
                self.unused[column] = "answer" if name in _LIKE_ANSWERS else "options"
        return layout

    def _steps(
        self, names: Sequence[str], by_folded: Mapping[str, str], columns: Mapping[str, str]
    ) -> dict[str, Step] | None:
        """Return the steps of the shapes that fit; None when the layout that the user chose does not."""
        steps: dict[str, Step] = {}
        own = tuple(self._mapped.get("options", ()))
        if set(own) <= set(names) and (step := _options_in(own)) is not None:
            steps["columns"] = step
        if self._chosen == "columns":
            return steps
        for name in SHAPES if self._chosen == "auto" else (self._chosen,):
            step = SHAPES[name](by_folded, columns)
            if step is not None and self._mapped.keys().isdisjoint(step.gives):
                steps[name] = step
            elif self._chosen != "auto":
                return None
        return steps

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
