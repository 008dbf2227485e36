"""A finished run with engine 'batch', made once per session and copied for each test that changes it."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from linksyn_gpu.cli import main

SEEDS = str(Path(__file__).parents[2] / "examples" / "seeds.jsonl")
QUICK = ("--engine", "batch", "--paths", "12", "--calibration-rounds", "2")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    result = CliRunner().invoke(main, ["run", SEEDS, "--out", str(folder), *QUICK])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def out(finished_run, tmp_path):
    """The test's own copy of that run."""
    return shutil.copytree(finished_run, tmp_path / "out")
