"""What one simulated run consists of: its random numbers, its clock, and the faults that its seed decides.

A run is a sequence of processes on one machine. Each process is a `Life`: it ends when its work is done, when a fault
of the disk or of the server stops it, or at a step at which the seed kills it or cuts the power. A step is one call of
the disk or one message to the server.
"""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Trace = Callable[[str], None]
Kind = Literal["calm", "kill", "power cut", "error", "full disk"]
LONGEST = 400
"""Steps after which a process that is to be killed was surely killed, or has ended."""
ANSWERS = "/answers-"
"""Part of the name of each file of the journal, of which each write and sync is in a promise."""
ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENOMEM)


class Killed(SystemExit):
    """The process ended without a word. As a SystemExit it leaves an event loop at once."""


class Violation(SystemExit):
    """A promise that was not kept. As a SystemExit it leaves an event loop at once."""


class SimClock:
    """Virtual time. The machine's clock jumps; the monotonic one only goes forward."""

    def __init__(self) -> None:
        self.now, self.offset = 1000.0, 1.7e9

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + self.offset

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.now += seconds
        return event.is_set()


@dataclass
class Weather:
    """How often the disk and the server misbehave, each as a probability, and how long a process works in vain."""

    throttled: float = 0.0
    failing: float = 0.0
    cut: float = 0.0
    """The connection is lost after the request was accepted."""
    garbage: float = 0.0
    unreachable: float = 0.0
    slow: float = 0.0
    """The answer comes later than the client waits."""
    clock_jumps: float = 0.0
    stalls: float = 0.0
    """The disk takes seconds for one call."""

    @classmethod
    def drawn(cls, chance: random.Random) -> Weather:
        """Most faults are absent from most runs, so that each is seen with few others, too."""
        return cls(*(chance.choice((0.0, 0.0, 0.02, 0.1, 0.4)) for _ in range(8)))


@dataclass
class Life:
    """One process."""

    number: int
    kind: Kind
    last_step: int
    """Step at which the fault is due."""
    clock: SimClock
    chance: random.Random
    weather: Weather
    trace: Trace
    errno: int = 0
    lasting: bool = False
    """An error of the disk comes again with each further call."""
    space: int | None = None
    """Bytes that fit on the disk; None: enough."""
    counted: str = ""
    """Only steps with this text count for `last_step`."""
    counts: int = 0
    steps: int = 0
    dead: bool = False
    visit_at: int | str = 0
    """Step in which a second process is started, by its number or by what it does; 0: none is."""
    visit: Callable[[Life], None] = lambda life: None
    failed: list[str] = field(default_factory=list)
    """Calls of the disk that a fault made fail."""

    def step(self, what: str, *, may_fail: bool = False) -> None:
        """Count a step; raise where the fault of this life is due.

        Raises
        ------
        Killed
            This is the last step, or a later one: blocks that clean up do nothing any more.
        OSError
            The disk refuses a call that `may_fail`.
        """
        if self.dead:
            raise Killed(self.kind)
        self.steps += 1
        self.counts += self.counted in what
        self.clock.now += 1e-4
        if self.weather.stalls and self.chance.random() < self.weather.stalls / 10:
            self.clock.now += self.chance.uniform(0.1, 5.0)
        if self.weather.clock_jumps and self.chance.random() < self.weather.clock_jumps / 5:
            self.clock.offset += self.chance.choice((-1e6, -3600, -1, 1, 3600, 1e6))
        self.trace(f"{self.number}.{self.steps:<4} {what}")
        if self.visit_at in (self.steps, what):
            self.visit_at = 0
            self.visit(self)
        if self.counts < self.last_step:
            return
        if self.kind in ("kill", "power cut"):
            self.die()
        if self.kind == "error" and may_fail and (self.lasting or not self.failed):
            self.fail(what, self.errno)
        if self.kind == "full disk" and self.space is None:
            self.space = int(2000 * self.chance.random() ** 2)

    def die(self) -> None:
        """End the process.

        Raises
        ------
        Killed
        """
        self.dead = True
        self.trace(f"{self.number}.{self.steps:<4} *** {self.kind}")
        raise Killed(self.kind)

    def fail(self, what: str, code: int) -> None:
        """Let a call of the disk fail.

        Raises
        ------
        OSError
        """
        self.failed.append(what)
        self.trace(f"{self.number}.{self.steps:<4} *** {os.strerror(code)}")
        raise OSError(code, os.strerror(code))


def draw_life(number: int, chance: random.Random, clock: SimClock, weather: Weather, trace: Trace) -> Life:
    """A life with a fault, or one that only the weather disturbs."""
    kinds: tuple[Kind, ...] = ("kill", "kill", "power cut", "power cut", "power cut", "error", "full disk", "calm")
    kind = chance.choice(kinds)
    life = Life(number, kind, int(LONGEST * chance.random() ** 1.5) + 1, clock, chance, weather, trace)
    if chance.random() < 0.4:
        life.counted, life.last_step = ANSWERS, int(40 * chance.random() ** 1.5) + 1
    if kind == "error":
        life.errno, life.lasting = chance.choice(ERRORS), chance.random() < 0.3
    return life


def calm_life(number: int, chance: random.Random, clock: SimClock, trace: Trace) -> Life:
    """A life without faults."""
    return Life(number, "calm", 0, clock, chance, Weather(), trace)


Record = dict[str, Any]
