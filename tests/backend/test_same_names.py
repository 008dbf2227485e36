"""The backends are mirrors: the same public names, with the same parameters. Read off the source, without a device."""

import ast
from pathlib import Path

import pytest

BACKEND = Path(__file__).parents[2] / "linksyn_gpu" / "backend"
PUBLIC_DATA = {
    "WalkGraph", "TransitionTable", "StartTable", "EvidenceGraph", "OrderedEvidence", "KeySet", "StepRule",
    "SimilarPairs",
}  # fmt: skip


def definitions(module):
    """Public functions and classes of a backend module, followed to the backend module that defines them."""
    tree = ast.parse((BACKEND / f"{module}.py").read_text(encoding="utf-8"))
    found = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("linksyn_gpu.backend."):
            home = definitions(node.module.rsplit(".", 1)[1])
            found |= {alias.asname or alias.name: home[alias.name] for alias in node.names if alias.name in home}
    return {name: node for name, node in found.items() if not name.startswith("_")}


def listed(module):
    """Names in a module's __all__ and GPU_ONLY, where it has them."""
    lists = {}
    for node in ast.parse((BACKEND / f"{module}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("__all__", "GPU_ONLY"):
                lists[name] = set(ast.literal_eval(node.value))
    return lists


def parameters(node):
    """Names, kinds and defaults of a function's parameters."""
    found = node.args
    keyword_only = zip(found.kwonlyargs, found.kw_defaults, strict=True)
    return (
        [argument.arg for argument in found.posonlyargs + found.args],
        [ast.unparse(default) for default in found.defaults],
        [(argument.arg, ast.unparse(default) if default else None) for argument, default in keyword_only],
        found.vararg,
        found.kwarg,
    )


@pytest.mark.parametrize("module", ["cpu", "gpu"])
def test_a_backend_has_every_name_of_the_reference_with_the_same_parameters(module):
    if not (BACKEND / f"{module}.py").is_file():
        pytest.skip(f"there is no {module}.py")
    found = definitions(module)
    for name, node in definitions("reference").items():
        assert name in found, f"{module}.py has no {name}"
        assert type(found[name]) is type(node), name
        if isinstance(node, ast.FunctionDef):
            assert parameters(found[name]) == parameters(node), name


def test_the_gpu_backend_has_no_public_name_that_is_not_listed():
    lists = listed("gpu")
    assert lists["__all__"] == set(definitions("reference")) | lists["GPU_ONLY"]
    assert lists["__all__"] <= set(definitions("gpu")) | {"crossings"}


def test_data_that_passes_between_primitives_has_the_same_names():
    for module in ("cpu", "gpu"):
        assert set(definitions(module)) >= PUBLIC_DATA, module


def test_a_changed_parameter_would_be_seen():
    one, other = (ast.parse(f"def f(a, *, {name}=None): ...").body[0] for name in ("key", "keys"))
    assert parameters(one) != parameters(other)
