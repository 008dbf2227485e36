"""Sends many requests to an engine in constant memory. Every outcome is in the journal before it counts."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from linksyn_gpu.clock import REAL_CLOCK, Clock
from linksyn_gpu.errors import LinkSynError, StopAsking
from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.asking import Validate
from linksyn_gpu.llm.budget import Budget
from linksyn_gpu.llm.client import REFUSED, Client, Limits, Stats, refused
from linksyn_gpu.llm.journal import SYNC_SECONDS, Index, Journal
from linksyn_gpu.llm.protocol import Failure, Outcome, to_record

T = TypeVar("T")
Request = Mapping[str, Any]
READ_AHEAD = 128
"""Requests that are read before a worker is free for them."""
LEAST_REFUSED, LEAST_FAILED = 16, 32
"""Requests in a row that are refused, or fail, before the settings are in doubt; more where more are in flight."""
DRAIN_SECONDS = 20.0
"""Time for answers in flight when a run stops."""
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
    stats: Stats | None = None,
    on_progress: Callable[[Stats], None] | None = None,
    on_outcome: Callable[[Request, Outcome], None] | None = None,
) -> Stats:
    """Ask for every request that the journal has no answer for, and write each outcome to the journal.

    Parameters
    ----------
    requests : iterable of mapping
        Lines of an OpenAI batch file; fields other than `custom_id` and `body` are not sent. They are read one at a
        time in a separate thread, at most `READ_AHEAD` before they are sent. The iterable may block for as long as it
        likes: requests read before are sent, and answers are received, while it does.
    index : Index, optional
        What the journal holds. None: `journal.index()`.
    budget : Budget, optional
        Asked before each request. When it admits no more, the requests in flight are finished and nothing is sent.
    stats : Stats, optional
        The running figures; those of earlier calls are added to.
    on_progress : callable, optional
        Called with the running figures after each outcome.
    on_outcome : callable, optional
        Called with each request and its outcome. It must be quick: requests wait for it.

    Raises
    ------
    StopAsking
        The server is gone or fails, or it refuses the account or the settings. Requests that met this stay pending.
    EngineError
        The journal cannot be written.

    Outcomes received before an error or Ctrl-C are kept.
    """
    client = functools.partial(Client, engine, limits or Limits(), validate, stats)
    return run_anywhere(ask(requests, client, journal, index, budget, on_progress, on_outcome))


async def ask(
    requests: Iterable[Request],
    connect: Callable[[], Client],
    journal: Journal,
    index: Index | None = None,
    budget: Budget | None = None,
    on_progress: Callable[[Stats], None] | None = None,
    on_outcome: Callable[[Request, Outcome], None] | None = None,
) -> Stats:
    """`ask_all` in a loop that is running already, with a client that is made in it."""
    index = journal.index() if index is None else index
    try:
        async with connect() as client:
            await _Dispatch(client, journal, index, budget or Budget(), on_progress, on_outcome).run(requests)
            return client.stats
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
        on_outcome: Callable[[Request, Outcome], None] | None,
    ) -> None:
        self._client, self._journal, self._index, self._budget = client, journal, index, budget
        self._on_progress, self._on_outcome = on_progress, on_outcome
        self._clock = client.clock
        self._doubts = _Doubts(client.engine, client.concurrency, client.clock)
        self._ready: asyncio.Queue[Request | None] = asyncio.Queue()
        self._places = threading.Semaphore(READ_AHEAD)
        self._stopped = False
        self._workers: list[asyncio.Task[None]] = []
        self._error: StopAsking | None = None

    async def run(self, requests: Iterable[Request]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read(requests))
                syncing = group.create_task(self._keep_synced())
                self._workers = [group.create_task(self._work()) for _ in range(self._client.concurrency)]
                await asyncio.wait(self._workers)
                self._stop_reading()
                await asyncio.wait([reading])
                syncing.cancel()
            if self._error is None:
                await self._decide()
        except BaseExceptionGroup as failed:
            raise _first(failed) from None
        if self._error is not None:
            raise self._error

    async def _work(self) -> None:
        while (request := await self._ready.get()) is not None:
            self._places.release()
            known = request["custom_id"] in self._index
            while self._error is None and (admitted := self._budget.admit(request, known=known)) is None:
                await asyncio.sleep(BUDGET_SECONDS)
            if self._error is not None:
                break
            if not admitted:
                self._stop_reading()
                continue
            began = self._clock.monotonic()
            try:
                outcome = await self._client.complete(request)
                self._budget.settle(request, outcome)
                self._write(self._doubts.settle(request, outcome, began))
                if self._on_outcome is not None:
                    self._on_outcome(request, outcome)
                if self._doubts.too_many:
                    await self._decide()
            except StopAsking as error:
                self._stop(error)
            if self._on_progress is not None:
                self._on_progress(self._client.stats)
        self._ready.put_nowait(None)  # for the next worker

    def _write(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self._journal.append(to_record(outcome))

    async def _decide(self) -> None:
        """Find out what the refusals in doubt are about, with a short request of the same form.

        It cannot tell whether the context is too small for every prompt. That is so if nothing was ever answered.

        Raises
        ------
        StopAsking
            They are about the settings. They are not written, hence their requests stay pending.
        """
        held = self._doubts.take()
        if not held:
            return
        refusals = [failure for _, failure in held if failure.reason != "prompt_too_long"]
        if refusals:
            alive = await self._client.accepts(held[-1][0])
        else:
            alive = self._index.tokens > 0 and len(held) < LEAST_REFUSED
        if not alive:
            last = (refusals or [held[-1][1]])[-1]
            raise StopAsking(
                refused(last.endpoint or self._client.engine.base_url, self._client.engine.model, last.detail)
            )
        self._write(failure for _, failure in held)

    def _stop(self, error: StopAsking) -> None:
        """Send nothing more. Answers in flight are paid for: wait for them, but not for long."""
        if self._error is None:
            self._error = error
            self._stop_reading()
            self._ready.put_nowait(None)
            asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._cancel_workers)

    def _cancel_workers(self) -> None:
        for worker in self._workers:
            worker.cancel()

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


class _Doubts:
    """Refusals that may be about one request or about the settings, until that is known.

    A refusal is about one request when the server answers a request that was sent later.
    """

    def __init__(self, engine: Engine, concurrency: int, clock: Clock = REAL_CLOCK) -> None:
        self._engine, self._clock = engine, clock
        self._most_refused = max(LEAST_REFUSED, concurrency // 2)
        self._most_failed = max(LEAST_FAILED, 2 * concurrency)
        self._failed_in_a_row = 0
        self._held: list[tuple[float, Request, Failure]] = []

    def settle(self, request: Request, outcome: Outcome, began: float) -> list[Outcome]:
        """Outcomes that are certain now; `began` is when this request was first sent.

        Raises
        ------
        StopAsking
            The server fails on one request after the other.
        """
        if isinstance(outcome, Failure) and outcome.reason in REFUSED:
            self._held.append((self._clock.monotonic(), request, outcome))
            return []
        if isinstance(outcome, Failure) and outcome.transient:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= self._most_failed:
                raise StopAsking(
                    f"the last {self._failed_in_a_row} requests to {', '.join(self._engine.urls)} all failed; the "
                    f"last one: {outcome.reason}, {outcome.detail}. Check the server's log, then run the same command "
                    "again"
                )
            return [outcome]
        self._failed_in_a_row = 0
        certain = [failure for held_at, _, failure in self._held if held_at < began]
        self._held = [held for held in self._held if held[0] >= began]
        return [*certain, outcome]

    @property
    def too_many(self) -> bool:
        return len(self._held) >= self._most_refused

    def take(self) -> list[tuple[Request, Failure]]:
        """The refusals in doubt, with their requests; from now on there are none."""
        held = [(request, failure) for _, request, failure in self._held]
        self._held = []
        return held


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
