"""Finds kernels/*.cu, compiles them for the current device, launches them and checks each launch.

A kernel has the name of its CUDA function. Its parameters are read from its source: a launch whose arrays or integers
do not match is an error with the name of the parameter, not a read of the wrong memory.
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from linksyn_gpu.errors import BackendUnavailable, KernelError

BLOCK_ELEMENTS = 256  # threads per block of a kernel whose source has no __launch_bounds__
MAX_BLOCK = 1024  # threads per block that every device allows
MAX_BLOCKS = 1 << 16  # every kernel has a grid-stride loop: more blocks would only queue
WARP = 32

# C++17, and doubles exactly as on the host: no fused multiply-add; division and square root are IEEE by default.
# CuPy adds -ftz=true, which affects only single precision; no kernel here uses it.
COMPILE_OPTIONS = ("--std=c++17", "--fmad=false")

MIN_COMPUTE_CAPABILITY = 75  # Turing: the oldest that CUDA 13 supports

DTYPES: dict[str, np.dtype[Any]] = {
    "int32_t": np.dtype(np.int32),
    "int64_t": np.dtype(np.int64),
    "uint8_t": np.dtype(np.uint8),
    "uint32_t": np.dtype(np.uint32),
    "uint64_t": np.dtype(np.uint64),
    "double": np.dtype(np.float64),
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel."""

    name: str
    dtype: np.dtype[Any]
    is_array: bool


@dataclass(frozen=True)
class Kernel:
    """A kernel as its source declares it."""

    name: str
    file: str
    parameters: tuple[Parameter, ...]
    max_threads: int | None
    """Largest block that it was compiled for, from its `__launch_bounds__`; None: it has none."""


def bench_folder() -> Path:
    """Folder of the benchmarks: inside the installed package, or next to it in a repository."""
    return _shipped("bench", "gpu.py")


def kernel_folder() -> Path:
    """Folder of the CUDA sources: inside the installed package, or next to it in a repository.

    Raises
    ------
    KernelError
        They are in neither place: the installation is broken.
    """
    return _shipped("kernels", "philox.cuh")


def _shipped(name: str, member: str) -> Path:
    """A folder that is inside the package in a wheel and next to it in a repository, recognised by a file in it."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / name, package.parent / name):
        if (folder / member).is_file():
            return folder
    raise KernelError(f"{package / name} has no {member}: the installation is broken; reinstall linksyn-gpu")


def source_files() -> list[str]:
    """Names of the CUDA sources that define kernels, sorted."""
    return sorted(path.name for path in kernel_folder().glob("*.cu"))


def source_text(file: str) -> str:
    """Source of a file with its includes inserted, each once.

    `#line` directives keep compile errors correct: they name `kernels/walk.cu(43)`. With a single text, a compile cache
    that compares texts notices an edit to an included file.
    """
    return "\n".join(_expanded(file, set())) + "\n"


def _expanded(file: str, seen: set[str]) -> list[str]:
    if file in seen:
        return []
    seen.add(file)
    lines = [f'#line 1 "kernels/{file}"']
    for number, line in enumerate((kernel_folder() / file).read_text(encoding="utf-8").splitlines(), start=1):
        include = re.fullmatch(r'\s*#include "(\w+\.cuh)"\s*', line)
        if include is not None:
            lines += [*_expanded(include[1], seen), f'#line {number + 1} "kernels/{file}"']
        elif line.strip() != "#pragma once":
            lines.append(line)
        else:
            lines.append("")
    return lines


# A kernel up to its parameters: its launch bounds, if it has any, and its name.
KERNEL = re.compile(r'extern "C" __global__ void[^(]*?(?:__launch_bounds__\((\d+)[\d, ]*\)\s*)?(\w+)\(')


@cache
def declared_kernels() -> dict[str, Kernel]:
    """Every kernel, by name, with the parameters and the launch bounds in its source."""
    found: dict[str, Kernel] = {}
    for file in source_files():
        text = (kernel_folder() / file).read_text(encoding="utf-8")
        for match in KERNEL.finditer(text):
            declared = text[match.end() : text.index(")", match.end())]
            bound, name = match.groups()
            parameters = tuple(_parameter(item) for item in declared.split(","))
            found[name] = Kernel(name, file, parameters, int(bound) if bound else None)
    return found


def _parameter(declaration: str) -> Parameter:
    match = re.fullmatch(r"(?:const )?(\w+)(\*?)(?: ?__restrict__)? (\w+)", " ".join(declaration.split()))
    if match is None or match[1] not in DTYPES:
        raise KernelError(f"cannot read the kernel parameter {declaration.strip()!r}")
    return Parameter(match[3], DTYPES[match[1]], match[2] == "*")


@cache
def _module(file: str, device: int) -> Any:
    """Compile a file for a device; CuPy caches the result on disk, this function in the process."""
    import cupy

    module = cupy.RawModule(code=source_text(file), options=COMPILE_OPTIONS, backend="nvrtc")
    try:
        module.compile()
    except cupy.cuda.compiler.CompileException as error:
        raise KernelError(f"kernels/{file} does not compile for device {device}: {error}") from error
    return module


def launch(name: str, n_threads: int, *arguments: Any) -> None:
    """Launch a kernel over `n_threads` threads of work and check that the launch succeeded.

    Launches are asynchronous: an error inside the kernel is raised at the next copy to the host. With
    LINKSYN_GPU_SYNC=1 in the environment each launch is waited for, and the error names its kernel.

    Raises
    ------
    KernelError
        An argument does not match the declaration of the kernel, the block is larger than its launch bounds, or the
        device refused or failed.
    """
    import cupy

    kernel = declared_kernels()[name]
    checked = checked_arguments(kernel, arguments, cupy.ndarray)
    if n_threads == 0:
        return
    blocks, block_size = launch_shape(name, n_threads)
    if block_size > (most := kernel.max_threads or MAX_BLOCK):
        raise KernelError(f"kernel {name}: blocks of {block_size} threads, but kernels/{kernel.file} allows {most}")
    function = _module(kernel.file, cupy.cuda.Device().id).get_function(name)
    try:
        function((blocks,), (block_size,), checked)
        if os.environ.get("LINKSYN_GPU_SYNC") == "1":
            cupy.cuda.runtime.deviceSynchronize()
    except (cupy.cuda.driver.CUDADriverError, cupy.cuda.runtime.CUDARuntimeError) as error:
        raise KernelError(f"kernel {name} with {blocks} blocks of {block_size} failed: {error}") from error


def launch_shape(name: str, n_threads: int) -> tuple[int, int]:
    """Blocks, and threads per block, for `n_threads` threads of work; results do not depend on them."""
    threads = block_size(name)
    return min(-(-n_threads // threads), MAX_BLOCKS), threads


def block_size(name: str) -> int:
    """Threads per block of a kernel: its launch bounds, where it has any."""
    return declared_kernels()[name].max_threads or BLOCK_ELEMENTS


def checked_arguments(kernel: Kernel, arguments: tuple[Any, ...], array_type: type[Any]) -> tuple[Any, ...]:
    """Arguments of a launch: contiguous device arrays of the declared type, integers of exact width."""
    if len(arguments) != len(kernel.parameters):
        raise KernelError(f"kernel {kernel.name} takes {len(kernel.parameters)} arguments, not {len(arguments)}")
    return tuple(
        _checked(kernel, parameter, argument, array_type)
        for parameter, argument in zip(kernel.parameters, arguments, strict=True)
    )


def _checked(kernel: Kernel, parameter: Parameter, argument: Any, array_type: type[Any]) -> Any:
    where = f"kernel {kernel.name}, argument {parameter.name}"
    if parameter.is_array:
        if not isinstance(argument, array_type):
            raise KernelError(f"{where}: a device array is required, not {type(argument).__name__}")
        dtype = np.dtype(np.uint8) if argument.dtype == np.bool_ else argument.dtype
        if dtype != parameter.dtype:
            raise KernelError(f"{where}: {parameter.dtype} is required, not {argument.dtype}")
        strided = any(p.name == "row_stride" for p in kernel.parameters) and argument.ndim == 2
        if not (strided or argument.flags.c_contiguous):
            raise KernelError(f"{where}: a contiguous array is required")
        return argument
    if isinstance(argument, array_type) or parameter.dtype.kind == "f":
        raise KernelError(f"{where}: a host integer is required")
    info = np.iinfo(parameter.dtype)
    if not info.min <= int(argument) <= info.max:
        raise KernelError(f"{where}: {argument} does not fit in {parameter.dtype}")
    return parameter.dtype.type(int(argument))


def probe_device() -> tuple[bool, str]:
    """Look for a usable CUDA device.

    Returns
    -------
    usable : bool
    finding : str
        One sentence for people and the manifest.

    Raises
    ------
    BackendUnavailable
        CuPy is installed but broken, which must not look like a missing GPU.
    """
    if importlib.util.find_spec("cupy") is None:
        return False, "CuPy is not installed, so the GPU cannot be used"
    try:
        import cupy
    except ImportError as error:
        raise BackendUnavailable(
            f"CuPy is installed but does not import ({error}); fix the installation, or pass --backend cpu"
        ) from error
    if not cupy.cuda.is_available():
        return False, f"CuPy {cupy.__version__} is installed but finds no usable CUDA device"
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    capability = int(cupy.cuda.Device(0).compute_capability)
    if capability < MIN_COMPUTE_CAPABILITY:
        return False, f"CuPy {cupy.__version__} finds {name}, whose compute capability {capability} is too old"
    return True, f"CuPy {cupy.__version__} finds {name}"
