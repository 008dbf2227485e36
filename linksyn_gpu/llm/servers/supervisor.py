"""A server process that is started, watched, restarted a bounded number of times, and always stopped.

The server runs under `subreaper.py`, which ends it with all its descendants when this process closes a pipe or dies.
Its output goes to a log file. `Supervisor` is the `Watch` that a client asks while it waits.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import http.client
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from linksyn_gpu.clock import REAL_CLOCK, Clock
from linksyn_gpu.disk import PRIVATE_FOLDER, private
from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm.servers.watch import State

POLL_SECONDS = 0.1
HEALTH_SECONDS = 1.0
"""Time between two health checks of a server that is up."""
REPORT_SECONDS = 60.0
"""Time between two messages about a server that is still starting."""
TAIL_LINES = 12
REFUSED = 0


def to_stderr(line: str) -> None:
    """Print a message for the user."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Command:
    """A server that can be started, and restarted on the same port."""

    name: str
    """Its name in messages."""
    words: Sequence[str]
    environment: Mapping[str, str]
    port: int
    """On 127.0.0.1. `GET /health` answers 200 once the server takes requests, and 5xx when its engine is lost."""


class Process(Protocol):
    """A process that runs a server, as `subprocess.Popen` has it: the subreaper, which ends the server with itself."""

    pid: int
    returncode: int
    stdin: IO[bytes] | None

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...


def start_process(command: Command, log: IO[bytes], grace: float) -> subprocess.Popen[bytes]:
    """Start a server below the subreaper. It ends once `stdin` is closed, after `grace` seconds at most."""
    subreaper = str(Path(__file__).with_name("subreaper.py"))
    return subprocess.Popen(
        [sys.executable, "-P", subreaper, str(grace), *command.words],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=dict(command.environment),
        start_new_session=True,  # a terminal's Ctrl-C reaches only this process, which then stops the server
    )


def kill_process(process: Process) -> None:
    """SIGKILL to the subreaper and all that stayed in its process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def health(port: int) -> int | None:
    """HTTP status of a server's health check; `REFUSED`: nothing listens on the port; None: no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except ConnectionRefusedError:
        return REFUSED
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


@dataclass(frozen=True)
class Machine:
    """What a supervisor asks of the machine."""

    start: Callable[[Command, IO[bytes], float], Process] = start_process
    kill: Callable[[Process], None] = kill_process
    health: Callable[[int], int | None] = health
    clock: Clock = REAL_CLOCK


class Supervisor:
    """Keeps a server running. It is a context manager, entered once the server is up.

    Parameters
    ----------
    log_file : Path
        The server's output is appended to it.
    restarts : int
        Largest number of restarts. A server that was never up is not restarted.
    start_timeout : float
        Seconds within which it must be up.
    grace : float
        Seconds between SIGTERM and SIGKILL.
    say : callable
        Called with each message for the user.
    machine : Machine
        This one, except in tests.

    Raises
    ------
    EngineError
        On entry: the server ended before it was up, or took too long.
    """

    def __init__(
        self,
        command: Command,
        log_file: Path,
        *,
        restarts: int,
        start_timeout: float,
        grace: float = 20.0,
        say: Callable[[str], None] = to_stderr,
        machine: Machine | None = None,
    ) -> None:
        self._command, self._log_file = command, log_file
        self._restarts, self._start_timeout, self._grace = restarts, start_timeout, grace
        self._say = say
        self._machine = machine or Machine()
        self._clock = self._machine.clock
        self._state: State = "starting"
        self._detail = ""
        self._starts = 0
        self._log_start = 0
        self._leaving = threading.Event()
        self._settled = threading.Event()  # up for the first time, or failed
        self._process: Process
        self._thread = threading.Thread(target=self._run, name=f"{command.name} supervisor", daemon=True)

    @property
    def state(self) -> State:
        return self._state

    @property
    def detail(self) -> str:
        return self._detail

    @property
    def starts(self) -> int:
        return self._starts

    def __enter__(self) -> Self:
        try:
            self._thread.start()
            while not self._settled.wait(POLL_SECONDS):  # in small steps, so that Ctrl-C is noticed
                pass
            if self._state == "failed":
                raise EngineError(self._detail)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._leaving.set()
        try:
            self._thread.join()
        except BaseException:  # a second Ctrl-C
            self._kill()
            raise

    # ------------------------------------------------------------------ in the supervisor's thread

    def _run(self) -> None:
        name = self._command.name
        try:
            for restart in range(self._restarts + 1):
                if restart:
                    self._say(f"{name}: restart {restart} of {self._restarts}")
                why = self._one_life()
                if self._leaving.is_set():
                    return
                self._state = "starting"
                if not self._settled.is_set():  # it was never up: a restart would end the same way
                    self._fail(f"{name} could not be started: {why}")
                    return
                self._say(f"{name}: {why}")
            self._fail(f"{name} was started {self._starts} times and ended each time; the last time {why}")
        except OSError as error:
            self._fail(f"{name} could not be started: {error}")
        finally:  # nobody must wait for a thread that has ended, even by a bug
            if self._state != "failed" and not self._leaving.is_set():
                self._fail(f"{name} is no longer watched, because of a bug in this program")

    def _fail(self, what: str) -> None:
        self._detail = f"{what}. The log is {self._log_file}; its last lines:\n{self._tail()}"
        self._state = "failed"
        self._settled.set()

    def _one_life(self) -> str:
        """Start the server and wait until it ends; return why it ended."""
        command = self._command
        self._log_file.parent.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
        with open(self._log_file, "ab", opener=private) as log:
            now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            log.write(f"== {now} start {self._starts + 1}: {shlex.join(command.words)}\n".encode())
            log.flush()
            self._log_start = log.tell()
            self._process = self._machine.start(command, log, self._grace)
        self._starts += 1
        began = self._clock.monotonic()
        try:
            why = self._until_up(began)
            if why is None:
                self._state = "up"
                self._settled.set()
                self._say(f"{command.name}: ready after {self._clock.monotonic() - began:.0f} s")
                why = self._until_lost()
            return why
        finally:
            if self._leaving.is_set():
                self._say(f"{command.name}: stopping")
            self._end()

    def _until_up(self, began: float) -> str | None:
        """Wait until the server is healthy; return None then, or why it will not be."""
        reported = began
        while not self._clock.wait(self._leaving, POLL_SECONDS):
            if (ended := self._ended()) is not None:
                return ended
            if self._machine.health(self._command.port) == 200:
                return None
            now = self._clock.monotonic()
            if now - began > self._start_timeout:
                return f"it was not ready after {self._start_timeout:g} s"
            if now - reported > REPORT_SECONDS:
                reported = now
                last = self._tail(1).strip()
                self._say(
                    f"{self._command.name}: still starting after {now - began:.0f} s; last line of its log: {last}"
                )
        return "stopped"

    def _until_lost(self) -> str:
        """Wait until the server has ended or reports that its engine is lost; return which."""
        checked = self._clock.monotonic()
        while not self._clock.wait(self._leaving, POLL_SECONDS):
            if (ended := self._ended()) is not None:
                return ended
            if self._clock.monotonic() - checked > HEALTH_SECONDS:
                checked = self._clock.monotonic()
                status = self._machine.health(self._command.port)
                if status == REFUSED:
                    return "it no longer listens on its port"
                # A busy server may not answer in time. The client's own limits deal with that.
                if status is not None and status >= 500:
                    return f"it reported a failure (HTTP {status} at /health)"
        return "stopped"

    def _ended(self) -> str | None:
        status = self._process.poll()
        return None if status is None else f"it ended with status {status}"

    def _end(self) -> None:
        """Let the subreaper end the server, and make sure that the subreaper ends."""
        assert self._process.stdin is not None
        self._state = "starting"
        self._process.stdin.close()
        try:
            self._process.wait(self._grace + 15.0)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()
        if self._process.returncode < 0:  # the subreaper was killed, and the server may live on
            self._kill()

    def _kill(self) -> None:
        if self._starts:
            self._machine.kill(self._process)

    def _tail(self, most: int = TAIL_LINES) -> str:
        """The last lines of the log, since the last start."""
        try:
            with self._log_file.open("rb") as log:
                log.seek(max(self._log_start, log.seek(0, os.SEEK_END) - 64 * 1024))
                text = log.read().decode(errors="replace")
        except OSError as error:
            return f"(it cannot be read: {error.strerror})"
        lines = collections.deque((line for line in text.splitlines() if line.strip()), most)
        return "\n".join(f"  {line[:300]}" for line in lines)
