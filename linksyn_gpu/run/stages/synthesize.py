"""Stage synthesize over a run folder: requests, answers from an engine or from files, and the data set they give."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from linksyn_gpu.config import RunConfig, SynthesisConfig
from linksyn_gpu.config.loader import to_mapping
from linksyn_gpu.errors import EngineError
from linksyn_gpu.run import store
from linksyn_gpu.run.ahead import read_ahead
from linksyn_gpu.run.folder import Workspace
from linksyn_gpu.run.progress import Progress, silent
from linksyn_gpu.run.serving import StartEngine, engine_of
from linksyn_gpu.run.stages.walk import begin_walk, walk, walking
from linksyn_gpu.sampling.plan import plan_cells

if TYPE_CHECKING:
    import pyarrow as pa

    from linksyn_gpu.llm.client import Stats
    from linksyn_gpu.llm.journal import Index, Journal


def synthesize(
    ws: Workspace,
    config: RunConfig,
    *,
    force: bool = False,
    collect: Sequence[str] = (),
    engine: StartEngine | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Paths -> requests -> answers -> qa.parquet, qa.jsonl and dropped.parquet. Returns the counts so far.

    Parameters
    ----------
    collect : sequence of str
        Files of answers to requests.jsonl, for engine 'batch'.
    engine : callable, optional
        Gives the running engine, started when it is first called; None: one of this call's own.

    Returns
    -------
    dict
        'pending' counts requests that are still to be asked (no answer, or a failure that passes), and
        'pending_reasons' says why: the stage is finished when it is 0.

        'stopped' says why, when the engine failed on the way: what came before is assembled and usable.

    Raises
    ------
    EngineError
        The engine could not be started or reached at all.
    """
    from linksyn_gpu.llm.journal import Journal

    ws.counts("walk")
    work = Synthesis(ws, config.synthesis, progress)
    if not (work.begin(force=force) or collect):
        return ws.counts("synthesize")
    with engine_of(ws, config, engine) as start, Journal(ws.path("journal")) as journal:
        with work.requests() as requests:
            if not collect and config.synthesis.engine != "batch":
                work.generate(journal, requests, start)
        if collect:
            work.collect(journal, collect)
        return work.close_books(journal)


def walk_and_synthesize(
    ws: Workspace, config: RunConfig, *, engine: StartEngine | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Stages walk and synthesize side by side: a round is walked while the server works on the one before.

    Nothing else is different: walks depend on the seed alone and ids of requests on their content, so a call
    that was killed finds its answers again. Returns the counts of synthesize; raises as the two stages do.
    """
    from linksyn_gpu.llm.journal import Journal

    ws.counts("build")
    work = Synthesis(ws, config.synthesis, progress)
    if config.synthesis.engine == "batch" or not begin_walk(ws, config):
        walk(ws, config, progress=progress)
        return synthesize(ws, config, engine=engine, progress=progress)
    work.begin(ahead=True)
    cells = plan_cells(config.quota, config.paths)
    with engine_of(ws, config, engine) as start, Journal(ws.path("journal")) as journal:
        if config.synthesis.engine == "vllm":
            start()  # it takes its share of the device first, and walks what is left: both by the same plan
        with (
            walking(ws, config, progress) as rounds,
            read_ahead(rounds) as walked,
            work.requests(walked, [vars(cell) for cell in cells]) as requests,
        ):
            work.generate(journal, requests, start)
        return work.close_books(journal)


class Synthesis:
    """The steps of stage synthesize over a run folder."""

    # Who is asked, how fast, how patiently and how far: none of it makes the requests other requests.
    OPERATIONAL = (
        *("base_url", "concurrency", "timeout", "max_attempts", "max_tokens_retry", "model_file", "templates"),
        *("max_requests", "budget_tokens"),
        *("vllm_python", "vllm_command", "data_parallel", "tensor_parallel", "vllm_args"),
        *("vllm_restarts", "vllm_start_timeout", "vllm_memory_share"),
    )

    def __init__(self, ws: Workspace, config: SynthesisConfig, progress: Progress) -> None:
        self._ws, self._config, self._progress = ws, config, progress
        self._names = store.read_kp_names(ws)
        self._seeds = store.read_seed_table(ws).table
        self._facts: dict[str, Any] = {}
        self._expected: int | None = None
        self._skipped = 0
        self._begun = False
        self._stats: Stats | None = None
        self._failed: EngineError | None = None

    def begin(self, *, force: bool = False, ahead: bool = False) -> bool:
        """Whether the stage has work to do; `ahead`: while stage walk is still at its own."""
        shaping, operational = self.settings()
        settings = {"synthesis": shaping}, {"synthesis": operational}
        return self._ws.begin("synthesize", settings[0], operational=settings[1], force=force, ahead=ahead)

    def settings(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What shapes the requests, the templates' content included, and what does not."""
        from linksyn_gpu.synthesis.prompts import prompt_digest

        every = to_mapping(self._config)
        operational = {name: every.pop(name) for name in self.OPERATIONAL}
        return {**every, "content of --templates": prompt_digest(self._config.templates)}, operational

    @contextlib.contextmanager
    def requests(
        self, paths: Iterable[pa.RecordBatch | pa.Table] | None = None, cells: Sequence[Mapping[str, Any]] = ()
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """Give the requests, which are all in requests.jsonl, and in tasks.parquet, when the block ends well.

        Parameters
        ----------
        paths : iterable of tables, optional
            Those of stage walk, as they come; None: what it has written.
        """
        from linksyn_gpu.synthesis.synthesize import make_requests, read_requests

        ws = self._ws
        if paths is None:
            if ws.path("requests.jsonl").is_file() and ws.path("tasks.parquet").is_file():
                yield read_requests(ws.path("requests.jsonl"))
                return
            paths, cells = store.read_paths(ws), store.read_plan(ws)
        with ws.replacing("requests.jsonl") as requests, ws.replacing("tasks.parquet") as tasks:
            made = make_requests(
                paths,
                kp_names=self._names,
                seeds=self._seeds,
                cells=[(cell["discipline"], cell["difficulty"]) for cell in cells],
                config=self._config,
                requests_file=requests,
                tasks_file=tasks,
            )
            yield made
            for _ in made:  # those that nobody asked for are written too
                pass

    def generate(self, journal: Journal, requests: Iterator[dict[str, Any]], start: StartEngine) -> None:
        """Ask the engine for every answer that is missing, as far as the budget goes; it is not started for none."""
        from linksyn_gpu.llm.budget import Budget
        from linksyn_gpu.synthesis.synthesize import generate

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
                todo, self._begun = itertools.chain([first], requests), True
                generate(todo, engine, journal, config, budget=budget, index=index, on_progress=self.show)
            except EngineError as error:
                self._failed = error  # the walk and the requests are brought to their end first
        if budget.met is not None:
            self._facts["bound"] = budget.met
        if self._stats is not None:
            self._facts["server"] = self._stats.summary()

    def close_books(self, journal: Journal) -> dict[str, Any]:
        """Assemble what there is, and note how far the stage is.

        Raises
        ------
        EngineError
            The engine could not be started or reached at all.
        """
        if self._failed is not None and not self._begun:
            raise self._failed
        index = journal.index()
        counts = {**self.assemble(journal, index), **self._facts}
        if self._failed is not None:
            counts["stopped"] = str(self._failed)
        if self._config.engine == "batch" and counts["requests_answered"]:
            self.write_pending(index)
        if counts["pending"] == 0 and self._failed is None:
            self._ws.finish("synthesize", counts)
        else:
            self._ws.note("synthesize", counts)
        return counts

    def collect(self, journal: Journal, files: Sequence[str]) -> None:
        """Take answers from files into the journal."""
        from linksyn_gpu.llm import batchfile
        from linksyn_gpu.synthesis.synthesize import read_requests, validator

        ids = (request["custom_id"] for request in read_requests(self._ws.path("requests.jsonl")))
        found = batchfile.collect(files, journal, ids, validate=validator(self._config.field_limit))
        self._facts["collected"] = {k: dict(v) if isinstance(v, Counter) else v for k, v in vars(found).items()}

    def write_pending(self, index: Index) -> None:
        """Write the requests that still have no answer to requests-pending.jsonl."""
        from linksyn_gpu.llm import batchfile
        from linksyn_gpu.synthesis.synthesize import read_requests

        with self._ws.replacing("requests-pending.jsonl") as part:
            batchfile.write(read_requests(self._ws.path("requests.jsonl")), part, settled=index)

    def show(self, stats: Stats) -> None:
        """Tell of answers as they come; those of an earlier call count as done."""
        self._stats = stats
        if self._expected is None:
            self._expected = (self._ws.settings("walk") or {}).get("paths")  # as many requests at most
            if self._ws.path("requests.jsonl").is_file():
                with self._ws.path("requests.jsonl").open("rb") as lines:
                    self._expected = sum(1 for _ in lines)
        self._progress("answers", self._skipped + stats.done + stats.skipped, self._expected)

    def assemble(self, journal: Journal, index: Index) -> dict[str, Any]:
        """Write the data set that the journal gives now."""
        from linksyn_gpu.synthesis.synthesize import assemble

        ws = self._ws
        with (
            ws.replacing("qa.parquet") as qa_parquet,
            ws.replacing("qa.jsonl") as qa_jsonl,
            ws.replacing("dropped.parquet") as dropped,
        ):
            return assemble(
                journal,
                index=index,
                tasks_file=ws.path("tasks.parquet"),
                kp_names=self._names,
                seeds=self._seeds,
                config=self._config,
                qa_parquet=qa_parquet,
                qa_jsonl=qa_jsonl,
                dropped_parquet=dropped,
            )


def recorded_synthesis(ws: Workspace) -> dict[str, Any] | None:
    """Settings that stage synthesize was begun with here, as `RunConfig` knows them; None: it never was."""
    recorded = ws.settings("synthesize")
    if recorded is None:
        return None
    return {"synthesis": {k: v for k, v in recorded["synthesis"].items() if k != "content of --templates"}}
