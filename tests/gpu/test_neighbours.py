"""cuVS on a device: brute force has the reference's pairs and bits, IVF-Flat finds nearly all and invents none."""

import numpy as np
import pytest

from linksyn_gpu.backend.reference import operations as reference
from tests.vectors import clustered, pairs


def test_brute_force_gives_the_pairs_and_bits_of_the_reference(gpu):
    pytest.importorskip("cuvs", reason="cuVS is not installed")
    for lean in (0.0, 4.0):
        vectors = clustered(1200, lean=lean)
        found, expected = gpu.similar_pairs(vectors, 0.8, top_k=4), reference.similar_pairs(vectors, 0.8, top_k=4)
        for name in ("left", "right", "score"):
            assert np.array_equal(getattr(found, name), getattr(expected, name)), name


def test_lists_find_nearly_all_and_what_is_reported_is_right(gpu, monkeypatch):
    pytest.importorskip("cuvs", reason="cuVS is not installed")
    from linksyn_gpu.backend.gpu import neighbours as gpu_neighbours  # imports CuPy

    monkeypatch.setattr(gpu_neighbours, "EXACT", 1000)
    vectors = clustered(2500, lean=1.0)
    found, expected = gpu.similar_pairs(vectors, 0.8), reference.similar_pairs(vectors, 0.8)
    scores = dict(zip(zip(expected.left, expected.right, strict=True), expected.score, strict=True))
    for left, right, score in zip(found.left, found.right, found.score, strict=True):
        assert score >= 0.8
        assert scores.get((left, right), score) == score
    assert len(pairs(found) & pairs(expected)) >= 0.95 * len(expected)
