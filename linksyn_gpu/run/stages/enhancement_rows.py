"""Rows and counts of stage `enhance`: what is written of a QA that went through it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from linksyn_gpu.config import EnhanceConfig
from linksyn_gpu.quality.judge import Asking
from linksyn_gpu.synthesis.enhance import DROPPED, KEPT, PENDING, Work
from linksyn_gpu.tables import qa_schema

if TYPE_CHECKING:
    import pyarrow as pa

NOT_EXAMINED: Mapping[str, Any] = {
    "asked_level": None,
    "level_before": None,
    "level_judged": None,
    "level_reasons": [],
    "tries": 0,
    "solves_agreed": None,
    "solves": None,
    "enhanced": False,
}
"""What is added to a QA outside the chosen disciplines."""


def enhanced_schema() -> pa.Schema:
    """Columns of enhanced.parquet; enhanced.jsonl has the same keys. `id` stays that of the QA in qa.parquet."""
    import pyarrow as pa

    added = pa.schema(
        [
            ("asked_level", pa.int8()),
            ("level_before", pa.int8()),
            ("level_judged", pa.int8()),
            ("level_reasons", pa.list_(pa.string())),
            ("tries", pa.int8()),
            ("solves_agreed", pa.int8()),
            ("solves", pa.int8()),
            ("enhanced", pa.bool_()),
        ]
    )
    return pa.schema([*qa_schema(), *added])


def dropped_schema() -> pa.Schema:
    """Columns of enhance-dropped.parquet; `text` is the last version of the QA that there was."""
    import pyarrow as pa

    texts, levels = ("id", "reason", "detail"), ("asked_level", "level_before", "level_judged", "tries")
    return pa.schema(
        [
            *((name, pa.string()) for name in texts),
            *((name, pa.int8()) for name in levels),
            ("solves_agreed", pa.int8()),
            ("solves", pa.int8()),
            ("request_id", pa.string()),
            ("walk_id", pa.int64()),
            ("text", pa.string()),
        ]
    )


def kept_row(
    work: Work, config: EnhanceConfig, asking: Asking, digest: str, kp_names: Sequence[str], seed_ids: Mapping[int, str]
) -> dict[str, Any]:
    """A row of enhanced.parquet: the QA as it was, or as its last rewrite made it."""
    version, row = work.last, dict(work.row)
    if version.written is not None and version.extension is not None:
        item, written = version.item, version.written
        row |= {
            "question": item.question,
            "options": list(item.options),
            "answer": item.answer,
            "explanation": item.explanation,
            "reasoning": written.reasoning,
            "knowledge_points": list(item.knowledge_points),
            "difficulty": config.level if item.difficulty is None else item.difficulty,
            "path": [kp_names[kp] for kp in version.extension.nodes],
            "seed_ids": [seed_ids[seed] for seed in version.extension.seeds],
            "request_id": written.id,
            "prompt_digest": digest,
            "model": written.model,
            "temperature": asking.temperature,
            "top_p": asking.top_p,
            "seed": written.seed,
            "max_tokens": written.max_tokens,
            "prompt_tokens": written.prompt_tokens,
            "completion_tokens": written.completion_tokens,
        }
    return {
        **row,
        "asked_level": config.level,
        "level_before": work.versions[0].level,
        "level_judged": version.level,
        "level_reasons": list(version.reasons),
        "tries": len(work.versions) - 1,
        "solves_agreed": version.agreed,
        "solves": config.solves,
        "enhanced": version.written is not None,
    }


def dropped_row(work: Work, config: EnhanceConfig) -> dict[str, Any]:
    """A row of enhance-dropped.parquet: the reason of the last try, and in `detail` what each version came to."""
    version = work.last
    assert version.fault is not None
    read = next(v for v in reversed(work.versions) if v.item.question)
    text = {"question": read.item.question, "options": read.item.options, "answer": read.item.answer}
    faults = [v.fault for v in work.versions if v.fault is not None]
    steps = [f"{'original' if i == 0 else f'try {i}'}: {reason}, {why}" for i, (reason, why) in enumerate(faults)]
    return {
        "id": work.row["id"],
        "reason": version.fault[0],
        "detail": "; ".join(steps),
        "asked_level": config.level,
        "level_before": work.versions[0].level,
        "level_judged": version.level,
        "tries": len(work.versions) - 1,
        "solves_agreed": version.agreed,
        "solves": config.solves,
        "request_id": work.row["request_id"],
        "walk_id": work.row["walk_id"],
        "text": json.dumps(text, ensure_ascii=False),
    }


class Books:
    """Counts of the stage: candidates = kept + dropped + pending, and levels before and after."""

    def __init__(self, config: EnhanceConfig) -> None:
        self._config = config
        self.qa = 0
        self.passed_through = 0
        self._states: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._pending: Counter[str] = Counter()
        self._before: Counter[str] = Counter()
        self._after: Counter[str] = Counter()
        self._rewrites: Counter[str] = Counter()

    def add(self, work: Work) -> None:
        """Count a row that went through all steps."""
        self._states[work.state] += 1
        if work.state == PENDING:
            self._pending[work.pending_reason] += 1
            return
        level = work.versions[0].level
        self._before["unknown" if level is None else str(level)] += 1
        if work.state == KEPT:
            self._after[str(work.last.level)] += 1
            self._kept["as_they_were" if work.last.written is None else "rewritten"] += 1
        elif work.last.fault is not None:
            self._reasons[work.last.fault[0]] += 1
        for version in work.versions[1:]:
            self._rewrites["rewrites"] += 1
            short = version.extension is None or version.extension.steps < self._config.extra_steps
            self._rewrites["rewrites_with_short_extension"] += short

    def counts(self, spent: Mapping[str, int]) -> dict[str, Any]:
        """For the manifest. Levels are those of kept and dropped QA, so `levels_before` sums to both."""
        states = self._states
        return {
            "qa": self.qa,
            "passed_through": self.passed_through,
            "candidates": states.total(),
            "kept": states[KEPT],
            "dropped": states[DROPPED],
            "pending": states[PENDING],
            "kept_as_they_were": self._kept["as_they_were"],
            "kept_rewritten": self._kept["rewritten"],
            "dropped_by_reason": dict(self._reasons),
            "pending_reasons": dict(self._pending),
            "asked_level": self._config.level,
            "levels_before": dict(sorted(self._before.items())),
            "levels_after": dict(sorted(self._after.items())),
            "rewrites": self._rewrites["rewrites"],
            "rewrites_with_short_extension": self._rewrites["rewrites_with_short_extension"],
            **{
                name: spent.get(name, 0)
                for name in (
                    "judge_requests",
                    "solve_requests",
                    "compare_requests",
                    "rewrite_requests",
                    "prompt_tokens",
                    "completion_tokens",
                )
            },
        }
