"""The servers that a client asks: each request goes to the least loaded one; one that fails is left out for a while.

A server is left out when no connection can be made, or after `FAILURES` requests in a row that timed out, lost their
connection or met a 5xx. It is tried again with one request after a rest, which doubles each time. Where no server
works, nothing is left out: the client then waits, or stops, as it does with a single server.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from linksyn_gpu.clock import Clock
from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.protocol import Completion, Failure, Outcome
from linksyn_gpu.llm.transport import Exchange

FAILURES = 3
"""Failures in a row after which a server is left out."""


@dataclass
class Load:
    """Requests in flight over time, and their limits."""

    in_flight: int = 0
    slots: int = 0
    """Most requests in flight."""
    limit: int = 0
    """Most requests in flight now: fewer than the settings say while the server throttles."""
    paused_until: float = 0.0
    """No request is sent before this time (`time.monotonic`): the server asked for a pause."""
    throttled_seconds: float = 0.0
    """Time in which no request was sent because the server had asked for a pause."""
    slot_seconds: float = 0.0
    """Integral of requests in flight over time."""
    idle_seconds: float = 0.0
    """Time without any request in flight."""
    seconds: float = 0.0
    changed_at: float = field(default=0.0, repr=False)

    def begin(self, now: float, slots: int) -> None:
        """Count from now on, with this limit."""
        self.slots = self.limit = slots
        self.changed_at = now

    def pause(self, now: float, until: float) -> None:
        """Take note that no request is sent before a time."""
        before = self.paused_until
        self.throttled_seconds += max(0.0, until - max(before, now))
        self.paused_until = max(before, until)

    def move(self, now: float, step: int) -> None:
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

    def __init__(self, url: str, transport: Exchange, stats: EndpointStats) -> None:
        self.url, self.transport, self.stats = url, transport, stats
        self._limit = float(stats.slots)
        """Requests in flight: fewer when the server throttles, back to all slots as it recovers."""
        self.rest_until = 0.0
        self.rests = 0
        """Rests since the last request that worked; 0: it is healthy."""
        self.unreachable_since: float | None = None
        self.used = 0
        self._failures = 0
        self._shrunk_at = -1.0

    @property
    def healthy(self) -> bool:
        return self.rests == 0

    def connected(self) -> None:
        """Take note that a connection was made."""
        self.unreachable_since = None

    def worked(self) -> None:
        """Take note of a reply of a working server."""
        self._failures = self.rests = 0
        self.stats.left_out = False
        if self._limit < self.stats.slots:  # one more slot per full round of successful requests
            self._set_limit(min(float(self.stats.slots), self._limit + 1.0 / self._limit))

    def failed(self, now: float, rest: float, longest_rest: float, *, at_once: bool = False) -> None:
        """Take note of a failure; after `FAILURES` in a row, or `at_once`, the server rests."""
        self._failures += 1
        if (at_once or self._failures >= FAILURES or not self.healthy) and now >= self.rest_until:
            self.rest_until = now + min(longest_rest, rest * 2.0 ** min(self.rests, 30))
            self.rests += 1

    def throttle(self, now: float, seconds: float) -> None:
        """Let no request enter for this time, and fewer afterwards: the server asked for a pause."""
        self.stats.pause(now, now + seconds)
        if now - self._shrunk_at > 1.0:  # refusals at the same time count once
            self._shrunk_at = now
            self._set_limit(max(1.0, self._limit / 2))

    def _set_limit(self, limit: float) -> None:
        self._limit = limit
        self.stats.limit = max(1, int(limit))


class Endpoints:
    """The servers of an engine; `async with`.

    Parameters
    ----------
    connect : callable
        Opens the way to the server of an engine.
    slots : int
        Requests in flight at each server.
    load, stats : Load, dict
        Take the figures of all servers together, and of each one by its address; those of earlier calls are added to.
    rest, longest_rest : float
        Seconds of the first and of the longest rest of a server that fails.
    """

    def __init__(
        self,
        engine: Engine,
        connect: Callable[[Engine], Exchange],
        slots: int,
        load: Load,
        stats: dict[str, EndpointStats],
        clock: Clock,
        *,
        rest: float,
        longest_rest: float,
    ) -> None:
        self._load, self._clock, self._rest, self._longest_rest = load, clock, rest, longest_rest
        self._all = []
        for url in engine.urls:
            figures = stats.setdefault(url, EndpointStats())
            figures.begin(clock.monotonic(), slots)
            self._all.append(Endpoint(url, connect(replace(engine, base_url=url, more_urls=())), figures))
        load.begin(clock.monotonic(), slots * len(self._all))
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
                endpoint = min(free, key=lambda e: (e.stats.in_flight / e.stats.limit, e.used))
                self._uses += 1
                endpoint.used = self._uses
                endpoint.stats.requests += 1
                self._move(endpoint, 1)
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
        self._move(endpoint, -1)
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

    def throttle(self, endpoint: Endpoint, seconds: float) -> None:
        """As `Endpoint.throttle`; it is counted."""
        now = self._clock.monotonic()
        endpoint.stats.errors["throttled"] += 1
        endpoint.throttle(now, seconds)
        self._load.pause(now, min(e.stats.paused_until for e in self._all))
        self._add_limits()

    def _work(self, endpoint: Endpoint) -> None:
        endpoint.worked()
        self._add_limits()
        self._wake()

    def _add_limits(self) -> None:
        self._load.limit = sum(e.stats.limit for e in self._all)

    def _move(self, endpoint: Endpoint, step: int) -> None:
        now = self._clock.monotonic()
        endpoint.stats.move(now, step)
        self._load.move(now, step)

    def _fail(self, endpoint: Endpoint, *, at_once: bool = False) -> None:
        rests = endpoint.rests
        endpoint.failed(self._clock.monotonic(), self._rest, self._longest_rest, at_once=at_once)
        if endpoint.rests == 1 and rests == 0:
            endpoint.stats.times_left_out += 1
            endpoint.stats.left_out = True
        self._wake()  # where no server is healthy any more, all of them are tried

    def _candidates(self, now: float) -> Sequence[tuple[Endpoint, int]]:
        """(server, requests that may be in flight there) of those that may be asked now."""
        if self.any_healthy:  # one that rested gets a single request
            limits = [(e, e.stats.limit if e.healthy else 1) for e in self._all if e.healthy or e.rest_until <= now]
        else:
            reached = [e for e in self._all if e.unreachable_since is None]
            limits = [(e, e.stats.limit) for e in reached or self._all]
        return [(e, limit) for e, limit in limits if e.stats.paused_until <= now]

    def _free(self, now: float) -> list[Endpoint]:
        return [e for e, limit in self._candidates(now) if e.stats.in_flight < limit]

    def _wake(self) -> None:
        """Let those enter that wait for the slots which are free now."""
        if not self._waiting:
            return
        now = self._clock.monotonic()
        free = sum(max(0, limit - e.stats.in_flight) for e, limit in self._candidates(now))
        while free > 0 and self._waiting:
            place = self._waiting.popleft()
            if not place.done():  # it is done where its worker was cancelled, or its time was over
                place.set_result(None)
                free -= 1
