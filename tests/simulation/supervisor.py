"""A simulated machine on which servers start, die, hang and stay behind, as a seed decides; its time is virtual."""

from __future__ import annotations

import io
import random
import subprocess
import threading
from pathlib import Path
from typing import IO

from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm.servers.supervisor import REFUSED, Command, Machine, Supervisor
from tests.simulation.world import SimClock, Violation

RESTARTS, START_TIMEOUT, GRACE = 3, 60.0, 20.0
NEVER = float("inf")


class SimProcess:
    """A server below its subreaper."""

    def __init__(self, clock: SimClock, chance: random.Random, wrong: list[str]) -> None:
        self._wrong = wrong
        self.pid, self.returncode = chance.randrange(2, 2**15), 0
        self.stdin: IO[bytes] | None = io.BytesIO()
        self._clock = clock
        self.ready_at = clock.now + chance.choice((0.05, 5.0, 50.0, 90.0))
        self.dies_at = clock.now + chance.choice((0.0, 3.0, 40.0, 200.0, NEVER, NEVER))
        self.lost_at = clock.now + chance.choice((60.0, 300.0, NEVER, NEVER))
        """From then on it is not healthy."""
        self.failing = chance.choice((REFUSED, 500, 503))
        self._busy = random.Random(chance.random())
        self._stubborn = chance.random() < 0.2
        """It ends only by SIGKILL."""
        self._orphan = chance.random() < 0.2
        """The subreaper is killed, and the server lives on."""
        self.was_healthy = False
        self._ended = self._killed = False

    @property
    def lives(self) -> bool:
        """Whether any process of it runs."""
        if self._killed:
            return False
        ended = self._ended or self._clock.now >= self.dies_at
        return not ended or self._orphan

    def poll(self) -> int | None:
        if not self._killed and not self._ended and self._clock.now < self.dies_at:
            return None
        self.returncode = -9 if self._killed or self._orphan else 1
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        assert self.stdin is not None
        if self.poll() is None and self.stdin.closed and not self._stubborn:
            self._clock.now += 1.0
            self._ended = True
        ended = self.poll()
        if ended is None:
            if timeout is None:
                self._wrong.append("the supervisor waits without end for a server that does not end")
                self._killed = True
                return -9
            self._clock.now += timeout
            raise subprocess.TimeoutExpired("server", timeout)
        return ended

    def kill(self) -> None:
        self._killed = True

    def health(self) -> int | None:
        if self.poll() is not None or self._clock.now < self.ready_at:
            return REFUSED
        if self._clock.now >= self.lost_at:
            return self.failing
        if self._busy.random() < 0.1:
            return None
        self.was_healthy = True
        return 200


class SimMachine(SimClock):
    """Starts servers, one at a time; its clock ends the work at a drawn time."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.leave_at = self.now + self.chance.choice((10.0, 100.0, 1000.0))
        self.works = False
        """The supervisor was entered."""
        self.left = threading.Event()
        self.servers: list[SimProcess] = []
        self.wrong: list[str] = []
        self.supervisor: Supervisor

    def start(self, command: Command, log: IO[bytes], grace: float) -> SimProcess:
        if any(server.lives for server in self.servers):
            self.wrong.append("a server is started while another one lives")
        if self.servers and not any(server.was_healthy for server in self.servers):
            self.wrong.append("a server that was never up is started again")
        if self.chance.random() < 0.05:
            raise FileNotFoundError(2, "No such file or directory", "python")
        self.servers.append(SimProcess(self, self.chance, self.wrong))
        log.write(b"starting\n")
        return self.servers[-1]

    def health(self, port: int) -> int | None:
        return self.servers[-1].health()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if self.supervisor.state == "up":
            self.works = True
            if not self.servers[-1].was_healthy:
                self.wrong.append("a server counts as up, and was never healthy")
        if self.works and self.now >= self.leave_at:
            self.left.set()
            event.set()
        return super().wait(event, seconds)


def supervise(seed: int, log: Path) -> SimMachine:
    """Run a supervisor until the work is over, or it gives up.

    Raises
    ------
    Violation
        There were two servers at a time, one was left, or the states and errors do not fit what happened.
    """
    machine = SimMachine(seed)
    interface = Machine(machine.start, lambda process: process.kill(), machine.health, machine)  # type: ignore[attr-defined]
    command = Command("sim", ["server"], {}, 1)
    options = {"restarts": RESTARTS, "start_timeout": START_TIMEOUT, "grace": GRACE}
    supervisor = Supervisor(command, log, say=lambda line: None, machine=interface, **options)  # type: ignore[arg-type]
    machine.supervisor = supervisor
    refused = False
    try:
        with supervisor:
            while supervisor.state != "failed" and not machine.left.wait(0.001):
                pass
    except EngineError:
        refused = True
    was_up = any(server.was_healthy for server in machine.servers)
    wrong = machine.wrong
    if any(server.lives for server in machine.servers):
        wrong.append("a server is left behind")
    if len(machine.servers) > RESTARTS + 1:
        wrong.append(f"{len(machine.servers)} starts")
    if not refused and not was_up and not machine.left.is_set():
        wrong.append("the work began without a server")
    if wrong:
        raise Violation(f"seed {seed}: {'; '.join(wrong)}")
    return machine
