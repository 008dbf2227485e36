"""`linksyn-gpu ingest`: seed files into a run folder."""

from __future__ import annotations

from linksyn_gpu.cli.console import result
from linksyn_gpu.cli.live import Watch
from linksyn_gpu.cli.options import Resolve, new_run, settings_command
from linksyn_gpu.cli.summary import ingest_line


@settings_command("Input", "Text work")
@new_run
def command(seeds: tuple[str, ...], out: str, resolve: Resolve, watch: Watch, force: bool) -> None:
    """Read SEEDS (JSONL, JSON, CSV, TSV, Parquet or Arrow, also .gz and .zst; globs allowed) into a run folder.

    SEEDS may be folders, also those that Hugging Face `datasets` saved, and - for standard input. The layout of the
    records is found and printed. Invalid records go to rejects.jsonl with file, line and reason; the others are read.
    """
    from linksyn_gpu.pipeline import stages
    from linksyn_gpu.pipeline.folder import Workspace

    with Workspace(out) as ws, watch() as progress:
        config = resolve(ws.settings("ingest"))
        counts = stages.ingest(ws, seeds, config, force=force, progress=progress)
    result(ingest_line(counts))
