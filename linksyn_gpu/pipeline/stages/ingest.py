"""Stage ingest over a run folder: files -> seeds.parquet and rejects.jsonl."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from linksyn_gpu.config import RunConfig
from linksyn_gpu.config.loader import to_mapping
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.growth import check_seeds, continues, input_changed, record_parts, seeds_in_use
from linksyn_gpu.pipeline.progress import Progress, silent
from linksyn_gpu.tables import Seeds


def ingest(
    ws: Workspace, files: Sequence[str], config: RunConfig, *, force: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Files -> seeds.parquet and rejects.jsonl. Returns the stage's counts.

    Further files after those of an earlier call add seeds to a campaign; its paths and answers stay.

    Raises
    ------
    ConfigError
        The files are others, or give other seeds than those that paths of the campaign refer to.
    """
    from linksyn_gpu.seeds.normalize import read_seeds
    from linksyn_gpu.seeds.readers import find_files

    hashes = _fingerprints([file.path for file in find_files(files)])
    settings = {"seeds": to_mapping(config.seeds), "input": hashes}
    grows, seeds = continues(ws, hashes), None
    if not force and seeds_in_use(ws) and input_changed(ws, hashes) and (grows or not ws.finished("ingest")):
        progress("records read", 0, None)
        seeds = read_seeds(files, config.seeds)
        check_seeds(ws, seeds.table)  # before anything is recorded
    if ws.begin("ingest", settings, force=force, growing=("input",) if grows else ()):
        progress("records read", 0, None)
        record_parts(ws)
        seeds = seeds or read_seeds(files, config.seeds)
        store.write_seeds(ws, seeds)
        counts = seed_counts(seeds)
        progress("records read", counts["records"], counts["records"])
        ws.finish("ingest", counts)
    return ws.counts("ingest")


def seed_counts(seeds: Seeds) -> dict[str, Any]:
    """Counts of stage ingest: records = seeds + rejected."""
    return {
        "records": len(seeds) + len(seeds.rejects),
        "seeds": len(seeds),
        "rejected": len(seeds.rejects),
        "rejected_by_reason": dict(Counter(reject.reason for reject in seeds.rejects)),
        "notes": dict(seeds.notes),
    }


def _fingerprints(paths: Sequence[Path]) -> dict[str, str]:
    """Hashes of the input files: a changed file is another input."""
    found: dict[str, str] = {}
    for path in paths:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = path.name if path.name not in found else f"{path.name} (file {len(found) + 1})"
        found[name] = f"sha256 {digest}"
    return found
