"""`linksyn-gpu report`: what a run did, as text and as a page."""

from __future__ import annotations

import click

from linksyn_gpu.cli.console import errors_as_text, result, status
from linksyn_gpu.cli.options import existing_run
from linksyn_gpu.cli.summary import report_text


@click.command()
@existing_run
@errors_as_text
def command(folder: str) -> None:
    """Print the figures of the run in DIR, and write DIR/report.html. Also works during the run."""
    from linksyn_gpu.pipeline import stages
    from linksyn_gpu.pipeline.folder import Workspace

    with Workspace(folder, create=False, lock=False) as ws:
        stats = stages.gather(ws)
        result(report_text(stats))
        try:
            stages.write_page(ws, stats)
        except OSError as error:  # a folder or medium that cannot be written
            status(f"{folder}/report.html was not written: {error}")
        else:
            result(f"page       {folder}/report.html")
