"""Text work over shards: the same functions in this process, in local worker processes, or as tasks of a Ray cluster.

A shard is a part of the rows that can be pickled. A function of a shard is a picklable callable that depends on nothing
else; what it needs for all shards (an index, an automaton) is an attribute of it, and is sent to each worker once.
Results come in the order of the shards, hence no file depends on the number of workers, nor on a worker that died: its
shard is computed again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from linksyn_gpu.machine import available_memory

if TYPE_CHECKING:
    import pyarrow as pa

K = TypeVar("K")
S = TypeVar("S")
R = TypeVar("R")

TRIES = 4
"""Times that a shard is computed, if its worker dies each time, before the stage fails."""
IN_PROCESS_SHARDS = 8
"""So few shards are computed in this process, unless the number of workers is set: starting workers takes longer."""
ONE_THREAD = dict.fromkeys(("NUMBA_NUM_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS"), "1")
"""Environment of a worker: the workers together use the cores."""
WORKER_BYTES = 2**30
"""Memory for which a worker is started, where the number of workers is not set."""
MOST_WORKERS = 32
"""Workers where their number is not set: one process makes the shards and takes the results."""


class MapShards(Protocol):
    """`map(function, shards)`: the results in the order of the shards. The built-in `map` is one."""

    def __call__(self, function: Callable[[S], R], shards: Iterable[S], /) -> Iterator[R]: ...


class Workers(Protocol):
    """Computes shards elsewhere."""

    @property
    def slots(self) -> int:
        """Shards that are computed at the same time."""
        ...

    def submit(self, function: Callable[[S], R], shard: S) -> Any:
        """Begin to compute a shard; returns a handle for `result`."""
        ...

    def result(self, handle: Any) -> Any:
        """Wait for a result; raises what the function raised, or `WorkerError`."""
        ...

    def cancel(self, handles: Sequence[Any]) -> None:
        """Drop shards whose results nobody waits for any more."""
        ...


@contextlib.contextmanager
def open_workers(workers: int | None = None, cluster: str | None = None) -> Iterator[MapShards]:
    """What maps functions over shards, until the block ends. Processes are started when they are first needed.

    Parameters
    ----------
    workers : int, optional
        Worker processes; 1: this process alone. On a cluster: shards computed at the same time. None: one per
        available core (on a cluster: all its cores), but this process alone for at most `IN_PROCESS_SHARDS` shards.
    cluster : str, optional
        Address of a Ray cluster, or 'auto'. None: this machine.

    Raises
    ------
    ConfigError
        Ray is not installed, or there is no such cluster.
    """
    with contextlib.ExitStack() as stack:
        opened: list[Workers] = []

        def start() -> Workers:
            if not opened:
                if cluster is not None:
                    from linksyn_gpu.cluster.ray_tasks import RayWorkers

                    opened.append(stack.enter_context(RayWorkers(cluster, workers)))
                else:
                    from linksyn_gpu.cluster.local import LocalWorkers

                    opened.append(stack.enter_context(LocalWorkers(default_workers() if workers is None else workers)))
            return opened[0]

        def map_shards(function: Callable[[S], R], shards: Iterable[S], /) -> Iterator[R]:
            rest = iter(shards)
            if cluster is None and (default_workers() if workers is None else workers) == 1:
                yield from map(function, rest)
                return
            if workers is None and not opened:
                first = list(itertools.islice(rest, IN_PROCESS_SHARDS + 1))
                if len(first) <= IN_PROCESS_SHARDS:
                    yield from map(function, first)
                    return
                rest = itertools.chain(first, rest)
            yield from in_order(start(), function, rest)

        if cluster is not None:
            start()  # a wrong address is an error before any work
        yield map_shards


def with_keys(
    map_shards: MapShards, function: Callable[[S], R], shards: Iterable[tuple[K, S]]
) -> Iterator[tuple[K, R]]:
    """Map (key, shard) to (key, result). The keys stay in this process."""
    keys: deque[K] = deque()

    def without_keys() -> Iterator[S]:
        for key, shard in shards:
            keys.append(key)
            yield shard

    for result in map_shards(function, without_keys()):
        yield keys.popleft(), result


def batched(rows: Iterable[S], size: int) -> Iterator[list[S]]:
    """Lists of `size` rows; the last one may be shorter."""
    rest = iter(rows)
    while part := list(itertools.islice(rest, size)):
        yield part


def batch_shards(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Copies of parts of record batches: a slice of a batch would be sent with all its buffers."""
    import pyarrow as pa

    for batch in batches:
        for begin in range(0, batch.num_rows, rows):
            yield batch.take(pa.array(range(begin, min(begin + rows, batch.num_rows)), pa.int64()))


def in_order(workers: Workers, function: Callable[[S], R], shards: Iterable[S]) -> Iterator[R]:
    """Results in the order of the shards; at most twice as many shards are read ahead as are computed at a time."""
    waiting: deque[Any] = deque()
    rest = iter(shards)
    try:
        while True:
            ahead = max(1, 2 * workers.slots) - len(waiting)  # negative where a cluster has lost a node
            for shard in itertools.islice(rest, max(0, ahead)):
                waiting.append(workers.submit(function, shard))
            if not waiting:
                return
            yield workers.result(waiting.popleft())
    finally:
        workers.cancel(list(waiting))


def default_workers() -> int:
    """One worker per core that this process may use, with `WORKER_BYTES` of free memory each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, MOST_WORKERS, available_memory() // WORKER_BYTES))
