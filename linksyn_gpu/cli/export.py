"""`linksyn-gpu export`: the data set of a run as a folder that can be published."""

from __future__ import annotations

import click

from linksyn_gpu.cli.console import result
from linksyn_gpu.cli.live import Watch
from linksyn_gpu.cli.options import Resolve, existing_run, settings_command
from linksyn_gpu.cli.summary import export_lines


@settings_command("Published data set", force=False)
@existing_run
@click.option("--to", "to", required=True, metavar="FOLDER", type=click.Path(), help="The folder to write.")
def command(folder: str, resolve: Resolve, watch: Watch, to: str) -> None:
    """Write the data set of run folder DIR to FOLDER: Parquet files, a card, and Croissant metadata.

    FOLDER loads with `datasets.load_dataset`. The model is not asked.
    """
    from linksyn_gpu.pipeline import stages
    from linksyn_gpu.pipeline.folder import Workspace

    with Workspace(folder, create=False) as ws, watch() as progress:
        counts = stages.export(ws, resolve({}), to, progress=progress)
    result("\n".join([*export_lines(counts), f"look at    {to}/README.md"]))
