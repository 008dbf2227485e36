"""Quality and cost of merging names: `python bench/merging.py [--sizes 10000,100000,1000000]`

Quality: tests/data/kp_pairs*.tsv, pairs labelled by the authors of the rules. The rules were developed on round 1
(kp_pairs.tsv). Round 2 was written without looking at the rules and then used to improve them. Round 3 was written
before that and is used for measuring only. Each pair is judged twice: in a bank of its two names, and in one bank of
all pairs of its file, where merges could chain. Precision is the share of merged pairs that are labelled the same,
recall the share of pairs labelled the same that are merged.

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
from functools import cache
from pathlib import Path

from linksyn_gpu.knowledge.merge.merge import Mention, MergeOptions, merge_names
from linksyn_gpu.knowledge.merge.normal_form import merge_key, normal_form
from linksyn_gpu.knowledge.merge.synonyms import synonyms_in_text
from linksyn_gpu.knowledge.merge.units import load_homographs
from linksyn_gpu.taxonomy.disciplines import load_taxonomy

PAIRS = Path(__file__).parents[1] / "tests" / "data" / "kp_pairs.tsv"
ROUNDS = {1: PAIRS, 2: PAIRS.with_name("kp_pairs_round2.tsv"), 3: PAIRS.with_name("kp_pairs_round3.tsv")}


def read_pairs(path: Path = PAIRS) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        lines = [line for line in file if not line.startswith("#")]
    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def sides(pair: dict[str, str]) -> list[tuple[str, str | None]]:
    return [(pair[side], pair[f"{side}_discipline"] or None) for side in ("left", "right")]


@cache
def shipped() -> MergeOptions:
    """The tables that the package ships, parsed once: 0.1 s."""
    return MergeOptions(homographs=load_homographs(), taxonomy=load_taxonomy())


def canonical(pairs: list[dict[str, str]]) -> dict[tuple[str, str | None], str]:
    """Name of each (name, discipline) in one bank of these pairs."""
    names = list(dict.fromkeys(side for pair in pairs for side in sides(pair)))
    forms = {normal_form(name) for name, _ in names}
    synonyms = [found for pair in pairs for found in synonyms_in_text(pair["context"], forms.__contains__)]
    merged = merge_names([Mention(*name) for name in names], shipped(), synonyms)
    return dict(zip(names, merged.canonical, strict=True))


def quality(pairs: list[dict[str, str]]) -> dict[str, object]:
    together = canonical(pairs)
    report: dict[str, object] = {"pairs": len(pairs)}
    for way in ("alone", "together"):
        tally: Counter[tuple[bool, bool]] = Counter()
        by_kind: dict[str, Counter[str]] = defaultdict(Counter)
        wrong = []
        for pair in pairs:
            names = canonical([pair]) if way == "alone" else together
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
    options = parser.parse_args()
    merge_names([Mention("warm up"), Mention("warming up")], MergeOptions())
    for number, path in ROUNDS.items():
        print(json.dumps({"round": number, **quality(read_pairs(path))}, indent=1, ensure_ascii=False))
    for size in filter(None, options.sizes.split(",")):
        print(json.dumps(cost(int(size))), flush=True)


if __name__ == "__main__":
    sys.exit(main())
