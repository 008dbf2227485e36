"""The optional stage `enhance` over a run folder: brings the QA of chosen disciplines to a level.

enhanced.parquet, enhanced.jsonl   the final data set; QA outside the chosen disciplines are unchanged
enhance-dropped.parquet            the dropped QA, each with its reason
enhance-journal/                   answers by content
"""

from __future__ import annotations

import functools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu.config import ALL, EnhanceConfig, RunConfig
from linksyn_gpu.config.loader import merged, to_mapping
from linksyn_gpu.errors import ConfigError, DataError, EngineError
from linksyn_gpu.llm.asking import MeteredAsk, Validate
from linksyn_gpu.llm.prompting import prompt_digest, stage_templates
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.progress import Progress, silent
from linksyn_gpu.pipeline.serving import JOURNALS, run_budget
from linksyn_gpu.pipeline.stages.synthesize import OPERATIONAL
from linksyn_gpu.quality import checks, judge
from linksyn_gpu.sampling.extend import extend_path
from linksyn_gpu.synthesis import prompts
from linksyn_gpu.synthesis.enhance import DROPPED, KEPT, PENDING, Enhancer, Extension, Work, chooser
from linksyn_gpu.synthesis.requests import SeedRows
from linksyn_gpu.synthesis.synthesize import sampling_columns, written_columns
from linksyn_gpu.tables import Cell, KPGraph, RowWriter, WalkBatch, qa_schema
from linksyn_gpu.taxonomy.difficulty import LEVELS
from linksyn_gpu.text import name_key

if TYPE_CHECKING:
    import pyarrow as pa

    from linksyn_gpu.llm import Engine
    from linksyn_gpu.llm.budget import Budget
    from linksyn_gpu.llm.journal import Journal
    from linksyn_gpu.llm.protocol import Outcome
    from linksyn_gpu.sampling.bundle import SeedLinker

JOURNAL = JOURNALS["enhance"]
"""Answers by content. Not an output of the stage: --force and other settings find paid answers again."""
ROWS_IN_WORK = 4096
"""QA that take each step together. Up to eight times as many rows of other disciplines are held with them."""
SHAPING = ("engine", "model", "temperature", "top_p", "max_prompt_chars", "max_field_chars")
"""Settings of `SynthesisConfig` that change the requests of this stage."""


def enhance(
    ws: Workspace, config: RunConfig, engine: Callable[[], Engine], *, force: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Bring the QA of the chosen disciplines to a level. Returns the counts so far.

    Parameters
    ----------
    engine : callable
        Returns the running engine; called only when there is something to ask.

    Returns
    -------
    dict
        'pending' counts QA that wait for an answer: the stage is finished when it is 0. 'stopped' is the message of an
        engine that failed; the rows decided before that are written and usable.

    Raises
    ------
    ConfigError
        No discipline is chosen, or stage synthesize is not finished.
    EngineError
        The engine could not be started or reached at all.
    """
    if not config.enhance.asked_for:
        raise ConfigError(f"no discipline is chosen: name some with --enhance-disciplines, or use {ALL!r}")
    if config.synthesis.engine == "batch":
        raise ConfigError(
            "stage enhance asks step by step and needs a server, which engine 'batch' does not have: "
            "use --engine openai --base-url URL, or --engine vllm"
        )
    if (ws.settings("walk") or {}).get("bundle", {}).get("license_groups"):
        raise ConfigError(
            "stage enhance adds seeds to a bundle without regard to bundle.license_groups: leave one of the two out"
        )
    shaping, operational = _settings(ws, config)
    operational = {"synthesis": operational}
    # Of a larger input, the QA that were here before keep their answers, which are found by content.
    if not ws.begin("enhance", shaping, operational=operational, force=force, growing=("input",)):
        return ws.counts("enhance")
    counts = _Enhancement(ws, config, engine, progress).run()
    if counts["pending"] == 0 and "stopped" not in counts:
        ws.finish("enhance", counts)
    else:
        ws.note("enhance", counts)
    return counts


def recorded_enhancement(ws: Workspace) -> dict[str, Any]:
    """Settings of the stage in this run, on top of those of stage synthesize."""
    return merged(ws.settings("synthesize") or {}, ws.settings("enhance") or {})


@functools.lru_cache(maxsize=8)
def enhancement_digest(templates: str | None = None) -> str:
    """Hash of the stage's templates and level definitions."""
    return prompt_digest(json.dumps([_templates(templates), LEVELS]))


def enhancement_instructions(templates: str | None = None) -> str:
    """The fixed text of the stage's prompts, which a rewritten question must not repeat."""
    return prompts.fixed_text(_templates(templates))


def _templates(templates: str | None) -> list[str]:
    kinds = (*judge.KINDS, "enhance")
    return stage_templates([judge.TEMPLATES, prompts.TEMPLATES], kinds, templates, [prompts.KIND, "score"])


def _settings(ws: Workspace, config: RunConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings that change the stage's output, and those that do not."""
    made = ws.counts("synthesize")
    every = to_mapping(config.synthesis)
    shaping = {
        "enhance": to_mapping(config.enhance),
        "synthesis": {name: every[name] for name in SHAPING},
        "content of --templates": enhancement_digest(config.synthesis.templates),
        # A campaign that grows gives another qa.parquet with the same settings.
        "input": {"kept QA": made["kept"], "bytes of qa.parquet": ws.path("qa.parquet").stat().st_size},
    }
    return shaping, {name: every[name] for name in OPERATIONAL}


class _Enhancement:
    """The stage's steps over a run folder."""

    def __init__(self, ws: Workspace, config: RunConfig, engine: Callable[[], Engine], progress: Progress) -> None:
        self._ws, self._config, self._engine, self._progress = ws, config, engine, progress.of("enhance")
        self._stopped: str | None = None
        self._graph: KPGraph = store.read_graph(ws)[0]
        self._names = store.read_kp_names(ws)
        self._seeds = store.read_seed_table(ws)
        self._seed_rows = SeedRows(self._seeds.table)
        self._journal: Journal
        self._budget: Budget
        self._tally = Tally(config.enhance)
        self._asking = config.synthesis
        self._ask = MeteredAsk(self._send, self._asking.prompt_limit)

    def run(self) -> dict[str, Any]:
        """Write the stage's files and return its counts."""
        from linksyn_gpu.llm.journal import Journal

        ws, tally, config = self._ws, self._tally, self._config.enhance
        total, missing = self._candidates()
        with (
            Journal(ws.path(JOURNAL)) as self._journal,
            ws.replacing("enhanced.parquet") as parquet,
            ws.replacing("enhanced.jsonl") as jsonl,
            ws.replacing("enhance-dropped.parquet") as dropped,
            RowWriter(enhanced_schema(), parquet, jsonl) as kept_file,
            RowWriter(enhance_dropped_schema(), dropped) as dropped_file,
        ):
            self._budget = run_budget(ws, self._config.synthesis, "enhance", self._journal.index())
            enhancer = self._make_enhancer()
            done = 0
            for block in self._blocks():
                works = [row for row in block if isinstance(row, Work)]
                enhancer.run(works)
                for work in works:
                    tally.add(work)
                kept_file.write(self._kept(block))
                dropped_file.write([dropped_row(work, config) for work in works if work.state == DROPPED])
                done += len(works)
                self._progress("QA enhanced", done, total)
        counts = {**tally.counts(self._ask.spent), "disciplines_without_qa": missing}
        if self._stopped is not None:
            counts["stopped"] = self._stopped
        if self._budget.met is not None:
            counts["bound"] = self._budget.met
        return counts

    def _make_enhancer(self) -> Enhancer:
        config, asking = self._config.enhance, self._asking
        seeds = (row for part in self._seeds.table.select(checks.COMPARED).to_batches() for row in part.to_pylist())
        earlier = (row for batch in self._qa(checks.COMPARED) for row in batch.to_pylist())
        checker = checks.Checker(seeds, enhancement_instructions(asking.templates), earlier, self._config.checks)
        return Enhancer(
            config,
            asking,
            self._ask,
            judge.Examiner(asking, self._ask, config.solves),
            checker.check,
            checks.REASONS,
            self._extend,
            self._seed_rows.take,
            self._names,
        )

    def _kept(self, block: Sequence[Work | dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows of the final data set, in the order of qa.parquet."""
        extensions = (row.last.extension for row in block if isinstance(row, Work) and row.state == KEPT)
        seeds = self._seed_rows.take(seed for found in extensions if found is not None for seed in found.seeds)
        rows = []
        for row in block:
            if not isinstance(row, Work):
                rows.append({**row, **NOT_EXAMINED})
            elif row.state == KEPT:
                rows.append(self._kept_row(row, seeds))
        return rows

    def _kept_row(self, work: Work, seeds: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
        """A row of enhanced.parquet: the QA unchanged, or as its last rewrite made it."""
        config, asking = self._config.enhance, self._asking
        version, row = work.last, dict(work.row)
        if version.written is not None and version.extension is not None:
            item, written = version.item, version.written
            row |= {
                **written_columns(item, written),
                "difficulty": config.level if item.difficulty is None else item.difficulty,
                "path": [self._names[kp] for kp in version.extension.nodes],
                "seed_ids": [seeds[seed]["id"] for seed in version.extension.seeds],
                "request_id": written.id,
                "prompt_digest": enhancement_digest(asking.templates),
                "seed": written.seed,
                "max_tokens": written.max_tokens,
                **sampling_columns(self._config.synthesis, written),
            }
        return {
            **row,
            **_levels(work, config),
            "level_reasons": list(version.reasons),
            "enhanced": version.written is not None,
        }

    # ------------------------------------------------------------------ rows

    def _qa(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """qa.parquet in batches."""
        return store.read_batches(self._ws, "qa.parquet", columns, ROWS_IN_WORK)

    def _candidates(self) -> tuple[int, list[str]]:
        """The number of QA in the chosen disciplines, and the chosen disciplines without any."""
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
        """Rows in their order, in blocks with at most `ROWS_IN_WORK` candidates."""
        is_chosen = chooser(self._config.enhance.disciplines)
        tasks = self._tasks()
        task: tuple[str, list[int], list[int]] = ("", [], [])
        block: list[Work | dict[str, Any]] = []
        candidates = 0
        for row in (row for batch in self._qa() for row in batch.to_pylist()):
            self._tally.qa += 1
            if is_chosen(row["discipline"]):
                while task[0] != row["request_id"]:  # both files are in the order of the requests
                    task = next(tasks)
                block.append(Work(row, tuple(task[1]), tuple(task[2])))
                candidates += 1
            else:
                self._tally.passed_through += 1
                block.append(row)
            if candidates == ROWS_IN_WORK or len(block) == 8 * ROWS_IN_WORK:
                yield block
                block, candidates = [], 0
        yield block

    def _tasks(self) -> Iterator[tuple[str, list[int], list[int]]]:
        """(request id, KPs, seeds) of each request."""
        names = ("request_id", "nodes", "seeds")
        for batch in store.read_batches(self._ws, "tasks.parquet", names, ROWS_IN_WORK):
            for name, nodes, seeds in zip(*(batch.column(n).to_pylist() for n in names), strict=True):
                if name is not None:
                    yield name, nodes, seeds
        path = self._ws.path("tasks.parquet")
        raise DataError(f"{path} lacks the request of a row of qa.parquet; run stage synthesize again with --force")

    # ------------------------------------------------------------------ what a step needs

    def _send(self, kind: str, requests: Sequence[Any], validate: Validate) -> Iterable[Outcome | None]:
        """Ask for the answers that the journal lacks, and read all answers back, one at a time.

        After a failure of the engine, or at a limit, nothing more is asked: rows complete the steps for which the
        journal has answers.
        """
        from linksyn_gpu.llm import dispatch
        from linksyn_gpu.llm.client import Limits

        todo = [] if self._stopped is not None else list(self._journal.index().unsettled(requests))
        if todo and not self._budget.refuses():
            engine = self._engine()
            try:
                dispatch.ask_all(
                    todo,
                    engine,
                    self._journal,
                    limits=Limits.of(self._config.synthesis, engine),
                    validate=validate,
                    budget=self._budget,
                    stats=self._progress.asking(),
                    on_progress=lambda stats: self._progress("answers", stats.done, None),
                )
            except EngineError as error:
                self._stopped = str(error)
        return (self._journal.outcome(request["custom_id"]) for request in requests)

    @functools.cached_property
    def _walk_seed(self) -> int:
        settings = self._ws.settings("walk")
        assert settings is not None  # stage synthesize is finished
        return int(settings["seed"])

    @functools.cached_property
    def _linker(self) -> SeedLinker:
        """On the CPU: the server may use the device, and every backend links the same seeds."""
        from linksyn_gpu.sampling.bundle import SeedLinker

        return SeedLinker(self._graph, self._seeds, None, self._walk_seed, "cpu")

    def _extend(self, works: Sequence[Work], number: int) -> list[Extension]:
        """Extend each path and link seeds along the longer one.

        A bundle holds the QA's own seeds and up to one more for each new step, starting with those linked at the new
        ends: if the only seed of a new edge is in the bundle already, another seed of the same path takes its place.
        Seeds near the target level are preferred. How often the campaign used a seed does not matter: a bundle must not
        depend on the other rows in work.
        """
        seed, steps, level = self._walk_seed, self._config.enhance.extra_steps, self._config.enhance.level
        longer = [
            extend_path(self._graph, np.array(w.nodes, np.int32), w.row["walk_id"], steps, seed=seed, attempt=number)
            for w in works
        ]
        batch = _as_batch([path for path, _ in longer], [work.row["walk_id"] for work in works])
        self._linker.forget_uses()
        linked = self._linker.link_round(batch, Cell(None, level, len(batch)))
        found = []
        for work, (path, before), row, size in zip(works, longer, linked.seeds, linked.sizes, strict=True):
            added = path.size - len(work.nodes)
            new = further_seeds(work.seeds, row[:size].tolist(), before, added - before)
            found.append(Extension(tuple(path.tolist()), (*work.seeds, *new), added))
        return found


def further_seeds(own: Sequence[int], linked: Sequence[int], before: int, behind: int) -> list[int]:
    """Seeds linked along a longer path that join a bundle: one for each new step, from both ends inwards."""
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


# ---------------------------------------------------------------------- rows and counts


NOT_EXAMINED: Mapping[str, Any] = {
    "asked_level": None,
    "level_before": None,
    "level_judged": None,
    "level_reasons": [],
    "tries": 0,
    "solves_agreed": None,
    "solves": None,
    "enhanced": False,
}
"""Columns added to a QA outside the chosen disciplines."""
COUNTED = (
    *("candidates", KEPT, DROPPED, PENDING, "kept_as_they_were", "kept_rewritten"),
    *("rewrites", "rewrites_with_short_extension"),
)
COUNTED_BY = ("dropped_by_reason", "pending_reasons", "levels_before", "levels_after")


def enhanced_schema() -> pa.Schema:
    """Columns of enhanced.parquet; enhanced.jsonl has the same keys. `id` is that of the QA in qa.parquet."""
    import pyarrow as pa

    others = {"level_reasons": pa.list_(pa.string()), "enhanced": pa.bool_()}
    return pa.schema([*qa_schema(), *(pa.field(name, others.get(name, pa.int8())) for name in NOT_EXAMINED)])


def enhance_dropped_schema() -> pa.Schema:
    """Columns of enhance-dropped.parquet; `text` is the last version of the QA."""
    import pyarrow as pa

    levels = ("asked_level", "level_before", "level_judged", "tries", "solves_agreed", "solves")
    names = ("id", "reason", "detail", *levels, "request_id", "walk_id", "text")
    others = {"walk_id": pa.int64(), **dict.fromkeys(levels, pa.int8())}
    return pa.schema([(name, others.get(name, pa.string())) for name in names])


def _levels(work: Work, config: EnhanceConfig) -> dict[str, Any]:
    """Columns about levels, tries and solves that kept and dropped rows share."""
    return {
        "asked_level": config.level,
        "level_before": work.versions[0].level,
        "level_judged": work.last.level,
        "tries": len(work.versions) - 1,
        "solves_agreed": work.last.agreed,
        "solves": config.solves,
    }


def dropped_row(work: Work, config: EnhanceConfig) -> dict[str, Any]:
    """A row of enhance-dropped.parquet: the reason of the last try; `detail` lists the fault of each version."""
    version = work.last
    assert version.fault is not None
    read = next(v for v in reversed(work.versions) if v.item.question)
    text = {"question": read.item.question, "options": read.item.options, "answer": read.item.answer}
    faults = [v.fault for v in work.versions if v.fault is not None]
    steps = [f"{'original' if i == 0 else f'try {i}'}: {reason}, {why}" for i, (reason, why) in enumerate(faults)]
    return {
        "id": work.row["id"],
        "reason": version.fault[0],
        "detail": "; ".join(steps),
        **_levels(work, config),
        "request_id": work.row["request_id"],
        "walk_id": work.row["walk_id"],
        "text": json.dumps(text, ensure_ascii=False),
    }


class Tally:
    """Counts of the stage: candidates = kept + dropped + pending, and levels before and after."""

    def __init__(self, config: EnhanceConfig) -> None:
        self._config = config
        self.qa = 0
        self.passed_through = 0
        self._n: Counter[str] = Counter()
        self._by: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, work: Work) -> None:
        """Count a row after all steps."""
        self._n["candidates"] += 1
        self._n[work.state] += 1
        if work.state == PENDING:
            self._by["pending_reasons"][work.pending_reason] += 1
            return
        level = work.versions[0].level
        self._by["levels_before"]["unknown" if level is None else str(level)] += 1
        if work.state == KEPT:
            self._by["levels_after"][str(work.last.level)] += 1
            self._n["kept_as_they_were" if work.last.written is None else "kept_rewritten"] += 1
        elif work.last.fault is not None:
            self._by["dropped_by_reason"][work.last.fault[0]] += 1
        for version in work.versions[1:]:
            self._n["rewrites"] += 1
            short = version.extension is None or version.extension.steps < self._config.extra_steps
            self._n["rewrites_with_short_extension"] += short

    def counts(self, spent: Mapping[str, int]) -> dict[str, Any]:
        """For the manifest. `levels_before` counts kept and dropped QA, `levels_after` the kept ones."""
        kinds = ("judge", "solve", "compare", "rewrite")
        return {
            "qa": self.qa,
            "passed_through": self.passed_through,
            **{name: self._n[name] for name in COUNTED},
            **{name: dict(sorted(self._by[name].items())) for name in COUNTED_BY},
            "asked_level": self._config.level,
            **{f"{kind}_requests": spent.get(f"{kind}_requests", 0) for kind in kinds},
            **{name: spent.get(name, 0) for name in ("prompt_tokens", "completion_tokens")},
        }
