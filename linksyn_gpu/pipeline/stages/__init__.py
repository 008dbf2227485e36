"""The stages of a run in their order, over a run folder: one module per command, and the only code that joins stages.

Each function checks whether there is work, runs one stage from files to files, and records its counts. `cli/` and
`pipeline/api.py` call these functions and nothing below them.
"""

from __future__ import annotations

from linksyn_gpu.pipeline.progress import Progress as Progress
from linksyn_gpu.pipeline.progress import silent as silent
from linksyn_gpu.pipeline.serving import engine_of as engine_of
from linksyn_gpu.pipeline.stages.analyze import analyze as analyze
from linksyn_gpu.pipeline.stages.analyze import memory_plan as memory_plan
from linksyn_gpu.pipeline.stages.build import build as build
from linksyn_gpu.pipeline.stages.compare import compare as compare
from linksyn_gpu.pipeline.stages.compare import write_comparison as write_comparison
from linksyn_gpu.pipeline.stages.curate import curate as curate
from linksyn_gpu.pipeline.stages.curate import curate_files as curate_files
from linksyn_gpu.pipeline.stages.enhance import enhance as enhance
from linksyn_gpu.pipeline.stages.enhance import recorded_enhancement as recorded_enhancement
from linksyn_gpu.pipeline.stages.export import export as export
from linksyn_gpu.pipeline.stages.extract import extract as extract
from linksyn_gpu.pipeline.stages.extract import resolve_extractor as resolve_extractor
from linksyn_gpu.pipeline.stages.forecast import campaign_figures as campaign_figures
from linksyn_gpu.pipeline.stages.forecast import forecast as forecast
from linksyn_gpu.pipeline.stages.ingest import ingest as ingest
from linksyn_gpu.pipeline.stages.prove import all_ids as all_ids
from linksyn_gpu.pipeline.stages.prove import prove as prove
from linksyn_gpu.pipeline.stages.prove import trace as trace
from linksyn_gpu.pipeline.stages.report import gather as gather
from linksyn_gpu.pipeline.stages.report import report as report
from linksyn_gpu.pipeline.stages.report import write_page as write_page
from linksyn_gpu.pipeline.stages.revoke import revoke as revoke
from linksyn_gpu.pipeline.stages.synthesize import prepare as prepare
from linksyn_gpu.pipeline.stages.synthesize import synthesize as synthesize
from linksyn_gpu.pipeline.stages.synthesize import walk_and_synthesize as walk_and_synthesize
from linksyn_gpu.pipeline.stages.walk import begin_walk as begin_walk
from linksyn_gpu.pipeline.stages.walk import walk as walk
