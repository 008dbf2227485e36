"""Where arrays of the GPU backend live, and the only places where one crosses between host and device."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.backend.gpu.memory import crossings

DeviceArray = Any  # a cupy.ndarray: CuPy has no types for type checkers


def asarray(array: Any) -> DeviceArray:
    """Copy a host array to the device."""
    return to_device(array, "asarray")


def to_host(array: DeviceArray) -> NDArray[Any]:
    """Copy an array to the host."""
    return from_device(array, "to_host")


def to_device(array: Any, place: str) -> DeviceArray:
    """Copy a host array to the device, counted under `place`; an array on the device is returned as it is."""
    if isinstance(array, cp.ndarray):
        return array
    host = np.ascontiguousarray(array)
    crossings.count(f"{place}, to device", host.nbytes)
    return cp.asarray(host)


def from_device(array: Any, place: str) -> NDArray[Any]:
    """Copy a device array to the host, counted under `place`; a host array is returned as it is."""
    if not isinstance(array, cp.ndarray):
        return np.asarray(array)
    crossings.count(f"{place}, to host", array.nbytes)
    host: NDArray[Any] = cp.asnumpy(array)
    return host


def size_of(scalar: Any) -> int:
    """Read one number that only the device knows."""
    crossings.count("sizes, to host", scalar.dtype.itemsize)
    return int(scalar)


def walk_ids(begin: int, end: int) -> DeviceArray:
    """Walk ids begin .. end - 1, made on the device."""
    return cp.arange(begin, end, dtype=np.int64)


def flatnonzero(array: DeviceArray) -> DeviceArray:
    """Rows where `array` is not 0, ascending."""
    crossings.count("sizes, to host", 8)
    return cp.flatnonzero(array)


def free_memory() -> int:
    """Bytes that can be allocated on the current device: free there, or held by the pool and unused."""
    pool = cp.get_default_memory_pool()
    free = int(cp.cuda.runtime.memGetInfo()[0]) + int(pool.free_bytes())
    limit = int(pool.get_limit())
    return min(free, limit - int(pool.used_bytes())) if limit > 0 else free


def limit_memory(n_bytes: int) -> None:
    """Let the pool allocate at most `n_bytes` on the current device."""
    cp.get_default_memory_pool().set_limit(size=n_bytes)


def release() -> int:
    """Free what the pools hold and no array uses."""
    pool = cp.get_default_memory_pool()
    pool.free_all_blocks()
    cp.get_default_pinned_memory_pool().free_all_blocks()
    return int(pool.used_bytes())
