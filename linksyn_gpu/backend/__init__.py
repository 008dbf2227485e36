"""The only place that knows a device: `resolve` chooses a backend once, and says why.

A backend is a module of primitives over arrays in its own memory. `reference.py`, `cpu.py` and `gpu.py`
bear the same public names and signatures, and give the same bits.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from linksyn_gpu.backend.gpu.cuda import probe_device
from linksyn_gpu.errors import BackendUnavailable, ConfigError


@dataclass(frozen=True)
class Backend:
    """A chosen backend."""

    name: str
    """'cpu', 'gpu' or 'reference'."""
    reason: str
    """Why it was chosen, for people and the manifest."""
    ops: Any
    """The module with its primitives."""

    def facts(self) -> dict[str, Any]:
        """For the manifest: the choice, its reason and, on a device, each place where data crossed, with its bytes."""
        crossed = {"crossings": self.ops.crossings.summary()} if self.name == "gpu" else {}
        return {"name": self.name, "reason": self.reason, **crossed}

    def release(self) -> None:
        """Give device memory back, so that a language-model server on the same device can have it."""
        if self.name == "gpu":
            self.ops.release()


def resolve(choice: str = "auto") -> Backend:
    """Choose the backend.

    Parameters
    ----------
    choice : {'auto', 'cpu', 'gpu', 'reference'}
        'auto' takes the GPU when a CUDA device is usable (an import of CuPy proves nothing), else the CPU.

    Raises
    ------
    BackendUnavailable
        'gpu' was asked for and no device is usable.
    ConfigError
        `choice` is not a backend.
    """
    if choice in ("cpu", "reference"):
        return Backend(choice, "asked for", importlib.import_module(f"linksyn_gpu.backend.{choice}.operations"))
    if choice not in ("auto", "gpu"):
        raise ConfigError(f"backend = {choice!r} is not one of auto, cpu, gpu, reference")
    usable, finding = probe_device()
    if usable:
        return Backend("gpu", finding, importlib.import_module("linksyn_gpu.backend.gpu.operations"))
    if choice == "gpu":
        raise BackendUnavailable(f"the GPU backend cannot run: {finding}; use --backend cpu")
    return Backend("cpu", finding, importlib.import_module("linksyn_gpu.backend.cpu.operations"))
