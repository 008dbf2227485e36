"""Stage `synthesize`: linked bundles -> requests -> answers -> kept QA, and what was dropped with its reason.

Three steps over files, so that each can be done again, or elsewhere, without the others:

    make_requests    paths -> requests, also to requests.jsonl (OpenAI batch format) + tasks.parquet (what each is for)
    generate         requests -> journal, through a running engine
    assemble         tasks.parquet + journal -> qa.parquet, qa.jsonl, dropped.parquet

Nothing is held whole in memory but the seed table, 25 bytes a request (three times that while the journal is read),
8 bytes a seed and about 9 a kept QA.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.errors import DataError
from linksyn_gpu.quality import checks
from linksyn_gpu.synthesis import answers, prompts
from linksyn_gpu.synthesis.requests import Cell, SeedRows, task_row, tasks_schema
from linksyn_gpu.tables import qa_schema, record_batch
from linksyn_gpu.text import COMPLETION_GUESS

if TYPE_CHECKING:
    import pyarrow as pa

    from linksyn_gpu.llm import Engine
    from linksyn_gpu.llm.budget import Budget
    from linksyn_gpu.llm.client import Stats
    from linksyn_gpu.llm.journal import Index, Journal
    from linksyn_gpu.llm.protocol import Completion, Outcome

BATCH_ROWS = 1024
TALLIES = (
    "requests_answered",
    "explanations_left_out",
    "prompt_tokens",
    "completion_tokens",
    "prompt_tokens_estimated",
    "pending_prompt_tokens",
)
STAGES = ("path", "request", "answer", "qa")


def dropped_schema() -> pa.Schema:
    """Columns of dropped.parquet. `stage` is one of `STAGES`; `text` is what was got, where anything was."""
    import pyarrow as pa

    names = ("stage", "reason", "detail", "request_id", "walk_id", "text")
    return pa.schema([(name, pa.int64() if name == "walk_id" else pa.string()) for name in names])


# ---------------------------------------------------------------------- requests


def make_requests(
    paths: Iterable[pa.RecordBatch | pa.Table],
    *,
    kp_names: Sequence[str],
    seeds: pa.Table,
    cells: Sequence[Cell],
    config: SynthesisConfig,
    requests_file: str | Path,
    tasks_file: str | Path,
) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """Give one request per kept path, in the order of the paths, and write each down; the files are whole at the end.

    Parameters
    ----------
    paths : iterable of record batches or tables
        walk_id int64, cell int32, nodes list<int32>, seeds list<int32> (rows of `seeds`), drop_reason string
        (null when kept).
    kp_names : sequence of str
        Name of each KP.
    cells : sequence of (discipline or None, difficulty or None)
        Cells of the plan; empty: one cell over everything.

    Returns
    -------
    dict
        The generator's value:
        {"paths": n, "requests": n, "dropped": {reason: n}}; paths = requests + dropped.
    """
    import pyarrow.parquet as pq

    counts = {"paths": 0, "requests": 0}
    dropped: Counter[str] = Counter()
    seed_rows = SeedRows(seeds)
    with (
        Path(requests_file).open("w", encoding="utf-8", errors="replace", newline="\n") as lines,
        pq.ParquetWriter(tasks_file, tasks_schema(), compression="zstd") as tasks,
    ):
        for batch in _batches(paths):
            rows = []
            taken = seed_rows.take(i for path in batch if path["drop_reason"] is None for i in path["seeds"])
            for path in batch:
                row, request = task_row(path, counts["requests"], kp_names, taken, cells, config)
                rows.append(row)
                counts["paths"] += 1
                if request is None:
                    dropped[row["drop_reason"]] += 1
                else:
                    counts["requests"] += 1
                    lines.write(json.dumps(request, ensure_ascii=False, separators=(",", ":")) + "\n")
                    yield request
            tasks.write_batch(record_batch(rows, tasks_schema()))
    return {**counts, "dropped": dict(dropped)}


def _batches(paths: Iterable[pa.RecordBatch | pa.Table]) -> Iterator[list[dict[str, Any]]]:
    for batch in paths:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS).to_pylist()


# ---------------------------------------------------------------------- answers


def generate(
    requests: Iterable[Mapping[str, Any]],
    engine: Engine,
    journal: Journal,
    config: SynthesisConfig,
    *,
    budget: Budget,
    index: Index,
    on_progress: Callable[[Stats], None] | None = None,
) -> Stats:
    """Ask the engine for every request that the journal has no answer for, as far as the budget goes.

    Raises
    ------
    EngineError
        See `llm.dispatch.ask_all`; answers received so far are in the journal, as they are on Ctrl-C.
    """
    from linksyn_gpu.llm.client import Limits
    from linksyn_gpu.llm.dispatch import ask_all

    return ask_all(
        requests,
        engine,
        journal,
        limits=Limits.of(config, engine),
        validate=validator(config.field_limit),
        index=index,
        budget=budget,
        on_progress=on_progress,
    )


def read_requests(requests_file: str | Path) -> Iterator[dict[str, Any]]:
    """The lines of a requests file, one at a time."""
    import orjson

    with Path(requests_file).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                request = orjson.loads(line)
                request["custom_id"], request["body"]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{requests_file}:{number}: not a request: {error}") from None
            yield request


def validator(limit: int | None) -> Callable[[str], str | None]:
    """Says why an answer is to be asked again: it cannot be parsed, or every item was cut at the schema's bound.

    `limit` is `SynthesisConfig.field_limit`.
    """
    limits = prompts.text_limits(limit)

    def validate(text: str) -> str | None:
        parsed = answers.parse(text)
        if parsed.reason is None and limits is not None:
            return "cut_text" if all(checks.cut_field(item, limits) for item in parsed.items) else None
        return parsed.reason

    return validate


# ---------------------------------------------------------------------- assembly


def assemble(
    journal: Journal,
    *,
    tasks_file: str | Path,
    kp_names: Sequence[str],
    seeds: pa.Table,
    config: SynthesisConfig,
    qa_parquet: str | Path,
    qa_jsonl: str | Path,
    dropped_parquet: str | Path,
    index: Index | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Turn answers into kept QA and drops, in the order of the requests.

    Parameters
    ----------
    index : Index, optional
        What the journal holds; read from it when left out.

    Returns
    -------
    dict
        `generated` = `kept` + `dropped`, where `generated` counts items, and one for each request or answer that
        gave none; `paths_dropped` made no request. `pending` requests are still to be asked: `pending_reasons` is
        {reason: n} of them, 'no_answer' or the passing failure that they met (`llm.protocol.TRANSIENT`). `reasons`
        is {stage: {reason: n}}, `kept_by_cell` {cell: n}; `explanations_left_out` were cut off by the schema's bound.
    """
    import pyarrow.parquet as pq

    from linksyn_gpu.llm.protocol import from_record

    index = journal.index() if index is None else index
    out = _Assembly(seeds, kp_names, config)
    done = 0
    with (
        pq.ParquetWriter(qa_parquet, qa_schema(), compression="zstd") as kept_file,
        pq.ParquetWriter(dropped_parquet, dropped_schema(), compression="zstd") as dropped_file,
        Path(qa_jsonl).open("w", encoding="utf-8", errors="replace", newline="\n") as lines,
        pq.ParquetFile(tasks_file) as tasks,
    ):
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
            for row in out.kept:
                lines.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
            kept_file.write_batch(record_batch(out.kept, qa_schema()))
            dropped_file.write_batch(record_batch(out.dropped, dropped_schema()))
            done += len(rows)
            if on_progress is not None:
                on_progress(done)
    return {**out.summary(), "journal_damaged": index.damaged}


class _Assembly:
    """Decides on answers and keeps the books; rows of the batch at hand are in `kept` and `dropped`."""

    def __init__(self, seeds: pa.Table, kp_names: Sequence[str], config: SynthesisConfig) -> None:
        self._ids = SeedRows(seeds.select(["id"]))
        self._kp_names = kp_names
        self._config = config
        self._limits = prompts.text_limits(config.field_limit)
        self._digest = prompts.prompt_digest(config.templates)
        questions = (q.as_py() or "" for chunk in seeds.column("question").chunks for q in chunk)
        self._checker = checks.Checker(questions, prompts.instruction_text(config.templates))
        self._seeds: dict[int, dict[str, Any]] = {}
        self.kept: list[dict[str, Any]] = []
        self.dropped: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self.pending: Counter[str] = Counter()
        self._reasons: dict[str, Counter[str]] = {stage: Counter() for stage in STAGES}
        self._by_cell: Counter[int] = Counter()

    def begin(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take up the next batch of tasks."""
        self.kept, self.dropped = [], []
        self._seeds = self._ids.take(i for row in rows if row["request_id"] is not None for i in row["seeds"])

    def take(self, task: dict[str, Any], outcome: Outcome) -> None:
        """Decide on one request's outcome."""
        from linksyn_gpu.llm.protocol import REQUEST_REASONS, Failure, unusable

        if isinstance(outcome, Failure) and outcome.transient:  # as `Index.settled` has it
            self.wait_for(task, outcome.reason)
            return
        self.counts["requests_answered"] += 1
        self.counts["prompt_tokens_estimated"] += task["prompt_tokens_estimated"]
        self.counts["prompt_tokens"] += outcome.prompt_tokens
        self.counts["completion_tokens"] += outcome.completion_tokens
        if isinstance(outcome, Failure):
            stage = "request" if outcome.reason in REQUEST_REASONS else "answer"
            self.drop(stage, outcome.reason, outcome.detail, task, outcome.text)
            return
        if reason := unusable(outcome):  # batch files bring such answers, a client does not
            self.drop("answer", reason, f"finish_reason {outcome.finish_reason}", task, outcome.text)
            return
        parsed = answers.parse(outcome.text)
        if parsed.reason is not None:
            self.drop("answer", parsed.reason, parsed.detail, task, outcome.text)
            return
        asked = checks.Asked(task["question_type"], task["language"], self._limits)
        for number, written in enumerate(parsed.items):
            item = checks.without_cut_explanation(written, self._limits)
            self.counts["explanations_left_out"] += item is not written
            found = self._checker.check(item, asked)
            if found is None:
                self.kept.append(self._qa_row(task, outcome, item, number))
                self.counts["kept"] += 1
                self._by_cell[task["cell"]] += 1
            else:
                text = {"question": item.question, "options": item.options, "answer": item.answer}
                self.drop("qa", *found, task, json.dumps(text, ensure_ascii=False))

    def wait_for(self, task: dict[str, Any], reason: str) -> None:
        """Count a request that is still to be asked."""
        self.pending[reason] += 1
        self.counts["pending_prompt_tokens"] += task["prompt_tokens_estimated"]

    def drop(self, stage: str, reason: str, detail: str | None, task: dict[str, Any], text: str | None = None) -> None:
        self._reasons[stage][reason] += 1
        self.counts["paths_dropped" if stage == "path" else "dropped"] += 1
        self.dropped.append(
            {
                "stage": stage,
                "reason": reason,
                "detail": detail,
                **{name: task[name] for name in ("request_id", "walk_id")},
                "text": text,
            }
        )

    def _qa_row(self, task: dict[str, Any], answer: Completion, item: answers.Item, number: int) -> dict[str, Any]:
        return {
            "id": f"{task['request_id']}-{number}",
            "question": item.question,
            "options": list(item.options),
            "answer": item.answer,
            "explanation": item.explanation,
            "reasoning": answer.reasoning,
            "knowledge_points": list(item.knowledge_points),
            "discipline": task["discipline"] or item.discipline,
            "difficulty": item.difficulty if item.difficulty is not None else task["difficulty"],
            **{name: task[name] for name in ("language", "question_type", "walk_id")},
            "path": [self._kp_names[v] for v in task["nodes"]],
            "seed_ids": [self._seeds[i]["id"] for i in task["seeds"]],
            "cell": task["cell"],
            "request_id": task["request_id"],
            "prompt_digest": self._digest,
            "model": answer.model,
            "temperature": self._config.temperature,
            "top_p": self._config.top_p,
            "seed": task["seed"] if answer.seed is None else answer.seed,
            "max_tokens": task["max_tokens"] if answer.max_tokens is None else answer.max_tokens,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
        }

    def _expected_completions(self) -> int:
        answered = self.counts["requests_answered"]
        mean = self.counts["completion_tokens"] / answered if answered else COMPLETION_GUESS
        return round(mean * self.pending.total())

    def summary(self) -> dict[str, Any]:
        counts = self.counts
        return {
            "generated": counts["kept"] + counts["dropped"],
            **{name: counts[name] for name in ("kept", "dropped", "paths_dropped")},
            "pending": self.pending.total(),
            "pending_reasons": dict(self.pending),
            **{name: counts[name] for name in TALLIES},
            "pending_completion_tokens": self._expected_completions(),
            "reasons": {stage: dict(found) for stage, found in self._reasons.items() if found},
            "kept_by_cell": dict(sorted(self._by_cell.items())),
        }
