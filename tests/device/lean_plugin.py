"""A pytest plugin: a machine with CuPy (a stand-in) and only the packages that walks need.

Every other package that is installed here looks as if it were not.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions
from typing import Any

from tests.device import standin_cupy

PRESENT = {"numpy", "scipy", "numba", "llvmlite", "pyarrow", "torch", "click"}
PYTEST = {"pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments"}
ABSENT = set(packages_distributions()) - PRESENT - PYTEST - {"linksyn_gpu"} - sys.stdlib_module_names


class LeanFinder:
    """Finds what is present."""

    @staticmethod
    def find_spec(fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] in ABSENT:
            return None
        return PathFinder.find_spec(fullname, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = LeanFinder  # type: ignore[call-overload]
sys.modules["cupy"] = standin_cupy.module()
