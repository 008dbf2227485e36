"""`linksyn-gpu run`: the whole job over one run folder."""

from __future__ import annotations

from typing import Any

import click

from linksyn_gpu.cli import summary
from linksyn_gpu.cli.console import at_the_border, exit_if_stopped, progress_bars, status
from linksyn_gpu.cli.options import EVERYTHING, config_flags, resolve_config


@click.command()
@click.argument("seeds", nargs=-1, required=True)
@click.option("--out", required=True, type=click.Path(), help="The run folder.")
@config_flags(EVERYTHING)
@click.option("--force", is_flag=True, help="Start anew; answers received are set aside in journal.N.")
@at_the_border
def command(seeds: tuple[str, ...], out: str, config_file: str | None, overrides: dict[str, Any], force: bool) -> None:
    """Do the whole job: read SEEDS, build the KP graph, walk, link seeds, and ask for new QA; enhance them if asked to.

    Run it again on the same folder to go on where it stopped.
    """
    from linksyn_gpu.backend import resolve
    from linksyn_gpu.run import stages as pipeline
    from linksyn_gpu.run import store
    from linksyn_gpu.run.folder import Workspace

    config = resolve_config(config_file, overrides)
    backend = resolve(config.backend)
    with Workspace(out) as ws, progress_bars() as progress, pipeline.engine_of(ws, config) as engine:
        status(f"backend: {backend.name} ({backend.reason})")
        click.echo(summary.ingest_line(pipeline.ingest(ws, seeds, config, force=force, progress=progress)))
        if config.extract.asked_for:
            click.echo(summary.extract_line(pipeline.extract(ws, config, engine=engine, progress=progress)))
        click.echo(summary.build_line(pipeline.build(ws, config, progress=progress)))
        counts = pipeline.walk_and_synthesize(ws, config, engine=engine, progress=progress)
        click.echo(summary.walk_line(ws.counts("walk")))
        click.echo(summary.cell_table(store.read_plan(ws)))
        click.echo(summary.synthesis_line(counts))
        enhanced = None
        if config.enhance.asked_for and counts["pending"] == 0:
            enhanced = pipeline.enhance(ws, config, engine, progress=progress)
            click.echo(summary.enhancement_line(enhanced))
        pipeline.report(ws)
    click.echo(summary.where_to_look(out, counts, config.synthesis.engine))
    if enhanced is not None:
        click.echo(summary.where_enhanced(out))
    exit_if_stopped(enhanced or counts, config.synthesis.engine)
