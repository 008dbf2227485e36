"""Benchmark files of `--against`: read with the readers of seeds, named by their digests."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from linksyn_gpu.cluster import MapShards, batch_shards
from linksyn_gpu.config import DecontaminateConfig, SeedsConfig
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.quality.certificate import certify
from linksyn_gpu.quality.contamination import REASON, BenchmarkItem, Benchmarks, Hit, searched_text
from linksyn_gpu.seeds.files import SourceFiles, find_files
from linksyn_gpu.seeds.normalize import seeds_of_files
from linksyn_gpu.streams import MAX_LINE
from linksyn_gpu.tables import Reject, Seeds, json_line

if TYPE_CHECKING:
    import pyarrow as pa

CONTAMINATED, CERTIFICATE = "contaminated.jsonl", "certificate.json"
"""Files of stage ingest: the seeds that hold a benchmark item, with the item; and what is found, as measured."""
READING = SeedsConfig(keep_duplicates=True, allow_empty_answers=True, max_chars=MAX_LINE)
SHARD_ROWS = 2048
_FIELDS = ("question", "options", "answer", "explanation")
_LABEL = re.compile(r"\s*[(\uff08]?[A-Z][)\uff09.\uff0e\u3001:\uff1a]\s*")
"""The label of an option at the start of an answer: 'B. tibia'."""


def read_benchmarks(config: DecontaminateConfig) -> Benchmarks:
    """Read the benchmark files that the settings name. Items that cannot be read are named in its `remarks`.

    Raises
    ------
    DataError
        A file is missing, cannot be read, or has no question.
    """
    items: list[BenchmarkItem] = []
    remarks: list[str] = []
    for file in find_files(config.against):
        seeds = seeds_of_files(SourceFiles([file], []), READING)
        items += _items(seeds, file.path.name)
        if seeds.rejects:
            first = seeds.rejects[0]
            remarks.append(
                f"{file.name}: {len(seeds.rejects):,} benchmark items cannot be read and are not searched for; first "
                f"line {first.line}: {first.reason}: {first.detail}"
            )
    return Benchmarks(items, config.share, remarks)


def benchmark_digests(config: DecontaminateConfig) -> dict[str, Any]:
    """What decides on decontamination, for the manifest: digests of the files, and the share; {} without any file."""
    if not config.against:
        return {}
    clean = file_digests(find_files(config.clean)) if config.clean else {}
    return {"benchmarks": file_digests(find_files(config.against)), "clean": clean, "share": config.share}


class Screen:
    """Finds benchmark items in batches of seeds and lists them.

    Parameters
    ----------
    benchmarks : Benchmarks
    write : callable
        Gets a row for each contaminated seed: its id and question, and the hit.
    map_shards : callable
        Maps the search over shards of a batch.
    """

    def __init__(
        self, benchmarks: Benchmarks, write: Callable[[dict[str, Any]], object], map_shards: MapShards = map
    ) -> None:
        self._benchmarks, self._write, self._map_shards = benchmarks, write, map_shards
        self._search = functools.partial(hits_in_rows, benchmarks=benchmarks)

    @property
    def counts(self) -> dict[str, Any]:
        """Items searched for: all, and by file; and how many of them are too short to be found."""
        files = Counter(item.file for item in self._benchmarks.items)
        too_light = int(self._benchmarks.too_light.sum())
        return {"items": len(self._benchmarks), "too_light": too_light, "files": dict(files)}

    @property
    def remarks(self) -> list[str]:
        """What to know about the benchmark files."""
        return self._benchmarks.remarks

    def __call__(self, seeds: pa.RecordBatch) -> list[str | None]:
        """Return for each seed the benchmark item that it holds, or None."""
        found: list[str | None] = [None] * seeds.num_rows
        shards = batch_shards([seeds.select(list(_FIELDS))], SHARD_ROWS)
        for number, hits in enumerate(self._map_shards(self._search, shards)):
            for place, hit in hits.items():
                row = number * SHARD_ROWS + place
                seed = seeds.select(["id", "question"]).slice(row, 1).to_pylist()[0]
                self._write({**seed, **hit.row()})
                found[row] = f"holds {hit.item!r} of {hit.file}: {hit.share:.0%} of its weight"
        return found


@contextlib.contextmanager
def screening(ws: Workspace, config: DecontaminateConfig, map_shards: MapShards = map) -> Iterator[Screen | None]:
    """Yield what finds benchmark items in seeds; None without benchmark files.

    contaminated.jsonl, to which it writes, and certificate.json get their names when the block succeeds.
    """
    if not config.against:
        yield None
        for name in (CONTAMINATED, CERTIFICATE):  # of an earlier call
            ws.path(name).unlink(missing_ok=True)
        return
    benchmarks = read_benchmarks(config)
    certificate = {**benchmark_digests(config), **certify(benchmarks, clean_texts(config))}
    with (
        ws.replacing(CERTIFICATE) as measured,
        ws.replacing(CONTAMINATED) as listed,
        listed.open("wb") as lines,
    ):
        measured.write_text(json.dumps(certificate, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        yield Screen(benchmarks, lambda row: lines.write(json_line(row)), map_shards)


def without_contaminated(seeds: Seeds, screen: Screen) -> Seeds:
    """Seeds in memory without those that hold a benchmark item, which become rejects: their line is their row."""
    import pyarrow as pa

    found = [item for batch in seeds.table.to_batches() for item in screen(batch)]
    rejects = [Reject("seeds in memory", row, REASON, item) for row, item in enumerate(found, 1) if item]
    kept = seeds.table.filter(pa.array([item is None for item in found], pa.bool_()))
    return replace(seeds, table=kept, rejects=[*seeds.rejects, *rejects])


def clean_texts(config: DecontaminateConfig) -> list[str]:
    """Texts of the files that are known to hold no benchmark item."""
    if not config.clean:
        return []
    table = seeds_of_files(find_files(config.clean), READING).table
    return texts_of_rows(table.select(list(_FIELDS)).to_pylist())


def texts_of_rows(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What is searched of seeds or QA: question, options, answer and explanation."""
    return [searched_text(*(row.get(name) for name in _FIELDS)) for row in rows]  # type: ignore[arg-type]


def hits_in_rows(rows: pa.RecordBatch, benchmarks: Benchmarks) -> dict[int, Hit]:
    """Benchmark items that rows of seeds or QA hold, by the place of the row: of each, the largest share."""
    found = benchmarks.best_hits(texts_of_rows(rows.to_pylist()))
    return {place: hit for place, hit in enumerate(found) if hit is not None}


def file_digests(files: SourceFiles) -> dict[str, str]:
    """Hashes of files: a changed file is another input."""
    found: dict[str, str] = {}
    for file in files:
        with file.path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        name = file.name if file.copy is not None else file.path.name
        found[name if name not in found else f"{name} (file {len(found) + 1})"] = f"sha256 {digest}"
    return found


def _items(seeds: Seeds, file: str) -> Iterator[BenchmarkItem]:
    for row in seeds.table.select(["id", "question", "options", "answer"]).to_pylist():
        answer = _LABEL.sub("", row["answer"], count=1) if row["options"] else row["answer"]
        yield BenchmarkItem(row["id"], file, row["question"], tuple(row["options"]), answer)
