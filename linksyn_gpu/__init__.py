"""linksyn-gpu: from a bank of seed questions to new QA, along walks on a graph of knowledge points.

    seeds = read_seeds("seeds.jsonl")
    graph = build_graph(seeds)
    paths = Walker(graph, length=4, seed=7).sample(1000)
    bundles = link_seeds(paths, graph, seeds)
    done = synthesize(bundles, engine="openai", base_url="http://127.0.0.1:8000/v1")

docs/notebook.md shows the whole interface. A name is imported when it is first used, so that `import linksyn_gpu` is
fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # the same names as in _HOME, for type checkers
    from linksyn_gpu.config import BundleConfig as BundleConfig
    from linksyn_gpu.config import EnhanceConfig as EnhanceConfig
    from linksyn_gpu.config import ExtractConfig as ExtractConfig
    from linksyn_gpu.config import GraphConfig as GraphConfig
    from linksyn_gpu.config import PlanConfig as PlanConfig
    from linksyn_gpu.config import QuotaConfig as QuotaConfig
    from linksyn_gpu.config import RunConfig as RunConfig
    from linksyn_gpu.config import SeedsConfig as SeedsConfig
    from linksyn_gpu.config import SynthesisConfig as SynthesisConfig
    from linksyn_gpu.config import WalkConfig as WalkConfig
    from linksyn_gpu.errors import BackendUnavailable as BackendUnavailable
    from linksyn_gpu.errors import ConfigError as ConfigError
    from linksyn_gpu.errors import DataError as DataError
    from linksyn_gpu.errors import EngineError as EngineError
    from linksyn_gpu.errors import KernelError as KernelError
    from linksyn_gpu.errors import LinkSynError as LinkSynError
    from linksyn_gpu.llm import Engine as Engine
    from linksyn_gpu.pipeline.api import Run as Run
    from linksyn_gpu.pipeline.api import open_run as open_run
    from linksyn_gpu.pipeline.api import plan as plan
    from linksyn_gpu.pipeline.api import run as run
    from linksyn_gpu.pipeline.api import synthesize as synthesize
    from linksyn_gpu.sampling.bundle import link_seeds as link_seeds
    from linksyn_gpu.sampling.graph import build_graph as build_graph
    from linksyn_gpu.sampling.graph import build_graph_from_incidence as build_graph_from_incidence
    from linksyn_gpu.sampling.walk import Walker as Walker
    from linksyn_gpu.seeds.normalize import read_seeds as read_seeds
    from linksyn_gpu.tables import Bundles as Bundles
    from linksyn_gpu.tables import KPGraph as KPGraph
    from linksyn_gpu.tables import Seeds as Seeds
    from linksyn_gpu.tables import WalkBatch as WalkBatch

_NAMES = {
    "config": "BundleConfig EnhanceConfig ExtractConfig GraphConfig PlanConfig QuotaConfig RunConfig SeedsConfig "
    "SynthesisConfig WalkConfig",
    "errors": "BackendUnavailable ConfigError DataError EngineError KernelError LinkSynError",
    "llm": "Engine",
    "pipeline.api": "Run open_run plan run synthesize",
    "sampling.bundle": "link_seeds",
    "sampling.graph": "build_graph build_graph_from_incidence",
    "sampling.walk": "Walker",
    "seeds.normalize": "read_seeds",
    "tables": "Bundles KPGraph Seeds WalkBatch",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
