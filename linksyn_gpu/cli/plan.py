"""`linksyn-gpu plan`: the whole campaign but for its answers, and a forecast of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linksyn_gpu.cli import summary
from linksyn_gpu.cli.console import progress_bars, result, status
from linksyn_gpu.cli.options import FORECAST, GROUPS, Resolve, new_run, settings_command


@settings_command(*GROUPS, FORECAST)
@new_run
def command(seeds: tuple[str, ...], out: str, resolve: Resolve, force: bool) -> None:
    """Sample all paths of a campaign and write its requests, ask for nothing, and forecast what it gives and costs.

    'linksyn-gpu run' with the same SEEDS, --out and settings executes exactly these paths and requests.
    """
    from linksyn_gpu.backend import resolve as choose_backend
    from linksyn_gpu.pipeline.api import plan

    config = resolve(None)
    backend = choose_backend(config.backend)
    status(f"backend: {backend.name} ({backend.reason})")

    def done(stage: str, counts: Mapping[str, Any]) -> None:
        result(summary.LINES[stage](counts))

    with progress_bars() as progress:
        stats = plan(seeds, out, config, force=force, progress=progress, done=done).stats
    result(summary.plan_text(stats))
    result(f"next       linksyn-gpu run with the same arguments; the pictures are in {out}/report.html")
