"""A language-model server that is slow, fails, and cuts connections, as the seed of a run says.

What it does with a request depends on the seed, the request and how often it was sent, not on the order of requests.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from linksyn_gpu.llm.servers.watch import State
from linksyn_gpu.llm.transport import Broken, Reply, Unreachable
from tests.simulation.world import Life, SimClock, Violation

TOKENS = 30
"""Tokens of an answer and its prompt together."""
GARBAGE = (
    b"",
    b"<html>Bad Gateway</html>",
    b'{"choices": []}',
    b'{"choices": [{"message": {"content": 5}}]}',
    b"[" * 2000,
    b'{"choices": null, "usage": {"prompt_tokens": 1e400}}',
)
NATURES = ("good",) * 12 + ("filtered", "refused", "invalid", "endless")
"""What a request is to the model: 'good' is answered; the others end without an answer, each time."""


def answer_text(request_id: str) -> str:
    """What the model writes to a request: it computes with temperature 0."""
    return f"answer to {request_id}"


def request_of(number: int) -> dict[str, Any]:
    """The request with a number, as a line of an OpenAI batch file."""
    messages = [{"role": "user", "content": f"item-{number}"}]
    return {"custom_id": f"item-{number}", "body": {"messages": messages, "max_tokens": 100, "seed": number}}


def validate(text: str) -> str | None:
    """The reason to ask again for an answer."""
    return None if text.startswith("answer to item-") else "invalid_json"


@dataclass
class SimServer:
    """The server. It outlives the processes, and remembers what it was asked."""

    seed: int
    clock: SimClock
    natures: dict[str, str]
    outages: list[tuple[float, float]]
    """Times at which nothing listens, as (from, until)."""
    watched: bool
    """It is one that the process starts and restarts: its clients know when it is up."""
    received: Counter[str] = field(default_factory=Counter)
    """Requests by id, those of which the client never saw an answer included."""
    in_flight: Counter[str] = field(default_factory=Counter)
    sent: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Serial numbers of the answers by id, as the model names in them."""
    settled: set[str] = field(default_factory=set)
    """Ids whose outcome the journal holds: no request for them may arrive."""

    @classmethod
    def drawn(cls, seed: int, clock: SimClock, chance: random.Random, requests: int) -> SimServer:
        mixed = chance.random() < 0.3
        natures = {f"item-{n}": chance.choice(NATURES) if mixed else "good" for n in range(requests)}
        start = clock.now
        outages = []
        for _ in range(chance.choice((0, 0, 1, 2))):
            start += chance.expovariate(0.1)
            outages.append((start, start := start + chance.choice((0.5, 5.0, 60.0))))
        return cls(seed, clock, natures, outages, chance.random() < 0.3)

    # ------------------------------------------------------------------ linksyn_gpu.llm.servers.watch.Watch

    @property
    def is_up(self) -> bool:
        return not any(begin <= self.clock.now < end for begin, end in self.outages)

    @property
    def state(self) -> State:
        return "up" if self.is_up else "starting"

    @property
    def detail(self) -> str:
        return "the server ended"

    @property
    def starts(self) -> int:
        return 1 + sum(end <= self.clock.now for _, end in self.outages)

    # ------------------------------------------------------------------ answers

    async def answer(self, life: Life, payload: bytes, timeout: float) -> Reply:
        """One exchange with a client that waits for `timeout` seconds."""
        body = json.loads(payload)
        request_id = body["messages"][0]["content"]
        if request_id == "Reply: OK":  # a probe, which asks for nothing
            await asyncio.sleep(0.1)
            return self._reply("OK", "probe")
        weather = life.weather
        number = self.received[request_id]
        draw = random.Random(f"{self.seed} {request_id} {number}")
        if not self.is_up or draw.random() < weather.unreachable:
            await asyncio.sleep(0.01)
            self.received[request_id] += 1
            raise Unreachable("connection refused")
        life.step(f"send {request_id}, for the {number + 1}. time")
        self.received[request_id] += 1
        if request_id in self.settled:
            raise Violation(f"{request_id} is sent again, but its outcome is in the journal")
        if self.in_flight[request_id]:
            raise Violation(f"{request_id} is sent a second time before its first answer")
        self.in_flight[request_id] += 1
        try:
            return await self._work(life, request_id, number, draw, timeout)
        finally:
            self.in_flight[request_id] -= 1

    async def _work(self, life: Life, request_id: str, number: int, draw: random.Random, timeout: float) -> Reply:
        weather = life.weather
        seconds = draw.choice((0.05, 0.3, 2.0)) * (0.5 + draw.random())
        if draw.random() < weather.slow:
            seconds = timeout + 1.0
        if seconds > timeout:
            await asyncio.sleep(timeout)
            raise TimeoutError
        began = self.clock.now
        await asyncio.sleep(seconds)
        if draw.random() < weather.cut or any(began < begin <= self.clock.now for begin, _ in self.outages):
            raise Broken("ServerDisconnectedError")
        if draw.random() < weather.throttled:
            return Reply(429, b'{"error": "slow down"}', draw.choice((None, 0.0, 1.0, 20.0)))
        if draw.random() < weather.failing:
            return Reply(draw.choice((500, 502, 503, 408)), b"overloaded")
        if draw.random() < weather.garbage:
            return Reply(200, draw.choice(GARBAGE))
        match self.natures[request_id]:
            case "filtered":
                return Reply(403, b'{"error": {"message": "blocked by the content filter"}}')
            case "refused":
                return Reply(400, b'{"error": {"message": "unable to process"}}')
            case "invalid":
                return self._reply("no", f"{request_id}/{number}")
            case "endless":
                return self._reply(answer_text(request_id), f"{request_id}/{number}", "length")
        serial = f"{request_id}/{number}"
        self.sent[request_id].add(serial)
        return self._reply(answer_text(request_id), serial)

    def _reply(self, text: str, serial: str, finish: str = "stop") -> Reply:
        value = {
            "model": serial,
            "choices": [{"message": {"content": text}, "finish_reason": finish}],
            "usage": {"prompt_tokens": 10, "completion_tokens": TOKENS - 10},
        }
        return Reply(200, json.dumps(value).encode())


class Connection:
    """What a client of one process has instead of `linksyn_gpu.llm.transport.Transport`."""

    def __init__(self, server: SimServer, life: Life, timeout: float) -> None:
        self._server, self._life, self._timeout = server, life, timeout

    async def post(self, path: str, payload: bytes) -> Reply:
        return await self._server.answer(self._life, payload, self._timeout)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
