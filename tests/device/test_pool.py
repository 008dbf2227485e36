"""One pool serves CuPy and RAPIDS; CuPy alone is enough."""

import numpy as np
import pytest

from linksyn_gpu.backend.gpu import cuda as kernels
from linksyn_gpu.backend.gpu.memory import crossings
from linksyn_gpu.backend.reference import operations as ref
from linksyn_gpu.config import WalkConfig
from linksyn_gpu.errors import BackendUnavailable, KernelError
from linksyn_gpu.sampling.graph import build_graph
from linksyn_gpu.sampling.walk import Walker
from tests.device.conftest import gpu_over_standins
from tests.device.scenario import run_everything, tables_of
from tests.graphs import make_seeds, random_graph

SEEDS = [{"knowledge_points": [f"kp {i % 7}", f"\u00dc{i % 3}", "x"]} for i in range(30)]


def test_importing_cudf_does_not_take_arrays_out_of_the_pool(gpu):
    import cupy
    from rmm import mr

    from linksyn_gpu.backend.gpu.device import peak_memory

    before = mr.get_current_device_resource(), cupy.cuda.get_allocator()
    found = gpu.incidence(make_seeds(SEEDS).table.column("knowledge_points"))
    assert isinstance(mr.get_current_device_resource(), mr.StatisticsResourceAdaptor)
    free = gpu.free_memory()
    array = cupy.zeros(1 << 20, np.uint8)
    assert mr.get_current_device_resource().allocation_counts.current_bytes >= 1 << 20
    assert peak_memory() >= 1 << 20
    assert gpu.free_memory() <= free
    assert before[0].live == 0
    assert gpu.release() > 0, "arrays are in use"
    assert mr.get_current_device_resource() is not before[0]
    del array, found
    assert gpu.release() == 0
    assert (mr.get_current_device_resource(), cupy.cuda.get_allocator()) == before


def test_a_limit_holds_for_arrays_of_before_and_after(gpu):
    import cupy

    from linksyn_gpu.backend.gpu.device import limit_memory

    first = gpu.asarray(np.zeros(1 << 20, np.uint8))
    limit_memory(3 << 20)
    second = gpu.asarray(np.zeros(1 << 20, np.uint8))
    with pytest.raises(MemoryError):
        cupy.zeros(3 << 20, np.uint8)
    with pytest.raises(BackendUnavailable, match="raise --gpu-memory"):
        limit_memory(1 << 19)
    del first, second


def test_cupy_alone_builds_and_walks_with_the_same_bits():
    graphs, batches = [], []
    with gpu_over_standins(rapids=False) as gpu:
        run_everything(gpu)
        crossings.clear()
        for backend in ("gpu", "reference"):
            graphs.append(build_graph(make_seeds(SEEDS), backend=backend))
            batches.append(Walker(graphs[-1], WalkConfig(distinct=True), seed=3, backend=backend).sample(40))
        assert any(place.startswith("incidence read on the host") for place in crossings.summary())
        with pytest.raises(BackendUnavailable, match="cuGraph is not installed"):
            gpu.analytics(random_graph())
    assert list(graphs[0].names) == list(graphs[1].names)
    for name in ("indptr", "indices", "weight", "evidence"):
        assert np.array_equal(getattr(graphs[0], name), getattr(graphs[1], name)), name
    assert np.array_equal(batches[0].nodes, batches[1].nodes)
    assert (batches[0].nodes >= 0).any()


def test_a_block_larger_than_the_launch_bounds_is_refused(gpu, monkeypatch):
    assert kernels.declared_kernels()["sample_walks"].max_threads == 128
    assert kernels.block_size("sample_walks") == 128
    assert kernels.block_size("node_value") == kernels.BLOCK_ELEMENTS
    one = np.ones(20)
    graph = gpu.load_graph(random_graph(), second_order=False)
    table = gpu.transition_table(graph, gpu.asarray(one))
    start = gpu.start_table(table, gpu.asarray(one), gpu.asarray(one))
    monkeypatch.setattr(kernels, "launch_shape", lambda name, n: (3, 256))
    rule = ref.StepRule(True, 1.0, 1.0)
    with pytest.raises(
        KernelError, match=r"kernel sample_walks: blocks of 256 threads, but kernels/walk.cu allows 128"
    ):
        gpu.sample_walks(graph, table, start, gpu.walk_ids(0, 9), length=2, rule=rule, key=1)


def test_the_standin_refuses_a_block_larger_than_the_launch_bounds(gpu):
    import cupy

    function = kernels._module("walk.cu", 0).get_function("sample_walks")
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="OUT_OF_RESOURCES"):
        function((3,), (256,), ())


def test_cugraph_gets_its_graph_once_per_table(gpu, monkeypatch):
    import pylibcugraph

    made = []
    build = pylibcugraph.SGGraph
    monkeypatch.setattr(pylibcugraph, "SGGraph", lambda *a, **k: made.append(1) or build(*a, **k))
    tables = tables_of(gpu, random_graph(), np.ones(20), np.ones(20))
    parts = (tables.graph, tables.transition, tables.start)
    plain = ref.StepRule(False, 1.0, 1.0)
    for batch in range(3):
        ids = gpu.walk_ids(9 * batch, 9 * batch + 9)
        nodes = gpu.sample_walks_cugraph(*parts, ids, length=2, rule=plain, key=1)
        assert (gpu.to_host(nodes)[:, 1] >= 0).any()
    assert len(made) == 1
    other = gpu.transition_table(tables.graph, gpu.asarray(np.linspace(1.0, 2.0, 20)))
    gpu.sample_walks_cugraph(tables.graph, other, tables.start, ids, length=2, rule=plain, key=1)
    assert len(made) == 2
