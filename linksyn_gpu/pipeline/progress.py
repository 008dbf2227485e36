"""What a command has done so far, as plain data. Stages write it; the terminal view and the metrics read it."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linksyn_gpu.llm.client import Stats

RATE_SECONDS = 60.0
"""A rate is that of the last so many seconds."""
SAMPLE_SECONDS = 0.5
"""Least time between two points from which a rate is computed."""


@dataclass
class TaskProgress:
    """Something that a stage counts."""

    what: str
    done: int = 0
    total: int | None = None
    found: int = 0
    """Of `done`: found from an earlier call, hence not part of the rate."""
    points: deque[tuple[float, int]] = field(default_factory=deque)
    """(time in seconds, items of this call) of the last `RATE_SECONDS`."""

    def move(self, done: int, total: int | None, found: int) -> None:
        """Take new figures."""
        now, points = time.monotonic(), self.points
        if done - found < self.done - self.found:  # counted from the start again
            points.clear()
        self.done, self.total, self.found = done, total, found
        if not points or now - points[-1][0] >= SAMPLE_SECONDS:
            points.append((now, done - found))
            while now - points[0][0] > RATE_SECONDS and len(points) > 2:
                points.popleft()

    @property
    def rate(self) -> float | None:
        """Items per second; None while there are too few figures."""
        try:
            began, before = self.points[0]
        except IndexError:
            return None
        seconds = time.monotonic() - began
        made = self.done - self.found - before
        return made / seconds if seconds >= SAMPLE_SECONDS and made > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the rate; None where that or the total is not known."""
        rate = self.rate
        if rate is None or self.total is None:
            return None
        return max(0, self.total - self.done) / rate


class StageProgress:
    """Progress of one stage. A call reports (what is counted, done so far, total or None)."""

    def __init__(self, name: str, changed: Changed | None = None) -> None:
        self.name = name
        self.notes: list[str] = []
        """Decisions that the stage took, as sentences."""
        self.tasks: dict[str, TaskProgress] = {}
        self.counts: Mapping[str, Any] | None = None
        """Counts of the stage, once it is done."""
        self.server: Stats | None = None
        """Running figures of the client, of all requests that the stage sends in this call."""
        self.checked: Counter[str] = Counter()
        """QA of a sample of the answers by their rule checks: '' for those that pass, otherwise the reason."""
        self._changed = changed

    def __call__(self, what: str, done: int, total: int | None, *, found: int = 0) -> None:
        self.counts = None
        task = self.tasks.get(what)
        if task is None:
            task = self.tasks[what] = TaskProgress(what)
        task.move(done, total, found)
        if self._changed is not None:
            self._changed(self, task)

    def note(self, text: str) -> None:
        """Report a decision."""
        self.notes.append(text)
        if self._changed is not None:
            self._changed(self, None)

    def asking(self) -> Stats:
        """The figures that a client of this stage adds to."""
        if self.server is None:
            from linksyn_gpu.llm.client import Stats

            self.server = Stats()
        return self.server


Changed = Callable[[StageProgress, TaskProgress | None], None]


class Progress:
    """Progress of one command: that of each of its stages, by name.

    The thread that runs a stage writes it, and others read it: copy a container with `list` or `dict` first.

    Parameters
    ----------
    changed : callable, optional
        Called with a stage and a task after each of its figures, and with None after a note, in the thread of the
        stage.
    """

    def __init__(self, changed: Changed | None = None) -> None:
        self.stages: dict[str, StageProgress] = {}
        self.expected: tuple[str, ...] = ()
        """Names of the stages that the command will run, as far as they are known."""
        self.prices: tuple[float, float] | None = None
        """Prices of a million tokens read and written."""
        self.began = time.monotonic()
        self._changed = changed

    def begin(self, expected: tuple[str, ...], prices: tuple[float, float] | None) -> None:
        """Set what will run, and the prices."""
        self.expected, self.prices = expected, prices

    def of(self, stage: str) -> StageProgress:
        """Progress of a stage."""
        if stage not in self.stages:
            self.stages[stage] = StageProgress(stage, self._changed)
        return self.stages[stage]

    def done(self, stage: str, counts: Mapping[str, Any]) -> None:
        """Take note that a stage is done."""
        self.of(stage).counts = counts

    def cost(self) -> float | None:
        """Cost of all tokens so far in the currency of the prices; None without prices."""
        if self.prices is None:
            return None
        price_in, price_out = self.prices
        servers = [stage.server for stage in list(self.stages.values()) if stage.server is not None]
        return sum(price_in * s.prompt_tokens + price_out * s.completion_tokens for s in servers) / 1e6


class _Silent(Progress):
    """Remembers nothing: calls that share it have nothing in common."""

    def begin(self, expected: tuple[str, ...], prices: tuple[float, float] | None) -> None:
        pass

    def of(self, stage: str) -> StageProgress:
        return StageProgress(stage)


silent: Progress = _Silent()
"""A `Progress` that nobody looks at."""
