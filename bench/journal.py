"""How fast a run opens its journal and reads its answers again, and how large it is: plain against compressed.

    python bench/journal.py TEXTS.jsonl [--json] [--answers 200000]

The answers are made of the sentences of real texts (fields `question` and `answer`), each answer of others. Both
journals hold the same records, in the order in which they arrive with 256 requests in flight. `plain` is one segment
without an index, as older versions wrote it; `compressed` has full segments with their indexes. `resume` opens the
journal for writing and learns which requests are answered; `assemble` then reads every answer in the order of the
requests. The files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timing import interleave, report

from linksyn_gpu.llm.journal import SEGMENT_BYTES, Journal
from linksyn_gpu.llm.protocol import Completion, to_record

SENTENCES = 8
"""In one answer: about 1,000 characters."""
IN_FLIGHT = 256


def sentences(file: Path) -> list[str]:
    """Sentences of real texts."""
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    texts = (text for row in rows for text in (row["question"], row["answer"]) if text)
    return sorted({part for text in texts for part in re.split(r"(?<=[.?!])\s+", text) if len(part) > 40})


def records(n: int, pool: list[str]) -> Iterator[dict[str, Any]]:
    """Answers in the order in which they arrive."""
    chance = random.Random(7)
    order = sorted(range(n), key=lambda number: number + chance.uniform(0, IN_FLIGHT))
    for number in order:
        question, *rest = chance.sample(pool, SENTENCES)
        text = json.dumps({"items": [{"question": question, "answer": " ".join(rest)}]})
        read, written = 700 + chance.randrange(300), len(text) // 4
        yield to_record(
            Completion(f"{number:032x}", text, "", "stop", read, written, "model", 1, number, received=1.7e9 + number)
        )


def resume(folder: Path) -> None:
    """What a call does before it asks."""
    with Journal(folder, segment_bytes=sizes[folder]) as journal:
        journal.index()


def assemble(folder: Path, n: int) -> None:
    """What a call does after it asked."""
    with Journal(folder, segment_bytes=sizes[folder]) as journal:
        index = journal.index()
        for number in range(n):
            assert journal.get(f"{number:032x}", index) is not None


sizes: dict[Path, int] = {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--answers", type=int, default=200_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    pool, n = sentences(options.texts), options.answers
    results: dict[str, Any] = {"answers": n, "sentences": len(pool)}
    with tempfile.TemporaryDirectory() as scratch:
        plain, compressed = Path(scratch, "plain"), Path(scratch, "compressed")
        sizes.update({plain: 2**40, compressed: SEGMENT_BYTES})
        for folder in (plain, compressed):
            made = list(records(n, pool))
            with Journal(folder, segment_bytes=sizes[folder]) as journal:
                begin = time.process_time()
                for record in made:
                    journal.append(record)
                results[f"append_{folder.name}_cpu_us"] = (time.process_time() - begin) / n * 1e6
            del made
            results[f"bytes_{folder.name}"] = sum(file.stat().st_size for file in folder.iterdir())
        results["smaller"] = results["bytes_plain"] / results["bytes_compressed"]
        for name, work in {"resume": resume, "assemble": lambda folder: assemble(folder, n)}.items():
            cases = {folder.name: lambda folder=folder, work=work: work(folder) for folder in (plain, compressed)}
            times = interleave(cases, turns=options.turns)
            for case, measured in times.items():
                results[f"{name}_{case}_s"] = measured.median
            results[f"{name}_speedup"] = times["compressed"].ratio_to(times["plain"])
            results[f"{name}_cpu_speedup"] = times["compressed"].cpu_ratio_to(times["plain"])
    report(results, options.json, [f"{name}: {value:,.6g}" for name, value in results.items()])


if __name__ == "__main__":
    main()
