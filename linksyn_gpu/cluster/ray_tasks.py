"""Shards as tasks of a Ray cluster. Ray starts a task again whose worker or node died."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from linksyn_gpu import __version__
from linksyn_gpu.cluster import ONE_THREAD, TRIES
from linksyn_gpu.errors import ConfigError, WorkerError

S = TypeVar("S")
R = TypeVar("R")

CONNECT_SECONDS = 10.0
WAIT_SECONDS, NODE_SECONDS = 10.0, 300.0
"""How often it is checked that the cluster still has a node, and how long one may be missing."""
_function_of: dict[str, Any] = {}
"""In a worker: the function that its tasks compute, by the id of its object."""


class RayWorkers:
    """The workers of a Ray cluster; `with`. The same version of this package must be installed on each node.

    Parameters
    ----------
    address : str
        Of the cluster, or 'auto': the one that was started on this machine.
    most : int, optional
        Shards computed at the same time; None: one per core of the cluster.
    """

    def __init__(self, address: str, most: int | None) -> None:
        try:
            import ray
        except ImportError as error:
            raise ConfigError(f'--cluster needs Ray ({error}): pip install "linksyn-gpu[ray]"') from None
        self._ray: Any = ray
        self._most = most
        self._connected = not ray.is_initialized()
        if self._connected:
            try:
                _reach(address)
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (OSError, ValueError, RuntimeError) as error:
                raise ConfigError(
                    f"--cluster {address}: there is no Ray cluster ({error}). Start one with `ray start --head`, and "
                    "on further machines `ray start --address=HEAD:6379`, or leave --cluster out"
                ) from None
        self._compute = ray.remote(num_cpus=1, max_retries=TRIES - 1)(_compute)
        self._function: object = None
        self._reference: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reference = None
        if self._connected:
            self._ray.shutdown()

    @property
    def slots(self) -> int:
        """Cores of the nodes that are alive now."""
        if self._most is not None:
            return self._most
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def submit(self, function: Callable[[S], R], shard: S) -> Any:
        """Begin to compute a shard."""
        if function is not self._function:
            self._function, self._reference = function, self._ray.put(function)
        # In a list, so that Ray does not copy it for each task.
        return self._compute.remote([self._reference], __version__, shard)

    def result(self, handle: Any) -> Any:
        """Wait for a result."""
        ray = self._ray
        try:
            missing = 0.0
            while not ray.wait([handle], timeout=WAIT_SECONDS)[0]:
                missing = 0.0 if ray.cluster_resources().get("CPU", 0) else missing + WAIT_SECONDS
                if missing >= NODE_SECONDS:
                    raise WorkerError(
                        "the Ray cluster has no node left that computes: add one with `ray start "
                        "--address=HEAD:6379`, then run the same command again"
                    )
            return ray.get(handle)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise WorkerError(
                f"a Ray worker died {TRIES} times while it computed the same rows: {type(error).__name__}: {error}. "
                "See the logs of the cluster (`ray list tasks`), or use nodes with more memory"
            ) from None

    def cancel(self, handles: Sequence[Any]) -> None:
        """Drop shards whose results nobody waits for any more."""
        for handle in handles:
            self._ray.cancel(handle, force=False)


def _reach(address: str) -> None:
    """Raise an `OSError` where nothing answers at an address: Ray would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def _compute(reference: list[Any], version: str, shard: Any) -> Any:
    """Compute a shard in a worker; the function is fetched for the first one."""
    if __version__ != version:
        raise ConfigError(
            f"a node of the Ray cluster has linksyn-gpu {__version__}, and this program is {version}: "
            "install the same version on each node"
        )
    name = reference[0].hex()
    if name not in _function_of:
        os.environ.update(ONE_THREAD)  # before a library that reads it is imported with the function
        import ray

        _function_of.clear()
        _function_of[name] = ray.get(reference[0])
    return _function_of[name](shard)
