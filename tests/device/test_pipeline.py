"""Stages over the GPU backend on the host: the same paths and bundles, and no array that crosses unnamed."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from linksyn_gpu.backend import analytics_cpu, incidence_cpu, resolve
from linksyn_gpu.backend import reference as ref
from linksyn_gpu.backend.gpu_memory import SLACK, Crossings, items_that_fit, plan_memory
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.config import GraphConfig, WalkConfig
from linksyn_gpu.errors import BackendUnavailable, DataError
from linksyn_gpu.sampling.bundle import link_seeds
from linksyn_gpu.sampling.graph import build_graph, read_incidence
from linksyn_gpu.sampling.walk import Walker
from tests.device import standin_cupy
from tests.device.scenario import assert_same_tables
from tests.graphs import edge_graph, make_seeds, random_graph

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


def test_every_crossing_between_host_and_device_is_named_and_counted(gpu, seeds):
    graph = build_graph(seeds, backend="gpu")
    walker = Walker(graph, WalkConfig(distinct=True), seed=1, backend="gpu")
    link_seeds(walker.sample(50), graph, seeds, backend="gpu", seed=1)
    copies = gpu.crossings.copies
    up = sum(n for place, n in copies.items() if place.endswith("to device"))
    down = sum(n for place, n in copies.items() if place.endswith("to host") and not place.startswith("sizes"))
    assert up == standin_cupy.READS["upload"]
    assert down == standin_cupy.READS["array"]
    assert copies["sizes, to host"] == standin_cupy.READS["scalar"]
    assert gpu.crossings.summary()["load_graph, to device"]["bytes"] > 0


def test_rounds_stay_on_the_device(gpu):
    """Once a cell is calibrated, a round copies no array to the host, and up only empty counters."""
    walker = Walker(random_graph(seed=2), WalkConfig(distinct=True, calibration_rounds=2), seed=3, backend="gpu")
    walker.sample_round(40)
    gpu.crossings.clear()
    standin_cupy.READS.clear()
    walker.sample_round(40)
    assert standin_cupy.READS["array"] == 0
    assert gpu.crossings.n_bytes["asarray, to device"] <= (1 + walker.config.max_redraws) * 20 * 8
    assert set(gpu.crossings.copies) <= {"asarray, to device", "sizes, to host"}


@pytest.mark.parametrize("config", [WalkConfig(distinct=True), WalkConfig(p=0.5, q=2.0)])
def test_batches_that_fit_give_the_same_paths_as_whole_rounds(gpu, config):
    graph = random_graph(seed=2)
    whole = Walker(graph, config, seed=3, backend="reference").sample(100)
    cut = Walker(graph, config, seed=3, backend="gpu", batch_size=7).sample(100)
    for name in ("nodes", "lengths", "ids", "status"):
        assert np.array_equal(getattr(whole, name), getattr(cut, name)), name


def test_auto_takes_the_gpu_where_one_answers(gpu):
    backend = resolve("auto")
    assert backend.name == "gpu"
    assert "a stand-in" in backend.reason


def test_an_unnamed_copy_to_the_host_would_be_an_error(gpu):
    array = gpu.asarray(np.arange(3))
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(array)
    with pytest.raises(TypeError):
        array + np.arange(3)


# ---------------------------------------------------------------------- names of knowledge points


@pytest.mark.parametrize("form", ["folded", "exact"])
@pytest.mark.parametrize("limit", [None, 2])
def test_names_are_read_folded_and_numbered_alike_on_host_and_device(gpu, tmp_path, form, limit):
    rng = np.random.default_rng(5)
    lists = [[NAMES[i] for i in rng.integers(0, len(NAMES), rng.integers(0, 6))] for _ in range(40)]
    seeds = make_seeds([{"knowledge_points": names} for names in lists])
    pq.write_table(seeds.table, tmp_path / "seeds.parquet")
    arguments = (tmp_path / "seeds.parquet", "knowledge_points")
    on_host = incidence_cpu.incidence_from_table(*arguments, kp_form=form, max_kps_per_seed=limit)
    on_device = gpu.incidence_from_table(*arguments, kp_form=form, max_kps_per_seed=limit)
    stage = read_incidence(seeds, GraphConfig(kp_form=form, max_kps_per_seed=limit))
    assert list(stage.names) == on_host[2] == on_device[2]
    assert stage.drops == on_host[3] == on_device[3]
    for expected, host, device in zip((stage.indptr, stage.kp_indices), on_host, on_device, strict=False):
        assert np.array_equal(expected, host)
        assert np.array_equal(expected, gpu.to_host(device))
        assert gpu.to_host(device).dtype == host.dtype == expected.dtype
    assert "KP names, to host" in gpu.crossings.copies
    assert ("non-ASCII KP spellings, to host" in gpu.crossings.copies) == (form == "folded")


def test_seeds_without_a_single_kp_are_an_error_on_both_sides(gpu, tmp_path):
    pq.write_table(pa.table({"kps": pa.array([[], []], pa.list_(pa.string()))}), tmp_path / "empty.parquet")
    for ops in (incidence_cpu, gpu):
        with pytest.raises(DataError, match="no seed"):
            ops.incidence_from_table(tmp_path / "empty.parquet", "kps")


# ---------------------------------------------------------------------- cuGraph's part


def test_analytics_agree_and_an_isolated_kp_is_a_component(gpu):
    pytest.importorskip("igraph", reason="NOT COMPARED: python-igraph is not installed; pip install -e '.[analytics]'")
    graph = random_graph(n_seeds=25, n_kps=30, seed=4)
    assert (graph.degree == 0).any()
    on_host, on_device = analytics_cpu.analytics(graph), gpu.analytics(graph)
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
    on_host, on_device = analytics_cpu.analytics(edge_graph(n_kps, {})), gpu.analytics(edge_graph(n_kps, {}))
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
    small = plan_memory(1000, 10_000, 8_000, 1_000_000, 4, False, 16 << 30)
    assert small.n_batches == 1
    assert small.peak_bytes <= 16 << 30
    tight = plan_memory(1000, 10_000, 8_000, 1_000_000, 4, False, SLACK + (30 << 20))
    assert tight.n_batches > 1
    assert tight.walks_per_batch * tight.n_batches >= 1_000_000
    assert tight.peak_bytes <= SLACK + (30 << 20)
    assert f"{tight.n_batches} batches" in tight.table()


def test_what_is_kept_for_others_is_not_planned_with():
    free, reserve = 8 << 30, 7 << 30
    plan = plan_memory(1000, 10_000, 0, 20_000_000, 4, False, free, reserve)
    assert plan.peak_bytes <= free - reserve
    with pytest.raises(BackendUnavailable, match="kept for others"):
        plan_memory(1_000_000, 10**9, 0, 1, 4, False, 16 << 30, 8 << 30)


def test_a_plan_holds_what_a_round_allocates(gpu):
    """Bytes of the resident arrays, counted on the arrays themselves."""
    graph = random_graph(n_seeds=60, n_kps=20, seed=1)
    plan = plan_memory(graph.n_kps, graph.indices.size, graph.evidence.size, 500, 4, False, 1 << 30)
    _, found = assert_same_tables(gpu, graph, np.ones(20), np.ones(20))
    evidence = gpu.load_evidence(graph)
    ordered = gpu.order_evidence(evidence, gpu.asarray(np.zeros(60, np.int64)))
    assert plan.arrays["prefix sums"] == found.transition.prefix.nbytes
    assert plan.arrays["row totals"] == found.transition.total.nbytes
    assert plan.arrays["indices"] == found.graph.indices.nbytes == evidence.graph_indices.nbytes
    assert plan.arrays["postings"] == evidence.seeds.nbytes
    assert plan.arrays["ordered postings"] == ordered.seeds.nbytes
    assert plan.arrays["ties"] == ordered.ties.nbytes
    parts = (found.graph, found.transition, found.start)
    nodes = gpu.sample_walks(*parts, gpu.walk_ids(0, 500), length=4, rule=ref.StepRule(True, 1.0, 1.0), key=0)
    assert nodes.nbytes < plan.per_walk * 500


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


def test_release_and_limit_speak_to_the_pool(gpu):
    gpu.release()
    in_use = gpu.release()
    gpu.limit_memory(in_use + (1 << 20))
    assert gpu.free_memory() == 1 << 20
    gpu.limit_memory(0)
    assert gpu.free_memory() == 16 << 30
    array = gpu.asarray(np.zeros(1000))
    assert gpu.release() == in_use + array.nbytes
