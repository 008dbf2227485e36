"""`linksyn-gpu analyze`: graph analytics of a run's KPs."""

from __future__ import annotations

from linksyn_gpu.cli.console import result
from linksyn_gpu.cli.options import Resolve, existing_run, settings_command
from linksyn_gpu.cli.summary import analysis_text


@settings_command("Machine", force=False, progress=False)
@existing_run
def command(folder: str, resolve: Resolve) -> None:
    """Write DIR/analytics.parquet: degree, component, PageRank, core number and community of each KP.

    Computed by cuGraph on a GPU, by SciPy and python-igraph (extra 'analytics') otherwise.
    """
    from linksyn_gpu.pipeline import stages
    from linksyn_gpu.pipeline.folder import Workspace

    with Workspace(folder, create=False) as ws:
        figures = stages.analyze(ws, resolve(None))
    result(f"{analysis_text(figures)}\ntable      {folder}/analytics.parquet")
