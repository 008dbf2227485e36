"""A taxonomy of the user: quotas and question types compare disciplines by it, not by the one of the package."""

import json

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from linksyn_gpu.cli import main

TAXONOMY = """
[crafts]
zh = "工艺"
question_types = ["proof"]
[crafts.weaving]
zh = "编织"
aliases = ["looms"]
[crafts.pottery]
zh = "陶艺"
[law]
zh = "法律"
"""


@pytest.fixture
def bank(tmp_path):
    """Seeds of two crafts and of law; every seed shares a knowledge point with its neighbours."""
    labels = ("weaving", "looms", "pottery", "law")
    rows = [
        {
            "question": f"How does tool {i} work?",
            "answer": f"It has {i} parts.",
            "knowledge_points": [f"k{i % 9}", f"k{(i + 1) % 9}"],
            "discipline": labels[i % 4],
        }
        for i in range(60)
    ]
    seeds, taxonomy = tmp_path / "seeds.jsonl", tmp_path / "mine.toml"
    seeds.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    taxonomy.write_text(TAXONOMY, encoding="utf-8")
    return seeds, taxonomy


def plan(bank, folder, quota, *flags, code=0):
    seeds, taxonomy = bank
    settings = folder.with_suffix(".toml")
    settings.write_text(quota, encoding="utf-8")
    words = ["plan", seeds, "--out", folder, "--taxonomy", taxonomy, "--config", settings, "--length", "2", *flags]
    result = CliRunner().invoke(main, [*map(str, words), "--paths", "12", "--calibration-rounds", "1"])
    assert result.exit_code == code, result.output
    return result


def test_a_quota_may_name_a_group_or_alias_of_the_users_taxonomy(bank, tmp_path):
    quota = "[quota.discipline]\ncrafts = 3\nlaw = 1\n[question_types.law]\ncase = 1\n"
    plan(bank, tmp_path / "run", quota)
    tasks = pq.read_table(tmp_path / "run" / "tasks.parquet").to_pylist()
    asked = {0: {"proof"}, 1: {"case"}}  # crafts: as the taxonomy says; law: as the settings say
    assert {row["cell"] for row in tasks} == {0, 1}
    for row in tasks:
        if row["request_id"] is not None:
            assert row["question_type"] in asked[row["cell"]]


def test_two_names_that_are_one_discipline_only_in_the_users_taxonomy_are_refused(bank, tmp_path):
    result = plan(bank, tmp_path / "run", "[quota.discipline]\nweaving = 1\nlooms = 1\n", code=2)
    assert "same discipline twice: weaving, looms" in result.output


def test_the_folder_keeps_its_copy_of_the_taxonomy(bank, tmp_path):
    quota = "[quota.discipline]\ncrafts = 1\n"
    plan(bank, tmp_path / "run", quota)
    before = pq.read_table(tmp_path / "run" / "paths.parquet")
    bank[1].write_text(TAXONOMY.replace("looms", "spindles"), encoding="utf-8")
    result = CliRunner().invoke(main, ["walk", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert pq.read_table(tmp_path / "run" / "paths.parquet").equals(before)
