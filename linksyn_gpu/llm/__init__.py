"""Language-model engines behind one protocol: OpenAI chat completions over HTTP.

`servers` starts an engine, `client` asks it one request, `dispatch` sends many requests, `journal` stores each answer
once, and `batchfile` does the same through files. Nothing in this package depends on a stage.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from linksyn_gpu.config.checks import server_address
from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm.servers.watch import Watch

API_KEY_NAMES = ("LINKSYN_API_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the server's key; the first one that is set is used. No key is read elsewhere."""
SHORTEST_KEY = 8
"""A shorter key is a placeholder for a server that needs none, not a secret."""
EMBEDDED_MODEL = "SmolLM2-135M-Instruct"
"""The model of engine 'smol'."""


@dataclass(frozen=True)
class Engine:
    """Running servers of one language model, and what a client needs to know about them."""

    base_url: str
    """Ends in the protocol's version, such as http://127.0.0.1:8000/v1."""
    model: str
    """Model name sent with each request."""
    api_key: str | None = field(default=None, repr=False)
    context: int | None = None
    """Tokens that a prompt and its answer may have together, where the server reports it."""
    slots: int | None = None
    """Requests that the server works on at the same time, where known. Others would wait and time out."""
    watch: Watch | None = field(default=None, repr=False, compare=False)
    """State of the server, where this program started it and restarts it."""
    replicas: int = 1
    """Replicas of the model behind each address; each takes as many requests as a server."""
    more_urls: tuple[str, ...] = ()
    """Addresses of further servers of the same model, under the same key."""

    def __post_init__(self) -> None:
        for url in self.urls:
            server_address("base_url", url)

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of all servers."""
        return (self.base_url, *self.more_urls)

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, hence not behind a proxy."""
        host = urlsplit(self.base_url).hostname or ""
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None) or address
        return bool(mapped.is_loopback or mapped.is_unspecified)

    @functools.cached_property
    def _key_pattern(self) -> re.Pattern[bytes] | None:
        if self.api_key is None or len(self.api_key) < SHORTEST_KEY:
            return None
        return re.compile(rb"(?<![\w-])%b(?![\w-])" % re.escape(self.api_key).encode())

    def scrub(self, data: bytes) -> bytes:
        """`data` without the API key, which a server may have echoed.

        Only a whole word is replaced, and no key of less than `SHORTEST_KEY` characters: such a word occurs in texts.
        """
        return data if self._key_pattern is None else self._key_pattern.sub(b"***", data)


def api_key(environ: Mapping[str, str] | None = None) -> str | None:
    """The server's key from the environment, or None.

    Raises
    ------
    EngineError
        The value cannot be sent in an HTTP header. It is not shown.
    """
    environ = os.environ if environ is None else environ
    for name in API_KEY_NAMES:
        key = environ.get(name, "").strip()
        if key:
            if not key.isascii() or not key.isprintable():
                raise EngineError(f"{name} holds characters that are not allowed in an API key; set it again")
            return key
    return None
