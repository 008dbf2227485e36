"""Scores of a student model as targets of the walks."""

import json

import numpy as np
import pytest

from linksyn_gpu.errors import DataError
from linksyn_gpu.sampling.scores import match_scores, read_scores, score_factor
from tests.cli.test_server import SEEDS, invoke


def test_weak_kps_have_larger_factors_and_kps_without_a_score_are_neutral():
    scores = np.array([0.0, 0.5, 1.0, np.nan])
    assert score_factor(scores, "accuracy", 1.0).tolist() == [2.0, 1.0, 1 / 16, 1.0]
    assert score_factor(scores, "accuracy", 0.0).tolist() == [1.0, 1.0, 1.0, 1.0]
    assert score_factor(np.array([1.0, 3.0, np.nan]), "loss", 2.0).tolist() == [0.25, 2.25, 1.0]
    assert score_factor(np.array([1.0, 1.0]), "accuracy", 1.0).tolist() == [1.0, 1.0]
    assert score_factor(np.full(3, np.nan), "loss", 1.0).tolist() == [1.0, 1.0, 1.0]


def test_names_are_matched_by_alias_case_and_width():
    match = match_scores(
        {"energy": 0.5, "work": 0.1, "labour": 0.3, "xyz": 1.0}, ["Ｅnergy", "Work", "c"], {"Work": ["Labour"]}
    )
    assert match.scores[:2].tolist() == [0.5, 0.2]
    assert np.isnan(match.scores[2])
    assert match.counts() == {"matched": 2, "unmatched": 1, "examples": ["xyz"]}


@pytest.mark.parametrize("name", ["scores.jsonl", "scores.csv"])
def test_both_formats_are_read(tmp_path, name):
    text = (
        'kp,loss,n\n"a, b",0.5,3\nc,2,4\n'
        if name.endswith("csv")
        else '{"kp": "a, b", "loss": 0.5}\n\n{"kp": "c", "loss": 2}\n'
    )
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_scores(tmp_path / name, "loss") == {"a, b": 0.5, "c": 2.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"kp": "a", "accuracy": 1.5}\n', ":1: needs 'kp', a name, and 'accuracy', a number in"),
        ('{"kp": "a", "accuracy": 0.5}\n{"kp": "A", "accuracy": 0.1}\n', ":2: 'A' has a score already"),
        ('{"kp": "a", "accuracy": 0.5}\nnonsense\n', ":2: not JSON"),
        ("[1]\n", ":1: must be a JSON object"),
        ('{"kp": "", "accuracy": 0.5}\n', ":1: needs"),
        ('{"kp": "a", "accuracy": null}\n', ":1: needs"),
        ("", "has no scores"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, message):
    (tmp_path / "scores.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_scores(tmp_path / "scores.jsonl", "accuracy")


def test_weak_kps_are_visited_more_often_under_the_same_quota(tmp_path):
    import pyarrow.parquet as pq

    words = ("--paths", "24", "--length", "3", "--discipline", "physics=1,biology=1")
    visits = {}
    invoke("ingest", SEEDS, "--out", tmp_path / "plain")
    invoke("build", tmp_path / "plain")
    names = pq.read_table(tmp_path / "plain" / "kps.parquet")["name"].to_pylist()
    weak = {i for i in range(len(names)) if i % 3 == 0}
    file = tmp_path / "scores.jsonl"
    rows = [{"kp": name, "accuracy": 0.1 if i in weak else 0.95} for i, name in enumerate(names)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    invoke("ingest", SEEDS, "--out", tmp_path / "driven")
    invoke("build", tmp_path / "driven")
    invoke("walk", tmp_path / "plain", *words)
    result = invoke("walk", tmp_path / "driven", *words, "--kp-scores", file)
    assert "scores of 240 KPs; 0 names match no KP" in result.stdout
    for name in ("plain", "driven"):
        paths = pq.read_table(tmp_path / name / "paths.parquet").to_pylist()
        visits[name] = np.mean([node in weak for row in paths for node in row["nodes"]])
        cells = json.loads((tmp_path / name / "plan.json").read_text(encoding="utf-8"))["cells"]
        assert [cell["asked"] for cell in cells] == [12, 12]
    assert visits["driven"] > 1.3 * visits["plain"]
    file.write_text('{"kp": "x", "accuracy": 0.5}\n', encoding="utf-8")
    assert "content of --kp-scores" in invoke("walk", tmp_path / "driven", *words, "--kp-scores", file, code=2).stderr
