"""`linksyn-gpu report`: what a run did, as text and as a page."""

from __future__ import annotations

import click

from linksyn_gpu.cli.console import at_the_border
from linksyn_gpu.cli.summary import report_text


@click.command()
@click.argument("folder", type=click.Path())
@at_the_border
def command(folder: str) -> None:
    """Print what the run in FOLDER did, and write FOLDER/report.html."""
    from linksyn_gpu.run import stages as pipeline
    from linksyn_gpu.run.folder import Workspace

    with Workspace(folder, create=False, lock=False) as ws:
        stats = pipeline.report(ws)
    click.echo(report_text(stats))
    click.echo(f"page       {folder}/report.html")
