"""The readable reference of `similar_pairs`: every vector against every other, in double precision."""

from __future__ import annotations

import numpy as np

from linksyn_gpu.backend.neighbours import Float32, SimilarPairs, cosine


def similar_pairs(vectors: Float32, threshold: float, *, top_k: int = 8) -> SimilarPairs:
    """Every vector against every other."""
    vectors = np.asarray(vectors, np.float32).astype(np.float64)
    norms = np.sqrt((vectors * vectors).sum(axis=1))
    found: dict[tuple[int, int], float] = {}
    for row in range(len(vectors)):
        scores = cosine((vectors[row] * vectors).sum(axis=1), norms[row], norms)
        near = [other for other in np.flatnonzero(scores >= threshold).tolist() if other != row]
        for other in sorted(near, key=lambda other: (-scores[other], other))[:top_k]:
            found[min(row, other), max(row, other)] = float(scores[other])
    pairs = sorted(found)
    return SimilarPairs(
        np.array([left for left, _ in pairs], np.int32),
        np.array([right for _, right in pairs], np.int32),
        np.array([found[pair] for pair in pairs], np.float64),
        "exact",
    )
