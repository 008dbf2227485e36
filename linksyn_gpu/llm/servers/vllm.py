"""vLLM on this machine: its command line, its share of the memory, and its supervised server process.

vLLM is installed in its own environment and is only started as a program: `vllm serve`, on a free port of
127.0.0.1, with a random key that is passed in the environment and appears in no command line, log or file.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.servers.supervisor import Command, Supervisor, to_stderr
from linksyn_gpu.machine import available_memory

LOG_FILE = "vllm.log"
GIB = 2**30
RESERVE_BYTES = 2 * GIB
"""Memory that stays free on each device, for what vLLM does not count: CUDA contexts, captured graphs, NCCL."""
RESERVE_SHARE = 20
"""1/20 of a device stays free where that is more than `RESERVE_BYTES`."""
LEAST_BYTES = 4 * GIB
"""Weights and KV cache of a useful model do not fit into less."""
NVIDIA_SMI_SECONDS = 20.0
NOT_FOUND = (
    "vLLM needs its own environment: make one (python3 -m venv VENV && VENV/bin/pip install vllm) and pass "
    "--vllm-python VENV/bin/python, or pass a command line with --vllm-command, such as 'conda run -n NAME vllm'"
)


@dataclass(frozen=True)
class Device:
    """A GPU as nvidia-smi lists it; memory in bytes."""

    index: str
    uuid: str
    total: int
    free: int


@contextlib.contextmanager
def serve(
    config: SynthesisConfig, folder: Path, walk_bytes: int = 0, *, say: Callable[[str], None] = to_stderr
) -> Iterator[Engine]:
    """Start `vllm serve`, and stop it at the end of the block, also after an error.

    Parameters
    ----------
    folder : Path
        The server's log, `vllm.log`, is written there.
    walk_bytes : int
        Memory of the first device that graph and walks need.

    Raises
    ------
    EngineError
        vLLM is not found, lacks memory, or does not start.
    """
    if not sys.platform.startswith("linux"):
        raise EngineError("engine 'vllm' starts servers on Linux only: start one yourself and use --engine openai")
    assert config.model is not None  # checked by SynthesisConfig
    key, port = secrets.token_hex(16), free_port()
    environment = {**environment_of(config), "VLLM_API_KEY": key}
    program = find_program(config, environment.get("PATH"))
    share = config.vllm_memory_share
    if share is None and (seen := visible(devices(), environment.get("CUDA_VISIBLE_DEVICES"))):
        share = memory_share(seen, config.data_parallel * config.tensor_parallel, walk_bytes)
        say(f"vLLM: {share:.1%} of the device memory; {walk_bytes / GIB:.1f} GiB are reserved for graph and walks")
    elif share is None:
        environment.setdefault("VLLM_CPU_KVCACHE_SPACE", str(cpu_cache_gib(available_memory())))
    log_file = folder / LOG_FILE
    words = [*program, *serve_words(config, port, share)]
    say(f"vLLM: starting {config.model} on 127.0.0.1:{port}; its log is {log_file}")
    command = Command("vLLM", words, environment, port)
    timeout = config.vllm_start_timeout
    with Supervisor(command, log_file, restarts=config.vllm_restarts, start_timeout=timeout, say=say) as supervisor:
        yield Engine(f"http://127.0.0.1:{port}/v1", config.model, key, watch=supervisor)


# ---------------------------------------------------------------------- the command line


def find_program(config: SynthesisConfig, path: str | None = None) -> list[str]:
    """The words that start vLLM's command line.

    Raises
    ------
    EngineError
        There is no such program.
    """
    if config.vllm_python is not None:
        words = [config.vllm_python, "-m", "vllm.entrypoints.cli.main"]
    else:
        words = shlex.split(config.vllm_command or "vllm")
    if shutil.which(words[0], path=path) is None:
        setting = "--vllm-python" if config.vllm_python is not None else "--vllm-command"
        given = config.vllm_python is not None or config.vllm_command is not None
        what = f"{setting}: program {words[0]} not found" if given else "program 'vllm' not found on PATH"
        raise EngineError(f"{what}. {NOT_FOUND}")
    return words


def serve_words(config: SynthesisConfig, port: int, share: float | None) -> list[str]:
    """The arguments after the program's name."""
    assert config.model is not None
    words = ["serve", config.model, "--host", "127.0.0.1", "--port", str(port)]
    words.append("--disable-uvicorn-access-log")  # one line per request would flood the log
    if config.data_parallel > 1:
        words += ["--data-parallel-size", str(config.data_parallel)]
    if config.tensor_parallel > 1:
        words += ["--tensor-parallel-size", str(config.tensor_parallel)]
    if share is not None:
        words += ["--gpu-memory-utilization", f"{share:.4f}"]
    return [*words, *config.vllm_args]


def environment_of(config: SynthesisConfig) -> dict[str, str]:
    """The environment variables of a program that uses vLLM, as if the environment of `vllm_python` were activated."""
    environment = dict(os.environ)
    if config.vllm_python is not None:  # vLLM calls ninja and others by name
        folder = str(Path(config.vllm_python).absolute().parent)
        environment["PATH"] = os.pathsep.join([folder, environment.get("PATH", os.defpath)])
    return environment


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# ---------------------------------------------------------------------- memory


def memory_share(devices: Sequence[Device], n_devices: int, walk_bytes: int) -> float:
    """vLLM's `gpu_memory_utilization`: (free - graph and walks - reserve) / total, the minimum over its devices.

    This project's own formula. Graph and walks are on the first device only.

    Parameters
    ----------
    devices : sequence of Device
        The devices that vLLM sees; it uses the first `n_devices`.
    walk_bytes : int
        Memory for graph and walks according to the memory plan.

    Raises
    ------
    EngineError
        There are too few devices, or one has less than `LEAST_BYTES` left.
    """
    if len(devices) < n_devices:
        raise EngineError(
            f"vLLM needs data_parallel * tensor_parallel = {n_devices} devices and sees {len(devices)}: lower "
            "--data-parallel or --tensor-parallel, or check CUDA_VISIBLE_DEVICES"
        )
    shares = []
    for i, device in enumerate(devices[:n_devices]):
        reserve = max(RESERVE_BYTES, device.total // RESERVE_SHARE)
        walks = walk_bytes if i == 0 else 0
        left = device.free - walks - reserve
        if left < LEAST_BYTES:
            raise EngineError(
                f"device {device.index} has {max(left, 0) / GIB:.1f} GiB for vLLM, which needs at least "
                f"{LEAST_BYTES // GIB}: {device.free / GIB:.1f} of {device.total / GIB:.1f} GiB are free, "
                f"{walks / GIB:.1f} are reserved for graph and walks, {reserve / GIB:.1f} stay free. End other "
                "programs on the device, lower --gpu-memory, use --backend cpu, or set synthesis.vllm_memory_share"
            )
        shares.append(left / device.total)
    return int(min(shares) * 10_000) / 10_000  # rounded down: vLLM refuses to start with more than is free


def devices() -> list[Device]:
    """The GPUs that nvidia-smi lists; none where there is no nvidia-smi, hence no NVIDIA driver.

    Raises
    ------
    EngineError
        nvidia-smi exists and fails, or does not answer.
    """
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=index,uuid,memory.total,memory.free", "--format=csv,noheader,nounits"]
    fix = "fix the driver, or set synthesis.vllm_memory_share; then nvidia-smi is not called"
    process = subprocess.Popen(
        query, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        output, _ = process.communicate(timeout=NVIDIA_SMI_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # in a driver that hangs, even SIGKILL has no effect
            process.wait(1.0)
        if process.stdout is not None:
            process.stdout.close()
        raise EngineError(f"nvidia-smi did not answer within {NVIDIA_SMI_SECONDS:g} s: {fix}") from None
    if process.returncode:
        said = output.strip().splitlines()
        raise EngineError(f"nvidia-smi ended with status {process.returncode} ({' '.join(said[:2])}): {fix}")
    found = []
    for line in output.splitlines():
        try:
            index, uuid, total, free = (word.strip() for word in line.split(","))
            found.append(Device(index, uuid, int(total) * 2**20, int(free) * 2**20))
        except ValueError:  # such as [N/A] on boards that share the system's memory
            raise EngineError(f"nvidia-smi does not report the memory of a device ({line.strip()}): {fix}") from None
    return found


def visible(devices: Sequence[Device], cuda_visible_devices: str | None) -> list[Device]:
    """The devices that CUDA shows to a process, in its order.

    Raises
    ------
    EngineError
        CUDA_VISIBLE_DEVICES names an unknown device, such as a MIG slice, which this query of nvidia-smi does not list.
    """
    if cuda_visible_devices is None:
        return list(devices)
    found = []
    for name in filter(None, (word.strip() for word in cuda_visible_devices.split(","))):
        of_name = [d for d in devices if name == d.index or (name.startswith("GPU-") and d.uuid.startswith(name))]
        if len(of_name) != 1:
            raise EngineError(
                f"CUDA_VISIBLE_DEVICES names {name!r}, which is not one of {', '.join(d.index for d in devices)}: "
                "correct it, or set synthesis.vllm_memory_share; then nvidia-smi is not called"
            )
        found += of_name
    return found


def cpu_cache_gib(available: int) -> int:
    """GiB of KV cache for vLLM on a CPU: a quarter of the available memory, 1 to 4."""
    return max(1, min(4, available // 4 // GIB))
