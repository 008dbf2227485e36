"""`linksyn-gpu build`: the KP graph of a run's seeds."""

from __future__ import annotations

from linksyn_gpu.cli.console import result
from linksyn_gpu.cli.live import Watch
from linksyn_gpu.cli.options import Resolve, existing_run, settings_command
from linksyn_gpu.cli.summary import build_line


@settings_command("Graph", "Machine")
@existing_run
def command(folder: str, resolve: Resolve, watch: Watch, force: bool) -> None:
    """Build the KP graph of the seeds in run folder DIR."""
    from linksyn_gpu.pipeline import stages
    from linksyn_gpu.pipeline.folder import Workspace

    with Workspace(folder, create=False) as ws, watch() as progress:
        config = resolve(ws.settings("build"))
        counts = stages.build(ws, config, force=force, progress=progress)
    result(build_line(counts))
