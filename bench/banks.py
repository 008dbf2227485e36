"""A synthetic bank of seed questions of any size, written a part at a time.

A seed takes about 1 KB: a question of 8 phrases with its number, an answer of 5, and 2 to 5 knowledge points. The
knowledge points of a discipline follow a Zipf law; one in ten is of another discipline. The same numbers of seeds and
the same random seed give the same file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

PART = 50_000
"""Seeds that are made together."""
DISCIPLINES = ("physics", "chemistry", "biology", "mathematics", "economics", "law", "history", "computer science")
SHARES = np.array([0.22, 0.17, 0.15, 0.14, 0.11, 0.09, 0.07, 0.05])
FOREIGN = 0.1
"""Share of knowledge points of another discipline."""
PHRASES, WORDS = 20_000, 8_000
QUESTION_PHRASES, ANSWER_PHRASES = 8, 5
FUNCTION_WORDS = ("the", "of", "and", "is", "in", "to", "for", "with")


def kps_per_discipline(n_seeds: int) -> int:
    """Knowledge points of a discipline: 10 thousand for a million seeds, and their square root's growth."""
    return max(50, int(10 * n_seeds**0.5))


def write_bank(file: Path, n_seeds: int, seed: int = 7) -> None:
    """Write a bank to a .jsonl or .parquet file, a part at a time."""
    import pyarrow.parquet as pq

    if file.suffix == ".parquet":
        parts = bank(n_seeds, seed)
        first = next(parts)
        with pq.ParquetWriter(file, first.schema, compression="zstd") as writer:
            writer.write_table(first)
            for part in parts:
                writer.write_table(part)
        return
    with file.open("wb") as lines:
        for part in bank(n_seeds, seed):
            _write_lines(lines, part)


def _write_lines(lines: IO[bytes], part: pa.Table) -> None:
    import orjson

    lines.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in part.to_pylist())


def bank(n_seeds: int, seed: int = 7) -> Iterator[pa.Table]:
    """Yield the seeds of a bank, `PART` at a time."""
    import pyarrow as pa

    rng = np.random.default_rng(seed)
    phrases = pa.array(_phrases(rng))
    n_kps = kps_per_discipline(n_seeds)
    names = pa.array([f"{name} concept {number}" for name in DISCIPLINES for number in range(n_kps)])
    disciplines = pa.array(DISCIPLINES)
    zipf = np.cumsum(1.0 / (10.0 + np.arange(n_kps)))
    for first in range(0, n_seeds, PART):
        n = min(PART, n_seeds - first)
        numbers = pa.array(np.arange(first, first + n)).cast(pa.string())
        own = rng.choice(len(DISCIPLINES), n, p=SHARES)
        held = rng.integers(2, 6, n)
        of = np.repeat(own, held)
        of = np.where(rng.random(of.size) < FOREIGN, rng.integers(0, len(DISCIPLINES), of.size), of)
        kps = of * n_kps + np.searchsorted(zipf, rng.random(of.size) * zipf[-1])
        offsets = np.concatenate([[0], np.cumsum(held)]).astype(np.int32)
        yield pa.table(
            {
                "id": _joined([pa.array(["s"]).take(pa.array(np.zeros(n, np.int8))), numbers], ""),
                "question": _joined([*_texts(phrases, rng, n, QUESTION_PHRASES), numbers], " "),
                "answer": _joined(_texts(phrases, rng, n, ANSWER_PHRASES), " "),
                "discipline": disciplines.take(pa.array(own)),
                "difficulty": pa.array(rng.integers(1, 6, n).astype(np.int8)),
                "knowledge_points": pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(kps))),
            }
        )


def _joined(columns: list[Any], separator: str) -> Any:
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(*columns, separator)


def _texts(phrases: Any, rng: np.random.Generator, n: int, count: int) -> list[Any]:
    import pyarrow as pa

    return [phrases.take(pa.array(rng.integers(0, len(phrases), n))) for _ in range(count)]


def _phrases(rng: np.random.Generator) -> list[str]:
    """Phrases of about 65 characters, in English letters."""
    syllables = [a + b for a in "bcdfglmnprst" for b in ("a", "e", "i", "o", "un", "er")]
    words = ["".join(rng.choice(syllables, rng.integers(2, 5))) for _ in range(WORDS)]
    made = []
    for _ in range(PHRASES):
        chosen = [words[i] for i in rng.integers(0, WORDS, 7)]
        made.append(
            " ".join([*chosen[:3], str(rng.choice(FUNCTION_WORDS)), *chosen[3:], str(rng.choice(FUNCTION_WORDS))])
        )
    return made


def describe(n_seeds: int) -> dict[str, int]:
    """Facts of a bank, for a record."""
    return {"seeds": n_seeds, "kps": len(DISCIPLINES) * kps_per_discipline(n_seeds), "disciplines": len(DISCIPLINES)}


if __name__ == "__main__":
    print(json.dumps(next(bank(3)).to_pylist(), indent=1))
