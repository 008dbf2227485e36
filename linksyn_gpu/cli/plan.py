"""`linksyn-gpu plan`: the whole campaign but for its answers, and a forecast of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linksyn_gpu.cli import summary
from linksyn_gpu.cli.console import exit_if_stopped, result, status
from linksyn_gpu.cli.live import Watch
from linksyn_gpu.cli.options import FORECAST, GROUPS, Resolve, new_run, settings_command


@settings_command(*GROUPS, FORECAST)
@new_run
def command(seeds: tuple[str, ...], out: str, resolve: Resolve, watch: Watch, force: bool) -> None:
    """Sample all paths of a campaign and write its requests, ask for nothing, and forecast what it gives and costs.

    'linksyn-gpu run' with the same SEEDS, --out and settings executes exactly these paths and requests.
    """
    from linksyn_gpu.backend import resolve as choose_backend
    from linksyn_gpu.pipeline.api import plan

    config = resolve(None)
    backend = choose_backend(config.backend)
    status(f"backend: {backend.name} ({backend.reason})")

    last: dict[str, Mapping[str, Any]] = {}

    def done(stage: str, counts: Mapping[str, Any]) -> None:
        last[stage] = counts
        result(summary.LINES[stage](counts))

    with watch() as progress:
        planned = plan(seeds, out, config, force=force, progress=progress, done=done)
    if "walk" not in last:  # requests of stage extract are pending
        exit_if_stopped(last["extract"], config.synthesis.engine)
        return
    result(summary.plan_text(planned.stats))
    result(f"next       linksyn-gpu run with the same arguments; the pictures are in {out}/report.html")
