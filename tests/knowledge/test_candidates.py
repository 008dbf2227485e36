"""Searches for similar names compared with exhaustive computation."""

import numpy as np

from bench.merging import made_names
from linksyn_gpu.knowledge.merge.candidates import _vectors, lookalike_pairs
from linksyn_gpu.knowledge.merge.one_edit import one_edit_pairs

NAMES = [*made_names(1500), "光合作用的过程", "光合作用过程", "细胞呼吸作用", "细胞呼吸的作用"]


def distance(a, b):
    """Damerau-Levenshtein distance (restricted), the textbook's way."""
    d = np.zeros((len(a) + 1, len(b) + 1), int)
    d[:, 0], d[0, :] = range(len(a) + 1), range(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            d[i, j] = min(d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (a[i - 1] != b[j - 1]))
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                d[i, j] = min(d[i, j], d[i - 2, j - 2] + 1)
    return d[-1, -1]


def test_scores_are_cosines_and_nearly_all_pairs_are_found():
    found = lookalike_pairs(NAMES, threshold=0.7, top_k=64)
    indptr, features, weights = _vectors(NAMES)
    from scipy.sparse import csr_array

    matrix = csr_array((weights, features, indptr), shape=(len(NAMES), 2**22))
    dense = (matrix @ matrix.T).toarray()
    wanted = {(i, j) for i, j in zip(*np.nonzero(np.triu(dense, 1) >= 0.7), strict=True)}
    got = set(zip(found.left.tolist(), found.right.tolist(), strict=True))
    assert got <= {(i, j) for i, j in wanted} | {(i, j) for i, j in got if dense[i, j] > 0.699}
    np.testing.assert_allclose(found.score, dense[found.left, found.right], atol=1e-5)
    assert len(got & wanted) >= 0.98 * len(wanted) > 0


def test_names_at_one_edit_are_found_exactly():
    names = list(dict.fromkeys([*NAMES[:250], "acceleration", "acceleratoin", "aceleration", "accelerations", "short"]))
    left, right = one_edit_pairs(names)
    got = set(zip(left.tolist(), right.tolist(), strict=True))
    wanted = {
        (i, j)
        for i in range(len(names))
        for j in range(i + 1, len(names))
        if abs(len(names[i]) - len(names[j])) <= 1
        and min(len(names[i]), len(names[j])) >= 6
        and distance(names[i], names[j]) == 1
    }
    assert got == wanted
    assert len(got) >= 4


def test_banks_without_pairs_give_none():
    assert len(lookalike_pairs([])) == len(lookalike_pairs(["alone"])) == 0
    assert one_edit_pairs([])[0].size == 0
