"""Vectors like those of embedding models: small clusters around many centres, with a common mean direction."""

import numpy as np


def clustered(n, dimensions=32, size=5, spread=0.25, lean=1.0, seed=0):
    """float32 [n, dimensions], shuffled: clusters of `size` rows, and a mean direction that all rows share."""
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((-(-n // size), dimensions)) + lean * draw.standard_normal(dimensions)
    rows = np.repeat(centres, size, axis=0)[:n]
    rows += spread * draw.standard_normal((n, dimensions))
    return np.ascontiguousarray(rows[draw.permutation(n)], np.float32)


def pairs(found):
    """Set of (left, right)."""
    return set(zip(found.left.tolist(), found.right.tolist(), strict=True))
