"""How often the rule checks hit questions that people wrote, and what they cost: `python bench/checks.py --show 5`

Every record of the real seed banks and benchmark slices is checked as a new item of its language and type. A hit is an
error of the check unless the record is faulty itself: read what `--show` prints. Repeats are counted apart, because the
banks hold repeats; the benchmark slices, of which it is known what they share with the seeds, show whether those found
are right. More banks (JSON Lines with question, answer, options, language) may be named on the command line.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from linksyn_gpu.quality.checks import REASONS, Checker
from linksyn_gpu.synthesis import prompts
from linksyn_gpu.tables import Asked, Item

DATA = Path(os.environ.get("LINKSYN_DATA") or Path(__file__).parents[2] / "shared" / "data")
SEEDS = ("seed_openstax_en.jsonl", "seed_tal_math_en_zh.jsonl")
SLICES = ("benchmark_mmlu_slice.jsonl", "benchmark_tal_test_slice.jsonl")
REPEATS = ("repeats_seed", "repeats_batch")

Bank = list[dict[str, Any]]


def read(path: Path) -> Bank:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def check(checker: Checker, row: dict[str, Any]) -> tuple[str, str] | None:
    options = tuple(option.strip() for option in row["options"])
    item = Item(row["question"].strip(), row["answer"].strip(), options, (row.get("analysis") or "").strip())
    return checker.check(item, Asked("multiple_choice" if options else "open", row["language"]))


def false_hits(banks: dict[str, Bank], show: int) -> None:
    """The share of each bank that each check hits, and examples."""
    hits: dict[str, Counter[str]] = {}
    examples: dict[str, list[str]] = defaultdict(list)
    for name, bank in banks.items():
        checker, hits[name] = Checker(instructions=prompts.instruction_text()), Counter()
        for row in bank:
            if (found := check(checker, row)) is not None:
                hits[name][found[0]] += 1
                texts = (row["question"], row["answer"], *row["options"])
                examples[found[0]].append(
                    f"{name} [{found[1]}] " + " | ".join(" ".join(t.split())[:120] for t in texts)
                )
    print("".join(f"{name:>22}" for name in ("", *banks)))
    print("".join(f"{name:>22}" for name in ("records", *map(len, banks.values()))))
    for reason in REASONS:
        print(f"{reason:>22}" + "".join(_share(hits[name][reason], banks[name]) for name in banks))
    sums = [_share(sum(n for r, n in hits[name].items() if r not in REPEATS), banks[name]) for name in banks]
    print(f"{'all but repeats':>22}" + "".join(sums))
    for reason, found_texts in examples.items():
        for text in found_texts[:show]:
            print(f"\n{reason}: {text}")


def _share(hits: int, bank: Bank) -> str:
    return f"{hits} = {hits / len(bank):.2%}".rjust(22) if hits else f"{'-':>22}"


def overlap(seeds: Bank, bank: Bank) -> str:
    """Which records of a benchmark slice count as repeats of the seeds, compared with what is known about them."""
    checker, table = Checker(seeds, ""), Counter[tuple[bool, bool]]()
    for row in bank:
        found = check(checker, row)
        if found is None or found[0] in REPEATS:
            exact = bool(row.get("seed_overlap", {}).get("exact"))
            table[exact, found is not None and found[0] == "repeats_seed"] += 1
    return (
        f"{table[True, True]} of {table[True, True] + table[True, False]} that overlap a seed are repeats_seed, "
        f"{table[False, True]} of {table[False, True] + table[False, False]} that do not"
    )


def cost(texts: dict[str, str]) -> None:
    """Processor time per MB of one text, and of one four times as long."""
    print(f"\n{'seconds per MB of':>22}{'0.25 MB':>12}{'1 MB':>12}")
    for name, text in texts.items():
        line = f"{name:>22}"
        for size in (250_000, 1_000_000):
            part = (text * (size // len(text.encode()) + 1)).encode()[:size].decode(errors="ignore")
            checker, begin = Checker(instructions=prompts.instruction_text()), time.process_time()
            checker.check(Item("What is the force on the body?", "8 N", (), part), Asked("open", "en"))
            checker.check(Item("What is the force on the body?", part), Asked("open", "en"))
            line += f"{(time.process_time() - begin) / 2 / size * 1e6:12.2f}"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("banks", type=Path, nargs="*", help="more banks")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--show", type=int, default=0, help="print so many examples of what each check hits")
    options = parser.parse_args()
    files = [options.data / name for name in (*SEEDS, *SLICES)] + options.banks
    records = {path.stem: read(path) for path in files}
    banks: dict[str, Bank] = {}
    for stem, bank in records.items():
        for language in ("en", "zh"):
            if part := [row for row in bank if row["language"] == language]:
                banks[f"{stem.removeprefix('benchmark_').removeprefix('seed_')[:18]} {language}"] = part
    false_hits(banks, options.show)
    seeds = [row for name in SEEDS for row in records[Path(name).stem]]
    print()
    for name in SLICES:
        print(f"{name}: {overlap(seeds, records[Path(name).stem])}")
    openstax, tal = (records[Path(name).stem] for name in SEEDS)
    cost(
        {
            "OpenStax answers": " ".join(row["answer"] for row in openstax),
            "TAL solutions": " ".join(row["analysis"] for row in tal),
            "one sentence": "The cell is green and the leaf is not. ",
            "zeros": "0 ",
            "dollar signs": "$",
            "backslashes": "\\a",
            "brackets": "{[(",
        }
    )


if __name__ == "__main__":
    main()
