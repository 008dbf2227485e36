"""Answers -> kept QA, and what was dropped, each with its reason.

Memory holds the seed table, the journal's index (25 bytes per request; three times that while it is read), 8 bytes per
seed and about 9 per kept QA.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.llm.protocol import ITEM_MISSING, REQUEST_REASONS, Failure, from_record, unusable
from linksyn_gpu.synthesis import answers, prompts
from linksyn_gpu.synthesis.requests import BATCH_ROWS, SeedRows, Sources
from linksyn_gpu.tables import Asked, Item, RowWriter, without_cut_explanation
from linksyn_gpu.text import COMPLETION_GUESS

if TYPE_CHECKING:
    import pyarrow as pa

    from linksyn_gpu.llm.journal import Index, Journal
    from linksyn_gpu.llm.protocol import Completion, Outcome

TALLIES = (
    "requests_answered",
    "explanations_left_out",
    "prompt_tokens",
    "completion_tokens",
    "prompt_tokens_estimated",
    "pending_prompt_tokens",
)
STAGES = ("path", "request", "answer", "qa")
INT32_MAX = 2**31 - 1
"""Largest number of tokens in a row; some servers report nonsense."""

Check = Callable[[Item, Asked], tuple[str, str] | None]
"""Why an item is dropped, as (reason, detail); None: it is kept."""


def dropped_schema() -> pa.Schema:
    """Columns of dropped.parquet. `stage` is one of `STAGES`; `text` is what the model wrote, if anything."""
    import pyarrow as pa

    names = ("stage", "reason", "detail", "request_id", "walk_id", "text")
    return pa.schema([(name, pa.int64() if name == "walk_id" else pa.string()) for name in names])


def assemble(
    journal: Journal, index: Index, tasks_file: str | Path, out: Assembly, kept: RowWriter, dropped: RowWriter
) -> dict[str, Any]:
    """Turn answers into rows of kept QA and of drops, in the order of the requests.

    Parameters
    ----------
    index : Index
        What the journal holds.
    kept, dropped : RowWriter
        For rows of `tables.qa_schema` and of `dropped_schema`.

    Returns
    -------
    dict
        `generated` = `kept` + `dropped`, where `generated` counts the items asked for, one for each request or answer
        that gave none, and one ('item_surplus') for each answer with more items than that; `paths_dropped` made no
        request. `pending` requests are still to be asked: `pending_reasons` is {reason: n} of them, 'no_answer' or a
        failure that passes (`llm.protocol.TRANSIENT`). `reasons` is
        {stage: {reason: n}}, `kept_by_cell` {cell: n}; `explanations_left_out` were cut off by the schema's limit.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(tasks_file) as tasks:
        for batch in tasks.iter_batches(BATCH_ROWS):
            rows = batch.to_pylist()
            out.begin(rows)
            for task in rows:
                if task["request_id"] is None:
                    out.drop("path", task["drop_reason"], task["detail"], task)
                elif (record := journal.get(task["request_id"], index)) is None:
                    out.wait_for(task, "no_answer")
                else:
                    out.take(task, from_record(record))
            kept.write(out.kept)
            dropped.write(out.dropped)
    return {**out.summary(), "journal_damaged": index.damaged}


class Assembly:
    """Decides on answers and counts them; the rows of the current batch are in `kept` and `dropped`.

    Parameters
    ----------
    check : callable
        The rule checks of an item.
    """

    def __init__(self, sources: Sources, check: Check) -> None:
        self._ids = SeedRows(sources.seeds.select(["id"]))
        self._kp_names = sources.kp_names
        self._config = sources.config
        self._limits = prompts.text_limits(sources.config.field_limit)
        self._digest = prompts.synthesis_digest(sources.config.templates)
        self._check = check
        self._seeds: dict[int, dict[str, Any]] = {}
        self.kept: list[dict[str, Any]] = []
        self.dropped: list[dict[str, Any]] = []
        self._counts: Counter[str] = Counter()
        self._pending: Counter[str] = Counter()
        self._reasons: dict[str, Counter[str]] = {stage: Counter() for stage in STAGES}
        self._by_cell: Counter[int] = Counter()

    def begin(self, tasks: Sequence[dict[str, Any]]) -> None:
        """Start the next batch of tasks."""
        self.kept, self.dropped = [], []
        self._seeds = self._ids.take(i for task in tasks if task["request_id"] is not None for i in task["seeds"])

    def take(self, task: dict[str, Any], outcome: Outcome) -> None:
        """Decide on one request's outcome."""
        if isinstance(outcome, Failure) and outcome.transient:  # the same rule as in `Index.settled`
            self.wait_for(task, outcome.reason)
            return
        self._counts["requests_answered"] += 1
        self._counts["prompt_tokens_estimated"] += task["prompt_tokens_estimated"]
        self._counts["prompt_tokens"] += outcome.prompt_tokens
        self._counts["completion_tokens"] += outcome.completion_tokens
        if isinstance(outcome, Failure):
            stage = "request" if outcome.reason in REQUEST_REASONS else "answer"
            self.drop(stage, outcome.reason, outcome.detail, task, outcome.text)
            return
        if reason := unusable(outcome):  # only batch files bring such answers: a client asks again
            self.drop("answer", reason, f"finish_reason {outcome.finish_reason}", task, outcome.text)
            return
        n = self._config.per_path
        parsed = answers.parse(outcome.text, n)
        if parsed.reason is not None:
            self.drop("answer", parsed.reason, parsed.detail, task, outcome.text)
            return
        asked = Asked(task["question_type"], task["language"], self._limits)
        for number, written in enumerate(parsed.items):
            item = without_cut_explanation(written, self._limits)
            self._counts["explanations_left_out"] += item is not written
            found = self._check(item, asked)
            if found is None:
                self.kept.append(self._qa_row(task, outcome, item, number))
                self._counts["kept"] += 1
                self._by_cell[task["cell"]] += 1
            else:
                text = {"question": item.question, "options": item.options, "answer": item.answer}
                self.drop("qa", *found, task, json.dumps(text, ensure_ascii=False))
        for _ in range(n - len(parsed.items)):
            self.drop("qa", ITEM_MISSING, f"{len(parsed.items)} of {n} items in the answer", task)
        if parsed.surplus:
            self.drop("qa", "item_surplus", f"{parsed.surplus:,} more than the {n} asked for", task)

    def wait_for(self, task: dict[str, Any], reason: str) -> None:
        """Count a request that is still to be asked."""
        self._pending[reason] += 1
        self._counts["pending_prompt_tokens"] += task["prompt_tokens_estimated"]

    def drop(self, stage: str, reason: str, detail: str | None, task: dict[str, Any], text: str | None = None) -> None:
        """Count a drop and add its row."""
        self._reasons[stage][reason] += 1
        self._counts["paths_dropped" if stage == "path" else "dropped"] += 1
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
        """Counts of all batches so far."""
        counts = self._counts
        return {
            "generated": counts["kept"] + counts["dropped"],
            **{name: counts[name] for name in ("kept", "dropped", "paths_dropped")},
            "pending": self._pending.total(),
            "pending_reasons": dict(self._pending),
            **{name: counts[name] for name in TALLIES},
            "pending_completion_tokens": self._expected_completions(),
            "requests_failed": self._reasons["request"].total() + self._reasons["answer"].total(),
            "reasons": {stage: dict(found) for stage, found in self._reasons.items() if found},
            "kept_by_cell": dict(sorted(self._by_cell.items())),
        }

    def _expected_completions(self) -> int:
        answered = self._counts["requests_answered"]
        mean = self._counts["completion_tokens"] / answered if answered else COMPLETION_GUESS
        return round(mean * self._pending.total())

    def _qa_row(self, task: dict[str, Any], answer: Completion, item: Item, number: int) -> dict[str, Any]:
        return {
            "id": f"{task['request_id']}-{number}",
            **written_columns(item, answer),
            "discipline": task["discipline"] or item.discipline,
            "difficulty": item.difficulty if item.difficulty is not None else task["difficulty"],
            **{name: task[name] for name in ("language", "question_type", "walk_id", "cell", "request_id")},
            "path": [self._kp_names[v] for v in task["nodes"]],
            "seed_ids": [self._seeds[i]["id"] for i in task["seeds"]],
            "prompt_digest": self._digest,
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
