"""`linksyn-gpu synthesize`: new QA for the bundles of a run."""

from __future__ import annotations

import click

from linksyn_gpu.cli.console import exit_if_stopped, result
from linksyn_gpu.cli.live import Watch
from linksyn_gpu.cli.options import PRICES, RUN_FOLDER, Resolve, existing_run, grouped_option, settings_command
from linksyn_gpu.cli.summary import synthesis_line, where_to_look


@settings_command("Synthesis", "Server", "Machine", "Text work", *PRICES)
@existing_run
@grouped_option(
    RUN_FOLDER,
    "--collect",
    multiple=True,
    type=click.Path(),
    help="Answers to the requests (OpenAI or vLLM batch output): a file, .gz or .zst too, a pattern or a folder. "
    "Repeatable.",
)
def command(folder: str, collect: tuple[str, ...], resolve: Resolve, watch: Watch, force: bool) -> None:
    """Ask the language model for new QA along the paths in run folder DIR."""
    from linksyn_gpu.pipeline import stages
    from linksyn_gpu.pipeline.folder import Workspace

    with Workspace(folder, create=False) as ws, watch() as progress:
        config = resolve(ws.settings("synthesize"))
        progress.begin(("synthesize",), config.plan.prices)
        counts = stages.synthesize(ws, config, force=force, collect=collect, progress=progress)
    result(f"{synthesis_line(counts)}\n{where_to_look(folder, counts, config.synthesis.engine)}")
    exit_if_stopped(counts, config.synthesis.engine)
