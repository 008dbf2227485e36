"""The stages of a run in their order, over a run folder: the one package that knows them all.

Each function asks the workspace whether there is work, runs one stage from files to files, and records its counts.
`cli/` and `run/api.py` call these and nothing below them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linksyn_gpu.run.folder import Workspace
from linksyn_gpu.run.progress import Progress as Progress
from linksyn_gpu.run.progress import silent as silent
from linksyn_gpu.run.serving import engine_of as engine_of
from linksyn_gpu.run.stages.enhance import enhance as enhance
from linksyn_gpu.run.stages.enhance import recorded_enhancement as recorded_enhancement
from linksyn_gpu.run.stages.extract import extract as extract
from linksyn_gpu.run.stages.extract import recorded_extraction as recorded_extraction
from linksyn_gpu.run.stages.synthesize import recorded_synthesis as recorded_synthesis
from linksyn_gpu.run.stages.synthesize import synthesize as synthesize
from linksyn_gpu.run.stages.synthesize import walk_and_synthesize as walk_and_synthesize
from linksyn_gpu.run.stages.walk import analyze as analyze
from linksyn_gpu.run.stages.walk import build as build
from linksyn_gpu.run.stages.walk import ingest as ingest
from linksyn_gpu.run.stages.walk import memory_plan as memory_plan
from linksyn_gpu.run.stages.walk import walk as walk

if TYPE_CHECKING:
    from linksyn_gpu.report.stats import RunStats


def report(ws: Workspace) -> RunStats:
    """Files of a run -> its figures, and report.html."""
    from linksyn_gpu.report.page import render
    from linksyn_gpu.report.stats import gather

    stats = gather(ws)
    with ws.replacing("report.html") as part:
        part.write_text(render(stats, ws.folder.resolve().name), encoding="utf-8")
    return stats
