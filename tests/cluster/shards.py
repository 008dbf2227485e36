"""Functions of shards for the tests: worker processes import them from here."""

import os
import signal
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from linksyn_gpu.errors import DataError


def square(n):
    return n * n


@dataclass(frozen=True)
class Scaled:
    """Depends on state that is made once per process."""

    factor: int

    @cached_property
    def state(self):
        return [self.factor]

    def __call__(self, n):
        return self.state[0] * n


@dataclass(frozen=True)
class Dies:
    """Kills its process for the given shards: always, or until the folder says that it did."""

    folder: Path
    shards: tuple = ()
    always: bool = False

    def __call__(self, n):
        if n in self.shards:
            died = self.folder / str(n)
            if self.always or not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return n * n


def fails(n):
    if n == 5:
        raise DataError(f"row {n} is damaged")
    if n == 7:
        raise KeyError("no")
    return n


def prints(n):
    print("noise", n)
    return n


def pid(n):
    time.sleep(0.02)
    return os.getpid()
