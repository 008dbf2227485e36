"""The CPU backend against the reference, bit for bit: every operation, every option, any number of threads."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from linksyn_gpu.backend.cpu import operations as cpu
from linksyn_gpu.backend.cpu import walk as cpu_walk
from linksyn_gpu.backend.cpu.kernels import core as numba_core
from linksyn_gpu.backend.cpu.kernels import tables as numba_tables
from linksyn_gpu.backend.cpu.kernels import walk as numba_walk
from linksyn_gpu.backend.protocol import EdgeRule
from linksyn_gpu.backend.reference import operations as ref
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.errors import DataError
from linksyn_gpu.tables import KPGraph
from tests.device.scenario import assert_same_cells
from tests.graphs import random_incidence

KEY = derive_key(7, Purpose.WALK)
POWERS_OF_TWO = st.integers(-16, 16).map(lambda power: 2.0**power)
RULE_VALUES = st.one_of(st.just(1.0), st.sampled_from([0.5, 2.0, 0.3, 2.0**-16, 2.0**16]), POWERS_OF_TWO)


def assert_same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    assert np.array_equal(a, b)


def star(leaves: int, half: bool) -> KPGraph:
    """KP 0 joined to all others; with `half`, KP 1 has the weight of all other leaves together."""
    n = leaves + 1
    indptr = np.concatenate([[0], leaves + np.arange(n)])
    indices = np.concatenate([np.arange(1, n), np.zeros(leaves, np.int64)])
    weight = np.ones(leaves, np.int64)
    if half and leaves > 1:
        weight[0] = leaves - 1
    return KPGraph.from_csr(indptr, indices, np.concatenate([weight, weight]))


def reweighted(graph: KPGraph, weight) -> KPGraph:
    """The same graph with a symmetric weight drawn by `weight(number of undirected edges)`."""
    rows = np.repeat(np.arange(graph.n_kps), graph.degree)
    upper = rows < graph.indices
    low, high = np.minimum(rows, graph.indices), np.maximum(rows, graph.indices)
    keys = low.astype(np.int64) * graph.n_kps + high
    drawn = weight(int(upper.sum()))[np.searchsorted(keys[upper], keys)]
    return KPGraph(graph.indptr, graph.indices, graph.count, drawn.astype(np.int32), graph.seed_count)


@st.composite
def walk_graphs(draw):
    kind = draw(st.sampled_from(["random", "random", "dense", "star", "half_star", "no_edges"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if kind == "no_edges":
        n = draw(st.integers(0, 3))
        return KPGraph.from_csr(np.zeros(n + 1, np.int64), [], [])
    if kind in ("star", "half_star"):
        return star(draw(st.sampled_from([1, 2, 5, 300])), kind == "half_star")
    n_kps = draw(st.integers(1, 12 if kind == "dense" else 150))
    indptr, kps = random_incidence(draw(st.integers(0, 250)), n_kps, rng, most=6)
    graph = KPGraph.from_csr(*ref.cooccurrence(indptr, kps, n_kps))
    most = draw(st.sampled_from([1, 1000, 2**30, -(2**30)]))
    if most < 0:  # every weight near 2^30: every total passes 2^32 before the shift
        return reweighted(graph, lambda m: rng.integers(2**29, 2**30 + 1, m))
    return reweighted(graph, lambda m: np.floor(np.exp(rng.random(m) * np.log(most))).clip(1))


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    graph=walk_graphs(),
    masked=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    beta=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    rule=st.builds(ref.StepRule, st.booleans(), RULE_VALUES, RULE_VALUES),
    length=st.integers(1, 12),
    first_id=st.sampled_from([0, 2**32 - 20, 2**62]),
    lanes=st.integers(1, 70),
    cut=st.integers(0, 60),
    seed=st.integers(0, 2**32),
)
@example(star(300, True), 0.0, 0.0, ref.StepRule(True, 1.0, 1.0), 255, 0, 3, 1, 0)
def test_a_round_is_the_reference_round(graph, masked, beta, rule, length, first_id, lanes, cut, seed):
    """Value, tables, walks and screening, for any number of lanes and any split of the batch in two."""
    rng, n = np.random.default_rng(seed), graph.n_kps
    target = rng.random(n) * (rng.random(n) >= masked)
    target /= max(float(target.sum()), 1e-300)
    visits, potential = rng.integers(0, 1000, n), np.exp(rng.normal(size=n))
    value = cpu.node_value(target, potential, visits, beta)
    assert_same(value, ref.node_value(target, potential, visits, beta))
    assert_same(
        cpu.calibrated_potential(potential, target, visits), ref.calibrated_potential(potential, target, visits)
    )
    on_cpu, on_ref = (b.load_graph(graph, second_order=rule.second_order) for b in (cpu, ref))
    table, expected_table = cpu.transition_table(on_cpu, value), ref.transition_table(on_ref, value)
    assert_same(table.prefix, expected_table.prefix)
    assert_same(table.total, expected_table.total)
    start, expected_start = cpu.start_table(table, target, value), ref.start_table(expected_table, target, value)
    assert_same(start.prefix, expected_start.prefix)
    assert start.total == expected_start.total

    ids = np.arange(first_id, first_id + 60)
    options = {"length": length, "rule": rule, "key": KEY}
    expected = ref.sample_walks(on_ref, expected_table, expected_start, ids, **options)
    before, cpu_walk._LANES = cpu_walk._LANES, lanes
    try:
        halves = [cpu.sample_walks(on_cpu, table, start, part, **options) for part in (ids[:cut], ids[cut:])]
    finally:
        cpu_walk._LANES = before
    nodes = np.concatenate(halves)
    assert_same(nodes, expected)
    keep = rng.random(60) < 0.7
    assert_same(cpu.path_lengths(nodes), ref.path_lengths(nodes))
    assert_same(cpu.count_occurrences(nodes, keep, n), ref.count_occurrences(nodes, keep, n))
    assert_same(cpu.path_keys(nodes), ref.path_keys(nodes))
    for seen in ((None, None), (cpu.key_set(), ref.key_set())):
        for part in (nodes[:40], nodes):
            assert_same(cpu.screen_paths(part, 2, seen[0]), ref.screen_paths(part, 2, seen[1]))
        if seen[0] is not None:
            assert seen[0].keys == seen[1].keys


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(graph=walk_graphs(), scale=st.sampled_from([1.0, 1.0 / 3.0, 2.0**-20, 2.0**20]), seed=st.integers(0, 2**32))
def test_tables_and_steps_of_a_cell_are_those_of_the_reference(graph, scale, seed):
    assert_same_cells(cpu, graph, np.exp(np.random.default_rng(seed).normal(size=graph.n_kps)), scale, seed)


@pytest.mark.parametrize("rule", [ref.StepRule(False, 1.0, 1.0), ref.StepRule(True, 0.25, 4.0)])
def test_walks_over_a_hub_of_100_000_are_those_of_the_reference(rule):
    rng = np.random.default_rng(0)
    graph = reweighted(star(100_000, False), lambda m: rng.integers(1, 1000, m))
    value = np.exp(rng.normal(size=graph.n_kps)) * (rng.random(graph.n_kps) < 0.8)
    value[0] = 1.0
    walks = []
    for backend in (cpu, ref):
        loaded = backend.load_graph(graph, second_order=rule.second_order)
        table = backend.transition_table(loaded, value)
        start = backend.start_table(table, np.full(graph.n_kps, 1e-5), value)
        ids = backend.walk_ids(0, 40)
        walks.append((table, backend.sample_walks(loaded, table, start, ids, length=4, rule=rule, key=KEY)))
    (table, nodes), (expected_table, expected) = walks
    assert_same(table.prefix, expected_table.prefix)
    assert_same(nodes, expected)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    n_seeds=st.integers(0, 300),
    n_kps=st.sampled_from([1, 2, 7, 60, 2_000, 70_000]),
    most=st.integers(0, 9),
    seed=st.integers(0, 2**32),
)
def test_construction_is_the_reference_construction(n_seeds, n_kps, most, seed):
    indptr, kps = random_incidence(n_seeds, n_kps, np.random.default_rng(seed), most)
    expected = ref.cooccurrence(indptr, kps, n_kps)
    assert all(map(np.array_equal, cpu.cooccurrence(indptr, kps, n_kps), expected))
    pruned = expected[2] > 1  # some of the edges
    rows = np.repeat(np.arange(n_kps), np.diff(expected[0]))[pruned]
    kept_indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n_kps))])
    for graph in ((expected[0], expected[1]), (kept_indptr, expected[1][pruned])):
        for ours, theirs in zip(cpu.evidence(indptr, kps, *graph), ref.evidence(indptr, kps, *graph), strict=True):
            assert_same(ours, theirs)


def test_rows_sorted_by_digits_and_rows_counted_densely_are_the_reference_rows():
    """KP 0 is in every seed (more pairs than KPs / 4); others have rows of tens to hundreds of pairs."""
    rng = np.random.default_rng(5)
    rows = [np.unique(np.append(3000 * rng.random(5) ** 3, 0).astype(np.int32)) for _ in range(2000)]
    indptr = np.concatenate([[0], np.cumsum([row.size for row in rows])])
    for ours, theirs in zip(
        cpu.cooccurrence(indptr, np.concatenate(rows), 3000),
        ref.cooccurrence(indptr, np.concatenate(rows), 3000),
        strict=True,
    ):
        assert_same(ours, theirs)


def test_a_small_memory_limit_does_not_change_the_graph():
    indptr, kps = random_incidence(4000, 300, np.random.default_rng(2), most=12)
    expected = ref.cooccurrence(indptr, kps, 300)
    pairs = int((np.diff(indptr) * (np.diff(indptr) - 1)).sum())
    tight = 200_000 + 8 * expected[1].size + 4 * kps.size
    assert tight < 16 * pairs  # too little for one pass over the rows
    for limit in (1 << 40, tight):
        assert all(map(np.array_equal, cpu.cooccurrence(indptr, kps, 300, memory_limit=limit), expected))
    with pytest.raises(DataError, match="raise memory_limit"):
        cpu.cooccurrence(indptr, kps, 300, memory_limit=100_000)


@pytest.mark.parametrize("kps", [[2, 1], [1, 1], [0, 5], [-1, 2]])
def test_kps_out_of_order_or_range_are_refused(kps):
    with pytest.raises(DataError, match="KPs of 1 seeds"):
        cpu.cooccurrence(np.array([0, 2]), np.array(kps, np.int32), 5)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(n_kps=st.integers(2, 12), ranks=st.integers(1, 6), length=st.integers(1, 6), seed=st.integers(0, 2**32))
def test_bundles_are_the_reference_bundles(n_kps, ranks, length, seed):
    """Few KPs and many seeds: edges with one seed, and edges whose best seeds are listed once for all paths."""
    rng = np.random.default_rng(seed)
    indptr, kps = random_incidence(400, n_kps, rng)
    parts = ref.cooccurrence(indptr, kps, n_kps)
    if parts[1].size == 0:
        return
    postings = ref.evidence(indptr, kps, *parts[:2])
    graph = KPGraph(*parts, parts[2], np.bincount(kps, minlength=n_kps), n_seeds=400)
    graph = KPGraph(**{**vars(graph), "evidence_indptr": postings[0], "evidence": postings[1]})
    rank = rng.integers(-ranks, ranks, 400)
    walked = ref.load_graph(graph, second_order=False)
    table = ref.transition_table(walked, np.ones(n_kps))
    start = ref.start_table(table, np.ones(n_kps), np.ones(n_kps))
    ids = np.arange(2**33, 2**33 + 50)
    rule = ref.StepRule(False, 1.0, 1.0)
    nodes = ref.sample_walks(walked, table, start, ids, length=length, rule=rule, key=KEY)
    nodes[::7] = rng.integers(0, n_kps, nodes[::7].shape)  # paths that leave the graph are marked
    keep = rng.random(50) < 0.8
    expected = ref.load_evidence(graph)
    bundles = ref.link_paths(expected, ref.rank_evidence(expected, rank), nodes, ids, keep, KEY)
    for long_edge in (1, 8, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("linksyn_gpu.backend.cpu.bundle.LONG_EDGE", long_edge)
            loaded = cpu.load_evidence(graph)
            ranked = cpu.rank_evidence(loaded, rank)
            for rows in (slice(0, 20), slice(20, 50)):  # lists of the first call serve the second
                found = cpu.link_paths(loaded, ranked, nodes[rows], ids[rows], keep[rows], KEY)
                assert_same(bundles[rows], found)


def test_the_set_of_kp_sets_grows_and_stores_the_key_zero():
    ours, theirs = cpu.key_set(), ref.key_set()
    for first in range(0, 9000, 3000):
        nodes = np.arange(first, first + 6000, dtype=np.int32).reshape(-1, 2)
        nodes[0] = -1  # the empty set: its key is 0
        assert_same(cpu.screen_paths(nodes, 0, ours), ref.screen_paths(nodes, 0, theirs))
    assert ours.keys == theirs.keys
    assert ours.slots.size >= 2 * ours.used


def test_arrays_of_a_freed_table_are_used_again_and_never_shared():
    loaded = cpu.load_graph(star(50, False), second_order=False)
    rng = np.random.default_rng(0)
    values = [rng.random(51) + 0.1 for _ in range(3)]
    first, second = (cpu.transition_table(loaded, value) for value in values[:2])
    assert first.pairs is not second.pairs
    kept, address = first.prefix, second.pairs.ctypes.data
    del second
    third = cpu.transition_table(loaded, values[2])
    assert third.pairs.ctypes.data == address
    assert_same(first.prefix, kept)


def test_read_only_arrays_are_not_copied():
    graph = star(20, True)
    for array in (graph.indptr, graph.indices, graph.weight):
        array.flags.writeable = False
    loaded = cpu.load_graph(graph, second_order=True)
    assert loaded.indices.ctypes.data == graph.indices.ctypes.data
    assert_same(cpu.transition_table(loaded, np.ones(21)).total, ref.transition_table(graph, np.ones(21)).total)


def test_cached_machine_code_is_tied_to_all_its_source_files(tmp_path):
    """Numba compares the time stamp of the kernel's own file only, and would miss an edit of another file."""
    for kernel in (numba_walk.walk_tasks(True, False), numba_tables.finish_row):
        file = kernel._cache._cache_file
        assert file._source_stamp == numba_core._STAMP
        copy = type(file)(cache_path=str(tmp_path), filename_base="kernel", source_stamp="made before an edit")
        copy.save(("signature",), "code")
        assert copy.load(("signature",)) == "code"
        copy._source_stamp = numba_core._STAMP
        assert copy.load(("signature",)) is None


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("content", [b"", b"\x80\x05"])
def test_a_cache_file_that_was_cut_off_is_compiled_again(tmp_path, kind, content):
    file = type(numba_tables.finish_row._cache._cache_file)(str(tmp_path), "kernel", "stamp")
    file.save(("signature",), "code")
    for path in tmp_path.glob(f"*.{kind}"):
        path.write_bytes(content)
    assert file.load(("signature",)) is None
    file.save(("signature",), "code")
    assert file.load(("signature",)) == "code"


def test_one_thread_and_two_give_the_same():
    most = numba.get_num_threads()
    if most < 2:
        pytest.skip("Numba has one thread here; the next test starts processes with more")
    digests = set()
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            digests.add(campaign_digest())
    finally:
        numba.set_num_threads(most)
    assert len(digests) == 1


def campaign_digest() -> str:
    """Every operation on a graph large enough for several tasks: a digest of all results."""
    import hashlib

    rng = np.random.default_rng(9)
    sizes = rng.integers(2, 8, 20_000)
    rows = [np.unique((4000 * rng.random(size) ** 2).astype(np.int32)) for size in sizes]
    indptr, kps = np.concatenate([[0], np.cumsum([row.size for row in rows])]), np.concatenate(rows)
    parts = cpu.cooccurrence(indptr, kps, 4000)
    postings = cpu.evidence(indptr, kps, *parts[:2])
    seed_count = np.bincount(kps, minlength=4000)
    graph = KPGraph(*parts, parts[2], seed_count, None, 20_000, *postings)
    target = seed_count / seed_count.sum()
    value = cpu.node_value(target, np.ones(4000), seed_count[::-1].copy(), 1.0)
    loaded, found = cpu.load_graph(graph, second_order=True), cpu.load_evidence(graph)
    table = cpu.transition_table(loaded, value)
    start = cpu.start_table(table, target, value)
    ids = cpu.walk_ids(0, 20_000)
    nodes = cpu.sample_walks(loaded, table, start, ids, length=5, rule=cpu.StepRule(True, 0.5, 2.0), key=KEY)
    ranked = cpu.rank_evidence(found, np.arange(20_000) % 7)
    status = cpu.screen_paths(nodes, 3, cpu.key_set())
    bundles = cpu.link_paths(found, ranked, nodes, ids, status == 0, KEY)
    visits = cpu.count_occurrences(nodes, status == 0, 4000)
    out = (*parts, *postings, value, table.prefix, table.total, start.prefix, nodes, status, ranked.best.size, bundles)
    total = hashlib.sha256()
    for array in (*out, visits):
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def test_any_number_of_threads_gives_the_same():
    """Processes with 1, 2 and 5 threads (more than cores is allowed: NUMBA_NUM_THREADS)."""
    code = "from tests.backend.test_cpu_parity import campaign_digest; print(campaign_digest())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "NUMBA_NUM_THREADS": str(threads)},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in (1, 2, 5)
    }
    assert len(digests) == 1


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 60), st.integers(1, 40), st.integers(0, 2**32))
def test_graphs_have_the_reference_arrays(n_seeds, n_kps, seed):
    """Sparse ones have many components."""
    incidence = (*random_incidence(n_seeds, n_kps, np.random.default_rng(seed), most=3), n_kps)
    for rule in (EdgeRule(), EdgeRule("jaccard", 1, 1)):
        expected, found = (backend.graph_arrays(*incidence, rule) for backend in (ref, cpu))
        assert found.drops == expected.drops
        for name in ("indptr", "indices", "count", "weight", "seed_count", "evidence_indptr", "evidence", "component"):
            assert_same(getattr(found, name), getattr(expected, name))
