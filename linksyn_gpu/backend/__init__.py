"""The only package that uses devices: `resolve` chooses a backend once and gives the reason."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from linksyn_gpu.backend.gpu.cuda import probe_device
from linksyn_gpu.backend.gpu.memory import crossings
from linksyn_gpu.backend.protocol import AnyOperations
from linksyn_gpu.errors import BackendUnavailable, ConfigError

if TYPE_CHECKING:  # mypy checks here that every backend implements the protocol
    from numpy.typing import NDArray

    from linksyn_gpu.backend.cpu import operations as cpu
    from linksyn_gpu.backend.gpu import operations as gpu
    from linksyn_gpu.backend.protocol import Operations
    from linksyn_gpu.backend.reference import operations as reference

    _reference: Operations[
        NDArray[Any],
        reference.WalkGraph,
        reference.TransitionTable,
        reference.StartTable,
        reference.KeySet,
        reference.EvidenceGraph,
        reference.LabelTable,
        reference.RankedEvidence,
    ] = reference
    _cpu: Operations[
        NDArray[Any],
        cpu.WalkGraph,
        cpu.TransitionTable,
        cpu.StartTable,
        cpu.KeySet,
        cpu.EvidenceGraph,
        cpu.LabelTable,
        cpu.RankedEvidence,
    ] = cpu
    _gpu: Operations[
        gpu.DeviceArray,
        gpu.WalkGraph,
        gpu.TransitionTable,
        gpu.StartTable,
        gpu.KeySet,
        gpu.EvidenceGraph,
        gpu.LabelTable,
        gpu.RankedEvidence,
    ] = gpu


@dataclass(frozen=True)
class Backend:
    """A chosen backend."""

    name: str
    """'cpu', 'gpu' or 'reference'."""
    reason: str
    """Why it was chosen, for people and the manifest."""
    ops: AnyOperations

    def facts(self) -> dict[str, Any]:
        """For the manifest: the choice, its reason and, on a device, each place where data crossed, with its bytes."""
        crossed = {"crossings": crossings.summary()} if self.name == "gpu" else {}
        return {"name": self.name, "reason": self.reason, **crossed}


def resolve(choice: str = "auto") -> Backend:
    """Choose the backend.

    Parameters
    ----------
    choice : {'auto', 'cpu', 'gpu', 'reference'}
        'auto' uses the GPU if a CUDA device is usable (importing CuPy does not prove that), and the CPU otherwise.

    Raises
    ------
    BackendUnavailable
        'gpu' was requested and no device is usable.
    ConfigError
        `choice` is not a backend.
    """
    if choice in ("cpu", "reference"):
        return Backend(choice, "requested", _operations(choice))
    if choice not in ("auto", "gpu"):
        raise ConfigError(f"backend = {choice!r} is not one of auto, cpu, gpu, reference")
    usable, finding = probe_device()
    if usable:
        return Backend("gpu", finding, _operations("gpu"))
    if choice == "gpu":
        raise BackendUnavailable(f"the GPU backend cannot run: {finding}; use --backend cpu")
    return Backend("cpu", finding, _operations("cpu"))


def _operations(name: str) -> AnyOperations:
    """Import a backend; its concrete types become opaque."""
    return cast(AnyOperations, importlib.import_module(f"linksyn_gpu.backend.{name}.operations"))
