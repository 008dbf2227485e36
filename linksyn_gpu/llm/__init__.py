"""Language-model engines behind one protocol: OpenAI chat completions over HTTP.

`servers` starts an engine, `client` asks it one request, `dispatch` sends many requests, `journal` stores each answer
once, and `batchfile` does the same through files. Nothing in this package depends on a stage.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from linksyn_gpu.errors import ConfigError, EngineError
from linksyn_gpu.llm.servers.watch import Watch

API_KEY_NAMES = ("LINKSYN_API_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the server's key; the first one that is set is used. No key is read elsewhere."""
EMBEDDED_MODEL = "SmolLM2-135M-Instruct"
"""The model of engine 'smol'."""


@dataclass(frozen=True)
class Engine:
    """A running language-model server and what a client needs to know about it."""

    base_url: str
    """Ends in the protocol's version, such as http://127.0.0.1:8000/v1."""
    model: str
    """Model name sent with each request."""
    api_key: str | None = field(default=None, repr=False)
    slots: int | None = None
    """Requests that the server works on at the same time, where known. Others would wait and time out."""
    watch: Watch | None = field(default=None, repr=False, compare=False)
    """State of the server, where this program started it and restarts it."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"base_url = {_bare(self.base_url)!r} must look like http://host:port/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                f"base_url for {parts.hostname} must not hold a user name, password or query: "
                f"set a key in the environment variable {API_KEY_NAMES[0]}"
            )

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, hence not behind a proxy."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def scrub(self, text: str) -> str:
        """`text` without the API key, which a server may have echoed."""
        return text.replace(self.api_key, "***") if self.api_key else text


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


def _bare(url: str) -> str:
    """`url` without the part before an '@', which may be a password."""
    return url.rsplit("@", 1)[-1]
