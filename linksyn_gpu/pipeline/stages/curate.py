"""Stage curate: the final QA of the stages before, or QA of other files -> the data set.

The steps in their order, each with *in = kept + dropped*: rule checks, near-duplicates, benchmark items, and, if
wanted, a judge. Thresholds may change from call to call: answers of the judge are in its journal.

curated.parquet, curated.jsonl   the data set
curate-dropped.parquet           QA that a step dropped, each with step, reason and detail
clusters.parquet                 near-duplicates: members of each cluster with more than one
curate-certificate.json          with benchmark files: what the search for them finds
reserve.parquet                  with a number of QA asked for: further QA of cells that have their number
curate-journal/                  answers of the judge
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu.cluster import MapShards, open_workers, with_keys
from linksyn_gpu.config import DecontaminateConfig, RunConfig
from linksyn_gpu.config.loader import to_mapping
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.growth import quota_of
from linksyn_gpu.pipeline.progress import Progress, StageProgress, silent
from linksyn_gpu.pipeline.serving import JOURNALS, engine_of, run_budget
from linksyn_gpu.pipeline.stages.ingest import ingest
from linksyn_gpu.sampling.plan import plan_cells
from linksyn_gpu.tables import Bool, Int64, RowWriter

if TYPE_CHECKING:
    import pyarrow as pa

    from linksyn_gpu.pipeline.serving import StartEngine
    from linksyn_gpu.quality.judge import QA

CERTIFICATE = "curate-certificate.json"
"""What the search for benchmark items finds, measured on the same benchmark files."""
STEPS = ("checks", "duplicates", "benchmarks", "judge")
REASONS = {
    "near_duplicate": "the question is nearly the same as that of a better QA",
    "near_seed": "the question is nearly the same as that of a seed",
    "contaminated": "a benchmark item stands in the QA",
    "low_score": "the judge gave less than the least score",
    "solves_disagree": "too few independent solutions agree with the answer",
    "not_judged": "the judge's answer could not be read",
}
"""Reasons of this stage, next to those of the checks."""
FOLLOWS = ("curate", "asked", "checks", "decontaminate", "benchmarks", "judge", "synthesis", "content of --templates")
"""Settings that may change: the result is made again from the same QA."""
JUDGED_AT_ONCE = 4096
SHARD_ROWS = 2048


def curate(
    ws: Workspace, config: RunConfig, *, engine: StartEngine | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Choose the QA of the data set.

    Memory: 0.7 kB for each QA, and 50 bytes for each seed if they are compared with seeds.

    Parameters
    ----------
    engine : callable, optional
        Returns the running engine, for the judge; None: this call starts and stops its own.

    Returns
    -------
    dict
        'qa' = 'kept' + 'dropped' + 'reserve'; 'steps' lists each step with 'in', 'kept', 'dropped' and
        'dropped_by_reason'. 'pending' counts QA whose judgement is missing: the stage is finished when it is 0, and
        writes its files then.
    """
    cells = [] if ws.of_files else plan_cells(quota_of(ws, config), config.qa or 0)
    asked = None if config.qa is None else [cell.n_paths for cell in cells]
    if not ws.begin("curate", _settings(config, asked), operational=_server(config), growing=FOLLOWS):
        return ws.counts("curate")
    name = _source(ws)
    counted = progress.of("curate")
    counted("QA curated", 0, None)
    rows = _Rows(ws, name)
    work = _Curation(ws, config, rows, counted)
    with open_workers(config.workers, config.cluster) as map_shards:
        work.check(map_shards)
        work.find_duplicates(map_shards)
        work.find_benchmarks(map_shards)
    if config.judge.use:
        work.judge(engine)
    if work.pending:
        counts = {"qa": len(rows), "kept": 0, "steps": work.steps, **work.judging, "pending": work.pending}
        ws.note("curate", counts)
        return counts
    chosen = work.alive if asked is None else work.best_of(asked)
    dropped = work.write(chosen)
    counts = {
        "qa": len(rows),
        "kept": int(chosen.sum()),
        "dropped": dropped.total(),
        "dropped_by_reason": dict(dropped),
        "reserve": int((work.alive & ~chosen).sum()),
        "steps": work.steps,
        "clusters": work.clusters,
        **work.judging,
        "pending": 0,
        "failed": 0,
        **_quota(cells, asked, rows.per_cell(work.alive, len(cells))),
    }
    ws.finish("curate", counts)
    counted("QA curated", len(rows), len(rows))
    return counts


def curate_files(
    ws: Workspace,
    files: Sequence[str],
    config: RunConfig,
    *,
    engine: StartEngine | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Curate QA of other files, which are read as seeds are. Returns the counts of stage curate."""
    # What the readers would leave out is for the steps of this stage to drop, with their reasons.
    reading = replace(config.seeds, keep_duplicates=True, allow_empty_answers=True)
    taking = replace(config, seeds=reading, decontaminate=DecontaminateConfig())
    ws.take_files()
    ingest(ws, files, taking, progress=progress)
    return curate(ws, config, engine=engine, progress=progress)


def _source(ws: Workspace) -> str:
    if ws.of_files:
        return store.file_of_seeds(ws)
    return "enhanced.parquet" if ws.finished("enhance") else "qa.parquet"


def _settings(config: RunConfig, asked: Sequence[int] | None) -> dict[str, Any]:
    from linksyn_gpu.pipeline.benchmarks import benchmark_digests

    settings: dict[str, Any] = {"curate": to_mapping(config.curate), "asked": asked}
    every = to_mapping(config)
    settings |= {name: every[name] for name in ("checks", "decontaminate", "judge")}
    settings["benchmarks"] = benchmark_digests(config.decontaminate)
    if config.judge.use:
        from linksyn_gpu.llm.prompting import prompt_digest, read_templates
        from linksyn_gpu.quality.judge import TEMPLATES

        names = ("engine", "model", "temperature", "top_p", "max_prompt_chars", "max_field_chars")
        settings["synthesis"] = {name: every["synthesis"][name] for name in names}
        settings["content of --templates"] = prompt_digest(str(read_templates(TEMPLATES)))
    return settings


def _server(config: RunConfig) -> dict[str, Any]:
    """Settings of the judge's server, which are the defaults of the next call."""
    if not config.judge.use:
        return {}
    names = ("base_url", "concurrency", "timeout", "max_tokens", "without", "rename", "max_requests", "budget_tokens")
    every = to_mapping(config.synthesis)
    return {"synthesis": {name: every[name] for name in names}}


class _Rows:
    """The QA of a file, read in batches as often as a step needs them."""

    def __init__(self, ws: Workspace, name: str) -> None:
        self._ws, self._name = ws, name
        self.schema = store.read_taken(ws).schema if ws.of_files else store.read_schema(ws, name)
        table = self._table(["id"] if ws.of_files else ["id", "cell"])
        self.ids: list[str] = table.column("id").to_pylist()
        self.cell = (
            np.zeros(len(self.ids), np.int64) if ws.of_files else table.column("cell").to_numpy().astype(np.int64)
        )

    def __len__(self) -> int:
        return len(self.ids)

    def _table(self, columns: Sequence[str]) -> pa.Table:
        return (
            store.read_taken(self._ws, columns)
            if self._ws.of_files
            else store.read_table(self._ws, self._name, columns)
        )

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in batches."""
        if self._ws.of_files:
            yield from store.read_taken(self._ws, columns).to_batches(max_chunksize=store.ROWS_PER_READ)
        else:
            yield from store.read_batches(self._ws, self._name, columns)

    def of(self, chosen: Bool, columns: Sequence[str] | None = None) -> Iterator[tuple[Int64, list[dict[str, Any]]]]:
        """Numbers of the chosen rows of each batch, and the rows."""
        first = 0
        for batch in self.batches(columns):
            own = chosen[first : first + batch.num_rows]
            yield first + np.flatnonzero(own), batch.filter(own).to_pylist()
            first += batch.num_rows

    def shards(self, chosen: Bool, columns: Sequence[str] | None = None) -> Iterator[tuple[Int64, pa.RecordBatch]]:
        """Numbers of the chosen rows, `SHARD_ROWS` at a time, and the rows."""
        import pyarrow as pa

        first = 0
        for batch in self.batches(columns):
            own = np.flatnonzero(chosen[first : first + batch.num_rows])
            for begin in range(0, own.size, SHARD_ROWS):
                part = own[begin : begin + SHARD_ROWS]
                yield first + part, batch.take(pa.array(part))  # a slice would be sent with the whole batch
            first += batch.num_rows

    def per_cell(self, chosen: Bool, n_cells: int) -> list[int]:
        """Number of chosen rows in each cell."""
        counts: list[int] = np.bincount(self.cell[chosen], minlength=n_cells).tolist()
        return counts


@dataclass
class _Verdict:
    """What the judge found of a QA."""

    score: int | None = None
    agreed: int | None = None
    fault: tuple[str, str] | None = None


class _Curation:
    """The steps over all rows; `alive` are the rows that all steps so far kept."""

    def __init__(self, ws: Workspace, config: RunConfig, rows: _Rows, progress: StageProgress) -> None:
        self._ws, self._config, self._rows, self._progress = ws, config, rows, progress
        self.alive: Bool = np.ones(len(rows), bool)
        self.steps: list[dict[str, Any]] = []
        self.judging: dict[str, Any] = {}
        self.pending = 0
        self.clusters = 0
        self._why: dict[int, tuple[str, str, str, str | None]] = {}
        """Of dropped rows: step, reason, detail, and the id of what they repeat."""
        self._rank = np.concatenate([np.zeros(0, np.int64), *map(_preference, rows.batches())])
        self._repeats = np.zeros(len(rows), np.int32)
        self._verdicts: dict[int, _Verdict] = {}
        self._order: Int64 | None = None

    @property
    def order(self) -> Int64:
        """Rows from the best to the worst."""
        from linksyn_gpu.quality.select import best_first

        if self._order is None:
            self._order = best_first(self._rank, self._rows.ids)
        return self._order

    def best_of(self, sizes: Sequence[int]) -> Bool:
        """The best rows of each cell, as many as it may have."""
        from linksyn_gpu.quality.select import best_of_cells

        return best_of_cells(np.where(self.alive, self._rows.cell, -1), self.order, sizes)

    def _end(self, step: str, found: Mapping[int, tuple[str, str, str | None]], **facts: Any) -> None:
        """Take the rows that a step dropped out, and count it."""
        before = int(self.alive.sum())
        reasons = Counter(reason for reason, _, _ in found.values())
        for row, (reason, detail, repeats) in found.items():
            self._why[row] = (step, reason, detail, repeats)
        self.alive[list(found)] = False
        kept = int(self.alive.sum())
        counts = {"step": step, "in": before, "kept": kept, "dropped": before - kept}
        self.steps.append({**counts, "dropped_by_reason": dict(reasons), **facts})

    # ------------------------------------------------------------------ steps

    def check(self, map_shards: MapShards) -> None:
        """The rule checks. QA that passed them in stage synthesize with the same thresholds are not checked again."""
        from linksyn_gpu.quality.checks import faults_of_rows

        made = (self._ws.settings("synthesize") or {}).get("checks")  # older versions had other checks
        if not self._ws.of_files and made == to_mapping(self._config.checks):
            self._end("checks", {}, made_in="synthesize")
            return
        found: dict[int, tuple[str, str, str | None]] = {}
        check = functools.partial(faults_of_rows, config=self._config.checks)
        for numbers, faults in with_keys(map_shards, check, self._rows.shards(self.alive)):
            found |= {int(numbers[place]): (*fault, None) for place, fault in faults.items()}
            self._progress("QA checked", int(numbers[-1]) + 1, len(self._rows))
        self._end("checks", found)

    def find_duplicates(self, map_shards: MapShards) -> None:
        """Near-duplicates among the QA, and of seeds: the best of each cluster stays."""
        import pyarrow as pa

        from linksyn_gpu.quality.duplicates import clusters_of
        from linksyn_gpu.quality.select import representatives

        seed_ids = self._seed_ids()
        numbers = np.flatnonzero(self.alive)
        place = np.full(len(self._rows), -1, np.int64)
        place[numbers] = np.arange(numbers.size)
        texts = self._compared(with_seeds=len(seed_ids) > 0)
        cluster = clusters_of(texts, self._config.curate.near_duplicates, self._ws.folder, map_shards)
        order = place[self.order]
        kept = representatives(cluster, order[order >= 0], len(seed_ids))
        own_ids = pa.array((self._rows.ids[row] for row in numbers.tolist()), pa.string())
        names = pa.chunked_array([*seed_ids.chunks, own_ids], pa.string())
        found: dict[int, tuple[str, str, str | None]] = {}
        for i in np.flatnonzero(kept != np.arange(numbers.size)).tolist():
            if kept[i] >= 0:
                found[int(numbers[i])] = ("near_duplicate", "", own_ids[int(kept[i])].as_py())
                self._repeats[numbers[kept[i]]] += 1
            else:  # the first text of a cluster is a seed if one is in it
                found[int(numbers[i])] = ("near_seed", "", names[int(cluster[len(seed_ids) + i])].as_py())
        self.clusters = self._write_clusters(cluster, names, len(seed_ids), kept)
        self._end("duplicates", found, clusters=self.clusters)

    def find_benchmarks(self, map_shards: MapShards) -> None:
        """Benchmark items that stand in QA."""
        from linksyn_gpu.pipeline.benchmarks import benchmark_digests, clean_texts, hits_in_rows, read_benchmarks
        from linksyn_gpu.quality.certificate import certify

        if not self._config.decontaminate.against:
            self._ws.path(CERTIFICATE).unlink(missing_ok=True)
            self._end("benchmarks", {}, compared=0)
            return
        benchmarks = read_benchmarks(self._config.decontaminate)
        certificate = {
            **benchmark_digests(self._config.decontaminate),
            **certify(benchmarks, clean_texts(self._config.decontaminate)),
        }
        with self._ws.replacing(CERTIFICATE) as part:
            part.write_text(json.dumps(certificate, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        found: dict[int, tuple[str, str, str | None]] = {}
        search = functools.partial(hits_in_rows, benchmarks=benchmarks)
        shards = self._rows.shards(self.alive, ["question", "options", "answer", "explanation"])
        for numbers, hits in with_keys(map_shards, search, shards):
            for place, hit in hits.items():
                detail = f"{hit.file}: {hit.share:.2f} of the item: {hit.matched}"
                found[int(numbers[place])] = ("contaminated", detail, hit.item)
        self._end("benchmarks", found, compared=len(benchmarks))

    def judge(self, engine: StartEngine | None) -> None:
        """Scores of a model, and independent solutions."""
        from linksyn_gpu.knowledge.ask import Asker
        from linksyn_gpu.llm.journal import Journal

        ws, config = self._ws, self._config
        if config.synthesis.engine == "batch":
            raise ConfigError(
                "the judge needs a server, which engine 'batch' does not have: use --engine openai or vllm"
            )
        journal_folder = ws.path(JOURNALS["curate"])
        with Journal(journal_folder) as journal, engine_of(ws, config, engine) as start:
            asker = Asker(start, journal, config.synthesis, run_budget(ws, config.synthesis, "curate", journal.index()))
            found: dict[int, tuple[str, str, str | None]] = {}
            for numbers, rows in self._rows.of(self.alive):
                for begin in range(0, len(rows), JUDGED_AT_ONCE):
                    part = slice(begin, begin + JUDGED_AT_ONCE)
                    found |= self._judged(asker, numbers[part].tolist(), rows[part])
                    self._progress("QA judged", int(numbers[part][-1]) + 1, len(self._rows))
            self.judging = asker.counts()
        self.judging.pop("pending")
        if not self.pending:
            self._end("judge", found)

    def _judged(
        self, asker: Any, numbers: Sequence[int], rows: Sequence[dict[str, Any]]
    ) -> dict[int, tuple[str, str, str | None]]:
        from linksyn_gpu.llm.asking import is_pending
        from linksyn_gpu.llm.protocol import Failure, unusable
        from linksyn_gpu.quality.checks.row import item_of
        from linksyn_gpu.quality.judge import Examiner
        from linksyn_gpu.quality.rubric import read_rubric, score_request

        settings, synthesis = self._config.judge, self._config.synthesis
        qas: list[QA] = [item_of(row) for row in rows]
        requests = [score_request(item, asked, synthesis) for item, asked in qas]
        asker.ask(requests, lambda text: "invalid_json" if read_rubric(text) is None else None, self._progress.asking())
        found: dict[int, tuple[str, str, str | None]] = {}
        to_solve = []
        for at, outcome in enumerate(asker.outcomes(requests)):
            number = numbers[at]
            if is_pending(outcome):
                self.pending += 1
                continue
            scores = None if isinstance(outcome, Failure) or unusable(outcome) else read_rubric(outcome.text)
            self._verdicts[number] = _Verdict(None if scores is None else scores.least)
            if scores is None:
                why = outcome.reason if isinstance(outcome, Failure) else "invalid_json"
                found[number] = ("not_judged", why, None)
            elif scores.least < settings.min_score:
                found[number] = ("low_score", scores.detail, None)
            else:
                to_solve.append(at)
        if settings.solves and to_solve:

            def ask(kind: str, requests: Sequence[Any], validate: Callable[[str], str | None]) -> Iterator[Any]:
                asker.ask(requests, validate, self._progress.asking())
                return iter(asker.outcomes(requests))

            examiner = Examiner(synthesis, ask, settings.solves)
            for at, agreed in zip(to_solve, examiner.solve([qas[at] for at in to_solve]), strict=True):
                if isinstance(agreed, Failure):
                    self.pending += 1
                    continue
                self._verdicts[numbers[at]].agreed = agreed
                if agreed < settings.min_agreed * settings.solves:
                    detail = f"{agreed} of {settings.solves} solutions agree"
                    found[numbers[at]] = ("solves_disagree", detail, None)
        return found

    # ------------------------------------------------------------------ texts and files

    def _seed_ids(self) -> pa.ChunkedArray:
        """Ids of the seeds that QA are compared with; memory-mapped, if they are those of the run."""
        import pyarrow as pa

        if self._config.curate.against_seeds and not self._ws.of_files:
            return store.read_seed_table(self._ws, ["id"]).table.column("id")
        compared = self._seeds_of_files() if self._config.curate.against_seeds else []
        return pa.chunked_array([[name for name, _ in compared]], pa.string())

    def _seeds_of_files(self) -> list[tuple[str, str]]:
        """Ids and compared texts of the seeds that the settings name."""
        from linksyn_gpu.pipeline.benchmarks import READING
        from linksyn_gpu.quality.duplicates import compared_text
        from linksyn_gpu.seeds.files import find_files
        from linksyn_gpu.seeds.normalize import seeds_of_files

        if not self._config.curate.seeds:
            return []
        table = seeds_of_files(find_files(self._config.curate.seeds), READING).table
        rows = table.select(["id", "question", "options"]).to_pylist()
        return [(row["id"], compared_text(row["question"], row["options"])) for row in rows]

    def _compared(self, *, with_seeds: bool) -> Iterator[str]:
        """Compared texts of the seeds, if wanted, and of the rows that are alive."""
        from linksyn_gpu.quality.duplicates import compared_text

        if with_seeds and self._ws.of_files:
            yield from (text for _, text in self._seeds_of_files())
        elif with_seeds:
            for batch in store.read_seed_table(self._ws, ["question", "options"]).table.to_batches():
                yield from map(compared_text, *(column.to_pylist() for column in batch.columns))
        for _, rows in self._rows.of(self.alive, ["question", "options"]):
            yield from (compared_text(row["question"], row["options"]) for row in rows)

    def _write_clusters(self, cluster: Int64, names: pa.ChunkedArray, n_seeds: int, kept: Int64) -> int:
        """Write the members of each cluster with more than one; returns the number of these clusters."""
        import pyarrow as pa

        members = np.bincount(cluster, minlength=cluster.size)
        of_qa = np.bincount(cluster[n_seeds:], minlength=cluster.size)
        members[of_qa == 0] = 0  # seeds among themselves
        rows = np.flatnonzero(members[cluster] > 1)
        rows = rows[np.lexsort((rows, cluster[rows]))]
        stays = np.concatenate([np.zeros(n_seeds, bool), kept == np.arange(kept.size)])
        table = pa.table(
            {
                "cluster": names.take(pa.array(cluster[rows])),
                "id": names.take(pa.array(rows)),
                "seed": pa.array(rows < n_seeds),
                "kept": pa.array(stays[rows]),
            }
        )
        store.write_table(self._ws, "clusters.parquet", table)
        return int((members > 1).sum())

    def write(self, chosen: Bool) -> Counter[str]:
        """Write the rows to their files, and count the drops by reason."""
        ws, schema = self._ws, curated_schema(self._rows.schema)
        reasons = Counter[str]()
        with (
            ws.replacing("curated.parquet") as parquet,
            ws.replacing("curated.jsonl") as jsonl,
            ws.replacing("reserve.parquet") as further,
            ws.replacing("curate-dropped.parquet") as left_out,
            RowWriter(schema, parquet, jsonl) as kept,
            RowWriter(schema, further) as reserve,
            RowWriter(curate_dropped_schema(self._rows.schema), left_out) as dropped,
        ):
            for numbers, rows in self._rows.of(np.ones(len(self._rows), bool)):
                parts: dict[bool | None, list[dict[str, Any]]] = {True: [], False: [], None: []}
                for number, row in zip(numbers.tolist(), rows, strict=True):
                    verdict = self._verdicts.get(number, _Verdict())
                    row |= {"judge_score": verdict.score, "judge_agreed": verdict.agreed}
                    if self.alive[number]:
                        row["near_duplicates"] = int(self._repeats[number])
                        parts[bool(chosen[number])].append(row)
                    else:
                        row["step"], row["reason"], row["detail"], row["repeats"] = self._why[number]
                        reasons[row["reason"]] += 1
                        parts[None].append(row)
                kept.write(parts[True])
                reserve.write(parts[False])
                dropped.write(parts[None])
        return reasons


def _preference(batch: pa.RecordBatch) -> Int64:
    from linksyn_gpu.quality.select import preference

    return preference(batch)


def curated_schema(qa: pa.Schema) -> pa.Schema:
    """Columns of curated.parquet: those of the QA, and what this stage found of them."""
    import pyarrow as pa

    return pa.schema(
        [
            *qa,
            ("near_duplicates", pa.int32()),  # QA that were dropped for this one
            ("judge_score", pa.int8()),  # null: not judged
            ("judge_agreed", pa.int8()),  # solutions that agree; null: not solved
        ]
    )


def curate_dropped_schema(qa: pa.Schema) -> pa.Schema:
    """Columns of curate-dropped.parquet.

    Those of the QA, the step of `STEPS` that dropped it, its reason and detail, and the id of the QA, seed or benchmark
    item that it repeats.
    """
    import pyarrow as pa

    texts = [(name, pa.string()) for name in ("step", "reason", "detail", "repeats")]
    return pa.schema([*qa, ("judge_score", pa.int8()), ("judge_agreed", pa.int8()), *texts])


def _quota(cells: Sequence[Any], asked: Sequence[int] | None, available: Sequence[int]) -> dict[str, Any]:
    """Counts of a campaign that was asked for a number of QA: 'asked' = 'kept' + 'missing', in all and by cell."""
    if asked is None:
        return {}
    missing = [max(0, want - have) for want, have in zip(asked, available, strict=True)]
    rows = [
        {
            "discipline": cell.discipline,
            "difficulty": cell.difficulty,
            "license_group": cell.license_group,
            "asked": want,
            "kept": want - lacks,
            "missing": lacks,
            "reserve": have - (want - lacks),
        }
        for cell, want, lacks, have in zip(cells, asked, missing, available, strict=True)
    ]
    return {"asked": sum(asked), "missing": sum(missing), "available": list(available), "cells": rows}
