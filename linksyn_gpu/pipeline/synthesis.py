"""Stage synthesize over a run folder: requests, answers from an engine or from files, and the data set they give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from linksyn_gpu import store
from linksyn_gpu.config import RunConfig, SynthesisConfig
from linksyn_gpu.errors import EngineError
from linksyn_gpu.pipeline.progress import Progress, silent
from linksyn_gpu.pipeline.serving import walk_bytes
from linksyn_gpu.settings import to_mapping
from linksyn_gpu.workspace import Workspace

if TYPE_CHECKING:
    from linksyn_gpu.llm.journal import Index, Journal


def synthesize(
    ws: Workspace,
    config: RunConfig,
    *,
    force: bool = False,
    collect: Sequence[str] = (),
    progress: Progress = silent,
) -> dict[str, Any]:
    """Paths -> requests -> answers -> qa.parquet, qa.jsonl and dropped.parquet. Returns the counts so far.

    Parameters
    ----------
    collect : sequence of str
        Files of answers to requests.jsonl, for engine 'batch'.

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
    work = _Synthesis(ws, config.synthesis, progress)
    shaping, operational = work.settings()
    todo = ws.begin("synthesize", {"synthesis": shaping}, operational={"synthesis": operational}, force=force)
    if not (todo or collect):
        return ws.counts("synthesize")
    work.write_requests()
    stopped = None
    with Journal(ws.path("journal")) as journal:
        if collect:
            work.collect(journal, collect)
        elif config.synthesis.engine != "batch":
            stopped = work.generate(journal, walk_bytes(ws, config))
        index = journal.index()
        counts = work.assemble(journal, index)
        if stopped is not None:
            counts["stopped"] = stopped
        if config.synthesis.engine == "batch" and counts["requests_answered"]:
            work.write_pending(index)
    if counts["pending"] == 0:
        ws.finish("synthesize", counts)
    else:
        ws.note("synthesize", counts)
    return counts


class _Synthesis:
    """The steps of stage synthesize over a run folder."""

    # Who is asked, how fast and how patiently: none of it makes the requests other requests.
    OPERATIONAL = (
        *("base_url", "concurrency", "timeout", "max_attempts", "max_tokens_retry", "model_file", "templates"),
        *("vllm_python", "vllm_command", "data_parallel", "tensor_parallel", "vllm_args"),
        *("vllm_restarts", "vllm_start_timeout", "vllm_memory_share"),
    )

    def __init__(self, ws: Workspace, config: SynthesisConfig, progress: Progress) -> None:
        self._ws, self._config, self._progress = ws, config, progress
        self._names = store.read_kp_names(ws)
        self._seeds = store.read_seed_table(ws).table
        self.collected: dict[str, Any] | None = None
        self._requests = 0

    def settings(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What shapes the requests, the templates' content included, and what does not."""
        from linksyn_gpu.prompts import prompt_digest

        every = to_mapping(self._config)
        operational = {name: every.pop(name) for name in self.OPERATIONAL}
        return {**every, "content of --templates": prompt_digest(self._config.templates)}, operational

    def write_requests(self) -> None:
        """Write requests.jsonl, and tasks.parquet before it; both stay when they are there."""
        from linksyn_gpu.synthesize import write_requests

        ws = self._ws
        if ws.path("requests.jsonl").is_file() and ws.path("tasks.parquet").is_file():
            return
        total = ws.counts("walk")["paths"]
        cells = [(cell["discipline"], cell["difficulty"]) for cell in store.read_plan(ws)]
        with ws.replacing("requests.jsonl") as requests, ws.replacing("tasks.parquet") as tasks:
            write_requests(
                store.read_paths(ws),
                kp_names=self._names,
                seeds=self._seeds,
                cells=cells,
                config=self._config,
                requests_file=requests,
                tasks_file=tasks,
                on_progress=lambda done: self._progress("requests written", done, total),
            )

    def generate(self, journal: Journal, walk_bytes: int) -> str | None:
        """Ask the engine for every answer that is missing; says why when it failed on the way.

        A server that is started for it leaves `walk_bytes` of the device alone.
        """
        from linksyn_gpu.llm import servers
        from linksyn_gpu.synthesize import generate

        with servers.running(self._config, folder=self._ws.folder, walk_bytes=walk_bytes) as engine:
            try:
                generate(self._ws.path("requests.jsonl"), engine, journal, self._config, on_progress=self.show)
            except EngineError as error:
                return str(error)
        return None

    def collect(self, journal: Journal, files: Sequence[str]) -> None:
        """Take answers from files into the journal."""
        from linksyn_gpu.llm import batchfile
        from linksyn_gpu.synthesize import read_requests, validator

        ids = (request["custom_id"] for request in read_requests(self._ws.path("requests.jsonl")))
        found = batchfile.collect(files, journal, ids, validate=validator(self._config.field_limit))
        self.collected = {k: dict(v) if isinstance(v, Counter) else v for k, v in vars(found).items()}

    def write_pending(self, index: Index) -> None:
        """Write the requests that still have no answer to requests-pending.jsonl."""
        from linksyn_gpu.llm import batchfile
        from linksyn_gpu.synthesize import read_requests

        with self._ws.replacing("requests-pending.jsonl") as part:
            batchfile.write(read_requests(self._ws.path("requests.jsonl")), part, settled=index)

    def show(self, stats: Any) -> None:
        """Tell of answers as they come; those of an earlier call count as done."""
        if self._requests == 0:
            with self._ws.path("requests.jsonl").open("rb") as lines:
                self._requests = sum(1 for _ in lines)
        self._progress("answers", stats.done + stats.skipped, self._requests)

    def assemble(self, journal: Journal, index: Index) -> dict[str, Any]:
        """Write the data set that the journal gives now."""
        from linksyn_gpu.synthesize import assemble

        ws = self._ws
        with (
            ws.replacing("qa.parquet") as qa_parquet,
            ws.replacing("qa.jsonl") as qa_jsonl,
            ws.replacing("dropped.parquet") as dropped,
        ):
            counts = assemble(
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
        if self.collected is not None:
            counts["collected"] = self.collected
        return counts


def recorded_synthesis(ws: Workspace) -> dict[str, Any] | None:
    """Settings that stage synthesize was begun with here, as `RunConfig` knows them; None: it never was."""
    recorded = ws.settings("synthesize")
    if recorded is None:
        return None
    return {"synthesis": {k: v for k, v in recorded["synthesis"].items() if k != "content of --templates"}}
