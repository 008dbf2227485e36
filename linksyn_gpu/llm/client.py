"""OpenAI-protocol client: each request has exactly one typed outcome.

What concerns a single request ends in a `Failure`. What concerns all of them (wrong key, unknown model, server gone)
raises `EngineError`, so that a dead server does not use up a whole campaign.
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
# Words in a 400 of a server that does not support JSON schemas.
SCHEMA_WORDS = ("response_format", "json_schema", "structured output", "guided", "grammar")
LIMIT_NAME = "max_completion_tokens"  # some servers require this name instead of `max_tokens`, and say so in a 400
LOST_WITH_SERVER = ("connection", "server_error")  # outcome of requests that were in flight when the server died
SEED_STRIDE = 0x9E3779B1  # odd, hence the retries of a request never repeat a seed
SEED_MASK = 2**31 - 1

Validate = Callable[[str], str | None]
"""Returns why an answer's text cannot be used, or None."""


@dataclass(frozen=True)
class Limits:
    """Limits on concurrency, time and attempts."""

    concurrency: int = 64
    timeout: float = 300.0
    max_attempts: int = 3
    max_tokens_retry: int = 4096
    backoff: float = 0.5
    """Seconds before the first retry of a failed exchange; doubles with each retry."""
    backoff_cap: float = 30.0
    max_throttled: int = 20
    """Times that one request waits because the server asks for it (429, 503)."""
    unreachable_after: float = 30.0
    """Seconds without a connection after which the run stops."""

    @classmethod
    def of(cls, config: SynthesisConfig, engine: Engine) -> Limits:
        """The limits of a synthesis on an engine: at most twice the engine's slots are in flight."""
        slots = config.concurrency if engine.slots is None else min(config.concurrency, 2 * engine.slots)
        return cls(slots, config.timeout, config.max_attempts, config.max_tokens_retry)


@dataclass
class Stats:
    """Running figures of a client."""

    completed: int = 0
    failed: int = 0
    attempts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Tokens of all attempts, discarded answers included: what a paid server bills."""
    retries: Counter[str] = field(default_factory=Counter)
    """Further attempts, by the reason of the previous one."""
    throttled: int = 0
    """Times that the server asked for a pause."""
    without_schema: int = 0
    """Requests sent without their JSON schema, because the server refuses schemas."""
    skipped: int = 0
    """Requests that the journal already had an answer for."""
    in_flight: int = 0
    slot_seconds: float = 0.0
    """Integral of requests in flight over time."""
    idle_seconds: float = 0.0
    """Time without any request in flight."""
    seconds: float = 0.0

    @property
    def done(self) -> int:
        return self.completed + self.failed

    def summary(self) -> dict[str, Any]:
        """Figures of the whole time, for messages and manifests."""
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
    """Limits the requests in flight: to fewer when the server throttles, and back to `slots` as it recovers."""

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
            if not place.done():  # it is done where its worker was cancelled
                place.set_result(None)
                free -= 1

    def throttle(self, seconds: float) -> None:
        """Let no request enter for this time, and fewer afterwards: the server asked for a pause."""
        now = time.monotonic()
        self._closed_until = max(self._closed_until, now + seconds)
        if now - self._shrunk_at > 1.0:  # refusals at the same time count once
            self._shrunk_at = now
            self.limit = max(1.0, self.limit / 2)

    def widen(self) -> None:
        """Allow one more slot per full round of successful requests."""
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
    """Asks one server: `async with Client(engine, limits) as client: await client.complete(request)`."""

    def __init__(self, engine: Engine, limits: Limits | None = None, validate: Validate | None = None) -> None:
        self.engine = engine
        self.limits = limits or Limits()
        self.stats = Stats()
        self.schema_refused: str | None = None
        """The server's message when it refused a JSON schema; later requests are sent without one."""
        self._limit_name = "max_tokens"
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
        """Ask until there is a usable answer or no attempt is left.

        Parameters
        ----------
        request : mapping
            A line of an OpenAI batch file: `custom_id` and `body`.

        Raises
        ------
        EngineError
            No request can succeed: the server is gone, refuses the key, or does not have the model.
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
                limit = body.get("max_tokens")
                detail = f"finish_reason {outcome.finish_reason or 'unknown'}, max_tokens {limit}"
                outcome = fail(outcome, reason, detail)
                if reason == "cut_off":
                    if limit is None or limit >= self.limits.max_tokens_retry:
                        break
                    body["max_tokens"] = min(2 * limit, self.limits.max_tokens_retry)
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
        """One attempt. It is repeated, and counts once, when the server died and was restarted."""
        watch = self.engine.watch
        while True:
            starts = 0 if watch is None else watch.starts
            outcome = await self._exchange(request_id, body, attempt)
            if watch is None or not (isinstance(outcome, Failure) and outcome.reason in LOST_WITH_SERVER):
                return outcome
            if not await outlived(watch, starts):
                return outcome
            self.stats.retries["server_died"] += 1  # at most once per restart of the server

    async def _exchange(self, request_id: str, body: dict[str, Any], attempt: int) -> Outcome:
        """One attempt. It waits while the server throttles or is absent, and repeats without a refused schema."""
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
            if status == 400 and self._limit_name == "max_tokens" and LIMIT_NAME.encode() in data:
                self._limit_name = LIMIT_NAME
                continue
            return self._read(request_id, body, status, data, attempt)
        detail = f"HTTP {status} {throttled + 1} times: {self.engine.scrub(error_message(data))}"
        return Failure(request_id, "rate_limited", clip(detail), attempt)

    def _named(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body with its answer limit under the name that the server knows."""
        if self._limit_name == "max_tokens" or "max_tokens" not in body:
            return body
        return {(self._limit_name if name == "max_tokens" else name): value for name, value in body.items()}

    async def _send(self, request_id: str, body: dict[str, Any], attempt: int) -> Reply | Failure:
        """Send as soon as a connection can be made; return the reply, or why there is none."""
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
                self._down_since = None  # the connection was accepted
                return Failure(request_id, "timeout", f"no answer within {self.limits.timeout:g} s", attempt)
            except Broken as error:
                self._down_since = None
                return Failure(request_id, "connection", clip(self.engine.scrub(str(error))), attempt)
            finally:
                self._gate.leave()
            await asyncio.sleep(min(self._delay(request_id, tries), 2.0))

    def _read(self, request_id: str, body: Mapping[str, Any], status: int, data: bytes, attempt: int) -> Outcome:
        """Turn a reply into an outcome."""
        if status == 200:
            try:
                value = orjson.loads(data)
            except ValueError:
                text = self.engine.scrub(data[:120].decode(errors="replace"))
                return Failure(request_id, "bad_response", f"not JSON: {text!r}", attempt)
            seed, limit = body.get("seed"), body.get("max_tokens")
            return read_body(request_id, value, attempts=attempt, seed=seed, max_tokens=limit)
        message = self.engine.scrub(error_message(data))
        if status in (401, 403):
            raise EngineError(
                f"{self.engine.base_url} refused the API key (HTTP {status}: {message}): "
                f"set the environment variable {' or '.join(API_KEY_NAMES)}"
            )
        if status == 404 or 300 <= status < 400:
            raise EngineError(
                f"{self.engine.base_url}/{CHAT_PATH} answered HTTP {status} ({message}): check --base-url, which "
                f"usually ends in /v1, and --model (now {self.engine.model!r})"
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
            self._down_since = None  # it is being restarted
            return
        if self._down_since is None:
            self._down_since = now
        if now - self._down_since >= self.limits.unreachable_after:
            raise EngineError(
                f"{self.engine.base_url} could not be reached for {now - self._down_since:.0f} s "
                f"({self.engine.scrub(str(error))}): start the server or correct --base-url, then run the same "
                "command again; answers received so far are kept"
            )

    def _delay(self, request_id: str, attempt: int) -> float:
        """Seconds before the next try: doubling, with a jitter drawn from the request's id."""
        draw = hashlib.blake2b(f"{request_id}/{attempt}".encode(), digest_size=8).digest()
        jitter = 0.5 + int.from_bytes(draw) / 2**64
        step: float = self.limits.backoff * 2 ** min(attempt - 1, 30)
        return min(self.limits.backoff_cap, step) * jitter
