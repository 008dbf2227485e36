"""Similar pairs on the CPU against the reference; beyond the exact size: recall, memory and determinism."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linksyn_gpu.backend import neighbours
from linksyn_gpu.backend.cpu import neighbours as cpu_neighbours
from linksyn_gpu.backend.cpu import operations as cpu
from linksyn_gpu.backend.reference import operations as reference
from tests.vectors import clustered, pairs


def assert_same(found, expected):
    for name in ("left", "right", "score"):
        one, other = getattr(found, name), getattr(expected, name)
        assert one.dtype == other.dtype
        assert np.array_equal(one, other), name


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(1, 9), st.sampled_from([0.1, 0.5, 0.9, 1.0]), st.integers(1, 5), st.integers())
def test_the_cpu_finds_what_the_reference_finds_with_the_same_bits(n, dimensions, threshold, top_k, seed):
    draw = np.random.default_rng(abs(seed))
    vectors = draw.integers(-2, 3, (n, dimensions)).astype(np.float32)  # including equal, opposite and zero vectors
    vectors *= draw.choice([1e-3, 1.0, 7.5], (n, 1)).astype(np.float32)
    _, first = np.unique(vectors, axis=0, return_index=True)
    assert_same(
        cpu.similar_pairs(vectors[first], threshold, top_k=top_k),
        reference.similar_pairs(vectors[first], threshold, top_k=top_k),
    )


def test_blocks_of_any_size_give_the_same_pairs(monkeypatch):
    vectors = clustered(700)
    expected = reference.similar_pairs(vectors, 0.8, top_k=3)
    assert len(expected) > 500
    for cells, chunk in ((2**24, 2**22), (700 * 13, 500), (1, 1)):
        monkeypatch.setattr(cpu_neighbours, "CELLS", cells)
        monkeypatch.setattr(neighbours, "CHUNK", chunk)
        monkeypatch.setattr(neighbours, "PENDING", chunk)
        found = cpu.similar_pairs(vectors, 0.8, top_k=3)
        assert_same(found, expected)
        assert found.method == "exact"


def test_of_equal_neighbours_the_first_rows_are_kept():
    vectors = np.ones((6, 3), np.float32)
    assert pairs(cpu.similar_pairs(vectors, 0.9, top_k=1)) == {(0, other) for other in range(1, 6)}


def test_a_pair_just_below_the_threshold_is_not_reported():
    draw = np.random.default_rng(3)
    vectors = draw.standard_normal((200, 64)).astype(np.float32)
    exact = reference.similar_pairs(vectors, 0.01, top_k=200)
    for score in exact.score[:: len(exact) // 20]:
        assert score in cpu.similar_pairs(vectors, float(score), top_k=200).score
        assert score not in cpu.similar_pairs(vectors, float(np.nextafter(score, 2)), top_k=200).score


@pytest.mark.parametrize(
    ("vectors", "threshold", "top_k"),
    [
        (np.ones(3, np.float32), 0.5, 1),
        (np.ones((3, 2), np.float32), 0.0, 1),
        (np.ones((3, 2), np.float32), 0.5, 0),
        (np.array([[1.0, np.nan]], np.float32), 0.5, 1),
        (np.array([[1.0, np.inf]], np.float32), 0.5, 1),
    ],
)
def test_input_that_is_not_a_matrix_of_finite_numbers_is_refused(vectors, threshold, top_k):
    with pytest.raises(ValueError, match="vector"):
        cpu.similar_pairs(vectors, threshold, top_k=top_k)


# ---------------------------------------------------------------------- beyond the exact size


@pytest.fixture
def forest(monkeypatch):
    """The search for many vectors, used for few."""
    monkeypatch.setattr(cpu_neighbours, "EXACT", 1000)
    monkeypatch.setattr(cpu_neighbours, "LEAF", 256)


@pytest.mark.parametrize("lean", [0.0, 1.0, 8.0])
def test_a_forest_finds_nearly_all_pairs_even_if_all_vectors_share_a_direction(forest, monkeypatch, lean):
    vectors = clustered(6000, lean=lean)
    threshold = 0.9 if lean < 2 else 0.998  # with a strong lean all cosines are large
    found = cpu.similar_pairs(vectors, threshold)
    monkeypatch.setattr(cpu_neighbours, "EXACT", 6000)
    expected = cpu.similar_pairs(vectors, threshold)
    assert (found.method.partition(":")[0], expected.method) == ("approximate", "exact")
    assert len(expected) > 5000
    by_pair = dict(zip(zip(expected.left, expected.right, strict=True), expected.score, strict=True))
    for left, right, score in zip(found.left, found.right, found.score, strict=True):
        assert score >= threshold
        assert by_pair.get((left, right), score) == score
    assert len(pairs(found) & pairs(expected)) >= 0.98 * len(expected)


def test_a_forest_gives_the_same_pairs_each_time_and_for_any_block_size(forest, monkeypatch):
    vectors = clustered(3000)
    first = cpu.similar_pairs(vectors, 0.8)
    assert_same(cpu.similar_pairs(vectors, 0.8), first)
    monkeypatch.setattr(neighbours, "PENDING", 100)
    monkeypatch.setattr(neighbours, "CHUNK", 1000)
    assert_same(cpu.similar_pairs(vectors, 0.8), first)


def test_no_leaf_exceeds_its_bound_even_for_equal_vectors(forest):
    draw = np.random.default_rng(0)
    for vectors in (clustered(3000), np.ones((3000, 4), np.float32), np.zeros((3000, 4), np.float32)):
        leaves = list(cpu_neighbours._leaves(vectors, draw))
        assert max(leaf.size for leaf in leaves) <= 256
        assert np.array_equal(np.sort(np.concatenate(leaves)), np.arange(3000))


@pytest.mark.slow
def test_recall_and_memory_above_65536_vectors():
    """Recall of a sample of rows against all others; memory next to the vectors, in bytes per vector."""
    vectors = clustered(66_000, lean=0.5)
    tracemalloc.start()
    found = cpu.similar_pairs(vectors, 0.9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.method.startswith("approximate")
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    sample = np.random.default_rng(1).choice(len(vectors), 1000, replace=False)
    scores = unit[sample] @ unit.T
    scores[np.arange(sample.size), sample] = -1
    row, other = np.nonzero(scores >= 0.9001)
    wanted = {(min(a, b), max(a, b)) for a, b in zip(sample[row].tolist(), other.tolist(), strict=True)}
    assert len(wanted) > 1000
    assert len(wanted & pairs(found)) >= 0.98 * len(wanted)
    # a scaled copy of the vectors, up to 2 * top_k collected candidates per row with their sort, blocks of fixed size
    assert peak <= vectors.nbytes + 66_000 * 2 * 8 * 60 + 2**28
