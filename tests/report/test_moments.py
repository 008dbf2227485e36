"""`linksyn-gpu report` works at any moment of a campaign, and on a folder of curated files."""

import pytest

from tests.cli.test_cli import answer, invoke, requests_of
from tests.cli.test_enhance import SETTINGS
from tests.conftest import SEEDS
from tests.llm.fake_server import FakeServer
from tests.pipeline.test_enhance_stage import Server
from tests.report.hostile import write


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(SETTINGS, encoding="utf-8")
    return path


def report(folder):
    """The text and the page."""
    done = invoke("report", folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    return done.stdout, page


def test_after_each_stage(tmp_path):
    out, answers = tmp_path / "out", tmp_path / "answers.jsonl"
    invoke("ingest", SEEDS, "--out", out)
    assert "build: not finished" in report(out)[0]
    invoke("build", out)
    text, page = report(out)
    assert "walk: not finished" in text
    assert "Map of the knowledge points" in page
    invoke("walk", out, "--paths", "12", "--calibration-rounds", "2")
    text, page = report(out)
    assert "synthesize: not started" in text
    assert "Coverage of the graph" in page
    invoke("synthesize", out, "--engine", "batch", "--model", "m")
    assert "12 pending" in report(out)[1]
    requests = requests_of(out)
    write(answers, [answer(request) for request in requests[:5]])
    invoke("synthesize", out, "--collect", answers)
    _, page = report(out)
    assert "7 pending" in page
    assert "QA of stage synthesize" in page
    write(answers, [answer(request) for request in requests[5:]])
    invoke("synthesize", out, "--collect", answers)
    invoke("curate", out)
    assert "QA of stage curate" in report(out)[1]


def test_during_synthesis_it_counts_the_outcomes_so_far(tmp_path, settings):
    seen = []

    class Watched(Server):
        def __call__(self, body, n):
            if not seen and self.written == 4:
                seen.append(report(tmp_path / "out"))
            return super().__call__(body, n)

    with FakeServer(Watched()) as server:
        invoke("run", SEEDS, "--out", tmp_path / "out", "--config", settings, "--base-url", server.url)
    ((text, page),) = seen
    assert "synthesize: not finished;" in text
    assert "not started" not in text
    assert "Stage synthesize is not finished" in page


def test_after_an_enhancement_that_matched_nothing(tmp_path, settings):
    words = ("run", SEEDS, "--out", tmp_path / "out", "--config", settings, "--enhance-disciplines", "alchemy")
    with FakeServer(Server()) as server:
        invoke(*words, "--base-url", server.url)
    assert "0 QA have the target level" in report(tmp_path / "out")[1]


def test_on_a_folder_of_curated_files(tmp_path):
    rows = [
        {"id": str(i), "question": f"Why is item {i} unlike the other ones?", "answer": f"It is {i}."} for i in range(5)
    ]
    write(tmp_path / "qa.jsonl", [*rows, {**rows[0], "id": "again"}])
    invoke("curate", tmp_path / "qa.jsonl", "--out", tmp_path / "out")
    text, page = report(tmp_path / "out")
    assert "not started" not in text
    assert "not finished" not in text
    assert "5 curated QA of the given files" in page
    assert "QA of stage curate" in page
