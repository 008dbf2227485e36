"""A published data set loads with the usual libraries, states what it is, and is safe against hostile texts."""

import hashlib
import json
import re

import pyarrow.parquet as pq
import pytest

from linksyn_gpu.config.licenses import license_key
from linksyn_gpu.dataset.card import front_matter, markdown_text, render_card
from linksyn_gpu.dataset.facts import DatasetFacts, SourceLicense
from tests.dataset.conftest import invoke

FORMS = ("qa", "chat", "alpaca", "text")


@pytest.fixture
def published(campaign, tmp_path):
    """(the output of export, the data set)"""
    words = ("export", campaign, "--to", tmp_path / "dataset", "--validation", 0.1, "--max-withheld", 0.4)
    return invoke(*words).output, tmp_path / "dataset"


def read(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def split_of(folder, split):
    return [row for path in sorted(folder.glob(f"data/{split}-*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_every_configuration_loads_with_the_same_rows(published, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="needs the extra 'publish-tests'")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    _, folder = published
    sizes = []
    for form in FORMS:
        loaded = datasets.load_dataset(str(folder), form, cache_dir=str(tmp_path / "cache"))
        sizes.append({split: rows.num_rows for split, rows in loaded.items()})
        assert loaded["train"][0]["id"]
    assert set(sizes[0]) == {"train", "validation"}
    assert all(size == sizes[0] for size in sizes)


def test_polars_scans_the_files(published):
    polars = pytest.importorskip("polars", reason="needs the extra 'publish-tests'")
    _, folder = published
    rows = polars.scan_parquet(folder / "data" / "*.parquet").select("id", "seed_licenses").collect()
    assert rows.height == len(split_of(folder, "train")) + len(split_of(folder, "validation"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of rdflib, which mlcroissant uses
def test_the_metadata_is_valid_croissant_and_hashes_every_file(published):
    mlcroissant = pytest.importorskip("mlcroissant", reason="needs the extra 'publish-tests'")
    _, folder = published
    metadata = mlcroissant.Dataset(jsonld=folder / "croissant.json").metadata
    assert not metadata.ctx.issues.errors
    hashes = {entry["contentUrl"]: entry["sha256"] for entry in json_of(folder)["distribution"] if "sha256" in entry}
    files = {name: content for name, content in read(folder).items() if name.endswith(".parquet")}
    assert hashes == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def json_of(folder):
    return json.loads((folder / "croissant.json").read_text(encoding="utf-8"))


def test_every_column_says_where_it_comes_from(published):
    _, folder = published
    fields = {field["name"]: field for field in json_of(folder)["recordSet"][0]["field"]}
    assert set(fields) == set(split_of(folder, "train")[0])
    assert "fake" in fields["question"]["prov:wasGeneratedBy"]
    assert "bank 0" in fields["seed_ids"]["prov:wasDerivedFrom"]


def test_no_seed_is_in_train_and_validation_and_no_row_is_lost(published, campaign):
    output, folder = published
    train, validation = (split_of(folder, split) for split in ("train", "validation"))
    assert validation
    used = [{seed for row in rows for seed in row["seed_ids"]} for rows in (train, validation)]
    assert not used[0] & used[1]
    numbers = re.search(r"exported +(\d+) QA = (\d+) train \+ (\d+) validation \+ (\d+)", output.replace(",", ""))
    n, *parts = map(int, numbers.groups())
    assert n == sum(parts) == pq.read_metadata(campaign / "curated.parquet").num_rows
    assert parts[:2] == [len(train), len(validation)]


def test_the_same_data_set_gives_the_same_files_and_an_old_one_is_replaced(published, campaign):
    _, folder = published
    before = read(folder)
    invoke("export", campaign, "--to", folder, "--validation", 0.1, "--max-withheld", 0.4)
    assert read(folder) == before
    invoke("export", campaign, "--to", folder, "--forms", "qa", "--validation", 0)
    assert {name.partition("/")[0] for name in read(folder) if name.endswith(".parquet")} == {"data"}


def test_a_folder_with_other_files_is_refused_and_left_as_it_is(campaign, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not delete")
    assert "other files" in invoke("export", campaign, "--to", tmp_path / "mine", code=2).output
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "do not delete"


def test_files_are_closed_at_their_limit_and_numbered(campaign, tmp_path, monkeypatch):
    from linksyn_gpu.dataset import shards

    monkeypatch.setattr(shards, "ROWS_PER_GROUP", 100)
    monkeypatch.setattr("linksyn_gpu.config.export.MIN_SHARD", 1)
    invoke("export", campaign, "--to", tmp_path / "d", "--forms", "qa", "--validation", 0, "--shard-bytes", 20_000)
    names = sorted(path.name for path in (tmp_path / "d" / "data").iterdir())
    assert len(names) > 2
    assert names == [f"train-{i:05d}-of-{len(names):05d}.parquet" for i in range(len(names))]
    assert len(split_of(tmp_path / "d", "train")) == pq.read_metadata(campaign / "curated.parquet").num_rows


def test_languages_can_be_configurations(campaign, tmp_path):
    invoke("export", campaign, "--to", tmp_path / "d", "--by-language", "--forms", "text", "--validation", 0)
    assert '"text-en"' in (tmp_path / "d" / "README.md").read_text(encoding="utf-8")
    assert (
        pq.read_table(tmp_path / "d" / "text" / "en").num_rows
        == pq.read_metadata(campaign / "curated.parquet").num_rows
    )


def test_the_card_states_missing_licenses_and_terms_and_never_guesses_them(published):
    output, folder = published
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "seeds state no license" in card
    assert 'license: "unknown"' in card
    assert "The seeds have 2 licenses: cc-by-4.0, mit" in card.replace("\\", "")
    assert "**not stated. The publisher must fill this in" in card
    assert "terms of the teacher model are not stated" in output


def test_what_the_publisher_states_is_in_card_and_metadata(campaign, tmp_path):
    flags = ("--license", "ODC-BY", "--teacher-terms", "Outputs may be used freely.", "--contact", "us@example.org")
    invoke("export", campaign, "--to", tmp_path / "d", *flags, "--name", "Linked questions")
    card = (tmp_path / "d" / "README.md").read_text(encoding="utf-8")
    assert 'license: "odc-by"' in card
    assert "Outputs may be used freely." in card
    assert "# Linked questions" in card
    assert json_of(tmp_path / "d")["license"] == "ODC-BY"
    assert "us@example.org" in (tmp_path / "d" / "TRAINING_SUMMARY.md").read_text(encoding="utf-8")


def test_no_address_of_a_server_and_no_folder_of_the_machine_is_published(published, campaign):
    _, folder = published
    for name, content in read(folder).items():
        assert b"127.0.0.1" not in content, name
        assert str(campaign.parent).encode() not in content, name


def test_a_run_that_is_not_curated_is_refused(out, tmp_path):
    assert "curate" in invoke("export", out, "--to", tmp_path / "d", code=2).output


HOSTILE = "|x|\n# not a heading <script>alert(1)</script> [link](http://evil) `code` **"


def facts(**changed):
    known = {
        "name": "d",
        "license": None,
        "teacher_terms": None,
        "contact": None,
        "digest": "0" * 16,
        "version": "0",
        "finished": "2026-01-01T00:00:00+00:00",
        "splits": {"train": 2, "validation": 0, "withheld": 0},
        "forms": {"qa": {"train": "data/train-*.parquet"}},
        "columns": [("id", "string")],
        "counts": {"language": {"en": 2}},
        "tokens": 1,
        "characters": 1,
        "licenses": [SourceLicense("s", "MIT", 1, 2)],
        "models": {"m": 2},
        "stages": {},
        "cells": [],
    }
    return DatasetFacts(**{**known, **changed})


def test_hostile_names_do_not_change_the_card():
    card = render_card(
        facts(name=HOSTILE, license=HOSTILE, models={HOSTILE: 2}, licenses=[SourceLicense(HOSTILE, HOSTILE, 1, 2)])
    )
    body = card.split("---\n", 2)[2]
    assert "<script>" not in re.sub(r"\\.", "", body)
    assert "\n# not a heading" not in body
    assert "](http" not in re.sub(r"\\.", "", body).replace("](https://arxiv.org", "")


def test_markdown_characters_of_a_text_are_escaped():
    assert markdown_text("a|b\nc*") == r"a\|b c\*"


def test_control_characters_of_a_name_leave_the_front_matter_valid():
    yaml = pytest.importorskip("yaml", reason="needs the extra 'device-tests'")
    name = "a\x7fb\u0085c\u2028d \u6570\u636e"
    assert yaml.safe_load(front_matter(facts(name=name)).strip("-\n"))["pretty_name"] == name


def test_the_front_matter_is_one_mapping_of_valid_values():
    block = front_matter(facts(name=HOSTILE))
    assert block.startswith("---\n")
    for line in block.strip("-\n").splitlines():
        key, _, value = line.partition(": ")
        assert re.fullmatch("[a-z_]+", key)
        json.loads(value)


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [
        ([("MIT", 3)], "mit"),
        ([("MIT", 3), ("", 1)], "unknown"),
        ([("MIT", 3), ("CC BY-SA 4.0", 1)], ["cc-by-sa-4.0", "mit"]),
        ([("My own terms", 3)], "other"),
        ([("MIT", 3), ("My own terms", 1)], ["other", "mit"]),
        ([], "unknown"),
    ],
)
def test_the_license_of_the_card_follows_from_those_of_the_seeds(licenses, expected):
    block = front_matter(facts(licenses=[SourceLicense("s", name, n, n) for name, n in licenses]))
    line = next(line for line in block.splitlines() if line.startswith("license: "))
    assert json.loads(line.removeprefix("license: ")) == expected


def test_a_license_that_the_hub_does_not_list_is_named_next_to_other():
    block = front_matter(facts(license="My own terms"))
    assert 'license: "other"\nlicense_name: "My own terms"\n' in block


def test_rows_of_an_unknown_language_are_no_language_of_the_card():
    assert 'language: ["en"]\n' in front_matter(facts(counts={"language": {"unknown": 5, "en": 2}}))


def test_an_empty_data_set_has_a_card():
    empty = facts(splits={"train": 0, "validation": 0, "withheld": 0}, forms={}, counts={}, models={}, licenses=[])
    assert "0 question-answer pairs" in render_card(empty)


def test_conditions_of_licenses_are_listed():
    remarks = facts(licenses=[SourceLicense("s", "CC BY-NC-SA 4.0", 3, 3)]).license_remarks
    assert any("commercial" in remark for remark in remarks)
    assert any("same license" in remark for remark in remarks)
    assert license_key("CC BY 4.0 (OpenStax, at a commit)") == "cc-by-4.0"
