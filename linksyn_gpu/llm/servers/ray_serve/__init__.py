"""Engine 'ray': model replicas on the GPUs of a Ray cluster behind one OpenAI endpoint.

`program.py` places them; it runs in the environment of vLLM and Ray. Here it is started, watched and
stopped as the server of engine 'vllm' is. Answers come to this process, which writes them to the journal.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.servers.supervisor import Command, Supervisor, to_stderr
from linksyn_gpu.llm.servers.vllm import cpu_cache_gib, environment_of, free_port
from linksyn_gpu.machine import available_memory

LOG_FILE = "ray.log"
PROGRAM = str(Path(__file__).with_name("program.py"))
GRACE_SECONDS = 60.0
"""Time in which the program removes its application from the cluster."""


@contextlib.contextmanager
def serve(config: SynthesisConfig, folder: Path, *, say: Callable[[str], None] = to_stderr) -> Iterator[Engine]:
    """Deploy the model on a Ray cluster, and remove it at the end of the block, also after an error.

    An application of the cluster that serves the model is used instead, and stays.

    Parameters
    ----------
    folder : Path
        The program's log, `ray.log`, is written there.

    Raises
    ------
    EngineError
        The program is not found, or the model cannot be deployed.
    """
    if not sys.platform.startswith("linux"):
        raise EngineError("engine 'ray' starts programs on Linux only: deploy the model and use --engine openai")
    python = config.vllm_python or sys.executable
    if shutil.which(python) is None:
        raise EngineError(f"--vllm-python: program {python} not found; name the Python that has vLLM and Ray")
    environment = environment_of(config)
    if config.accelerator is None:
        cache = max(1, cpu_cache_gib(available_memory()) // config.replicas)
        environment.setdefault("VLLM_CPU_KVCACHE_SPACE", str(cache))
    port = free_port()
    command = Command("Ray", [python, PROGRAM, json.dumps(options(config, folder, port))], environment, port)
    where = config.ray_address or "this machine"
    say(f"Ray: placing {config.replicas} replicas of {config.model} on {where}; the log is {folder / LOG_FILE}")
    with Supervisor(
        command,
        folder / LOG_FILE,
        restarts=config.vllm_restarts,
        start_timeout=config.vllm_start_timeout,
        grace=GRACE_SECONDS,
        say=say,
    ) as supervisor:
        assert config.model is not None  # checked by SynthesisConfig
        yield Engine(_endpoint(port), config.model, watch=supervisor, replicas=config.replicas)


def options(config: SynthesisConfig, folder: Path, port: int) -> dict[str, object]:
    """The program's options, `program.Options`."""
    share = config.vllm_memory_share
    memory = () if share is None else ("--gpu-memory-utilization", f"{share:.4f}")
    run = hashlib.blake2b(os.fsencode(folder.absolute()), digest_size=4).hexdigest()
    return {
        "model": config.model,
        "address": config.ray_address,
        "replicas": config.replicas,
        "tensor_parallel": config.tensor_parallel,
        "accelerator": config.accelerator,
        "arguments": [*config.vllm_args, *memory],
        "name": f"linksyn-gpu-{run}",  # the same for a later call on the folder, after a call that was killed
        "port": port,
        "http_port": free_port(),
    }


def _endpoint(port: int) -> str:
    """Address of the endpoint, from the program."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/endpoint", timeout=10.0) as reply:
            return str(json.load(reply)["base_url"])
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(f"the program that places replicas with Ray does not say their address: {error}") from None
