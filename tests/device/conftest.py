"""The GPU backend imported over stand-ins."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from linksyn_gpu.backend.gpu import cuda as kernels
from linksyn_gpu.backend.gpu.memory import crossings
from tests.device import standin_cupy, standin_cuvs, standin_rapids

STANDINS = (
    "cupy", "rmm", "rmm.mr", "rmm.allocators", "rmm.allocators.cupy", "cudf", "pylibcugraph", "cuvs", "cuvs.neighbors",
)  # fmt: skip


def imports_cupy(module: str) -> bool:
    """Whether a module is one of the GPU backend that cannot be imported without CuPy."""
    folder, _, name = module.rpartition(".")
    return folder == "linksyn_gpu.backend.gpu" and not name.startswith("_") and name not in ("cuda", "memory")


@contextmanager
def gpu_over_standins(*, rapids: bool = True) -> Iterator[Any]:
    """`linksyn_gpu.backend.gpu.operations`, imported again while the stand-ins replace the real packages.

    Without `rapids` there is a stand-in for CuPy alone.
    """
    import linksyn_gpu.backend.gpu as package

    hidden = {n: sys.modules.pop(n) for n in list(sys.modules) if n in STANDINS or imports_cupy(n)}
    kept = {n: vars(package).pop(n) for n in list(vars(package)) if imports_cupy(f"{package.__name__}.{n}")}
    sys.modules["cupy"] = standin_cupy.module()
    finder = standin_rapids.CudfFinder()
    if rapids:
        sys.modules |= standin_rapids.rmm_modules()
        sys.meta_path.insert(0, finder)
        sys.modules["pylibcugraph"] = standin_rapids.pylibcugraph_module()
        sys.modules["cuvs"], sys.modules["cuvs.neighbors"] = standin_cuvs.modules()
    kernels._module.cache_clear()
    try:
        gpu = importlib.import_module("linksyn_gpu.backend.gpu.operations")
        crossings.clear()
        standin_cupy.READS.clear()
        yield gpu
    finally:
        if rapids:
            sys.meta_path.remove(finder)
        for name in [n for n in sys.modules if n in STANDINS or imports_cupy(n)]:
            del sys.modules[name]
        for name in [n for n in vars(package) if imports_cupy(f"{package.__name__}.{n}")]:
            delattr(package, name)
        sys.modules.update(hidden)
        vars(package).update(kept)
        kernels._module.cache_clear()


@pytest.fixture
def gpu() -> Iterator[Any]:
    with gpu_over_standins() as module:
        yield module
