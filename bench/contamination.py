"""Decontamination: leaks found, injected items found, false hits, speed; in one run with published rules.

    python bench/contamination.py [--data FOLDER] [--items N] [--texts N] [--json]

The rules of other projects are written here in a few lines each, after what they publish; they are not their code:

lm-eval     any word 13-gram of an item, without case and punctuation (lm_eval/decontamination/janitor.py)
datatrove   any word 12-gram that reaches into the answer, or lies in it (pipeline/decont/n_grams.py, defaults)
cosmopedia  a word 10-gram, then matching blocks of difflib > 0.5 of the item (decontamination/decontaminate.py)
marin       a line of the text of whose word 8-grams >= 0.7 are of an item (processing/classification/decon.py)
decon       IDF-weighted share of an item's 5-grams >= 0.8 and the answer near it (doc/simple.md; its penalty for short
            questions is left out)
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import os
import random
import re
import string
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numba
from timing import report

from linksyn_gpu.config import DecontaminateConfig
from linksyn_gpu.pipeline.benchmarks import read_benchmarks, texts_of_rows
from linksyn_gpu.quality.certificate import injections
from linksyn_gpu.quality.contamination import BenchmarkItem, Benchmarks, searched_text
from linksyn_gpu.quality.injection import FORMS
from linksyn_gpu.seeds.normalize import read_seeds
from linksyn_gpu.text import CJK_RANGES

BENCHMARKS = ("benchmark_tal_test_slice.jsonl", "benchmark_mmlu_slice.jsonl")
SEEDS = ("seed_tal_math_en_zh.jsonl", "seed_openstax_en.jsonl")
Rule = Callable[[Sequence[BenchmarkItem]], Callable[[str], bool]]
WORD = re.compile(r"\w+")
PIECE = re.compile(rf"[{CJK_RANGES}]|[^\s{CJK_RANGES}]+")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def whole(item: BenchmarkItem) -> str:
    return searched_text(item.question, item.options, item.answer)


def lm_eval(items: Sequence[BenchmarkItem]) -> Callable[[str], bool]:
    def words(text: str) -> list[str]:
        return text.lower().translate(NO_PUNCTUATION).split()

    known = {gram for item in items for gram in grams(words(whole(item)), 13)}
    return lambda text: not known.isdisjoint(grams(words(text), 13))


def datatrove(items: Sequence[BenchmarkItem]) -> Callable[[str], bool]:
    known: set[tuple[str, ...]] = set()
    for item in items:
        query, label = WORD.findall(item.question.lower()), WORD.findall(item.answer.lower())
        known.update(grams([*query[-11:], *label], 12))
    return lambda text: not known.isdisjoint(grams(WORD.findall(text.lower()), 12))


def cosmopedia(items: Sequence[BenchmarkItem]) -> Callable[[str], bool]:
    texts = [" ".join(WORD.findall(whole(item).lower())) for item in items]
    known = {gram: number for number, text in enumerate(texts) for gram in grams(text.split(), 10)}

    def flagged(text: str) -> bool:
        words = WORD.findall(text.lower())
        number = next((known[gram] for gram in grams(words, 10) if gram in known), None)
        if number is None:
            return False
        blocks = difflib.SequenceMatcher(None, " ".join(words), texts[number], autojunk=False).get_matching_blocks()
        return sum(block.size for block in blocks if block.size > 5) > 0.5 * len(texts[number])

    return flagged


def marin(items: Sequence[BenchmarkItem]) -> Callable[[str], bool]:
    lines = [line for item in items for line in whole(item).split("\n") if line]
    known: set[Any] = {gram for line in lines for gram in grams(line.split(), 8)} | set(lines)

    def share(line: str) -> float:
        found = grams(line.split(), 8)
        return sum(gram in known for gram in found) / len(found) if found else float(line in known)

    return lambda text: any(share(line) >= 0.7 for line in text.split("\n") if len(line.split()) >= 8)


def decon(items: Sequence[BenchmarkItem]) -> Callable[[str], bool]:
    rows = [set(grams(WORD.findall(item.question.lower()), 5)) for item in items]
    answers = [" ".join(WORD.findall(item.answer.lower())) for item in items]
    count = Counter(gram for row in rows for gram in row)
    weight = {gram: math.log(1 + len(items) / n) for gram, n in count.items()}
    total = [sum(map(weight.__getitem__, row)) for row in rows]
    owners = defaultdict(list)
    for number, row in enumerate(rows):
        for gram in row:
            owners[gram].append(number)

    def flagged(text: str) -> bool:
        words = WORD.findall(text.lower())
        joined = f" {' '.join(words)} "
        score: Counter[int] = Counter()
        for gram in set(grams(words, 5)):
            for number in owners.get(gram, ()):
                score[number] += weight[gram]
        return any(
            value >= 0.8 * total[number] - 1e-9 and f" {answers[number]} " in joined for number, value in score.items()
        )

    return flagged


def ours(items: Sequence[BenchmarkItem]) -> Callable[[Sequence[str]], list[bool]]:
    index = Benchmarks(items)
    return lambda texts: [bool(hits) for hits in index.best_hits(texts)]


RULES: dict[str, Rule] = {
    "lm-eval": lm_eval,
    "datatrove": datatrove,
    "cosmopedia": cosmopedia,
    "marin": marin,
    "decon": decon,
}


def quality(folder: Path) -> dict[str, Any]:
    """Share of flagged texts by rule: marked leaks, injected forms, clean text, generic stems."""
    names = tuple(str(folder / name) for name in BENCHMARKS)
    items = read_benchmarks(DecontaminateConfig(against=names)).items
    rows = [json.loads(line) for name in names for line in Path(name).read_text(encoding="utf-8").split("\n") if line]
    math_seeds, clean_seeds = (read_seeds(folder / name, keep_duplicates=True).table.to_pylist() for name in SEEDS)
    seeds = {row["id"]: row for row in [*math_seeds, *clean_seeds]}
    texts = dict(zip(seeds, texts_of_rows(list(seeds.values())), strict=True))
    marked = [row for row in rows if row["id"].startswith("tal") and (row.get("seed_overlap") or {}).get("exact")]
    leaks = [row for row in marked if not only_stem(row, seeds)]
    stems = [
        item for item in items if re.match(r"Which of the following statements is (\W*not\W*)? ?true", item.question)
    ]
    forms = {form: injections(form, items) for form in FORMS}
    record: dict[str, Any] = {"marked": len(marked), "of_them_other_questions": len(marked) - len(leaks), "rules": {}}
    for name, rule in {**RULES, "linksyn-gpu": None}.items():
        every = many(rule, items)
        flagged = dict(zip(texts, every(list(texts.values())), strict=True))
        recall = {form: mean(every([text for _, text in chosen])) for form, chosen in forms.items()}
        record["rules"][name] = {
            "leaks_found": mean([any(flagged[id_] for id_ in row["seed_overlap"]["exact"]) for row in leaks]),
            "marks_found": mean([any(flagged[id_] for id_ in row["seed_overlap"]["exact"]) for row in marked]),
            "seeds_hit_by_generic_stems": sum(many(rule, stems)(list(texts.values()))),
            "clean_text_hit": mean([flagged[row["id"]] for row in clean_seeds]),
            "recall": recall,
        }
    index, leaked = Benchmarks(items), {row["id"] for row in marked}
    record["unmarked"] = [
        {"seed": seeds[id_]["question"][:160], **hit.row()}
        for id_, hits in zip(texts, index.hits(texts.values()), strict=True)
        for hit in hits
        if hit.item not in leaked
    ]
    return record


def only_stem(row: dict[str, Any], seeds: dict[str, Any]) -> bool:
    """Whether a marked item is short and has no option of the seeds that it is marked with: another question."""
    options = {option for id_ in row["seed_overlap"]["exact"] for option in seeds[id_]["options"]}
    return options.isdisjoint(row["options"]) and len(row["question"]) < 70


def many(rule: Rule | None, items: Sequence[BenchmarkItem]) -> Callable[[Sequence[str]], list[bool]]:
    if rule is None:
        return ours(items)
    one = rule(items)
    return lambda texts: [one(text) for text in texts]


def mean(values: Sequence[bool]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None


def speed(folder: Path, n_items: int, n_texts: int) -> dict[str, Any]:
    """Texts per second against items made of real questions in which half of the words are others.

    A Chinese character is a word.
    """
    rng = random.Random(0)
    rows = [
        json.loads(line)
        for name in (*SEEDS, *BENCHMARKS)
        for line in (folder / name).read_text(encoding="utf-8").split("\n")
        if line
    ]
    words = [word for row in rows for word in PIECE.findall(row["question"])]
    items = []
    for number in range(n_items):
        row = rng.choice(rows)
        pieces = PIECE.findall(row["question"])
        question = " ".join(word if rng.random() < 0.5 else rng.choice(words) for word in pieces)
        items.append(BenchmarkItem(str(number), "made", question, tuple(row["options"]), row["answer"]))
    texts = texts_of_rows(rows)
    texts = (texts * (1 + n_texts // len(texts)))[:n_texts]
    began = time.perf_counter()
    index = Benchmarks(items)
    built = time.perf_counter() - began
    index.found(texts[:100])
    began, processor = time.perf_counter(), time.process_time()
    found = index.found(texts)[0]
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    return {
        "items": n_items,
        "build_seconds": round(built, 2),
        "texts": n_texts,
        "hits": len(found),
        "texts_per_second": round(n_texts / seconds),
        "texts_per_processor_second": round(n_texts / processor),
        "threads": numba.get_num_threads(),
    }


def lines_of(record: dict[str, Any]) -> list[str]:
    """The record as text."""
    rules = record["quality"]["rules"]
    first = next(iter(rules.values()))
    figures = [name for name in first if name != "recall"]
    lines = [f"{record['quality']['marked']} marked items, {record['quality']['of_them_other_questions']} are others"]
    lines.append(f"{'':32}" + "".join(f"{name:>12}" for name in rules))
    for name in figures:
        lines.append(f"{name:32}" + "".join(f"{rules[rule][name]!s:>12}" for rule in rules))
    for form in first["recall"]:
        lines.append(f"{form:32}" + "".join(f"{rules[rule]['recall'][form]!s:>12}" for rule in rules))
    lines += [
        f"{row['share']:.2f} {row['item']} | {row['seed']!r} | {row['matched']!r}"
        for row in record["quality"]["unmarked"]
    ]
    return [*lines, f"speed: {record['speed']}"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("LINKSYN_DATA"), help="folder of real seeds and benchmarks")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--texts", type=int, default=40_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.data:
        parser.error("name the folder of real data with --data or LINKSYN_DATA")
    folder = Path(options.data)
    record = {"quality": quality(folder), "speed": speed(folder, options.items, options.texts)}
    report(record, options.json, lines_of(record))


if __name__ == "__main__":
    main()
