"""`linksyn-gpu curate`: the data set of a run, from its kept QA, or of QA in other files."""

from __future__ import annotations

import click

from linksyn_gpu.cli.console import exit_if_stopped, result
from linksyn_gpu.cli.live import Watch
from linksyn_gpu.cli.options import PRICES, RUN_FOLDER, Resolve, grouped_option, settings_command
from linksyn_gpu.cli.summary import curation_line, ingest_line, where_curated

NEW = "Curate QA of FILES into this folder, instead of those of a run."


@settings_command(
    "Data set",
    "Server",
    "Text work",
    *("--against", "--seeds", "--map", "--layout", "--encoding"),
    *("--templates", "--max-tokens", "--max-requests", "--budget-tokens", *PRICES),
    force=False,
)
@click.argument("folder", metavar="DIR")
@click.argument("files", nargs=-1, metavar="| FILES...")
@grouped_option(RUN_FOLDER, "--out", metavar="DIR", type=click.Path(), help=NEW)
def command(folder: str, files: tuple[str, ...], out: str | None, resolve: Resolve, watch: Watch) -> None:
    """Choose the data set from the QA in run folder DIR, or from QA in FILES with --out.

    The steps are the rule checks, near-duplicates, benchmark items (--against), and a judge (--judge). Each says what
    it dropped and why. Repeat the command with other thresholds as often as you like: a model is asked only for
    judgements that the folder does not have.
    """
    from linksyn_gpu.config.loader import merged
    from linksyn_gpu.pipeline import stages
    from linksyn_gpu.pipeline.folder import Workspace

    if out is None and files:
        raise click.UsageError("several files need --out DIR; without it the argument is one run folder")
    target = folder if out is None else out
    with Workspace(target, create=out is not None) as ws, watch() as progress:
        known = merged(ws.settings("synthesize") or {}, merged(ws.settings("walk") or {}, ws.settings("curate") or {}))
        config = resolve(known)
        progress.begin(("curate",), config.plan.prices)
        if out is not None:
            counts = stages.curate_files(ws, [folder, *files], config, progress=progress)
            result(ingest_line(ws.counts("ingest")))
        else:
            counts = stages.curate(ws, config, progress=progress)
    result(f"{curation_line(counts)}\n{where_curated(target)}")
    exit_if_stopped(counts, config.synthesis.engine)
