"""The conda environments are valid for conda and agree with pyproject.toml."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Packages that conda and PyPI name differently.
CONDA_NAMES = {
    "cupy-cuda13x": "cupy",
    "cuvs-cu13": "cuvs",
    "igraph": "python-igraph",
    "matplotlib": "matplotlib-base",
    "prometheus-client": "prometheus_client",
}
NO_RATTLER = "NOT PARSED AS CONDA PARSES: py-rattler is not installed; pip install -e '.[device-tests]'"
EXTRAS = ("gpu", "analytics", "figures", "metrics", "report", "ray")


def load(name):
    yaml = pytest.importorskip("yaml", reason="NOT CHECKED: pyyaml is not installed; pip install -e '.[device-tests]'")
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def specs(name):
    """Name -> version part of each dependency of an environment file, those under `pip:` included."""
    found = {}
    for entry in load(name)["dependencies"]:
        for spec in [entry] if isinstance(entry, str) else entry["pip"]:
            package, version = re.fullmatch(r"([\w.-]+(?:\[\w+\])?)\s*([=<>!~].*)?", spec).groups()
            found[package] = version or ""
    return found


def required():
    """Conda name -> lower bound of pyproject's dependencies and of the extras that a GPU node uses."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    found = {}
    for line in lines:
        name, bound = re.fullmatch(r"([\w-]+(?:\[\w+\])?)>=([\d.]+)", line).groups()
        found[CONDA_NAMES.get(name, name)] = bound
    return found


@pytest.mark.parametrize("name", ["environment.yml", "envs/vllm.yml"])
def test_every_line_is_a_match_spec_in_strict_mode(name):
    rattler = pytest.importorskip("rattler", reason=NO_RATTLER)
    errors = pytest.importorskip("rattler.exceptions", reason=NO_RATTLER)
    for entry in load(name)["dependencies"]:
        if isinstance(entry, str):
            rattler.MatchSpec(entry, strict=True)
    for wrong in ("cudf==>26", "numpy >=1.26,,", "numpy ! 3"):
        with pytest.raises(errors.InvalidMatchSpecError, match="unable to parse version spec"):
            rattler.MatchSpec(wrong, strict=True)


def test_the_gpu_environment_has_what_pyproject_requires_with_the_same_lower_bounds():
    environment = specs("environment.yml")
    for name, bound in required().items():
        assert name in environment, f"environment.yml lacks {name}"
        assert f">={bound}" in environment[name].split(","), f"{name}: {environment[name]}, pyproject says >={bound}"


def test_the_gpu_environment_has_what_runs_the_tests():
    """The options in pyproject.toml need the plugins of pytest."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {line for line in project["optional-dependencies"]["dev"] if line.startswith(("pytest", "hypothesis"))}
    assert len(needed) >= 4
    assert needed <= {name + version for name, version in specs("environment.yml").items()}


def test_the_python_version_is_the_one_that_pyproject_requires():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] in specs("environment.yml")["python"]


def test_channels_and_gpu_packages():
    environment = load("environment.yml")
    assert environment["channels"] == ["rapidsai", "conda-forge"]
    versions = specs("environment.yml")
    assert versions["cuda-version"] == "=13", "pyproject's CuPy wheel is for CUDA 13"
    pinned = (ROOT / "tests" / "device" / "rapids-wheels.txt").read_text()
    for package, wheel in (("cudf", "cudf-cu13"), ("cugraph", "pylibcugraph-cu13"), ("cuvs", "cuvs-cu13")):
        release = re.search(rf"^{wheel}==(\d+\.\d+)\.", pinned, re.M)[1]
        year, month = map(int, release.split("."))
        same = (f"={release}", f">={release},<{year}.{month + 1}")
        assert versions[package] in same, f"{package}: signatures are checked against {release}"


def test_the_reason_for_two_environments_still_stands():
    """The numba versions that cuDF allows and the one that vLLM pins exclude each other."""
    (pip,) = (entry["pip"] for entry in load("envs/vllm.yml")["dependencies"] if isinstance(entry, dict))
    assert pip == ["vllm==0.33.0"]
    assert "<0.65" in specs("environment.yml")["numba"].split(",")
    assert "numba == 0.65.0" in (ROOT / "envs" / "vllm.yml").read_text()
