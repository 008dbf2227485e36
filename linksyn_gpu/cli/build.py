"""`linksyn-gpu build`: the KP graph of a run's seeds."""

from __future__ import annotations

from typing import Any

import click

from linksyn_gpu.cli.console import at_the_border, progress_bars
from linksyn_gpu.cli.options import GRAPH, config_flags, force_flag, resolve_config
from linksyn_gpu.cli.summary import build_line


@click.command()
@click.argument("folder", type=click.Path())
@config_flags(GRAPH)
@force_flag
@at_the_border
def command(folder: str, config_file: str | None, overrides: dict[str, Any], force: bool) -> None:
    """Build the KP graph of the seeds in a run FOLDER."""
    from linksyn_gpu.run import stages as pipeline
    from linksyn_gpu.run.folder import Workspace

    with Workspace(folder, create=False) as ws, progress_bars() as progress:
        config = resolve_config(config_file, overrides, None if force else ws.settings("build"))
        counts = pipeline.build(ws, config, force=force, progress=progress)
    click.echo(build_line(counts))
