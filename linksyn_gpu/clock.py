"""The clock, as a small interface. `REAL_CLOCK` is the machine's; a simulated one is in `tests/simulation/`."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Time in seconds."""

    def monotonic(self) -> float:
        """Time that never goes back, from an arbitrary origin."""
        ...

    def time(self) -> float:
        """Time since 1970 by the machine's clock, which may be set back."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for an event, but no longer than some time; whether it is set."""
        ...


class RealClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)


REAL_CLOCK: Clock = RealClock()
