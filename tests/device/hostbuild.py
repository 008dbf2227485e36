"""Builds CUDA source with g++ through host_cuda.h and runs its kernels on arrays of the host."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

# Threads of a parallel launch sleep while they wait, because other tests share the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
HEADER = Path(__file__).with_name("host_cuda.h")
# Contraction is off as on the device (-fmad=false), or the bits of doubles would differ.
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-fopenmp", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror",
         "-Wno-unknown-pragmas", "-Wno-unused-function")  # fmt: skip
SANITIZE = os.environ.get("LINKSYN_SANITIZE_KERNELS") == "1"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-fno-omit-frame-pointer")


class HostKernelError(RuntimeError):
    """The threads of a block wait for each other forever."""


def needs_fibers(source: str) -> bool:
    """Whether the threads of a block cooperate."""
    return re.search(r"__syncthreads|__shfl|__ballot|__syncwarp", source) is not None


def declared(source: str) -> list[tuple[str, str]]:
    """Name and parameter list of each kernel: what stands between each `__global__` and the body after it.

    Not read as the package reads it (`declared_kernels`): a kernel that one of the two misses shows in a test.
    """
    found = []
    for rest in source.split("__global__")[1:]:
        head, parameters = rest.partition("{")[0].rstrip().removesuffix(")").rsplit("(", 1)
        found.append((head.split()[-1], parameters))
    return found


def host_source(source: str) -> str:
    """The source after the header, followed by a C function `run_NAME` for each kernel."""
    parts = [f'#include "{HEADER}"', source, '#line 1 "host launches"']
    for name, parameters in declared(source):
        names = [item.split()[-1].lstrip("*") for item in parameters.split(",")]
        plain = parameters.replace("__restrict__", "")
        parts.append(
            f'extern "C" int run_{name}(unsigned blocks, unsigned block_size, unsigned order, {plain}) {{\n'
            f"  return launch(blocks, block_size, order, [&] {{ {name}({', '.join(names)}); }});\n}}"
        )
    return "\n".join(parts)


def build(source: str, flags: tuple[str, ...] = ()) -> Path:
    """Compile to a shared library; the same source and flags are built once."""
    text = host_source(source)
    options = (
        *FLAGS,
        *flags,
        *(SANITIZERS if SANITIZE else ()),
        *(("-DLINKSYN_FIBERS",) if needs_fibers(source) else ()),
    )
    digest = hashlib.sha256("\0".join([text, HEADER.read_text(), *options]).encode()).hexdigest()[:20]
    folder = Path(tempfile.gettempdir()) / f"linksyn-host-kernels-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / f"{digest}.so"
    if not library.exists():
        unfinished = folder / f"{digest}.{os.getpid()}.tmp"
        subprocess.run(["g++", *options, "-x", "c++", "-", "-o", str(unfinished)], input=text.encode(), check=True)
        unfinished.rename(library)
    return library


@cache
def load(source: str, flags: tuple[str, ...] = ()) -> ctypes.CDLL:
    return ctypes.CDLL(str(build(source, flags)))


def run(
    source: str, name: str, blocks: int, block_size: int, arguments: tuple[Any, ...],
    *, order: int = 0, flags: tuple[str, ...] = (),
) -> None:  # fmt: skip
    """Run a kernel; arguments are NumPy arrays and NumPy scalars of the exact types."""
    function = getattr(load(source, flags), f"run_{name}")
    values: list[Any] = [ctypes.c_uint(blocks), ctypes.c_uint(block_size), ctypes.c_uint(order)]
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            values.append(ctypes.c_void_p(argument.ctypes.data))
        else:
            values.append(np.ctypeslib.as_ctypes_type(argument.dtype)(argument.item()))
    if function(*values) != 0:
        raise HostKernelError(f"{name}: threads of a block wait for each other forever")
