"""Settings validate themselves, refuse unknown names, and have a digest."""

import pytest

from linksyn_gpu.config import RunConfig, SynthesisConfig, WalkConfig
from linksyn_gpu.config.loader import config_or_fields, from_mapping, read_toml, settings_digest, to_mapping
from linksyn_gpu.errors import ConfigError


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def load_toml(path):
    return from_mapping(RunConfig, read_toml(path))


def test_a_toml_file_sets_fields_of_every_stage(tmp_path):
    config = load_toml(
        write(
            tmp_path / "run.toml",
            "paths = 500\n[walk]\nlength = 6\ntau = 1\n[quota.discipline]\nlaw = 0.5\nphysics = 0.5\n"
            '[synthesis]\nquestion_types = ["proof"]\n',
        )
    )
    assert (config.paths, config.walk.length, config.walk.tau) == (500, 6, 1.0)
    assert config.quota.discipline == {"law": 0.5, "physics": 0.5}
    assert config.synthesis.question_types == ("proof",)
    assert config.walk.distinct  # the default of a campaign, not of WalkConfig


def test_an_unknown_key_is_refused_with_the_allowed_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"walk\.lenght: no such setting; allowed here: length, tau"):
        load_toml(write(tmp_path / "run.toml", "[walk]\nlenght = 6\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("paths = 'many'", "paths = 'many' must be of type int"),
        ("paths = true", "must be of type int"),
        ("walk = 3", "walk must be a table"),
        ("[walk]\nbeta = 7", "beta = 7.0 is not one of"),
        ("[synthesis]\nengine = 'openai'", "needs base_url"),
        ("[seeds.columns]\nquery = 'q'", "is not a field of a seed; allowed: id, question"),
        ("paths = ", "not valid TOML"),
        ("paths = " + "1" * 5000, "a number is too long"),
        (f"paths = {2**63}", "numbers of up to 64 bits"),
        ("paths = 2026-11-25", "settings are texts"),
        ("[walk]\nlength = 08:30:00", "settings are texts"),
        ("paths = [[07:32:00]]", "settings are texts"),
        ("a." * 6000 + "b = 1", r"run\.toml:1: more than 100 dots"),
        ("[" * 6000, r"run\.toml:1: more than 100 dots, brackets"),
        ("paths = " + "[\n" * 6000, "nested too deep"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_toml(write(tmp_path / "run.toml", text))


def test_a_byte_order_mark_is_skipped(tmp_path):
    assert load_toml(write(tmp_path / "run.toml", "\ufeffpaths = 3\n")).paths == 3


def test_a_missing_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_toml(tmp_path / "none.toml")


def test_a_config_is_restored_from_its_json():
    config = RunConfig(walk=WalkConfig(length=7), synthesis=SynthesisConfig(question_types=("case", "proof")))
    assert from_mapping(RunConfig, to_mapping(config)) == config


def test_equal_settings_have_equal_digests():
    first, again, other = (to_mapping(config) for config in (WalkConfig(), WalkConfig(), WalkConfig(length=5)))
    assert settings_digest(first) == settings_digest(again) != settings_digest(other)


def test_an_entry_point_takes_a_config_or_its_fields():
    config = WalkConfig(length=7)
    assert config_or_fields(WalkConfig, config, {}) is config
    assert config_or_fields(WalkConfig, None, {"length": 7}) == config
    with pytest.raises(ConfigError, match=r"WalkConfig or its fields as keywords \(length\), not both"):
        config_or_fields(WalkConfig, config, {"length": 7})


@pytest.mark.parametrize(
    "values", [{"7" * 5000: 1}, {"walk": {"x" * 5000: 1}}, {"walk": {"length": "x" * 5000}}, {"backend": "x" * 5000}]
)
def test_a_message_does_not_repeat_a_long_name_or_value(values):
    with pytest.raises(ConfigError) as found:
        from_mapping(RunConfig, values)
    assert len(str(found.value)) < 500


def test_a_toml_file_with_a_long_name_is_refused_without_repeating_it(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(f'["{"7" * 5000}"]\nx = 1\n')
    with pytest.raises(ConfigError, match="has 5000 characters") as found:
        read_toml(path)
    assert len(str(found.value)) < 300 + len(str(path))
