"""Runs one command for as long as its owner lives, then ends it with everything that it started. Linux only.

    python -I keeper.py GRACE COMMAND [ARGUMENT ...]

Run as a script in a session of its own, with nothing of this package imported. Standard input is a pipe whose other
end the owner holds: when the owner closes it, or dies, by SIGKILL too, the system closes it, and the keeper sends
SIGTERM, GRACE seconds later SIGKILL. What a command leaves behind that ended by itself is of no use any more and gets
SIGKILL at once. The keeper tells of the end on standard output, and ends with the command's status.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
POLL_SECONDS = 0.1
NOT_FOUND = 127  # what a shell ends with when there is no such command


class Family:
    """The command and its descendants, whatever process groups and sessions they made for themselves."""

    def __init__(self, words: list[str]) -> None:
        # Orphans among the descendants become children of this process, so none gets out of sight.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        self.child = os.posix_spawnp(words[0], words, os.environ, file_actions=[nothing])
        self.status: int | None = None
        """The command's exit status once it has ended, 128 + n where signal n ended it."""

    def reap(self) -> bool:
        """Take note of those that ended; whether any are left."""
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

    def members(self) -> set[int]:
        """Process ids of the descendants of this process.

        Zombies too: a process whose main thread has ended is shown as one while its other threads, and through them
        its children, are still there.
        """
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                # pid (name) state parent ...; the name may hold spaces and brackets.
                parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
            except OSError:  # ended since the folder was listed
                continue
            children.setdefault(int(parent), []).append(int(entry.name))
        found: set[int] = set()
        new = [os.getpid()]
        while new:
            new = [pid for parent in new for pid in children.get(parent, []) if pid not in found]
            found.update(new)
        return found

    def end(self, number: signal.Signals, seconds: float) -> bool:
        """Send a signal to each descendant, also to those that come while it waits; whether all ended in time."""
        told: set[int] = set()
        deadline = time.monotonic() + seconds
        while self.reap():
            if time.monotonic() >= deadline:
                return False
            for pid in self.members() - told:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                told.add(pid)
            time.sleep(0.02)
        return True


def main() -> int:
    """Run the command until it ends, the owner goes, or this process is told to stop."""
    grace, words = float(sys.argv[1]), sys.argv[2:]
    told_to_stop = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A handler, unlike SIG_IGN, is not passed on to the command.
        signal.signal(number, lambda number, frame: told_to_stop.append(number))
    try:
        family = Family(words)
    except OSError as error:
        print(f"keeper: {words[0]}: {error.strerror}", flush=True)
        return NOT_FOUND
    why = ""
    while not why:
        gone, _, _ = select.select([0], [], [], POLL_SECONDS)
        family.reap()
        if family.status is not None:
            why = f"the command ended with status {family.status}"
        elif told_to_stop:
            why = f"signal {told_to_stop[0]}"
        elif gone:
            why = "the owner is done or gone"
    print(f"keeper: {why}; ending all that it started", flush=True)
    if family.status is not None:
        family.end(signal.SIGKILL, 10.0)
    elif not family.end(signal.SIGTERM, grace):
        print(f"keeper: still there after {grace:g} s: SIGKILL", flush=True)
        family.end(signal.SIGKILL, 10.0)
    return family.status if family.status is not None else 0


if __name__ == "__main__":
    sys.exit(main())
