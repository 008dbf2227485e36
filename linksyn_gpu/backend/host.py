"""Operations of the backends whose arrays are NumPy arrays on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.backend.protocol import MAX_BATCH, CampaignSize, StepRule
from linksyn_gpu.errors import BackendUnavailable
from linksyn_gpu.machine import available_memory
from linksyn_gpu.tables import Int64


def asarray(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array: it is in the backend's memory."""
    return np.asarray(array)


def to_host(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array: it is on the host."""
    return np.asarray(array)


def fetch_rows(array: NDArray[Any], out: NDArray[Any], rows: NDArray[Any]) -> Callable[[], None]:
    """Put the rows in place at once."""
    out[rows] = array
    return lambda: None


def walk_ids(begin: int, end: int) -> Int64:
    """Walk ids begin .. end - 1."""
    return np.arange(begin, end, dtype=np.int64)


def free_memory() -> int:
    """Bytes that this process may still use."""
    return available_memory()


def release() -> int:
    """Hold nothing on a device."""
    return 0


def walks_that_fit(size: CampaignSize, length: int, *, memory: int | None = None) -> tuple[int, int]:
    """As many as a batch can have, and all weights: host memory is paged, and has the weights already."""
    return MAX_BATCH, size.n_weights


def sample_walks_cugraph(
    graph: Any, table: Any, start: Any, ids: Any, *, length: int, rule: StepRule, key: int
) -> NDArray[Any]:
    """Refuse: cuGraph runs on a GPU only.

    Raises
    ------
    BackendUnavailable
    """
    raise BackendUnavailable("walker 'cugraph' needs the GPU backend: pass --backend gpu, or set walk.walker = 'exact'")
