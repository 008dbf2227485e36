"""Where a row comes from: its path, bundle, prompt and text are made again from seeds, seed number and settings.

Nothing that stages build, walk and synthesize wrote is trusted: the graph is built and the walks are sampled again, and
the requests are rendered again. Only the answer itself is read, from the journal, by the id of the new request.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu.backend import resolve
from linksyn_gpu.errors import ConfigError, DataError
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.growth import planned_parts, quota_of, recorded_config
from linksyn_gpu.pipeline.progress import Progress, silent
from linksyn_gpu.pipeline.stages.export import campaign_digest
from linksyn_gpu.pipeline.stages.revoke import marked
from linksyn_gpu.sampling.plan import cell_goals, plan_cells, plan_rounds
from linksyn_gpu.tables import KPGraph, Seeds
from linksyn_gpu.text.words import word_list

if TYPE_CHECKING:
    import pyarrow as pa

REWRITTEN = "tries"
"""A row of stage enhance with a value > 0 here was written by a later request than that of its path."""
WRITTEN_LATER = frozenset(
    word_list(
        "question options answer explanation reasoning knowledge_points difficulty model temperature top_p seed "
        "max_tokens left_out prompt_tokens completion_tokens"
    )
)
"""Columns that stage enhance replaces."""


@dataclass(frozen=True)
class Difference:
    """A value that was recorded, and what it should be."""

    file: str
    field: str
    recorded: Any
    derived: Any


@dataclass(frozen=True)
class Proof:
    """The result for one row."""

    id: str
    found_in: tuple[str, ...]
    """Files that have the row."""
    differences: tuple[Difference, ...] = ()
    reason: str = ""
    """Why the row could not be made again; empty: it was."""
    rewritten: bool = False
    """Its texts are of stage enhance: only path, bundle and first request were made again."""

    @property
    def agrees(self) -> bool:
        """Whether all that was made again is as recorded."""
        return not self.differences and not self.reason


def prove(
    ws: Workspace,
    ids: Sequence[str],
    *,
    dataset: str | Path | None = None,
    progress: Progress = silent,
) -> list[Proof]:
    """Make rows again and compare them with every copy of them.

    Parameters
    ----------
    ids : sequence of str
        Ids of QA.
    dataset : path, optional
        A folder of command `export`, whose rows of form 'qa' are compared too.

    Raises
    ------
    ConfigError
        No file has a row with one of the ids.
    """
    ws.require_campaign("prove")
    copies = _copies(ws, set(ids), dataset)
    if missing := [name for name in ids if name not in copies]:
        raise ConfigError(f"{ws.folder}: no QA has the id {', '.join(missing[:5])}; ids are in qa.parquet")
    derived = _rows_again(ws, set(ids), {row["walk_id"] for of in copies.values() for _, row in of}, progress)
    proofs = []
    for name in ids:
        files = tuple(file for file, _ in copies[name])
        made = derived.get(name)
        rewritten = any(row.get(REWRITTEN) for _, row in copies[name])
        if made is None:
            walks = ", ".join(str(row["walk_id"]) for _, row in copies[name][:1])
            reason = f"the answer to the request of walk {walks} is not in the journal, or has no such item"
            proofs.append(Proof(name, files, reason=reason, rewritten=rewritten))
            continue
        found = [
            Difference(file, field, row[field], value)
            for file, row in copies[name]
            for field, value in made.items()
            if field in row and row[field] != value and not (row.get(REWRITTEN) and field in WRITTEN_LATER)
        ]
        proofs.append(Proof(name, files, tuple(found), rewritten=rewritten))
    return proofs


def trace(ws: Workspace, seed_id: str) -> list[dict[str, Any]]:
    """The QA that used a seed: `file`, `id` and `walk_id` of each, in the newest file that has it.

    Raises
    ------
    ConfigError
        The campaign has no such seed.
    """
    import pyarrow.compute as pc

    ws.require_campaign("trace")
    known = store.read_seed_table(ws, ["id"]).table.column("id")
    if not pc.any(pc.equal(known, seed_id)).as_py():
        raise ConfigError(f"{ws.folder}: no seed has the id {seed_id!r}; ids are in {store.file_of_seeds(ws)}")
    rows: dict[str, dict[str, Any]] = {}
    for name in ("qa.parquet", "enhanced.parquet", "curated.parquet"):
        if not ws.path(name).is_file():
            continue
        for batch in store.read_batches(ws, name, ["id", "walk_id", "seed_ids"]):
            for row in batch.to_pylist():
                if seed_id in row["seed_ids"]:
                    rows[row["id"]] = {"file": name, "id": row["id"], "walk_id": row["walk_id"]}
    return list(rows.values())


def all_ids(ws: Workspace) -> list[str]:
    """Ids of all QA that stage synthesize kept."""
    ws.require_campaign("prove")
    ids: list[str] = store.read_table(ws, "qa.parquet", ["id"]).column("id").to_pylist()
    return ids


def _copies(ws: Workspace, ids: set[str], dataset: str | Path | None) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Rows with these ids, with the files that have them."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted = pa.array(sorted(ids), pa.string())
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}

    def add(file: str, batch: pa.RecordBatch) -> None:
        for row in batch.filter(pc.is_in(batch.column("id"), wanted)).to_pylist():
            found.setdefault(row["id"], []).append((file, row))

    for name in ("qa.parquet", "enhanced.parquet", "curated.parquet", "reserve.parquet"):
        if ws.path(name).is_file():
            for batch in store.read_batches(ws, name):
                add(name, batch)
    if dataset is not None:
        files = sorted(Path(dataset).glob("data/*.parquet"))
        if not files:
            raise ConfigError(f"{dataset} has no data/*.parquet: give a folder that 'linksyn-gpu export' wrote")
        for path in files:
            try:
                with pq.ParquetFile(path) as parquet:
                    for batch in parquet.iter_batches():
                        add(str(path), batch)
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{path} is damaged: {error}; export the data set again") from error
    return found


def _rows_again(ws: Workspace, ids: set[str], walks: set[int], progress: Progress) -> dict[str, dict[str, Any]]:
    """The rows with these ids, made again."""
    from linksyn_gpu.llm.journal import Journal
    from linksyn_gpu.synthesis.requests import RequestsWriter, Sources, path_batches
    from linksyn_gpu.synthesis.synthesize import Assembly, outcome_of

    config = recorded_config(ws, "synthesize")
    seeds = store.read_seed_table(ws)
    parts = planned_parts(ws)
    cells = plan_cells(quota_of(ws, recorded_config(ws, "walk")), 0)
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder, Journal(ws.path("journal"), writable=False) as journal:
        tasks_file = Path(folder) / "tasks.parquet"
        names: list[str] = []
        # The type of question depends on the requests before: all of them are rendered, and not kept.
        sources = Sources(names, seeds.table, config.synthesis, config.question_types, seeds.taxonomy)
        last = max(walks)
        with RequestsWriter(sources, cells, _nowhere, tasks_file) as writer:
            total = sum(sum(part["paths"]) for part in parts)
            for known, table in _paths_again(ws, parts):
                names[:] = known
                for _ in writer.write(path_batches(table)):
                    pass
                progress.of("prove")("paths made again", table.column("walk_id")[-1].as_py() + 1, total)
                if table.column("walk_id")[-1].as_py() >= last:
                    break
        groups = [cell.license_group for cell in cells]
        assembly = Assembly(sources, lambda item, asked: None, lambda item, found: None, groups)
        index = journal.index()
        import pyarrow.parquet as pq

        with pq.ParquetFile(tasks_file) as tasks:
            for batch in tasks.iter_batches(1024):
                chosen = [row for row in batch.to_pylist() if row["walk_id"] in walks and row["request_id"]]
                outcomes = [(task, outcome_of(task, journal, index)) for task in chosen]
                assembly.take(outcomes, assembly.examine(assembly.answered(outcomes)))
                rows |= {row["id"]: row for row in assembly.kept if row["id"] in ids}
    return _with_origins(ws, rows)


def _with_origins(ws: Workspace, rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows with the columns that command `export` adds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = store.read_seed_table(ws, ["id", "source", "license"]).table
    used = pa.array(sorted({name for row in rows.values() for name in row["seed_ids"]}), pa.string())
    found = table.filter(pc.is_in(table.column("id"), used)).to_pylist()
    of_seed = {seed["id"]: (seed["source"] or "", seed["license"] or "") for seed in found}
    digest = campaign_digest(ws)
    return {
        name: {
            **row,
            "seed_sources": [of_seed[seed][0] for seed in row["seed_ids"]],
            "seed_licenses": [of_seed[seed][1] for seed in row["seed_ids"]],
            "campaign": digest,
        }
        for name, row in rows.items()
    }


@contextlib.contextmanager
def _nowhere(number: int) -> Iterator[Path]:
    """A path whose content is thrown away."""
    yield Path(os.devnull)


def _paths_again(ws: Workspace, parts: Sequence[Mapping[str, Any]]) -> Iterator[tuple[list[str], pa.Table]]:
    """Names of the KPs, and paths, of each round: the walks of the campaign, sampled again part by part."""
    from linksyn_gpu.sampling.bundle import SeedLinker
    from linksyn_gpu.sampling.graph import graph_of_incidence, kp_statistics, only_seeds, read_incidence
    from linksyn_gpu.sampling.licenses import group_graphs
    from linksyn_gpu.sampling.walk import Walker

    config = recorded_config(ws, "walk")
    graph_config = recorded_config(ws, "build").graph
    columns = ["knowledge_points", "difficulty", "disciplines", "license"]
    every = store.read_seed_table(ws, columns)
    plan = plan_cells(quota_of(ws, config), 0)
    backend = resolve("auto")
    factor = store.read_factors(ws)
    revoked = ws.facts("ingest").get("revoked", [])
    earlier: list[pa.Table] = []
    visits = None
    for part in parts:
        seeds = replace(every, table=every.table.slice(0, part.get("seeds", len(every))))
        incidence = read_incidence(Seeds(seeds.table, taxonomy=every.taxonomy), graph_config, backend.name)
        gone = revoked[: part.get("revoked", 0)]
        keep = np.ones(len(seeds), bool)
        keep[gone] = False
        incidence = only_seeds(incidence, keep, backend.name)
        earlier = [marked(table, np.array(gone, np.int64)) for table in earlier]
        graph = graph_of_incidence(incidence, graph_config, backend.name)
        cells = [replace(cell, n_paths=n) for cell, n in zip(plan, part["paths"], strict=True)]
        statistics = kp_statistics(seeds, incidence, backend.name)
        groups = {}
        if config.bundle.license_groups:
            groups = group_graphs(seeds, config.bundle.license_groups, graph_config, backend.name, without=gone)
        goals = cell_goals(cells, graph, statistics, config.quota, config.walk.tau, factor, groups)
        walker = Walker(graph, config.walk, config.seed, backend.name, goals=goals)
        graphs: dict[str | None, KPGraph] = {name: own for name, (own, _) in groups.items()} or {None: graph}
        linkers = {
            name: SeedLinker(own, seeds, config.bundle, config.seed, backend.name, quota=config.quota)
            for name, own in graphs.items()
        }
        if visits is not None:
            walker.add_visits(visits)
        for table in earlier:
            batch, bundles = store.paths_of(table, config.walk.length)
            walker.resume(batch, count=False)
            for linker in linkers.values():
                linker.resume(bundles)
        names = list(incidence.names)
        for batch, bundles in walker.linked_rounds(plan_rounds(cells, config.walk.rounds), cells, linkers):
            table = store.paths_table(batch, bundles)
            earlier.append(table)
            yield names, table
        visits = walker.cell_visits
    backend.ops.release()
