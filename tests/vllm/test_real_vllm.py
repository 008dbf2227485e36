"""vLLM on the CPU with SmolLM2-135M: what the stand-in of tests/llm/test_vllm.py cannot show.

Needs vLLM in its own environment and the model as a folder that vLLM serves. To have both, and to run this:

    tests/vllm/make_environment.sh VENV MODEL_DIR
    export LINKSYN_VLLM_PYTHON=VENV/bin/python LINKSYN_VLLM_MODEL=MODEL_DIR
    python -m pytest tests/vllm

Without the two variables these tests are skipped. Every start of vLLM takes half a minute on two idle cores, so a test
here checks several things in a row. They measure no speed and no GPU.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.requests import requests_of

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not (os.environ.get("LINKSYN_VLLM_PYTHON") and os.environ.get("LINKSYN_VLLM_MODEL")),
        reason="LINKSYN_VLLM_PYTHON and LINKSYN_VLLM_MODEL name no vLLM (tests/vllm/make_environment.sh makes one)",
    ),
]

ROOT = Path(__file__).parents[2]
MARK = "LINKSYN_TEST_RUN"
N_PATHS = 6
# A prompt must be read in one piece: on a CPU, vLLM 0.32 fails when a request with a sampling seed is cut into chunks
# ("CPU Generator does not use offset").
SMALL = ["--max-model-len", "2048", "--max-num-batched-tokens", "2048", "--no-enable-chunked-prefill"]
# float32: many processors have no bfloat16 arithmetic, and are slower with it than without.
SMALL += ["--max-num-seqs", "4", "--enforce-eager", "--dtype", "float32"]
SMALL += ["--structured-outputs-config.backend", "xgrammar"]
# So small a model fills its answer with white space where the grammar allows it.
SMALL += ["--structured-outputs-config.disable_any_whitespace", "true"]


@pytest.fixture
def python():
    return str(Path(os.environ["LINKSYN_VLLM_PYTHON"]).absolute())


@pytest.fixture
def model():
    return str(Path(os.environ["LINKSYN_VLLM_MODEL"]).absolute())


@pytest.fixture
def environment():
    """For all processes of a test: marks them, and takes little of the machine."""
    # OpenMP's threads wait for each other at every step: where other work takes turns with them, one alone is faster.
    modest = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
    quiet = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    return {**os.environ, **modest, **quiet, "PYTHONPATH": str(ROOT), MARK: uuid.uuid4().hex}


@pytest.fixture
def settings(tmp_path, python, model):
    """A file of settings; one attempt each, so that a request that pays for the server's death shows."""
    file = tmp_path / "settings.toml"
    file.write_text(
        f"paths = {N_PATHS}\n[walk]\ncalibration_rounds = 2\n[synthesis]\nengine = 'vllm'\nmodel = '{model}'\n"
        f"vllm_python = '{python}'\nvllm_args = {json.dumps(SMALL)}\n"
        "max_tokens = 200\nmax_tokens_retry = 200\nmax_attempts = 1\nmax_field_chars = 80\n"
    )
    return file


def marked(environment):
    """Command lines of the living processes of a test, by process id."""
    found = {}
    mark = f"{MARK}={environment[MARK]}".encode()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return {pid: line for pid, line in found.items() if line}


def answers(out):
    """Records of the journal, in their order."""
    lines = [line for file in sorted(out.glob("journal/*.jsonl")) for line in file.read_text().splitlines()]
    return [json.loads(line.split(" ", 1)[1]) for line in lines]


def heed_ctrl_c():
    """A shell starts background processes with SIGINT ignored, and their children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Run:
    """`linksyn-gpu run` in its own process group, as a shell starts it."""

    def __init__(self, out, settings, environment, log):
        self.out, self.log = out, log
        command = [sys.executable, "-m", "linksyn_gpu", "run", str(ROOT / "examples" / "seeds.jsonl")]
        command += ["--out", str(out), "--config", str(settings)]
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                command, env=environment, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=heed_ctrl_c,
            )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()

    def until_answers(self, n):
        while len(answers(self.out)) < n:
            assert self.process.poll() is None, self.output()
            time.sleep(0.1)

    def output(self):
        return self.log.read_text()


def key_of(pid):
    words = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return next(word for word in words if word.startswith("VLLM_API_KEY=")).partition("=")[2]


def assert_ended(code, output):
    """Every request has an outcome. The small model may cut off all its texts, which has an exit code of its own."""
    unusable = "No request had a usable answer" in output
    assert code == (3 if unusable else 0), output
    assert "Stopped early" not in output


def test_a_campaign_outlives_ctrl_c_and_the_death_of_its_server(tmp_path, settings, environment):
    out = tmp_path / "out"
    with Run(out, settings, environment, tmp_path / "first.log") as first:
        first.until_answers(1)
        key = key_of(next(pid for pid, line in marked(environment).items() if "serve" in line))
        assert all(key not in line for line in marked(environment).values())
        os.killpg(first.process.pid, signal.SIGINT)
        assert first.process.wait(60) == 130, first.output()
        assert marked(environment) == {}, "something of vLLM is left"
        before = answers(out)
        assert len(before) < N_PATHS, "the interrupt came too late to show anything"

    with Run(out, settings, environment, tmp_path / "again.log") as again:
        again.until_answers(len(before) + 1)
        server = [pid for pid, line in marked(environment).items() if "serve" in line and "subreaper" not in line]
        os.kill(min(server), signal.SIGKILL)
        assert_ended(again.process.wait(600), again.output())
        assert "restart 1 of 3" in again.output()
        assert marked(environment) == {}

    log = (out / "vllm.log").read_text()
    assert sum(line.startswith("== ") for line in log.splitlines()) == 3
    assert key not in log + first.output()
    settled = answers(out)
    ids = [record["id"] for record in settled]
    requests = requests_of(out)
    assert sorted(ids) == sorted(request["custom_id"] for request in requests), "each is answered once"
    assert not {record.get("reason") for record in settled} & {"connection", "server_error"}
    # What so small a model writes is seldom kept, and may be empty; in the schema it is, where it was not cut off.
    whole = [json.loads(record["text"]) for record in settled if record.get("reason") != "cut_off"]
    assert whole
    assert all({"question", "answer"} <= item.keys() for answer in whole for item in answer["qa"])
    counts = json.loads((out / "manifest.json").read_text())["stages"]["synthesize"]["counts"]
    assert counts["pending"] == 0
    assert (out / "report.html").stat().st_size > 0


def test_a_batch_that_vllm_answers_is_collected(tmp_path, settings, environment, python, model):
    out, given = tmp_path / "out", tmp_path / "answers.jsonl"

    def call(*words):
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert_ended(done.returncode, done.stdout + done.stderr)
        return done.stdout

    linksyn = (sys.executable, "-m", "linksyn_gpu")
    seeds = str(ROOT / "examples" / "seeds.jsonl")
    text = (
        settings.read_text().replace("engine = 'vllm'", "engine = 'batch'").replace(f"paths = {N_PATHS}", "paths = 3")
    )
    settings.write_text(text)
    call(*linksyn, "run", seeds, "--out", str(out), "--config", str(settings))
    files = ("-i", str(out / "requests/requests-00000.jsonl"), "-o", str(given))
    call(python, "-m", "vllm.entrypoints.cli.main", "run-batch", *files, "--model", model, *SMALL)
    assert len(given.read_text().splitlines()) == 3
    output = call(*linksyn, "synthesize", str(out), "--config", str(settings), "--collect", str(given))
    counts = json.loads((out / "manifest.json").read_text())["stages"]["synthesize"]["counts"]
    assert counts["collected"]["lines"] == 3, output
    assert counts["collected"]["unknown"] == counts["collected"]["unreadable"] == 0
    assert counts["collected"]["completions"] + sum(counts["collected"]["failed"].values()) == 3
    assert not set(counts["collected"]["failed"]) & {"bad_request", "server_error", "connection"}
    assert marked(environment) == {}
