"""`linksyn-gpu analyze`: graph analytics of a run's KPs."""

from __future__ import annotations

from typing import Any

import click

from linksyn_gpu.cli.console import at_the_border
from linksyn_gpu.cli.options import BACKEND, config_flags, resolve_config
from linksyn_gpu.cli.summary import analysis_text


@click.command()
@click.argument("folder", type=click.Path())
@config_flags(BACKEND)
@at_the_border
def command(folder: str, config_file: str | None, overrides: dict[str, Any]) -> None:
    """Write FOLDER/analytics.parquet: degree, component, PageRank, core number and community of each KP.

    By cuGraph on a GPU, else by SciPy and python-igraph (extra 'analytics').
    """
    from linksyn_gpu.run import stages as pipeline
    from linksyn_gpu.run.folder import Workspace

    with Workspace(folder, create=False) as ws:
        figures = pipeline.analyze(ws, resolve_config(config_file, overrides))
    click.echo(analysis_text(figures))
    click.echo(f"table      {folder}/analytics.parquet")
