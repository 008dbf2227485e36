"""`linksyn-gpu trace`: the QA that used a seed."""

from __future__ import annotations

import click

from linksyn_gpu.cli.console import errors_as_text, result, status
from linksyn_gpu.cli.options import existing_run


@click.command()
@existing_run
@click.option("--seed", "seed_id", required=True, metavar="SEED_ID", help="Id of the seed.")
@errors_as_text
def command(folder: str, seed_id: str) -> None:
    """List the QA of DIR that used a seed: one line per QA with its id, its file and its walk."""
    from linksyn_gpu.pipeline import stages
    from linksyn_gpu.pipeline.folder import Workspace

    with Workspace(folder, create=False, lock=False) as ws:
        rows = stages.trace(ws, seed_id)
    for row in rows:
        result(f"{row['id']}\t{row['file']}\t{row['walk_id']}")
    status(f"{len(rows):,} QA used {seed_id}")
