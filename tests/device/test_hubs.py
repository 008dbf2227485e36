"""Walks over hubs: p and q send a share of their steps to the exact scan, and a step reads few sectors of the table."""

import ctypes

import numpy as np
import pytest

from linksyn_gpu.backend.cpu import operations as cpu
from linksyn_gpu.backend.gpu import cuda as kernels
from linksyn_gpu.backend.gpu.memory import SECTORS_PER_STEP
from linksyn_gpu.backend.reference import operations as ref
from linksyn_gpu.backend.reference import walk as ref_walk
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.tables import KPGraph
from tests.device import hostbuild
from tests.device.scenario import assert_same
from tests.graphs import hub_graph, random_incidence

KEY = derive_key(3, Purpose.WALK)
RULE = ref.StepRule(True, 0.25, 4.0)
EVERYWHERE = 2**40  # steps that make any guide table pay


def walk(ops, graph, value, target, ids, length, rule):
    loaded = ops.load_graph(graph, second_order=rule.second_order)
    table = ops.transition_table(loaded, ops.asarray(value), steps=EVERYWHERE)
    start = ops.start_table(table, ops.asarray(target), ops.asarray(value))
    return ops.sample_walks(loaded, table, start, ops.asarray(ids), length=length, rule=rule, key=KEY)


@pytest.fixture
def scans(monkeypatch):
    """Results of the exact scans of the reference."""
    found, scan = [], ref_walk._scan_row

    def counted(*arguments):
        found.append(scan(*arguments))
        return found[-1]

    monkeypatch.setattr(ref_walk, "_scan_row", counted)
    return found


@pytest.mark.parametrize("no_revisit", [True, False])
@pytest.mark.parametrize("n_hubs", [1, 3])
def test_steps_that_reach_the_exact_scan_of_a_hub_have_the_same_bits_on_all_backends(gpu, scans, n_hubs, no_revisit):
    graph = hub_graph(n_hubs, 260, seed=n_hubs)
    value = np.where(np.arange(graph.n_kps) % 11 == 10, 0.0, np.linspace(0.1, 5.0, graph.n_kps))
    rule, ids = ref.StepRule(no_revisit, RULE.p, RULE.q), np.arange(150)
    expected = walk(ref, graph, value, np.ones(graph.n_kps), ids, 6, rule)
    n_steps = int((expected[:, 1:] >= 0).sum())
    assert graph.degree.max() > 100
    share = sum(v >= 0 for v in scans) / n_steps
    assert share > (0.05 if no_revisit else 0.001), "too few steps are drawn by the exact scan"
    assert_same(cpu, expected, walk(cpu, graph, value, np.ones(graph.n_kps), ids, 6, rule), "cpu")
    assert_same(gpu, expected, walk(gpu, graph, value, np.ones(graph.n_kps), ids, 6, rule), "gpu")


@pytest.mark.parametrize(
    "rule",
    [
        RULE,
        ref.StepRule(False, 4.0, 2.0**-6),
        ref.StepRule(True, 2.0**-16, 2.0**16),
        ref.StepRule(False, 3.0, 2.0**-16),  # corrections far below zero: a sum without all of them wraps
        ref.StepRule(True, 3.0, 2.0**-16),
    ],
)
def test_exact_scans_between_hubs_that_share_more_than_a_warp_of_neighbours(gpu, scans, rule):
    """Rows of the scan in several chunks of 32, read from either side."""
    graph = hub_graph(2, 200, seed=5)
    target = np.where(np.arange(graph.n_kps) < 2, 1.0, 1e-3)
    expected = walk(ref, graph, np.ones(graph.n_kps), target, np.arange(200), 5, rule)
    shared = np.intersect1d(*(graph.indices[slice(*graph.indptr[v : v + 2])] for v in (0, 1)))
    assert shared.size > 32
    assert any(v >= 0 for v in scans)
    for ops in (cpu, gpu):
        assert_same(ops, expected, walk(ops, graph, np.ones(graph.n_kps), target, np.arange(200), 5, rule), "walks")


# ---------------------------------------------------------------------- what a step reads

COUNTER = """
#include <set>
static std::set<uintptr_t> touched;
static long long rows_read = 0, sectors_read = 0, reads = 0;
static void end_of_step() { sectors_read += static_cast<long long>(touched.size()); touched.clear(); }
template <typename T> static T counted(const T* address) {
  if (sizeof(T) == 16) { end_of_step(); ++rows_read; }
  touched.insert(reinterpret_cast<uintptr_t>(address) / 32);
  ++reads;
  return *address;
}
#define RANDOM_READ(address) counted(address)
extern "C" void take_counts(long long* out) {
  end_of_step();
  out[0] = rows_read; out[1] = sectors_read; out[2] = reads;
  rows_read = sectors_read = reads = 0;
}
"""


def aligned(array):
    """A copy that begins at a sector."""
    memory = np.zeros(array.nbytes + 32, np.uint8)
    begin = -memory.ctypes.data % 32
    copy = memory[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def reads_of_walks(gpu, graph, value, target, n_walks, length, rule, guided=True):
    """Walks one after the other: (steps, sectors, reads of the table), rows counted as steps."""
    loaded = gpu.load_graph(graph, second_order=False)
    table = gpu.transition_table(loaded, gpu.asarray(value), steps=EVERYWHERE)
    start = gpu.start_table(table, gpu.asarray(target), gpu.asarray(value))
    source = COUNTER + kernels.source_text("walk.cu")
    library = hostbuild.load(source)
    rows, pairs, guide = (aligned(gpu.to_host(a)) for a in (table.rows, table.pairs, table.guide))
    counts, totals = np.zeros(3, np.int64), np.zeros(3, np.int64)
    nodes = np.zeros((length + 1, 1), np.int32)
    for walker in range(n_walks):
        arguments = (
            rows, pairs, graph.indices, guide, np.int32(guided), gpu.to_host(start.prefix), np.int64(graph.n_kps),
            np.array([walker]), np.int64(1), np.int32(length), np.uint64(KEY),
            np.int32(rule.no_revisit), np.int32(rule.second_order), *map(np.uint64, rule.acceptance()), nodes,
        )  # fmt: skip
        hostbuild.run(source, "sample_walks", 1, 32, arguments)
        library.take_counts(counts.ctypes.data_as(ctypes.c_void_p))
        totals += counts
    return totals


def test_a_step_reads_about_as_many_sectors_as_the_benchmark_says(gpu):
    """One per row, one per guide entry or two, the prefix sums and the neighbour in one or two."""
    indptr, kps = random_incidence(4000, 1500, np.random.default_rng(1), most=7)
    graph = KPGraph.from_csr(*ref.cooccurrence(indptr, kps, 1500))
    target = graph.seed_count / graph.seed_count.sum()
    plain = ref.StepRule(False, 1.0, 1.0)
    steps, sectors, _ = reads_of_walks(gpu, graph, np.ones(1500), target, 200, 8, plain)
    assert steps > 200 * 7
    assert sectors / steps == pytest.approx(SECTORS_PER_STEP, rel=0.1)
    unguided = reads_of_walks(gpu, graph, np.ones(1500), target, 60, 8, plain, guided=False)
    assert unguided[1] / unguided[0] > 1.2 * SECTORS_PER_STEP


def test_a_leaf_whose_neighbours_were_all_visited_ends_without_32_proposals(gpu):
    """From the hub of a star to a leaf, and no further: a proposal, the look at its row, and the end."""
    n = 201
    indptr = np.concatenate([[0], 200 + np.arange(n)])
    graph = KPGraph.from_csr(indptr, np.concatenate([np.arange(1, n), np.zeros(200, int)]), np.ones(400, int))
    target = np.where(np.arange(n) == 0, 1.0, 0.0)
    for rule in (ref.StepRule(True, 1.0, 1.0), RULE):
        _, _, reads = reads_of_walks(gpu, graph, np.ones(n), target, 50, 5, rule)
        assert reads / 50 < 16
        hub_first = walk(gpu, graph, np.ones(n), target, np.arange(50), 5, rule)
        assert (gpu.to_host(hub_first)[:, 2:] == -1).all()


def test_the_scan_of_a_hub_reads_little_of_its_row(gpu):
    """Walks from the leaves of a star, with p and q: the hub has 4,000 neighbours, and its scan starts at a leaf."""
    n = 4001
    indptr = np.concatenate([[0], 4000 + np.arange(n)])
    graph = KPGraph.from_csr(indptr, np.concatenate([np.arange(1, n), np.zeros(4000, int)]), np.ones(8000, int))
    target = np.where(np.arange(n) == 0, 0.0, 1.0)
    rule = ref.StepRule(True, 2.0**-16, 2.0**16)  # every step from the hub is scanned
    _, _, reads = reads_of_walks(gpu, graph, np.ones(n), target, 20, 3, rule)
    assert reads / 20 < 4000 / 2  # entry by entry it would be 4,000, twice
