"""What a user installs: the wheel carries the CUDA sources, the templates and the command."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from linksyn_gpu.backend.gpu.cuda import kernel_folder

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def test_an_editable_install_finds_the_kernels_of_the_repository():
    assert kernel_folder() in (ROOT / "kernels", ROOT / "linksyn_gpu" / "kernels")


def test_the_wheel_holds_every_kernel_and_template(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    kernels = {f"linksyn_gpu/kernels/{p.name}" for p in (ROOT / "kernels").glob("*.cu*")}
    templates = {str(p.relative_to(ROOT)) for p in (ROOT / "linksyn_gpu").rglob("*.jinja")}
    assert kernels
    assert templates
    assert kernels | templates <= inside
    assert not [name for name in inside if name.startswith(("tests/", "bench/"))]


@pytest.mark.slow
def test_an_installed_wheel_finds_its_kernels_in_a_fresh_venv(wheel, tmp_path):
    """Its dependencies are lent from this environment by path, which does not lend the editable install."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel],
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )
    lent = tmp_path / "venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (lent / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    script = "from linksyn_gpu.backend.gpu import cuda; print(cuda.kernel_folder())"
    found = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True, cwd=tmp_path)
    folder = Path(found.stdout.strip())
    assert folder.is_relative_to(tmp_path / "venv")
    assert {p.name for p in folder.glob("*.cu*")} == {p.name for p in (ROOT / "kernels").glob("*.cu*")}
