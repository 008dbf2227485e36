"""Facts about the machine, and the collector of this process."""

from __future__ import annotations

import contextlib
import gc
import mmap
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ADDRESS_SPACE = 2**32
"""Bytes of address space, which is not memory, that the libraries of a small run reserve, with some to spare."""


def require_address_space() -> None:
    """Check that a limit on address space (`ulimit -v`) leaves enough for the libraries: some abort, wait for ever or
    fail to import where they get less, instead of raising an error.

    Raises
    ------
    MemoryError
    """
    if sys.platform != "linux":
        return
    try:
        mmap.mmap(-1, ADDRESS_SPACE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ).close()
    except OSError as error:
        raise MemoryError(
            f"the limit on address space leaves less than {ADDRESS_SPACE >> 30} GiB; raise it: 'ulimit -v unlimited'"
        ) from error


def available_memory() -> int:
    """Bytes that this process may still use: what the system has available, within the limit of a container."""
    free = _available()
    with contextlib.suppress(OSError, ValueError):  # no such file, or the word "max"
        group = Path("/sys/fs/cgroup")
        most, used = (int((group / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        free = min(free, max(0, most - used))
    return free


def _available() -> int:
    if sys.platform == "linux":  # walks then need no psutil
        found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
        if found is not None:
            return int(found[1]) * 1024
    import psutil

    return int(psutil.virtual_memory().available)


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector: it would search many new objects for cycles again and again, and find none.

    The setting is that of the whole process. Other threads are only affected for the time of the block.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
