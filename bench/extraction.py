"""Glossary terms compared with the knowledge points of the OpenStax seeds: `python bench/extraction.py`

The glossary is openstax_key_terms.jsonl. Recall is the share of the seeds' knowledge points that were found, among
those that are terms of the glossary (section titles are not). The seeds list every term of a text, also short ones
inside longer ones, which the longest match leaves out on purpose. Terms found in addition to the seeds' are not errors;
their share is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from linksyn_gpu.knowledge.extract.glossary import read_glossary
from linksyn_gpu.knowledge.extract.plain_text import plain_text
from linksyn_gpu.knowledge.merge.normal_form import merge_key, normal_form

T = TypeVar("T")
DATA = Path(os.environ.get("LINKSYN_DATA") or Path(__file__).parents[2] / "shared" / "data")


def key(name: str) -> str:
    return merge_key(normal_form(name))


def fastest(work: Callable[[], T], turns: int = 3) -> tuple[float, T]:
    """Seconds of the fastest of several runs, and the result."""
    seconds = []
    for _ in range(turns):
        begin = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--missed", type=int, default=0, help="number of missed terms to print")
    options = parser.parse_args()
    seeds = [
        json.loads(line) for line in (options.data / "seed_openstax_en.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    glossary = read_glossary(options.data / "openstax_key_terms.jsonl")
    texts = ["\n".join([seed["question"], *seed["options"], seed["answer"]]) for seed in seeds]
    size = sum(len(text.encode()) for text in texts) / 1e6
    cleaning, cleaned = fastest(lambda: [plain_text(text) for text in texts])
    matching, found = fastest(lambda: [[glossary.names[place] for place in glossary.find(text)] for text in cleaned])
    keys = {key(name) for name in glossary.names}
    given_total = hit = extra = reported = 0
    missed: dict[str, int] = {}
    for seed, names in zip(seeds, found, strict=True):
        given = {key(kp): kp for kp in seed["knowledge_points"] if kp != seed.get("section")}
        given = {k: kp for k, kp in given.items() if k in keys}
        mine = {key(name) for name in names}
        given_total += len(given)
        hit += len(given.keys() & mine)
        reported += len(mine)
        extra += len(mine - given.keys())
        for k in given.keys() - mine:
            missed[given[k]] = missed.get(given[k], 0) + 1
    report = {
        "seeds": len(seeds),
        "terms": len(glossary),
        "given glossary terms": given_total,
        "recall": round(hit / given_total, 4),
        "found": reported,
        "found beyond the given": round(extra / reported, 4),
        "text MB": round(size, 3),
        "cleaning MB/s": round(size / cleaning, 2),
        "matching MB/s": round(size / matching, 2),
        "both MB/s": round(size / (cleaning + matching), 2),
    }
    print(json.dumps(report, indent=1))
    for name, n in sorted(missed.items(), key=lambda item: -item[1])[: options.missed]:
        print(f"{n:5d}  {name}")


if __name__ == "__main__":
    sys.exit(main())
