"""HTTP to one server: a request and its whole reply, or one of three exceptions."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import aiohttp

from linksyn_gpu.llm import Engine

MAX_BODY_BYTES = 64 * 2**20
"""Longest reply that is read, in bytes after decompression. No chat completion is longer."""
CONNECT_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 4.0
"""Idle connections are closed after this time. Servers such as uvicorn close them after 5 s."""
MAX_RETRY_AFTER = 300.0


class Unreachable(Exception):
    """No connection could be made. The request was not sent."""


class Broken(Exception):
    """The connection was lost, or the reply is not HTTP. The server may have seen the request."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server sent, without the API key."""

    status: int
    data: bytes
    retry_after: float | None = None
    """Seconds that the server asks to wait."""


class Exchange(Protocol):
    """An open way to a server; `Transport` is the one over HTTP."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def post(self, path: str, payload: bytes) -> Reply:
        """See `Transport.post`."""
        ...


Connect = Callable[[Engine, float], Exchange]
"""(engine, seconds that a reply may take) -> the way to its server."""


class Transport:
    """Sends requests to the addresses under an engine's `base_url`. Use it with `async with`.

    Redirects are not followed: they would send the key elsewhere. Proxies of the environment are used, except for a
    server on this machine.

    Parameters
    ----------
    timeout : float
        Seconds that one whole reply may take.
    """

    def __init__(self, engine: Engine, timeout: float) -> None:
        self._base = engine.base_url.rstrip("/")
        self._scrub = engine.scrub
        headers = {"Content-Type": "application/json"}
        if engine.api_key:
            headers["Authorization"] = f"Bearer {engine.api_key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(CONNECT_SECONDS, timeout)),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=not engine.is_local,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, path: str) -> Reply:
        """GET `base_url`/`path`; raises as `post` does."""
        return await self._exchange("GET", path, None)

    async def post(self, path: str, payload: bytes) -> Reply:
        """POST JSON to `base_url`/`path`.

        Raises
        ------
        Unreachable, Broken, TimeoutError
        """
        return await self._exchange("POST", path, payload)

    async def _exchange(self, method: str, path: str, payload: bytes | None) -> Reply:
        url = f"{self._base}/{path}"
        try:
            async with self._session.request(method, url, data=payload, allow_redirects=False) as response:
                data = bytearray()
                async for part in response.content.iter_any():  # decompressed already
                    data += part
                    if len(data) > MAX_BODY_BYTES:
                        raise Broken(f"the reply is larger than {MAX_BODY_BYTES:,} bytes")
                # Before anything is cut, stored or shown.
                clean = self._scrub(bytes(data))
                return Reply(response.status, clean, retry_seconds(response.headers.get("Retry-After")))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unreachable(str(error)) from error
        except TimeoutError:  # aiohttp raises a subclass that is a ClientError, too
            raise TimeoutError from None
        except (aiohttp.ClientError, OSError) as error:
            raise Broken(f"{type(error).__name__}: {error}") from error


def retry_seconds(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or a date; None where it holds neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return min(MAX_RETRY_AFTER, max(0.0, seconds)) if seconds == seconds else None
