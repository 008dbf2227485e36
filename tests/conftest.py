"""What tests of several stages share: Hypothesis profiles, real seeds, a finished run, a table of the kernels."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from click.testing import CliRunner

from tests.device import report

REPOSITORY = Path(__file__).parents[1]
SEEDS = str(REPOSITORY / "examples" / "seeds.jsonl")
QUICK = ("--engine", "batch", "--model", "m", "--paths", "12", "--calibration-rounds", "2")

# Numba's cache is not safe while two processes fill it: each worker of pytest-xdist has its own, kept between runs.
# Set before Numba is imported; the processes that tests start inherit it.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ.setdefault("NUMBA_CACHE_DIR", str(REPOSITORY / "build" / "numba-cache" / worker))

# Property tests draw new examples in every run. A failure prints the blob that reproduces it.
hypothesis.settings.register_profile("random", deadline=None, print_blob=True)
# For a bisection: `pytest --hypothesis-profile repeatable` draws the same examples in every run.
hypothesis.settings.register_profile("repeatable", deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.load_profile("random")


def pytest_report_header() -> str:
    profile = hypothesis.settings.get_current_profile_name()
    return f"hypothesis profile: {profile} (registered in tests/conftest.py)"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist sends what its tests showed of the kernels to the process that prints it."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["kernels_shown"] = report.plain()


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended; one that crashed has no output."""
    report.merge(getattr(node, "workeroutput", {}).get("kernels_shown", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if report.shown:
        terminalreporter.section("CUDA kernels, on a machine without a GPU")
        for line in report.table():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """A file of real seed data by its name. A test that asks for a missing file is skipped."""
    folder = Path(os.environ.get("LINKSYN_DATA") or REPOSITORY.parent / "shared" / "data")

    def find(name: str) -> Path:
        path = folder / name
        if not path.is_file():
            pytest.skip(f"needs real seed data: {name} is not in {folder} (set LINKSYN_DATA)")
        return path

    return find


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with engine 'batch', made once; tests only read it."""
    from linksyn_gpu.cli import main

    folder = tmp_path_factory.mktemp("run") / "out"
    result = CliRunner().invoke(main, ["run", SEEDS, "--out", str(folder), *QUICK])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def out(finished_run: Path, tmp_path: Path) -> Path:
    """The test's own copy of that run."""
    return shutil.copytree(finished_run, tmp_path / "out")
