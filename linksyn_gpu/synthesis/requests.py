"""From paths with their linked seeds to requests: lines of the OpenAI batch format."""

from __future__ import annotations

import functools
import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from linksyn_gpu.cluster import MapShards
from linksyn_gpu.config import DEFAULT_MAX_TOKENS, SynthesisConfig
from linksyn_gpu.errors import ConfigError, DataError
from linksyn_gpu.llm.asking import request_model
from linksyn_gpu.llm.batchfile import OpenFile, RequestFiles
from linksyn_gpu.llm.prompting import content_request, prompt_chars
from linksyn_gpu.llm.refusals import Dialect
from linksyn_gpu.machine import collector_paused
from linksyn_gpu.streams import bounded_lines, open_to_read
from linksyn_gpu.synthesis import prompts
from linksyn_gpu.synthesis.question_types import TypeAssigner
from linksyn_gpu.tables import Asked, Cell, RowWriter, json_line
from linksyn_gpu.taxonomy.disciplines import Taxonomy
from linksyn_gpu.text import estimate_tokens
from linksyn_gpu.text.languages import guess_language

if TYPE_CHECKING:
    import pyarrow as pa

LABELS = {
    **dict.fromkeys(("zh", "zho", "chi", "cmn", "chinese", "中文", "汉语"), "zh"),
    **dict.fromkeys(("en", "eng", "english"), "en"),
}
"""Language by a seed's label, or by its first word; other labels of two or three letters are ISO 639 codes."""
BATCH_ROWS, LANGUAGE_ROWS = 1024, 65_536
SEED_COLUMNS = ("question", "options", "answer", "disciplines", "difficulty", "language")
"""What a request needs of its seeds."""
PATH_COLUMNS = ("walk_id", "cell", "nodes", "seeds", "drop_reason")
PathRow = Mapping[str, Any]
"""A row of a table of paths, with `PATH_COLUMNS`."""
Request = dict[str, Any]
ANY_CELL = Cell(None, None, 0)
OTHER_LANGUAGES = 0.01
"""Largest share of seeds in other languages than the prompts' with which requests are made."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Sources:
    """The tables that paths refer to, and the settings of the stage."""

    kp_names: Sequence[str]
    """Name of each KP."""
    seeds: pa.Table
    """Columns of `tables.seed_schema`."""
    config: SynthesisConfig
    question_types: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """`RunConfig.question_types`."""
    taxonomy: Taxonomy | None = None
    """By which disciplines are compared; None: that of the package."""


def tasks_schema() -> pa.Schema:
    """Columns of tasks.parquet: one row per path, in order; `request_id` is null if the path was dropped."""
    import pyarrow as pa

    return pa.schema(
        [
            ("request_id", pa.string()),
            ("request_file", pa.int32()),  # number of its file in the folder requests/
            ("walk_id", pa.int64()),
            ("cell", pa.int32()),
            ("nodes", pa.list_(pa.int32())),
            ("seeds", pa.list_(pa.int32())),
            ("question_type", pa.string()),
            ("language", pa.string()),
            ("discipline", pa.string()),
            ("difficulty", pa.int8()),
            ("difficulty_asked", pa.int8()),  # of the cell; null: any
            ("prompt_chars", pa.int32()),
            ("prompt_tokens_estimated", pa.int32()),
            ("seed", pa.int64()),
            ("max_tokens", pa.int32()),
            ("drop_reason", pa.string()),
            ("detail", pa.string()),
        ]
    )


class RequestsWriter:
    """Makes one request per kept path and writes it to the files; use as a context manager.

    Parameters
    ----------
    cells : sequence of Cell
        Cells of the plan; empty: one cell for everything.
    open_requests : callable
        Gives, for the number of a requests file, a context with the path to write its lines to, in the OpenAI batch
        format. The next file is begun when one is full.
    tasks_file : path
        Parquet: what each request is for, and why a path made none.
    recorded_types : iterable of str or None
        Question types of the first paths, where they are known.
    map_shards : callable
        Maps `Render` over shards of the paths.
    """

    def __init__(
        self,
        sources: Sources,
        cells: Sequence[Cell],
        open_requests: OpenFile,
        tasks_file: str | Path,
        *,
        recorded_types: Iterable[str | None] = (),
        map_shards: MapShards = map,
    ) -> None:
        self._sources, self._cells = sources, cells
        self._seed_rows = SeedRows(sources.seeds.select(SEED_COLUMNS))
        config = sources.config
        self._render, self._map_shards = Render(tuple(cells), config), map_shards
        self._recorded_types = iter(recorded_types)
        self._types = TypeAssigner(sources.question_types, config.question_types, sources.taxonomy)
        self._files = RequestFiles(open_requests, config)
        self._tasks = RowWriter(tasks_schema(), tasks_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._tasks.__exit__(*error)
        self._files.__exit__(*error)

    def resume(self, tasks: pa.Table) -> None:
        """Continue from rows of an earlier tasks file, in order and before any path is written; they have requests."""
        self._tasks.copy(tasks)
        for pair in zip(*(tasks.column(name).to_pylist() for name in ("discipline", "question_type")), strict=True):
            if pair[1] is not None:
                self._types.count(*pair)
        self._files.number = max(self._files.number, request_files(tasks))

    def begin_file(self) -> None:
        """Write the next requests to a new file: each part of a campaign has its own files."""
        self._files.end()

    def write(self, batches: Iterable[Sequence[PathRow]]) -> Iterator[Request]:
        """Write the requests of batches of paths. Yields them in the order of the paths, each with its `asked`.

        Parameters
        ----------
        batches : iterable of sequences of dict
            walk_id, cell, nodes, seeds (rows of the seed table), drop_reason (None: kept). `path_batches` makes them.
        """
        import orjson

        for rendered in self._map_shards(self._render, map(self._prepared, batches)):
            rows = []
            for row, line in rendered:
                rows.append(row if line is None else {**row, "request_file": self._files.write(line)})
            self._tasks.write(rows)
            for row, line in rendered:
                if line is not None:
                    yield {**orjson.loads(line), "asked": Asked(row["question_type"], row["language"])}

    def _prepared(self, paths: Sequence[PathRow]) -> Shard:
        """What the requests of some paths are made of; their types of questions depend on the paths before."""
        kept = [path for path in paths if path["drop_reason"] is None]
        numbers, seeds = self._seed_rows.take_table(i for path in kept for i in path["seeds"])
        first = dict(zip(numbers, map(_first, seeds.column("disciplines").to_pylist()), strict=True))
        types = []
        for path in paths:
            recorded = next(self._recorded_types, None)
            if path["drop_reason"] is None:
                discipline = task_discipline(self._cell(path), [first[i] for i in path["seeds"]])
                types.append(self._next_type(recorded, discipline))
        names = self._sources.kp_names
        return Shard(paths, types, [[names[v] for v in path["nodes"]] for path in kept], numbers, seeds)

    def _cell(self, path: PathRow) -> Cell:
        return self._cells[path["cell"]] if self._cells else ANY_CELL

    def _next_type(self, recorded: str | None, discipline: str | None) -> str:
        if recorded is None:
            return self._types.next(discipline)
        self._types.count(discipline, recorded)
        return recorded


class Shard(NamedTuple):
    """Paths, and what their requests are made of."""

    paths: Sequence[PathRow]
    types: Sequence[str]
    """Of the questions of each kept path."""
    kp_paths: Sequence[Sequence[str]]
    """Names of the KPs on each kept path."""
    seed_numbers: Sequence[int]
    seeds: pa.Table
    """Rows with the columns `SEED_COLUMNS`."""


@dataclass(frozen=True)
class Render:
    """Makes the requests of a shard. It runs in any process."""

    cells: Sequence[Cell]
    config: SynthesisConfig

    @functools.cached_property
    def _dialect(self) -> Dialect:
        # A client adapts requests itself, and learns more from the server.
        return Dialect(self.config.without, self.config.rename) if self.config.engine == "batch" else Dialect()

    def __call__(self, shard: Shard) -> list[tuple[dict[str, Any], bytes | None]]:
        """For each path its row of tasks.parquet, and the line of its request if it makes one."""
        with collector_paused():
            seeds = dict(zip(shard.seed_numbers, shard.seeds.to_pylist(), strict=True))
            kept = zip(shard.types, shard.kp_paths, strict=True)
            return [
                self._row(path, seeds, *next(kept)) if path["drop_reason"] is None else (_row_of(path), None)
                for path in shard.paths
            ]

    def _row(
        self, path: PathRow, seeds: Mapping[int, dict[str, Any]], question_type: str, kp_path: Sequence[str]
    ) -> tuple[dict[str, Any], bytes | None]:
        config, row = self.config, _row_of(path)
        cell = self.cells[path["cell"]] if self.cells else ANY_CELL
        task = make_task([seeds[i] for i in path["seeds"]], kp_path, cell, question_type, config)
        request = qa_request(task, path["walk_id"], config)
        messages = request["body"]["messages"]
        chars, limit = prompt_chars(messages), config.prompt_limit
        row |= {
            "question_type": task.question_type,
            "language": task.language,
            "discipline": task.discipline,
            "difficulty": task.difficulty,
            "difficulty_asked": cell.difficulty,
            "prompt_chars": chars,
            "prompt_tokens_estimated": sum(estimate_tokens(message["content"]) for message in messages),
        }
        if chars > limit:
            detail = f"{chars} characters, at most {limit}"
            return {**row, "drop_reason": "prompt_too_long", "detail": detail}, None
        sampling = {name: request["body"][name] for name in ("seed", "max_tokens")}
        line = json_line({**request, "body": self._dialect.apply(request["body"])})
        return {**row, "request_id": request["custom_id"], **sampling}, line


def _row_of(path: PathRow) -> dict[str, Any]:
    return {name: path[name] for name in ("walk_id", "cell", "nodes", "seeds", "drop_reason")}


def _first(disciplines: Sequence[str] | None) -> str | None:
    return disciplines[0] if disciplines else None


def requests_name(number: int, engine: str) -> str:
    """Name of a requests file in the run folder: plain for a batch service, compressed for any other engine."""
    return f"requests/requests-{number:05}.jsonl{'' if engine == 'batch' else '.zst'}"


def requests_paths(folder: Path) -> list[Path]:
    """Requests files of a run folder, in their order."""
    return sorted((folder / "requests").glob("requests-*.jsonl*"))


def request_files(tasks: pa.Table) -> int:
    """How many requests files the rows of a tasks file refer to."""
    import pyarrow.compute as pc

    last = pc.max(tasks.column("request_file")).as_py()
    return 0 if last is None else last + 1


def path_batches(table: pa.RecordBatch | pa.Table) -> Iterator[list[dict[str, Any]]]:
    """Rows of a table of paths, `BATCH_ROWS` at a time."""
    for start in range(0, table.num_rows, BATCH_ROWS):
        part = table.slice(start, BATCH_ROWS)
        columns = [_values(part.column(name)) for name in PATH_COLUMNS]
        yield [dict(zip(PATH_COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    """Values of a column; lists through their offsets, since `to_pylist` makes an object for each element first."""
    import pyarrow as pa

    if not pa.types.is_list(column.type):
        return list(column.to_pylist())
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    ends = np.cumsum([0, *lists.value_lengths().to_pylist()]).tolist()
    flat = lists.flatten().to_pylist()
    return [flat[a:b] for a, b in itertools.pairwise(ends)]


def make_task(
    bundle: Sequence[dict[str, Any]], kp_path: Sequence[str], cell: Cell, question_type: str, config: SynthesisConfig
) -> prompts.Task:
    """What to ask for. A discipline or level that the cell leaves open is the most common or mean of the bundle."""
    discipline = task_discipline(cell, [_first(seed.get("disciplines")) for seed in bundle])
    difficulty, language = cell.difficulty, config.language
    if difficulty is None:
        known = [seed["difficulty"] for seed in bundle if seed.get("difficulty") is not None]
        difficulty = int(sum(known) / len(known) + 0.5) if known else None
    if language == "auto":
        found = [_language(seed) for seed in bundle] or [guess_language(" ".join(kp_path))]
        language = _most_common([name for name in found if name in prompts.LANGUAGES]) or "en"
    return prompts.Task(bundle, kp_path, discipline, difficulty, question_type, language, config.per_path)


def task_discipline(cell: Cell, of_seeds: Sequence[str | None]) -> str | None:
    """Discipline of a request: that of the cell, or the most common first discipline of the seeds."""
    if cell.discipline is not None:
        return cell.discipline
    return _most_common([name for name in of_seeds if name is not None])


def qa_request(task: prompts.Task, walk_id: int, config: SynthesisConfig) -> dict[str, Any]:
    """The request for a task; each path has its own request, even if two have the same content."""
    return content_request(
        prompts.render(task, config.templates),
        "qa",
        prompts.answer_schema(task, config.field_limit),
        model=request_model(config),
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        number=walk_id,
        limit_in_id=DEFAULT_MAX_TOKENS,
    )


def read_requests(requests_file: str | Path) -> Iterator[dict[str, Any]]:
    """The lines of a requests file, compressed or not, one at a time.

    Raises
    ------
    DataError
        A line is not a request; the message names it.
    """
    import orjson

    with open_to_read(requests_file) as stream:
        for number, line in bounded_lines(stream):
            try:
                request = orjson.loads(line)
                request["custom_id"], request["body"]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{requests_file}:{number}: not a request: {error}") from None
            yield request


def _most_common(values: Sequence[str]) -> str | None:
    """The most frequent value; of equally frequent ones, the first."""
    return max(values, key=values.count) if values else None


def check_languages(seeds: pa.Table) -> None:
    """Compare the languages of all seeds with those of the prompts; a few other seeds are only logged.

    Raises
    ------
    ConfigError
        More than `OTHER_LANGUAGES` of the seeds are in languages that the prompts do not have.
    """
    counts: Counter[str] = Counter()
    for batch in seeds.select(["language", "question"]).to_batches(LANGUAGE_ROWS):
        labels = batch.column("language").fill_null("").dictionary_encode()
        places = labels.indices.to_numpy()
        named = [_named_language(label) for label in labels.dictionary.to_pylist()]
        for name, n in zip(named, np.bincount(places, minlength=len(named)).tolist(), strict=True):
            if name is not None:
                counts[name] += n
        rows = np.flatnonzero(np.array([name is None for name in named], np.bool_)[places])
        counts.update(map(guess_language, batch.column("question").take(rows).to_pylist()))
    by_number = sorted(counts.items(), key=lambda found: (-found[1], found[0]))
    other = {name: n for name, n in by_number if name not in prompts.LANGUAGES}
    if not other:
        return
    known = " or ".join(prompts.LANGUAGES)
    message = (
        f"{sum(other.values()):,} of {seeds.num_rows:,} seeds are not in a language of the prompts ({known}): "
        + ", ".join(f"{name} {n:,}" for name, n in list(other.items())[:8])
    )
    if sum(other.values()) > OTHER_LANGUAGES * seeds.num_rows:
        raise ConfigError(f"{message}. Remove them, or ask for questions in one language with --language {known}")
    logger.warning("%s; the other seeds of a path decide its language, English if there are none", message)


def _language(seed: Mapping[str, Any]) -> str:
    """Language by a seed's label, or by its question if the label does not name a language."""
    return _named_language(seed.get("language") or "") or guess_language(seed["question"])


@functools.lru_cache(maxsize=256)
def _named_language(label: str) -> str | None:
    label = label.strip().casefold()
    first = re.split("[-_ (]", label)[0]
    return LABELS.get(label) or LABELS.get(first) or (first if re.fullmatch("[a-z]{2,3}", first) else None)


class SeedRows:
    """Rows of the seed table by number, without copying the rest of the table.

    `Table.take` first joins the chunks of every column: it copies the whole table for a few rows, and fails when a text
    column is larger than 2 GiB.

    Parameters
    ----------
    seeds : pyarrow.Table
        May have any number of chunks, which are not copied.
    """

    def __init__(self, seeds: pa.Table) -> None:
        self._chunks = [chunk for chunk in seeds.to_batches() if chunk.num_rows]
        self._ends = np.cumsum([chunk.num_rows for chunk in self._chunks], dtype=np.int64)
        self._n = seeds.num_rows
        self._schema = seeds.schema

    def take(self, rows: Iterable[int]) -> dict[int, dict[str, Any]]:
        """The given rows as dicts, by number; raises as `take_table` does."""
        numbers, table = self.take_table(rows)
        return dict(zip(numbers, table.to_pylist(), strict=True))

    def take_table(self, rows: Iterable[int]) -> tuple[list[int], pa.Table]:
        """The distinct numbers of the given rows in ascending order, and the rows.

        Raises
        ------
        DataError
            A row number is out of range.
        """
        import pyarrow as pa

        wanted = np.unique(np.fromiter(rows, np.int64))
        if wanted.size and not 0 <= wanted[0] <= wanted[-1] < self._n:
            wrong = wanted[0] if wanted[0] < 0 else wanted[-1]
            raise DataError(f"a path refers to seed row {wrong}, but the seed table has {self._n} rows")
        numbers, first = np.unique(np.searchsorted(self._ends, wanted, side="right"), return_index=True)
        taken = []
        for number, inside in zip(numbers.tolist(), np.split(wanted, first[1:]), strict=False):
            chunk = self._chunks[number]
            taken.append(chunk.take(pa.array(inside - (self._ends[number] - chunk.num_rows))))
        table = pa.Table.from_batches(taken, self._schema).combine_chunks()
        return wanted.tolist(), table
