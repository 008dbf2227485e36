"""The state of a server as a client sees it: up, being started, or failed for good."""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol

from linksyn_gpu.clock import REAL_CLOCK, Clock
from linksyn_gpu.errors import StopAsking

State = Literal["starting", "up", "failed"]
NOTICE = 5.0
"""Seconds within which a `Watch` notices that its server died."""


class Watch(Protocol):
    """Watches a server. Its properties may be read from any thread."""

    @property
    def state(self) -> State:
        """'starting': not up yet, or being restarted; 'failed': it will not come back."""
        ...

    @property
    def detail(self) -> str:
        """Why it failed and how to fix it, for the user."""
        ...

    @property
    def starts(self) -> int:
        """How often it was started."""
        ...


async def outlived(watch: Watch, starts: int, notice: float = NOTICE, clock: Clock = REAL_CLOCK) -> bool:
    """Whether the server that was started `starts` times died. If so, return once its successor is up.

    A client sees a broken connection before the watch sees that the process died. No is therefore returned only after
    `notice` seconds.

    Raises
    ------
    StopAsking
        The server failed for good.
    """
    deadline = clock.monotonic() + notice
    while watch.state == "up" and watch.starts == starts:
        if clock.monotonic() >= deadline:
            return False
        await asyncio.sleep(0.05)
    while watch.state == "starting":
        await asyncio.sleep(0.05)
    if watch.state == "failed":
        raise StopAsking(watch.detail)
    return True
