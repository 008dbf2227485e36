"""Sends many requests through one server in constant memory. Every outcome is in the journal before it counts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from linksyn_gpu.errors import EngineError, LinkSynError
from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.budget import Budget
from linksyn_gpu.llm.client import Client, Limits, Stats, Validate
from linksyn_gpu.llm.journal import SYNC_SECONDS, Index, Journal
from linksyn_gpu.llm.protocol import Failure, to_record

T = TypeVar("T")
Request = Mapping[str, Any]
READ_AHEAD = 128
"""Requests that are read before a worker is free for them."""
BUDGET_SECONDS = 0.05
"""Time between two checks whether answers that arrived leave tokens in the budget."""


def ask_all(
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
    """Ask for every request that the journal has no answer for, and write each outcome to the journal.

    Parameters
    ----------
    requests : iterable of mapping
        Lines of an OpenAI batch file. They are read one at a time in a thread of their own, at most `READ_AHEAD`
        before they are sent. The iterable may block for as long as it likes: requests read before are sent, and
        answers are received, while it does.
    index : Index, optional
        What the journal holds. None: `journal.index()`.
    budget : Budget, optional
        Asked before each request. When it admits no more, the requests in flight are finished and nothing is sent.
    on_progress : callable, optional
        Called with the running figures after each outcome.

    Raises
    ------
    EngineError
        The server is gone or refuses everything, or the journal cannot be written. Outcomes received before are
        kept, also after Ctrl-C.
    """
    index = journal.index() if index is None else index

    async def run() -> Stats:
        async with Client(engine, limits or Limits(), validate) as client:
            await _Dispatch(client, journal, index, budget or Budget(), on_progress).run(requests)
            return client.stats

    try:
        return run_anywhere(run())
    finally:
        journal.sync()


class _Dispatch:
    """One call of `ask_all`: a thread that reads requests, and one worker per request in flight."""

    def __init__(
        self,
        client: Client,
        journal: Journal,
        index: Index,
        budget: Budget,
        on_progress: Callable[[Stats], None] | None,
    ) -> None:
        self._client, self._journal, self._index, self._budget = client, journal, index, budget
        self._on_progress = on_progress
        self._breaker = _Breaker(max(32, 2 * client.limits.concurrency), client.engine)
        self._ready: asyncio.Queue[Request | None] = asyncio.Queue()
        self._places = threading.Semaphore(READ_AHEAD)
        self._stopped = False

    async def run(self, requests: Iterable[Request]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read(requests))
                syncing = group.create_task(self._keep_synced())
                await asyncio.wait([group.create_task(self._work()) for _ in range(self._client.limits.concurrency)])
                self._stop_reading()
                await asyncio.wait([reading])
                syncing.cancel()
        except BaseExceptionGroup as failed:
            raise _first(failed) from None

    async def _work(self) -> None:
        while (request := await self._ready.get()) is not None:
            self._places.release()
            known = request["custom_id"] in self._index
            while (admitted := self._budget.admit(request, known=known)) is None:
                await asyncio.sleep(BUDGET_SECONDS)
            if not admitted:
                self._stop_reading()
                continue
            outcome = await self._client.complete(request)
            self._journal.append(to_record(outcome))
            self._budget.settle(request, outcome)
            self._breaker.see(outcome)
            if self._on_progress is not None:
                self._on_progress(self._client.stats)
        self._ready.put_nowait(None)  # for the next worker

    async def _keep_synced(self) -> None:
        while True:
            await asyncio.sleep(SYNC_SECONDS / 2)
            await asyncio.to_thread(self._journal.sync)

    # ------------------------------------------------------------------ reading

    async def _read(self, requests: Iterable[Request]) -> None:
        """Read in a thread. Return only when that thread has ended: the caller may go on with `requests`."""
        loop = asyncio.get_running_loop()
        thread = asyncio.ensure_future(asyncio.to_thread(self._read_in_thread, requests, loop))
        try:
            await asyncio.shield(thread)
        except asyncio.CancelledError:
            self._stop_reading()
            await asyncio.wait([thread])
            raise
        self._ready.put_nowait(None)

    def _read_in_thread(self, requests: Iterable[Request], loop: asyncio.AbstractEventLoop) -> None:
        for request in requests:
            if self._index.settled(request["custom_id"]):
                self._client.stats.skipped += 1
            else:
                loop.call_soon_threadsafe(self._ready.put_nowait, request)
                self._places.acquire()
            if self._stopped:
                return

    def _stop_reading(self) -> None:
        self._stopped = True
        self._places.release()  # the thread may be waiting for a place


class _Breaker:
    """Stops a run in which nothing succeeds any more, before it has used up every request."""

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
                f"{outcome.reason}, {outcome.detail}. Check the server's log, then run the same command again"
            )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to show of several that were raised together: one of this package if there is any."""
    ours = group.subgroup(LinkSynError)
    error: BaseException = ours or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def run_anywhere(run: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, also where a loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run)
    result: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            result.append(asyncio.run(run))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=target, name="linksyn-requests")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]
