"""One request and its whole reply over HTTP, or one of three exceptions."""

import asyncio
import gzip
import socket
import threading

import pytest

from linksyn_gpu.llm import Engine, transport
from linksyn_gpu.llm.transport import Broken, Reply, Transport, Unreachable, retry_seconds
from tests.llm.fake_server import FakeServer, ok


def post(url, n=1, timeout=5.0, key=None):
    """Replies to n requests, one after the other."""

    async def run():
        async with Transport(Engine(url, "m", key), timeout) as line:
            return [await line.post("chat/completions", b'{"messages": [{"content": "a"}]}') for _ in range(n)]

    return asyncio.run(run())


class RawServer:
    """Sends fixed bytes to the first connection, and closes it."""

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
            while b"\r\n\r\n" not in self.received or not self.received.endswith(b"}"):
                self.received += connection.recv(65536)
            connection.sendall(self.reply)


def test_replies_are_read_in_full_for_every_status():
    with FakeServer(lambda body, n: {**ok("x" * 70_000), "status": 200 if n < 3 else 418}) as server:
        replies = post(server.url, n=3)
    assert [reply.status for reply in replies] == [200, 200, 418]
    assert len({reply.data for reply in replies}) == 1
    assert len(replies[0].data) > 70_000


def test_the_key_is_sent_to_the_address_under_the_base_url():
    with RawServer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as server:
        assert post(server.url, key="secret")[0] == Reply(200, b"{}")
    head = server.received.lower()
    assert b"authorization: bearer secret" in head
    assert head.startswith(b"post /v1/chat/completions http/1.1")


def test_a_redirect_is_not_followed():
    with (
        FakeServer() as other,
        RawServer(
            b"HTTP/1.1 307 Moved\r\nLocation: %s/chat/completions\r\nContent-Length: 0\r\n\r\n" % other.url.encode()
        ) as server,
    ):
        assert post(server.url, key="secret")[0].status == 307
    assert not other.bodies


@pytest.mark.parametrize(
    "raw",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", b"SSH-2.0-OpenSSH_9.6\r\n"],
    ids=["closed", "half", "another service"],
)
def test_a_connection_that_ends_early_or_does_not_speak_http_is_broken(raw):
    with RawServer(raw) as server, pytest.raises(Broken):
        post(server.url)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_an_oversized_reply_is_broken(packed, monkeypatch):
    monkeypatch.setattr(transport, "MAX_BODY_BYTES", 1000)
    reply = {"raw": gzip.compress(b"x" * 5000), "headers": {"Content-Encoding": "gzip"}} if packed else ok("x" * 5000)
    with FakeServer(lambda body, n: reply) as server, pytest.raises(Broken, match="larger than 1,000"):
        post(server.url)


def test_silence_is_a_timeout():
    with FakeServer(lambda body, n: {**ok(), "latency": 5}) as server, pytest.raises(TimeoutError):
        post(server.url, timeout=0.2)


def test_no_server_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreachable):
        post(f"http://127.0.0.1:{port}/v1")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("1e9", 300.0),
        ("nan", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300.0),
    ],
)
def test_retry_after_is_a_bounded_number_of_seconds_or_a_date(header, seconds):
    assert retry_seconds(header) == seconds
