"""`linksyn-gpu run`: all stages over one run folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linksyn_gpu.cli import summary
from linksyn_gpu.cli.console import exit_if_stopped, result, status
from linksyn_gpu.cli.live import Watch
from linksyn_gpu.cli.options import GROUPS, PRICES, Resolve, new_run, settings_command


@settings_command(*GROUPS, *PRICES)
@new_run
def command(seeds: tuple[str, ...], out: str, resolve: Resolve, watch: Watch, force: bool) -> None:
    """Run all stages: read SEEDS, build the KP graph, sample paths, link seeds along them, and generate new QA.

    Run the command again on the same folder to continue after a stop.
    """
    from linksyn_gpu.backend import resolve as choose_backend
    from linksyn_gpu.pipeline.api import run

    config = resolve(None)
    backend = choose_backend(config.backend)
    status(f"backend: {backend.name} ({backend.reason})")
    last: dict[str, Mapping[str, Any]] = {}

    def done(stage: str, counts: Mapping[str, Any]) -> None:
        last[stage] = counts
        result(summary.LINES[stage](counts))

    with watch() as progress:
        run(seeds, out, config, force=force, progress=progress, done=done)
    engine = config.synthesis.engine
    if "synthesize" not in last:  # requests of stage extract are pending
        exit_if_stopped(last["extract"], engine)
        return
    result(summary.where_to_look(out, last["synthesize"], engine))
    if "enhance" in last:
        result(summary.where_enhanced(out))
    if "curate" in last:
        result(summary.where_curated(out))
    exit_if_stopped(last.get("enhance", last["synthesize"]), engine)
    if "curate" in last:
        exit_if_stopped(last["curate"], engine)
