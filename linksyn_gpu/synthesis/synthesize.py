"""Answers -> kept QA, and what was dropped, each with its reason.

Memory holds the seed table, the journal's index (25 bytes per request; three times that while it is read), 8 bytes per
seed and about 9 per kept QA.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linksyn_gpu.cluster import MapShards, with_keys
from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.llm.protocol import ITEM_MISSING, REQUEST_REASONS, Failure, from_record, unusable
from linksyn_gpu.synthesis import answers, prompts
from linksyn_gpu.synthesis.answers import Parsed
from linksyn_gpu.synthesis.requests import BATCH_ROWS, SeedRows, Sources
from linksyn_gpu.tables import Asked, Item, RowWriter, without_cut_explanation
from linksyn_gpu.text import COMPLETION_GUESS

if TYPE_CHECKING:
    import pyarrow as pa

    from linksyn_gpu.llm.journal import Index, Journal
    from linksyn_gpu.llm.protocol import Completion, Outcome

TALLIES = (
    "answers_with_surplus",
    "explanations_left_out",
    "prompt_tokens",
    "completion_tokens",
    "prompt_tokens_estimated",
    "pending_prompt_tokens",
)
STAGES = ("path", "request", "answer", "items", "qa")
INT32_MAX = 2**31 - 1
"""Largest number of tokens in a row; some servers report nonsense."""

Inspect = Callable[[Item, Asked], Any]
"""What the checks find of one item. It runs in any process."""
Admit = Callable[[Item, Any], tuple[str, str] | None]
"""Why an item is dropped, as (reason, detail), by what `Inspect` found and the items before; None: it is kept."""
Task = Mapping[str, Any]
"""A row of tasks.parquet."""


def dropped_schema() -> pa.Schema:
    """Columns of dropped.parquet. `stage` is one of `STAGES`; `text` is what the model wrote, if anything.

    A row of stage 'items' says that an answer has fewer or more items than were asked for: nothing else is dropped.
    """
    import pyarrow as pa

    names = ("stage", "reason", "detail", "request_id", "walk_id", "text")
    return pa.schema([(name, pa.int64() if name == "walk_id" else pa.string()) for name in names])


@dataclass(frozen=True, slots=True)
class Examined:
    """An answer that was read, before its items are compared with others."""

    parsed: Parsed
    """Its items have no explanations that the schema's limit cut off."""
    explanations_left_out: int
    found: Sequence[Any]
    """What `Inspect` found of each item."""


@dataclass(frozen=True)
class Examine:
    """Reads the answers of a shard: texts, and what was asked for. It runs in any process."""

    per_path: int
    inspect: Inspect

    def __call__(self, answered: Sequence[tuple[str, Asked]]) -> list[Examined]:
        return [self._read(text, asked) for text, asked in answered]

    def _read(self, text: str, asked: Asked) -> Examined:
        parsed = answers.parse(text, self.per_path)
        items = tuple(without_cut_explanation(item, asked.limits) for item in parsed.items)
        left_out = sum(item is not written for item, written in zip(items, parsed.items, strict=True))
        return Examined(replace(parsed, items=items), left_out, [self.inspect(item, asked) for item in items])


def assemble(
    journal: Journal,
    index: Index,
    tasks_file: str | Path,
    out: Assembly,
    kept: RowWriter,
    dropped: RowWriter,
    map_shards: MapShards = map,
) -> dict[str, Any]:
    """Turn answers into rows of kept QA and of drops, in the order of the requests.

    Parameters
    ----------
    index : Index
        What the journal holds.
    kept, dropped : RowWriter
        For rows of `tables.qa_schema` and of `dropped_schema`.
    map_shards : callable
        Maps `out.examine` over the answers.

    Returns
    -------
    dict
        Requests and QA are counted apart. `requests` = `answered` + `failed` (no usable answer, `failed_by_reason`) +
        `pending` (still to be asked; `pending_reasons`: 'no_answer' or a failure that passes,
        `llm.protocol.TRANSIENT`). `paths_dropped` made no request (`paths_dropped_by_reason`). QA: `written` = `kept` +
        `dropped` (`dropped_by_reason`); `items_missing` were asked for, and are not in the answers; the further items
        of `answers_with_surplus` are not read. `cells` has the same counts for each cell of the plan that has paths.
        `explanations_left_out` were cut off by the schema's limit.
    """
    import pyarrow.parquet as pq

    def shards() -> Iterator[tuple[list[tuple[Task, Outcome | None]], list[tuple[str, Asked]]]]:
        with pq.ParquetFile(tasks_file) as tasks:
            for batch in tasks.iter_batches(BATCH_ROWS):
                rows = [(task, outcome_of(task, journal, index)) for task in batch.to_pylist()]
                yield rows, out.answered(rows)

    for rows, examined in with_keys(map_shards, out.examine, shards()):
        out.take(rows, examined)
        kept.write(out.kept)
        dropped.write(out.dropped)
    return {**out.summary(), "journal_damaged": index.damaged}


def outcome_of(task: Task, journal: Journal, index: Index) -> Outcome | None:
    """What the journal holds of a task's request; None: nothing, or there is no request."""
    record = None if task["request_id"] is None else journal.get(task["request_id"], index)
    return None if record is None else from_record(record)


@dataclass
class AnswerCounts:
    """Requests and QA, each divided without a rest: of one cell of the plan, or of all."""

    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Requests without a usable answer, by reason."""
    pending: Counter[str] = field(default_factory=Counter)
    paths_dropped: Counter[str] = field(default_factory=Counter)
    """Paths that made no request."""
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """QA, by reason."""
    items_missing: int = 0

    def add(self, other: AnswerCounts) -> None:
        """Add the counts of another tally."""
        self.answered += other.answered
        self.kept += other.kept
        self.items_missing += other.items_missing
        for name in ("failed", "pending", "paths_dropped", "dropped"):
            getattr(self, name).update(getattr(other, name))

    def counts(self) -> dict[str, Any]:
        """The counts as plain data, see `assemble`."""
        return {
            "requests": self.answered + self.failed.total() + self.pending.total(),
            "answered": self.answered,
            "failed": self.failed.total(),
            "failed_by_reason": dict(self.failed),
            "pending": self.pending.total(),
            "pending_reasons": dict(self.pending),
            "paths_dropped": self.paths_dropped.total(),
            "paths_dropped_by_reason": dict(self.paths_dropped),
            "written": self.kept + self.dropped.total(),
            "kept": self.kept,
            "dropped": self.dropped.total(),
            "dropped_by_reason": dict(self.dropped),
            "items_missing": self.items_missing,
        }


class Assembly:
    """Decides on answers and counts them; the rows of the current batch are in `kept` and `dropped`.

    Parameters
    ----------
    inspect, admit : callable
        The checks of an item.
    license_groups : sequence of str or None
        Of the cells of the plan.
    """

    def __init__(
        self, sources: Sources, inspect: Inspect, admit: Admit, license_groups: Sequence[str | None] = ()
    ) -> None:
        self._license_groups = license_groups
        self._ids = SeedRows(sources.seeds.select(["id", "difficulty"]))
        self._kp_names = sources.kp_names
        self._config = sources.config
        self._limits = prompts.text_limits(sources.config.field_limit)
        self._digest = prompts.synthesis_digest(sources.config.templates)
        self.examine = Examine(sources.config.per_path, inspect)
        self._admit = admit
        self._seeds: dict[int, dict[str, Any]] = {}
        self.kept: list[dict[str, Any]] = []
        self.dropped: list[dict[str, Any]] = []
        self._counts: Counter[str] = Counter()
        self._cells: defaultdict[int, AnswerCounts] = defaultdict(AnswerCounts)

    def answered(self, rows: Sequence[tuple[Task, Outcome | None]]) -> list[tuple[str, Asked]]:
        """The answers among outcomes that can be read: their texts, and what was asked for."""
        return [
            (outcome.text, Asked(task["question_type"], task["language"], self._limits))
            for task, outcome in rows
            if outcome is not None and not isinstance(outcome, Failure) and not unusable(outcome)
        ]

    def take(self, rows: Sequence[tuple[Task, Outcome | None]], examined: Sequence[Examined]) -> None:
        """Decide on the outcomes of the next batch of tasks; `examined` are those in `answered`."""
        self.kept, self.dropped = [], []
        self._seeds = self._ids.take(i for task, _ in rows if task["request_id"] is not None for i in task["seeds"])
        answers = iter(examined)
        for task, outcome in rows:
            if task["request_id"] is None:
                self._drop("path", task["drop_reason"], task["detail"], task)
            elif outcome is None:
                self._wait_for(task, "no_answer")
            else:
                self._take(task, outcome, answers)

    def _take(self, task: Task, outcome: Outcome, examined: Iterator[Examined]) -> None:
        if isinstance(outcome, Failure) and outcome.transient:  # the same rule as in `Index.settled`
            self._wait_for(task, outcome.reason)
            return
        self._counts["prompt_tokens_estimated"] += task["prompt_tokens_estimated"]
        self._counts["prompt_tokens"] += outcome.prompt_tokens
        self._counts["completion_tokens"] += outcome.completion_tokens
        if isinstance(outcome, Failure):
            stage = "request" if outcome.reason in REQUEST_REASONS else "answer"
            self._drop(stage, outcome.reason, outcome.detail, task, outcome.text)
            return
        if reason := unusable(outcome):  # only batch files bring such answers: a client asks again
            self._drop("answer", reason, f"finish_reason {outcome.finish_reason}", task, outcome.text)
            return
        n, tally = self._config.per_path, self._cells[task["cell"]]
        answer = next(examined)
        parsed = answer.parsed
        if parsed.reason is not None:
            self._drop("answer", parsed.reason, parsed.detail, task, outcome.text)
            return
        tally.answered += 1
        self._counts["explanations_left_out"] += answer.explanations_left_out
        for number, (item, found) in enumerate(zip(parsed.items, answer.found, strict=True)):
            if (fault := self._admit(item, found)) is None:
                self.kept.append(self._qa_row(task, outcome, item, number))
                tally.kept += 1
            else:
                text = {"question": item.question, "options": item.options, "answer": item.answer}
                self._drop("qa", *fault, task, json.dumps(text, ensure_ascii=False))
        if missing := n - len(parsed.items):
            tally.items_missing += missing
            self._add_row("items", ITEM_MISSING, f"{len(parsed.items)} of {n} items in the answer", task)
        if parsed.surplus:
            self._counts["answers_with_surplus"] += 1
            self._add_row("items", "item_surplus", f"{parsed.surplus:,} more than the {n} asked for", task)

    def _wait_for(self, task: Task, reason: str) -> None:
        """Count a request that is still to be asked."""
        self._cells[task["cell"]].pending[reason] += 1
        self._counts["pending_prompt_tokens"] += task["prompt_tokens_estimated"]

    def _drop(self, stage: str, reason: str, detail: str | None, task: Task, text: str | None = None) -> None:
        """Count a path, a request or a QA that is dropped, and add its row."""
        tally = self._cells[task["cell"]]
        {"path": tally.paths_dropped, "qa": tally.dropped}.get(stage, tally.failed)[reason] += 1
        self._add_row(stage, reason, detail, task, text)

    def _add_row(self, stage: str, reason: str, detail: str | None, task: Task, text: str | None = None) -> None:
        self.dropped.append(
            {
                "stage": stage,
                "reason": reason,
                "detail": detail,
                **{name: task[name] for name in ("request_id", "walk_id")},
                "text": text,
            }
        )

    def summary(self) -> dict[str, Any]:
        """Counts of all batches so far, see `assemble`."""
        total = AnswerCounts()
        for tally in self._cells.values():
            total.add(tally)
        return {
            **total.counts(),
            **{name: self._counts[name] for name in TALLIES},
            "pending_completion_tokens": self._expected_completions(total),
            "cells": [{"cell": cell, **tally.counts()} for cell, tally in sorted(self._cells.items())],
        }

    def _expected_completions(self, total: AnswerCounts) -> int:
        settled = total.answered + total.failed.total()
        mean = self._counts["completion_tokens"] / settled if settled else COMPLETION_GUESS
        return round(mean * total.pending.total())

    def _qa_row(self, task: Task, answer: Completion, item: Item, number: int) -> dict[str, Any]:
        return {
            "id": f"{task['request_id']}-{number}",
            **written_columns(item, answer),
            "discipline": task["discipline"] or item.discipline,
            "difficulty": item.difficulty if item.difficulty is not None else task["difficulty"],
            **{name: task[name] for name in ("language", "question_type", "walk_id", "cell", "request_id")},
            "path": [self._kp_names[v] for v in task["nodes"]],
            "seed_ids": [self._seeds[i]["id"] for i in task["seeds"]],
            "seed_difficulties": [self._seeds[i]["difficulty"] for i in task["seeds"]],
            "difficulty_asked": task["difficulty_asked"],
            "prompt_digest": self._digest,
            "license_group": self._license_groups[task["cell"]] if self._license_groups else None,
            "seed": task["seed"] if answer.seed is None else answer.seed,
            "max_tokens": task["max_tokens"] if answer.max_tokens is None else answer.max_tokens,
            **sampling_columns(self._config, answer),
        }


def written_columns(item: Item, answer: Completion) -> dict[str, Any]:
    """Columns of `tables.qa_schema` that a model's answer gives."""
    return {
        "question": item.question,
        "options": list(item.options),
        "answer": item.answer,
        "explanation": item.explanation,
        "reasoning": answer.reasoning,
        "knowledge_points": list(item.knowledge_points),
        "model": answer.model,
        "prompt_tokens": min(answer.prompt_tokens, INT32_MAX),
        "completion_tokens": min(answer.completion_tokens, INT32_MAX),
    }


def sampling_columns(config: SynthesisConfig, answer: Completion) -> dict[str, Any]:
    """Columns of the sampling parameters; null where a parameter was not sent."""
    left_out = sorted({*answer.left_out, *config.without}) if config.engine == "batch" else list(answer.left_out)
    columns: dict[str, Any] = {"temperature": config.temperature, "top_p": config.top_p, "left_out": left_out}
    return columns | {name: None for name in left_out if name in ("temperature", "top_p", "seed", "max_tokens")}
