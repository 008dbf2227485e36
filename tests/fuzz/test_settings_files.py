"""Files that a user writes are read or refused with a `LinkSynError`, never with a traceback."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linksyn_gpu.config import RunConfig
from linksyn_gpu.config.loader import from_mapping, read_toml
from linksyn_gpu.knowledge.extract.glossary import read_glossary
from linksyn_gpu.knowledge.merge.rules import read_rules
from linksyn_gpu.knowledge.merge.units import load_homographs
from linksyn_gpu.taxonomy.difficulty import difficulty_scale
from linksyn_gpu.taxonomy.disciplines import load_taxonomy
from tests.fuzz.mutations import PAYLOADS, in_place_of, mutated, read_or_refuse

pytestmark = pytest.mark.timeout(120)  # no input may take long


def run_settings(path):
    return from_mapping(RunConfig, read_toml(path))


def scale(path):
    difficulty_scale.cache_clear()
    return difficulty_scale(str(path))


# File name -> how it is read, a valid document, and a value in it.
READERS = {
    "run.toml": (
        run_settings,
        b'paths = 70\n[walk]\nlength = 3\n[quota.discipline]\nlaw = 0.25\n[synthesis]\nquestion_types = ["open"]\n',
        b"0.25",
    ),
    "taxonomy.toml": (load_taxonomy, b'[crafts]\nzh = "w"\n[crafts.weaving]\naliases = ["looms"]\n', b'"looms"'),
    "scale.toml": (scale, b'easy = 1\nmedium = 3\n"very hard" = 5\n', b"3"),
    "homographs.toml": (lambda path: load_homographs(str(path)), b'["bank"]\nriver = ["geology"]\n', b'"geology"'),
    "terms.jsonl": (
        read_glossary,
        b'{"term": "force", "aliases": ["push"]}\n{"key_terms": [{"term": "work"}], "inline_terms": ["joule"]}\n',
        b'"work"',
    ),
    "terms.txt": (read_glossary, b"force\nwork\njoule\n", b"work"),
    "rules.tsv": (read_rules, b"same\tforce\tforces\napart\twork\tlabour\nname\tforce\tForce\n", b"labour"),
}


@pytest.mark.parametrize("name", READERS)
def test_the_documents_are_valid_before_they_are_changed(name, tmp_path):
    read, document, _ = READERS[name]
    assert read_or_refuse(read, tmp_path / name, document) is not None


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("name", READERS)
def test_a_value_of_any_shape_is_read_or_refused(name, payload, tmp_path):
    read, document, value = READERS[name]
    read_or_refuse(read, tmp_path / name, in_place_of(document, value, PAYLOADS[payload]))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_file_is_read_or_refused(tmp_path, data):
    name = data.draw(st.sampled_from(sorted(READERS)))
    read, document, _ = READERS[name]
    read_or_refuse(read, tmp_path / name, data.draw(mutated(document)))
