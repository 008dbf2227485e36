"""`linksyn-gpu extract`: knowledge points, disciplines and difficulties of a run's seeds, each thing under one name."""

from __future__ import annotations

from typing import Any

import click

from linksyn_gpu.cli.console import at_the_border, progress_bars
from linksyn_gpu.cli.options import EXTRACT, config_flags, force_flag, resolve_config
from linksyn_gpu.cli.summary import extract_line


@click.command()
@click.argument("folder", type=click.Path())
@config_flags(EXTRACT)
@force_flag
@at_the_border
def command(folder: str, config_file: str | None, overrides: dict[str, Any], force: bool) -> None:
    """Find, label and merge the knowledge points of the seeds in a run FOLDER. Comes between ingest and build.

    merges.md in the folder tells what was merged and what is doubtful.
    """
    from linksyn_gpu.run import stages as pipeline
    from linksyn_gpu.run.folder import Workspace

    with Workspace(folder, create=False) as ws, progress_bars() as progress:
        config = resolve_config(config_file, overrides, None if force else pipeline.recorded_extraction(ws))
        counts = pipeline.extract(ws, config, force=force, progress=progress)
    click.echo(extract_line(counts))
    click.echo(f"look at    {folder}/merges.md")
