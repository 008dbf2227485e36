"""What a run loses when it is killed many times: SIGKILL at random moments, against a local server.

    python bench/kills.py SEEDS [--json] [--paths 2000] [--kills 30] [--seed 0]

The run is started again on the same folder after each kill, and ends after the last one. The bench counts requests,
answers in the journal, answers that are there twice (must be 0) or missing (must be 0), and requests that were sent
again because they were in flight when the process died.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from timing import report

from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.synthesis.requests import read_requests, requests_paths

CONCURRENCY = 16


def run_with_kills(seeds: list[str], folder: Path, paths: int, kills: int, seed: int) -> dict[str, Any]:
    """Kill a campaign `kills` times, and count."""
    fake = [sys.executable, str(Path(__file__).with_name("fake_llm.py")), "--latency", "0.05", "--slots", "16"]
    chance = random.Random(seed)
    with subprocess.Popen(fake, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        command = [sys.executable, "-m", "linksyn_gpu", "run", *seeds, "--out", str(folder), "--paths", str(paths)]
        command += ["--engine", "openai", "--base-url", url, "--concurrency", str(CONCURRENCY)]
        moments = []
        try:
            while True:
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                if len(moments) == kills:
                    code = process.wait()
                    break
                moment = chance.uniform(0.3, 6.0)
                try:
                    code = process.wait(moment)
                    break
                except subprocess.TimeoutExpired:
                    process.kill()
                    if process.wait() == -signal.SIGKILL:
                        moments.append(round(moment, 2))
            with urllib.request.urlopen(f"{url}/models") as reply:
                sent = json.load(reply)["requests"]
        finally:
            server.kill()
    if code != 0:
        raise SystemExit(f"the last run ended with exit code {code}")
    asked = [request["custom_id"] for path in requests_paths(folder) for request in read_requests(path)]
    with Journal(folder / "journal", writable=False) as journal:
        answers = Counter(record["id"] for _, record in journal.lines() if record is not None)
        damaged = journal.index().damaged
    return {
        "paths": paths,
        "kills": len(moments),
        "killed_after_s": moments,
        "requests": len(asked),
        "answers": answers.total(),
        "duplicates": sum(n - 1 for n in answers.values()),
        "lost": len(set(asked) - set(answers)),
        "damaged_lines": damaged,
        "sent_again": sent - len(asked),
        "most_in_flight": CONCURRENCY,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", nargs="+")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--paths", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        record = run_with_kills(options.seeds, Path(folder) / "out", options.paths, options.kills, options.seed)
    record["seconds"] = time.perf_counter() - begin
    line = ", ".join(f"{name.replace('_', ' ')} {record[name]:,}" for name in ("kills", "requests", "answers"))
    line += f", duplicates {record['duplicates']}, lost {record['lost']}, damaged lines {record['damaged_lines']}"
    report(record, options.json, [line, f"sent again after a kill: {record['sent_again']:,}"])


if __name__ == "__main__":
    main()
