"""A pytest plugin: the stand-ins replace CuPy, cuDF, cuGraph and cuVS, to run tests/gpu without a device."""

from __future__ import annotations

import sys

from tests.device import standin_cupy, standin_cuvs, standin_rapids

sys.modules["cupy"] = standin_cupy.module()
sys.modules["cudf"] = standin_rapids.cudf_module()
sys.modules["pylibcugraph"] = standin_rapids.pylibcugraph_module()
sys.modules["cuvs"], sys.modules["cuvs.neighbors"] = standin_cuvs.modules()
