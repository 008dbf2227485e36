"""How many bad rows the rule checks catch, how many good rows they hit, and what they cost: `python bench/checks.py`

Good rows are the records of the real seed banks and benchmark slices, each checked as a new item of its language and
type; more banks (JSON Lines with question, answer, options, language) may be named on the command line. A hit is an
error of the check unless the record is faulty itself: read what `--show 5` prints. Repeats are counted apart: the banks
hold repeats, and of the benchmark slices it is known what they share with the seeds.

Bad rows are made by `bench/bad_rows.py`, of the seeds and, apart from them, of the other banks; `--missed KIND` prints
those that were kept.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.bad_rows import EXAMPLES, KINDS, Row, bad_rows, read_bank
from linksyn_gpu.quality.checks import REASONS, Checker, fault_of_row
from linksyn_gpu.quality.checks.row import item_of
from linksyn_gpu.synthesis import prompts
from linksyn_gpu.tables import Asked, Item

DATA = Path(os.environ.get("LINKSYN_DATA") or Path(__file__).parents[2] / "shared" / "data")
SEEDS = ("seed_openstax_en.jsonl", "seed_tal_math_en_zh.jsonl")
SLICES = ("benchmark_mmlu_slice.jsonl", "benchmark_tal_test_slice.jsonl")
REPEATS = ("repeats_seed", "repeats_batch")

Banks = dict[str, list[Row]]


def false_hits(banks: Banks, show: int) -> None:
    """The share of each bank that each check hits, of all banks together, and examples."""
    hits = {name: Counter[str]() for name in banks}
    examples: dict[str, list[str]] = defaultdict(list)
    for name, bank in banks.items():
        checker = Checker(instructions=prompts.instruction_text())
        for row in bank:
            if (found := checker.check(*item_of(row))) is not None:
                hits[name][found[0]] += 1
                texts = (row["question"], row["answer"], row["explanation"], *row["options"])
                line = " | ".join(" ".join(text.split())[-120:] for text in texts)
                examples[found[0]].append(f"{name} [{found[1]}] {line}")
    every = "all"
    sizes = {**{name: len(bank) for name, bank in banks.items()}, every: sum(map(len, banks.values()))}
    hits[every] = sum(hits.values(), Counter())
    print("".join(f"{name:>22}" for name in ("", *sizes)))
    print("".join(f"{name:>22}" for name in ("records", *sizes.values())))
    for reason in REASONS:
        print(f"{reason:>22}" + "".join(_share(hits[name][reason], size) for name, size in sizes.items()))
    sums = {name: sum(n for reason, n in hits[name].items() if reason not in REPEATS) for name in sizes}
    print(f"{'all but repeats':>22}" + "".join(_share(sums[name], size) for name, size in sizes.items()))
    for reason, found_texts in examples.items():
        for text in found_texts[:show]:
            print(f"\n{reason}: {text}")


def _share(hits: int, size: int) -> str:
    return f"{hits} = {hits / size:.2%}".rjust(22) if hits else f"{'-':>22}"


def caught(banks: Banks, n: int, seeds: Sequence[int], missed: Sequence[str]) -> None:
    """Bad rows that are dropped, by kind; each bank gives its own."""
    names = list(banks)
    print(f"\n{'kind':>32} {'held out':>9}" + "".join(f"{name:>14}" for name in names) + "   reasons")
    totals = {held_out: Counter[str]() for held_out in (False, True)}
    made = {name: [bad_rows(bank, n, seed) for seed in seeds] for name, bank in banks.items()}
    for kind in KINDS.values():
        reasons, line = Counter[str](), ""
        for name in names:
            rows = [row for each in made[name] for row in each[kind.name]]
            faults = [fault_of_row(row) for row in rows]
            dropped = [fault[0] for fault in faults if fault is not None]
            reasons.update(dropped)
            totals[kind.held_out].update({f"{name} rows": len(rows), name: len(dropped)})
            line += f"{f'{len(dropped)} of {len(rows)}':>14}" if rows else f"{'-':>14}"
            if kind.name in missed:
                for row, fault in zip(rows, faults, strict=True):
                    print("   kept:", row) if fault is None else None
        common = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(3))
        print(f"{kind.name:>32} {'yes' if kind.held_out else '':>9}{line}   {common}")
    for held_out, total in totals.items():
        shares = "".join(f"{total[name] / max(1, total[f'{name} rows']):>14.1%}" for name in names)
        print(f"{'held out' if held_out else 'not held out':>32} {'':>9}{shares}")
    both = totals[False] + totals[True]
    print(f"{'all':>32} {'':>9}" + "".join(f"{both[name] / max(1, both[f'{name} rows']):>14.1%}" for name in names))


def overlap(seeds: list[Row], bank: list[Row]) -> str:
    """Which records of a benchmark slice count as repeats of the seeds, compared with what is known about them."""
    checker, table = Checker(seeds, ""), Counter[tuple[bool, bool]]()
    for row in bank:
        found = checker.check(*item_of(row))
        if found is None or found[0] in REPEATS:
            table[row["overlaps_seed"], found is not None and found[0] == "repeats_seed"] += 1
    return (
        f"{table[True, True]} of {table[True, True] + table[True, False]} that overlap a seed are repeats_seed, "
        f"{table[False, True]} of {table[False, True] + table[False, False]} that do not"
    )


def speed(rows: list[Row]) -> None:
    """Rows per second of processor time, the best of three."""
    items, best = [item_of(row) for row in rows], float("inf")
    for _ in range(3):
        checker, begin = Checker(instructions=prompts.instruction_text()), time.process_time()
        for item, asked in items:
            checker.check(item, asked)
        best = min(best, time.process_time() - begin)
    size = sum(len(row[name]) for row in rows for name in ("question", "answer", "explanation")) / len(rows)
    print(f"\n{len(rows) / best:,.0f} rows/s of {size:.0f} characters, in processor time of one core")


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
    parser.add_argument("banks", type=Path, nargs="*", help="more banks of good rows")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--show", type=int, default=0, help="print so many examples of what each check hits")
    parser.add_argument("--rows", type=int, default=20, help="bad rows of each kind")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds make the bad rows")
    parser.add_argument("--missed", nargs="*", default=[], help="kinds of which the kept bad rows are printed")
    options = parser.parse_args()
    files = [EXAMPLES, *(options.data / name for name in (*SEEDS, *SLICES)), *options.banks]
    records = {path.stem: read_bank(path) for path in files if path.is_file()}
    banks: Banks = {}
    for stem, bank in records.items():
        for language in ("en", "zh"):
            if part := [row for row in bank if row["language"] == language]:
                banks[f"{stem.removeprefix('benchmark_').removeprefix('seed_')[:18]} {language}"] = part
    false_hits(banks, options.show)
    seeds = [row for name in SEEDS for row in records.get(Path(name).stem, ())]
    others = [row for name in SLICES for row in records.get(Path(name).stem, ())]
    groups = {"seeds": seeds, "slices": others, "examples": records[EXAMPLES.stem]}
    numbers = range(options.seeds)
    caught({name: rows for name, rows in groups.items() if rows}, options.rows, numbers, options.missed)
    for name in SLICES:
        if Path(name).stem in records:
            print(f"\n{name}: {overlap(seeds, records[Path(name).stem])}")
    speed(seeds or records[EXAMPLES.stem])
    prose = " ".join(row["answer"] for row in seeds or records[EXAMPLES.stem])
    formulas = " ".join(row["explanation"] for row in seeds) or prose
    cost(
        {
            "answers": prose,
            "solutions": formulas,
            "one sentence": "The cell is green and the leaf is not. ",
            "zeros": "0 ",
            "dollar signs": "$",
            "backslashes": "\\a",
            "brackets": "{[(",
        }
    )


if __name__ == "__main__":
    main()
