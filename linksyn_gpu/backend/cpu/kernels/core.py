"""What all CPU kernels share: compilation, tasks for threads, prefetch, huge pages.

A kernel is a compiled function that releases the interpreter lock and takes numbered tasks from a counter until none
is left (`tasks_of`, `run_tasks`). Each task writes to its own place, or adds integers: results depend neither on the
number of threads nor on their speed. Threads are ordinary Python threads and not Numba's parallel loops: tasks are
assigned one by one (a parallel loop is cut into equal parts beforehand and waits for the slowest), callers on several
threads are allowed, and compilation takes a fraction of the time.

Numba's on-disk cache compares the time stamp of the file that defines a kernel. A kernel also contains code and
constants of other files; here it is valid only as long as none of them changes (`_cache_by_content`).
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils as numba_cgutils
from numba.core.caching import IndexDataCacheFile
from numba.extending import intrinsic

HUGE_PAGE = 2 << 20

cgutils: Any = numba_cgutils  # its functions have no types
numba_config: Any = numba.config
NumbaCacheFile: Any = IndexDataCacheFile


def _content_stamp() -> str:
    """Hash of every file that compiled code is made from."""
    folder = Path(__file__).parent
    backend = folder.parents[1]
    digest = hashlib.sha256()
    others = (backend / name for name in ("protocol.py", "reference/walk.py", "rng.py"))
    for file in (*sorted(folder.glob("*.py")), *others):
        digest.update(file.read_bytes())
    return digest.hexdigest()


_STAMP = _content_stamp()


class _CacheFile(NumbaCacheFile):  # type: ignore[misc]  # Numba's class has no types
    """A kernel's cache on disk; a file that was cut off counts as absent, and the kernel is compiled again."""

    def _load_index(self) -> Any:
        try:
            return super()._load_index()
        except (EOFError, pickle.UnpicklingError):
            return {}

    def _load_data(self, name: str) -> Any:
        try:
            return super()._load_data(name)
        except (EOFError, pickle.UnpicklingError) as error:
            raise FileNotFoundError(name) from error


def _cache_by_content(dispatcher: Any) -> Any:
    """Make a kernel's cache compare `_STAMP` instead of the time stamp of one file."""
    cache: Any = getattr(dispatcher, "_cache", None)
    if hasattr(cache, "_cache_file"):  # not with NUMBA_DISABLE_JIT
        cache._cache_file = _CacheFile(cache._cache_path, cache._impl.filename_base, _STAMP)
    return dispatcher


def jit(function: Callable[..., Any]) -> Any:
    """Compile a kernel: cached on disk, without the interpreter lock, IEEE arithmetic as written."""
    return _cache_by_content(njit(cache=True, nogil=True, error_model="numpy")(function))


def jit_inline(function: Callable[..., Any]) -> Any:
    """Compile a function into its callers: by default the compiler calls even Philox."""
    decorate = njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
    return _cache_by_content(decorate(function))


# ---------------------------------------------------------------------- instructions that Numba lacks


def _prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Prefetch the cache line of `array[index]` (1-D, or row `index` of a 2-D array)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array_type = signature.args[0]
        view = context.make_array(array_type)(context, builder, args[0])
        first = context.get_constant(types.intp, 0)
        position = [args[1]] + [first] * (array_type.ndim - 1)
        pointer = cgutils.get_item_pointer(context, builder, array_type, view, position, wraparound=False)
        byte_pointer = ir.IntType(8).as_pointer()
        word = ir.IntType(32)
        llvm_prefetch = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte_pointer, word, word, word]),
            "llvm.prefetch.p0",
        )
        # (address, 0 = read, 3 = keep in all caches, 1 = data)
        builder.call(llvm_prefetch, [builder.bitcast(pointer, byte_pointer), word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


prefetch: Any = intrinsic(_prefetch)


def _fetch_add(typing_context: Any, array: Any, index: Any, amount: Any) -> Any:
    """Add to `array[index]` (1-D int64) atomically; return the value before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array_type = signature.args[0]
        view = context.make_array(array_type)(context, builder, args[0])
        pointer = cgutils.get_item_pointer(context, builder, array_type, view, [args[1]], wraparound=False)
        return builder.atomic_rmw("add", pointer, args[2], "monotonic")

    return types.int64(array, types.intp, types.int64), generate


fetch_add: Any = intrinsic(_fetch_add)


@njit(nogil=True)  # not cached: Numba cannot compile a caller of a generator that it loaded from its cache
def tasks_of(counter: Any, n_tasks: Any) -> Any:
    """Numbers of the tasks that this thread takes, until none is left."""
    task = fetch_add(counter, 0, 1)
    while task < n_tasks:
        yield task
        task = fetch_add(counter, 0, 1)


def _mulhi(typing_context: Any, a: Any, b: Any) -> Any:
    """floor(a * b / 2^64) of two uint64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, wide(64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


mulhi: Any = intrinsic(_mulhi)


# ---------------------------------------------------------------------- threads


class _Crew:
    """The threads that help the calling one; started when first needed, and again in a forked process."""

    def __init__(self) -> None:
        self.pool: ThreadPoolExecutor | None = None

    def helpers(self) -> ThreadPoolExecutor:
        if self.pool is None:
            self.pool = ThreadPoolExecutor(numba_config.NUMBA_NUM_THREADS, "linksyn-cpu")
        return self.pool

    def forget(self) -> None:
        self.pool = None


_crew = _Crew()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_crew.forget)


def thread_count() -> int:
    """Threads that kernels run on: Numba's setting (NUMBA_NUM_THREADS, `numba.set_num_threads`)."""
    return int(numba.get_num_threads())


def run_tasks(kernel: Callable[..., None], n_tasks: int, *args: Any) -> None:
    """Run `kernel(counter, n_tasks, *args)` on all threads; each loops over `tasks_of(counter, n_tasks)`.

    The calling thread works too, and completes the tasks alone if every helper is busy.
    """
    counter = np.zeros(1, np.int64)
    n_helpers = min(thread_count(), n_tasks) - 1
    pool = _crew.helpers() if n_helpers > 0 else None
    helpers = [pool.submit(kernel, counter, n_tasks, *args) for _ in range(n_helpers)] if pool else []
    try:
        kernel(counter, n_tasks, *args)
    finally:
        for helper in helpers:
            if not helper.cancel():
                helper.result()


# ---------------------------------------------------------------------- arrays


def allocate(shape: int | tuple[int, ...], dtype: Any) -> Any:
    """An array of undefined content; large ones request huge pages.

    With 4 KiB pages a random read of a table of 100 MB misses the TLB as well as the data caches. If the system has no
    huge pages, the array is an ordinary one: only speed differs.

    Raises
    ------
    MemoryError
    """
    shape = (shape,) if isinstance(shape, int) else shape
    size = int(np.prod(shape, dtype=np.int64))
    n_bytes = size * np.dtype(dtype).itemsize
    if n_bytes < HUGE_PAGE // 2 or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.empty(shape, dtype)
    try:
        # One page more than needed: the array begins at the start of a huge page.
        memory = mmap.mmap(-1, (-(-n_bytes // HUGE_PAGE) + 1) * HUGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no memory for an array of {n_bytes:,} bytes") from error
    with contextlib.suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    address = np.frombuffer(memory, np.uint8, count=1).ctypes.data
    return np.frombuffer(memory, dtype, count=size, offset=-address % HUGE_PAGE).reshape(shape)


class _Alias:
    """Presents a read-only array to NumPy as a writable one."""

    def __init__(self, array: Any) -> None:
        self.owner = array
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def operand(array: Any, dtype: Any) -> Any:
    """`array` as a kernel needs it: contiguous, of `dtype`, writable. Kernels never write to an operand.

    Numba would compile a kernel a second time for read-only arrays, such as memory-mapped files; these are passed under
    an alias. An array that already fits is not copied.
    """
    array = np.ascontiguousarray(array, dtype)
    return array if array.flags.writeable else np.asarray(_Alias(array))
