"""How fast requests reach a server and answers reach the disk, and how much memory that takes.

    python bench/synthesis.py [--json] [--requests 100000] [--latency 0.05] [--slots 256] [--concurrency 512]

The server computes nothing: each request takes `latency` seconds and `slots` are served at a time, hence the ideal rate
is slots / latency. The server is a separate process and shares the machine's cores with the client. Requests are as
long as those of a campaign (2,800 characters of prompt and a schema). Answers are parsed, checked and journaled as in a
campaign. The target is 1,500 requests per second: the model on one node needs far fewer. The resident memory of the
client is sampled during the run; with a million requests it shows whether anything grows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timing import report

from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.client import Limits, Stats
from linksyn_gpu.llm.dispatch import ask_all
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.synthesis.answers import validator
from linksyn_gpu.synthesis.prompts import Task, answer_schema, render

SEED = {
    "question": "A crane lifts a load of 500 kg by 12 m within 40 s at constant speed. Find the mean power that its "
    "motor must deliver when a fifth of it is lost in the gears, and say what changes when the time is halved. " * 2,
    "answer": "1.84 kW; twice as much: the work stays the same and is done in half the time.",
}
TASK = Task((SEED,) * 4, ("work", "power", "efficiency"), "physics", 3, "calculation", "en")


def requests(n: int) -> Iterator[dict[str, Any]]:
    """Requests that differ only in their ids and seeds."""
    body = {
        "model": "auto",
        "messages": render(TASK),
        "temperature": 0.7,
        "top_p": 0.95,
        "max_tokens": 1024,
        "response_format": {"type": "json_schema", "json_schema": {"name": "qa", "schema": answer_schema(TASK)}},
    }
    for i in range(n):
        yield {"custom_id": f"{i:032x}", "body": {**body, "seed": i}}


def resident() -> int:
    """Resident memory of this process in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Send all requests to the fake server, and sample memory meanwhile."""
    command = [sys.executable, str(Path(__file__).with_name("fake_llm.py"))]
    command += ["--latency", str(options.latency), "--slots", str(options.slots)]
    samples: list[tuple[int, int]] = []
    step = max(1, options.requests // 50)

    def sample(stats: Stats) -> None:
        if stats.done % step == 0:
            samples.append((stats.done, resident()))

    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        try:
            with Journal(folder) as journal:
                begin, cpu_begin = time.perf_counter(), time.process_time()
                stats = ask_all(
                    requests(options.requests),
                    Engine(url, "fake"),
                    journal,
                    limits=Limits(concurrency=options.concurrency),
                    validate=validator(None),
                    on_progress=sample,
                )
                seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
                answered = len(journal.index())
            with urllib.request.urlopen(f"{url}/models") as reply:
                seen = json.load(reply)
        finally:
            server.kill()
    if not (stats.completed == answered == seen["requests"] == options.requests):
        raise SystemExit(f"{stats.completed} completed, {answered} in the journal, {seen['requests']} at the server")
    ideal = options.slots / options.latency
    sizes = [size / 2**20 for _, size in samples]
    growth = statistics.median(sizes[-5:]) - statistics.median(sizes[len(sizes) // 5 :][:5])
    return {
        "requests": options.requests,
        "latency_s": options.latency,
        "slots": options.slots,
        "concurrency": options.concurrency,
        "requests_per_s": options.requests / seconds,
        "share_of_ideal": options.requests / seconds / ideal,
        "client_cpu_us_per_request": 1e6 * cpu_seconds / options.requests,
        "most_at_work_in_server": seen["most"],
        "server_busy_share": stats.summary()["busy_share"],
        "resident_mib": [round(size, 1) for size in sizes],
        "resident_growth_mib": round(growth, 1),
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--concurrency", type=int, default=512)
    record = measure(parser.parse_args())
    lines = [
        f"{record['requests']:,} requests, {record['slots']} slots of {1e3 * record['latency_s']:.0f} ms: "
        f"{record['requests_per_s']:,.0f} requests/s, {100 * record['share_of_ideal']:.0f}% of the ideal rate",
        f"  client: {record['client_cpu_us_per_request']:.0f} us of processor time per request; "
        f"most at work in the server: {record['most_at_work_in_server']}",
        f"  resident memory: {record['resident_mib'][0]:.0f} MiB at the start, {record['resident_mib'][-1]:.0f} MiB at "
        f"the end, change after the first fifth {record['resident_growth_mib']:+.1f} MiB",
    ]
    report(record, parser.parse_args().json, lines)


if __name__ == "__main__":
    main()
