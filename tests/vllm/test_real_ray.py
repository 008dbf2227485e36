"""Engine 'ray' on the CPU: two replicas of SmolLM2-135M that Ray Serve places on this machine.

Needs what `test_real_vllm.py` needs, and Ray Serve in the same environment:

    tests/vllm/make_environment.sh VENV MODEL_DIR ray

It takes some minutes on two idle cores and 5 GB of memory. It measures no speed and no GPU.
"""

import json
import os
import re
import signal
import subprocess

import pytest

from linksyn_gpu.llm.journal import Journal
from tests.requests import requests_of
from tests.vllm.test_real_vllm import (  # noqa: F401 - fixtures
    Run,
    environment,
    marked,
    model,
    pytestmark,
    python,
    settings,
)

REPLICA = re.compile("^ray::ServeReplica:linksyn-gpu-[0-9a-f]+:LLMServer")


@pytest.fixture(autouse=True)
def _has_ray(python):  # noqa: F811
    if subprocess.run([python, "-c", "import ray.serve.llm"], capture_output=True, check=False).returncode:
        pytest.skip("the environment of LINKSYN_VLLM_PYTHON has no Ray Serve (make_environment.sh VENV MODEL ray)")


def answered(out):
    with Journal(out / "journal", writable=False) as journal:
        return list(journal.read())


def test_two_replicas_answer_and_the_death_of_one_loses_nothing(tmp_path, settings, environment):  # noqa: F811
    out = tmp_path / "out"
    settings.write_text(
        settings.read_text()
        .replace("engine = 'vllm'", "engine = 'ray'\nreplicas = 2")
        .replace("max_attempts = 1", "max_attempts = 3")
    )
    with Run(out, settings, environment, tmp_path / "run.log") as run:
        run.until_answers(1)
        replicas = [pid for pid, line in marked(environment).items() if REPLICA.match(line)]
        assert len(replicas) == 2, marked(environment)
        os.kill(replicas[0], signal.SIGKILL)
        run.process.wait(800)
        assert "Ray: ready after" in run.output()
        assert "restart" not in run.output(), "Ray alone starts the replica again"
    assert marked(environment) == {}, "something of Ray is left"
    records = answered(out)
    asked = [request["custom_id"] for request in requests_of(out)]
    assert sorted(record["id"] for record in records) == sorted(asked), "each has one outcome"
    # So small a model may use up the attempts with texts that are cut off. A request for which the death of the replica
    # was the last attempt stays pending; at most four are at a replica (--max-num-seqs). The other replica goes on.
    lost = [record for record in records if record.get("reason") in ("connection", "server_error")]
    counts = json.loads((out / "manifest.json").read_text())["stages"]["synthesize"]["counts"]
    assert counts["pending"] == len(lost) <= 4
    assert counts["answered"] + counts["failed"] + counts["pending"] == len(asked)
    assert run.process.returncode in (0, 3), run.output()
    assert max(record["received"] for record in records) == max(
        record["received"] for record in records if record not in lost
    ), "the other replica answered after the death of the first"
