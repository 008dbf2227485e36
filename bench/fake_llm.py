"""A language-model server that computes nothing: fixed latency, and a fixed number of requests at a time.

    python bench/fake_llm.py --port 0 --latency 0.05 --slots 256 [--varied]

It prints its port. It implements only keep-alive POSTs of one JSON object each, so that a measurement measures the
client. `GET` returns its figures as JSON: requests received, and the largest number served at the same time.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "seeds.jsonl"
QA = {
    "question": "A pump lifts 120 kg of water by 5 m in 20 s; which mean power does it need at least?",
    "explanation": "The work is m g h = 120 * 9.81 * 5 J = 5886 J; over 20 s that is 294 W.",
    "answer": "294 W",
    "knowledge_points": ["work", "power"],
    "discipline": "physics",
    "difficulty": 2,
}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "


def reply(qa: dict[str, Any]) -> bytes:
    """The response with a QA."""
    body = {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "model": "fake",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": json.dumps({"qa": [qa]})},
            }
        ],
        "usage": {"prompt_tokens": 700, "completion_tokens": 110, "total_tokens": 810},
    }
    data = json.dumps(body).encode()
    return HEAD + str(len(data)).encode() + b"\r\n\r\n" + data


def same_answer() -> Iterator[bytes]:
    """The same QA for each request."""
    return itertools.repeat(reply(QA))


def varied_answers() -> Iterator[bytes]:
    """QA with other words for each request, in the order of their arrival: few of them are near-duplicates."""
    rng = random.Random(0)
    texts = [json.loads(line)["question"] for line in EXAMPLES.open(encoding="utf-8")]
    words = sorted({word for text in texts for word in re.findall(r"(?<![\\A-Za-z])[a-z]{5,}", text)})
    phrases = [" ".join(rng.sample(words, 4)) for _ in range(5000)]
    for number in itertools.count(2):
        a, b, c, d = rng.choices(phrases, k=4)
        yield reply(
            {
                **QA,
                "question": f"Why does the {a} change with the {b} if the {c} is kept at {number} kg?",
                "explanation": f"The {b} acts on the {d}. Since the {c} is constant, the {a} follows it.",
                "answer": f"Because the {b} acts on the {a} through the {d}.",
            }
        )


class Load:
    """Requests in work: at most `slots` at a time, each for `latency` seconds."""

    def __init__(self, latency: float, slots: int, answers: Iterator[bytes]) -> None:
        self.latency, self.slots, self.answers = latency, slots, answers
        self.busy = self.most = self.requests = 0
        self.waiting: deque[Connection] = deque()

    def take(self, connection: Connection) -> None:
        self.requests += 1
        if self.busy == self.slots:
            self.waiting.append(connection)
            return
        self.busy += 1
        self.most = max(self.most, self.busy)
        asyncio.get_running_loop().call_later(self.latency, self.finish, connection)

    def finish(self, connection: Connection) -> None:
        connection.transport.write(next(self.answers))
        self.busy -= 1
        if self.waiting:
            self.requests -= 1
            self.take(self.waiting.popleft())


class Connection(asyncio.Protocol):
    """One keep-alive connection. Its requests arrive one after the other."""

    def __init__(self, load: Load) -> None:
        self.load, self.data, self.missing = load, b"", 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.missing:
            self.missing -= len(data)
        else:
            self.data += data
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return
            if self.data.startswith(b"GET"):
                self.send_figures()
                return
            at = self.data.lower().index(b"content-length:") + 15
            self.missing = end + 4 + int(self.data[at : self.data.index(b"\r\n", at)]) - len(self.data)
            self.data = b""
        if self.missing == 0:
            self.load.take(self)

    def send_figures(self) -> None:
        self.data = b""
        figures = json.dumps(
            {"data": [{"id": "fake"}], "requests": self.load.requests, "most": self.load.most}
        ).encode()
        self.transport.write(HEAD + str(len(figures)).encode() + b"\r\n\r\n" + figures)


async def serve(port: int, latency: float, slots: int, answers: Iterator[bytes]) -> None:
    load = Load(latency, slots, answers)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(load), "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--varied", action="store_true", help="another QA for each request, instead of the same one")
    options = parser.parse_args()
    answers = varied_answers() if options.varied else same_answer()
    asyncio.run(serve(options.port, options.latency, options.slots, answers))


if __name__ == "__main__":
    main()
