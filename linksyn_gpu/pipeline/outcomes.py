"""What the journals of a run hold at any moment, read without their locks."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu.llm.protocol import count
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.growth import planned_parts
from linksyn_gpu.pipeline.serving import JOURNALS
from linksyn_gpu.report.stats import Outcomes, Timeline
from linksyn_gpu.tables import Float64, Int64

if TYPE_CHECKING:
    from linksyn_gpu.llm.journal import Journal

BINS = 120
"""Bins of a timeline."""
GAP = 60.0
"""Seconds without a request in flight that a timeline leaves out: the time between two calls."""


def read_outcomes(ws: Workspace) -> dict[str, Outcomes]:
    """Outcomes of each stage that has asked a model, in the order of the stages."""
    from linksyn_gpu.llm.journal import Journal

    found = {}
    for stage, name in JOURNALS.items():
        if ws.path(name).is_dir():
            with Journal(ws.path(name), writable=False) as journal:
                outcomes = _outcomes(stage, journal, _requests(ws) if stage == "synthesize" else None)
            if outcomes.settled:
                found[stage] = outcomes
    return found


def _requests(ws: Workspace) -> int | None:
    """Requests of stage synthesize; while it writes them, as many as there are paths."""
    if ws.finished("walk") and ws.intact("tasks.parquet"):
        column = store.read_table(ws, "tasks.parquet", ["request_id"]).column(0)
        if len(column) == store.count_rows(ws, "paths.parquet"):
            return int(len(column) - column.null_count)
    return sum(sum(part["paths"]) for part in planned_parts(ws)) or None


def _outcomes(stage: str, journal: Journal, requests: int | None) -> Outcomes:
    from linksyn_gpu.llm.journal import ANSWERED, Index, rank_of

    times = array("d")  # received, seconds, read, written, pauses of each outcome with a time
    failures: list[tuple[int, str, str]] = []
    tokens = Counter[str]()

    def taken() -> Iterator[tuple[int, dict[str, Any] | None]]:
        for place, record in journal.lines():
            if record is not None:
                read, written = count(record.get("prompt_tokens")), count(record.get("completion_tokens"))
                tokens["read"] += read
                tokens["written"] += written
                if rank_of(record) != ANSWERED:
                    failures.append((place, record["id"], str(record.get("reason"))))
                if record.get("received"):
                    timed = ("received", "seconds", "pauses")
                    received, seconds, pauses = (float(record.get(name) or 0.0) for name in timed)
                    times.extend((received, seconds, read, written, pauses))
            yield place, record

    index = Index.of(taken())
    failed = Counter(reason for place, name, reason in failures if index.find(name)[1] == place)
    return Outcomes(
        stage,
        requests,
        len(index) - failed.total(),
        failed,
        tokens["read"],
        tokens["written"],
        index.tokens,
        timeline(np.frombuffer(times, np.float64).reshape(-1, 5)) if times else None,
    )


def timeline(outcomes: Float64, bins: int = BINS) -> Timeline:
    """Outcomes over the time in which requests were in flight.

    Parameters
    ----------
    outcomes : float64 [n, 5]
        Unix time of arrival, seconds since the request was first sent, tokens read and written, and pauses.
    """
    order = np.argsort(outcomes[:, 0] - outcomes[:, 1], kind="stable")
    received, seconds, read, written, pauses = outcomes[order].T
    began = received - seconds
    gaps = began[1:] - np.maximum.accumulate(received)[:-1]
    left_out = np.concatenate([[0.0], np.cumsum(np.where(gaps > GAP, gaps, 0.0))])
    first = float(began[0])
    began, received = began - first - left_out, received - first - left_out
    length = max(float(received.max()), 1e-3) / bins
    edges: Float64 = length * np.arange(bins + 1, dtype=np.float64)
    at = np.minimum((received / length).astype(np.int64), bins - 1)

    def total(values: Float64 | None) -> Int64:
        return np.bincount(at, values, minlength=bins).round().astype(np.int64)

    summed = _elapsed(np.sort(began), edges) - _elapsed(np.sort(received), edges)
    in_flight: Float64 = np.diff(summed) / length
    return Timeline(first, length, total(None), total(read), total(written), in_flight, total(pauses))


def _elapsed(moments: Float64, edges: Float64) -> Float64:
    """Sum of the times since the moments before each edge; `moments` ascend."""
    before = np.searchsorted(moments, edges)
    passed: Float64 = before * edges - np.concatenate([[0.0], np.cumsum(moments)])[before]
    return passed
