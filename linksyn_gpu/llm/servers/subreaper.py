"""Runs one command while its owner lives, then ends it with all its descendants. Linux only.

    python subreaper.py GRACE COMMAND [ARGUMENT ...]

It runs as a script in its own session and imports nothing of this package. The owner holds the other end of its
standard input, a pipe. When the owner closes the pipe or dies, also by SIGKILL, the descendants get SIGTERM, and
SIGKILL after GRACE seconds. When the command ends by itself, what it left running gets SIGKILL at once. Standard output
receives a line about the end. The exit status is the command's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

import psutil

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
POLL_SECONDS = 0.1
NOT_FOUND = 127  # exit status of a shell when there is no such command
OF_THIS_PYTHON = ("PYTHONPATH", "PYTHONHOME")
"""Variables that would lead the command's Python to the packages of this one."""


class Family:
    """The command and its descendants, in any process group and session."""

    def __init__(self, words: list[str]) -> None:
        # Orphaned descendants become children of this process, and are therefore never lost.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        environment = {name: value for name, value in os.environ.items() if name not in OF_THIS_PYTHON}
        nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        self.child = os.posix_spawnp(words[0], words, environment, file_actions=[nothing])
        self.status: int | None = None
        """The command's exit status once it has ended, 128 + n where signal n ended it."""

    def reap(self) -> bool:
        """Collect those that ended; whether any are left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:  # no child, hence no descendant
                return False
            if pid == 0:
                return True
            if pid == self.child:
                code = os.waitstatus_to_exitcode(status)
                self.status = code if code >= 0 else 128 - code

    def end(self, number: signal.Signals, seconds: float) -> bool:
        """Send a signal to each descendant, also to those that appear while it waits; whether all ended in time."""
        signalled: set[int] = set()
        deadline = time.monotonic() + seconds
        while self.reap():
            if time.monotonic() >= deadline:
                return False
            # Zombies included: a process whose main thread has ended may have other threads, and through them children.
            for pid in {process.pid for process in psutil.Process().children(recursive=True)} - signalled:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                signalled.add(pid)
            time.sleep(0.02)
        return True


def main() -> int:
    """Run the command until it ends, the owner goes, or this process gets a signal."""
    grace, words = float(sys.argv[1]), sys.argv[2:]
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A handler, unlike SIG_IGN, is not inherited by the command.
        signal.signal(number, lambda number, frame: received.append(number))
    try:
        family = Family(words)
    except OSError as error:
        print(f"subreaper: {words[0]}: {error.strerror}", flush=True)
        return NOT_FOUND
    why = ""
    while not why:
        gone, _, _ = select.select([0], [], [], POLL_SECONDS)
        family.reap()
        if family.status is not None:
            why = f"the command ended with status {family.status}"
        elif received:
            why = f"signal {received[0]}"
        elif gone:
            why = "the owner is done or gone"
    print(f"subreaper: {why}; ending all its descendants", flush=True)
    if family.status is not None:
        family.end(signal.SIGKILL, 10.0)
    elif not family.end(signal.SIGTERM, grace):
        print(f"subreaper: some are left after {grace:g} s: SIGKILL", flush=True)
        family.end(signal.SIGKILL, 10.0)
    return family.status if family.status is not None else 0


if __name__ == "__main__":
    sys.exit(main())
