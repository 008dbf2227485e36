"""Stage ingest over a run folder: files -> seeds.arrow and rejects.jsonl."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from linksyn_gpu.cluster import open_workers
from linksyn_gpu.config import RunConfig
from linksyn_gpu.config.loader import to_mapping
from linksyn_gpu.errors import ConfigError, DataError
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.benchmarks import Screen, benchmark_digests, file_digests, screening
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.growth import (
    INSTEAD,
    check_seeds,
    continues,
    input_changed,
    known_input,
    record_parts,
    seeds_in_use,
)
from linksyn_gpu.pipeline.progress import Progress, StageProgress, silent
from linksyn_gpu.seeds.files import SourceFiles, find_files
from linksyn_gpu.seeds.normalize import NO_ANSWER, Intake, SeedTally
from linksyn_gpu.seeds.values import listed
from linksyn_gpu.tables import seed_schema

if TYPE_CHECKING:
    import pyarrow as pa

MAX_REMARKS = 20
"""Remarks on files that the manifest holds and the command prints."""


def ingest(
    ws: Workspace, files: Sequence[str], config: RunConfig, *, force: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Files -> seeds.arrow and rejects.jsonl. Returns the stage's counts.

    Further files after those of an earlier call add seeds to a campaign; its paths and answers stay.

    Raises
    ------
    ConfigError
        The files are others, or give other seeds than those that paths of the campaign refer to.
    DataError
        No seed of a file has a usable answer, and the settings do not allow that.
    """
    found = find_files(files)
    hashes = file_digests(found)
    decontamination = benchmark_digests(config.decontaminate)
    shaping = to_mapping(config.seeds)
    allowed = {"allow_empty_answers": shaping.pop("allow_empty_answers")}
    settings = {"seeds": shaping, "decontamination": decontamination, "input": hashes}
    grows = continues(ws, hashes)
    if not grows and not force and seeds_in_use(ws) and input_changed(ws, hashes):
        known = known_input(ws)
        others = [name for name in hashes if hashes[name] != known.get(name, hashes[name])]
        why = (
            f"the content of {listed(others, 5)} changed" if others else "the input files are not those of the campaign"
        )
        raise ConfigError(
            f"{ws.folder}: {why}. Seeds are added by files after all "
            f"earlier ones, in their order: {listed(list(known), 5)}; otherwise {INSTEAD}"
        )
    begin = functools.partial(
        ws.begin,
        "ingest",
        settings,
        operational={"seeds": allowed, "decontaminate": to_mapping(config.decontaminate)},
        force=force,
        growing=("input", "decontamination") if grows else (),
    )
    changed = input_changed(ws, hashes) or decontamination != ws.facts("ingest").get("settings", {}).get(
        "decontamination", {}
    )
    compares = not force and seeds_in_use(ws) and changed and (grows or not ws.finished("ingest"))
    if compares or begin():
        if not compares:
            record_parts(ws)
        counted = progress.of("ingest")
        counted("records read", 0, None)
        with (
            open_workers(config.workers, config.cluster) as map_shards,
            store.replacing_seeds(ws, seed_schema()) as out,
            screening(ws, config.decontaminate, map_shards) as screen,
        ):
            tally = _read(found, config, out, screen, counted)
            if compares:
                _check_seeds(ws, out, tally)  # before anything is recorded
                begin()
                record_parts(ws)
        counts = seed_counts(tally, screen)
        counted("records read", counts["records"], counts["records"])
        ws.finish("ingest", counts)
    return ws.counts("ingest")


def _check_seeds(ws: Workspace, out: store.SeedFiles, tally: SeedTally) -> None:
    """`check_seeds`, whose message also names contaminated seeds: they may be why seeds differ."""
    try:
        check_seeds(ws, out.table())
    except ConfigError as error:
        leaks = tally.rejected["contaminated"]
        raise ConfigError(f"{error}; {leaks:,} seeds hold items of --against" if leaks else str(error)) from None


def seed_counts(tally: SeedTally, screen: Screen | None = None) -> dict[str, Any]:
    """Counts of stage ingest: records = seeds + rejected; with benchmark files, the items that were searched for."""
    remarks = [*tally.remarks, *(screen.remarks if screen is not None else ())]
    left = len(remarks) - MAX_REMARKS
    more = [f"and {left:,} more remarks on files"] if left > 0 else []
    return {
        "records": tally.taken + tally.rejected.total(),
        "seeds": tally.taken,
        "rejected": tally.rejected.total(),
        "rejected_by_reason": dict(tally.rejected),
        "notes": dict(tally.notes),
        "layouts": dict(tally.layouts),
        "remarks": [*remarks[:MAX_REMARKS], *more],
        "files_without_answers": list(tally.unanswered[:MAX_REMARKS]),
        **({} if screen is None else {"benchmarks": screen.counts}),
    }


def _read(
    files: SourceFiles, config: RunConfig, out: store.SeedFiles, screen: Screen | None, counted: StageProgress
) -> SeedTally:
    """Read the files; raise `DataError` for files without answers."""

    def write(seeds: pa.RecordBatch) -> None:
        out.write(seeds)
        counted("records read", intake.tally.taken + intake.tally.rejected.total(), None)

    intake = Intake(config.seeds, write, out.reject, screen)
    intake.read_files(files)
    intake.finish()
    out.close()
    if intake.tally.unanswered and not config.seeds.allow_empty_answers:
        raise DataError(_no_answers(intake.tally))
    return intake.tally


def _no_answers(tally: SeedTally) -> str:
    """Say which files have no answers, and what to do about it."""
    notes = {name: tally.notes[name] for name in NO_ANSWER if tally.notes[name]}
    counts = ", ".join(f"{name} {n:,}" for name, n in notes.items())
    remarks = "".join(f"\n  {remark}" for remark in tally.remarks[:MAX_REMARKS])
    return (
        f"no seed of {listed(tally.unanswered, 5)} has a usable answer ({counts}). Name the columns"
        f" (--map answer=COLUMN, --map options=A,B,C,D), choose a --layout, set --index-base for answers that are"
        f" numbers of options, or pass --allow-empty-answers to use the questions alone.{remarks}"
    )
