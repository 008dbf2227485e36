"""`linksyn-gpu walk`: paths and bundles of a run."""

from __future__ import annotations

from linksyn_gpu.cli.console import result
from linksyn_gpu.cli.live import Watch
from linksyn_gpu.cli.options import Resolve, existing_run, settings_command
from linksyn_gpu.cli.summary import cell_table, walk_line


@settings_command("Walks", "Machine")
@existing_run
def command(folder: str, resolve: Resolve, watch: Watch, force: bool) -> None:
    """Sample paths on the KP graph in run folder DIR and link seeds along them."""
    from linksyn_gpu.pipeline import stages
    from linksyn_gpu.pipeline.folder import Workspace

    with Workspace(folder, create=False) as ws, watch() as progress:
        config = resolve(ws.settings("walk"))
        counts = stages.walk(ws, config, force=force, progress=progress)
        cells = stages.campaign_figures(ws)[1]
    result(f"{walk_line(counts)}\n{cell_table(cells)}")
