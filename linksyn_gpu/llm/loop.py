"""Drives many requests through one server: constant memory, every outcome in the journal before it counts."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from linksyn_gpu.errors import EngineError, LinkSynError
from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.budget import Budget
from linksyn_gpu.llm.client import Client, Limits, Stats, Validate
from linksyn_gpu.llm.journal import SYNC_SECONDS, Index, Journal
from linksyn_gpu.llm.protocol import Failure, to_record

T = TypeVar("T")
Request = Mapping[str, Any]
CHUNK = 64  # requests that are read ahead at a time
PATIENCE_SECONDS = 0.02
WAIT_SECONDS = 0.05  # between two looks whether what is in flight leaves room in the budget


def generate(
    requests: Iterable[Request],
    engine: Engine,
    journal: Journal,
    *,
    limits: Limits | None = None,
    validate: Validate | None = None,
    index: Index | None = None,
    budget: Budget | None = None,
    on_progress: Callable[[Stats], None] | None = None,
) -> Stats:
    """Ask for every request that the journal has no answer for, and write each outcome to it.

    Parameters
    ----------
    requests : iterable of mapping
        Lines of an OpenAI batch file. Read in a thread of its own, a few ahead of what is sent, so it may be
        a generator that computes while the server works.
    index : Index, optional
        What the journal holds; read from it when left out.
    budget : Budget, optional
        Asked before each request; when it admits no more, what is in flight is waited for, and that is all.
    on_progress : callable, optional
        Called with the running figures after each outcome.

    Raises
    ------
    EngineError
        The server is gone or refuses everything, or the journal cannot be written. Outcomes so far are kept,
        as they are on Ctrl-C.
    """
    index = journal.index() if index is None else index
    run = _run(requests, engine, journal, limits or Limits(), validate, index, budget or Budget(), on_progress)
    try:
        return run_anywhere(run)
    finally:
        journal.sync()


async def _run(
    requests: Iterable[Request],
    engine: Engine,
    journal: Journal,
    limits: Limits,
    validate: Validate | None,
    index: Index,
    budget: Budget,
    on_progress: Callable[[Stats], None] | None,
) -> Stats:
    queue: asyncio.Queue[Request | None] = asyncio.Queue(2 * CHUNK)
    async with Client(engine, limits, validate) as client:
        breaker = _Breaker(max(32, 2 * limits.concurrency), engine)

        async def work() -> None:
            while (request := await queue.get()) is not None:
                known = len(index) > 0 and request["custom_id"] in index
                while (admitted := budget.admit(request, known=known)) is None:
                    await asyncio.sleep(WAIT_SECONDS)
                if not admitted:
                    continue
                outcome = await client.complete(request)
                journal.append(to_record(outcome))
                budget.settle(request, outcome)
                breaker.see(outcome)
                if on_progress is not None:
                    on_progress(client.stats)
            queue.put_nowait(None)  # for the next worker; there is room, a place was just taken

        async def keep_synced() -> None:
            while True:
                await asyncio.sleep(SYNC_SECONDS / 2)
                await asyncio.to_thread(journal.sync)

        try:
            async with asyncio.TaskGroup() as group:
                syncing = group.create_task(keep_synced())
                workers = [group.create_task(work()) for _ in range(limits.concurrency)]
                group.create_task(_feed(iter(requests), index, budget, queue, client.stats))
                await asyncio.wait(workers)
                syncing.cancel()
        except BaseExceptionGroup as failed:
            raise _first(failed) from None
        return client.stats


async def _feed(
    requests: Iterator[Request], index: Index, budget: Budget, queue: asyncio.Queue[Request | None], stats: Stats
) -> None:
    """Hand out unanswered requests, reading the next few in a thread while the last ones are taken."""
    while chunk := await _read(requests):
        for request in chunk:
            if len(index) and index.settled(request["custom_id"]):
                stats.skipped += 1
            else:
                await queue.put(request)
        if budget.met is not None:
            break
    await queue.put(None)


async def _read(requests: Iterator[Request]) -> list[Request]:
    """`_take` in a thread that is never left behind: whoever goes on with `requests` must not meet it there."""
    running = asyncio.ensure_future(asyncio.to_thread(_take, requests))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _take(requests: Iterator[Request]) -> list[Request]:
    """The next requests: as many as come within a moment after the first."""
    chunk = list(itertools.islice(requests, 1))
    late = time.monotonic() + PATIENCE_SECONDS
    while chunk and len(chunk) < CHUNK and time.monotonic() < late:
        if (request := next(requests, None)) is None:
            break
        chunk.append(request)
    return chunk


class _Breaker:
    """Stops a run in which nothing succeeds any more, before it has burnt every request."""

    def __init__(self, most: int, engine: Engine) -> None:
        self._most = most
        self._engine = engine
        self._in_a_row = 0

    def see(self, outcome: object) -> None:
        if not (isinstance(outcome, Failure) and outcome.transient):
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self._in_a_row >= self._most:
            raise EngineError(
                f"the last {self._in_a_row} requests to {self._engine.base_url} all failed; the last one: "
                f"{outcome.reason}, {outcome.detail}. Look at the server's log, then run the same command again"
            )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to show of several that came together: one of ours if there is any."""
    ours = group.subgroup(LinkSynError)
    error: BaseException = ours or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def run_anywhere(run: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, also from a notebook, where a loop is running already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run)
    result: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            result.append(asyncio.run(run))
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=target, name="linksyn-generate")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]
