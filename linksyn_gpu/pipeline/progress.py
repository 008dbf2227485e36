"""How stages report their progress."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Called with (what is counted, done so far, total or None) during the work."""


def silent(what: str, done: int, total: int | None) -> None:
    """A `Progress` that shows nothing."""
