"""Rule checks of single QA: keep, or a reason. Cheap and deterministic, without a model.

`CHECKS` lists them in their order; the first that finds a fault gives the reason. A check is a function of one `Row`
that returns what it found, or None.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from linksyn_gpu.config import ChecksConfig
from linksyn_gpu.quality.checks import answer, choices, echo, question, text
from linksyn_gpu.quality.checks.repeats import DigestSet, repeat_keys
from linksyn_gpu.quality.checks.row import Row, item_of
from linksyn_gpu.tables import Asked, Item

if TYPE_CHECKING:
    import pyarrow as pa

Check = Callable[[Row], str | None]

CHECKS: tuple[tuple[str, Check, str], ...] = (
    ("empty_question", question.empty_question, "the question is empty"),
    ("empty_answer", answer.empty_answer, "the answer is empty or only punctuation"),
    ("control_characters", text.control_characters, "a text has control characters, or was read in a wrong encoding"),
    ("placeholder", text.placeholder, "a text is a placeholder, or contains one"),
    ("echo_of_prompt", echo.prompt_phrase, "a text repeats a passage of the prompt or its schema"),
    ("degenerate", text.degenerate, "a text repeats itself or is noise"),
    ("wrong_language", text.wrong_language, "a text is not in the language asked for"),
    ("mixed_languages", text.mixed_languages, "a text changes its language"),
    ("refusal", answer.refusal, "the model refuses, or speaks of itself or to its user"),
    ("options_in_question", choices.options_in_question, "an open question contains its options"),
    ("cut_text", text.cut_text, "a text is as long as the schema allows, or ends in mid-sentence"),
    ("too_short", question.too_short, "the question has no subject, or is a few words without a question or task"),
    ("implausible_length", question.implausible_length, "a text is too long or too short for its type of question"),
    ("missing_options", choices.missing_options, "options are asked about and missing"),
    ("empty_option", choices.empty_option, "an option has no text"),
    ("duplicate_options", choices.duplicate_options, "two options are the same"),
    ("answer_not_in_options", choices.answer_not_in_options, "the answer names none of the options, or several"),
    ("catch_all_option", choices.catch_all_option, "the right option is 'all of the above' or the like"),
    ("answer_is_label", answer.answer_is_label, "an open question is answered with the letter of an option"),
    ("answer_is_question", answer.answer_is_question, "the answer only repeats the question"),
    ("answer_given_away", answer.answer_given_away, "the question states its answer"),
    ("private_data", text.private_data, "a text has an e-mail address, a telephone number or a key"),
    ("markup", text.markup, "HTML, Markdown or a token of a chat template is left in a text"),
    ("unbalanced", text.unbalanced, "a formula, bracket, quotation mark or code fence is not closed"),
    ("not_self_contained", question.not_self_contained, "a text needs a passage, figure or question that is missing"),
    ("several_questions", question.several_questions, "several questions in one"),
    ("asks_nothing", question.asks_nothing, "the question asks nothing"),
    ("no_number", answer.no_number, "a calculation without a number"),
    ("answers_disagree", answer.answers_disagree, "the explanation concludes with another answer"),
    ("unrelated_answer", answer.unrelated_answer, "question and answer have nothing in common"),
)
"""(reason, check, meaning), in the order of the checks."""
REASONS = {reason: meaning for reason, _, meaning in CHECKS} | {
    "repeats_seed": "the question is the same as a seed's (with options: and the options or the right option too)",
    "repeats_batch": "the question was already asked by an earlier item of this run (same comparison)",
}
"""Every reason for a drop."""
COMPARED = ["question", "options", "answer"]
"""Columns of seeds and of new QA that decide whether a question is a repeat."""
DEFAULT = ChecksConfig()


def find_fault(
    item: Item, asked: Asked, config: ChecksConfig = DEFAULT, similarity: float | None = None
) -> tuple[str, str] | None:
    """Why a QA is dropped, as (reason, detail); None: it is kept.

    Parameters
    ----------
    similarity : float, optional
        Cosine of the vectors of question and answer, where vectors are configured.
    """
    return _fault(Row(item, asked, config, similarity))


def _fault(row: Row) -> tuple[str, str] | None:
    """What the first check that finds something finds."""
    for reason, check in _chosen(row.config.off):
        if (found := check(row)) is not None:
            return reason, found
    return None


@functools.lru_cache(maxsize=16)
def _chosen(off: tuple[str, ...]) -> tuple[tuple[str, Check], ...]:
    """The checks that are not left out."""
    return tuple((reason, check) for reason, check, _ in CHECKS if reason not in off)


def fault_of_row(
    row: Mapping[str, Any], config: ChecksConfig = DEFAULT, similarity: float | None = None
) -> tuple[str, str] | None:
    """Why a row of a QA file is dropped, as (reason, detail); None: it is kept. `row.item_of` says how it is read."""
    return find_fault(*item_of(row), config, similarity)


def faults_of_rows(rows: pa.RecordBatch, config: ChecksConfig = DEFAULT) -> dict[int, tuple[str, str]]:
    """Faults of rows of a QA file, by their place; see `fault_of_row`."""
    found = ((place, fault_of_row(row, config)) for place, row in enumerate(rows.to_pylist()))
    return {place: fault for place, fault in found if fault is not None}


class Inspected(NamedTuple):
    """What the rules say of one item, and what decides whether it repeats another one."""

    fault: tuple[str, str] | None
    same: Sequence[int] = ()
    own: Sequence[int] = ()
    """See `repeats.repeat_keys`."""


class ItemRules:
    """The checks that need only an item and the prompt. It can be pickled; parameters as of `Checker`."""

    def __init__(self, instructions: str = "", config: ChecksConfig = DEFAULT) -> None:
        self._instructions = echo.Instructions(instructions)
        self._config = config

    def __call__(self, item: Item, asked: Asked) -> Inspected:
        row = Row(item, asked, self._config)
        if (fault := _fault(row)) is not None:
            return Inspected(fault)
        if "echo_of_prompt" not in self._config.off and (passage := self._instructions.repeated(row)) is not None:
            return Inspected(("echo_of_prompt", passage))
        return Inspected(None, *repeat_keys(item.question, item.options, item.answer))


class Checker:
    """Checks items one after the other and remembers the questions of those that pass.

    Parameters
    ----------
    seeds, earlier : iterable of mapping
        Rows with the columns `COMPARED` that no new item may repeat: seeds, and what this run has already.
        The checker keeps 8 bytes per question, 24 per multiple choice question.
    instructions : str
        Fixed text of the prompts, which no item may repeat.
    config : ChecksConfig
        Thresholds of the checks.
    """

    def __init__(
        self,
        seeds: Iterable[Mapping[str, Any]] = (),
        instructions: str = "",
        earlier: Iterable[Mapping[str, Any]] = (),
        config: ChecksConfig = DEFAULT,
    ) -> None:
        self._seeds, self._seen = (
            DigestSet(
                key for row in rows for key in repeat_keys(row["question"], row["options"] or (), row["answer"])[1]
            )
            for rows in (seeds, earlier)
        )
        self.rules = ItemRules(instructions, config)

    def check(self, item: Item, asked: Asked) -> tuple[str, str] | None:
        """Why the item is dropped, as (reason, detail); None: it is kept.

        A later item with the same question as a kept one is 'repeats_batch'.
        """
        return self.admit(item, self.rules(item, asked))

    def admit(self, item: Item, found: Inspected) -> tuple[str, str] | None:
        """`check` with what `ItemRules` found of the item, perhaps in another process."""
        if found.fault is not None:
            return found.fault
        for reason, known in (("repeats_seed", self._seeds), ("repeats_batch", self._seen)):
            if any(key in known for key in found.same):
                return reason, item.question[:80]
        for key in found.own:
            self._seen.add(key)
        return None
