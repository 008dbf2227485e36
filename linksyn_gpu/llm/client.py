"""OpenAI-protocol client: one request in, one typed outcome out, whatever the network does in between.

`transport` carries the bytes. What concerns a single request ends in a `Failure`; what concerns them all (wrong key,
unknown model, server gone) raises `EngineError`, so that a dead server does not burn a whole campaign.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

import orjson

from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm import API_KEY_NAMES, Engine
from linksyn_gpu.llm.protocol import (
    Completion,
    Failure,
    Outcome,
    clip,
    error_message,
    fail,
    read_body,
    to_json,
    unusable,
)
from linksyn_gpu.llm.servers.watch import outlived
from linksyn_gpu.llm.transport import Broken, Reply, Transport, Unreachable

log = logging.getLogger(__name__)

CHAT_PATH = "chat/completions"
# Words in a 400 by which servers say that they know no JSON schema.
SCHEMA_WORDS = ("response_format", "json_schema", "structured output", "guided", "grammar")
ROOM_NAME = "max_completion_tokens"  # what servers that refuse `max_tokens` want instead; they say so in a 400
LOST_WITH_SERVER = ("connection", "server_error")  # how requests end that were in flight when the server died
SEED_STRIDE = 0x9E3779B1  # odd, so a request's retries never come back to a seed used before
SEED_MASK = 2**31 - 1

Validate = Callable[[str], str | None]
"""Says why an answer's text cannot be used, or None."""


@dataclass(frozen=True)
class Limits:
    """How hard a client tries."""

    concurrency: int = 64
    timeout: float = 300.0
    max_attempts: int = 3
    max_tokens_retry: int = 4096
    backoff: float = 0.5
    """Seconds before the first retry of a failed exchange; doubles with each."""
    backoff_cap: float = 30.0
    max_throttled: int = 20
    """Times that one request waits because the server asked to (429, 503)."""
    unreachable_after: float = 30.0
    """Seconds without any connection after which the whole run stops."""

    @classmethod
    def of(cls, config: SynthesisConfig, engine: Engine) -> Limits:
        """The limits of a synthesis on an engine: never more in flight than twice what the server works on."""
        slots = config.concurrency if engine.slots is None else min(config.concurrency, 2 * engine.slots)
        return cls(slots, config.timeout, config.max_attempts, config.max_tokens_retry)


@dataclass
class Stats:
    """What a client did; read it at any time."""

    completed: int = 0
    failed: int = 0
    attempts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Tokens of all attempts, those thrown away included: what a paid server bills."""
    retries: Counter[str] = field(default_factory=Counter)
    """Further attempts, by the reason of the one before."""
    throttled: int = 0
    """Times that the server asked to wait."""
    without_schema: int = 0
    """Requests sent without their JSON schema, which the server had refused."""
    skipped: int = 0
    """Requests that the journal had an answer for."""
    in_flight: int = 0
    slot_seconds: float = 0.0
    """Integral of requests in flight over time."""
    idle_seconds: float = 0.0
    """Time in which the server had nothing of ours to do."""
    seconds: float = 0.0

    @property
    def done(self) -> int:
        return self.completed + self.failed

    def summary(self) -> dict[str, Any]:
        """Figures of the whole time, for people and manifests."""
        seconds = max(self.seconds, 1e-9)
        return {
            "seconds": round(self.seconds, 3),
            "busy_share": round(1.0 - self.idle_seconds / seconds, 4),
            "in_flight": round(self.slot_seconds / seconds, 2),
            "answers_per_second": round(self.done / seconds, 3),
            "attempts": self.attempts,
            "retries": dict(self.retries),
            "throttled": self.throttled,
        }


class Gate:
    """Lets in so many requests at a time: fewer when the server throttles, back to all of them as it recovers."""

    def __init__(self, slots: int, stats: Stats) -> None:
        self.slots = slots
        self.limit = float(slots)
        self._stats = stats
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed_until = 0.0
        self._shrunk_at = -1.0
        self._changed_at = time.monotonic()

    async def enter(self) -> None:
        while True:
            wait = self._closed_until - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            elif self._stats.in_flight < max(1, int(self.limit)):
                self._move(1)
                return
            else:
                place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append(place)
                await place

    def leave(self) -> None:
        self._move(-1)
        free = max(1, int(self.limit)) - self._stats.in_flight
        while free > 0 and self._waiting:
            place = self._waiting.popleft()
            if not place.done():  # a cancelled worker's place is free
                place.set_result(None)
                free -= 1

    def throttle(self, seconds: float) -> None:
        """The server asked to wait: nobody enters for so long, and fewer afterwards."""
        now = time.monotonic()
        self._closed_until = max(self._closed_until, now + seconds)
        if now - self._shrunk_at > 1.0:  # one wave of refusals counts once
            self._shrunk_at = now
            self.limit = max(1.0, self.limit / 2)

    def widen(self) -> None:
        """A request went well: one more slot for each full round of them."""
        if self.limit < self.slots:
            self.limit = min(float(self.slots), self.limit + 1.0 / self.limit)

    def _move(self, step: int) -> None:
        now = time.monotonic()
        stats, span = self._stats, now - self._changed_at
        stats.slot_seconds += stats.in_flight * span
        stats.idle_seconds += span if stats.in_flight == 0 else 0.0
        stats.seconds += span
        stats.in_flight += step
        self._changed_at = now


class Client:
    """Asks one server. Use as `async with Client(engine, limits) as client: await client.complete(request)`."""

    def __init__(self, engine: Engine, limits: Limits | None = None, validate: Validate | None = None) -> None:
        self.engine = engine
        self.limits = limits or Limits()
        self.stats = Stats()
        self.schema_refused: str | None = None
        """The server's message when it refused a JSON schema; from then on requests go without one."""
        self._room_name = "max_tokens"
        self._validate = validate or (lambda text: None)
        self._gate = Gate(self.limits.concurrency, self.stats)
        self._down_since: float | None = None
        self._transport: Transport

    async def __aenter__(self) -> Client:
        self._transport = Transport(self.engine, self.limits.timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def complete(self, request: Mapping[str, Any]) -> Outcome:
        """Ask until there is a usable answer or the attempts are spent.

        Parameters
        ----------
        request : mapping
            A line of an OpenAI batch file: `custom_id` and `body`.

        Raises
        ------
        EngineError
            No request can succeed: the server is gone, refuses the key, or does not know the model.
        """
        request_id, body = request["custom_id"], {**request["body"], "model": self.engine.model}
        outcome: Outcome
        spent = 0
        for attempt in range(1, self.limits.max_attempts + 1):
            outcome = await self._attempt(request_id, body, attempt)
            self.stats.attempts += 1
            self.stats.prompt_tokens += outcome.prompt_tokens
            self.stats.completion_tokens += outcome.completion_tokens
            spent += outcome.prompt_tokens + outcome.completion_tokens
            if isinstance(outcome, Completion):
                reason = unusable(outcome) or self._validate(outcome.text)
                if reason is None:
                    break
                room = body.get("max_tokens")
                detail = f"finish_reason {outcome.finish_reason or 'unknown'}, max_tokens {room}"
                outcome = fail(outcome, reason, detail)
                if reason == "cut_off":
                    if room is None or room >= self.limits.max_tokens_retry:
                        break
                    body["max_tokens"] = min(2 * room, self.limits.max_tokens_retry)
                elif body.get("seed") is not None:
                    body["seed"] = (body["seed"] + SEED_STRIDE) & SEED_MASK
            elif not outcome.transient:
                break
            if attempt < self.limits.max_attempts:
                self.stats.retries[outcome.reason] += 1
                if outcome.transient:
                    await asyncio.sleep(self._delay(request_id, attempt))
        if isinstance(outcome, Completion):
            self.stats.completed += 1
        else:
            self.stats.failed += 1
        return replace(outcome, spent_tokens=spent)

    async def _attempt(self, request_id: str, body: dict[str, Any], attempt: int) -> Outcome:
        """One attempt; made again, free of charge, when it fell to the death of a server that is started anew."""
        watch = self.engine.watch
        while True:
            starts = 0 if watch is None else watch.starts
            outcome = await self._exchange(request_id, body, attempt)
            if watch is None or not (isinstance(outcome, Failure) and outcome.reason in LOST_WITH_SERVER):
                return outcome
            if not await outlived(watch, starts):
                return outcome
            self.stats.retries["server_died"] += 1  # as often as the server is started at most

    async def _exchange(self, request_id: str, body: dict[str, Any], attempt: int) -> Outcome:
        """One attempt: waits out throttling and an absent server, and sends anew when a schema is refused."""
        for throttled in range(self.limits.max_throttled + 1):
            if self.schema_refused is not None and body.pop("response_format", None) is not None:
                self.stats.without_schema += 1
            reply = await self._send(request_id, self._named(body), attempt)
            if isinstance(reply, Failure):
                return reply
            status, data = reply.status, reply.data
            if status in (429, 503):
                self.stats.throttled += 1
                wait = self._delay(request_id, throttled + 1) if reply.retry_after is None else reply.retry_after
                self._gate.throttle(wait)
                continue
            self._gate.widen()
            if status == 400 and "response_format" in body and self._refuses_schema(data):
                continue
            if status == 400 and self._room_name == "max_tokens" and ROOM_NAME.encode() in data:
                self._room_name = ROOM_NAME
                continue
            return self._read(request_id, body, status, data, attempt)
        detail = f"HTTP {status} {throttled + 1} times: {self.engine.scrub(error_message(data))}"
        return Failure(request_id, "rate_limited", clip(detail), attempt)

    def _named(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body with its room under the name that the server knows."""
        if self._room_name == "max_tokens" or "max_tokens" not in body:
            return body
        return {(self._room_name if name == "max_tokens" else name): value for name, value in body.items()}

    async def _send(self, request_id: str, body: dict[str, Any], attempt: int) -> Reply | Failure:
        """Send once a connection can be made; gives what came back, or what broke it."""
        payload = to_json(body)
        tries = 0
        while True:
            await self._gate.enter()
            try:
                reply = await self._transport.post(CHAT_PATH, payload)
                self._down_since = None
                return reply
            except Unreachable as error:
                tries += 1
                self._check_reachable(error)
            except TimeoutError:
                self._down_since = None  # somebody took the connection
                return Failure(request_id, "timeout", f"no answer within {self.limits.timeout:g} s", attempt)
            except Broken as error:
                self._down_since = None
                return Failure(request_id, "connection", clip(self.engine.scrub(str(error))), attempt)
            finally:
                self._gate.leave()
            await asyncio.sleep(min(self._delay(request_id, tries), 2.0))

    def _read(self, request_id: str, body: Mapping[str, Any], status: int, data: bytes, attempt: int) -> Outcome:
        """Turn a reply that asks for no further sending into an outcome."""
        if status == 200:
            try:
                value = orjson.loads(data)
            except ValueError:
                text = self.engine.scrub(data[:120].decode(errors="replace"))
                return Failure(request_id, "bad_response", f"not JSON: {text!r}", attempt)
            seed, room = body.get("seed"), body.get("max_tokens")
            return read_body(request_id, value, attempts=attempt, seed=seed, max_tokens=room)
        message = self.engine.scrub(error_message(data))
        if status in (401, 403):
            raise EngineError(
                f"{self.engine.base_url} refused the API key (HTTP {status}: {message}): "
                f"set the environment variable {' or '.join(API_KEY_NAMES)}"
            )
        if status == 404 or 300 <= status < 400:
            raise EngineError(
                f"{self.engine.base_url}/{CHAT_PATH} answered HTTP {status} ({message}): check --base-url, which mostly ends in /v1, "
                f"and --model (now {self.engine.model!r})"
            )
        if status >= 500 or status in (408, 409, 425):
            return Failure(request_id, "server_error", clip(f"HTTP {status}: {message}"), attempt)
        return Failure(request_id, "bad_request", clip(f"HTTP {status}: {message}"), attempt)

    def _refuses_schema(self, data: bytes) -> bool:
        message = self.engine.scrub(error_message(data))
        if not any(word in message.lower() for word in SCHEMA_WORDS):
            return False
        if self.schema_refused is None:
            self.schema_refused = message
            log.warning(
                "%s refuses a JSON schema (%s): the run goes on without one, and answers are parsed as they come",
                self.engine.base_url,
                message,
            )
        return True

    def _check_reachable(self, error: Exception) -> None:
        now = time.monotonic()
        if (watch := self.engine.watch) is not None and watch.state != "up":
            if watch.state == "failed":
                raise EngineError(watch.detail)
            self._down_since = None  # it is being started again
            return
        if self._down_since is None:
            self._down_since = now
        if now - self._down_since >= self.limits.unreachable_after:
            raise EngineError(
                f"{self.engine.base_url} could not be reached for {now - self._down_since:.0f} s "
                f"({self.engine.scrub(str(error))}): start the server or mend --base-url, then run the same "
                "command again; answers received so far are kept"
            )

    def _delay(self, request_id: str, attempt: int) -> float:
        """Seconds to wait before the next try: doubling, with a jitter drawn from the request's id."""
        draw = hashlib.blake2b(f"{request_id}/{attempt}".encode(), digest_size=8).digest()
        jitter = 0.5 + int.from_bytes(draw) / 2**64
        step: float = self.limits.backoff * 2 ** min(attempt - 1, 30)
        return min(self.limits.backoff_cap, step) * jitter
