"""Benchmark files of `--against`: read with the readers of seeds, named by their digests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from linksyn_gpu.config import DecontaminateConfig, SeedsConfig
from linksyn_gpu.errors import DataError
from linksyn_gpu.quality.contamination import BenchmarkItem, Benchmarks, searched_text
from linksyn_gpu.seeds.files import SourceFile, SourceFiles, find_files
from linksyn_gpu.seeds.normalize import seeds_of_files
from linksyn_gpu.seeds.readers import MAX_LINE

READING = SeedsConfig(keep_duplicates=True, allow_empty_answers=True, max_chars=MAX_LINE)
_LABEL = re.compile(r"\s*[(\uff08]?[A-Z][)\uff09.\uff0e\u3001:\uff1a]\s*")
"""The label of an option at the start of an answer: 'B. tibia'."""


def read_benchmarks(config: DecontaminateConfig) -> Benchmarks:
    """Read the benchmark files that the settings name.

    Raises
    ------
    DataError
        A file is missing, cannot be read or has no question; or an item of it is not taken, which would leave it
        unnoticed in seeds and QA.
    """
    items = [item for file in find_files(config.against) for item in _items(file)]
    return Benchmarks(items, config.share)


def benchmark_digests(config: DecontaminateConfig) -> dict[str, str]:
    """Names of the benchmark files with their digests, for the manifest; {} without any."""
    return file_digests(find_files(config.against)) if config.against else {}


def clean_texts(config: DecontaminateConfig) -> list[str]:
    """Texts of the files that are known to hold no benchmark item."""
    if not config.clean:
        return []
    table = seeds_of_files(find_files(config.clean), READING).table
    return texts_of_rows(table.select(["question", "options", "answer", "explanation"]).to_pylist())


def texts_of_rows(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What is searched of seeds or QA: question, options, answer and explanation."""
    return [searched_text(*(row.get(name) for name in _FIELDS)) for row in rows]  # type: ignore[arg-type]


_FIELDS = ("question", "options", "answer", "explanation")


def file_digests(files: SourceFiles) -> dict[str, str]:
    """Hashes of files: a changed file is another input."""
    found: dict[str, str] = {}
    for file in files:
        with file.path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        name = file.name if file.copy is not None else file.path.name
        found[name if name not in found else f"{name} (file {len(found) + 1})"] = f"sha256 {digest}"
    return found


def _items(file: SourceFile) -> Iterator[BenchmarkItem]:
    seeds = seeds_of_files(SourceFiles([file], []), READING)
    if seeds.rejects:
        first = seeds.rejects[0]
        raise DataError(
            f"{first.file}:{first.line}: this benchmark item cannot be read ({first.reason}: {first.detail}), and "
            f"{len(seeds.rejects) - 1:,} more: what is not read is not found; repair the file or remove these records"
        )
    rows = seeds.table.select(["id", "question", "options", "answer"]).to_pylist()
    for row in rows:
        answer = _LABEL.sub("", row["answer"], count=1) if row["options"] else row["answer"]
        yield BenchmarkItem(row["id"], file.path.name, row["question"], tuple(row["options"]), answer)
