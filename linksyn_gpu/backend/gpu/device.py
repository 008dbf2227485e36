"""Where arrays of the GPU backend live, and the only places where one crosses between host and device."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np

from linksyn_gpu.backend.gpu.memory import crossings

Array = Any  # a cupy.ndarray, which has no types of its own for type checkers


def asarray(array: Any) -> Any:
    """Bring a host array into the backend's memory."""
    return to_device(array, "asarray")


def to_host(array: Any) -> Any:
    """Bring a backend array to the host."""
    return from_device(array, "to_host")


def to_device(array: Any, place: str) -> Any:
    """Copy a host array to the device, counted under `place`; an array that is there already stays."""
    if isinstance(array, cp.ndarray):
        return array
    host = np.ascontiguousarray(array)
    crossings.count(f"{place}, to device", host.nbytes)
    return cp.asarray(host)


def from_device(array: Any, place: str) -> Any:
    """Copy a device array to the host, counted under `place`; a host array stays what it is."""
    if not isinstance(array, cp.ndarray):
        return np.asarray(array)
    crossings.count(f"{place}, to host", array.nbytes)
    return cp.asnumpy(array)


def size_of(scalar: Any) -> int:
    """Read one number that only the device knows."""
    crossings.count("sizes, to host", scalar.dtype.itemsize)
    return int(scalar)


def walk_ids(begin: int, end: int) -> Any:
    """Walk ids begin .. end - 1 in the backend's memory."""
    return cp.arange(begin, end, dtype=np.int64)


def flatnonzero(array: Any) -> Any:
    """Rows where `array` is not 0, ascending."""
    crossings.count("sizes, to host", 8)
    return cp.flatnonzero(array)


def free_memory() -> int:
    """Bytes that can be taken on the current device: free there, or held by the pool and unused."""
    pool = cp.get_default_memory_pool()
    free = int(cp.cuda.runtime.memGetInfo()[0]) + int(pool.free_bytes())
    limit = int(pool.get_limit())
    return min(free, limit - int(pool.used_bytes())) if limit > 0 else free


def limit_memory(n_bytes: int) -> None:
    """Let the pool take at most `n_bytes` on the current device."""
    cp.get_default_memory_pool().set_limit(size=n_bytes)


def release() -> int:
    """Give unused device memory back, before a language-model server starts on the device.

    Returns
    -------
    int
        Bytes that live arrays still hold.
    """
    pool = cp.get_default_memory_pool()
    pool.free_all_blocks()
    cp.get_default_pinned_memory_pool().free_all_blocks()
    return int(pool.used_bytes())
