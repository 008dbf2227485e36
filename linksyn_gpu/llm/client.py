"""OpenAI-protocol client: each request has exactly one typed outcome.

A refusal that concerns one request ends in a `Failure`. One that concerns all of them (key, account, model, settings),
or a server that is gone, raises `StopAsking`, so that it does not use up a whole campaign. See `refusals`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from linksyn_gpu.clock import REAL_CLOCK, Clock
from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.errors import StopAsking
from linksyn_gpu.llm import API_KEY_NAMES, Engine
from linksyn_gpu.llm.asking import Validate
from linksyn_gpu.llm.budget import prompt_tokens
from linksyn_gpu.llm.endpoints import Endpoint, Endpoints, EndpointStats, Load
from linksyn_gpu.llm.protocol import (
    ITEM_MISSING,
    Completion,
    Failure,
    Outcome,
    clip,
    fail,
    read_body,
    read_json,
    to_json,
    unusable,
)
from linksyn_gpu.llm.refusals import Dialect, Kind, Refusal, read_refusal
from linksyn_gpu.llm.servers.watch import outlived
from linksyn_gpu.llm.transport import Broken, Connect, Reply, Transport, Unreachable

log = logging.getLogger(__name__)

CHAT_PATH = "chat/completions"
LOST_WITH_SERVER = ("connection", "server_error")  # outcome of requests that were in flight when the server died
SEED_STRIDE = 0x9E3779B1  # odd, hence the retries of a request never repeat a seed
SEED_MASK = 2**31 - 1
SHORTEST_ANSWER = 64
"""Tokens below which an answer is not worth asking for."""
SURELY_TOO_LONG = 2.0
"""Estimated tokens of a prompt, as a share of the context, above which it is not sent at all."""
REASONS = {
    Kind.RETRY: "server_error",
    Kind.INVALID: "invalid_json",
    Kind.TOO_LONG: "prompt_too_long",
    Kind.UNUSABLE: "bad_request",
    Kind.FILTERED: "filtered",
}
REFUSED = ("bad_request", "prompt_too_long")
"""Reasons that may be the fault of the settings: they count only when the server accepts other requests."""
FINAL = ("filtered",)


@dataclass(frozen=True)
class Limits:
    """Limits on concurrency, time and attempts."""

    concurrency: int = 64
    """Requests in flight at each server."""
    timeout: float = 300.0
    max_attempts: int = 3
    max_tokens_retry: int = 4096
    backoff: float = 0.5
    """Seconds before the first retry of a failed exchange; doubles with each retry."""
    backoff_cap: float = 30.0
    max_throttled: int = 20
    """Times that one request waits because the server asks for it (429, 503)."""
    unreachable_after: float = 30.0
    """Seconds without a connection to any server after which the run stops."""
    rest: float = 1.0
    """Seconds for which a server that fails is left out, where another one works; doubles with each rest in a row."""
    rest_cap: float = 60.0
    answer_limit: int | None = None
    """Replaces the `max_tokens` of each request. None: it stays as it is."""
    without: tuple[str, ...] = ()
    """Parameters that are not sent."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """Name of a parameter -> the name that is sent."""

    @classmethod
    def of(cls, config: SynthesisConfig, engine: Engine) -> Limits:
        """The limits of a synthesis on an engine: at most twice the engine's slots are in flight."""
        slots = config.concurrency * engine.replicas
        return cls(
            slots if engine.slots is None else min(slots, 2 * engine.slots),
            config.timeout,
            config.max_attempts,
            config.max_tokens_retry,
            without=config.without,
            rename=config.rename,
        )


@dataclass
class Stats(Load):
    """Running figures of a client; requests in flight are those at all servers."""

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
    skipped: int = 0
    """Requests that the journal already had an answer for."""
    endpoints: dict[str, EndpointStats] = field(default_factory=dict)
    """Figures of each server, by its address."""

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
            "throttled_share": round(min(1.0, self.throttled_seconds / seconds), 4),
            "endpoints": {url: endpoint.summary() for url, endpoint in self.endpoints.items()},
        }


class Client:
    """Asks the servers of an engine: `async with Client(engine, limits) as client: await client.complete(request)`.

    Parameters
    ----------
    clock, connect : Clock, callable
        Those of the machine, except in tests.
    """

    def __init__(
        self,
        engine: Engine,
        limits: Limits | None = None,
        validate: Validate | None = None,
        stats: Stats | None = None,
        *,
        clock: Clock = REAL_CLOCK,
        connect: Connect = Transport,
    ) -> None:
        self.engine, self.clock = engine, clock
        self._connect = connect
        self.limits = limits or Limits()
        self.stats = stats or Stats()
        self.dialect = Dialect(self.limits.without, self.limits.rename)
        self._validate = validate or (lambda text: None)
        self._pauses = Counter[str]()
        """Of requests in flight: times that the server asked them to wait."""
        self._context = engine.context
        self._endpoints: Endpoints

    @property
    def concurrency(self) -> int:
        """Requests in flight at all servers, at most."""
        return self.limits.concurrency * len(self.engine.urls)

    async def __aenter__(self) -> Client:
        limits = self.limits
        self._endpoints = Endpoints(
            self.engine,
            lambda server: self._connect(server, limits.timeout),
            limits.concurrency,
            self.stats,
            self.stats.endpoints,
            self.clock,
            rest=limits.rest,
            longest_rest=limits.rest_cap,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._endpoints.__aexit__(kind, error, trace)

    async def complete(self, request: Mapping[str, Any]) -> Outcome:
        """Ask until there is a usable answer or no attempt is left.

        Parameters
        ----------
        request : mapping
            A line of an OpenAI batch file: `custom_id` and `body`.

        Raises
        ------
        StopAsking
            No request can succeed: the server is gone, or refuses the account, the key or the settings.
        """
        body = {**request["body"], "model": self.engine.model}
        if self.limits.answer_limit is not None and "max_tokens" in body:
            body["max_tokens"] = self.limits.answer_limit
        request_id, began = request["custom_id"], self.clock.monotonic()
        outcome, spent = await self._ask(request_id, body)
        if isinstance(outcome, Completion):
            self.stats.completed += 1
        else:
            self.stats.failed += 1
        seconds, pauses = round(self.clock.monotonic() - began, 3), self._pauses.pop(request_id, 0)
        return replace(
            outcome, spent_tokens=spent, received=round(self.clock.time(), 3), seconds=seconds, pauses=pauses
        )

    async def accepts(self, request: Mapping[str, Any]) -> bool:
        """Whether the server answers a short request of the same form. A few tokens are spent on it.

        Raises
        ------
        StopAsking
            See `complete`.
        """
        messages = [{**message, "content": "Reply: OK"} for message in request["body"]["messages"]]
        body = {**request["body"], "model": self.engine.model, "messages": messages}
        if "max_tokens" in body:
            body["max_tokens"] = min(body["max_tokens"], SHORTEST_ANSWER)
        outcome = await self._attempt("probe", body, 1, 0)
        return isinstance(outcome, Completion) or not (outcome.transient or outcome.reason in REFUSED)

    async def _ask(self, request_id: str, body: dict[str, Any]) -> tuple[Outcome, int]:
        """(outcome, tokens spent in all attempts). Changes `body` between attempts."""
        if self._context is not None and prompt_tokens({"body": body}) > SURELY_TOO_LONG * self._context:
            return Failure(request_id, "prompt_too_long", f"the model's context has {self._context:,} tokens"), 0
        spent = longest = 0
        cut: Failure | None = None
        partial: Completion | None = None
        for attempt in range(1, self.limits.max_attempts + 1):
            outcome = await self._attempt(request_id, body, attempt, longest)
            self.stats.attempts += 1
            self.stats.prompt_tokens += outcome.prompt_tokens
            self.stats.completion_tokens += outcome.completion_tokens
            spent += outcome.prompt_tokens + outcome.completion_tokens
            if isinstance(outcome, Completion):
                reason = unusable(outcome) or self._validate(outcome.text)
                if reason is None:
                    break
                if reason == ITEM_MISSING:
                    partial = outcome
                detail = f"finish_reason {outcome.finish_reason or 'unknown'}, max_tokens {body.get('max_tokens')}"
                outcome = fail(outcome, reason, detail)
            if outcome.reason == "cut_off":
                cut, longest = outcome, body.get("max_tokens") or 0
                if not self._allow_longer(body, outcome.prompt_tokens):
                    break
            elif outcome.reason in REFUSED and cut is not None:
                outcome = cut  # the server refuses the longer answer; what it wrote before is kept
                break
            elif outcome.reason in FINAL or outcome.reason in REFUSED:
                break
            elif not outcome.transient and body.get("seed") is not None:
                body["seed"] = (body["seed"] + SEED_STRIDE) & SEED_MASK
            if attempt < self.limits.max_attempts:
                self.stats.retries[outcome.reason] += 1
                if outcome.transient:
                    await asyncio.sleep(self._delay(request_id, attempt))
        if partial is not None and isinstance(outcome, Failure) and not outcome.transient:
            outcome = partial
        return outcome, spent

    def _allow_longer(self, body: dict[str, Any], prompt: int) -> bool:
        """Double the answer limit, as far as the settings and the model's context allow; whether it grew."""
        limit = body.get("max_tokens")
        if limit is None:
            return False
        longer = min(2 * limit, self.limits.max_tokens_retry)
        if self._context is not None and prompt:
            longer = min(longer, self._context - prompt)
        if longer <= limit:
            return False
        body["max_tokens"] = longer
        return True

    async def _attempt(self, request_id: str, body: dict[str, Any], attempt: int, cut_at: int) -> Outcome:
        """One attempt. It is repeated, and counts once, when the server died and was restarted."""
        watch = self.engine.watch
        while True:
            starts = 0 if watch is None else watch.starts
            outcome = await self._exchange(request_id, body, attempt, cut_at)
            if watch is None or not (isinstance(outcome, Failure) and outcome.reason in LOST_WITH_SERVER):
                return outcome
            if not await outlived(watch, starts, clock=self.clock):
                return outcome
            self.stats.retries["server_died"] += 1  # at most once per restart of the server

    async def _exchange(self, request_id: str, body: dict[str, Any], attempt: int, cut_at: int) -> Outcome:
        """One attempt. It waits while the server throttles or is absent, and adapts what the server refuses.

        `cut_at` is the answer limit at which the previous attempt was cut off, or 0.
        """
        pauses = 0
        while True:
            sent = self.dialect.apply(body)
            endpoint, reply = await self._send(request_id, sent, attempt)
            if not isinstance(reply, Reply) or 200 <= reply.status < 300:
                outcome = self._read(request_id, body, reply, attempt) if isinstance(reply, Reply) else reply
                self._endpoints.settle(endpoint, outcome)
                return replace(outcome, endpoint=endpoint.url)
            refusal = read_refusal(reply.status, reply.data, sent, reply.retry_after)
            if refusal.kind is Kind.WAIT:
                pauses += 1
                self.stats.throttled += 1
                self._pauses[request_id] += 1
                if pauses > self.limits.max_throttled:
                    detail = clip(f"{pauses} times {refusal.message}")
                    return Failure(request_id, "rate_limited", detail, attempt, endpoint=endpoint.url)
                wait = self._delay(request_id, pauses) if reply.retry_after is None else reply.retry_after
                self._endpoints.throttle(endpoint, wait)
                continue
            if refusal.kind is Kind.PARAMETER:
                self._endpoints.refused(endpoint)
                self._adapt(refusal, endpoint)
            elif refusal.kind is not Kind.TOO_LONG or not self._shorten(body, refusal, cut_at):
                failure = self._failure(request_id, refusal, attempt, endpoint)
                self._endpoints.settle(endpoint, failure)
                return failure
            else:
                self._endpoints.refused(endpoint)

    def _adapt(self, refusal: Refusal, endpoint: Endpoint) -> None:
        """Send no refused parameter again. Other requests in flight may have met the same refusal."""
        if self.dialect.learn(refusal):
            change = f"it is sent as {refusal.new_name}" if refusal.new_name else "it is left out"
            log.warning("%s refuses %s, from now on %s (%s)", endpoint.url, refusal.parameter, change, refusal.message)

    def _shorten(self, body: dict[str, Any], refusal: Refusal, cut_at: int) -> bool:
        """Lower a request's answer limit to what the server has space for; whether that is enough for an answer."""
        if refusal.context is not None:
            self._context = refusal.context
        limit = body.get("max_tokens")
        if limit is None or "max_tokens" in self.dialect.without:
            return False
        shorter = refusal.space
        if shorter is None or shorter >= limit:  # the server does not say how much it accepts, or refuses that, too
            shorter = limit // 2
        if shorter < SHORTEST_ANSWER or shorter <= cut_at:
            return False
        body["max_tokens"] = shorter
        return True

    def _failure(self, request_id: str, refusal: Refusal, attempt: int, endpoint: Endpoint) -> Failure:
        """The outcome of a request that was refused.

        Raises
        ------
        StopAsking
            The refusal concerns every request.
        """
        if refusal.kind is Kind.SETUP:
            raise StopAsking(refused(endpoint.url, self.engine.model, refusal.message))
        return Failure(
            request_id,
            REASONS[refusal.kind],
            clip(refusal.message),
            attempt,
            refusal.text,
            endpoint=endpoint.url,
        )

    async def _send(self, request_id: str, body: dict[str, Any], attempt: int) -> tuple[Endpoint, Reply | Failure]:
        """Send as soon as a connection can be made; return the reply, or why there is none, and who was asked."""
        payload = to_json(body)
        tries = 0
        while True:
            endpoint = await self._endpoints.enter()
            try:
                reply = await endpoint.transport.post(CHAT_PATH, payload)
                endpoint.connected()
                return endpoint, reply
            except Unreachable as error:
                tries += 1
                self._endpoints.unreachable(endpoint)
                self._check_reachable(error)
            except TimeoutError:
                endpoint.connected()
                detail = f"no answer within {self.limits.timeout:g} s"
                return endpoint, Failure(request_id, "timeout", detail, attempt)
            except Broken as error:
                endpoint.connected()
                return endpoint, Failure(request_id, "connection", clip(str(error)), attempt)
            finally:
                self._endpoints.leave(endpoint)
            if not self._endpoints.any_healthy:
                await asyncio.sleep(min(self._delay(request_id, tries), 2.0))

    def _read(self, request_id: str, body: Mapping[str, Any], reply: Reply, attempt: int) -> Outcome:
        """The outcome in a successful reply."""
        try:
            value = read_json(reply.data)
        except ValueError:
            detail = f"HTTP {reply.status}, not JSON: {reply.data[:120].decode(errors='replace')!r}"
            return Failure(request_id, "bad_response", detail, attempt)
        left_out = self.dialect.left_out(body)
        sent = {name: body.get(name) for name in ("seed", "max_tokens") if name not in left_out}
        return read_body(request_id, value, attempts=attempt, left_out=left_out, **sent)

    def _check_reachable(self, error: Exception) -> None:
        """Raise `StopAsking` if no server could be reached for too long."""
        now, since = self.clock.monotonic(), self._endpoints.unreachable_since
        if (watch := self.engine.watch) is not None and watch.state != "up":
            if watch.state == "failed":
                raise StopAsking(watch.detail)
            self._endpoints.forgive()  # it is being restarted
        elif since is not None and (seconds := now - since) >= self.limits.unreachable_after:
            raise StopAsking(
                f"{', '.join(self.engine.urls)} could not be reached for {seconds:.0f} s "
                f"({error}): start the server or correct --base-url, then run the same "
                "command again; answers received so far are kept"
            )

    def _delay(self, request_id: str, attempt: int) -> float:
        """Seconds before the next try: doubling, with a jitter drawn from the request's id."""
        draw = hashlib.blake2b(f"{request_id}/{attempt}".encode(), digest_size=8).digest()
        jitter = 0.5 + int.from_bytes(draw) / 2**64
        step: float = self.limits.backoff * 2 ** min(attempt - 1, 30)
        return min(self.limits.backoff_cap, step) * jitter


def refused(url: str, model: str, message: str) -> str:
    """The text of an error that ends a run: the server's own words, and what to do."""
    fix = "correct the account or the settings"
    if message.startswith(("HTTP 401", "HTTP 403")):
        fix = f"set the key in the environment variable {' or '.join(API_KEY_NAMES)}"
    elif message.startswith(("HTTP 3", "HTTP 404")):
        fix = f"check --base-url, which usually ends in /v1, and --model (now {model!r})"
    return (
        f"{url} refuses the requests: {message}. To go on, {fix} and run the same command again; "
        "requests without an answer stay pending"
    )
