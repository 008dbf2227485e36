"""Stages over the GPU backend on the host: the same paths and bundles, and every copy of an array is counted."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from linksyn_gpu.backend import resolve
from linksyn_gpu.backend.cpu import operations as cpu
from linksyn_gpu.backend.gpu import memory as gpu_memory
from linksyn_gpu.backend.gpu.memory import SLACK, Crossings, items_that_fit, plan_memory
from linksyn_gpu.backend.protocol import CampaignSize
from linksyn_gpu.backend.reference import operations as ref
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.config import GraphConfig, WalkConfig
from linksyn_gpu.errors import BackendUnavailable, DataError
from linksyn_gpu.sampling.bundle import link_seeds
from linksyn_gpu.sampling.graph import build_graph, read_incidence
from linksyn_gpu.sampling.walk import Walker
from linksyn_gpu.tables import Seeds
from tests.device import standin_cupy
from tests.device.scenario import assert_same, assert_same_tables
from tests.graphs import edge_graph, make_seeds, random_graph
from tests.sampling.test_cells import bank, sample

NAMES = ["Roots", " roots\t", "Straße", "STRASSE", "Ångström", "Ångström", "\x01set", "set", "x", "ROOTS"]


@pytest.fixture
def seeds():
    rng = np.random.default_rng(0)
    rows = [{"knowledge_points": [f"kp {k}" for k in rng.choice(15, rng.integers(1, 6))]} for _ in range(70)]
    return make_seeds(rows)


@pytest.mark.parametrize("config", [WalkConfig(distinct=True), WalkConfig(p=0.5, q=2.0, beta=0.5, no_revisit=False)])
def test_a_campaign_on_the_gpu_backend_has_the_reference_bits(gpu, seeds, config):
    batches, bundles, visits = [], [], []
    for backend in ("reference", "gpu"):
        graph = build_graph(seeds, backend=backend)
        walker = Walker(graph, config, seed=11, backend=backend)
        batches.append(walker.sample(90))
        visits.append(walker.visits)
        bundles.append(link_seeds(batches[-1], graph, seeds, backend=backend, seed=11))
    for name in ("nodes", "lengths", "ids", "status"):
        assert np.array_equal(getattr(batches[0], name), getattr(batches[1], name)), name
    assert batches[0].redraws == batches[1].redraws
    assert np.array_equal(*visits)
    assert np.array_equal(bundles[0].seeds, bundles[1].seeds)
    assert bundles[0].drops == bundles[1].drops
    assert bundles[1].kept.any()


def test_cells_on_the_gpu_backend_have_the_reference_bits(gpu):
    seeds = bank(120)
    graph = build_graph(seeds, backend="reference")
    expected, found = (sample(seeds, graph, backend, 32)[0] for backend in ("reference", "gpu"))
    for (_, batch, bundles), (_, other_batch, other_bundles) in zip(expected, found, strict=True):
        assert np.array_equal(batch.nodes, other_batch.nodes)
        assert np.array_equal(bundles.seeds, other_bundles.seeds)
        assert np.array_equal(bundles.status, other_bundles.status)


def test_graph_tables_and_visits_stay_on_the_device(gpu):
    """Of a calibrated cell, only ids of redrawn walks go to the device, and paths with their status to the host."""
    walker = Walker(random_graph(seed=2), WalkConfig(distinct=True, calibration_rounds=2), seed=3, backend="gpu")
    walker.sample_round(40)
    gpu_memory.crossings.clear()
    standin_cupy.READS.clear()
    batch = walker.sample_round(40)
    drawn = len(batch) + batch.redraws
    copies, n_bytes = gpu_memory.crossings.copies, gpu_memory.crossings.n_bytes
    assert batch.redraws
    assert set(copies) == {"asarray, to device", "to_host, to host", "results, to host", "sizes, to host"}
    assert n_bytes["asarray, to device"] == 8 * batch.redraws
    assert n_bytes["to_host, to host"] == drawn
    assert n_bytes["results, to host"] == 4 * batch.nodes.shape[1] * drawn


@pytest.mark.parametrize("config", [WalkConfig(distinct=True), WalkConfig(p=0.5, q=2.0)])
def test_batches_that_fit_give_the_same_paths_as_whole_rounds(gpu, config):
    graph = random_graph(seed=2)
    whole = Walker(graph, config, seed=3, backend="reference").sample(100)
    cut = Walker(graph, config, seed=3, backend="gpu", batch_size=7).sample(100)
    for name in ("nodes", "lengths", "ids", "status"):
        assert np.array_equal(getattr(whole, name), getattr(cut, name)), name


def test_a_round_builds_its_guide_table_once(gpu):
    """Not per batch, nor per redraw; calibration rounds are rounds too."""
    config = WalkConfig(distinct=True, calibration_rounds=2, calibration_paths=400)
    walker = Walker(random_graph(seed=2), config, seed=3, backend="gpu", batch_size=90)
    for n_rounds in (3, 1):  # the first call calibrates
        standin_cupy.LAUNCHES.clear()
        batch = walker.sample_round(400)
        assert batch.redraws > 0
        assert standin_cupy.LAUNCHES["sample_walks"] > 5 * n_rounds
        assert standin_cupy.LAUNCHES["build_guide"] == n_rounds


def test_auto_uses_the_gpu_if_a_device_is_usable(gpu):
    backend = resolve("auto")
    assert backend.name == "gpu"
    assert "a stand-in" in backend.reason


def test_an_implicit_copy_to_the_host_is_an_error(gpu):
    array = gpu.asarray(np.arange(3))
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(array)
    with pytest.raises(TypeError):
        array + np.arange(3)


# ---------------------------------------------------------------------- names of knowledge points


@pytest.mark.parametrize("form", ["folded", "exact"])
@pytest.mark.parametrize("limit", [None, 2])
def test_names_are_numbered_the_same_on_host_and_device(gpu, form, limit):
    rng = np.random.default_rng(5)
    lists = [[NAMES[i] for i in rng.integers(0, len(NAMES), rng.integers(0, 6))] for _ in range(40)]
    parts = [make_seeds([{"knowledge_points": names} for names in part]).table for part in (lists[:25], lists[25:])]
    seeds = Seeds(pa.concat_tables(parts))
    config = GraphConfig(kp_form=form, max_kps_per_seed=limit)
    on_host, on_device = (read_incidence(seeds, config, backend) for backend in ("cpu", "gpu"))
    assert on_host.names == on_device.names
    assert on_host.drops == on_device.drops
    for name in ("indptr", "kp_indices"):
        assert_same(gpu, getattr(on_host, name), getattr(on_device, name), name)
    assert gpu_memory.crossings.n_bytes["KP lists, to device"] == seeds.table.column("knowledge_points").nbytes
    assert "KP names, to host" in gpu_memory.crossings.copies
    assert ("non-ASCII KP spellings, to host" in gpu_memory.crossings.copies) == (form == "folded")


def test_seeds_without_a_single_kp_are_an_error_on_both_sides(gpu):
    for ops in (cpu, gpu):
        with pytest.raises(DataError, match="--map knowledge_points=COLUMN"):
            ops.incidence(pa.chunked_array([[[], []]], pa.list_(pa.string())))


# ---------------------------------------------------------------------- cuGraph's part


def test_analytics_agree_and_an_isolated_kp_is_a_component(gpu):
    pytest.importorskip("igraph", reason="NOT COMPARED: python-igraph is not installed; pip install -e '.[analytics]'")
    graph = random_graph(n_seeds=25, n_kps=30, seed=4)
    assert (graph.degree == 0).any()
    on_host, on_device = cpu.analytics(graph), gpu.analytics(graph)
    assert on_host.keys() == on_device.keys()
    for name in ("degree", "component", "core"):
        assert np.array_equal(on_host[name], on_device[name]), name
        assert on_host[name].dtype == on_device[name].dtype, name
    assert np.allclose(on_host["pagerank"], on_device["pagerank"], atol=1e-7)
    alone = np.flatnonzero(graph.degree == 0)
    assert np.isin(on_host["component"], on_host["component"][alone]).sum() == alone.size
    # Communities are a matter of the algorithm's luck; they never cross components.
    for community in np.unique(on_host["community"]):
        assert np.unique(on_host["component"][on_host["community"] == community]).size == 1


@pytest.mark.parametrize("n_kps", [0, 3])
def test_analytics_of_a_graph_without_edges(gpu, n_kps):
    pytest.importorskip("igraph", reason="NOT COMPARED: python-igraph is not installed; pip install -e '.[analytics]'")
    on_host, on_device = cpu.analytics(edge_graph(n_kps, {})), gpu.analytics(edge_graph(n_kps, {}))
    for name, expected in on_host.items():
        assert np.allclose(expected, on_device[name]), name
        assert expected.dtype == on_device[name].dtype, name


def test_cugraph_walks_have_the_same_step_probabilities(gpu):
    graph = edge_graph(4, {(0, 1): 5, (0, 2): 1, (0, 3): 2})
    value, target = np.array([1.0, 0.25, 8.0, 0.0]), np.array([1.0, 0.0, 0.0, 0.0])
    _, found = assert_same_tables(gpu, graph, value, target)
    parts = (found.graph, found.transition, found.start)
    plain = ref.StepRule(False, 1.0, 1.0)
    nodes = gpu.to_host(
        gpu.sample_walks_cugraph(*parts, gpu.walk_ids(0, 4000), length=2, rule=plain, key=derive_key(1, Purpose.WALK))
    )
    assert nodes.shape == (4000, 3)
    assert (nodes[:, 0] == 0).all()
    assert (nodes[:, 2] == 0).all(), "leaves lead back; the masked KP is never drawn"
    counts = np.bincount(nodes[:, 1], minlength=4)
    assert counts[3] == 0
    assert stats.chisquare(counts[1:3], 4000 * np.array([1.25, 8.0]) / 9.25).pvalue > 1e-4
    with pytest.raises(BackendUnavailable, match="no_revisit"):
        gpu.sample_walks_cugraph(*parts, gpu.walk_ids(0, 1), length=2, rule=ref.StepRule(True, 1.0, 1.0), key=0)


# ---------------------------------------------------------------------- memory


def test_a_plan_splits_a_round_into_batches_that_fit():
    size = CampaignSize(1000, 10_000, 8_000, 5_000)
    small = plan_memory(size, 1_000_000, 4, 16 << 30)
    assert small.n_batches == 1
    assert small.peak_bytes <= 16 << 30
    tight = plan_memory(size, 1_000_000, 4, SLACK + (30 << 20))
    assert tight.n_batches > 1
    assert tight.walks_per_batch * tight.n_batches >= 1_000_000
    assert tight.peak_bytes <= SLACK + (30 << 20)
    assert f"{tight.n_batches} batches" in tight.table()


def test_a_graph_that_does_not_fit_is_refused_with_both_sizes():
    with pytest.raises(BackendUnavailable, match=r"take 18\.8 GiB of device memory; 8\.0 GiB are free"):
        plan_memory(CampaignSize(1_000_000, 10**9), 1, 4, 8 << 30)


@pytest.mark.parametrize(
    "more", [{"n_seeds": 9_000}, {"n_cells": 3}, {"n_weights": 2}, {"n_paths": 10**6}, {"n_evidence": 9_000}]
)
def test_everything_that_a_campaign_keeps_is_in_its_plan(more):
    size = CampaignSize(1000, 10_000, 8_000, 5_000)
    plans = [plan_memory(one, 1000, 4, 16 << 30) for one in (size, replace(size, **more))]
    assert plans[1].peak_bytes > plans[0].peak_bytes


def test_weights_of_all_disciplines_are_kept_where_many_walks_fit_beside_them():
    size = CampaignSize(1000, 10**8, n_cells=12, n_weights=12)
    roomy, tight = (plan_memory(size, 10**7, 8, free << 30) for free in (16, 4))
    assert (roomy.n_weights, tight.n_weights) == (12, 1)
    assert tight.peak_bytes <= 4 << 30
    assert "edge weights of disciplines" in tight.table()


def test_batches_never_stall():
    assert items_that_fit(0, 48, 10) == 1
    assert items_that_fit(1 << 30, 48, 10) == 10
    assert items_that_fit(4800, 48, 1000) == 50


def test_crossings_are_summed_by_place():
    crossings = Crossings()
    crossings.count("graph", 10)
    crossings.count("graph", 5)
    assert crossings.summary() == {"graph": {"copies": 2, "bytes": 15}}
    crossings.clear()
    assert crossings.summary() == {}


def test_release_and_limit_act_on_the_pool(gpu):
    from linksyn_gpu.backend.gpu import device as gpu_device  # imports CuPy

    gpu.release()
    in_use = gpu.release()
    gpu_device.limit_memory(in_use + (1 << 20))
    assert gpu.free_memory() == 1 << 20
    gpu_device.limit_memory(0)
    assert gpu.free_memory() == 16 << 30
    array = gpu.asarray(np.zeros(1000))
    assert gpu.release() == in_use + array.nbytes
