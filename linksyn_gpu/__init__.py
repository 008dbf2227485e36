"""linksyn-gpu: from a bank of seed questions to new QA, along walks on a graph of knowledge points.

    seeds = read_seeds("seeds.jsonl")
    graph = build_graph(seeds)
    walker = Walker(graph, WalkConfig(length=4), seed=7)
    paths = walker.sample(1000)
    bundles = link_seeds(paths, graph, seeds)

Names are imported on first use, so that `import linksyn_gpu` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from linksyn_gpu.config import WalkConfig as WalkConfig
    from linksyn_gpu.sampling.bundle import link_seeds as link_seeds
    from linksyn_gpu.sampling.graph import build_graph as build_graph
    from linksyn_gpu.sampling.graph import build_graph_from_incidence as build_graph_from_incidence
    from linksyn_gpu.sampling.walk import Walker as Walker
    from linksyn_gpu.seeds.normalize import read_seeds as read_seeds
    from linksyn_gpu.tables import Bundles as Bundles
    from linksyn_gpu.tables import KPGraph as KPGraph
    from linksyn_gpu.tables import Seeds as Seeds
    from linksyn_gpu.tables import WalkBatch as WalkBatch

_HOME = {
    "read_seeds": "seeds.normalize",
    "build_graph": "sampling.graph",
    "build_graph_from_incidence": "sampling.graph",
    "link_seeds": "sampling.bundle",
    "Walker": "sampling.walk",
    "WalkConfig": "config",
    "Seeds": "tables",
    "KPGraph": "tables",
    "WalkBatch": "tables",
    "Bundles": "tables",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
