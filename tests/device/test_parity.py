"""The GPU backend's Python and kernels, executed on the host, give the reference's bits."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linksyn_gpu.backend.gpu import cuda as kernels
from linksyn_gpu.backend.protocol import EdgeRule
from linksyn_gpu.backend.reference import operations as ref
from linksyn_gpu.errors import DataError, KernelError
from linksyn_gpu.sampling.graph import build_graph_from_incidence
from linksyn_gpu.tables import KPGraph
from tests.device import hostbuild, report, standin_cupy
from tests.device.conftest import gpu_over_standins
from tests.device.scenario import (
    allowed_shape,
    assert_same,
    assert_same_bundles,
    assert_same_cells,
    assert_same_construction,
    assert_same_evidence,
    assert_same_graph,
    assert_same_statistics,
    assert_same_tables,
    assert_same_walks,
    run_everything,
)
from tests.graphs import edge_graph, random_graph

SHAPES = [None, (1, 32), (7, 64), (33, 96), (2, 256)]
MANY = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", name="gpu")
def one_gpu():
    with gpu_over_standins() as module:
        yield module


@st.composite
def graphs(draw, most_kps=12):
    """Symmetric graphs with weights up to 2^30, isolated KPs and none at all among them."""
    n_kps = draw(st.integers(0, most_kps))
    pairs = [(u, v) for u in range(n_kps) for v in range(u + 1, n_kps)]
    weights = st.one_of(st.integers(1, 3), st.sampled_from([2**16, 2**30, 2**30 - 1]))
    edges = draw(st.dictionaries(st.sampled_from(pairs), weights, max_size=40)) if pairs else {}
    return edge_graph(n_kps, edges)


def values(n):
    """Values of KPs: the clip's ends, exact powers, thirds, and 0."""
    one = st.sampled_from([0.0, 2.0**-20, 1.0 / 3.0, 1.0, 1.5, 2.0**20, 1e-300, 5e-324])
    return st.lists(one, min_size=n, max_size=n).map(lambda x: np.array(x, np.float64))


def rules():
    factor = st.sampled_from([1.0, 0.25, 3.0, 2.0**-16, 2.0**16])
    return st.builds(ref.StepRule, st.booleans(), factor, factor)


@st.composite
def incidences(draw):
    n_kps = draw(st.integers(1, 9))
    rows = draw(st.lists(st.sets(st.integers(0, n_kps - 1)), max_size=12))
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int64)
    return indptr, np.array([kp for row in rows for kp in sorted(row)], np.int32), n_kps


# ---------------------------------------------------------------------- each operation, on any input


@MANY
@given(incidences(), st.sampled_from([None, 100, 1000]))
def test_construction_has_the_reference_bits_in_one_batch_or_many(gpu, incidence, limit):
    indptr, kps, n_kps = incidence
    rows, columns, _ = assert_same_construction(gpu, indptr, kps, n_kps, limit)
    module = sys.modules["linksyn_gpu.backend.gpu.build"]
    with pytest.MonkeyPatch.context() as patch:
        if limit is not None:
            patch.setattr(module, "free_memory", lambda: limit)
        assert_same_evidence(gpu, indptr, kps, rows, columns)


@MANY
@given(
    incidences(),
    st.builds(
        EdgeRule,
        st.sampled_from(["count", "cosine", "jaccard", "npmi"]),
        st.integers(1, 3),
        st.sampled_from([None, 1, 2, 5]),
    ),
    st.sampled_from([None, 100]),
)
def test_graphs_have_the_reference_bits_by_one_sort_or_in_batches(gpu, incidence, rule, limit):
    assert_same_graph(gpu, *incidence, rule, limit)


def test_pairs_that_do_not_fit_in_64_bits_are_sorted_in_two_steps(gpu, monkeypatch):
    indptr, kps = np.array([0, 3, 5, 8]), np.array([0, 1, 2, 0, 2, 0, 1, 2], np.int32)
    standin_cupy.LAUNCHES.clear()
    assert_same_graph(gpu, indptr, kps, 3, EdgeRule())
    assert standin_cupy.LAUNCHES["expand_postings"] == 1
    assert standin_cupy.LAUNCHES["pair_postings"] == 0
    monkeypatch.setattr(sys.modules["linksyn_gpu.backend.gpu.build"], "KEY_BITS", 4)
    assert_same_graph(gpu, indptr, kps, 3, EdgeRule())
    assert standin_cupy.LAUNCHES["expand_postings"] == 1
    assert standin_cupy.LAUNCHES["pair_postings"] > 0


def test_a_long_chain_of_kps_is_one_component(gpu):
    n = 200
    order = np.random.default_rng(0).permutation(n)
    chains = [np.sort(order[i : i + 2]) for i in range(n - 1) if i != 70]  # two chains
    indptr, kps = np.arange(0, 2 * len(chains) + 1, 2), np.concatenate(chains).astype(np.int32)
    assert_same_graph(gpu, indptr, kps, n, EdgeRule())
    assert ref.graph_arrays(indptr, kps, n, EdgeRule()).component.max() == 1


@pytest.mark.parametrize("rows", [[[0, 2], [], [2, 1]], [[1, 1]], [[3]], [[-1, 2]]])
def test_an_incidence_is_refused_with_the_words_of_the_reference(gpu, rows):
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    kps = np.array([kp for row in rows for kp in row], np.int32)
    messages = []
    for ops in (ref, gpu):
        with pytest.raises(DataError) as error:
            ops.check_incidence(ops.asarray(indptr), ops.asarray(kps), 3)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("indptr", [[], [1, 2], [0, 3], [0, 2, 1, 2]])
def test_offsets_that_do_not_rise_are_refused(gpu, indptr):
    for ops in (ref, gpu):
        with pytest.raises(DataError, match="indptr must rise from 0 to the number of entries, 2"):
            ops.check_incidence(ops.asarray(np.array(indptr, np.int64)), ops.asarray(np.array([0, 1], np.int32)), 3)


@MANY
@given(incidences(), st.integers(0, 100))
def test_statistics_of_kps_have_the_reference_bits(gpu, incidence, seed):
    assert_same_statistics(gpu, *incidence, np.random.default_rng(seed))


def test_postings_of_pruned_edges_are_left_out(gpu):
    indptr, kps = np.array([0, 3, 5, 8]), np.array([0, 1, 2, 0, 2, 0, 1, 2], np.int32)
    rows, columns = np.array([0, 1, 1, 2]), np.array([2, 0], np.int32)  # only (0, 2) is left
    assert_same_evidence(gpu, indptr, kps, rows, columns)


@MANY
@given(st.data())
def test_tables_have_the_reference_bits(gpu, data):
    graph = data.draw(graphs())
    value, target = data.draw(values(graph.n_kps)), data.draw(values(graph.n_kps))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("linksyn_gpu.backend.gpu.walk.LONG_ROW", data.draw(st.sampled_from([1, 3, 2048])))
        assert_same_tables(gpu, graph, value, target)


@MANY
@given(graphs(), st.data(), st.integers(0, 100))
def test_cells_have_the_reference_bits(gpu, graph, data, seed):
    value = data.draw(values(graph.n_kps))
    scale = data.draw(st.sampled_from([1.0, 1.0 / 3.0, 2.0**-20, 2.0**20]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("linksyn_gpu.backend.gpu.walk.LONG_ROW", data.draw(st.sampled_from([1, 3, 2048])))
        assert_same_cells(gpu, graph, value, scale, seed)


@MANY
@given(st.data())
def test_values_have_the_reference_bits(gpu, data):
    n = data.draw(st.integers(0, 6))
    shares = np.array(data.draw(st.lists(st.floats(0.0, 1.0), min_size=n, max_size=n)), np.float64)
    potential = np.array(data.draw(st.lists(st.floats(2.0**-10, 2.0**10), min_size=n, max_size=n)), np.float64)
    visits = np.array(data.draw(st.lists(st.integers(0, 2**50), min_size=n, max_size=n)), np.int64)
    on_device = [gpu.asarray(a) for a in (shares, potential, visits)]
    for beta in (0.0, 0.5, 1.0, 2.0):
        assert_same(
            gpu, ref.node_value(shares, potential, visits, beta), gpu.node_value(*on_device, beta), f"beta {beta}"
        )
    assert_same(
        gpu,
        ref.calibrated_potential(potential, shares, visits),
        gpu.calibrated_potential(on_device[1], on_device[0], on_device[2]),
        "potential",
    )


@MANY
@given(st.data())
def test_walks_have_the_reference_bits(gpu, data):
    graph = data.draw(graphs())
    expected, found = assert_same_tables(gpu, graph, data.draw(values(graph.n_kps)), data.draw(values(graph.n_kps)))
    ids = np.array(data.draw(st.lists(st.integers(0, 2**62), max_size=30)), np.int64)
    key = data.draw(st.integers(0, 2**64 - 1))
    assert_same_walks(gpu, expected, found, ids, data.draw(st.integers(0, 9)), data.draw(rules()), key)


@MANY
@given(st.data())
def test_lengths_keys_occurrences_and_screening_have_the_reference_bits(gpu, data):
    width = data.draw(st.integers(1, 5))
    row = st.lists(st.integers(-1, 4), min_size=width, max_size=width)
    seen, device_seen = ref.key_set(), gpu.key_set()
    for _ in range(2):
        nodes = np.array(data.draw(st.lists(row, max_size=12)), np.int32).reshape(-1, width)
        for device in (gpu.asarray(nodes), gpu.asarray(nodes.T.copy()).T):  # either layout in memory
            assert_same(gpu, ref.path_lengths(nodes), gpu.path_lengths(device), "lengths")
            assert_same(gpu, ref.path_keys(nodes), gpu.path_keys(device), "keys")
            keep = nodes[:, 0] % 2 == 0
            counts = gpu.count_occurrences(device, gpu.asarray(keep), 5)
            assert_same(gpu, ref.count_occurrences(nodes, keep, 5), counts, "occurrences")
            assert_same(gpu, ref.screen_paths(nodes, 2, None), gpu.screen_paths(device, 2, None), "lengths only")
        status = gpu.screen_paths(gpu.asarray(nodes), 2, device_seen)
        assert_same(gpu, ref.screen_paths(nodes, 2, seen), status, "screening")
        assert sorted(seen.keys) == gpu.to_host(device_seen.keys).tolist()


@MANY
@given(st.integers(0, 2**32), st.sampled_from([1, 2**40]))
def test_bundles_have_the_reference_bits(gpu, seed, spread):
    rng = np.random.default_rng(seed)
    graph = random_graph(n_seeds=40, n_kps=8, seed=int(rng.integers(1000)))
    value = np.ones(8)
    expected, found = assert_same_tables(gpu, graph, value, value)
    ids = rng.integers(0, 2**62, 30)
    nodes = assert_same_walks(gpu, expected, found, ids, 4, ref.StepRule(True, 1.0, 1.0))
    rank = rng.integers(-1, 2, 40) * spread
    assert_same_bundles(gpu, graph, rank, nodes, ids, rng.random(30) < 0.7)


@pytest.mark.parametrize("ranks", [1, 40, 3000])
def test_an_edge_of_many_seeds_is_cut_into_chunks_and_has_the_reference_bits(gpu, ranks):
    """All seeds of one rank, some of each, and each of a rank of its own."""
    n = 3000
    indptr, kps = np.arange(0, 3 * n + 1, 3), np.tile(np.arange(3, dtype=np.int32), n)
    graph = build_graph_from_incidence(indptr, kps, 3, backend="cpu")
    nodes = np.tile(np.array([0, 1, 2, 0, 1], np.int32), (50, 1))
    rank = np.random.default_rng(ranks).permutation(n) % ranks
    assert_same_bundles(gpu, graph, rank, (nodes, gpu.asarray(nodes)), np.arange(50), np.ones(50, bool))
    evidence = gpu.load_evidence(graph)
    assert evidence.n_chunks == 3 * -(-n // 32), "one thread for each chunk"


def test_paths_that_leave_the_graph_are_marked_as_in_the_reference(gpu):
    graph = random_graph(n_seeds=40, n_kps=12, seed=2)
    nodes = np.random.default_rng(0).integers(0, 12, (60, 4)).astype(np.int32)
    rank, ids, keep = np.arange(40) % 3, np.arange(60), np.arange(60) % 5 > 0
    assert_same_bundles(gpu, graph, rank, (nodes, gpu.asarray(nodes)), ids, keep)


# ---------------------------------------------------------------------- the hard shapes


def star(leaves, first_weight):
    return edge_graph(leaves + 1, {(0, v): first_weight if v == 1 else 1 for v in range(1, leaves + 1)})


@pytest.mark.parametrize("rule", [ref.StepRule(False, 1.0, 1.0), ref.StepRule(True, 0.5, 2.0)])
def test_a_star_with_half_its_weight_in_one_leaf(gpu, rule):
    expected, found = assert_same_tables(gpu, star(600, 599), np.ones(601), np.ones(601))
    assert_same_walks(gpu, expected, found, np.arange(400), 5, rule)


def test_a_row_dominated_by_a_visited_kp_is_scanned_exactly(gpu):
    graph = edge_graph(4, {(0, 1): 4_000_000, (1, 2): 1, (1, 3): 3})
    expected, found = assert_same_tables(gpu, graph, np.ones(4), np.ones(4))
    assert_same_walks(gpu, expected, found, np.arange(500), 3, ref.StepRule(True, 1.0, 1.0))


def test_rows_over_2_32_are_shifted_as_the_reference_shifts_them(gpu):
    n = 2100  # a long row of full masses: 2100 * 2^39, summed by a whole block
    graph = star(n, 2**30)
    heavy = KPGraph.from_csr(graph.indptr, graph.indices, np.full(graph.indices.size, 2**30))
    expected, found = assert_same_tables(gpu, heavy, np.ones(n + 1), np.ones(n + 1))
    assert int(gpu.to_host(found.graph.long_rows).size) == 1
    assert int(gpu.to_host(found.transition.total)[0]) >= 2**31
    assert_same_walks(gpu, expected, found, np.arange(200), 3, ref.StepRule(True, 1.0, 1.0))


def test_massless_rows_and_masked_kps(gpu):
    graph = random_graph(n_seeds=80, n_kps=20, seed=3)
    value = np.where(np.arange(20) % 3 == 0, 0.0, 1.0)
    expected, found = assert_same_tables(gpu, graph, value, np.ones(20))
    assert_same_walks(gpu, expected, found, np.arange(500), 4, ref.StepRule(True, 1.0, 1.0))
    nothing = assert_same_tables(gpu, graph, np.zeros(20), np.ones(20))
    assert_same_walks(gpu, *nothing, np.arange(5), 4, ref.StepRule(True, 1.0, 1.0))


def test_the_guide_table_never_changes_a_draw(gpu):
    """The same walks with it (many steps announced) and without it (few)."""
    graph = random_graph(n_seeds=80, n_kps=20, seed=5)
    value, rule, ids = np.linspace(0.0, 3.0, 20), ref.StepRule(True, 0.5, 2.0), np.arange(200)
    for steps, n_guides in ((graph.indices.size, 1), (graph.indices.size - 1, 0)):
        standin_cupy.LAUNCHES.clear()
        expected, found = assert_same_tables(gpu, graph, value, np.ones(20), steps)
        assert standin_cupy.LAUNCHES["build_guide"] == n_guides
        assert_same_walks(gpu, expected, found, ids, 6, rule)


# ---------------------------------------------------------------------- launches


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_results_do_not_depend_on_the_launch_shape(gpu, shape, monkeypatch):
    if shape is not None:
        monkeypatch.setattr(kernels, "launch_shape", allowed_shape(*shape))
    monkeypatch.setattr("linksyn_gpu.backend.gpu.walk.LONG_ROW", 8)
    standin_cupy.LAUNCHES.clear()
    run_everything(gpu)
    for name in standin_cupy.LAUNCHES:
        label = "own shape" if shape is None else "x".join(map(str, kernels.launch_shape(name, 1)))
        report.note([name], "same bits as the reference", label)


@pytest.mark.parametrize("order", [1, 5])
def test_results_do_not_depend_on_the_order_of_threads(gpu, order, monkeypatch):
    monkeypatch.setattr(standin_cupy, "ORDER", order)
    monkeypatch.setattr("linksyn_gpu.backend.gpu.walk.LONG_ROW", 4)
    run_everything(gpu)


def test_the_scenario_launches_every_kernel(gpu, monkeypatch):
    monkeypatch.setattr("linksyn_gpu.backend.gpu.walk.LONG_ROW", 4)
    standin_cupy.LAUNCHES.clear()
    run_everything(gpu)
    assert set(standin_cupy.LAUNCHES) == set(kernels.declared_kernels())


def test_a_removed_barrier_changes_the_result_of_some_order():
    """The emulator detects a missing barrier: without the first one, sums of warps are read too early."""
    source = kernels.source_text("prefix.cu")
    broken = source.replace("__syncthreads();", "", 1)
    assert broken != source
    n = 300
    ones = [np.ones(1)] * 3  # scale, value, top
    arrays = [np.array([0, n]), np.zeros(n, np.int32), np.arange(1, n + 1, dtype=np.int32), *ones]
    outcomes = set()
    for text in (source, broken):
        for order in (0, 1, 5):
            rows, pairs = np.zeros((1, 2), np.uint64), np.zeros(n, np.uint64)
            arguments = (*arrays, np.zeros(1, np.int64), np.int64(1), rows, pairs)
            hostbuild.run(text, "prefix_long_rows", 1, 256, arguments, order=order)
            outcomes.add((text == source, rows.tobytes() + pairs.tobytes()))
    assert len({outcome for right, outcome in outcomes if right}) == 1
    assert len({outcome for right, outcome in outcomes if not right}) > 1


def test_a_barrier_that_not_all_threads_reach_is_reported():
    source = kernels.source_text("common.cuh") + (
        'extern "C" __global__ void stuck(int32_t* out) {\n'
        "  if (threadIdx.x % 2 == 0) { __syncthreads(); } else { out[0] = __shfl_sync(0xFFFFFFFFu, 1, 0); }\n}"
    )  # fmt: skip
    with pytest.raises(hostbuild.HostKernelError):
        hostbuild.run(source, "stuck", 1, 64, (np.zeros(1, np.int32),))


def test_a_launch_that_does_not_fit_its_kernel_is_refused(gpu):
    rows, wrong = gpu.asarray(np.zeros(3, np.int64)), gpu.asarray(np.zeros(3, np.int32))
    for arguments, message in [
        ((rows, 3), "takes 3 arguments"),
        ((wrong, 3, rows), "uint64 is required"),
        ((np.zeros(3, np.uint64), 3, rows), "device array"),
        ((gpu.asarray(np.zeros(6, np.uint64))[::2], 3, rows), "contiguous"),
        ((gpu.asarray(np.zeros(3, np.uint64)), 2**63, rows), "does not fit"),
        ((gpu.asarray(np.zeros(3, np.uint64)), rows, rows), "host integer"),
    ]:
        with pytest.raises(KernelError, match=message):
            kernels.launch("count_postings", 3, *arguments)


def test_what_the_device_refuses_names_the_kernel(gpu, monkeypatch):
    import cupy

    def refuse(error):
        def method(*_):
            raise error("refused")

        return method

    keys, held = gpu.asarray(np.zeros(3, np.uint64)), gpu.asarray(np.zeros(3, np.int64))
    with monkeypatch.context() as patch:
        patch.setattr(cupy.cuda.runtime, "deviceSynchronize", refuse(cupy.cuda.runtime.CUDARuntimeError))
        patch.setenv("LINKSYN_GPU_SYNC", "1")
        with pytest.raises(KernelError, match="kernel count_postings with 1 blocks of 256 failed: refused"):
            kernels.launch("count_postings", 3, keys, 3, held)
    kernels._module.cache_clear()
    monkeypatch.setattr(cupy.RawModule, "compile", refuse(cupy.cuda.compiler.CompileException))
    with pytest.raises(KernelError, match=r"kernels/pairs\.cu does not compile for device 0: refused"):
        kernels.launch("count_postings", 3, keys, 3, held)


def test_a_graph_without_postings_cannot_link_seeds(gpu):
    with pytest.raises(DataError, match="no evidence"):
        gpu.load_evidence(edge_graph(3, {(0, 1): 1}))


def test_the_start_total_is_the_reference_total(gpu):
    for graph in (edge_graph(0, {}), edge_graph(3, {(0, 1): 4})):
        expected, found = assert_same_tables(gpu, graph, np.ones(graph.n_kps), np.ones(graph.n_kps))
        assert expected.start.total == found.start.total


# ---------------------------------------------------------------------- sanitizers

SANITIZED = """
import sys
from tests.device import standin_cupy
from tests.device.conftest import gpu_over_standins
from tests.device.scenario import run_everything
with gpu_over_standins() as gpu:
    sys.modules["linksyn_gpu.backend.gpu.walk"].LONG_ROW = 2048 if len(sys.argv) > 1 else 4
    if len(sys.argv) > 1:  # the last row ends after the entries
        load = gpu.load_graph
        def broken(graph, *, second_order):
            found = load(graph, second_order=second_order)
            found.indptr[-1] = found.indices.size + 100
            return found
        gpu.load_graph = broken
    run_everything(gpu)
print(*sorted(standin_cupy.LAUNCHES))
"""


def sanitized(*arguments):
    library = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": library.stdout.strip(),
        "LINKSYN_SANITIZE_KERNELS": "1",
        "ASAN_OPTIONS": "detect_leaks=0",
        "OMP_NUM_THREADS": "1",
        "PYTHONMALLOC": "malloc",
    }
    return subprocess.run(
        [sys.executable, "-c", SANITIZED, *arguments],
        capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_every_kernel_runs_clean_under_address_and_undefined_behaviour_sanitizers():
    done = sanitized()
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split() == sorted(kernels.declared_kernels())
    report.note(done.stdout.split(), "sanitizers", "address, undefined")


def test_the_sanitizer_run_would_find_a_read_out_of_bounds():
    done = sanitized("broken")
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
    assert "kernels/" in done.stderr, "the report names the kernel's file and line"
