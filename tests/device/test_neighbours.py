"""`similar_pairs` of the GPU backend over the stand-in for cuVS: the reference's pairs and bits."""

import sys

import numpy as np
import pytest

from linksyn_gpu.backend.gpu.memory import crossings
from linksyn_gpu.backend.reference import operations as reference
from linksyn_gpu.errors import BackendUnavailable
from tests.device import standin_cuvs
from tests.device.conftest import gpu_over_standins
from tests.vectors import clustered, pairs


@pytest.fixture
def search(gpu):
    standin_cuvs.SEARCHES.clear()
    return sys.modules["linksyn_gpu.backend.gpu.neighbours"]


@pytest.mark.parametrize("n", [0, 1, 2, 20, 400])
def test_brute_force_gives_the_pairs_and_bits_of_the_reference(gpu, search, monkeypatch, n):
    monkeypatch.setattr(search, "QUERIES", 64)
    vectors = clustered(n, seed=n) if n else np.empty((0, 5), np.float32)
    found, expected = gpu.similar_pairs(vectors, 0.8, top_k=3), reference.similar_pairs(vectors, 0.8, top_k=3)
    for name in ("left", "right", "score"):
        one, other = getattr(found, name), getattr(expected, name)
        assert one.dtype == other.dtype
        assert np.array_equal(one, other), name
    assert found.method.startswith("exact")
    assert len(standin_cuvs.SEARCHES) == (-(-n // 64) if n > 1 else 0)


def test_vectors_of_length_0_are_near_nothing(gpu, search):
    vectors = clustered(40)
    vectors[::4] = 0
    found = gpu.similar_pairs(vectors, 0.01, top_k=40)
    assert pairs(found) == pairs(reference.similar_pairs(vectors, 0.01, top_k=40))
    assert not set(range(0, 40, 4)) & {*found.left.tolist(), *found.right.tolist()}


def test_many_vectors_go_through_lists_and_what_is_reported_is_right(gpu, search, monkeypatch):
    monkeypatch.setattr(search, "EXACT", 500)
    vectors = clustered(1500, size=3)
    found, expected = gpu.similar_pairs(vectors, 0.8), reference.similar_pairs(vectors, 0.8)
    assert found.method.startswith("approximate: cuVS IVF-Flat, 64 lists")
    assert standin_cuvs.SEARCHES == ["ivf"]
    scores = dict(zip(zip(expected.left, expected.right, strict=True), expected.score, strict=True))
    for left, right, score in zip(found.left, found.right, found.score, strict=True):
        assert score >= 0.8
        assert scores.get((left, right), score) == score
    assert len(pairs(found) & pairs(expected)) >= 0.9 * len(expected) > 500


def test_a_search_that_meets_too_few_vectors_fills_up_with_no_row(gpu, search, monkeypatch):
    monkeypatch.setattr(search, "EXACT", 100)
    monkeypatch.setattr(search, "SPARE", 90)
    monkeypatch.setattr(search, "LEAST_PROBES", 1)
    vectors = clustered(120)
    assert pairs(gpu.similar_pairs(vectors, 0.8)) <= pairs(reference.similar_pairs(vectors, 0.8))


def test_only_vectors_and_neighbours_cross(gpu, search):
    gpu.similar_pairs(clustered(50), 0.8)
    assert set(crossings.summary()) == {"similar_pairs, to device", "similar_pairs, to host"}


def test_vectors_that_do_not_fit_are_refused_before_they_are_copied(gpu, search, monkeypatch):
    monkeypatch.setattr(search, "free_memory", lambda: 1000)
    with pytest.raises(BackendUnavailable, match=r"GiB of device memory .* --backend cpu"):
        gpu.similar_pairs(clustered(50), 0.8)
    assert crossings.summary() == {}


def test_without_cuvs_the_message_says_how_to_get_it(monkeypatch):
    with gpu_over_standins() as gpu:
        monkeypatch.delitem(sys.modules, "cuvs")
        monkeypatch.delitem(sys.modules, "cuvs.neighbors")
        with pytest.raises(BackendUnavailable, match=r"cuVS is not installed.*--backend cpu"):
            gpu.similar_pairs(clustered(50), 0.8)
