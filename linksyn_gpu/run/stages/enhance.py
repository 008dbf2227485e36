"""The optional stage `enhance` over a run folder: qa.parquet -> the final data set, its chosen disciplines at a level.

enhanced.parquet, enhanced.jsonl   every QA that the run keeps, those outside the chosen disciplines unchanged
enhance-dropped.parquet            the others, each with its reason
enhance-journal/                   answers by content
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu.config import ALL, RunConfig
from linksyn_gpu.config.loader import merged, to_mapping
from linksyn_gpu.errors import ConfigError, DataError, EngineError
from linksyn_gpu.quality.checks import Checker
from linksyn_gpu.quality.judge import Asking
from linksyn_gpu.run import store
from linksyn_gpu.run.folder import Workspace
from linksyn_gpu.run.progress import Progress, silent
from linksyn_gpu.run.stages.enhancement_rows import (
    NOT_EXAMINED,
    Books,
    dropped_row,
    dropped_schema,
    enhanced_schema,
    kept_row,
)
from linksyn_gpu.run.stages.synthesize import Synthesis, recorded_synthesis
from linksyn_gpu.sampling.extend import extend_path
from linksyn_gpu.synthesis.enhance import DROPPED, KEPT, Enhancer, Extension, Work, chooser
from linksyn_gpu.synthesis.prompts.enhancement import enhancement_digest, enhancement_instructions
from linksyn_gpu.synthesis.requests import SeedRows, default_model, max_prompt_chars
from linksyn_gpu.tables import KPGraph, WalkBatch, record_batch
from linksyn_gpu.text import name_key

if TYPE_CHECKING:
    from linksyn_gpu.llm import Engine
    from linksyn_gpu.llm.budget import Budget
    from linksyn_gpu.llm.journal import Journal
    from linksyn_gpu.llm.protocol import Outcome

JOURNAL = "enhance-journal"
"""Answers by content: no stage's output, so that --force and other settings find again what was paid for."""
ROWS_IN_WORK = 4096
"""QA that take each step together; rows that pass through wait with them, up to eight times as many."""
SHAPING = ("engine", "model", "temperature", "top_p", "max_tokens", "max_prompt_chars", "max_field_chars")
OPERATIONAL = Synthesis.OPERATIONAL


def enhance(
    ws: Workspace,
    config: RunConfig,
    engine: Callable[[], Engine],
    *,
    force: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Bring the QA of the chosen disciplines to a level. Returns the counts so far.

    Parameters
    ----------
    engine : callable
        Gives the running engine; called when there is something to ask, and not before.

    Returns
    -------
    dict
        'pending' counts QA that wait for an answer: the stage is finished when it is 0. 'stopped' says why, when
        the engine failed on the way: what is decided by then is written and usable.

    Raises
    ------
    ConfigError
        No discipline is chosen, or stage synthesize is not finished.
    EngineError
        The engine could not be started or reached at all.
    """
    if not config.enhance.asked_for:
        raise ConfigError(f"no discipline is chosen: name some with --enhance-disciplines, or {ALL!r}")
    if config.synthesis.engine == "batch":
        raise ConfigError(
            "stage enhance asks step by step and needs a server; engine 'batch' has none: "
            "pass --engine openai --base-url URL, or --engine vllm"
        )
    shaping, operational = _settings(ws, config)
    if not ws.begin("enhance", shaping, operational={"synthesis": operational}, force=force):
        return ws.counts("enhance")
    counts = _Enhancement(ws, config, engine, progress).run()
    if counts["pending"] == 0 and "stopped" not in counts:
        ws.finish("enhance", counts)
    else:
        ws.note("enhance", counts)
    return counts


def recorded_enhancement(ws: Workspace) -> dict[str, Any]:
    """Settings that the stage was begun with here, on top of those of stage synthesize."""
    settings = ws.settings("enhance") or {}
    own: dict[str, Any] = {name: settings[name] for name in ("enhance", "synthesis") if name in settings}
    return merged(recorded_synthesis(ws) or {}, own)


def _settings(ws: Workspace, config: RunConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """What shapes the stage's output, and what does not."""
    made = ws.counts("synthesize")
    every = to_mapping(config.synthesis)
    shaping = {
        "enhance": to_mapping(config.enhance),
        "synthesis": {name: every[name] for name in SHAPING},
        "content of --templates": enhancement_digest(config.synthesis.templates),
        # Answers that were collected later make another qa.parquet under the same settings.
        "input": {"kept QA": made["kept"], "bytes of qa.parquet": ws.path("qa.parquet").stat().st_size},
    }
    return shaping, {name: every[name] for name in OPERATIONAL}


class _Enhancement:
    """The stage's steps over a run folder."""

    def __init__(self, ws: Workspace, config: RunConfig, engine: Callable[[], Engine], progress: Progress) -> None:
        self._ws, self._config, self._engine, self._progress = ws, config, engine, progress
        self._stopped: str | None = None
        self._answers = 0
        self._graph: KPGraph = store.read_graph(ws)[0]
        self._names = store.read_kp_names(ws)
        self._seeds = store.read_seed_table(ws)
        self._seed_rows = SeedRows(self._seeds.table)
        self._journal: Journal
        self._budget: Budget
        self._books = Books(config.enhance)
        self._enhancer = self._make_enhancer()

    def _make_enhancer(self) -> Enhancer:
        from linksyn_gpu.synthesis.synthesize import validator

        synthesis = self._config.synthesis
        limit = synthesis.field_limit
        asking = Asking(
            synthesis.model or default_model(synthesis),
            synthesis.templates,
            synthesis.temperature,
            synthesis.top_p,
            synthesis.max_tokens,
            limit,
            max_prompt_chars(synthesis),
        )
        seeds = (text or "" for chunk in self._seeds.table.column("question").chunks for text in chunk.to_pylist())
        earlier = (text for batch in self._qa(["question"]) for text in batch.column("question").to_pylist())
        return Enhancer(
            self._config.enhance,
            asking,
            self._ask,
            self._extend,
            self._seed_rows.take,
            self._names,
            Checker(seeds, enhancement_instructions(synthesis.templates), earlier),
            validator(limit),
        )

    def run(self) -> dict[str, Any]:
        """Write the stage's files and give its counts."""
        from linksyn_gpu.llm.journal import Journal

        ws, enhancer, books = self._ws, self._enhancer, self._books
        total, missing = self._candidates()
        with (
            Journal(ws.path(JOURNAL)) as self._journal,
            ws.replacing("enhanced.parquet") as parquet,
            ws.replacing("enhanced.jsonl") as jsonl,
            ws.replacing("enhance-dropped.parquet") as dropped,
            _Writer(enhanced_schema(), parquet, jsonl) as kept_file,
            _Writer(dropped_schema(), dropped) as dropped_file,
        ):
            self._budget = self._make_budget()
            done = 0
            for block in self._blocks():
                works = [row for row in block if isinstance(row, Work)]
                enhancer.run(works)
                for work in works:
                    books.add(work)
                kept_file.write(self._kept(block))
                dropped_file.write([dropped_row(w, self._config.enhance) for w in works if w.state == DROPPED])
                done += len(works)
                self._progress("QA enhanced", done, total)
        counts = {**books.counts(enhancer.spent), "disciplines_without_qa": missing}
        if self._stopped is not None:
            counts["stopped"] = self._stopped
        if self._budget.met is not None:
            counts["bound"] = self._budget.met
        return counts

    def _make_budget(self) -> Budget:
        """What the run may still ask: its bounds are on stage synthesize and this one together."""
        from linksyn_gpu.llm.budget import Budget
        from linksyn_gpu.llm.journal import Journal

        synthesis, own = self._config.synthesis, self._journal.index()
        bounds = synthesis.max_requests, synthesis.budget_tokens
        if bounds == (None, None):
            return Budget()
        with Journal(self._ws.path("journal"), writable=False) as journal:
            before = journal.index()
        return Budget(*bounds, requests=len(before) + len(own), tokens=before.tokens + own.tokens)

    def _kept(self, block: Sequence[Work | dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows of the final data set, in the order of qa.parquet."""
        extensions = (row.last.extension for row in block if isinstance(row, Work) and row.state == KEPT)
        seeds = self._seed_rows.take(seed for found in extensions if found is not None for seed in found.seeds)
        ids = {number: seed["id"] for number, seed in seeds.items()}
        config, asking = self._config.enhance, self._enhancer.asking
        digest = enhancement_digest(asking.templates)
        rows = []
        for row in block:
            if not isinstance(row, Work):
                rows.append({**row, **NOT_EXAMINED})
            elif row.state == KEPT:
                rows.append(kept_row(row, config, asking, digest, self._names, ids))
        return rows

    # ------------------------------------------------------------------ rows

    def _qa(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """qa.parquet in batches."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(self._ws.path("qa.parquet")) as file:
            yield from file.iter_batches(ROWS_IN_WORK, columns=columns)

    def _candidates(self) -> tuple[int, list[str]]:
        """How many QA are of a chosen discipline, and which of those chosen have none."""
        chosen = self._config.enhance.disciplines
        is_chosen = chooser(chosen)
        total, seen = 0, set()
        for batch in self._qa(["discipline"]):
            for name in batch.column("discipline").to_pylist():
                if is_chosen(name):
                    total += 1
                    seen.add(name_key(name or ""))
        return total, [name for name in chosen if name != ALL and name_key(name) not in seen]

    def _blocks(self) -> Iterator[list[Work | dict[str, Any]]]:
        """Rows in their order, as many candidates at a time as are taken into work."""
        is_chosen = chooser(self._config.enhance.disciplines)
        tasks = self._tasks()
        task: tuple[str, list[int], list[int]] = ("", [], [])
        block: list[Work | dict[str, Any]] = []
        candidates = 0
        for row in (row for batch in self._qa() for row in batch.to_pylist()):
            self._books.qa += 1
            if is_chosen(row["discipline"]):
                while task[0] != row["request_id"]:  # both files are in the order of the requests
                    task = next(tasks)
                block.append(Work(row, tuple(task[1]), tuple(task[2])))
                candidates += 1
            else:
                self._books.passed_through += 1
                block.append(row)
            if candidates == ROWS_IN_WORK or len(block) == 8 * ROWS_IN_WORK:
                yield block
                block, candidates = [], 0
        yield block

    def _tasks(self) -> Iterator[tuple[str, list[int], list[int]]]:
        """(request id, KPs, seeds) of each request that was made."""
        import pyarrow.parquet as pq

        names = ("request_id", "nodes", "seeds")
        path = self._ws.path("tasks.parquet")
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_IN_WORK, columns=list(names)):
                for name, nodes, seeds in zip(*(batch.column(n).to_pylist() for n in names), strict=True):
                    if name is not None:
                        yield name, nodes, seeds
        raise DataError(f"{path} does not hold the request of a row of qa.parquet; do stage synthesize again")

    # ------------------------------------------------------------------ what a step needs

    def _ask(
        self, kind: str, requests: Sequence[Any], validate: Callable[[str], str | None]
    ) -> Iterable[Outcome | None]:
        """Ask what the journal has no answer for, and read all answers back, one at a time.

        Once the engine has failed, or a bound is met, nothing more is asked: rows then come as far as earlier answers
        carry them.
        """
        from linksyn_gpu.llm.client import Limits
        from linksyn_gpu.llm.dispatch import ask_all

        todo = [] if self._stopped is not None else list(self._journal.index().unsettled(requests))
        if todo and not self._budget.refuses():
            engine = self._engine()
            before = self._answers
            try:
                stats = ask_all(
                    todo,
                    engine,
                    self._journal,
                    limits=Limits.of(self._config.synthesis, engine),
                    validate=validate,
                    budget=self._budget,
                    on_progress=lambda stats: self._progress(f"{kind} answers", before + stats.done, None),
                )
                self._answers += stats.done
            except EngineError as error:
                self._stopped = str(error)
        return (self._journal.outcome(request["custom_id"]) for request in requests)

    def _extend(self, works: Sequence[Work], number: int) -> list[Extension]:
        """Walk on from each path and link seeds along the longer one.

        A bundle holds the QA's own seeds and up to one more for each new step, those linked at the new ends first: a
        new edge whose only seed is there already gives its place to another seed of the same path. Seeds near the
        level asked for are preferred. How often the campaign used a seed is not looked at: a bundle must not depend
        on which rows are in work.
        """
        from linksyn_gpu.sampling.bundle import SeedLinker

        settings = self._ws.settings("walk")
        assert settings is not None  # stage synthesize is finished
        seed, steps, level = settings["seed"], self._config.enhance.extra_steps, self._config.enhance.level
        longer = [
            extend_path(self._graph, np.array(w.nodes, np.int32), w.row["walk_id"], steps, seed=seed, attempt=number)
            for w in works
        ]
        batch = _as_batch([path for path, _ in longer], [work.row["walk_id"] for work in works])
        # The CPU: the device may be the server's now, and every backend links the same seeds.
        linker = SeedLinker(self._graph, self._seeds, None, seed, "cpu")
        linked = linker.link_round(batch, level)
        found = []
        for work, (path, before), row, size in zip(works, longer, linked.seeds, linked.sizes, strict=True):
            added = path.size - len(work.nodes)
            new = further_seeds(work.seeds, row[:size].tolist(), before, added - before)
            found.append(Extension(tuple(path.tolist()), (*work.seeds, *new), added))
        return found


def further_seeds(own: Sequence[int], linked: Sequence[int], before: int, behind: int) -> list[int]:
    """Those of the seeds linked along a longer path that join a bundle: one for each step, from both ends inwards."""
    new = [seed for seed in linked if seed not in own]
    return new if len(new) <= before + behind else new[:before] + new[len(new) - behind :]


def _as_batch(paths: Sequence[Any], ids: Sequence[int]) -> WalkBatch:
    n = len(paths)
    lengths = np.array([path.size for path in paths], np.int32)
    nodes = np.full((n, int(lengths.max(initial=2))), -1, np.int32)
    for row, path in zip(nodes, paths, strict=True):
        row[: path.size] = path
    zeros = np.zeros(n, np.int32)
    return WalkBatch(nodes, lengths, np.array(ids, np.int64), np.zeros(n, np.uint8), zeros, zeros)


class _Writer(contextlib.ExitStack):
    """Rows to a Parquet file and, if wanted, to JSON Lines."""

    def __init__(self, schema: Any, parquet: Any, jsonl: Any = None) -> None:
        import pyarrow.parquet as pq

        super().__init__()
        self._schema = schema
        self._parquet = self.enter_context(pq.ParquetWriter(parquet, schema, compression="zstd"))
        self._lines: IO[str] | None = None
        if jsonl is not None:
            self._lines = self.enter_context(jsonl.open("w", encoding="utf-8", errors="replace", newline="\n"))

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        self._parquet.write_batch(record_batch(rows, self._schema))
        for row in rows if self._lines is not None else ():
            assert self._lines is not None
            self._lines.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
