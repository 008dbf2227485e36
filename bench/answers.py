r"""How well LaTeX survives in a model's JSON when its backslashes were not doubled.

    python bench/answers.py [--data FOLDER] [--formulas 10000] [--json] [--show 20]

Formulas and whole texts of real seeds are written into a JSON string with their backslashes single, everything else
escaped as JSON wants it, and read back. Reported is the share that comes back exactly as it was: with this project's
reader, with Python's `json`, and with the library json_repair where it is installed. The same texts with doubled
backslashes must come back exactly from every reader.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from timing import report

from linksyn_gpu.llm.json_answer import read_object

DATA = Path(os.environ.get("LINKSYN_DATA") or Path(__file__).parents[2] / "shared" / "data")
FILES = ("seed_tal_math_en_zh.jsonl", "benchmark_tal_test_slice.jsonl", "benchmark_mmlu_slice.jsonl")
FORMULA = re.compile(r"\$\$.+?\$\$|\$.+?\$|\\\(.+?\\\)|\\\[.+?\\\]", re.DOTALL)

Reader = Callable[[str], object]


def texts(folder: Path) -> Iterator[str]:
    """Every text of the seeds that holds a backslash, once."""
    seen = set()
    for name in FILES:
        with (folder / name).open(encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                fields = (row["question"], row.get("answer"), row.get("analysis"), *(row.get("options") or ()))
                for text in fields:
                    if text and "\\" in text and text.strip() not in seen:
                        seen.add(text.strip())
                        yield text.strip()


def written(text: str, doubled: bool) -> str:
    """A JSON object that holds the text, its backslashes doubled as JSON wants or single as models write them."""
    escaped = json.dumps(text, ensure_ascii=False)
    return f'{{"text": {escaped if doubled else escaped.replace(chr(92) * 2, chr(92))}}}'


def exact(sample: list[str], doubled: bool, reader: Reader) -> tuple[float, list[str]]:
    """Share of texts that a reader returns exactly, and the other texts."""
    lost = [text for text in sample if reader(written(text, doubled)) != text]
    return 1.0 - len(lost) / len(sample), lost


def ours(text: str) -> object:
    found = read_object(text)
    return None if found is None else found["text"]


def plain(text: str) -> object:
    try:
        return json.loads(text)["text"]
    except ValueError:
        return None


def repaired(text: str) -> object:
    import json_repair

    found = json_repair.loads(text)
    return found.get("text") if isinstance(found, dict) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--formulas", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--show", type=int, default=0, help="print this many texts that were not restored")
    options = parser.parse_args()
    every = list(texts(options.data))
    formulas = sorted({found.group(0) for text in every for found in FORMULA.finditer(text) if "\\" in found.group(0)})
    random.Random(0).shuffle(formulas)
    samples = {"formulas": formulas[: options.formulas], "whole texts": every}
    readers: dict[str, Reader] = {"linksyn_gpu": ours, "json": plain}
    if importlib.util.find_spec("json_repair"):
        readers["json_repair"] = repaired
    rows = []
    for name, sample in samples.items():
        for reader_name, reader in readers.items():
            single, lost = exact(sample, False, reader)
            doubled, damaged = exact(sample, True, reader)
            rows.append({"texts": name, "n": len(sample), "reader": reader_name, "single": single, "doubled": doubled})
            if reader_name == "linksyn_gpu":
                for text in [*lost, *damaged][: options.show]:
                    print(f"{name}: {text!r}\n  read as {reader(written(text, False))!r}", file=sys.stderr)
    lines = ["exactly restored, with single and with doubled backslashes"]
    for row in rows:
        lines.append(f"{row['texts']} ({row['n']:,}), {row['reader']}: {row['single']:.4f}, {row['doubled']:.4f}")
    report({"exactly restored": rows}, options.json, lines)


if __name__ == "__main__":
    main()
