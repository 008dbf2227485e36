"""A fake OpenAI server in a thread, with the faults of a real one, chosen per request."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import web

GOOD = json.dumps(
    {
        "qa": [
            {
                "question": "What is two plus two in base ten?",
                "explanation": "by counting",
                "answer": "four",
                "knowledge_points": ["sums"],
                "discipline": "mathematics",
                "difficulty": 1,
            }
        ]
    }
)


def completion(text: str, finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {
        "object": "chat.completion",
        "model": "fake",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    }


def ok(text: str = GOOD, finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {"json": completion(text, finish, **message)}


def vector_of(text: str, dimensions: int = 8) -> list[float]:
    """A vector that a text always has: its letters, counted by code, whatever their case."""
    counts = [0.25] * dimensions
    for character in text.casefold():
        counts[ord(character) % dimensions] += 1.0
    return counts


def embeddings(body: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """An answer of the embeddings protocol, the last text's vector first."""
    rows = [{"object": "embedding", "index": i, "embedding": vector_of(t)} for i, t in enumerate(body["input"])]
    return {"object": "list", "model": body["model"], "data": rows[::-1], "usage": {"prompt_tokens": 3}, **changed}


Script = Callable[[dict[str, Any], int], dict[str, Any]]
"""(body, how often this prompt was asked, from 1) -> what to do: keys of `FakeServer._reply`."""


class FakeServer:
    """`with FakeServer(script) as server: server.url`; `asked` counts by the last message's content."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        models: tuple[str, ...] = ("fake",),
        key: str | None = None,
        embed: Script | None = None,
    ):
        self.script: Script = script or (lambda body, n: ok())
        self.embed: Script = embed or (lambda body, n: {"json": embeddings(body)})
        """(body, requests so far, from 1) -> what to do, for embeddings."""
        self.embedded: Counter[str] = Counter()
        """Texts that vectors were asked for."""
        self.tokenizer: Callable[[str, dict[str, Any]], dict[str, Any] | None] = lambda path, body: None
        """(path, body) -> the reply of /tokenize and /apply-template; None: there is no such address."""
        self.models = models
        self.key = key
        self.asked: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.in_flight = self.most_in_flight = 0
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> FakeServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_get("/v1/models", self._list)
        for path in ("/tokenize", "/apply-template"):
            app.router.add_post(path, self._tokenize)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    def _refused(self, request: web.Request) -> bool:
        return self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}"

    async def _list(self, request: web.Request) -> web.Response:
        if self._refused(request):
            return web.json_response({"error": {"message": "wrong key"}}, status=401)
        return web.json_response({"data": [{"id": name} for name in self.models]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        value = self.tokenizer(request.path, await request.json())
        return web.json_response(value) if value is not None else web.Response(status=404, text="not found")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        if self._refused(request):
            echoed = request.headers.get("Authorization", "")
            return web.json_response({"error": {"message": f"wrong key: {echoed}"}}, status=401)
        body = await request.json()
        self.bodies.append(body)
        content = body["messages"][-1]["content"]
        self.asked[content] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._reply(request, self.script(body, self.asked[content]))
        finally:
            self.in_flight -= 1

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        if self._refused(request):
            echoed = request.headers.get("Authorization", "")
            return web.json_response({"error": {"message": f"wrong key: {echoed}"}}, status=401)
        body = await request.json()
        self.bodies.append(body)
        self.embedded.update(body["input"])
        return await self._reply(request, self.embed(body, len(self.bodies)))

    async def _reply(self, request: web.Request, what: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(what.get("latency", 0))
        transport = request.transport
        if what.get("drop") and transport is not None:
            transport.abort()
            return web.Response()
        data = what["raw"] if "raw" in what else json.dumps(what.get("json", {})).encode()
        status, headers = what.get("status", 200), what.get("headers", {})
        if "half" in what:
            response = web.StreamResponse(headers={"Content-Length": str(len(data))})
            await response.prepare(request)
            await response.write(data[: len(data) // 2])
            if transport is not None:
                transport.abort()
            return response
        if "drip" in what:
            response = web.StreamResponse()
            await response.prepare(request)
            for i in range(len(data)):
                await response.write(data[i : i + 1])
                await asyncio.sleep(what["drip"])
            return response
        return web.Response(body=data, status=status, headers=headers, content_type="application/json")


def request(name: str, **body: Any) -> dict[str, Any]:
    """A line of a requests file whose prompt is its name."""
    messages = [{"role": "user", "content": name}]
    return {
        "custom_id": name,
        "body": {"model": "auto", "messages": messages, "max_tokens": 64, "seed": 7, **body},
    }
