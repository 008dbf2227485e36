"""The rules of CONTRIBUTING.md, checked on the code itself."""

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "linksyn_gpu"

# Data flows down this list. A module imports from rows above its own, never from its own row or from a row below.
LAYERS = [
    ["errors"],
    ["text", "machine", "disk", "clock", "streams"],
    ["config"],
    ["cluster"],
    ["taxonomy"],
    ["tables"],
    ["backend"],
    ["llm"],
    ["dataset", "knowledge", "quality", "report", "sampling", "seeds", "synthesis"],
    ["pipeline"],
    ["cli"],
]
CONSTRUCTORS = {("tables", "seeds")}  # Seeds.from_records and the like import the stage when they are called
HOME_OF = {
    "cupy": ("backend/gpu",),
    "cudf": ("backend/gpu",),
    "cugraph": ("backend/gpu",),
    "pylibcugraph": ("backend/gpu",),
    "cuvs": ("backend/gpu",),
    "vllm": ("llm/",),
    "xllamacpp": ("llm/",),
    "openai": ("llm/",),
    "aiohttp": ("llm/",),
    "ray": ("cluster/", "llm/servers/ray_serve/"),
}
MODULES = sorted(PACKAGE.rglob("*.py"))

# Public names that several modules define on purpose, and where. The backends mirror each other and are not compared.
SHARED_NAMES = {
    "command": ("cli/",),  # each module of the command line has one
    "free_memory": ("machine.py",),  # an operation of every backend: on the CPU it is the machine's memory
    "main": ("cli/__init__.py", "cluster/worker.py", "llm/servers/"),  # entry points of processes
    "serve": ("llm/servers/",),  # each engine that this project starts
    "synthesize": ("pipeline/",),  # the stage: for a run folder, and for bundles in memory
}

# What makes `linksyn-gpu --help` slow to start.
HEAVY = (
    "numpy",
    "numba",
    "scipy",
    "pyarrow",
    "pandas",
    "rich",
    "jinja2",
    "aiohttp",
    "orjson",
    "psutil",
    "cupy",
    "prometheus_client",
)


def first_part(path: Path) -> str:
    """The folder of the package that a module is in, or the name of a module at the top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Dotted names that a module imports anywhere, except those for type checkers only."""
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
def test_a_module_imports_only_from_the_layers_above_its_own(path):
    own = first_part(path)
    if own in ("__init__", "__main__"):
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "linksyn_gpu" or parts[1] == "__version__" or parts[1] == own:
            continue
        if (own, parts[1]) in CONSTRUCTORS:
            continue
        assert layer(parts[1]) < layer(own), f"{own} must not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_packages_of_devices_and_engines_are_imported_only_where_they_belong(path):
    where = str(path.relative_to(PACKAGE))
    for name in {name.split(".")[0] for name in imported(path)} & set(HOME_OF):
        assert where.startswith(HOME_OF[name]), f"{name} is imported in {where}"


def test_no_two_public_functions_or_classes_share_a_name():
    homes = defaultdict(list)
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name[0] != "_":
                homes[node.name].append(str(path.relative_to(PACKAGE)))
    clashes = {
        name: modules
        for name, modules in homes.items()
        if len(modules) > 1
        and not all(module.startswith(("backend/", *SHARED_NAMES.get(name, ()))) for module in modules)
    }
    assert not clashes, clashes


def test_importing_the_package_loads_nothing_heavy():
    assert loaded("import linksyn_gpu, linksyn_gpu.cli") == []


def test_the_help_of_the_command_line_loads_nothing_heavy():
    """Of the program and of each command, but for `bench`, whose help is that of the benchmark itself."""
    script = """
from click.testing import CliRunner
from linksyn_gpu.cli import COMMANDS, main
for words in ([], *([name] for name in COMMANDS if name != "bench")):
    assert CliRunner().invoke(main, [*words, "--help"]).exit_code == 0
"""
    assert loaded(script) == []


def loaded(script: str) -> list[str]:
    """The heavy packages that a fresh interpreter has imported after this script."""
    script += f"\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()


def test_public_names_exist_and_are_documented():
    import linksyn_gpu

    for name in linksyn_gpu.__all__:
        thing = getattr(linksyn_gpu, name)
        assert name == "__version__" or thing.__doc__, f"{name} has no docstring"
    assert set(linksyn_gpu.__all__) <= set(dir(linksyn_gpu))
    with pytest.raises(AttributeError):
        linksyn_gpu.nothing  # noqa: B018
