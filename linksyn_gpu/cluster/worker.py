"""The program of a worker process: reads shards from standard input, and writes results to standard output."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import traceback
from typing import IO, Any

from linksyn_gpu.errors import WorkerError

LENGTH = struct.Struct("<Q")


class Died(Exception):
    """The other side of a pipe is gone."""


def send(pipe: IO[bytes], *parts: Any) -> None:
    """Write a message."""
    message = pickle.dumps(parts, pickle.HIGHEST_PROTOCOL)
    pipe.write(LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """Read a message; raises `Died` where the pipe ends."""
    (length,) = LENGTH.unpack(_exactly(pipe, LENGTH.size))
    return pickle.loads(_exactly(pipe, length))


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    data = pipe.read(length)
    if len(data) < length:
        raise Died
    return data


def main() -> None:
    """Answer until the pipe ends, as it does when the main process dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process decides
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the results
    shards = os.fdopen(os.dup(0), "rb")
    function: Any = None
    try:
        while True:
            pickled, shard = receive(shards)
            try:
                if pickled is not None:
                    function = pickle.loads(pickled)
                answer = False, pickle.dumps(function(pickle.loads(shard)), pickle.HIGHEST_PROTOCOL)
            except Exception as error:  # noqa: BLE001 - raised again in the main process
                answer = True, _pickled(error)
            send(results, *answer)
    except (Died, BrokenPipeError):
        return


def _pickled(error: Exception) -> bytes:
    """An exception, with its traceback as a note where it is not of this package."""
    error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickled = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
        pickle.loads(pickled)
    except Exception:  # noqa: BLE001 - of another package, and not made to be pickled
        return pickle.dumps(WorkerError(f"{type(error).__name__} in a worker process: {error}"))
    return pickled
