"""Time, memory and disk of each stage on synthetic banks of growing size.

    python bench/scale.py [--seeds 100000 1000000] [--asked 1000000] [--folder DIR] [--format jsonl] [--json]

A campaign has as many paths as seeds. The first ones, at most `--asked`, become requests, which a server on this
machine that computes nothing answers (`bench/fake_llm.py --varied`; its processor time is not counted); the QA are
curated and exported. Then the campaign grows to all of its paths.

Each stage is a process of its own. Its memory is sampled every 50 ms: `anonymous` is what it allocated, and cannot be
taken from it without swapping; `resident` also has the pages of mapped files that it touched, which the system drops
when another process needs the space. `maxrss` is the largest resident memory by the kernel's count (wait4). Processor
time is of all threads; on a machine with other work it varies less than elapsed time.

The bank is generated a part at a time and deleted afterwards, and so is the run folder. To measure a further stage, add
it to `STAGES`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from banks import describe, write_bank
from timing import machine

ROOT = Path(__file__).parents[1]
STAGES = {
    "ingest": "ingest {bank} --out {run}",
    "build": "build {run}",
    "walk": "walk {run} --paths {asked}",
    "requests": "synthesize {run} --engine batch --model fake --question-types default:open=1",
    "answers": "synthesize {run} --force --engine openai --base-url {server} --concurrency 256"
    " --question-types default:open=1",
    "curate": "curate {run}",
    "export": "export {run} --to {dataset} --teacher-terms none",
    "walk on": "walk {run} --paths {paths}",
}
"""Name -> arguments of linksyn-gpu, in the order in which they run. `answers` writes its requests again."""
INTERVAL = 0.05
LIMIT = 6e9
"""Peak of anonymous memory that no stage may reach, in bytes."""


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run the server that answers, and yield its address."""
    command = [sys.executable, str(Path(__file__).with_name("fake_llm.py")), "--varied", "--latency", "0.02"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.terminate()
        process.wait()


class MemoryPeak(threading.Thread):
    """Samples the memory of a process until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self.anonymous = self.resident = 0

    def run(self) -> None:
        try:
            while True:
                memory = self._process.memory_info()
                self.resident = max(self.resident, memory.rss)
                self.anonymous = max(self.anonymous, memory.rss - memory.shared)
                time.sleep(INTERVAL)
        except psutil.NoSuchProcess:
            return


def measure(arguments: list[str]) -> dict[str, float]:
    """Run a stage as a process."""
    command = [sys.executable, "-m", "linksyn_gpu", *arguments]
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        peak = MemoryPeak(process.pid)
        peak.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        peak.join()
        if process.returncode not in (0, 3):  # 3: the requests have no answers yet
            output.seek(0)
            sys.stderr.buffer.write(output.read()[-4000:])
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "anonymous_gb": peak.anonymous / 1e9,
        "resident_gb": peak.resident / 1e9,
        "maxrss_gb": usage.ru_maxrss * 1024 / 1e9,
    }


def size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def scale(folder: Path, n_seeds: int, asked: int, suffix: str, show: bool) -> list[dict[str, Any]]:
    """Make a bank, and run all stages on it."""
    bank = folder / f"bank-{n_seeds}.{suffix}"
    run, dataset = folder / f"run-{n_seeds}", folder / f"dataset-{n_seeds}"
    begin = time.perf_counter()
    write_bank(bank, n_seeds)
    rows: list[dict[str, Any]] = []
    if show:
        made = f"{bank.stat().st_size / 1e9:.2f} GB, made in {time.perf_counter() - begin:.0f} s"
        print(f"{n_seeds:,} seeds ({made}), {describe(n_seeds)['kps']:,} KPs at most", flush=True)
    try:
        with server() as address:
            values = {"bank": bank, "run": run, "dataset": dataset, "server": address}
            values |= {"paths": n_seeds, "asked": min(asked, n_seeds)}
            for name, arguments in STAGES.items():
                before = size(run) + size(dataset)
                found = measure([word.format(**values) for word in arguments.split()])
                disk = (size(run) + size(dataset) - before) / 1e9
                rows.append({"seeds": n_seeds, "stage": name, **found, "disk_gb": disk})
                if show:
                    row = rows[-1].items()
                    print("  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in row), flush=True)
    finally:
        bank.unlink(missing_ok=True)
        for made_folder in (run, dataset):
            shutil.rmtree(made_folder, ignore_errors=True)
    return rows


def growth(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Anonymous bytes per further seed of each stage, from each size to the next."""
    found = []
    for stage in STAGES:
        of = [row for row in rows if row["stage"] == stage]
        for small, large in itertools.pairwise(of):
            seeds = large["seeds"] - small["seeds"]
            added = 1e9 * (large["anonymous_gb"] - small["anonymous_gb"])
            found.append(
                {"stage": stage, "from": small["seeds"], "to": large["seeds"], "bytes_per_seed": added / seeds}
            )
    return found


def main() -> None:
    """Run and print all sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--asked", type=int, default=1_000_000, help="paths that become requests, at most")
    parser.add_argument("--folder", type=Path, help="where the banks and runs are; 50 GB for 10 million seeds")
    parser.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for n_seeds in options.seeds:
            rows += scale(Path(folder), n_seeds, options.asked, options.format, not options.json)
    result = {"stages": rows, "growth": growth(rows), "asked": options.asked, "format": options.format}
    if options.json:
        print(json.dumps({**result, "machine": machine()}, indent=1))
    else:
        for row in result["growth"]:
            sizes = f"{row['from']:>10,} -> {row['to']:>10,} seeds"
            print(f"{row['stage']:9} {sizes}: {row['bytes_per_seed']:.0f} bytes per seed")
    highest = max(row["anonymous_gb"] for row in rows)
    if highest * 1e9 >= LIMIT:
        raise SystemExit(f"anonymous memory reached {highest:.1f} GB; at most {LIMIT / 1e9:.0f} GB are allowed")


if __name__ == "__main__":
    main()
