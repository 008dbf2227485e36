"""Near-duplicates: recall and precision against all pairs, and time and memory for many texts.

    python bench/duplicates.py [--data FOLDER] [--rows N] [--texts N] [--json]

Without a folder of real seeds (or LINKSYN_DATA) only time is measured. The many texts are made from
examples/seeds.jsonl: questions with words drawn from the others; one in ten is a copy with a word changed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from timing import report

from linksyn_gpu.quality.duplicates import N_GRAM, THRESHOLD, _jaccard, clusters_of, compared_text
from linksyn_gpu.text.ngrams import gram_sets

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "seeds.jsonl"


@njit(nogil=True)
def all_pairs(indptr: Any, grams: Any, threshold: float) -> Any:
    """Every pair of rows whose Jaccard index reaches the threshold."""
    found = []
    for a in range(indptr.size - 1):
        size_a = indptr[a + 1] - indptr[a]
        for b in range(a + 1, indptr.size - 1):
            size_b = indptr[b + 1] - indptr[b]
            if min(size_a, size_b) >= threshold * max(size_a, size_b) and _jaccard(indptr, grams, a, b) >= threshold:
                found.append((a, b))
    return found


def quality(texts: list[str]) -> dict[str, Any]:
    """Pairs that are found, as the share of all pairs; and members of clusters that are like no other member."""
    sets = gram_sets(texts, N_GRAM)
    pairs = np.array(all_pairs(sets.indptr, sets.grams, THRESHOLD)).reshape(-1, 2)
    cluster = clusters_of(texts)
    together = cluster[pairs[:, 0]] == cluster[pairs[:, 1]]
    members = np.flatnonzero(np.bincount(cluster, minlength=len(texts))[cluster] > 1)
    return {
        "texts": len(texts),
        "pairs": len(pairs),
        "recall": float(together.mean()) if len(pairs) else None,
        "members": len(members),
        "precision": float(np.isin(members, pairs).mean()) if len(members) else None,
    }


def made(n: int) -> list[str]:
    """Texts of about 40 words."""
    rng = random.Random(0)
    words = [w for line in EXAMPLES.open(encoding="utf-8") for w in json.loads(line)["question"].split()]
    texts: list[str] = []
    for number in range(n):
        if number % 10 == 9:
            copy = texts[rng.randrange(len(texts))].split()
            copy[rng.randrange(len(copy))] = rng.choice(words)
            texts.append(" ".join(copy))
        else:
            texts.append(" ".join(rng.choices(words, k=rng.randint(25, 60))))
    return texts


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("LINKSYN_DATA"))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    record: dict[str, Any] = {}
    if options.data:
        rows = [
            json.loads(line)
            for file in sorted(Path(options.data).glob("*.jsonl"))
            for line in file.open(encoding="utf-8")
        ]
        texts = [compared_text(r["question"], r.get("options")) for r in rows if r.get("question")][: options.rows]
        record["quality"] = quality(texts)
    texts = made(options.texts)
    clusters_of(texts[:100])  # compiles
    began, processor = time.perf_counter(), time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cluster = clusters_of(texts)
    record["speed"] = {
        "texts": len(texts),
        "seconds": time.perf_counter() - began,
        "processor_seconds": time.process_time() - processor,
        "repeats": int((cluster != np.arange(cluster.size)).sum()),
        "peak_mib_with_texts": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "texts_mib": before >> 10,
    }
    lines = [
        f"{name}: " + ", ".join(f"{key} {value}" for key, value in found.items()) for name, found in record.items()
    ]
    report(record, options.json, lines)


if __name__ == "__main__":
    main()
