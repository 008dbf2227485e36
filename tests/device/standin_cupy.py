"""A stand-in for CuPy: NumPy arrays that refuse what device arrays refuse, and kernels run on the host.

It is stricter than NumPy: a device array does not turn into a host array unasked, does not mix with one, and reading
one number of it is counted. Fresh arrays hold rubbish. Its functions and methods take no call that those of
CuPy would refuse, which test_signatures.py checks.
"""

from __future__ import annotations

import itertools
import operator
import re
import time
import types
import weakref
from collections import Counter
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np

from tests.device import hostbuild

READS: Counter[str] = Counter()
"""'scalar': one number read by the host; 'array': an array copied to it; 'upload': an array copied from it."""
LAUNCHES: Counter[str] = Counter()
ORDER = 0
"""Order in which the threads of a block take turns, for kernels whose threads work together."""

RUBBISH = 0xCD
_CLOCK = itertools.count()
"""Order in which arrays are written and events recorded."""


def attribute(name: str) -> property:
    return property(lambda self: getattr(self._host, name))


def unwrap(value: Any) -> Any:
    """NumPy array of a device array; a host array where the device needs its own is an error, as in CuPy."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, tuple):
        return tuple(unwrap(item) for item in value)
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return value


class ndarray:  # noqa: N801 - the name that CuPy gives it
    """A device array."""

    def __init__(self, host: Any, view_of: ndarray | None = None) -> None:
        self._host = np.asarray(host)
        if view_of is None or self._host.base is None:
            self._written, self._memory = next(_CLOCK), _allocator[0](self._host.nbytes)
        else:
            self._written, self._memory = view_of._written, view_of._memory

    dtype, shape, size, ndim, itemsize, nbytes, strides, flags = (
        attribute(name) for name in ("dtype", "shape", "size", "ndim", "itemsize", "nbytes", "strides", "flags")
    )

    @property
    def T(self) -> ndarray:  # noqa: N802
        return ndarray(self._host.T, self)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_ufunc__(self, ufunc: Any, *_: Any, **__: Any) -> Any:
        raise TypeError(f"NumPy's {ufunc.__name__} on a device array")

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Any:
        raise TypeError("iterating over a device array copies it number by number")

    def __getitem__(self, key: Any) -> ndarray:
        return ndarray(self._host[unwrap(key)], self)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._host[unwrap(key)] = unwrap(value)

    def _read(self, kind: type) -> Any:
        READS["scalar"] += 1
        return kind(self._host)

    def __int__(self) -> int:
        return int(self._read(int))

    def __float__(self) -> float:
        return float(self._read(float))

    def __bool__(self) -> bool:
        return bool(self._read(bool))

    def __index__(self) -> int:
        raise TypeError("a device array as an index or a size of the host")

    def get(self, *, stream: Stream, out: Any, blocking: bool) -> None:
        """Copy as late as a device may: at the next wait for the stream."""
        assert not blocking
        assert self._written <= stream.seen, "the stream copies what is not computed yet"
        assert self._host.flags.c_contiguous
        assert (out.dtype, out.shape) == (self._host.dtype, self._host.shape)
        READS["array"] += self._written not in stream.copied
        stream.copied.add(self._written)
        stream.todo.append(lambda: np.copyto(out, self._host))

    def astype(self, dtype: Any) -> ndarray:
        return ndarray(self._host.astype(dtype))

    def view(self, dtype: Any) -> ndarray:
        return ndarray(self._host.view(dtype), self)

    def copy(self) -> ndarray:
        return ndarray(self._host.copy())

    def reshape(self, shape: Any) -> ndarray:
        return ndarray(self._host.reshape(shape), self)

    def sort(self) -> None:
        scratch(self._host.nbytes)
        self._host.sort(kind="stable")

    def sum(self) -> ndarray:
        return ndarray(self._host.sum())

    def max(self) -> ndarray:
        return ndarray(self._host.max())


def _operators() -> None:
    def binary(function: Any, turned: bool) -> Any:
        def apply(self: ndarray, other: Any) -> ndarray:
            left, right = (unwrap(other), self._host) if turned else (self._host, unwrap(other))
            return ndarray(function(left, right))

        return apply

    def in_place(function: Any) -> Any:
        def apply(self: ndarray, other: Any) -> ndarray:
            self._host = function(self._host, unwrap(other))
            return self

        return apply

    for name in ("add", "sub", "mul", "floordiv", "mod", "and_", "or_", "lshift", "rshift"):
        plain = name.strip("_")
        function = getattr(operator, name)
        setattr(ndarray, f"__{plain}__", binary(function, turned=False))
        setattr(ndarray, f"__r{plain}__", binary(function, turned=True))
        setattr(ndarray, f"__i{plain}__", in_place(getattr(operator, "i" + plain)))
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        setattr(ndarray, f"__{name}__", binary(getattr(operator, name), turned=False))
    ndarray.__invert__ = lambda self: ndarray(~self._host)  # type: ignore[attr-defined]
    ndarray.__hash__ = None  # type: ignore[assignment]


_operators()


# ---------------------------------------------------------------------- functions


def asarray(a: Any) -> ndarray:
    if isinstance(a, ndarray):
        return a
    READS["upload"] += 1
    return ndarray(np.array(a))


def ascontiguousarray(a: ndarray) -> ndarray:
    return a if a._host.flags.c_contiguous else ndarray(np.ascontiguousarray(a._host))


def asnumpy(a: Any) -> Any:
    READS["array"] += 1
    return np.array(a._host, order="C")


def empty(shape: Any, dtype: Any) -> ndarray:
    fresh = np.empty(shape, dtype)
    fresh.view(np.uint8)[...] = RUBBISH
    return ndarray(fresh)


def zeros(shape: Any, dtype: Any) -> ndarray:
    return ndarray(np.zeros(shape, dtype))


def ones(shape: Any, dtype: Any) -> ndarray:
    return ndarray(np.ones(shape, dtype))


def full(shape: Any, fill_value: Any, dtype: Any) -> ndarray:
    return ndarray(np.full(shape, fill_value, dtype))


def arange(start: Any, stop: Any = None, *, dtype: Any) -> ndarray:
    return ndarray(np.arange(start, stop, dtype=dtype) if stop is not None else np.arange(start, dtype=dtype))


def scratch(n_bytes: int) -> None:
    """What a function allocates beside its result: an estimate of what CuPy and its radix sorts take."""
    _allocator[0](n_bytes)


def argsort(a: ndarray) -> ndarray:
    scratch(2 * a.nbytes + 8 * a.size)
    return ndarray(np.argsort(unwrap(a), kind="stable"))


def concatenate(tup: tuple[ndarray, ...]) -> ndarray:
    return ndarray(np.concatenate(unwrap(tup)))


def cumsum(a: ndarray, *, dtype: Any) -> ndarray:
    return ndarray(np.cumsum(unwrap(a), dtype=dtype))


def flatnonzero(a: ndarray) -> ndarray:
    READS["scalar"] += 1  # how many there are
    scratch(8 * a.size)
    return ndarray(np.flatnonzero(unwrap(a)))


def minimum(x1: Any, x2: Any) -> ndarray:
    return ndarray(np.minimum(unwrap(x1), unwrap(x2)))


def searchsorted(a: ndarray, v: ndarray, side: str = "left") -> ndarray:
    return ndarray(np.searchsorted(unwrap(a), unwrap(v), side=side))  # type: ignore[call-overload]


# ---------------------------------------------------------------------- device


class CUDADriverError(RuntimeError):
    """What the driver refuses."""


class RawModule:
    """Kernels of one source text, compiled by g++ instead of NVRTC."""

    def __init__(self, *, code: str, options: tuple[str, ...], backend: str) -> None:
        assert backend == "nvrtc"
        assert all(isinstance(option, str) for option in options)
        self._code = code

    def compile(self) -> None:
        hostbuild.load(self._code)

    def get_function(self, name: str) -> Any:
        bounds = re.search(rf"__launch_bounds__\((\d+)[^)]*\)\s+{name}\(", self._code)
        most = int(bounds[1]) if bounds else 1024

        def call(grid: tuple[int], block: tuple[int], args: tuple[Any, ...]) -> None:
            LAUNCHES[name] += 1
            assert 1 <= grid[0] < 2**31
            if not 1 <= block[0] <= most:
                raise CUDADriverError("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: too many resources requested for launch")
            hostbuild.run(self._code, name, grid[0], block[0], unwrap(args), order=ORDER)

        return call


class Block:
    """Memory of one array, returned to its pool when the array is gone."""


class CountedPool:
    """A memory pool that counts the bytes of live arrays; like the real ones it keeps what it allocated."""

    limit = live = held = 0

    def allocate(self, n_bytes: int) -> Block:
        self.live += n_bytes
        self.held = max(self.held, self.live)
        block = Block()
        weakref.finalize(block, self._give_back, n_bytes)
        return block

    def _give_back(self, n_bytes: int) -> None:
        self.live -= n_bytes


class MemoryPool(CountedPool):
    def total_bytes(self) -> int:
        return self.held

    def free_bytes(self) -> int:
        return self.held - self.live

    def used_bytes(self) -> int:
        return self.live

    def get_limit(self) -> int:
        return self.limit

    def set_limit(self, *, size: int) -> None:
        self.limit = size

    def free_all_blocks(self) -> None:
        self.held = self.live


class PinnedMemoryPool(CountedPool):
    def free_all_blocks(self) -> None:
        self.held = self.live


_POOL, _PINNED = MemoryPool(), PinnedMemoryPool()
_allocator: list[Any] = [_POOL.allocate]


def get_allocator() -> Any:
    return _allocator[0]


def set_allocator(allocator: Any) -> None:
    _allocator[0] = allocator or CountedPool().allocate


class Device:
    id = 0
    compute_capability = "90"

    def __init__(self, device: int = 0) -> None:
        assert device == 0


class Stream:
    """A stream next to the default one; its work is done when the host waits for it, not earlier."""

    def __init__(self, *, non_blocking: bool) -> None:
        assert non_blocking, "a blocking stream waits for the default one"
        self.todo: list[Any] = []
        self.seen = -1  # what was written before the last event that this stream waited for
        self.copied: set[int] = set()

    def wait_event(self, event: Event) -> None:
        self.seen = max(self.seen, event.recorded)


class Event:
    """Launches of the stand-in are finished when they return, so an event is a look at the clock."""

    time = 0.0
    recorded = -1
    stream: Stream | None = None

    def __init__(self, *, disable_timing: bool = False) -> None:
        self.disable_timing = disable_timing

    def record(self, stream: Stream | None = None) -> None:
        self.time, self.recorded, self.stream = time.perf_counter(), next(_CLOCK), stream
        self.before = 0 if stream is None else len(stream.todo)

    def synchronize(self) -> None:
        assert self.time > 0.0, "an event that was not recorded"
        if self.stream is not None:
            for work in self.stream.todo[: self.before]:
                work()
            self.stream.todo[: self.before] = [lambda: None] * self.before


def alloc_pinned_memory(size: int) -> bytearray:
    return bytearray([RUBBISH]) * size


def module(free_bytes: int = 16 << 30) -> types.ModuleType:
    """The stand-in as a module named cupy, with `free_bytes` on its device."""
    set_allocator(_POOL.allocate)
    found = types.ModuleType("cupy")
    for name in ("ndarray", "asarray", "ascontiguousarray", "asnumpy", "empty", "zeros", "ones", "full",
                 "arange", "argsort", "concatenate", "cumsum", "flatnonzero", "minimum", "searchsorted",
                 "RawModule"):  # fmt: skip
        setattr(found, name, globals()[name])
    found.__version__ = "0 (a stand-in)"
    found.__spec__ = ModuleSpec("cupy", None)
    found.get_default_memory_pool = lambda: _POOL
    found.get_default_pinned_memory_pool = lambda: _PINNED
    error = type("CUDARuntimeError", (RuntimeError,), {})
    found.cuda = types.SimpleNamespace(
        Device=Device,
        Event=Event,
        Stream=Stream,
        alloc_pinned_memory=alloc_pinned_memory,
        get_elapsed_time=lambda start_event, end_event: 1e3 * (end_event.time - start_event.time),
        get_allocator=get_allocator,
        set_allocator=set_allocator,
        is_available=lambda: True,
        compiler=types.SimpleNamespace(CompileException=type("CompileException", (Exception,), {})),
        driver=types.SimpleNamespace(CUDADriverError=CUDADriverError),
        runtime=types.SimpleNamespace(
            CUDARuntimeError=error,
            deviceSynchronize=lambda: None,
            getDeviceProperties=lambda device: {"name": b"a stand-in, not a device"},
            memGetInfo=lambda: (free_bytes, 2 * free_bytes),
        ),
    )
    return found
