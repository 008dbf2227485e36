"""Mapping of disciplines and difficulties by tables."""

import pytest

from linksyn_gpu.errors import ConfigError
from linksyn_gpu.taxonomy.difficulty import difficulty_scale
from linksyn_gpu.taxonomy.disciplines import UNKNOWN, load_taxonomy


def test_every_subject_of_the_benchmarks_maps_to_one_discipline():
    taxonomy = load_taxonomy()
    for benchmark, n in (("mmlu", 57), ("cmmlu", 67)):
        subjects = [(s, d.name) for d in taxonomy.disciplines.values() for s in getattr(d, benchmark)]
        assert len({subject for subject, _ in subjects}) == len(subjects) == n
        assert all(taxonomy.map_label(subject) == name for subject, name in subjects)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Chemistry", "chemistry"),
        ("High-School Physics", "physics"),
        ("high_school_physics", "physics"),
        ("数学", "mathematics"),
        ("历史", "history"),
        ("ＡＩ", "machine learning"),
        ("natural sciences", "natural sciences"),
        ("basket weaving", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_labels_map_by_name_alias_and_subject(label, name):
    assert load_taxonomy().map_label(label) == name


def test_a_users_taxonomy_replaces_the_shipped_one(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('["crafts"]\nzh = "手工"\n["crafts"."weaving"]\naliases = ["basket weaving"]\n', encoding="utf-8")
    taxonomy = load_taxonomy(file)
    assert (taxonomy.map_label("Basket Weaving"), taxonomy.group("weaving")) == ("weaving", "crafts")
    assert taxonomy.map_label("chemistry") == UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        "nonsense =",
        "",
        'group = "a"',
        '["g"."a"]\nalias = ["x"]',
        '["g"."a"]\naliases = "x"',
        '["g"."a"]\naliases = ["x"]\n["g"."b"]\naliases = ["x"]',
        '["g"."unknown"]\nzh = "x"',
    ],
)
def test_an_invalid_taxonomy_is_refused_with_its_file(tmp_path, text):
    file = tmp_path / "mine.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.toml|taxonomy: "):
        load_taxonomy(file)


@pytest.mark.parametrize(
    ("scale", "value", "level"),
    [
        ("0-4", 0, 1),
        ("0-4", "4", 5),
        ("0-4", 5, None),
        ("1-5", 3.0, 3),
        ("1-5", "3.0", 3),
        ("1-5", 2.5, None),
        ("1-5", "-3", None),
        ("1-5", True, None),
        ("1-10", 7, 4),
        ("words", "Medium", 3),
        ("words", " very_hard ", 5),
        ("words", "较难", 4),
        ("words", "so-so", None),
        ("grade", "高二", 3),
        ("grade", "Middle School", 2),
        ("grade", 9, 2),
    ],
)
def test_difficulties_map_by_the_table(scale, value, level):
    assert difficulty_scale(scale).level(value) == level


def test_a_users_difficulty_scale(tmp_path):
    file = tmp_path / "stars.toml"
    file.write_text('"*" = 1\n"**" = 3\n', encoding="utf-8")
    assert difficulty_scale(str(file)).level("**") == 3
    file.with_name("bad.toml").write_text('"*" = 9\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"level 1\.\.5"):
        difficulty_scale(str(file.with_name("bad.toml")))
    with pytest.raises(ConfigError, match="does not exist"):
        difficulty_scale("stars")
