"""The servers that a client asks: each request goes to the least loaded one; one that fails is left out for a while.

A server is left out when no connection can be made, or after `FAILURES` requests in a row that timed out, lost their
connection or met a 5xx. It is tried again with one request after a rest, which doubles each time. Where no server
works, nothing is left out: the client then waits, or stops, as it does with a single server.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from linksyn_gpu.clock import REAL_CLOCK, Clock
from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.protocol import Completion, Failure, Outcome
from linksyn_gpu.llm.transport import Connect, Transport

FAILURES = 3
"""Failures in a row after which a server is left out."""


@dataclass
class Load:
    """Requests in flight over time."""

    in_flight: int = 0
    slots: int = 0
    """Most requests in flight."""
    limit: int = 0
    """Most requests in flight now: fewer than the settings say while the server throttles."""
    paused_until: float = 0.0
    """No request is sent before this time (`time.monotonic`): the server asked for a pause."""
    slot_seconds: float = 0.0
    """Integral of requests in flight over time."""
    idle_seconds: float = 0.0
    """Time without any request in flight."""
    seconds: float = 0.0
    changed_at: float = field(default=0.0, repr=False)

    def move(self, step: int, now: float) -> None:
        """Count `step` more requests in flight from now on."""
        span = now - self.changed_at
        self.slot_seconds += self.in_flight * span
        self.idle_seconds += span if self.in_flight == 0 else 0.0
        self.seconds += span
        self.in_flight += step
        self.changed_at = now


@dataclass
class EndpointStats(Load):
    """Running figures of one server."""

    requests: int = 0
    """Attempts that were sent, or that found no connection."""
    answered: int = 0
    """Attempts that brought a chat completion, usable or not."""
    errors: Counter[str] = field(default_factory=Counter)
    """Attempts without one: 'unreachable', 'throttled', 'refused', or a reason of `protocol.REQUEST_REASONS`."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    times_left_out: int = 0
    left_out: bool = False
    """Whether it is left out now."""

    def summary(self) -> dict[str, Any]:
        """Figures for messages, manifests and metrics."""
        seconds = max(self.seconds, 1e-9)
        return {
            "requests": self.requests,
            "answered": self.answered,
            "answers_per_second": round(self.answered / seconds, 3),
            "in_flight": round(self.slot_seconds / seconds, 2),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "errors": dict(self.errors),
            "times_left_out": self.times_left_out,
            "left_out": self.left_out,
        }


class Endpoint:
    """One server, with its connections, its limit of requests in flight, and its state."""

    def __init__(
        self, engine: Engine, timeout: float, slots: int, stats: EndpointStats, clock: Clock, connect: Connect
    ) -> None:
        self.url = engine.base_url
        self.transport = connect(engine, timeout)
        self.stats, self._clock = stats, clock
        stats.slots, stats.changed_at, stats.left_out = slots, clock.monotonic(), False
        self.limit = float(slots)
        self.rest_until = 0.0
        self.rests = 0
        """Rests since the last request that worked; 0: it is healthy."""
        self.unreachable_since: float | None = None
        self.used = 0
        self._slots = slots
        self._failures = 0
        self._shrunk_at = -1.0

    @property
    def healthy(self) -> bool:
        return self.rests == 0

    @property
    def room(self) -> int:
        """Requests that may be in flight."""
        return self.stats.limit

    @property
    def limit(self) -> float:
        """Requests in flight: fewer when the server throttles, then back to `slots`. Its whole part counts."""
        return self._limit

    @limit.setter
    def limit(self, limit: float) -> None:
        self._limit = limit
        self.stats.limit = max(1, int(limit))

    def connected(self) -> None:
        """Take note that a connection was made."""
        self.unreachable_since = None

    def worked(self) -> None:
        """Take note of a reply of a working server."""
        self._failures = self.rests = 0
        self.stats.left_out = False
        if self.limit < self._slots:  # one more slot per full round of successful requests
            self.limit = min(float(self._slots), self.limit + 1.0 / self.limit)

    def failed(self, rest: float, longest_rest: float, *, at_once: bool = False) -> None:
        """Take note of a failure; after `FAILURES` in a row, or `at_once`, the server rests."""
        now = self._clock.monotonic()
        self._failures += 1
        if (at_once or self._failures >= FAILURES or not self.healthy) and now >= self.rest_until:
            self.rest_until = now + min(longest_rest, rest * 2.0 ** min(self.rests, 30))
            self.rests += 1

    def throttle(self, seconds: float) -> float:
        """Let no request enter for this time, and fewer afterwards: the server asked for a pause.

        Returns the seconds that this adds to earlier pauses.
        """
        now, before = self._clock.monotonic(), self.stats.paused_until
        until = max(before, now + seconds)
        self.stats.paused_until = until
        if now - self._shrunk_at > 1.0:  # refusals at the same time count once
            self._shrunk_at = now
            self.limit = max(1.0, self.limit / 2)
        return until - max(before, now)


class Endpoints:
    """The servers of an engine; `async with`.

    Parameters
    ----------
    slots : int
        Requests in flight at each server.
    load : Load
        Counts the requests in flight at all of them.
    earlier : mapping of str to EndpointStats
        Figures by address that are added to.
    rest, longest_rest : float
        Seconds of the first and of the longest rest of a server that fails.
    clock, connect : Clock, callable
        Those of the machine, except in tests.
    """

    def __init__(
        self,
        engine: Engine,
        timeout: float,
        slots: int,
        load: Load,
        earlier: Mapping[str, EndpointStats],
        *,
        rest: float,
        longest_rest: float,
        clock: Clock = REAL_CLOCK,
        connect: Connect = Transport,
    ) -> None:
        self._all = [
            Endpoint(
                replace(engine, base_url=url, more_urls=()),
                timeout,
                slots,
                earlier.get(url) or EndpointStats(),
                clock,
                connect,
            )
            for url in engine.urls
        ]
        self._load, self._rest, self._longest_rest, self._clock = load, rest, longest_rest, clock
        load.slots, load.changed_at = slots * len(self._all), clock.monotonic()
        self._sum_limits()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._uses = 0

    def __len__(self) -> int:
        return len(self._all)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for endpoint in self._all:
            await endpoint.transport.__aexit__(kind, error, trace)

    @property
    def stats(self) -> dict[str, EndpointStats]:
        """Figures by address."""
        return {endpoint.url: endpoint.stats for endpoint in self._all}

    @property
    def any_healthy(self) -> bool:
        return any(endpoint.healthy for endpoint in self._all)

    @property
    def unreachable_since(self) -> float | None:
        """Time since which no server could be reached; None where one can be, or was not tried."""
        since = [endpoint.unreachable_since for endpoint in self._all]
        known = [at for at in since if at is not None]
        return max(known) if len(known) == len(since) else None

    async def enter(self) -> Endpoint:
        """Wait until a server has a free slot, and take one at the least loaded server."""
        while True:
            now = self._clock.monotonic()
            if free := self._free(now):
                endpoint = min(free, key=lambda e: (e.stats.in_flight / e.limit, e.used))
                self._uses += 1
                endpoint.used = self._uses
                endpoint.stats.requests += 1
                endpoint.stats.move(1, now)
                self._load.move(1, now)
                return endpoint
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            openings = [at for e in self._all for at in (e.stats.paused_until, e.rest_until) if at > now]
            try:
                async with asyncio.timeout(min(openings) - now if openings else None):
                    await place
            except TimeoutError:
                continue

    def leave(self, endpoint: Endpoint) -> None:
        """Give the slot back."""
        now = self._clock.monotonic()
        endpoint.stats.move(-1, now)
        self._load.move(-1, now)
        self._wake()

    def settle(self, endpoint: Endpoint, outcome: Outcome) -> None:
        """Take note of what an attempt brought that the server answered, or failed to answer."""
        endpoint.stats.prompt_tokens += outcome.prompt_tokens
        endpoint.stats.completion_tokens += outcome.completion_tokens
        if isinstance(outcome, Failure) and outcome.transient:
            endpoint.stats.errors[outcome.reason] += 1
            self._fail(endpoint)
        elif isinstance(outcome, Completion) or outcome.completion_tokens:
            endpoint.stats.answered += 1
            self._work(endpoint)
        else:
            self.refused(endpoint)

    def refused(self, endpoint: Endpoint) -> None:
        """Take note that the server, which works, refused one request."""
        endpoint.stats.errors["refused"] += 1
        self._work(endpoint)

    def unreachable(self, endpoint: Endpoint) -> None:
        """Take note that no connection could be made."""
        endpoint.stats.errors["unreachable"] += 1
        if endpoint.unreachable_since is None:
            endpoint.unreachable_since = self._clock.monotonic()
        self._fail(endpoint, at_once=True)

    def forgive(self) -> None:
        """Count no time as unreachable so far: the server is being restarted."""
        for endpoint in self._all:
            endpoint.unreachable_since = None

    def throttle(self, endpoint: Endpoint, seconds: float) -> float:
        """As `Endpoint.throttle`; it is counted."""
        endpoint.stats.errors["throttled"] += 1
        added = endpoint.throttle(seconds)
        self._load.paused_until = min(e.stats.paused_until for e in self._all)
        self._sum_limits()
        return added

    def _sum_limits(self) -> None:
        self._load.limit = sum(endpoint.room for endpoint in self._all)

    def _work(self, endpoint: Endpoint) -> None:
        endpoint.worked()
        self._sum_limits()
        self._wake()

    def _fail(self, endpoint: Endpoint, *, at_once: bool = False) -> None:
        rests = endpoint.rests
        endpoint.failed(self._rest, self._longest_rest, at_once=at_once)
        if endpoint.rests == 1 and rests == 0:
            endpoint.stats.times_left_out += 1
            endpoint.stats.left_out = True
        self._wake()  # where no server is healthy any more, all of them are tried

    def _candidates(self, now: float) -> Sequence[tuple[Endpoint, int]]:
        """(server, requests that may be in flight there) of those that may be asked now."""
        if self.any_healthy:  # one that rested gets a single request
            rooms = [(e, e.room if e.healthy else 1) for e in self._all if e.healthy or e.rest_until <= now]
        else:
            reached = [e for e in self._all if e.unreachable_since is None]
            rooms = [(e, e.room) for e in reached or self._all]
        return [(e, room) for e, room in rooms if e.stats.paused_until <= now]

    def _free(self, now: float) -> list[Endpoint]:
        return [e for e, room in self._candidates(now) if e.stats.in_flight < room]

    def _wake(self) -> None:
        """Let those enter that wait for the slots which are free now."""
        if not self._waiting:
            return
        free = sum(max(0, room - e.stats.in_flight) for e, room in self._candidates(self._clock.monotonic()))
        while free > 0 and self._waiting:
            place = self._waiting.popleft()
            if not place.done():  # it is done where its worker was cancelled, or its time was over
                place.set_result(None)
                free -= 1
