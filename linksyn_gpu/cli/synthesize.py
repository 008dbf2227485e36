"""`linksyn-gpu synthesize`: new QA for the bundles of a run."""

from __future__ import annotations

from typing import Any

import click

from linksyn_gpu.cli.console import at_the_border, exit_if_stopped, progress_bars
from linksyn_gpu.cli.options import SYNTHESIS, config_flags, force_flag, resolve_config
from linksyn_gpu.cli.summary import synthesis_line, where_to_look


@click.command()
@click.argument("folder", type=click.Path())
@click.option(
    "--collect",
    multiple=True,
    type=click.Path(),
    help="File with answers to requests.jsonl (OpenAI or vLLM batch output); may be given several times.",
)
@config_flags(SYNTHESIS)
@force_flag
@at_the_border
def command(
    folder: str, collect: tuple[str, ...], config_file: str | None, overrides: dict[str, Any], force: bool
) -> None:
    """Ask the language model for new QA along the paths in a run FOLDER."""
    from linksyn_gpu.run import stages as pipeline
    from linksyn_gpu.run.folder import Workspace

    with Workspace(folder, create=False) as ws, progress_bars() as progress:
        config = resolve_config(config_file, overrides, None if force else pipeline.recorded_synthesis(ws))
        counts = pipeline.synthesize(ws, config, force=force, collect=collect, progress=progress)
    click.echo(synthesis_line(counts))
    click.echo(where_to_look(folder, counts, config.synthesis.engine))
    exit_if_stopped(counts, config.synthesis.engine)
