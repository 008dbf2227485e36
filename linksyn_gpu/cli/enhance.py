"""`linksyn-gpu enhance`: raise the QA of chosen disciplines to a difficulty level, judged and solved again."""

from __future__ import annotations

from linksyn_gpu.cli.console import exit_if_stopped, result
from linksyn_gpu.cli.live import Watch
from linksyn_gpu.cli.options import PRICES, Resolve, existing_run, settings_command
from linksyn_gpu.cli.summary import enhancement_line, where_enhanced

LIMITS = ("--templates", "--max-tokens", "--max-requests", "--budget-tokens")


@settings_command("Enhancement", *LIMITS, "Server", "Machine", *PRICES)
@existing_run
def command(folder: str, resolve: Resolve, watch: Watch, force: bool) -> None:
    """Raise the QA of chosen disciplines in run folder DIR to a difficulty level.

    Runs after synthesize, with the same engine. With --force the stage is repeated with the answers it has.
    """
    from linksyn_gpu.pipeline import stages
    from linksyn_gpu.pipeline.folder import Workspace

    with Workspace(folder, create=False) as ws, watch() as progress:
        config = resolve(stages.recorded_enhancement(ws))
        progress.begin(("enhance",), config.plan.prices)
        with stages.engine_of(ws, config) as engine:
            counts = stages.enhance(ws, config, engine, force=force, progress=progress)
    result(f"{enhancement_line(counts)}\n{where_enhanced(folder)}")
    exit_if_stopped(counts, config.synthesis.engine)
