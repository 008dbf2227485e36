"""A curated campaign of 1,000 QA, made once; tests copy it."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from linksyn_gpu.cli import main
from tests.dataset.varied_server import varied
from tests.llm.fake_server import FakeServer

LICENSES = ("CC BY 4.0", "MIT", None)


def invoke(*words, code=0):
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def write_seeds(path, n=300):
    """Seeds of three groups of knowledge points that no seed connects; each group has its own license."""
    rng = np.random.default_rng(5)
    rows = []
    for i in range(n):
        group = i % 3
        points = rng.choice(30, 3, replace=False) + 100 * group
        rows.append(
            {
                "id": f"s{i}",
                "question": f"What is the number {i} of group {group}, and why?",
                "answer": f"It is {i * 7}.",
                "knowledge_points": [f"topic {point}" for point in points],
                "discipline": ("physics", "law", "history")[group],
                "source": f"bank {group}",
                **({"license": LICENSES[group]} if LICENSES[group] else {}),
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def finished_campaign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("campaign")
    words = ("run", write_seeds(folder / "seeds.jsonl"), "--out", folder / "out", "--paths", 500, "--per-path", 2)
    flags = ("--length", 3, "--calibration-rounds", 2, "--rounds", 5, "--engine", "openai", "--concurrency", 32)
    with FakeServer(varied) as server:
        invoke(*words, *flags, "--base-url", server.url)
    return folder / "out"


@pytest.fixture
def campaign(finished_campaign, tmp_path):
    """The test's own copy."""
    return shutil.copytree(finished_campaign, tmp_path / "campaign")
