"""Batch files and `vllm run-batch`: it accepts the files, and its answers are collected. See `test_real_vllm`."""

import json
import subprocess

from click.testing import CliRunner

from linksyn_gpu.cli import main
from tests.cli.test_server import SEEDS, invoke
from tests.llm import batch_format
from tests.requests import requests_of
from tests.vllm.test_real_vllm import SMALL, environment, model, pytestmark, python  # noqa: F401 - fixtures and marks


def test_run_batch_answers_the_files_and_its_answers_are_collected(tmp_path, python, model, environment):  # noqa: F811
    out, given, answers = tmp_path / "out", tmp_path / "given.jsonl", tmp_path / "answers.jsonl"
    config = tmp_path / "settings.toml"
    config.write_text("[synthesis]\nmax_field_chars = 80\n")
    flags = ("--engine", "batch", "--model", model, "--paths", "5", "--calibration-rounds", "2")
    flags += ("--max-tokens", "200", "--config", config, "--batch-requests", "4")
    invoke("run", SEEDS, "--out", out, *flags)
    files = sorted((out / "requests").iterdir())
    assert [len(path.read_text().splitlines()) for path in files] == [4, 1]
    assert all(batch_format.faults(path.read_bytes()) == [] for path in files)
    given.write_bytes(b"".join(path.read_bytes() for path in files))  # a start of vLLM takes half a minute
    command = [python, "-m", "vllm.entrypoints.cli.main", "run-batch", "-i", str(given), "-o", str(answers)]
    command += ["--model", model, *SMALL]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    assert sorted(line["custom_id"] for line in lines) == sorted(request["custom_id"] for request in requests_of(out))
    assert [line["response"]["status_code"] for line in lines] == [200] * 5, lines
    CliRunner().invoke(main, ["synthesize", str(out), "--collect", str(answers)])
    counts = json.loads((out / "manifest.json").read_text())["stages"]["synthesize"]["counts"]
    # What so small a model writes is seldom usable; each answer counts once.
    assert counts["pending"] == 0
    assert counts["answered"] + counts["failed"] == 5
    assert counts["collected"]["lines"] == 5
    assert not counts["collected"]["unknown"] + counts["collected"]["unreadable"]
