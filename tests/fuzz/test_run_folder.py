"""A damaged file of a run folder gives an error that says so, or the right result; never a traceback or a crash."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from linksyn_gpu.cli import main
from tests.cli.test_cli import answer
from tests.requests import requests_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def answered_run(out, tmp_path):
    """A run with answers, some of them kept."""
    requests = requests_of(out)
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps(answer(request)) + "\n" for request in requests), encoding="utf-8")
    assert CliRunner().invoke(main, ["synthesize", str(out), "--collect", str(answers)]).exit_code == 0
    assert CliRunner().invoke(main, ["report", str(out)]).exit_code == 0
    return out


@pytest.mark.slow
def test_every_damaged_file_is_noticed_or_harmless(answered_run, tmp_path):
    command = [sys.executable, "-m", "tests.fuzz.damage", str(answered_run), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{done.stderr[-2000:]}; the last command that ended: {found[-1:]}"
    assert len({case["file"] for case in found}) > 12
    assert [case for case in found if case["trace"] or case["code"] not in (0, 1, 2, 3)] == []
    wrong = [case for case in found if case["command"] == "walk" and case["code"] == 0 and not case["same_paths"]]
    assert wrong == [], "a walk on a damaged folder gave other paths without an error"
