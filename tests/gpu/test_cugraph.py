"""cuGraph and cuDF on a device against SciPy, igraph, Arrow and exact probabilities."""

import numpy as np
import pytest
from scipy import stats

from linksyn_gpu.backend.cpu import operations as cpu
from linksyn_gpu.backend.reference import operations as ref
from tests.device.scenario import tables_of
from tests.graphs import make_seeds, random_graph

PLAIN = ref.StepRule(False, 1.0, 1.0)


def test_analytics_agree_with_the_cpu(gpu):
    pytest.importorskip("pylibcugraph", reason="cuGraph is not installed")
    pytest.importorskip("igraph", reason="python-igraph is not installed")
    graph = random_graph(n_seeds=200, n_kps=200, seed=6)
    on_host, on_device = cpu.analytics(graph), gpu.analytics(graph)
    for name in ("degree", "component", "core"):
        assert np.array_equal(on_host[name], on_device[name]), name
    assert np.allclose(on_host["pagerank"], on_device["pagerank"], atol=1e-6)
    for community in np.unique(on_device["community"]):
        assert np.unique(on_device["component"][on_device["community"] == community]).size == 1


def test_steps_of_cugraph_walks_follow_the_transition_table(gpu):
    """Chi-square of every row's steps against its masses; its random numbers differ from ours."""
    pytest.importorskip("pylibcugraph", reason="cuGraph is not installed")
    graph = random_graph(n_seeds=100, n_kps=20, seed=3)
    value = np.where(np.arange(20) % 5 == 0, 0.0, np.linspace(0.2, 3.0, 20))
    tables = tables_of(gpu, graph, value, np.ones(20))
    parts = (tables.graph, tables.transition, tables.start)
    nodes = gpu.to_host(gpu.sample_walks_cugraph(*parts, gpu.walk_ids(0, 3000), length=3, rule=PLAIN, key=5))
    prefix = gpu.to_host(tables.transition.prefix).astype(np.int64)
    tested = 0
    for row in range(20):
        begin, end = graph.indptr[row], graph.indptr[row + 1]
        mass = np.diff(prefix[begin:end], prepend=0)
        steps = nodes[:, 1:][nodes[:, :-1] == row]
        steps = steps[steps >= 0]
        counts = np.array([(steps == v).sum() for v in graph.indices[begin:end]])
        assert counts.sum() == steps.size, "a step along no edge"
        assert (counts[mass == 0] == 0).all()
        live = mass > 0
        if live.sum() > 1 and steps.size > 50:
            expected = steps.size * mass[live] / mass[live].sum()
            assert stats.chisquare(counts[live], expected).pvalue > 1e-5
            tested += 1
    assert tested >= 10


@pytest.mark.parametrize("form", ["folded", "exact"])
def test_cudf_names_kps_as_arrow_does(gpu, form):
    pytest.importorskip("cudf", reason="cuDF is not installed")
    names = ["Roots", " roots\t", "Straße", "STRASSE", "Ångström", "\x01set", "set", "x\x1f", "ROOTS", ""]
    rng = np.random.default_rng(5)
    rows = [{"knowledge_points": [names[i] for i in rng.integers(0, 10, rng.integers(0, 6))]} for _ in range(200)]
    column = make_seeds(rows).table.column("knowledge_points")
    on_host, on_device = (ops.incidence(column, kp_form=form, max_kps_per_seed=3) for ops in (cpu, gpu))
    assert on_host[2:] == on_device[2:]
    assert np.array_equal(on_host[0], gpu.to_host(on_device[0]))
    assert np.array_equal(on_host[1], gpu.to_host(on_device[1]))
