"""Timing: warm-up, interleaved repeats, median and spread, versions and machine in the record.

The cases of one comparison run in turn, A B C A B C ...: other load on the machine then affects all of them. A ratio is
the median over turns of the ratio within a turn. Processor time of all threads is recorded too: on a shared machine it
varies less than elapsed time.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Times:
    """Seconds of each turn of one case."""

    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    """Processor time of all threads."""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """(third quartile - first quartile) / median."""
        first, _, third = statistics.quantiles(self.seconds, n=4)
        return (third - first) / self.median

    def ratio_to(self, other: Times) -> float:
        """Time of `other` divided by this one: median over turns of the ratio within a turn."""
        return statistics.median(b / a for a, b in zip(self.seconds, other.seconds, strict=True))

    def cpu_ratio_to(self, other: Times) -> float:
        """The same for processor time."""
        return statistics.median(b / a for a, b in zip(self.cpu_seconds, other.cpu_seconds, strict=True))


def interleave(cases: Mapping[str, Callable[[], Any]], turns: int = 7, warm_up: int = 1) -> dict[str, Times]:
    """Run every case `warm_up` times untimed, then all of them in turn, `turns` times."""
    for _ in range(warm_up):
        for case in cases.values():
            case()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(turns):
        for name, case in cases.items():
            begin, cpu_begin = time.perf_counter(), time.process_time()
            case()
            cpu_seconds[name].append(time.process_time() - cpu_begin)
            seconds[name].append(time.perf_counter() - begin)
    return {name: Times(tuple(seconds[name]), tuple(cpu_seconds[name])) for name in cases}


def machine() -> dict[str, Any]:
    """The machine and the versions that the figures belong to."""
    import numba
    import numpy
    import scipy

    import linksyn_gpu

    return {
        "linksyn_gpu": linksyn_gpu.__version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "numba": numba.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": numba.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def report(record: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    """Print a record as JSON, or its lines as text."""
    if as_json:
        print(json.dumps({**record, "machine": machine()}, indent=2))
    else:
        print("\n".join(lines))
