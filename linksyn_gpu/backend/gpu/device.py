"""Where arrays of the GPU backend live, and the only places where one crosses between host and device."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.backend.gpu.memory import crossings
from linksyn_gpu.backend.gpu.pool import pool

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
    pool().use()
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
    pool().use()
    return cp.arange(begin, end, dtype=np.int64)


def flatnonzero(array: DeviceArray) -> DeviceArray:
    """Rows where `array` is not 0, ascending."""
    crossings.count("sizes, to host", 8)
    return cp.flatnonzero(array)


def free_memory() -> int:
    """Bytes that can be allocated on the current device."""
    return pool().free_bytes()


def limit_memory(n_bytes: int) -> None:
    """Let the pool allocate at most `n_bytes` on the current device."""
    pool().limit(n_bytes)


def peak_memory() -> int:
    """Most bytes of the pool since its last release."""
    return pool().peak_bytes()
