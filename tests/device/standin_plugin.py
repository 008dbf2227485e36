"""A pytest plugin: the stand-ins replace CuPy, cuDF, cuGraph and cuVS, to run tests/gpu without a device."""

from __future__ import annotations

import sys

from tests.device import standin_cupy, standin_cuvs, standin_rapids

sys.modules["cupy"] = standin_cupy.module()
sys.modules |= standin_rapids.rmm_modules()
sys.meta_path.insert(0, standin_rapids.CudfFinder())
sys.modules["pylibcugraph"] = standin_rapids.pylibcugraph_module()
sys.modules["cuvs"], sys.modules["cuvs.neighbors"] = standin_cuvs.modules()
