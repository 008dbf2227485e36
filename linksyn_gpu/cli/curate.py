"""`linksyn-gpu curate`: the data set of a run, from its kept QA."""

from __future__ import annotations

from linksyn_gpu.cli.console import progress_bars, result
from linksyn_gpu.cli.options import Resolve, existing_run, settings_command
from linksyn_gpu.cli.summary import curation_line, where_curated


@settings_command("Data set", force=False)
@existing_run
def command(folder: str, resolve: Resolve) -> None:
    """Choose the data set from the QA in run folder DIR: one of each cluster of near-duplicates.

    The model is not asked: repeat the command with other thresholds as often as you like.
    """
    from linksyn_gpu.config.loader import merged
    from linksyn_gpu.pipeline import stages
    from linksyn_gpu.pipeline.folder import Workspace

    with Workspace(folder, create=False) as ws, progress_bars() as progress:
        config = resolve(merged(ws.settings("walk") or {}, ws.settings("curate") or {}))
        counts = stages.curate(ws, config, progress=progress)
    result(f"{curation_line(counts)}\n{where_curated(folder)}")
