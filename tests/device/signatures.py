"""What CuPy, RMM, cuDF, cuGraph and cuVS really offer, to compare the stand-ins with.

CuPy is asked itself; it imports without a GPU. The others are read from their wheels, which are not
installed: Python files by ast, Cython files (.pyx) by their text.
"""

from __future__ import annotations

import ast
import inspect
import re
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any


def signature_from_text(parameters: str) -> inspect.Signature:
    """Signature of a parameter list in Python or Cython, whose types (`str name`, `size_t n`) are dropped."""
    cleaned, depth, item, items = [], 0, "", []
    for character in re.sub(r"#[^\n]*", "", parameters) + ",":
        depth += character in "([{"
        depth -= character in ")]}"
        if character == "," and depth == 0:
            items.append(item)
            item = ""
        else:
            item += character
    for text in items:
        name, _, default = (part.strip() for part in text.partition("="))
        if name:
            words = re.sub(r":.*", "", name, flags=re.S).split()
            cleaned.append((words[-1], "None" if default else ""))
    text = ", ".join(f"{name}={default}" if default else name for name, default in cleaned)
    return signature_from_ast(ast.parse(f"def f({text}): ...").body[0].args)  # type: ignore[attr-defined]


def signature_from_ast(arguments: ast.arguments) -> inspect.Signature:
    """Signature of a parsed function."""
    kinds = inspect.Parameter
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [inspect.Parameter.empty] * (len(plain) - len(arguments.defaults)) + [None] * len(arguments.defaults)
    found = [kinds(a.arg, kinds.POSITIONAL_OR_KEYWORD, default=d) for a, d in zip(plain, defaults, strict=True)]
    if arguments.vararg:
        found.append(kinds(arguments.vararg.arg, kinds.VAR_POSITIONAL))
    for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found.append(kinds(a.arg, kinds.KEYWORD_ONLY, default=kinds.empty if default is None else None))
    if arguments.kwarg:
        found.append(kinds(arguments.kwarg.arg, kinds.VAR_KEYWORD))
    return inspect.Signature(found)


def misfit(standin: inspect.Signature | None, real: inspect.Signature | None) -> str | None:
    """Why a call that the stand-in takes does not fit the real function, or None. None as signature: an attribute."""
    if standin is None or real is None:
        return None if standin is real else "is a function on one side and an attribute on the other"
    kinds = inspect.Parameter
    ours, theirs = standin.parameters.values(), real.parameters.values()
    by_place = [p for p in theirs if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    takes_any = {p.kind for p in theirs}
    for place, one in enumerate(p for p in ours if p.kind is not kinds.KEYWORD_ONLY):
        if place >= len(by_place):
            if kinds.VAR_POSITIONAL not in takes_any:
                return f"takes {len(by_place)} arguments by place"
        elif by_place[place].name != one.name:
            return f"names argument {place} {by_place[place].name}, not {one.name}"
    for one in ours:
        if one.kind is kinds.KEYWORD_ONLY and one.name not in real.parameters and kinds.VAR_KEYWORD not in takes_any:
            return f"has no argument {one.name}"
    required = {p.name for p in theirs if p.default is kinds.empty and p.kind is not kinds.VAR_KEYWORD}
    required -= {p.name for p in theirs if p.kind is kinds.VAR_POSITIONAL}
    if missing := required - {p.name for p in ours if p.default is kinds.empty}:
        return f"requires {', '.join(sorted(missing))}"
    return None


class Missing(Exception):
    """A package has no such name."""


# ---------------------------------------------------------------------- CuPy, which is installed


def cupy_signature(path: tuple[str, ...]) -> inspect.Signature | None:
    """Signature of `cupy.PATH`; None for what is not called, such as a property."""
    import cupy

    thing: Any = cupy
    for i, name in enumerate(path):
        if not hasattr(thing, name):
            raise Missing(f"cupy.{'.'.join(path[: i + 1])} does not exist")
        owner, thing = thing, getattr(thing, name)
    if not callable(thing):
        return None
    if isinstance(thing, cupy.ufunc):
        return signature_from_text(", ".join(f"x{i + 1}" for i in range(thing.nin)) + ", out=None, dtype=None")
    is_method = inspect.isclass(owner)
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        line = re.match(r"(?s)[\w.]+\((.*?)\)(?: ->.*?)?(?:\n|$)", thing.__doc__ or "")
        if line is None:
            raise Missing(f"the signature of cupy.{'.'.join(path)} cannot be read") from None
        found = signature_from_text(line[1])
    names = list(found.parameters.values())
    return found.replace(parameters=names[1:]) if is_method and names and names[0].name == "self" else found


# ---------------------------------------------------------------------- wheels, which are only read


@dataclass(frozen=True)
class Wheel:
    """A package inside a wheel."""

    file: Path
    package: str

    @cached_property
    def archive(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.file)

    @cached_property
    def names(self) -> set[str]:
        return set(self.archive.namelist())

    def text(self, name: str) -> str:
        return self.archive.read(name).decode()

    def module_file(self, module: str) -> str | None:
        base = module.replace(".", "/")
        return next((f for f in (f"{base}.py", f"{base}/__init__.py", f"{base}.pyx") if f in self.names), None)

    def home(self, module: str, name: str) -> str:
        """File that defines a name, followed through the imports of `module`."""
        file = self.module_file(module)
        if file is None:
            raise Missing(f"{module} does not exist")
        text = self.text(file)
        if file.endswith(".pyx") or re.search(rf"^(?:class|def) {name}\b", text, re.M):
            return file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module and any(a.name == name for a in node.names):
                parts = module.split(".")
                above = len(parts) - node.level + file.endswith("/__init__.py")  # "." is the package itself
                return self.home(".".join([*parts[:above], node.module]) if node.level else node.module, name)
        raise Missing(f"{module}.{name} does not exist")

    def signature(self, path: tuple[str, ...]) -> inspect.Signature | None:
        """Signature of a function or class that the package exports."""
        (name,) = path
        file = self.home(self.package, name)
        if file.endswith(".pyx"):
            return self._cython(file, name)
        node = self._definition(file, name)
        if isinstance(node, ast.ClassDef):
            return self.method(name, "__init__")
        return signature_from_ast(node.args)

    def _definition(self, file: str, name: str) -> Any:
        for node in ast.parse(self.text(file)).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
                return node
        raise Missing(f"{file} does not define {name}")

    def _cython(self, file: str, name: str) -> inspect.Signature:
        text = self.text(file)
        body = re.search(rf"^cdef class {name}\b.*?(?=^\S|\Z)", text, re.M | re.S)
        makers = ("__init__", "__cinit__")  # where a class has both, its arguments are named in __init__
        of_class = (body and re.search(rf"^ +def {maker}\((.*?)\):", body[0], re.M | re.S) for maker in makers)
        function = re.search(rf"^(?:def|cpdef)(?: \w+)? {name}\((.*?)\):", text, re.M | re.S)
        declared = next(filter(None, of_class), None) or function
        if declared is None and body is not None:
            return inspect.Signature()
        if declared is None:
            raise Missing(f"{file} does not define {name}")
        found = signature_from_text(declared[1])
        parameters = [p for p in found.parameters.values() if p.name != "self"]
        return found.replace(parameters=parameters)

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        """Every class of the package's core, by name."""
        found = {}
        for name in sorted(self.names):
            if name.startswith(f"{self.package}/core/") and name.endswith(".py"):
                for node in ast.parse(self.text(name)).body:
                    if isinstance(node, ast.ClassDef):
                        found.setdefault(node.name, node)
        return found

    def method(self, owner: str, name: str) -> inspect.Signature | None:
        """Signature of a method, looked up along the base classes; None for a property or class attribute."""
        queue, seen = [owner], set()
        while queue:
            current = queue.pop(0)
            if current in seen or current not in self.classes:
                continue
            seen.add(current)
            node = self.classes[current]
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == name:
                    if any("property" in ast.unparse(d) for d in item.decorator_list):
                        return None
                    signature = signature_from_ast(item.args)
                    return signature.replace(parameters=list(signature.parameters.values())[1:])
                targets = item.targets if isinstance(item, ast.Assign) else [getattr(item, "target", None)]
                if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                    return None
            queue += [ast.unparse(base).split(".")[-1].split("[")[0] for base in node.bases]
        raise Missing(f"{self.package}: {owner} has no {name}")
