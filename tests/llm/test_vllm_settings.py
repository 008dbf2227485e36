"""How vLLM is started: its program, its command line, and its share of the memory."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.errors import ConfigError, EngineError
from linksyn_gpu.llm.servers import launch, vllm
from linksyn_gpu.llm.servers.vllm import GIB, Device


def config(**settings):
    return SynthesisConfig(engine="vllm", model="m", **settings)


def gpu(index=0, total=80, free=80):
    return Device(str(index), f"GPU-{index}f00", total * GIB, free * GIB)


def test_the_share_is_free_memory_less_walks_and_reserve():
    # 80 GiB: a twentieth, 4 GiB, stays free.
    assert vllm.memory_share([gpu()], 1, 0) == pytest.approx(76 / 80)
    assert vllm.memory_share([gpu(free=60)], 1, 16 * GIB) == pytest.approx(40 / 80)
    # 24 GiB: the least reserve, 2 GiB.
    assert vllm.memory_share([gpu(total=24, free=24)], 1, 0) == pytest.approx(22 / 24, abs=1e-4)
    share = vllm.memory_share([gpu(total=24, free=24)], 1, 0)
    assert share * 24 <= 22, "never more than there is"


def test_the_device_with_least_memory_decides_and_walks_are_on_the_first():
    devices = [gpu(0, free=70), gpu(1, free=50), gpu(2, free=5)]
    assert vllm.memory_share(devices, 2, 10 * GIB) == pytest.approx(46 / 80)
    assert vllm.memory_share(devices, 2, 40 * GIB) == pytest.approx(26 / 80)
    with pytest.raises(EngineError, match="device 2"):
        vllm.memory_share(devices, 3, 0)
    with pytest.raises(EngineError, match="= 4 devices and sees 3"):
        vllm.memory_share(devices, 4, 0)


def test_too_little_memory_lists_what_uses_it_and_how_to_fix_it():
    with pytest.raises(EngineError) as error:
        vllm.memory_share([gpu(free=30)], 1, 25 * GIB)
    for part in (
        "1.0 GiB",
        "30.0 of 80.0 GiB",
        "25.0 are reserved for graph and walks",
        "--gpu-memory",
        "vllm_memory_share",
    ):
        assert part in str(error.value)


def test_cuda_visible_devices_chooses_and_orders():
    devices = [gpu(0), gpu(1), gpu(2)]
    assert vllm.visible(devices, None) == devices
    assert [d.index for d in vllm.visible(devices, "2, 0")] == ["2", "0"]
    assert [d.index for d in vllm.visible(devices, "GPU-1f")] == ["1"]
    assert vllm.visible(devices, "") == []
    with pytest.raises(EngineError, match="MIG-7"):
        vllm.visible(devices, "MIG-7")


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Put a program nvidia-smi with this output and status on PATH."""

    def place(output, status=0):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\necho {shlex.quote(output)}\nexit {status}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return place


def test_devices_are_those_that_nvidia_smi_lists(nvidia_smi):
    nvidia_smi("0, GPU-aa, 81559, 80994\n1, GPU-bb, 81559, 1024")
    assert vllm.devices() == [
        Device("0", "GPU-aa", 81559 * 2**20, 80994 * 2**20),
        Device("1", "GPU-bb", 81559 * 2**20, 1024 * 2**20),
    ]


def test_a_driver_that_does_not_answer_is_an_error_and_none_at_all_means_a_cpu(nvidia_smi, monkeypatch, tmp_path):
    nvidia_smi("NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.", 9)
    with pytest.raises(EngineError, match="could not communicate"):
        vllm.devices()
    nvidia_smi("0, GPU-aa, [N/A], [N/A]")
    with pytest.raises(EngineError, match="vllm_memory_share"):
        vllm.devices()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert vllm.devices() == []


@pytest.mark.timeout(50)  # the driver hangs for 60 s
def test_a_driver_that_hangs_is_an_error_after_a_while(nvidia_smi, monkeypatch):
    monkeypatch.setattr(vllm, "NVIDIA_SMI_SECONDS", 0.3)
    nvidia_smi("")
    (Path(os.environ["PATH"].split(":")[0]) / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(EngineError, match=r"nvidia-smi did not answer within 0.3 s.*vllm_memory_share"):
        vllm.devices()


def test_a_cpu_gets_a_quarter_of_the_available_memory_within_bounds():
    assert [vllm.cpu_cache_gib(n * GIB) for n in (0, 3, 8, 12, 900)] == [1, 1, 2, 3, 4]


def test_replicas_memory_share_and_further_words_are_passed_on():
    words = vllm.serve_words(config(), 8123, None)
    assert words[:6] == ["serve", "m", "--host", "127.0.0.1", "--port", "8123"]
    assert not any("parallel" in word or "memory" in word for word in words)
    words = vllm.serve_words(config(data_parallel=4, tensor_parallel=2, vllm_args=("--x", "y")), 1, 0.7123)
    line = " ".join(words)
    assert "--data-parallel-size 4 --tensor-parallel-size 2 --gpu-memory-utilization 0.7123 --x y" in line


def test_the_program_is_a_python_a_command_line_or_the_one_on_path(monkeypatch, tmp_path):
    assert vllm.find_program(config(vllm_python=sys.executable))[:2] == [sys.executable, "-m"]
    assert vllm.find_program(config(vllm_command="env -u A vllm")) == ["env", "-u", "A", "vllm"]
    monkeypatch.setenv("PATH", str(tmp_path))
    for settings, said in (
        ({}, "program 'vllm' not found on PATH"),
        ({"vllm_python": "/no/python"}, "--vllm-python: program /no/python"),
        ({"vllm_command": "conda run vllm"}, "--vllm-command: program conda"),
    ):
        with pytest.raises(EngineError, match=said) as error:
            launch.running(config(**settings), folder=tmp_path).__enter__()
        assert "pip install vllm" in str(error.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": None}, "needs model"),
        ({"vllm_python": "a", "vllm_command": "b"}, "set one of them"),
        ({"data_parallel": 0}, "data_parallel = 0"),
        ({"tensor_parallel": 0}, "tensor_parallel = 0"),
        ({"vllm_restarts": -1}, "vllm_restarts"),
        ({"vllm_start_timeout": 0.0}, "vllm_start_timeout"),
        ({"vllm_memory_share": 1.5}, "vllm_memory_share"),
        ({"vllm_args": ("--api-key=secret",)}, "--api-key is set by this program"),
        ({"vllm_args": ("--gpu_memory_utilization", "0.9")}, "the setting vllm_memory_share"),
        ({"vllm_args": ("-tp", "2")}, "the setting tensor_parallel"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said) as error:
        SynthesisConfig(**{"engine": "vllm", "model": "m", **settings})
    assert "secret" not in str(error.value)
