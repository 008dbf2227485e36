"""Facts about the machine."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil


def available_memory() -> int:
    """Bytes that this process may still use: what the system has available, within the limit of a container."""
    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # no such file, or the word "max"
        group = Path("/sys/fs/cgroup")
        most, used = (int((group / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        free = min(free, max(0, most - used))
    return free
