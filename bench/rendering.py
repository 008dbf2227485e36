"""Processor time per request of making the requests of a run, also against an older version.

    python bench/rendering.py RUN [--against FOLDER] [--turns 5] [--json]

RUN is the folder of a run whose paths are walked; nothing in it is changed. FOLDER is a checkout of the version to
compare with. Each turn is a process of its own: it makes all requests once to warm up, then twice more. The requests of
both versions are compared by their hash.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from timing import machine

ROOT = Path(__file__).parents[1]
REPEATS = 2
TURN = """
import contextlib, hashlib, json, sys, tempfile, time
from pathlib import Path
from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.synthesis.requests import RequestsWriter, Sources, path_batches
from linksyn_gpu.tables import Cell

def make(repeats):
    with RequestsWriter(sources, cells, opened, out / "tasks.parquet") as writer:
        return sum(1 for _ in range(repeats) for part in parts for _ in writer.write(path_batches(part)))

@contextlib.contextmanager
def opened(number):
    yield out / f"requests-{number:05}.jsonl"

with Workspace(sys.argv[1], create=False, lock=False) as ws, tempfile.TemporaryDirectory() as folder:
    out = Path(folder)
    config = SynthesisConfig(engine="batch", model="m")
    sources = Sources(store.read_kp_names(ws), store.read_seed_table(ws).table, config)
    cells = [Cell(cell["discipline"], cell["difficulty"], cell["asked"]) for cell in store.read_plan(ws)]
    parts = list(store.read_rows(ws, "paths.parquet", 0, store.count_rows(ws, "paths.parquet")))
    make(1)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(out.glob("*.jsonl")))).hexdigest()
    begin = time.process_time()
    n = make(int(sys.argv[2]))
    print(json.dumps([n, time.process_time() - begin, digest]))
"""
"""A turn as a script: `python -c` imports the package of the folder in which it runs."""


def turn(code: Path, run: Path) -> tuple[float, str]:
    """Seconds of processor time per request of the version in `code`, and the hash of the requests."""
    command = [sys.executable, "-c", TURN, str(run.resolve()), str(REPEATS)]
    environment = {**os.environ, "PYTHONPATH": str(code)}
    printed = subprocess.run(command, cwd=code, env=environment, check=True, stdout=subprocess.PIPE).stdout
    n, seconds, digest = json.loads(printed)
    return seconds / n, digest


def main() -> None:
    """Run the turns of both versions one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    versions = {"this": ROOT, **({"before": options.against} if options.against else {})}
    seconds: dict[str, list[float]] = {name: [] for name in versions}
    digests = set()
    for _ in range(options.turns):
        for name, code in versions.items():
            spent, digest = turn(code, options.run)
            seconds[name].append(spent)
            digests.add(digest)
    record: dict[str, Any] = {"same_requests": len(digests) == 1, "us_per_request": {}}
    for name, spent in seconds.items():
        record["us_per_request"][name] = [round(1e6 * one, 1) for one in spent]
        if not options.json:
            median = statistics.median(spent)
            print(
                f"{name:7} {1e6 * median:.1f} us of processor time per request, {1 / median:,.0f} per second and core"
            )
    if "before" in seconds:
        ratios = [b / a for a, b in zip(seconds["this"], seconds["before"], strict=True)]
        record["ratio"] = round(statistics.median(ratios), 2)
        if not options.json:
            same = "the same requests" if record["same_requests"] else "OTHER REQUESTS"
            print(f"{record['ratio']} times as fast as before; {same}")
    if options.json:
        print(json.dumps({**record, "machine": machine()}, indent=1))


if __name__ == "__main__":
    main()
