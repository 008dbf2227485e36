"""The one pool of device memory, which CuPy, cuDF, cuGraph and cuVS share.

RAPIDS allocates through RMM, and importing cuDF makes CuPy allocate there too, by default without a pool: each array is
then a call of the driver that waits for the device. Where RMM is installed, a pool of RMM therefore serves all of them;
elsewhere CuPy's own pool serves CuPy.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import cupy as cp

from linksyn_gpu.errors import BackendUnavailable

ALIGNMENT = 256  # bytes: sizes of RMM's pools are multiples of it


class CuPyPool:
    """CuPy's own pool."""

    def use(self) -> None:
        """CuPy uses its pool already."""

    def limit(self, n_bytes: int) -> None:
        """Allocate at most `n_bytes`."""
        cp.get_default_memory_pool().set_limit(size=n_bytes)

    def free_bytes(self) -> int:
        """Bytes that can be allocated: free on the device, or held by the pool and unused."""
        pool = cp.get_default_memory_pool()
        free = int(cp.cuda.runtime.memGetInfo()[0]) + int(pool.free_bytes())
        limit = int(pool.get_limit())
        return min(free, limit - int(pool.used_bytes())) if limit > 0 else free

    def peak_bytes(self) -> int:
        """Bytes that the pool holds: it grows with what arrays use, until it is released."""
        return int(cp.get_default_memory_pool().total_bytes())

    def release(self) -> int:
        """Free what no array uses, and return the bytes that arrays use."""
        pool = cp.get_default_memory_pool()
        pool.free_all_blocks()
        return int(pool.used_bytes())


class RMMPool:
    """A pool of RMM, the current resource of the device and CuPy's allocator from `use` to `release`."""

    def __init__(self) -> None:
        self._before: tuple[Any, Any] | None = None  # resource and allocator, while this pool is in use
        self._pool: Any = None
        self._counted: Any = None
        self._limit = 0

    def use(self) -> None:
        """Serve all allocations from now on."""
        from rmm import mr

        if self._before is None:
            self._before = (mr.get_current_device_resource(), cp.cuda.get_allocator())
            self._renew()

    def limit(self, n_bytes: int) -> None:
        """Allocate at most `n_bytes`, with what arrays use now. A pool of RMM cannot shrink: it is replaced."""
        self.use()
        if n_bytes != self._limit:
            self._limit = n_bytes
            self._renew()

    def _renew(self) -> None:
        from rmm import mr
        from rmm.allocators.cupy import rmm_cupy_allocator

        most = None
        if self._limit:
            most = (self._limit - self._used()) // ALIGNMENT * ALIGNMENT
            if most <= 0:
                raise BackendUnavailable(
                    f"arrays use {self._used():,} bytes of the device already, and the limit is {self._limit:,}: "
                    f"raise --gpu-memory"
                )
        # Arrays in the pool of before keep it alive.
        self._pool = mr.PoolMemoryResource(mr.CudaMemoryResource(), initial_pool_size=0, maximum_pool_size=most)
        self._counted = mr.StatisticsResourceAdaptor(self._pool)
        mr.set_current_device_resource(self._counted)
        cp.cuda.set_allocator(rmm_cupy_allocator)

    def _used(self) -> int:
        return 0 if self._counted is None else int(self._counted.allocation_counts.current_bytes)

    def free_bytes(self) -> int:
        """Bytes that can be allocated: free on the device, or held by the pool and unused."""
        self.use()
        used = self._used()
        free = int(cp.cuda.runtime.memGetInfo()[0]) + int(self._pool.pool_size()) - used
        return min(free, self._limit - used) if self._limit else free

    def peak_bytes(self) -> int:
        """Most bytes that arrays used at once, since the pool was made."""
        return 0 if self._counted is None else int(self._counted.allocation_counts.peak_bytes)

    def release(self) -> int:
        """Return the pool to the device, and bring back the resource and the allocator of before.

        While arrays are in use, nothing changes; the bytes that they use are returned.
        """
        from rmm import mr

        used = self._used()
        if self._before is not None and used == 0:
            resource, allocator = self._before
            mr.set_current_device_resource(resource)
            cp.cuda.set_allocator(allocator)
            self._before, self._pool, self._counted, self._limit = None, None, None, 0
        return used


@cache
def pool() -> CuPyPool | RMMPool:
    """The pool of this process."""
    return CuPyPool() if find_spec("rmm") is None else RMMPool()
