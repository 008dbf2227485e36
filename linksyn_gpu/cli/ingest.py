"""`linksyn-gpu ingest`: seed files into a run folder."""

from __future__ import annotations

from typing import Any

import click

from linksyn_gpu.cli.console import at_the_border, progress_bars
from linksyn_gpu.cli.options import SEEDS, config_flags, force_flag, resolve_config
from linksyn_gpu.cli.summary import ingest_line


@click.command()
@click.argument("seeds", nargs=-1, required=True)
@click.option("--out", required=True, type=click.Path(), help="The run folder.")
@config_flags(SEEDS)
@force_flag
@at_the_border
def command(seeds: tuple[str, ...], out: str, config_file: str | None, overrides: dict[str, Any], force: bool) -> None:
    """Read SEEDS (JSONL, JSON, CSV, TSV or Parquet; .gz and .zst too; globs allowed) into a run folder.

    Bad records go to rejects.jsonl with file, line and reason; the job goes on.
    """
    from linksyn_gpu.run import stages as pipeline
    from linksyn_gpu.run.folder import Workspace

    with Workspace(out) as ws, progress_bars() as progress:
        recorded = None if force else ws.settings("ingest")
        config = resolve_config(config_file, overrides, recorded and {"seeds": recorded["seeds"]})
        counts = pipeline.ingest(ws, seeds, config, force=force, progress=progress)
    click.echo(ingest_line(counts))
