"""Shares of question types by discipline."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linksyn_gpu.config import QUESTION_TYPES, RunConfig
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.synthesis.question_types import TypeAssigner
from linksyn_gpu.taxonomy.disciplines import default_taxonomy


@given(st.dictionaries(st.sampled_from(QUESTION_TYPES), st.floats(0.01, 10.0), min_size=1), st.integers(1, 300))
def test_each_prefix_has_the_shares_to_within_one(shares, n):
    types = TypeAssigner({"default": shares})
    total, counts = sum(shares.values()), Counter()
    for made in range(1, n + 1):
        counts[types.next("law")] += 1
        assert all(abs(counts[kind] - share / total * made) < len(shares) for kind, share in shares.items())
    assert set(counts) <= set(shares)


@given(st.lists(st.sampled_from(["law", "physics", "数学", "Math", None]), max_size=60), st.integers(0, 60))
def test_types_continue_from_the_requests_that_exist(disciplines, cut):
    shares = {"default": {"open": 1, "case": 2}, "physics": {"calculation": 1, "open": 0}}
    whole = TypeAssigner(shares)
    expected = [whole.next(name) for name in disciplines]
    later = TypeAssigner(shares)
    for name, kind in zip(disciplines[:cut], expected[:cut], strict=True):
        later.count(name, kind)
    assert [later.next(name) for name in disciplines[cut:]] == expected[cut:]


def test_labels_of_one_discipline_share_their_counts_and_a_group_stands_for_its_disciplines():
    types = TypeAssigner({"formal sciences": {"proof": 1}, "law": {"case": 1}, "default": {"open": 1}})
    found = [types.next(name) for name in ("Math", "数学", "statistics", "law", "法学", "history", None)]
    assert found == ["proof", "proof", "proof", "case", "case", "open", "open"]


def test_by_default_the_taxonomy_decides_and_a_list_of_types_replaces_it():
    assert "calculation" not in {TypeAssigner({}).next("anatomy") for _ in range(9)}
    types = TypeAssigner({})
    assert Counter(types.next("physics") for _ in range(9)) == {"open": 3, "multiple_choice": 3, "calculation": 3}
    assert {TypeAssigner({}, ("proof",)).next("anatomy")} == {"proof"}


def test_every_discipline_of_the_taxonomy_has_types():
    taxonomy = default_taxonomy()
    for name in taxonomy.disciplines:
        assert taxonomy.question_types(name), name
        assert set(taxonomy.question_types(name)) <= set(QUESTION_TYPES)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"law": {"opne": 1.0}}, "question_types.law: 'opne' is not a question type; allowed: open"),
        ({"law": {"open": -1.0}}, "question_types.law.open = -1.0 must be a number >= 0"),
        ({"law": {"open": 0.0}}, "all shares are 0"),
        ({"law": "open"}, "must be a table of shares"),
    ],
)
def test_mistakes_are_named(table, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig(question_types=table)
