"""Stage synthesize over a run folder: paths -> requests -> answers -> qa.parquet, qa.jsonl and dropped.parquet."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linksyn_gpu.cluster import MapShards, open_workers
from linksyn_gpu.config import ChecksConfig, RunConfig
from linksyn_gpu.config.loader import to_mapping
from linksyn_gpu.errors import EngineError
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.feed import Feed
from linksyn_gpu.pipeline.folder import PENDING, Workspace
from linksyn_gpu.pipeline.growth import planned_parts, recorded_config
from linksyn_gpu.pipeline.progress import Progress, silent
from linksyn_gpu.pipeline.sampled import SampledChecks
from linksyn_gpu.pipeline.serving import StartEngine, engine_of, run_budget
from linksyn_gpu.pipeline.stages.walk import begin_walk, next_part, planned_paths, walk
from linksyn_gpu.synthesis.requests import (
    BATCH_ROWS,
    RequestsWriter,
    Sources,
    check_languages,
    path_batches,
    read_requests,
    request_files,
    requests_name,
    requests_paths,
    tasks_schema,
)
from linksyn_gpu.tables import Asked, Cell, RowWriter, qa_schema

if TYPE_CHECKING:
    from linksyn_gpu.llm.client import Stats
    from linksyn_gpu.llm.journal import Index, Journal

Request = dict[str, Any]
Put = Callable[[Request], None]
Produce = Callable[[Put], None]
"""Makes all requests and passes each one to a function."""


def ignore(request: Request) -> None:
    """Do nothing with a request: it was passed on before."""


OPERATIONAL = (
    *("base_url", "concurrency", "timeout", "max_attempts", "max_tokens_retry", "model_file", "templates"),
    *("max_tokens", "without", "rename", "max_requests", "budget_tokens", "batch_requests", "batch_bytes"),
    *("vllm_python", "vllm_command", "data_parallel", "tensor_parallel", "vllm_args"),
    *("vllm_restarts", "vllm_start_timeout", "vllm_memory_share"),
    *("ray_address", "replicas", "accelerator"),
)
"""Settings of the server and of limits, which do not change what is asked."""


def synthesize(
    ws: Workspace,
    config: RunConfig,
    *,
    force: bool = False,
    collect: Sequence[str] = (),
    engine: StartEngine | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Ask for new QA along the paths of a run. Returns the counts so far.

    Parameters
    ----------
    collect : sequence of str
        Files of answers to the requests, for engine 'batch'; see `llm.batchfile.answer_files`.
    engine : callable, optional
        Returns the running engine, started when it is first called; None: this call starts and stops its own.

    Returns
    -------
    dict
        'pending' counts requests that are still to be asked (no answer, or a failure that passes), and
        'pending_reasons' says why: the stage is finished when it is 0. 'stopped' is the message of an engine that
        failed; the answers before that are assembled and usable.

    Raises
    ------
    EngineError
        The engine could not be started or reached at all.
    """
    from linksyn_gpu.llm.journal import Journal

    ws.counts("walk")
    work = _Synthesis(ws, config, progress)
    if not (work.begin(force=force) or collect):
        return ws.counts("synthesize")
    with (
        open_workers(config.workers, config.cluster) as work.map_shards,
        engine_of(ws, config, engine) as start,
        Journal(ws.path("journal")) as journal,
    ):
        if collect or config.synthesis.engine == "batch":
            work.write_requests()
            if collect:
                work.collect(journal, collect)
        else:
            work.make_and_ask(journal, start, work.write_requests)
        return work.finish(journal)


def assemble_again(ws: Workspace) -> dict[str, Any]:
    """Write the files of kept and dropped QA again from the journal, with the settings of before; ask nothing."""
    from linksyn_gpu.llm.journal import Journal

    work = _Synthesis(ws, recorded_config(ws, "synthesize"), silent)
    with Journal(ws.path("journal"), writable=False) as journal:
        return work.finish(journal)


def prepare(ws: Workspace, config: RunConfig, *, force: bool = False, progress: Progress = silent) -> None:
    """Write the requests of a run's paths, and ask nothing. A call of `synthesize` asks for exactly these."""
    ws.counts("walk")
    work = _Synthesis(ws, config, progress)
    if work.begin(force=force):
        with open_workers(config.workers, config.cluster) as work.map_shards:
            work.write_requests()


def walk_and_synthesize(
    ws: Workspace, config: RunConfig, *, engine: StartEngine | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Stages walk and synthesize at the same time: the server answers while later rounds are walked.

    The files are the same as those of the two stages one after the other. Walks depend on the seed alone, and ids of
    requests on their content: a call after a killed one finds the answers again. Returns the counts of synthesize;
    raises the errors of both stages.
    """
    from linksyn_gpu.llm.journal import Journal

    ws.counts("build")
    begin_walk(ws, config)
    if config.synthesis.engine == "batch" or ws.finished("walk"):
        walk(ws, config, progress=progress)
        return synthesize(ws, config, engine=engine, progress=progress)
    work = _Synthesis(ws, config, progress)
    work.begin(ahead=True)
    with (
        open_workers(config.workers, config.cluster) as work.map_shards,
        engine_of(ws, config, engine) as start,
        Journal(ws.path("journal")) as journal,
    ):
        if config.synthesis.engine == "vllm":
            start()  # first: it takes its share of the device, and walks use the remaining memory

        def walk_and_write(put: Put) -> None:
            while (part := next_part(ws, config, progress)) is not None:
                work.write_requests(put, part.cells, part.earlier_rows)
                again = part.earlier_rows < work.rows_before  # a part that an earlier call did not record as walked
                with part.writer() as paths, work.writer(part.cells, part.earlier_rows) as requests:
                    for table in part.rounds():
                        paths(table)
                        for request in requests.write(path_batches(table)):
                            if not again:
                                put(request)
                part.finish()

        work.make_and_ask(journal, start, walk_and_write)
        return work.finish(journal)


class _Synthesis:
    """The steps of stage synthesize over a run folder."""

    def __init__(self, ws: Workspace, config: RunConfig, progress: Progress) -> None:
        self._ws, self._config, self._checks = ws, config.synthesis, config.checks
        self._prices = config.plan.prices
        self._progress = progress.of("synthesize")
        seeds, types = store.read_seed_table(ws), config.question_types
        self._sources = Sources(store.read_kp_names(ws), seeds.table, config.synthesis, types, seeds.taxonomy)
        self._facts: dict[str, Any] = {}
        self._expected: int | None = None
        self._skipped = 0
        self._begun = False
        self._failed: EngineError | None = None
        self.map_shards: MapShards = map
        """Maps text work over shards."""
        self.rows_before = 0
        """Paths for which an earlier call wrote the requests; they are asked first."""

    def begin(self, *, force: bool = False, ahead: bool = False) -> bool:
        """Whether the stage has work to do; `ahead`: stage walk is not finished yet."""
        from linksyn_gpu.synthesis.prompts import synthesis_digest

        if self._config.language == "auto" and (force or not self._rows_made()):
            check_languages(self._sources.seeds)
        shaping = to_mapping(self._config)
        operational = {name: shaping.pop(name) for name in OPERATIONAL}
        shaping["content of --templates"] = synthesis_digest(self._config.templates)
        settings = {
            "synthesis": shaping,
            "question_types": {k: dict(v) for k, v in self._sources.question_types.items()},
        }
        later: dict[str, Any] = {"synthesis": operational, "checks": to_mapping(self._checks)}
        if self._prices is not None:
            later["plan"] = dict(zip(("price_in", "price_out"), self._prices, strict=True))
        known = self._ws.settings("synthesize")
        if known is not None and known.get("checks", to_mapping(ChecksConfig())) != later["checks"]:
            self._ws.record("synthesize")  # the answers stay: they are assembled again with the new thresholds
        work = self._ws.begin("synthesize", settings, operational=later, force=force, ahead=ahead)
        self.rows_before = self._rows_made()
        return work

    # ------------------------------------------------------------------ requests

    def _rows_made(self) -> int:
        """Paths for which an earlier call wrote the requests; 0 where a file is damaged: all are written again."""
        ws = self._ws
        rows = store.count_rows(ws, "tasks.parquet")
        if rows == 0 or rows > store.count_rows(ws, "paths.parquet"):
            return 0
        if store.read_schema(ws, "tasks.parquet") != tasks_schema():
            return 0  # of an older version
        return rows if all(ws.intact(name) for name in self._request_files()) else 0

    def _types_of_older_version(self) -> Sequence[str | None]:
        """Question types of the requests in a tasks file of an older version, which chose them by another rule.

        Requests with these types have the ids of before: their answers are found again.
        """
        ws, name = self._ws, "tasks.parquet"
        if not ws.intact(name) or store.read_schema(ws, name) == tasks_schema():
            return ()
        types: list[str | None] = store.read_table(ws, name, ["question_type"]).column(0).to_pylist()
        return types

    def _request_files(self) -> list[str]:
        """Names of the requests files, by tasks.parquet."""
        column = store.read_table(self._ws, "tasks.parquet", ["request_file"])
        return [self._requests_name(number) for number in range(request_files(column))]

    def _requests_name(self, number: int) -> str:
        """Name of a requests file. Older versions wrote plain files for all engines: these stay."""
        plain = requests_name(number, "batch")
        return plain if self._ws.path(plain).is_file() else requests_name(number, self._config.engine)

    @contextlib.contextmanager
    def writer(self, cells: Sequence[Cell], after: int) -> Iterator[RequestsWriter]:
        """A writer behind the requests of the first `after` paths; new files appear when the block ends without an
        error."""
        ws, rows = self._ws, min(after, self._rows_made())
        known = self._request_files() if rows else []
        recorded = () if rows else self._types_of_older_version()
        for path in (ws.path("requests.jsonl"), *requests_paths(ws.folder)):
            if path.name not in {Path(name).name for name in known}:  # of a call that was killed, or an older version
                path.unlink(missing_ok=True)

        def open_file(number: int) -> contextlib.AbstractContextManager[Path]:
            return ws.replacing(requests_name(number, self._config.engine))

        with (
            ws.replacing("tasks.parquet") as tasks,
            RequestsWriter(
                self._sources, cells, open_file, tasks, recorded_types=recorded, map_shards=self.map_shards
            ) as writer,
        ):
            for table in store.read_rows(ws, "tasks.parquet", 0, rows):
                writer.resume(table)
            yield writer

    def write_requests(self, put: Put = ignore, cells: Sequence[Cell] | None = None, until: int | None = None) -> None:
        """Write the requests of the paths in paths.parquet that have none: of all, or of the first `until`.

        `cells` is the plan if it is not written.
        """
        ws, made = self._ws, self._rows_made()
        n_paths = store.count_rows(ws, "paths.parquet") if until is None else until
        if made >= n_paths:
            return
        if cells is None:
            columns = ("discipline", "difficulty", "asked", "license_group")
            cells = [Cell(*(cell[name] for name in columns)) for cell in store.read_plan(ws)]
        ends = itertools.accumulate(sum(part["paths"]) for part in planned_parts(ws))
        with self.writer(cells, made) as writer:
            for first, last in itertools.pairwise([made, *(end for end in ends if made < end <= n_paths)]):
                writer.begin_file()
                tables = store.read_rows(ws, "paths.parquet", first, last)
                for request in writer.write(itertools.chain.from_iterable(map(path_batches, tables))):
                    put(request)

    def _earlier_requests(self) -> Iterator[Request]:
        """Requests that an earlier call wrote; none if all of them have an answer and the campaign goes on."""
        grows = self.rows_before < sum(planned_paths(planned_parts(self._ws)))
        # The counts may be older than the requests: those of a call that was killed are not in them.
        counts = Counter[str](self._ws.counts_so_far("synthesize"))
        if self.rows_before > counts["requests_answered"] + counts["paths_dropped"] or not grows:
            columns = ["request_id", "question_type", "language"]
            tasks = (
                row
                for batch in store.read_batches(self._ws, "tasks.parquet", columns)
                for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
                if row[0] is not None
            )
            for request, (_, kind, language) in zip(self._all_requests(), tasks, strict=True):
                yield {**request, "asked": Asked(kind, language)}

    def _all_requests(self) -> Iterator[Request]:
        for name in self._request_files():
            yield from read_requests(self._ws.checked(name))

    # ------------------------------------------------------------------ answers

    def make_and_ask(self, journal: Journal, start: StartEngine, produce: Produce) -> None:
        """Ask for requests while `produce` makes further ones in a thread; afterwards it has made all of them."""

        def produce_all(put: Put) -> None:
            for request in self._earlier_requests():
                put(request)
            produce(put)

        with Feed(produce_all) as requests:
            self.ask(journal, requests, start)
            requests.finish()

    def ask(self, journal: Journal, requests: Iterator[Request], start: StartEngine) -> None:
        """Ask for every missing answer, within the budget. The engine is started only if there is one.

        A failure of the engine is kept for `finish`: the requests are written to the end first.
        """
        from linksyn_gpu.llm import dispatch
        from linksyn_gpu.llm.client import Limits
        from linksyn_gpu.synthesis.answers import validator

        config, index = self._config, journal.index()
        budget = run_budget(self._ws, config, "synthesize", index)
        for first in requests:
            if not index.settled(first["custom_id"]):
                break
            self._skipped += 1
        else:
            return
        if not budget.refuses(known=first["custom_id"] in index):
            stats = self._progress.asking()
            sample = SampledChecks(config, self._checks, self._progress.checked)
            before = stats.done, stats.skipped
            try:
                engine = start()
                self._begun = True
                dispatch.ask_all(
                    itertools.chain([first], requests),
                    engine,
                    journal,
                    limits=replace(Limits.of(config, engine), answer_limit=config.max_tokens),
                    validate=validator(config.field_limit, config.per_path),
                    index=index,
                    budget=budget,
                    stats=stats,
                    on_progress=lambda stats: self._show(stats, *before),
                    on_outcome=sample.take,
                )
            except EngineError as error:
                self._failed = error
            if stats.attempts:
                self._facts["server"] = stats.summary()
        if budget.met is not None:
            self._facts["bound"] = budget.met

    def collect(self, journal: Journal, files: Sequence[str]) -> None:
        """Take answers from files into the journal."""
        from linksyn_gpu.llm import batchfile
        from linksyn_gpu.synthesis.answers import validator

        ids = (request["custom_id"] for request in self._all_requests())
        validate = validator(self._config.field_limit, self._config.per_path)
        found = batchfile.collect(files, journal, ids, validate=validate)
        self._facts["collected"] = {k: dict(v) if isinstance(v, Counter) else v for k, v in vars(found).items()}

    def _show(self, stats: Stats, done_before: int, skipped_before: int) -> None:
        """Report progress; answers of an earlier call count as done."""
        if self._expected is None:
            self._expected = sum(planned_paths(planned_parts(self._ws)))  # as many requests at most
            if self.rows_before == self._expected:
                self._expected -= store.read_table(self._ws, "tasks.parquet", ["request_id"]).column(0).null_count
        found = self._skipped + stats.skipped - skipped_before
        self._progress("answers", found + stats.done - done_before, self._expected, found=found)

    # ------------------------------------------------------------------ results

    def finish(self, journal: Journal) -> dict[str, Any]:
        """Assemble the answers so far, and record the state of the stage.

        Raises
        ------
        EngineError
            The engine could not be started or reached at all.
        """
        if self._failed is not None and not self._begun:
            raise self._failed
        index = journal.index()
        counts = {**self._assemble(journal, index), **self._facts}
        if self._failed is not None:
            counts["stopped"] = str(self._failed)
        if self._config.engine == "batch":
            counts["requests_file"] = self._write_pending(index)
        if counts["pending"] == 0 and self._failed is None:
            self._ws.finish("synthesize", counts)
        else:
            self._ws.note("synthesize", counts)
        return counts

    def _assemble(self, journal: Journal, index: Index) -> dict[str, Any]:
        from linksyn_gpu.quality.checks import COMPARED, Checker, ItemRules
        from linksyn_gpu.synthesis.prompts import instruction_text
        from linksyn_gpu.synthesis.synthesize import Assembly, assemble, dropped_schema

        ws = self._ws
        groups = [cell["license_group"] for cell in store.read_plan(ws)]
        rules = ItemRules(instruction_text(self._config.templates), self._checks)

        @functools.cache
        def checker() -> Checker:  # made for the first answer: it reads all seeds
            parts = self._sources.seeds.select(COMPARED).to_batches(BATCH_ROWS)
            return Checker(row for part in parts for row in part.to_pylist())

        assembly = Assembly(self._sources, rules, lambda item, found: checker().admit(item, found), groups)
        with (
            ws.replacing("qa.parquet") as qa_parquet,
            ws.replacing("qa.jsonl") as qa_jsonl,
            ws.replacing("dropped.parquet") as dropped_parquet,
            RowWriter(qa_schema(), qa_parquet, qa_jsonl) as kept,
            RowWriter(dropped_schema(), dropped_parquet) as dropped,
        ):
            return assemble(journal, index, ws.checked("tasks.parquet"), assembly, kept, dropped, self.map_shards)

    def _write_pending(self, index: Index) -> str:
        """Write the requests that still have no answer, as the settings are now. Return a pattern of the files to send.

        On the first call these are all requests, and their files can be sent.
        """
        from linksyn_gpu.llm import batchfile
        from linksyn_gpu.llm.refusals import Dialect

        if not self.rows_before and len(index) == 0:
            return "requests/*.jsonl"
        ws = self._ws
        # First: a call that is killed must leave no request in these files that has an answer by now.
        if ws.path(PENDING).is_dir():
            ws.disk.remove_folder(ws.path(PENDING))
        ws.disk.unlink(ws.path(f"{PENDING}.jsonl"))  # of an older version
        dialect = Dialect(self._config.without, self._config.rename)
        with batchfile.RequestFiles(
            lambda number: ws.replacing(f"{PENDING}/requests-{number:05}.jsonl"), self._config
        ) as files:
            batchfile.write(
                self._all_requests(), files, settled=index, dialect=dialect, answer_limit=self._config.max_tokens
            )
        return f"{PENDING}/*.jsonl"
