"""A run folder: its files, its manifest, and the stages that fill it. Called, it is `run.api.run`: the whole job."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linksyn_gpu.run.api import Run


class _Callable(types.ModuleType):
    """Lets `linksyn_gpu.run(...)` be the function and `linksyn_gpu.run.folder` a module: the names would collide."""

    def __call__(self, *args: Any, **kwargs: Any) -> Run:
        """Call `linksyn_gpu.run.api.run`, which documents the parameters."""
        from linksyn_gpu.run.api import run

        return run(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
