"""The two ways to a server give the same replies and fail in the same three ways."""

import asyncio
import socket
import threading

import pytest

from linksyn_gpu.llm import Engine, transport
from linksyn_gpu.llm.transport import Broken, Reply, Unreachable, _Direct, _Remote, open_transport
from tests.llm.fake_server import FakeServer, ok

WAYS = ["direct", "aiohttp"]


def way_to(url, way, timeout=5.0, key=None):
    engine = Engine(url, "m", key)
    made = open_transport(engine, "chat/completions", timeout)
    assert isinstance(made, _Direct)
    return made if way == "direct" else _Remote(f"{url}/chat/completions", engine, timeout)


def post(url, way, n=1, **options):
    """Replies to n posts, one after the other."""

    async def run():
        line = way_to(url, way, **options)
        try:
            return [await line.post(b'{"messages": [{"content": "a"}]}') for _ in range(n)]
        finally:
            await line.close()

    return asyncio.run(run())


class RawServer:
    """Answers each connection's first bytes with fixed ones, and closes."""

    def __init__(self, reply):
        self.reply = reply
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"
        self.received = b""

    def __enter__(self):
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.listener.close()
        self.thread.join(5)

    def _serve(self):
        connection, _ = self.listener.accept()
        with connection:
            self.received = connection.recv(65536)
            connection.sendall(self.reply)


@pytest.mark.parametrize("way", WAYS)
def test_replies_are_whole_and_connections_are_kept(way):
    with FakeServer(lambda body, n: {**ok("x" * 70_000), "status": 200 if n < 3 else 418}) as server:
        replies = post(server.url, way, n=3)
    assert [reply.status for reply in replies] == [200, 200, 418]
    assert len({reply.data for reply in replies}) == 1
    assert len(replies[0].data) > 70_000


@pytest.mark.parametrize("way", WAYS)
def test_a_key_and_a_length_are_sent(way):
    with RawServer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as server:
        assert post(server.url, way, key="secret")[0] == Reply(200, b"{}")
    head = server.received.lower()
    assert b"authorization: bearer secret" in head
    assert b"post /v1/chat/completions http/1.1" in head
    assert b"host: 127.0.0.1:" in head
    assert b"content-length: 32" in head


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "raw",
    [
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n4\r\n": 1\r\n1\r\n}\r\n0\r\n\r\n',
        b'HTTP/1.1 200 OK\r\n\r\n{"a": 1}',
        b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}',
        b'HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}',
    ],
    ids=["chunked", "until the connection ends", "after a 100", "HTTP/1.0"],
)
def test_every_framing_of_a_reply_is_read(way, raw):
    with RawServer(raw) as server:
        assert post(server.url, way)[0].data == b'{"a": 1}'


@pytest.mark.parametrize("way", WAYS)
def test_retry_after_is_read(way):
    with RawServer(b"HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n") as server:
        assert post(server.url, way)[0] == Reply(429, b"", 7.0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "raw",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", b"SSH-2.0-OpenSSH_9.6\r\n"],
    ids=["closed", "half", "another service"],
)
def test_what_breaks_a_connection_is_broken(way, raw):
    with RawServer(raw) as server, pytest.raises(Broken):
        post(server.url, way)


@pytest.mark.parametrize("way", WAYS)
def test_an_oversized_reply_is_broken(way, monkeypatch):
    monkeypatch.setattr(transport, "MAX_BODY_BYTES", 1000)
    with FakeServer(lambda body, n: ok("x" * 5000)) as server, pytest.raises(Broken, match="larger than 1000"):
        post(server.url, way)


@pytest.mark.parametrize("way", WAYS)
def test_silence_is_a_timeout(way):
    with FakeServer(lambda body, n: {**ok(), "latency": 5}) as server, pytest.raises(TimeoutError):
        post(server.url, way, timeout=0.2)


@pytest.mark.parametrize("way", WAYS)
def test_no_server_is_unreachable(way):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreachable):
        post(f"http://127.0.0.1:{port}/v1", way)


def test_a_connection_that_rested_too_long_is_not_used_again(monkeypatch):
    monkeypatch.setattr(transport, "KEEP_ALIVE_SECONDS", -1.0)

    async def run(url):
        line = way_to(url, "direct")
        await line.post(b'{"messages": [{"content": "a"}]}')
        first = line._idle[0]
        await line.post(b'{"messages": [{"content": "a"}]}')
        assert line._idle != [first]
        assert not first.usable
        await line.close()

    with FakeServer() as server:
        asyncio.run(run(server.url))


def test_a_server_elsewhere_or_behind_tls_is_spoken_to_by_aiohttp():
    async def kinds():
        found = []
        for url in ("https://127.0.0.1/v1", "http://192.0.2.1:8000/v1", "http://localhost:8000/v1"):
            line = open_transport(Engine(url, "m"), "chat/completions", 1.0)
            found.append(type(line))
            await line.close()
        return found

    assert asyncio.run(kinds()) == [_Remote, _Remote, _Direct]
