"""A pytest plugin: the stand-ins take the place of CuPy, cuDF and cuGraph, so that tests/gpu can be tried out."""

from __future__ import annotations

import sys

from tests.device import standin_cupy, standin_rapids

sys.modules["cupy"] = standin_cupy.module()
sys.modules["cudf"] = standin_rapids.cudf_module()
sys.modules["pylibcugraph"] = standin_rapids.pylibcugraph_module()
