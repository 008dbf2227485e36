"""Runs campaigns under simulated faults: power cuts, kills, full disks, failing servers. Each run is one seed.

    python bench/faults.py [--runs 100000] [--first 0] [--workers 1] [--minutes M] [--json]
    python bench/faults.py --seed 4711 --trace

`tests/simulation/run.py` lists the promises that are checked after each process. A run that breaks one is printed with
its seed, which replays it; the exit code is 1 then. Nothing is written outside of the process: the disk, the clock and
the server are simulated.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timing import report

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.simulation.run import Finding, Result, simulate

CHUNK = 50
MOST_FINDINGS = 20
"""Findings after which the bench stops: more of them say nothing new."""


def outcome(seed: int) -> Result | Finding:
    """One run, or what it found."""
    try:
        return simulate(seed)
    except Finding as finding:
        return finding


def outcomes(seeds: range, workers: int) -> Iterator[Result | Finding]:
    """Runs in any number of processes; their results come in the order of the seeds."""
    if workers == 1:
        yield from map(outcome, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(outcome, seeds, CHUNK)


def run_all(seeds: range, workers: int, minutes: float | None) -> dict[str, Any]:
    """Simulate each seed until the time is over. Prints each finding."""
    begin = time.monotonic()
    lives, stopped, counts = Counter[str](), Counter[str](), Counter[str]()
    findings = []
    runs = 0
    for result in outcomes(seeds, workers):
        runs += 1
        if isinstance(result, Finding):
            findings.append(result.seed)
            print(f"seed {result.seed}: {result}", flush=True)
        else:
            lives += result.lives
            stopped += result.stopped
            counts.update(steps=result.steps, sent=result.sent, runs_with_lies=result.lies)
        over = minutes is not None and time.monotonic() - begin > 60 * minutes
        if over or len(findings) >= MOST_FINDINGS:
            break
    seconds = time.monotonic() - begin
    return {
        "runs": runs,
        "findings": findings,
        "seconds": seconds,
        "runs_per_second": runs / seconds,
        "processes": dict(lives.most_common()),
        "stopped_by": dict(stopped.most_common()),
        **counts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="stop after this time")
    parser.add_argument("--seed", type=int, help="run only this one")
    parser.add_argument("--trace", action="store_true", help="print each step of --seed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.seed is not None:
        try:
            print(simulate(options.seed, print if options.trace else lambda line: None))
        except Finding as finding:
            raise SystemExit(str(finding)) from None
        return
    record = run_all(range(options.first, options.first + options.runs), options.workers, options.minutes)
    lines = [
        f"{record['runs']:,} runs, {record['runs_per_second']:.1f} per second, findings {len(record['findings'])}",
        f"{record.get('steps', 0):,} steps of disk and server, {record.get('sent', 0):,} requests sent",
        *(f"{number:9,} processes: {name}" for name, number in record["processes"].items()),
        *(f"{number:9,} ended with {name}" for name, number in record["stopped_by"].items()),
    ]
    report(record, options.json, lines)
    if record["findings"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
