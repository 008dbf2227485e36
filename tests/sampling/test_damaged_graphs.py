"""A damaged graph, and paths of another graph: an error or a valid result, never a crash of compiled code."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linksyn_gpu import WalkConfig, Walker, link_seeds
from linksyn_gpu.backend import resolve
from linksyn_gpu.errors import DataError
from linksyn_gpu.sampling.extend import extend_path
from linksyn_gpu.sampling.value import target_shares
from linksyn_gpu.tables import KPGraph, WalkBatch
from tests.graphs import edge_graph, make_seeds, random_graph

BACKENDS = ["reference", "cpu"]
GRAPH = random_graph(n_seeds=60, n_kps=20)
SEEDS = make_seeds([{}] * 60)
ARRAYS = ("indptr", "indices", "count", "weight", "seed_count", "evidence_indptr", "evidence")
QUICK = {"length": 3, "rounds": 2, "calibration_rounds": 1, "calibration_paths": 50}


def walked_and_linked(graph, backend, **rule):
    batch = Walker(graph, WalkConfig(**QUICK, **rule), seed=1, backend=backend).sample(40)
    return batch, link_seeds(batch, graph, SEEDS, seed=1, backend=backend)


@settings(max_examples=300)
@given(st.data())
def test_flipped_bytes_of_any_array_give_an_error_or_a_valid_result(data):
    """What stays valid is another graph, which only a checksum can notice: its paths are made of its own edges."""
    name = data.draw(st.sampled_from(ARRAYS))
    damaged = getattr(GRAPH, name).copy()
    raw = damaged.view(np.uint8)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, raw.size - 1))] ^= data.draw(st.integers(1, 255))
    graph = replace(GRAPH, **{name: damaged})
    rule = data.draw(st.sampled_from([{}, {"p": 0.5, "q": 2.0}, {"distinct": True}]))
    try:
        batch, bundles = walked_and_linked(graph, data.draw(st.sampled_from(BACKENDS)), **rule)
    except DataError as error:
        assert "Build it again" in str(error)  # noqa: PT017 - other examples raise nothing
        return
    for path, length in zip(batch.nodes, batch.lengths, strict=True):
        for u, v in itertools.pairwise(path[:length]):
            assert v in graph.indices[graph.indptr[u] : graph.indptr[u + 1]]
    assert bundles.seeds.min() >= -1
    assert bundles.seeds.max() < 60


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("cut", [slice(0, 0), slice(1, None), slice(None, -1)])
def test_an_array_that_lost_elements_is_refused(name, cut):
    damaged = replace(GRAPH, **{name: getattr(GRAPH, name)[cut]})
    with pytest.raises(DataError, match=r"damaged KP graph: .* Build it again"):
        walked_and_linked(damaged, "cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"indices": np.where(GRAPH.indices == 3, 99, GRAPH.indices)}, r"indices must lie in 0 \.\. 19"),
        ({"indptr": GRAPH.indptr[::-1]}, "indptr must rise"),
        ({"weight": GRAPH.weight - GRAPH.weight.max()}, "weight must be positive"),
        ({"weight": np.arange(1, GRAPH.indices.size + 1, dtype=np.int32)}, "indices and weight is not symmetric"),
        ({"seed_count": -GRAPH.seed_count}, "seed_count can be negative"),
        ({"count": GRAPH.count.astype(np.float64)}, "count must hold .* float64"),
        ({"evidence": GRAPH.evidence + 60}, r"evidence must lie in 0 \.\. 59"),
        ({"evidence": GRAPH.evidence * 0}, "evidence of edge .* must ascend"),
        ({"evidence": None}, "must be given together"),
        ({"names": ["one"]}, "1 names for 20 KPs"),
    ],
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_message_names_the_array(changes, message, backend):
    with pytest.raises(DataError, match=message):
        resolve(backend).ops.load_evidence(replace(GRAPH, **changes))


def test_a_graph_is_checked_once(monkeypatch):
    graph = replace(GRAPH)
    walked_and_linked(graph, "cpu")
    monkeypatch.setattr("linksyn_gpu.tables._check_graph", lambda graph: pytest.fail("checked again"))
    walked_and_linked(graph, "cpu")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("path", "message"), [([0, 20], "must lie in"), ([-2, 0], "must lie in"), ([0, 0], "edge")])
def test_paths_of_another_graph_are_refused(backend, path, message):
    zero = np.zeros(1, np.int32)
    batch = WalkBatch(np.array([path], np.int32), zero + 2, zero.astype(np.int64), zero.astype(np.uint8), zero, zero)
    with pytest.raises(DataError, match=rf"{message}.*the paths are not of this graph"):
        link_seeds(batch, GRAPH, SEEDS, backend=backend)


@pytest.mark.parametrize("path", [[], [20], [3, -1]])
def test_a_path_of_another_graph_is_not_extended(path):
    with pytest.raises(DataError, match="the path is not of this graph"):
        extend_path(GRAPH, np.array(path, np.int32), 0, 1, seed=1)


@pytest.mark.parametrize("kernel", [np.ones(19), np.full(20, np.nan), -np.ones(20)])
def test_a_kernel_that_does_not_fit_the_graph_is_refused(kernel):
    with pytest.raises(DataError, match="20 finite numbers"):
        target_shares(GRAPH.seed_count, 1.0, kernel=kernel)


def test_an_undamaged_graph_passes():
    for graph in (KPGraph.from_csr([0], [], []), edge_graph(3, {}), edge_graph(2, {(0, 1): 2**31 - 1}), GRAPH):
        assert graph.checked is graph
