"""What a client asks of whoever looks after its server: is it up, is it being started again, was it given up."""

from __future__ import annotations

import asyncio
import time
from typing import Literal, Protocol

from linksyn_gpu.errors import EngineError

State = Literal["starting", "up", "failed"]
NOTICE = 5.0
"""Seconds that a keeper of a server may take to see that it died."""


class Watch(Protocol):
    """Looks after a server; read from any thread."""

    @property
    def state(self) -> State:
        """'starting': not up yet, or not again; 'failed': it will not come back."""
        ...

    @property
    def detail(self) -> str:
        """Why it failed, and what to do, for the person who runs it."""
        ...

    @property
    def starts(self) -> int:
        """How often it was started."""
        ...


async def outlived(watch: Watch, starts: int, notice: float = NOTICE) -> bool:
    """Whether the server that was started `starts` times died; if so, return once its successor is up.

    A client sees a broken connection before the keeper sees the dead process, so this waits `notice` seconds for the
    news before it says no.

    Raises
    ------
    EngineError
        The server was given up.
    """
    deadline = time.monotonic() + notice
    while watch.state == "up" and watch.starts == starts:
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(0.05)
    while watch.state == "starting":
        await asyncio.sleep(0.05)
    if watch.state == "failed":
        raise EngineError(watch.detail)
    return True
