"""`linksyn-gpu enhance`: the QA of chosen disciplines brought to a level, judged and solved again."""

from __future__ import annotations

from typing import Any

import click

from linksyn_gpu.cli.console import at_the_border, exit_if_stopped, progress_bars
from linksyn_gpu.cli.options import ENHANCE, config_flags, force_flag, resolve_config
from linksyn_gpu.cli.summary import enhancement_line, where_enhanced


@click.command()
@click.argument("folder", type=click.Path())
@config_flags(ENHANCE)
@force_flag
@at_the_border
def command(folder: str, config_file: str | None, overrides: dict[str, Any], force: bool) -> None:
    """Bring the QA of chosen disciplines in a run FOLDER to a level. Comes after synthesize, whose engine it takes.

    With --force the stage is done anew from the answers that it has.
    """
    from linksyn_gpu.run import stages as pipeline
    from linksyn_gpu.run.folder import Workspace

    with Workspace(folder, create=False) as ws, progress_bars() as progress:
        config = resolve_config(config_file, overrides, pipeline.recorded_enhancement(ws))
        with pipeline.engine_of(ws, config) as engine:
            counts = pipeline.enhance(ws, config, engine, force=force, progress=progress)
    click.echo(enhancement_line(counts))
    click.echo(where_enhanced(folder))
    exit_if_stopped(counts, config.synthesis.engine)
