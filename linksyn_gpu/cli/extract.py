"""`linksyn-gpu extract`: knowledge points, disciplines and difficulties of a run's seeds, one name for each."""

from __future__ import annotations

import sys

from linksyn_gpu.cli.console import STOPPED_EARLY, exit_if_stopped, result, status
from linksyn_gpu.cli.live import Watch
from linksyn_gpu.cli.options import PRICES, Resolve, existing_run, settings_command
from linksyn_gpu.cli.summary import extract_line


@settings_command(
    "Knowledge points", "--templates", "--max-requests", "--budget-tokens", "Server", "Machine", "Text work", *PRICES
)
@existing_run
def command(folder: str, resolve: Resolve, watch: Watch, force: bool) -> None:
    """Find, label and merge the knowledge points of the seeds in run folder DIR. Runs between ingest and build.

    DIR/merges.md lists which names were merged and which pairs are doubtful.
    """
    from linksyn_gpu.pipeline import stages
    from linksyn_gpu.pipeline.folder import Workspace

    with Workspace(folder, create=False) as ws, watch() as progress:
        config = resolve(ws.settings("extract"))
        progress.begin(("extract",), config.plan.prices)
        counts = stages.extract(ws, config, force=force, progress=progress)
    if counts.get("pending"):
        result(extract_line(counts))
        exit_if_stopped(counts, config.synthesis.engine)
        return
    result(f"{extract_line(counts)}\nlook at    {folder}/merges.md")
    if counts["asked_about"] and not counts["labelled"] and counts.get("extractor") != "names":
        status("No seed got a knowledge point; extracted.parquet holds the reason of each one.")
        sys.exit(STOPPED_EARLY)
