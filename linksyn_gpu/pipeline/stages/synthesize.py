"""Stage synthesize over a run folder: paths -> requests -> answers -> qa.parquet, qa.jsonl and dropped.parquet."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from linksyn_gpu.config import RunConfig, SynthesisConfig
from linksyn_gpu.config.loader import to_mapping
from linksyn_gpu.errors import EngineError
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.feed import Feed
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.progress import Progress, silent
from linksyn_gpu.pipeline.serving import StartEngine, engine_of
from linksyn_gpu.pipeline.stages.walk import Campaign, begin_walk, walk
from linksyn_gpu.synthesis.requests import RequestsWriter, Sources, check_languages, path_batches, read_requests
from linksyn_gpu.tables import Cell, RowWriter, qa_schema

if TYPE_CHECKING:
    from linksyn_gpu.llm.client import Stats
    from linksyn_gpu.llm.journal import Index, Journal

Request = dict[str, Any]
Produce = Callable[[Callable[[Request], None]], None]
"""Makes all requests and passes each one to a function."""

OPERATIONAL = (
    *("base_url", "concurrency", "timeout", "max_attempts", "max_tokens_retry", "model_file", "templates"),
    *("max_tokens", "without", "rename", "max_requests", "budget_tokens"),
    *("vllm_python", "vllm_command", "data_parallel", "tensor_parallel", "vllm_args"),
    *("vllm_restarts", "vllm_start_timeout", "vllm_memory_share"),
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
        Files of answers to requests.jsonl, for engine 'batch'.
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
    work = _Synthesis(ws, config.synthesis, progress)
    if not (work.begin(force=force) or collect):
        return ws.counts("synthesize")
    with engine_of(ws, config, engine) as start, Journal(ws.path("journal")) as journal:
        if collect or config.synthesis.engine == "batch":
            if not work.has_requests:
                work.write_requests(lambda request: None)
            if collect:
                work.collect(journal, collect)
        elif work.has_requests:
            work.ask(journal, read_requests(ws.path("requests.jsonl")), start)
        else:
            work.make_and_ask(journal, start, work.write_requests)
        return work.finish(journal)


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
    if config.synthesis.engine == "batch" or not begin_walk(ws, config):
        walk(ws, config, progress=progress)
        return synthesize(ws, config, engine=engine, progress=progress)
    work = _Synthesis(ws, config.synthesis, progress)
    work.begin(ahead=True)
    with engine_of(ws, config, engine) as start, Journal(ws.path("journal")) as journal:
        if config.synthesis.engine == "vllm":
            start()  # first: it takes its share of the device, and walks use the remaining memory
        campaign = Campaign(ws, config, progress)

        def walk_and_write(put: Callable[[Request], None]) -> None:
            with (
                ws.replacing("paths.parquet") as part,
                store.paths_writer(part) as paths,
                work.writer(campaign.cells) as requests,
            ):
                for table in campaign.rounds():
                    paths.write_table(table)
                    for batch in path_batches(table):
                        for request in requests.write(batch):
                            put(request)
            campaign.finish()

        work.make_and_ask(journal, start, walk_and_write)
        return work.finish(journal)


class _Synthesis:
    """The steps of stage synthesize over a run folder."""

    def __init__(self, ws: Workspace, config: SynthesisConfig, progress: Progress) -> None:
        self._ws, self._config, self._progress = ws, config, progress
        self._sources = Sources(store.read_kp_names(ws), store.read_seed_table(ws).table, config)
        self._facts: dict[str, Any] = {}
        self._expected: int | None = None
        self._skipped = 0
        self._begun = False
        self._stats: Stats | None = None
        self._failed: EngineError | None = None
        self._had_requests = self.has_requests

    def begin(self, *, force: bool = False, ahead: bool = False) -> bool:
        """Whether the stage has work to do; `ahead`: stage walk is not finished yet."""
        from linksyn_gpu.synthesis.prompts import synthesis_digest

        if self._config.language == "auto" and (force or not self.has_requests):
            check_languages(self._sources.seeds)
        shaping = to_mapping(self._config)
        operational = {name: shaping.pop(name) for name in OPERATIONAL}
        shaping["content of --templates"] = synthesis_digest(self._config.templates)
        return self._ws.begin(
            "synthesize", {"synthesis": shaping}, operational={"synthesis": operational}, force=force, ahead=ahead
        )

    # ------------------------------------------------------------------ requests

    @property
    def has_requests(self) -> bool:
        """Whether an earlier call wrote the requests; damaged or exchanged files are written again."""
        return self._ws.intact("requests.jsonl") and self._ws.intact("tasks.parquet")

    @contextlib.contextmanager
    def writer(self, cells: Sequence[Cell]) -> Iterator[RequestsWriter]:
        """A writer of requests.jsonl and tasks.parquet, which appear when the block ends without an error."""
        with (
            self._ws.replacing("requests.jsonl") as requests,
            self._ws.replacing("tasks.parquet") as tasks,
            RequestsWriter(self._sources, cells, requests, tasks) as writer,
        ):
            yield writer

    def write_requests(self, put: Callable[[Request], None]) -> None:
        """Write the requests of paths.parquet."""
        plan = store.read_plan(self._ws)
        with self.writer([Cell(cell["discipline"], cell["difficulty"], cell["asked"]) for cell in plan]) as writer:
            for table in store.read_batches(self._ws, "paths.parquet"):
                for batch in path_batches(table):
                    for request in writer.write(batch):
                        put(request)

    # ------------------------------------------------------------------ answers

    def make_and_ask(self, journal: Journal, start: StartEngine, produce: Produce) -> None:
        """Ask for requests while `produce` makes them in a thread; afterwards it has made all of them."""
        with Feed(produce) as requests:
            self.ask(journal, requests, start)
            requests.finish()

    def ask(self, journal: Journal, requests: Iterator[Request], start: StartEngine) -> None:
        """Ask for every missing answer, within the budget. The engine is started only if there is one.

        A failure of the engine is kept for `finish`: the requests are written to the end first.
        """
        from linksyn_gpu.llm import dispatch
        from linksyn_gpu.llm.budget import Budget
        from linksyn_gpu.llm.client import Limits
        from linksyn_gpu.synthesis.answers import validator

        config, index = self._config, journal.index()
        budget = Budget(config.max_requests, config.budget_tokens, requests=len(index), tokens=index.tokens)
        for first in requests:
            if not index.settled(first["custom_id"]):
                break
            self._skipped += 1
        else:
            return
        if not budget.refuses(known=first["custom_id"] in index):
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
                    on_progress=self._show,
                )
            except EngineError as error:
                self._failed = error
        if budget.met is not None:
            self._facts["bound"] = budget.met
        if self._stats is not None:
            self._facts["server"] = self._stats.summary()

    def collect(self, journal: Journal, files: Sequence[str]) -> None:
        """Take answers from files into the journal."""
        from linksyn_gpu.llm import batchfile
        from linksyn_gpu.synthesis.answers import validator

        ids = (request["custom_id"] for request in read_requests(self._ws.checked("requests.jsonl")))
        validate = validator(self._config.field_limit, self._config.per_path)
        found = batchfile.collect(files, journal, ids, validate=validate)
        self._facts["collected"] = {k: dict(v) if isinstance(v, Counter) else v for k, v in vars(found).items()}

    def _show(self, stats: Stats) -> None:
        """Report progress; answers of an earlier call count as done."""
        self._stats = stats
        if self._expected is None:
            self._expected = (self._ws.settings("walk") or {}).get("paths")  # as many requests at most
            if self._ws.path("requests.jsonl").is_file():
                with self._ws.path("requests.jsonl").open("rb") as lines:
                    self._expected = sum(1 for _ in lines)
        self._progress("answers", self._skipped + stats.done + stats.skipped, self._expected)

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
        from linksyn_gpu.quality.checks import COMPARED, Checker
        from linksyn_gpu.synthesis.prompts import instruction_text
        from linksyn_gpu.synthesis.synthesize import Assembly, assemble, dropped_schema

        ws, parts = self._ws, self._sources.seeds.select(COMPARED).to_batches()
        seeds = (row for part in parts for row in part.to_pylist())
        assembly = Assembly(self._sources, Checker(seeds, instruction_text(self._config.templates)).check)
        with (
            ws.replacing("qa.parquet") as qa_parquet,
            ws.replacing("qa.jsonl") as qa_jsonl,
            ws.replacing("dropped.parquet") as dropped_parquet,
            RowWriter(qa_schema(), qa_parquet, qa_jsonl) as kept,
            RowWriter(dropped_schema(), dropped_parquet) as dropped,
        ):
            return assemble(journal, index, ws.checked("tasks.parquet"), assembly, kept, dropped)

    def _write_pending(self, index: Index) -> str:
        """Write the requests that still have no answer, as the settings are now. Return the name of the file to send.

        On the first call these are all requests, and requests.jsonl is the file.
        """
        from linksyn_gpu.llm import batchfile
        from linksyn_gpu.llm.refusals import Dialect

        if not self._had_requests:
            return "requests.jsonl"
        dialect = Dialect(self._config.without, self._config.rename)
        with self._ws.replacing("requests-pending.jsonl") as part:
            requests = read_requests(self._ws.checked("requests.jsonl"))
            batchfile.write(requests, part, settled=index, dialect=dialect, answer_limit=self._config.max_tokens)
        return "requests-pending.jsonl"
