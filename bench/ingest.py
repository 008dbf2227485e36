"""Records per second and peak memory of `linksyn-gpu ingest`, also against an older version.

    python bench/ingest.py [--records 100000 1000000] [--against FOLDER] [--json]

FOLDER is a checkout of the version to compare with. Each case is a process of its own, on a file that is made with a
fixed seed: English questions of about 150 characters, `plain` with a question and an answer only, `full` with all
fields. Its start, with the imports, counts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FORMATS = ("jsonl", "parquet")
ROOT = Path(__file__).parents[1]


def record(number: int, full: bool, words: list[str], rng: random.Random) -> dict[str, Any]:
    """A record with texts that no other record has."""
    made: dict[str, Any] = {
        "question": " ".join(rng.choices(words, k=24)) + f" {number}?",
        "answer": " ".join(rng.choices(words, k=12)),
    }
    if full:
        made |= {"id": f"s{number}", "options": [], "discipline": "physics", "difficulty": 1 + number % 5}
        made |= {"knowledge_points": rng.sample(words, 3), "language": "en", "source": "bench", "license": "CC0"}
    return made


def make(folder: Path, n: int, full: bool) -> dict[str, Path]:
    """Write the same records in each format."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = random.Random(7)
    syllables = [a + b for a in "bcdfglmnprst" for b in ("a", "e", "i", "o", "un", "er")]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(20_000)] + ["the", "of", "is"] * 2000
    paths = {name: folder / f"{n}-{'full' if full else 'plain'}.{name}" for name in FORMATS}
    writer = None
    with paths["jsonl"].open("w", encoding="utf-8") as lines:
        for first in range(0, n, 50_000):
            rows = [record(number, full, words, rng) for number in range(first, min(n, first + 50_000))]
            lines.writelines(json.dumps(row) + "\n" for row in rows)
            table = pa.Table.from_pylist(rows)
            writer = writer or pq.ParquetWriter(paths["parquet"], table.schema)
            writer.write_table(table)
    assert writer is not None
    writer.close()
    return paths


def measure(code: Path, file: Path, n: int) -> dict[str, float]:
    """Ingest one file with the version in `code`."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "linksyn_gpu", "ingest", str(file), "--out", f"{out}/run"]
        begin = time.perf_counter()
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, cwd=code, **quiet)  # -m imports the package of the folder
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu, "records_per_second": n / seconds, "peak_mb": usage.ru_maxrss / 1e3}


def main() -> None:
    """Run and print the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--against", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        warm = make(Path(folder), 100, full=False)["jsonl"]
        measure(ROOT, warm, 100)  # compiles the kernels, once per installation
        for n in options.records:
            for full in (False, True):
                for name, path in make(Path(folder), n, full).items():
                    row: dict[str, Any] = {"records": n, "fields": "full" if full else "plain", "format": name}
                    row |= measure(ROOT, path, n)
                    if options.against is not None:
                        before = measure(options.against, path, n)
                        row |= {"cpu_ratio": before["cpu_seconds"] / row["cpu_seconds"]}
                        row |= {"ratio": before["seconds"] / row["seconds"], "peak_mb_before": before["peak_mb"]}
                    found.append(row)
                    if not options.json:
                        print(
                            "  ".join(f"{k} {v:,.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
                        )
                    path.unlink()
    if options.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
