"""Quotas: presets, numbers of QA, messages."""

import pyarrow as pa
import pytest

from linksyn_gpu.config import QuotaConfig, RunConfig
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.sampling.labels import seed_labels
from linksyn_gpu.sampling.plan import plan_cells, resolve_quota
from linksyn_gpu.tables import Seeds, seed_schema

ROWS = [
    (["Math"], 1),
    (["数学"], 1),
    (["mathematics", "Math"], 3),
    (["physics"], None),
    (["physics"], 3),
    (["law"], 5),
    (["science"], None),
    (["natural sciences"], None),
]


@pytest.fixture
def labels():
    rows = [
        {"id": str(i), "question": f"q{i}", "answer": "a", "disciplines": names, "difficulty": level}
        for i, (names, level) in enumerate(ROWS)
    ]
    return seed_labels(Seeds(pa.Table.from_pylist(rows, schema=seed_schema())))


def test_as_in_the_seeds_counts_each_seed_once_and_joins_labels(labels):
    """'law' has a single seed, and 'natural sciences' is the group of physics, which the bank has."""
    quota = resolve_quota(QuotaConfig(discipline_preset="seeds", difficulty_preset="seeds"), labels)
    assert quota.discipline == {"mathematics": 3 / 5, "physics": 2 / 5}
    assert quota.difficulty == {"1": 2 / 5, "3": 2 / 5, "5": 1 / 5}
    assert quota.discipline_preset is quota.difficulty_preset is None
    assert [(cell.discipline, cell.difficulty) for cell in plan_cells(quota, 10)][:2] == [
        ("mathematics", 1),
        ("mathematics", 3),
    ]


def test_uniform_gives_equal_shares_of_what_the_bank_has(labels):
    quota = resolve_quota(QuotaConfig(discipline_preset="uniform", difficulty_preset="uniform"), labels)
    assert quota.discipline == {"mathematics": 0.5, "physics": 0.5}
    assert quota.difficulty == dict.fromkeys(("1", "3", "5"), 1 / 3)


def test_a_quota_without_presets_stays_as_it_is(labels):
    quota = QuotaConfig(discipline={"law": 2.0})
    assert resolve_quota(quota, labels) is quota


def test_a_preset_without_labels_is_an_error():
    none = seed_labels(Seeds(pa.Table.from_pylist([{"id": "a", "question": "q", "answer": "a"}], schema=seed_schema())))
    with pytest.raises(ConfigError, match="the seeds have no discipline"):
        resolve_quota(QuotaConfig(discipline_preset="seeds"), none)


def test_numbers_of_qa_set_the_size_of_the_campaign():
    quota = QuotaConfig(discipline={"law": 30, "physics": 70}, unit="qa")
    assert RunConfig(quota=quota).qa == 100
    assert RunConfig(quota=quota, qa=100).qa == 100
    both = QuotaConfig(discipline={"law": 30, "physics": 70}, difficulty={3: 50, "5": 50}, unit="qa")
    cells = plan_cells(both, RunConfig(quota=both).qa)
    assert [cell.n_paths for cell in cells] == [15, 15, 35, 35]
    assert QuotaConfig(discipline={"law": 1.0}).total_qa is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"difficulty": {"6": 1.0}}, "difficulty: '6' is not a level; allowed: 1, 2, 3, 4, 5"),
        ({"discipline": {"law": 1.0}, "discipline_preset": "seeds"}, "both set; remove one"),
        ({"discipline_preset": "some"}, "discipline_preset = 'some' is not one of seeds, uniform"),
        ({"discipline": {"law": 1.5}, "unit": "qa"}, "must be whole numbers"),
        ({"discipline": {"law": 3}, "difficulty": {"1": 4}, "unit": "qa"}, "sum to 3 and those of difficulty to 4"),
        ({"unit": "qa"}, "sum to 0"),
        ({"discipline": {"law": True}}, "must be a number >= 0"),
    ],
)
def test_mistakes_in_a_quota_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        QuotaConfig(**fields)


def test_shares_that_do_not_sum_to_one_are_reported():
    assert QuotaConfig(discipline={"law": 1, "physics": 3}, difficulty={"3": 0.5, "4": 0.5}).sums == {"discipline": 4}
    assert QuotaConfig(discipline={"law": 30}, unit="qa").sums == {}
    with pytest.raises(ConfigError, match="qa = 5, but the quota counts 30 QA"):
        RunConfig(qa=5, quota=QuotaConfig(discipline={"law": 30}, unit="qa"))
