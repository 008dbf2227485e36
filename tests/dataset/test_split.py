"""Train and validation: no seed on both sides, as many rows as asked for, few withheld."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from linksyn_gpu.dataset.split import TRAIN, VALIDATION, WITHHELD, split_rows


def split(rows, share, max_withheld, n_seeds=None):
    n_seeds = n_seeds or 1 + max((seed for row in rows for seed in row), default=0)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    flat = np.array([seed for row in rows for seed in row], np.int32)
    return split_rows(offsets, flat, [f"s{i}" for i in range(n_seeds)], share, max_withheld)


ROWS = st.lists(st.lists(st.integers(0, 25), min_size=1, max_size=4, unique=True), min_size=1, max_size=60)


@settings(max_examples=200)
@given(ROWS, st.floats(0.0, 0.9), st.floats(0.0, 0.5))
def test_no_seed_is_on_both_sides_and_the_bound_holds(rows, share, bound):
    found = split(rows, share, bound, 26)
    sides = [{seed for row, side in zip(rows, found, strict=True) if side == s for seed in row} for s in (0, 1)]
    assert not sides[TRAIN] & sides[VALIDATION]
    assert (found == WITHHELD).sum() <= bound * len(rows)
    assert (found == VALIDATION).sum() <= 2 * round(share * len(rows))


@settings(max_examples=50)
@given(ROWS, st.randoms())
def test_the_order_of_the_rows_does_not_matter(rows, random):
    found = split(rows, 0.3, 0.2, 26).tolist()
    order = list(range(len(rows)))
    random.shuffle(order)
    assert split([rows[i] for i in order], 0.3, 0.2, 26).tolist() == [found[i] for i in order]


def test_components_are_taken_whole_before_any_row_is_withheld():
    rows = [[3 * i + j, 3 * i + (j + 1) % 3] for i in range(40) for j in range(3)]  # 40 triangles
    found = split(rows, 0.1, 0.5)
    assert (found == VALIDATION).sum() == 12
    assert (found == WITHHELD).sum() == 0


def test_a_connected_chain_is_cut_with_few_rows_withheld():
    rows = [[i, i + 1] for i in range(1000)]
    found = split(rows, 0.05, 0.01)
    assert 50 <= (found == VALIDATION).sum() <= 100
    assert 0 < (found == WITHHELD).sum() <= 2


def test_where_every_row_is_linked_with_every_other_the_validation_split_is_empty():
    rows = [[0, i] for i in range(1, 200)]
    found = split(rows, 0.1, 0.0)
    assert (found == TRAIN).all()


def test_without_a_share_all_rows_are_for_training():
    assert (split([[0], [1], [2, 3]], 0.0, 0.5) == TRAIN).all()
