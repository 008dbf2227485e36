"""What a user installs: the wheel holds the package, its data, the CUDA sources and the benchmark."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from linksyn_gpu.backend.gpu.cuda import kernel_folder

ROOT = Path(__file__).parents[1]
BENCH = {"gpu.py", "graphs.py", "random_sectors.cu", "timing.py"}  # what `linksyn-gpu bench` runs


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def test_an_editable_install_finds_the_kernels_of_the_repository():
    assert kernel_folder() in (ROOT / "kernels", ROOT / "linksyn_gpu" / "kernels")


def test_the_wheel_holds_the_package_with_kernels_and_benchmark_and_nothing_else(wheel):
    """Python files, templates, tables and the `py.typed` marker: every file that is in the source folder."""
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "linksyn_gpu").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    kernels = {f"linksyn_gpu/kernels/{path.name}" for path in (ROOT / "kernels").glob("*.cu*")}
    assert any(name.endswith(".jinja") for name in package)
    assert kernels
    assert inside == package | kernels | {f"linksyn_gpu/bench/{name}" for name in BENCH}


@pytest.mark.slow
def test_an_installed_wheel_finds_its_kernels_and_runs_its_benchmark_in_a_fresh_venv(wheel, tmp_path):
    """The dependencies come from this environment by path; its editable install of this project does not."""
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command):
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(programs / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site_packages = tmp_path / "venv" / "lib" / version / "site-packages"
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    script = "from linksyn_gpu.backend.gpu import cuda; print(cuda.kernel_folder())"
    folder = Path(run(programs / "python", "-c", script).strip())
    assert folder.is_relative_to(tmp_path / "venv")
    assert {path.name for path in folder.glob("*.cu*")} == {path.name for path in (ROOT / "kernels").glob("*.cu*")}
    assert "--walks" in run(programs / "linksyn-gpu", "bench", "--help")
