"""The GPU backend on a device against the reference: the same bits, on every option.

On a node with a device:

    pytest -n 0 tests/gpu                             # a minute
    LINKSYN_GPU_SYNC=1 pytest -n 0 tests/gpu          # waits after each launch: an error names its kernel

Under NVIDIA's compute-sanitizer (part of the CUDA toolkit), one tool at a time; each must end with
"ERROR SUMMARY: 0 errors":

    compute-sanitizer --tool memcheck  --error-exitcode 1 python -m pytest -n 0 -x tests/gpu/test_parity.py
    compute-sanitizer --tool racecheck --error-exitcode 1 python -m pytest -n 0 -x tests/gpu/test_parity.py
    compute-sanitizer --tool synccheck --error-exitcode 1 python -m pytest -n 0 -x tests/gpu/test_parity.py
    compute-sanitizer --tool initcheck --error-exitcode 1 python -m pytest -n 0 -x tests/gpu/test_parity.py

Set LINKSYN_GPU_NO_POOL=1 for memcheck: CuPy's pool rounds sizes up, and a read after an array but inside its block
would pass. racecheck looks at shared memory: that is kernels/prefix.cu.
"""

import numpy as np
import pytest

from linksyn_gpu.backend.gpu import cuda as kernels
from linksyn_gpu.backend.reference import operations as ref
from linksyn_gpu.config import WalkConfig
from linksyn_gpu.sampling.walk import Walker
from tests.device.scenario import (
    allowed_shape,
    assert_same_construction,
    assert_same_tables,
    assert_same_walks,
    run_everything,
)
from tests.graphs import hub_graph, random_graph, random_incidence


@pytest.mark.parametrize("shape", [None, (1, 32), (7, 64), (200, 128), (3, 256)], ids=str)
def test_every_operation_has_the_reference_bits_at_every_launch_shape(gpu, shape, monkeypatch):
    if shape is not None:
        monkeypatch.setattr(kernels, "launch_shape", allowed_shape(*shape))
    monkeypatch.setattr("linksyn_gpu.backend.gpu.walk.LONG_ROW", 8)
    run_everything(gpu)


@pytest.fixture(scope="module")
def graph():
    return random_graph(n_seeds=1500, n_kps=150, seed=9)


@pytest.mark.parametrize("no_revisit", [True, False])
@pytest.mark.parametrize(("p", "q"), [(1.0, 1.0), (0.25, 4.0), (4.0, 0.5)])
def test_walks_on_all_options(gpu, graph, no_revisit, p, q):
    value = np.where(np.arange(150) % 7 == 0, 0.0, np.linspace(0.01, 5.0, 150))
    expected, found = assert_same_tables(gpu, graph, value, graph.seed_count / graph.seed_count.sum())
    ids = np.concatenate([np.arange(800), 2**40 + np.arange(200)])
    assert_same_walks(gpu, expected, found, ids, 8, ref.StepRule(no_revisit, p, q))


@pytest.mark.parametrize("n_hubs", [1, 3])
def test_exact_scans_of_hubs(gpu, n_hubs):
    """With p = 0.25 and q = 4 one step in six is drawn by the scan: tests/device/test_hubs.py."""
    hubs = hub_graph(n_hubs, 260, seed=n_hubs)
    expected, found = assert_same_tables(gpu, hubs, np.linspace(0.1, 5.0, hubs.n_kps), np.ones(hubs.n_kps))
    assert_same_walks(gpu, expected, found, np.arange(150), 6, ref.StepRule(True, 0.25, 4.0))


@pytest.mark.parametrize(
    "config",
    [
        WalkConfig(distinct=True, calibration_rounds=2, rounds=3),
        WalkConfig(p=0.5, q=2.0, beta=2.0, tau=0.0, calibration_rounds=2, rounds=3),
    ],
)
def test_a_campaign_has_the_bits_of_the_cpu(graph, config):
    batches = [Walker(graph, config, seed=4, backend=backend).sample(1500) for backend in ("cpu", "gpu")]
    for name in ("nodes", "lengths", "ids", "status"):
        assert np.array_equal(getattr(batches[0], name), getattr(batches[1], name)), name


def test_construction_in_many_batches(gpu):
    indptr, kps = random_incidence(5000, 200, np.random.default_rng(3), most=9)
    assert_same_construction(gpu, indptr, kps, 200)
    assert_same_construction(gpu, indptr, kps, 200, limit=1 << 20)
