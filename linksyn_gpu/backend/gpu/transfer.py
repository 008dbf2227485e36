"""Results on their way to the host: through two pinned buffers, on a stream of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any

import cupy as cp
import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.backend.gpu.device import DeviceArray
from linksyn_gpu.backend.gpu.memory import PINNED_BYTES, crossings
from linksyn_gpu.backend.gpu.pool import pool


class Lane:
    """A stream that does not wait for the others, and the pinned buffers that it copies to."""

    def __init__(self) -> None:
        self.stream = cp.cuda.Stream(non_blocking=True)
        self.buffers = [np.frombuffer(cp.cuda.alloc_pinned_memory(PINNED_BYTES), np.uint8, PINNED_BYTES) for _ in "ab"]


@cache
def lane() -> Lane:
    """The lane of this process."""
    return Lane()


def fetch_rows(array: DeviceArray, out: NDArray[Any], rows: NDArray[Any]) -> Callable[[], None]:
    """The device works on while the returned function copies: it only waits for what was launched before this call."""
    crossings.count("results, to host", array.nbytes)
    source = cp.ascontiguousarray(array)
    ready = cp.cuda.Event(disable_timing=True)
    ready.record()
    return lambda: _copy(source, ready, out, rows)


def _copy(source: Any, ready: Any, out: NDArray[Any], rows: NDArray[Any]) -> None:
    """Copy in pieces; a buffer is filled again only after its rows are in `out`."""
    if source.size == 0:
        return
    stream, buffers = lane().stream, lane().buffers
    stream.wait_event(ready)
    row_bytes = source.nbytes // source.shape[0]
    step = max(1, PINNED_BYTES // row_bytes)
    under_way: deque[tuple[Any, NDArray[Any], NDArray[Any]]] = deque()

    def take() -> None:
        done, piece, places = under_way.popleft()
        done.synchronize()
        out[places] = piece

    for number, begin in enumerate(range(0, source.shape[0], step)):
        if len(under_way) == len(buffers):
            take()
        part = source[begin : begin + step]
        piece = buffers[number % len(buffers)][: part.nbytes].view(out.dtype).reshape(part.shape)
        part.get(stream=stream, out=piece, blocking=False)
        done = cp.cuda.Event(disable_timing=True)
        done.record(stream)
        under_way.append((done, piece, rows[begin : begin + step]))
    while under_way:
        take()


def release() -> int:
    """Free the pinned buffers, and what the pools hold and no array uses; returns the bytes that arrays use."""
    lane.cache_clear()
    cp.get_default_pinned_memory_pool().free_all_blocks()
    return pool().release()
