"""Every function, method, attribute and keyword that the GPU backend uses exists in the real packages."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from linksyn_gpu.backend.protocol import CampaignSize
from linksyn_gpu.backend.reference import operations as ref
from linksyn_gpu.config import WalkConfig
from linksyn_gpu.sampling.graph import build_graph
from linksyn_gpu.sampling.walk import Walker
from tests.device import standin_cupy
from tests.device.conftest import gpu_over_standins
from tests.device.scenario import run_everything, tables_of
from tests.device.signatures import Missing, Use, Wheel, cupy_signature, mismatch, uses
from tests.graphs import make_seeds, random_graph

ROOT = Path(__file__).parents[2]
SOURCES = [
    *sorted((ROOT / "linksyn_gpu" / "backend" / "gpu").glob("*.py")),
    ROOT / "bench" / "gpu.py",
    *sorted((ROOT / "tests" / "gpu").glob("*.py")),
]
CUPY_CLASSES = {
    "ndarray": ("ndarray",),
    "RawModule": ("RawModule",),
    "MemoryPool": ("cuda", "MemoryPool"),
    "PinnedMemoryPool": ("cuda", "PinnedMemoryPool"),
    "Event": ("cuda", "Event"),
    "Stream": ("cuda", "Stream"),
}
CUDF_CLASSES = ("Series", "StringMethods", "ListMethods")


def wheel(package):
    folder = Path(os.environ.get("LINKSYN_RAPIDS_WHEELS") or ROOT / "build" / "rapids-wheels")
    files = sorted(folder.glob(f"{package.split('.')[0]}_cu*.whl"))
    if not files:
        pytest.skip(
            f"NOT CHECKED AGAINST {package}: no wheel in {folder}; "
            f"pip download --no-deps -r tests/device/rapids-wheels.txt -d build/rapids-wheels"
        )
    return Wheel(files[-1], package)


def need_cupy():
    if find_spec("cupy") is None:
        pytest.skip("NOT CHECKED AGAINST cupy: it is not installed; pip install -e '.[device-tests]'")


def all_uses(package):
    return [
        use for path in SOURCES for use in uses(path.read_text(encoding="utf-8"), path.name) if use.package == package
    ]


def objections(found, signature):
    """Mismatches between these uses and the real signatures."""
    wrong = []
    for use in found:
        try:
            problem = mismatch(signature(use.path), use.positional, use.keywords)
        except Missing as error:
            problem = str(error)
        if problem:
            wrong.append(f"{use}: {problem}")
    return wrong


@pytest.fixture(scope="module")
def methods():
    """Methods and attributes that were used on device arrays and columns while everything ran once."""
    standin_cupy.USED.clear()
    seeds = make_seeds([{"knowledge_points": [f"kp {i % 7}", f"Ü{i % 3}", "x"]} for i in range(30)])
    with gpu_over_standins() as gpu:
        run_everything(gpu)
        Walker(build_graph(seeds, backend="gpu"), WalkConfig(distinct=True), backend="gpu").sample(20)
        gpu.incidence(seeds.table.column("knowledge_points"), max_kps_per_seed=2)
        gpu.similar_pairs(np.eye(9, 4, dtype=np.float32), 0.5)
        graph = random_graph()
        gpu.analytics(graph)
        tables = tables_of(gpu, graph, np.ones(20), np.ones(20))
        plain = ref.StepRule(False, 1.0, 1.0)
        gpu.sample_walks_cugraph(
            tables.graph, tables.transition, tables.start, gpu.walk_ids(0, 9), length=2, rule=plain, key=1
        )
    with gpu_over_standins(rapids=False) as gpu:  # with RMM, CuPy's own pool is not used
        gpu.walks_that_fit(CampaignSize.of(graph), 4, memory=1 << 30)
        gpu.free_memory()
        gpu.release()
    return sorted(standin_cupy.USED)


def test_functions_of_cupy():
    need_cupy()
    found = all_uses("cupy")
    assert len(found) > 80
    assert objections(found, cupy_signature) == []


def test_methods_of_cupy(methods):
    need_cupy()
    found = [
        Use("cupy", (*CUPY_CLASSES[owner], name), positional, keywords, "used")
        for owner, name, positional, keywords in methods
        if owner in CUPY_CLASSES
    ]
    assert len(found) > 20
    assert objections(found, cupy_signature) == []


@pytest.mark.parametrize(
    ("package", "least"),
    [
        ("cudf", 2),
        ("rmm.mr", 6),
        ("pylibcugraph", 3),
        ("cuvs.neighbors.brute_force", 2),
        ("cuvs.neighbors.ivf_flat", 4),
    ],
)
def test_functions_of_rapids(package, least):
    found = all_uses(package)
    assert len(found) >= least
    assert objections(found, wheel(package).signature) == []


def test_methods_of_cudf(methods):
    cudf = wheel("cudf")
    found = [
        Use("cudf", (owner, name), positional, keywords, "used")
        for owner, name, positional, keywords in methods
        if owner in CUDF_CLASSES
    ]
    assert len(found) >= 10
    assert objections(found, lambda path: cudf.method(*path)) == []


def test_classes_of_the_standins_are_all_looked_up(methods):
    assert {owner for owner, *_ in methods} <= {*CUPY_CLASSES, *CUDF_CLASSES}


# ---------------------------------------------------------------------- the check itself


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("cp.cumsumm(x, dtype=d)", "cupy.cumsumm does not exist"),
        ("cp.cumsum(x, dtypes=d)", "dtypes"),
        ("cp.searchsorted(x)", "missing"),
        ("cp.cuda.runtime.memGetInf()", "does not exist"),
        ("cp.get_default_memory_pool().free_bytes", None),
        ("cupy.RawModule(code=c, option=())", "option"),
        ("cp.minimum(x)", "missing"),
        ("cp.argsort(x, 0, None, 1)", "too many"),
    ],
)
def test_a_misspelt_or_misfitting_call_of_cupy_is_found(line, complaint):
    need_cupy()
    wrong = objections(uses(line, "f.py"), cupy_signature)
    assert wrong == [] if complaint is None else complaint in " ".join(wrong)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("cudf.conkat(x)", "cudf.conkat does not exist"),
        ("cudf.concat(x, ignore_indexes=True)", "ignore_indexes"),
        ("plc.pagerank(h, g)", "missing"),
        ("plc.SGGraph(h, p, a, b, weights=w)", "weights"),
        ("plc.leidn(h)", "does not exist"),
        ("plc.biased_random_walks(h, g, s, 3, random_state=1)", None),
        ("brute_force.build(x, metrics='cosine')", "metrics"),
        ("brute_force.search(i, q)", "missing"),
        ("ivf_flat.IndexParams(1024)", "too many"),
        ("ivf_flat.SearchParams(n_probe=3)", "n_probe"),
        ("ivf_flat.make(x)", "does not exist"),
    ],
)
def test_a_misspelt_or_misfitting_call_of_rapids_is_found(line, complaint):
    (use,) = uses(line, "f.py")
    wrong = objections([use], wheel(use.package).signature)
    assert wrong == [] if complaint is None else complaint in " ".join(wrong)


def test_a_misspelt_method_is_found():
    need_cupy()
    wrong = [
        Use("cupy", ("ndarray", "astyp"), 1, (), "f.py:1"),
        Use("cupy", ("ndarray", "astype"), 1, ("kopy",), "f.py:2"),
    ]
    assert len(objections(wrong, cupy_signature)) == 2
    cudf = wheel("cudf")
    for path, positional, keywords in [
        (("StringMethods", "bytecount"), 0, ()),
        (("StringMethods", "strip"), 1, ("chars",)),
        (("Series", "leaves"), -1, ()),
    ]:
        found = objections([Use("cudf", path, positional, keywords, "f.py")], lambda p: cudf.method(*p))
        assert len(found) == 1, path


def test_uses_are_read_with_their_arguments():
    assert uses("cp.cuda.Device(0).id", "f.py") == [Use("cupy", ("cuda", "Device"), 1, (), "f.py:1")]
    assert uses("except_ = cp.cuda.driver.CUDADriverError", "f.py")[0].positional == -1
    assert uses("other.cumsum(x)", "f.py") == []
