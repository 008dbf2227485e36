"""How bytes reach a server and come back: one POST, one whole reply, or one of three exceptions.

A server on this machine is spoken to over plain keep-alive connections with httptools for a parser: there is no TLS, no
proxy and no redirect in between, and a co-located engine of hundreds of slots takes more requests a second than a
general client can make (bench/synthesis.py). Everything else goes through aiohttp.
"""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast
from urllib.parse import urlsplit

import aiohttp
import httptools

from linksyn_gpu.llm import Engine

MAX_BODY_BYTES = 64 * 2**20
CONNECT_SECONDS = 10.0
# Servers such as uvicorn drop an idle connection after 5 s; let go of it before they do.
KEEP_ALIVE_SECONDS = 4.0


class Unreachable(Exception):
    """No connection could be made: the request has not been sent."""


class Broken(Exception):
    """The connection was lost, or the reply is no HTTP: the server may have seen the request."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server said."""

    status: int
    data: bytes
    retry_after: float | None = None
    """Seconds that the server asks to wait."""


class Transport(Protocol):
    """Posts to one path of one server."""

    async def post(self, payload: bytes) -> Reply:
        """Send JSON and wait for the whole reply.

        Raises
        ------
        Unreachable, Broken, TimeoutError
        """

    async def close(self) -> None:
        """Let go of all connections."""


def open_transport(engine: Engine, path: str, timeout: float) -> Transport:
    """The way to `engine.base_url`/`path`; a reply may take `timeout` seconds."""
    url = f"{engine.base_url.rstrip('/')}/{path}"
    if engine.is_local and url.startswith("http://"):
        return _Direct(url, _headers(engine), timeout)
    return _Remote(url, engine, timeout)


def _headers(engine: Engine) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if engine.api_key:
        headers["Authorization"] = f"Bearer {engine.api_key}"
    return headers


# ---------------------------------------------------------------------- aiohttp


def open_session(engine: Engine, timeout: float) -> aiohttp.ClientSession:
    """A session for one engine; the key lives in its headers and nowhere else."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
        timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(CONNECT_SECONDS, timeout)),
        headers=_headers(engine),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=not engine.is_local,
    )


class _Remote:
    """Any server, with what the environment says of proxies."""

    def __init__(self, url: str, engine: Engine, timeout: float) -> None:
        self._url = url
        self._session = open_session(engine, timeout)

    async def post(self, payload: bytes) -> Reply:
        try:
            async with self._session.post(self._url, data=payload, allow_redirects=False) as response:
                data = await _read_all(response)
                return Reply(response.status, data, retry_seconds(response.headers.get("Retry-After")))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unreachable(str(error)) from error
        except TimeoutError:  # aiohttp's is an aiohttp.ClientError too
            raise TimeoutError from None
        except (aiohttp.ClientError, OSError) as error:
            raise Broken(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        await self._session.close()


async def _read_all(response: aiohttp.ClientResponse) -> bytes:
    """The whole body, unless it is larger than any chat completion can be."""
    if response.content_length is not None and response.content_length <= MAX_BODY_BYTES:
        return await response.read()
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise aiohttp.ClientPayloadError(f"the answer is larger than {MAX_BODY_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def retry_seconds(value: str | None, most: float = 300.0) -> float | None:
    """Seconds that a Retry-After header asks for: a number or a date; None where it says nothing usable."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return min(most, max(0.0, seconds)) if seconds == seconds else None


# ---------------------------------------------------------------------- plain connections to this machine


class _Direct:
    """A server on this machine: the connection used last is used next, so few are open when few are needed."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout: float) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Accept: application/json"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._head = "\r\n".join([*lines, "Content-Length: "]).encode("latin-1")
        self._timeout = timeout
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()

    async def post(self, payload: bytes) -> Reply:
        connection = self._take_idle() or await self._connect()
        reply = await connection.ask(b"%b%d\r\n\r\n%b" % (self._head, len(payload), payload), self._timeout)
        if connection.usable:
            self._idle.append(connection)
        return reply

    def _take_idle(self) -> _Connection | None:
        since = time.monotonic() - KEEP_ALIVE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.used_at >= since:
                return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(min(CONNECT_SECONDS, self._timeout)):
                _, connection = await loop.create_connection(lambda: _Connection(self._open), self._host, self._port)
        except (OSError, TimeoutError) as error:
            raise Unreachable(str(error) or f"no connection to {self._host}:{self._port}") from error
        return connection

    async def close(self) -> None:
        for connection in list(self._open):
            connection.close()
        await asyncio.sleep(0)  # their sockets are closed in the loop's next turn


class _Connection(asyncio.Protocol):
    """One request at a time; the methods `on_...` are the parser's."""

    def __init__(self, connections: set[_Connection]) -> None:
        self.usable = False
        self.used_at = time.monotonic()
        self._connections = connections  # those that are open
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Reply] | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._retry_after: str | None = None
        self._framed = self._headers_complete = False

    async def ask(self, message: bytes, timeout: float) -> Reply:
        """Send a request and wait for its reply; the connection is closed if there is none."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Reply] = loop.create_future()
        self._answer = answer
        self._transport.write(message)
        alarm = loop.call_later(timeout, self._fail, TimeoutError())
        try:
            return await answer
        finally:
            alarm.cancel()
            self.used_at = time.monotonic()
            self._answer = None
            if answer.cancelled() or answer.exception() is not None:
                self.close()

    def close(self) -> None:
        """Drop the connection, with what may still come."""
        self.usable = False
        self._transport.abort()

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        else:
            self.usable = False

    # ------------------------------------------------------------------ asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.usable = cast(asyncio.Transport, transport), True
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # nobody asked
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(Broken(f"no HTTP: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        self._connections.discard(self)
        if error is None and self._headers_complete and not self._framed and self._answer is not None:
            self.on_message_complete()  # a reply without a length ends with its connection
            return
        self._fail(Broken(str(error) if error else "the server closed the connection before its reply was whole"))

    # ------------------------------------------------------------------ the parser

    def on_message_begin(self) -> None:
        self._parts, self._size, self._retry_after = [], 0, None
        self._framed = self._headers_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        if lowered == b"retry-after":
            self._retry_after = value.decode("latin-1")
        elif lowered in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        self._headers_complete = True

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MAX_BODY_BYTES:
            self._fail(Broken(f"the answer is larger than {MAX_BODY_BYTES} bytes"))
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # "100 Continue" and the like: the reply itself is still to come
            return
        self.usable = self.usable and self._parser.should_keep_alive()
        self._headers_complete = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Reply(status, b"".join(self._parts), retry_seconds(self._retry_after)))
