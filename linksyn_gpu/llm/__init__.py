"""Language-model engines behind one protocol: OpenAI chat completions over HTTP.

`servers` gives a running engine, `client` speaks to it, `loop` drives many requests through it, `journal`
keeps what came back exactly once, `batchfile` does the same through files. Nothing here knows a stage.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from linksyn_gpu.errors import ConfigError, EngineError
from linksyn_gpu.llm.servers.watch import Watch

API_KEY_NAMES = ("LINKSYN_API_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the server's key, the first that is set wins; a key is read nowhere else."""


@dataclass(frozen=True)
class Engine:
    """A running language-model server and what a client must know of it."""

    base_url: str
    """Ends in the protocol's version, as http://127.0.0.1:8000/v1."""
    model: str
    """Model name that is sent with each request."""
    api_key: str | None = field(default=None, repr=False)
    slots: int | None = None
    """Requests that the server works on at once, where known: more in flight would only wait and time out."""
    watch: Watch | None = field(default=None, repr=False, compare=False)
    """Who looks after the server and starts it again, where someone does."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"base_url = {_bare(self.base_url)!r} must look like http://host:port/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                f"base_url for {parts.hostname} must hold no user name, password or query: "
                f"put a key into the environment variable {API_KEY_NAMES[0]}"
            )

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_local(self) -> bool:
        """The server is on this machine, so no proxy stands between."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def scrub(self, text: str) -> str:
        """`text` without the API key, should a server have echoed it."""
        return text.replace(self.api_key, "***") if self.api_key else text


def api_key(environ: Mapping[str, str] | None = None) -> str | None:
    """The server's key from the environment, or None.

    Raises
    ------
    EngineError
        The variable holds something that cannot stand in an HTTP header; its value is not shown.
    """
    environ = os.environ if environ is None else environ
    for name in API_KEY_NAMES:
        key = environ.get(name, "").strip()
        if key:
            if not key.isascii() or not key.isprintable():
                raise EngineError(f"{name} holds characters that no API key has; set it again")
            return key
    return None


def _bare(url: str) -> str:
    """`url` without what stands before an '@', which may be a password."""
    return url.rsplit("@", 1)[-1]
