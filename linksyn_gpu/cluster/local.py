"""Worker processes on this machine.

They are started as programs, not by `multiprocessing`, which would run the user's script again in each of them. A
thread per worker sends it shards and waits for results, and starts another process when it dies.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

from linksyn_gpu.cluster import ONE_THREAD, TRIES
from linksyn_gpu.cluster.worker import Died, receive, send
from linksyn_gpu.errors import WorkerError

S = TypeVar("S")
R = TypeVar("R")

PROGRAM = "from linksyn_gpu.cluster.worker import main; main()"


class LocalWorkers:
    """A number of worker processes; `with`. Each is started when it gets its first shard."""

    def __init__(self, workers: int) -> None:
        self.slots = workers
        self._own = threading.local()
        self._processes: list[_Process] = []
        self._guard = threading.Lock()
        self._closed = False
        self._function: object = None
        self._pickled = b""
        self._number = 0
        """Of the function, whose pickle every worker gets once."""
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="linksyn-worker")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._guard:
            self._closed = True
            processes = list(self._processes)
        for process in processes:
            process.end()
        self._threads.shutdown(cancel_futures=True)

    def submit(self, function: Callable[[S], R], shard: S) -> Future[R]:
        """Begin to compute a shard."""
        if function is not self._function:
            self._function, self._pickled = function, pickle.dumps(function, pickle.HIGHEST_PROTOCOL)
            self._number += 1
        return self._threads.submit(self._compute, self._number, self._pickled, shard)

    def result(self, handle: Future[R]) -> R:
        """Wait for a result."""
        return handle.result()

    def cancel(self, handles: Sequence[Future[Any]]) -> None:
        """Drop shards that are not begun."""
        for handle in handles:
            handle.cancel()

    def _compute(self, number: int, pickled: bytes, shard: Any) -> Any:
        payload = pickle.dumps(shard, pickle.HIGHEST_PROTOCOL)
        why = ""
        for _ in range(TRIES):
            try:
                failed, value = self._process().ask(number, pickled, payload)
            except Died as died:
                why = str(died)
                self._own.process = None
                continue
            if failed:
                raise value
            return value
        raise WorkerError(
            f"a worker process died {TRIES} times while it computed the same rows; the last time {why}. With too "
            "little memory, set fewer --workers; with --workers 1 the rows are computed in the main process"
        )

    def _process(self) -> _Process:
        """The process of this thread."""
        process: _Process | None = getattr(self._own, "process", None)
        if process is None:
            with self._guard:
                if self._closed:
                    raise WorkerError("the workers are being stopped")
                process = self._own.process = _Process()
                self._processes.append(process)
        return process


class _Process:
    """One worker process, and the number of the function that it has."""

    def __init__(self) -> None:
        path = os.pathsep.join([entry or os.getcwd() for entry in sys.path])  # noqa: PTH109 - as text, for a path list
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-c", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **ONE_THREAD, "PYTHONPATH": path},
            )
        except OSError as error:
            raise WorkerError(f"a worker process cannot be started: {error}. Set fewer --workers") from error
        self._has = 0

    def ask(self, number: int, pickled: bytes, shard: bytes) -> tuple[bool, Any]:
        """(whether the function raised, its result or exception); raises `Died`."""
        stdin, stdout = self._popen.stdin, self._popen.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            send(stdin, None if number == self._has else pickled, shard)
            self._has = number
            failed, value = receive(stdout)
        except (OSError, ValueError, Died):
            self.end()
            raise Died(f"with status {self._popen.returncode}") from None
        return failed, pickle.loads(value)

    def end(self) -> None:
        """Kill it: its results are lost, and it writes no files."""
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was buffered cannot be written any more
                    continue
