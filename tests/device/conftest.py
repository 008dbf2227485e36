"""The GPU backend imported over stand-ins."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from linksyn_gpu.backend import kernels
from tests.device import standin_cupy, standin_cuvs, standin_rapids

STANDINS = ("cupy", "cudf", "pylibcugraph", "cuvs", "cuvs.neighbors")


@contextmanager
def gpu_over_standins() -> Iterator[Any]:
    """`linksyn_gpu.backend.gpu`, freshly imported while the stand-ins take the real packages' names."""
    import linksyn_gpu.backend as package

    backend = "linksyn_gpu.backend.gpu"
    hidden = {n: sys.modules.pop(n) for n in list(sys.modules) if n in STANDINS or n.startswith(backend)}
    kept = {n: vars(package).pop(n) for n in list(vars(package)) if n.startswith("gpu")}
    sys.modules["cupy"] = standin_cupy.module()
    sys.modules["cudf"] = standin_rapids.cudf_module()
    sys.modules["pylibcugraph"] = standin_rapids.pylibcugraph_module()
    sys.modules["cuvs"], sys.modules["cuvs.neighbors"] = standin_cuvs.modules()
    kernels._module.cache_clear()
    try:
        gpu = importlib.import_module(backend)
        gpu.crossings.clear()
        standin_cupy.READS.clear()
        yield gpu
    finally:
        for name in [n for n in sys.modules if n in STANDINS or n.startswith(backend)]:
            del sys.modules[name]
        for name in [n for n in vars(package) if n.startswith("gpu")]:
            delattr(package, name)
        sys.modules.update(hidden)
        vars(package).update(kept)
        kernels._module.cache_clear()


@pytest.fixture
def gpu() -> Iterator[Any]:
    with gpu_over_standins() as module:
        yield module
