"""The stages of a run in their order, over a run folder: the one module that knows them all.

Each function asks the workspace whether there is work, runs one stage from files to files, and records its counts.
`cli/` and `cluster.py` call these and nothing below them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu import store
from linksyn_gpu.backend import Backend, resolve
from linksyn_gpu.config import RunConfig, SynthesisConfig, to_mapping
from linksyn_gpu.errors import DataError, EngineError
from linksyn_gpu.plan import cell_affinities, plan_cells, plan_rounds
from linksyn_gpu.tables import PATH_STATUS, Bundles, Cell, KPGraph, WalkBatch
from linksyn_gpu.workspace import Workspace

if TYPE_CHECKING:
    from linksyn_gpu.graph import Incidence
    from linksyn_gpu.llm.journal import Journal
    from linksyn_gpu.report.stats import RunStats

# Called with (what is counted, done so far, total or None) as work goes on.
Progress = Callable[[str, int, int | None], None]
FEW_SEEDS = len(PATH_STATUS)
REASONS = np.array([None, *PATH_STATUS[1:], "few_seeds"], dtype=object)


def silent(what: str, done: int, total: int | None) -> None:
    """A `Progress` that shows nothing."""


def ingest(
    ws: Workspace, files: Sequence[str], config: RunConfig, *, force: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Files -> seeds.parquet and rejects.jsonl. Returns the stage's counts."""
    from linksyn_gpu.records import find_files
    from linksyn_gpu.seeds import read_seeds

    settings = {
        "seeds": to_mapping(config.seeds),
        "input": [_fingerprint(file.path) for file in find_files(files)],
    }
    if ws.begin("ingest", settings, force=force):
        progress("records read", 0, None)
        seeds = read_seeds(files, config.seeds)
        store.write_seeds(ws, seeds)
        reasons = Counter(reject.reason for reject in seeds.rejects)
        counts: dict[str, Any] = {
            "records": len(seeds) + len(seeds.rejects),
            "seeds": len(seeds),
            "rejected": len(seeds.rejects),
            "rejected_by_reason": dict(reasons),
            "notes": dict(seeds.notes),
        }
        progress("records read", counts["records"], counts["records"])
        ws.finish("ingest", counts)
    return ws.counts("ingest")


def build(ws: Workspace, config: RunConfig, *, force: bool = False, progress: Progress = silent) -> dict[str, Any]:
    """Seeds -> graph/*.npy and kps.parquet. Returns the stage's counts."""
    from linksyn_gpu.graph import build_graph_from_incidence, kp_statistics

    if (ws.settings("extract") or {"extract": {"merge": "none"}})["extract"]["merge"] != "none":
        config = replace(config, graph=replace(config.graph, kp_form="exact"))  # names are one already where they are
    settings = {"graph": to_mapping(config.graph)}
    del settings["graph"]["memory_limit"]  # changes no bit of the graph
    if ws.begin("build", settings, force=force):
        backend = resolve(config.backend)
        seeds = store.read_seed_table(ws)
        progress("KP graph", 0, None)
        incidence = _incidence(ws, config, backend)
        graph = build_graph_from_incidence(
            incidence.indptr,
            incidence.kp_indices,
            len(incidence.names),
            config.graph,
            names=incidence.names,
            backend=backend.name,
        )
        graph = replace(graph, drops=graph.drops + incidence.drops)
        store.write_graph(ws, graph, kp_statistics(seeds, incidence), store.read_aliases(ws))
        counts = _graph_counts(graph, backend.ops)
        progress("KP graph", counts["edges"], counts["edges"])
        ws.finish("build", counts, backend=backend.facts())
        backend.release()
    return ws.counts("build")


def _incidence(ws: Workspace, config: RunConfig, backend: Backend) -> Incidence:
    """Which seed holds which KP, read by the backend: on a GPU, cuDF does it."""
    from linksyn_gpu.graph import Incidence

    indptr, kp_indices, names, drops = backend.ops.incidence_from_table(
        store.seed_file(ws),
        "knowledge_points",
        kp_form=config.graph.kp_form,
        max_kps_per_seed=config.graph.max_kps_per_seed,
    )
    return Incidence(backend.ops.to_host(indptr), backend.ops.to_host(kp_indices), names, drops)


def walk(ws: Workspace, config: RunConfig, *, force: bool = False, progress: Progress = silent) -> dict[str, Any]:
    """Graph -> plan.json and paths.parquet, bundles included. Returns the stage's counts."""
    settings = {
        name: value
        for name, value in to_mapping(config).items()
        if name in ("paths", "seed", "walk", "quota", "bundle")
    }
    if ws.begin("walk", settings, force=force):
        graph, statistics = store.read_graph(ws)
        if graph.n_edges == 0:
            raise DataError("the KP graph has no edge: no two knowledge points share a seed, so nothing can walk")
        cells = plan_cells(config.quota, config.paths)
        campaign = _Campaign(ws, config, graph, cells, progress)
        affinities = cell_affinities(cells, statistics, config.quota)
        with ws.replacing("paths.parquet") as part:
            store.write_paths(part, campaign.rounds(affinities))
        with ws.replacing("plan.json") as part:
            store.write_plan(part, cells, campaign.delivered)
        ws.finish("walk", campaign.counts(), backend=campaign.facts)
    return ws.counts("walk")


class _Campaign:
    """Walks and links the rounds of a plan, and counts what came of them."""

    def __init__(
        self, ws: Workspace, config: RunConfig, graph: KPGraph, cells: Sequence[Cell], progress: Progress
    ) -> None:
        self._ws, self._config, self._graph, self._cells = ws, config, graph, cells
        self._progress = progress
        self.delivered = [0] * len(cells)
        self._drops = Counter[str]()
        self._redraws = 0
        self._visited = 0
        self.facts: dict[str, Any] = {}

    def rounds(self, affinities: Sequence[Any]) -> Iterator[tuple[WalkBatch, Bundles, Any]]:
        from linksyn_gpu.bundle import SeedLinker
        from linksyn_gpu.walk import Walker

        config = self._config
        walker = Walker(
            self._graph, config.walk, config.seed, config.backend, affinities=affinities, memory=config.gpu_memory
        )
        seeds = store.read_seed_table(self._ws)
        linker = SeedLinker(
            self._graph, seeds, config.bundle, config.seed, config.backend, batch_size=walker.batch_size
        )
        done = 0
        for part in plan_rounds(self._cells, config.walk.rounds):
            self._progress("paths walked", done, config.paths)
            drawn = walker.sample_round(part.n_paths, part.cell)
            linked = linker.link_round(drawn, self._cells[part.cell].difficulty)
            batch = walker.to_host(drawn)
            bundles = linker.to_host(linked, batch)
            self.delivered[part.cell] += int(bundles.kept.sum())
            self._drops += bundles.drops
            self._redraws += batch.redraws
            code = np.where((batch.status == 0) & ~bundles.kept, FEW_SEEDS, batch.status)
            yield batch, bundles, REASONS[code]
            done += part.n_paths
            self._progress("paths walked", done, config.paths)
        self._visited = int((walker.visits > 0).sum())
        self.facts = {**walker.backend.facts(), "walks_in_memory": min(walker.batch_size, config.paths)}
        del linker
        backend = walker.backend
        del walker
        backend.release()  # before synthesis starts: a server may want the device

    def counts(self) -> dict[str, Any]:
        return {
            "paths": self._config.paths,
            "kept": sum(self.delivered),
            "dropped": sum(self._drops.values()),
            "dropped_by_reason": dict(self._drops),
            "redraws": self._redraws,
            "kps_visited": self._visited,
        }


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
        'pending' counts requests without an answer: the stage is finished when it is 0.

    Raises
    ------
    EngineError
        The engine failed; what came before is assembled and usable, and the next call goes on from there.
    """
    from linksyn_gpu.llm import batchfile, servers
    from linksyn_gpu.llm.journal import Journal
    from linksyn_gpu.synthesize import generate, read_requests, validator

    work = _Synthesis(ws, config.synthesis, progress)
    if not ws.begin("synthesize", {"synthesis": work.settings()}, force=force):
        return ws.counts("synthesize")
    work.write_requests()
    requests = ws.path("requests.jsonl")
    with Journal(ws.path("journal")) as journal:
        if collect:
            ids = (request["custom_id"] for request in read_requests(requests))
            validate = validator(config.synthesis.field_limit)
            work.collected = vars(batchfile.collect(collect, journal, ids, validate=validate))
            with ws.replacing("requests-pending.jsonl") as part:
                batchfile.write(read_requests(requests), part, settled=journal.index())
        elif config.synthesis.engine != "batch":
            try:
                with servers.running(config.synthesis) as engine:
                    work.stats = generate(requests, engine, journal, config.synthesis, on_progress=work.show)
            except EngineError:
                work.assemble(journal)  # a partial data set is usable
                raise
        counts = work.assemble(journal)
    if counts["pending"] == 0:
        ws.finish("synthesize", counts)
    return counts


class _Synthesis:
    """The steps of stage synthesize over a run folder."""

    # Who is asked, how fast and how patiently: none of it makes the requests other requests.
    OPERATIONAL = ("base_url", "concurrency", "timeout", "max_attempts", "max_tokens_retry", "model_file", "templates")

    def __init__(self, ws: Workspace, config: SynthesisConfig, progress: Progress) -> None:
        self._ws, self._config, self._progress = ws, config, progress
        self._names = store.read_kp_names(ws)
        self._seeds = store.read_seed_table(ws).table
        self.collected: dict[str, Any] | None = None
        self.stats: Any = None
        self._requests = 0

    def settings(self) -> dict[str, Any]:
        from linksyn_gpu.prompts import prompt_digest

        settings = {k: v for k, v in to_mapping(self._config).items() if k not in self.OPERATIONAL}
        return {**settings, "prompts": prompt_digest(self._config.templates)}

    def write_requests(self) -> None:
        """Write requests.jsonl, and tasks.parquet before it; both stay when they are there."""
        from linksyn_gpu.synthesize import write_requests

        ws = self._ws
        if ws.path("requests.jsonl").is_file():
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

    def show(self, stats: Any) -> None:
        """Tell of answers as they come; those of an earlier call count as done."""
        if self._requests == 0:
            with self._ws.path("requests.jsonl").open("rb") as lines:
                self._requests = sum(1 for _ in lines)
        self._progress("answers", stats.done + stats.skipped, self._requests)

    def assemble(self, journal: Journal) -> dict[str, Any]:
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
                tasks_file=ws.path("tasks.parquet"),
                kp_names=self._names,
                seeds=self._seeds,
                config=self._config,
                qa_parquet=qa_parquet,
                qa_jsonl=qa_jsonl,
                dropped_parquet=dropped,
            )
        if self.collected is not None:
            counts["collected"] = {k: dict(v) if isinstance(v, Counter) else v for k, v in self.collected.items()}
        return counts


def analyze(ws: Workspace, config: RunConfig) -> dict[str, Any]:
    """Graph -> analytics.parquet. Returns its figures.

    Raises
    ------
    BackendUnavailable
        The packages that compute them are not installed.
    """
    backend = resolve(config.backend)
    graph, _ = store.read_graph(ws)
    columns = backend.ops.analytics(graph)
    with ws.replacing("analytics.parquet") as part:
        store.write_analytics(part, graph, columns)
    first = np.argsort(-columns["pagerank"], kind="stable")[:10]
    return {
        "backend": backend.facts(),
        "kps": graph.n_kps,
        "components": int(np.unique(columns["component"]).size),
        "communities": int(np.unique(columns["community"]).size),
        "largest_core": int(columns["core"].max(initial=0)),
        "top": [(graph.names[i] if graph.names else str(i), float(columns["pagerank"][i])) for i in first],
    }


def memory_plan(ws: Workspace, length: int, round_paths: int, memory: int | None) -> str:
    """What the graph of a run would take on a device, as a table.

    Raises
    ------
    BackendUnavailable
        It does not fit; or no device is usable and `memory` is not given.
    """
    from linksyn_gpu.backend.gpu_memory import plan_memory

    graph, _ = store.read_graph(ws)
    if memory is None:
        memory = resolve("gpu").ops.free_memory()
    postings = 0 if graph.evidence is None else graph.evidence.size
    return plan_memory(graph.n_kps, graph.indices.size, postings, round_paths, length, False, memory).table()


def recorded_synthesis(ws: Workspace) -> dict[str, Any] | None:
    """Settings that stage synthesize was begun with here, as `RunConfig` knows them; None: it never was."""
    recorded = ws.settings("synthesize")
    if recorded is None:
        return None
    return {"synthesis": {name: value for name, value in recorded["synthesis"].items() if name != "prompts"}}


def report(ws: Workspace) -> RunStats:
    """Files of a run -> its figures, and report.html."""
    from linksyn_gpu.report.page import render
    from linksyn_gpu.report.stats import gather

    stats = gather(ws)
    with ws.replacing("report.html") as part:
        part.write_text(render(stats, ws.folder.resolve().name), encoding="utf-8")
    return stats


def _graph_counts(graph: KPGraph, ops: Any) -> dict[str, Any]:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    matrix = csr_array((graph.count, graph.indices, graph.indptr), shape=(graph.n_kps, graph.n_kps))
    n_components, label = connected_components(matrix, directed=False)
    return {
        "seeds": graph.n_seeds,
        "kps": graph.n_kps,
        "edges": graph.n_edges,
        "components": int(n_components),
        "kps_in_largest_component": int(np.bincount(label).max()),
        "isolated_kps": int((graph.degree == 0).sum()),
        "drops": dict(graph.drops),
    }


def _fingerprint(path: Path) -> dict[str, Any]:
    """Name an input file by its content, so that a changed file is not taken for the old one."""
    with path.open("rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
