"""The house rules of CONTRIBUTING.md, read off the code itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "linksyn_gpu"

# Data flows down this list; a module imports from rows above its own, never from its own row or below.
LAYERS = [
    ["errors"],
    ["text"],
    ["config"],
    ["taxonomy"],
    ["tables"],
    ["backend"],
    ["llm"],
    ["knowledge", "quality", "report", "sampling", "seeds", "synthesis"],
    ["run"],
    ["cli"],
]
HOME_OF = {
    "cupy": ("backend/gpu", "backend/kernels"),
    "cudf": ("backend/gpu",),
    "cugraph": ("backend/gpu",),
    "pylibcugraph": ("backend/gpu",),
    "cuvs": ("backend/gpu",),
    "vllm": ("llm/",),
    "xllamacpp": ("llm/",),
    "openai": ("llm/",),
    "aiohttp": ("llm/",),
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Dotted names that a module imports anywhere, but for type checkers only."""
    names = set()
    nodes = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        nodes.extend(ast.iter_child_nodes(node))
    return names


def layer(name: str) -> int:
    return next(i for i, row in enumerate(LAYERS) if name in row)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_up_the_list(path):
    own = room(path)
    if own in ("__init__", "__main__"):
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "linksyn_gpu" or parts[1] == "__version__" or parts[1] == own:
            continue
        assert layer(parts[1]) < layer(own), f"{own} must not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_devices_and_engines_are_named_in_their_rooms_alone(path):
    where = str(path.relative_to(PACKAGE))
    for name in {name.split(".")[0] for name in imported(path)} & set(HOME_OF):
        assert where.startswith(HOME_OF[name]), f"{name} is imported in {where}"


def test_importing_the_package_and_the_command_line_pulls_in_nothing_heavy():
    script = (
        "import sys, linksyn_gpu, linksyn_gpu.cli;"
        "print([m for m in ('numpy', 'numba', 'scipy', 'pyarrow', 'rich', 'jinja2', 'aiohttp', 'orjson', 'cupy') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_exist_and_are_documented():
    import linksyn_gpu

    for name in linksyn_gpu.__all__:
        thing = getattr(linksyn_gpu, name)
        assert name == "__version__" or thing.__doc__, f"{name} has no docstring"
    assert set(linksyn_gpu.__all__) <= set(dir(linksyn_gpu))
    with pytest.raises(AttributeError):
        linksyn_gpu.nothing  # noqa: B018
