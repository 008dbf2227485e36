"""What a machine with a device runs is run here over the stand-ins; and the messages of a machine without one."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from linksyn_gpu.backend import resolve
from linksyn_gpu.backend.gpu import cuda as kernels
from linksyn_gpu.errors import BackendUnavailable
from tests.device import standin_cupy
from tests.device.conftest import gpu_over_standins

ROOT = Path(__file__).parents[2]
PYTEST = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]


@pytest.mark.slow
def test_the_tests_for_a_device_pass_over_the_standins():
    command = [*PYTEST, "-p", "tests.device.standin_plugin", "tests/gpu"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout


@pytest.mark.slow
def test_the_tests_for_a_device_need_only_cupy_and_what_walks_need():
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "tests.device.lean_plugin"),
        *("-c", os.devnull, "--rootdir", ".", "--confcutdir", "tests/gpu", "tests/gpu"),
    ]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
    for package in ("cuGraph", "cuDF", "cuVS"):
        assert f"{package} is not installed" in done.stdout


BENCH = """
import runpy, sys
from pathlib import Path
{prepare}
sys.path.insert(0, "bench")
import graphs
graphs.SIZES["tiny"] = (400, 150)
sys.argv = ["gpu.py", "--size", "tiny", "--walks", "300", "--length", "3", "--turns", "2", "--loop", "2",
            "--table-bytes", "65536", "--out", sys.argv[1]]
runpy.run_path("bench/gpu.py", run_name="__main__")
"""


def bench(prepare, cache):
    environment = {**os.environ, "LINKSYN_BENCH_CACHE": str(cache)}
    command = [sys.executable, "-c", BENCH.format(prepare=prepare), str(cache / "gpu.json")]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


@pytest.mark.slow
def test_the_benchmark_runs_over_the_standins_and_stops_where_parity_fails(tmp_path):
    done = bench("import tests.device.standin_plugin", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "parity: same bits" in done.stdout
    assert "a stand-in, not a device" in done.stdout
    assert done.stdout.count("gpu: ") == 2
    assert done.stdout.count("M steps/s") == 3
    assert "of the random reads" in done.stdout
    record = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert set(record["compile_seconds"]) == set(kernels.source_files())
    assert len(record["device_seconds"]) == 14
    assert all(seconds > 0 for seconds in (*record["device_seconds"].values(), *record["memory"].values()))
    done = bench("import tests.device.lean_plugin", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "parity: same bits" in done.stdout
    broken = (
        "import tests.device.standin_plugin\n"
        "from linksyn_gpu.backend.gpu import operations as gpu\n"
        "draw = gpu.sample_walks\n"
        "gpu.sample_walks = lambda *a, key, **k: draw(*a, key=key + 1, **k)"
    )
    done = bench(broken, tmp_path)
    assert done.returncode != 0
    assert "walks differ; nothing was timed" in done.stderr
    assert done.stdout == ""


def test_without_a_device_the_tests_for_one_are_skipped_with_the_reason():
    if importlib.util.find_spec("cupy") is not None and kernels.probe_device()[0]:
        pytest.skip("there is a device here")
    command = [*PYTEST, "-rs", "tests/gpu/test_memory.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout
    assert "NOT RUN ON A DEVICE: CuPy" in done.stdout
    assert "passed" not in done.stdout


def test_without_cupy_the_finding_says_so(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert kernels.probe_device() == (False, "CuPy is not installed, so the GPU cannot be used")
    with pytest.raises(BackendUnavailable, match="CuPy is not installed"):
        resolve("gpu")


def test_with_the_real_cupy_and_no_device_the_finding_is_another():
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("NOT ASKED: cupy is not installed; pip install -e '.[device-tests]'")
    usable, finding = kernels.probe_device()
    if usable:
        pytest.skip("there is a device here")
    assert "is installed but finds no usable CUDA device" in finding
    backend = resolve("auto")
    assert (backend.name, backend.reason) == ("cpu", finding)


def test_a_device_that_is_too_old_falls_back_with_its_reason(monkeypatch):
    monkeypatch.setattr(standin_cupy.Device, "compute_capability", "61")
    with gpu_over_standins():
        usable, finding = kernels.probe_device()
    assert not usable
    assert "compute capability 61 is too old" in finding


def test_a_broken_cupy_does_not_look_like_a_missing_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # makes `import cupy` fail
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(BackendUnavailable, match="does not import"):
        resolve("auto")
