"""The requests that a run wrote."""

from pathlib import Path
from typing import Any

from linksyn_gpu.synthesis.requests import read_requests, requests_paths


def requests_of(folder: Path) -> list[dict[str, Any]]:
    """The requests in a run folder, in their order."""
    return [request for path in requests_paths(folder) for request in read_requests(path)]
