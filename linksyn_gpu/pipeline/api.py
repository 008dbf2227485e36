"""A whole run from Python: start one, open one, or synthesize from bundles that are in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linksyn_gpu.config import RunConfig, SynthesisConfig
from linksyn_gpu.config.loader import config_or_fields, to_mapping
from linksyn_gpu.llm import Engine
from linksyn_gpu.pipeline import stages, store
from linksyn_gpu.pipeline.folder import STAGES, Workspace
from linksyn_gpu.pipeline.progress import Progress, silent
from linksyn_gpu.pipeline.serving import StartEngine
from linksyn_gpu.pipeline.stages.memory import keep_bundles, keep_seeds
from linksyn_gpu.pipeline.stages.report import gather
from linksyn_gpu.sampling.labels import seed_labels
from linksyn_gpu.tables import Bundles, KPGraph, Seeds

if TYPE_CHECKING:
    import pyarrow as pa

    from linksyn_gpu.report.stats import RunStats

OnStage = Callable[[str, Mapping[str, Any]], None]


class Run:
    """What a run folder holds. Tables are read when they are accessed, also during a run.

    Parameters
    ----------
    folder : path

    Raises
    ------
    ConfigError
        The folder does not hold a run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        with self._open() as ws:
            self._stages = list(ws.manifest["stages"])

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, stages: {', '.join(self._stages) or 'none'})"

    @property
    def counts(self) -> dict[str, dict[str, Any]]:
        """Counts of each stage that has any, in the order of the stages; an unfinished stage counts as it goes."""
        with self._open() as ws:
            return {name: found for name in STAGES if (found := ws.counts_so_far(name)) is not None}

    @property
    def stats(self) -> RunStats:
        """All figures of the report."""
        with self._open() as ws:
            return gather(ws)

    @cached_property
    def seeds(self) -> Seeds:
        """The seeds as the graph sees them: with the knowledge points of stage extract where that was run."""
        with self._open() as ws:
            ws.counts("ingest")
            return store.read_seed_table(ws)

    @cached_property
    def graph(self) -> KPGraph:
        """The KP graph, memory-mapped, with what quotas need."""
        with self._open() as ws:
            ws.counts("build")
            graph, statistics = store.read_graph(ws)
            labels = seed_labels(store.read_seed_table(ws, ["difficulty", "disciplines"]))
            return replace(graph, statistics=replace(statistics, labels=labels))

    @property
    def paths(self) -> pa.Table:
        """Every path asked for: the columns of `Bundles.to_arrow`."""
        import pyarrow as pa

        with self._open() as ws:
            ws.counts("walk")
            table = store.read_table(ws, "paths.parquet").combine_chunks()

            def named(column: str, names: pa.Array) -> pa.Array:
                lists = table.column(column).combine_chunks()
                return pa.ListArray.from_arrays(lists.offsets, names.take(lists.values))

            path = named("nodes", pa.array(store.read_kp_names(ws), pa.string()))
            seeds = named("seeds", store.read_seed_table(ws, ["id"]).table.column("id").combine_chunks())
            columns = [table.column("walk_id"), table.column("round"), table.column("cell"), path, seeds]
            names = ["walk_id", "round", "cell", "path", "seed_ids", "drop_reason"]
            return pa.table([*columns, table.column("drop_reason")], names=names)

    @property
    def qa(self) -> pa.Table:
        """The final QA so far: of the last stage that is finished of curate and enhance, of synthesize otherwise."""
        with self._open() as ws:
            files = {"curate": "curated.parquet", "enhance": "enhanced.parquet"}
            return store.read_table(
                ws, next((file for stage, file in files.items() if ws.finished(stage)), "qa.parquet")
            )

    @property
    def dropped(self) -> pa.Table:
        """Every request, answer and item that stage synthesize dropped, with its reason."""
        with self._open() as ws:
            return store.read_table(ws, "dropped.parquet")

    def _open(self) -> Workspace:
        return Workspace(self.folder, create=False, lock=False)


def open_run(folder: str | Path) -> Run:
    """Open a run folder to look at it; see `Run`."""
    return Run(folder)


def run(
    seeds: str | Path | Sequence[str | Path] | Seeds,
    out: str | Path,
    config: RunConfig | None = None,
    *,
    engine: Engine | None = None,
    force: bool = False,
    progress: Progress = silent,
    done: OnStage = lambda stage, counts: None,
    **settings: Any,
) -> Run:
    """Run all stages, as the command `linksyn-gpu run` does; call it again on the same folder to continue.

    Parameters
    ----------
    seeds : path, sequence of paths, or Seeds
        Files, globs allowed; or seeds in memory.
    out : path
        The run folder.
    config, settings
        `RunConfig`, or its fields: `run(..., paths=1000, walk={"length": 3}, synthesis={"engine": "batch"})`. A field
        that is itself a config may be given as a mapping of the settings that differ from the defaults.
    engine : Engine, optional
        A server that is running; default: the one that the settings name.
    force : bool
        Redo all stages; answers received are moved to journal.N.
    progress : Progress
        Takes the figures of the run while it works; another thread may read them.
    done : callable
        Called with the name and the counts of each stage that is done.

    Raises
    ------
    LinkSynError
        As the stages do. An engine that failed after its first answer does not raise: see `Run.counts`.
    """
    config = _config(config, settings)
    config = replace(config, synthesis=_asking(config.synthesis, engine))
    enhancing = ("enhance",) if config.enhance.asked_for else ()
    done = _watched(progress, config, ("ingest", "build", "walk", "synthesize", *enhancing, "curate"), done)
    with Workspace(out) as ws, stages.engine_of(ws, config, _starter(engine)) as start:
        if not _until_graph(ws, seeds, config, start, force=force, progress=progress, done=done):
            return Run(out)
        while True:
            counts = stages.walk_and_synthesize(ws, config, engine=start, progress=progress)
            done("walk", {**ws.counts("walk"), "cells": stages.campaign_figures(ws)[1]})
            done("synthesize", counts)
            if config.enhance.asked_for and ws.finished("synthesize"):
                counts = stages.enhance(ws, config, start, progress=progress)
                done("enhance", counts)
            if counts["pending"] or "stopped" in counts:
                break
            counts = stages.curate(ws, config, engine=start, progress=progress)
            done("curate", counts)
            if counts.get("pending"):  # judgements; not in counts of older versions
                break
            stages.begin_walk(ws, config)
            if ws.finished("walk"):  # no further path is needed
                break
        stages.report(ws)
    return Run(out)


def plan(
    seeds: str | Path | Sequence[str | Path] | Seeds,
    out: str | Path,
    config: RunConfig | None = None,
    *,
    engine: Engine | None = None,
    force: bool = False,
    progress: Progress = silent,
    done: OnStage = lambda stage, counts: None,
    **settings: Any,
) -> Run:
    """Sample all paths and write the requests of a campaign, and forecast what it gives and costs. Asks for no QA.

    `run` with the same arguments executes exactly these paths and requests. The figures are in `Run.stats`, the tokens,
    cost and time in its `forecast`. Prices and rates are fields of `PlanConfig`: plan={"tokens_per_second": 2000}.

    Parameters
    ----------
    seeds, out, config, engine, force, progress, done, settings
        As of `run`. A running engine only counts the tokens of prompts, unless stage extract asks a model.

    Raises
    ------
    LinkSynError
        As the stages do.
    """
    config = _config(config, settings)
    config = replace(config, synthesis=_asking(config.synthesis, engine))
    done = _watched(progress, config, ("ingest", "build", "walk"), done)
    with Workspace(out) as ws, stages.engine_of(ws, config, _starter(engine)) as start:
        if not _until_graph(ws, seeds, config, start, force=force, progress=progress, done=done):
            return Run(out)
        done("walk", stages.walk(ws, config, progress=progress))
        stages.prepare(ws, config, progress=progress)
        stages.forecast(ws, config, engine=engine, progress=progress)
        stages.report(ws)
    return Run(out)


def _watched(progress: Progress, config: RunConfig, expected: tuple[str, ...], done: OnStage) -> OnStage:
    """Tell `progress` what will run and at which prices; gives `done` so that it tells `progress`, too."""
    progress.begin(expected, config.plan.prices)

    def both(stage: str, counts: Mapping[str, Any]) -> None:
        progress.done(stage, counts)
        done(stage, counts)

    return both


def _config(config: RunConfig | None, settings: Mapping[str, Any]) -> RunConfig:
    plain = {name: to_mapping(value) if is_dataclass(value) else value for name, value in settings.items()}
    made: RunConfig = config_or_fields(RunConfig, config, plain)
    return made


def _until_graph(
    ws: Workspace,
    seeds: str | Path | Sequence[str | Path] | Seeds,
    config: RunConfig,
    start: StartEngine,
    *,
    force: bool,
    progress: Progress,
    done: OnStage,
) -> bool:
    """The stages from seeds to the graph. False: there is none yet, since requests of stage extract are pending."""
    if isinstance(seeds, Seeds):
        done("ingest", keep_seeds(ws, seeds, decontaminate=config.decontaminate, force=force))
    else:
        files = [str(seeds)] if isinstance(seeds, (str, Path)) else [str(file) for file in seeds]
        done("ingest", stages.ingest(ws, files, config, force=force, progress=progress))
    if stages.resolve_extractor(ws, config)[0].extract.asked_for:
        counts = stages.extract(ws, config, engine=start, progress=progress)
        done("extract", counts)
        if counts.get("pending"):
            return False
    done("build", stages.build(ws, config, progress=progress))
    return True


def synthesize(
    bundles: Bundles,
    config: SynthesisConfig | None = None,
    *,
    engine: str | Engine | None = None,
    out: str | Path | None = None,
    force: bool = False,
    progress: Progress = silent,
    **settings: Any,
) -> Run:
    """Generate new QA from bundles, over a run folder that keeps their seeds, graph and paths.

    Parameters
    ----------
    bundles : Bundles
        As `link_seeds` returns them, for paths of `Walker.sample` on a graph of `build_graph`.
    config, settings
        `SynthesisConfig`, or its fields: `synthesize(bundles, engine="openai", base_url=..., per_path=4)`.
    engine : str or Engine, optional
        The field 'engine', or a server that is running.
    out : path, optional
        The run folder: call `synthesize` with it again to continue after a stop. Default: a new temporary folder, which
        is not removed; `Run.folder` of the result names it.
    force : bool
        Replace what the folder holds by these bundles; answers received are moved to journal.N.

    Raises
    ------
    ConfigError
        The folder holds other bundles, or was begun with other settings.
    EngineError
        The engine could not be started or reached.
    """
    if isinstance(engine, str):
        settings["engine"] = engine
    own = config_or_fields(SynthesisConfig, config, settings)
    running = engine if isinstance(engine, Engine) else None
    whole = RunConfig(synthesis=_asking(own, running))
    folder = Path(tempfile.mkdtemp(prefix="linksyn-")) if out is None else Path(out)
    with Workspace(folder) as ws:
        keep_bundles(ws, bundles, force=force)
        stages.synthesize(ws, whole, engine=_starter(running), progress=progress)
        stages.report(ws)
    return Run(folder)


def _asking(config: SynthesisConfig, engine: Engine | None) -> SynthesisConfig:
    """The settings with the address and the model of a running engine, if there is one."""
    if engine is None:
        return config
    return replace(config, engine="openai", base_url=engine.urls, model=engine.model)


def _starter(engine: Engine | None) -> StartEngine | None:
    return None if engine is None else lambda: engine
