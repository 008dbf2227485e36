"""An event loop whose time is virtual: when nothing is ready, the clock moves to the next timer at once."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from tests.simulation.world import SimClock, Violation

T = TypeVar("T")


@contextlib.contextmanager
def outside_of_loops() -> Iterator[None]:
    """As in another process: no loop runs in this block, whatever runs around it."""
    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(running)


class SimLoop(asyncio.BaseEventLoop):
    """Runs one coroutine. Functions for threads run in this thread, after a short while."""

    def __init__(self, clock: SimClock, chance: random.Random) -> None:
        super().__init__()
        self._clock, self._chance = clock, chance
        self._selector = self
        self._tasks: list[asyncio.Task[Any]] = []
        self.set_task_factory(self._make_task)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine. When the process is killed in it, nothing of it runs any more."""
        try:
            return self.run_until_complete(work)
        finally:
            self._abandon()

    def time(self) -> float:
        return self._clock.monotonic()

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Violation("every task waits for another one: nothing will ever happen")
        self._clock.now += timeout
        return []

    def run_in_executor(self, executor: Any, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = self.create_future()

        def run() -> None:
            try:
                result = function(*args)
            except Exception as error:  # noqa: BLE001 - it is raised where the future is awaited
                if not future.cancelled():
                    future.set_exception(error)
            else:
                if not future.cancelled():
                    future.set_result(result)

        self.call_later(self._chance.choice((0.0, 0.001, 0.05)), run)
        return future

    def _process_events(self, events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def _make_task(self, loop: Any, work: Any, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(work, loop=loop, **options)
        self._tasks.append(task)
        return task

    def _abandon(self) -> None:
        """End coroutines that were interrupted: the disk of a killed process refuses all that they try."""
        for task in self._tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            if not task.done():
                try:
                    task.get_coro().close()
                except (RuntimeError, SystemExit, Exception):  # noqa: BLE001 - the process is dead
                    continue
            elif not task.cancelled():
                task.exception()  # mark it as seen
        self._ready.clear()
        self._scheduled.clear()
        self.close()
