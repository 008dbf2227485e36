"""`linksyn-gpu walk`: paths and bundles of a run."""

from __future__ import annotations

from typing import Any

import click

from linksyn_gpu.cli.console import at_the_border, progress_bars
from linksyn_gpu.cli.options import WALK, config_flags, force_flag, resolve_config
from linksyn_gpu.cli.summary import cell_table, walk_line


@click.command()
@click.argument("folder", type=click.Path())
@config_flags(WALK)
@force_flag
@at_the_border
def command(folder: str, config_file: str | None, overrides: dict[str, Any], force: bool) -> None:
    """Sample paths on the KP graph in a run FOLDER and link seeds along them."""
    from linksyn_gpu.run import stages as pipeline
    from linksyn_gpu.run import store
    from linksyn_gpu.run.folder import Workspace

    with Workspace(folder, create=False) as ws, progress_bars() as progress:
        config = resolve_config(config_file, overrides, None if force else ws.settings("walk"))
        counts = pipeline.walk(ws, config, force=force, progress=progress)
        cells = store.read_plan(ws)
    click.echo(walk_line(counts))
    click.echo(cell_table(cells))
