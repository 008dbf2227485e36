"""`linksyn-gpu revoke`: the takedown of seeds and of everything made from them."""

from __future__ import annotations

import click

from linksyn_gpu.cli.console import errors_as_text, result
from linksyn_gpu.cli.live import watch
from linksyn_gpu.cli.options import existing_run


@click.command()
@existing_run
@click.argument("ids", nargs=-1, required=True, metavar="SEED_ID...")
@click.option("--dataset", metavar="FOLDER", type=click.Path(exists=True), help="Write this published data set again.")
@click.option("--purge", is_flag=True, help="Also delete the answers, though they were paid for.")
@errors_as_text
def command(folder: str, ids: tuple[str, ...], dataset: str | None, purge: bool) -> None:
    """Remove seeds from DIR, with every QA that used one of them; all other rows stay.

    Afterwards 'linksyn-gpu run' with the arguments of before fills the quota with new paths.
    """
    from linksyn_gpu.pipeline import stages
    from linksyn_gpu.pipeline.folder import Workspace

    with Workspace(folder, create=False) as ws, watch() as progress:
        counts = stages.revoke(ws, ids, purge=purge, dataset=dataset, progress=progress)
    result(
        f"revoked    {counts['seeds']:,} seeds, {counts['paths']:,} paths, {counts['requests']:,} requests, "
        f"{counts['qa']:,} QA\nnext       repeat 'linksyn-gpu run' with its arguments: new paths take their place"
    )
