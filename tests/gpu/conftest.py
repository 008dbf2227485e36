"""Marks every test here `gpu`, and skips it where no device answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from linksyn_gpu.backend.gpu.cuda import probe_device

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if HERE in item.path.parents]
    if not ours:
        return
    usable, finding = probe_device()
    for item in ours:
        item.add_marker(pytest.mark.gpu)
        if not usable:
            item.add_marker(pytest.mark.skip(reason=f"NOT RUN ON A DEVICE: {finding}"))


@pytest.fixture(scope="session")
def gpu() -> Any:
    from linksyn_gpu.backend.gpu import operations as gpu

    if os.environ.get("LINKSYN_GPU_NO_POOL") == "1":
        import cupy

        from linksyn_gpu.backend.gpu import device, rapids, transfer
        from linksyn_gpu.backend.gpu.pool import CuPyPool

        device.pool = rapids.pool = transfer.pool = CuPyPool  # RMM's pool would replace the allocator
        cupy.cuda.set_allocator(None)  # each array is a separate allocation, with exact bounds
    return gpu
