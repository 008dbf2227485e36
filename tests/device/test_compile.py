"""Every kernel compiles for the architectures that matter, as NVRTC compiles it on a node, without a device."""

import re
import shutil
import subprocess
from importlib.util import find_spec

import pytest

from linksyn_gpu.backend.gpu import cuda as kernels
from tests.device import hostbuild, report

ARCHITECTURES = (80, 90, 100)  # A100, H100 and H200, B200
# What CuPy adds to the options it is given (cupy/cuda/compiler.py, version 14).
ADDED_BY_CUPY = ("-ftz=true", "--device-as-default-execution-space")

needs_nvrtc = pytest.mark.skipif(
    find_spec("cuda") is None or find_spec("cuda.bindings") is None,
    reason="NOT COMPILED BY NVRTC: cuda-bindings is not installed; pip install -e '.[device-tests]'",
)
needs_nvcc = pytest.mark.skipif(
    shutil.which("nvcc") is None, reason="NO REGISTER AND SPILL REPORT: nvcc is not on this machine"
)


def nvrtc_compile(source, name, architecture, kind):
    """Compile to 'cubin' or 'ptx'; a compile error is raised with NVRTC's log."""
    from cuda.bindings import nvrtc

    def checked(result):
        status, *rest = result
        assert status == nvrtc.nvrtcResult.NVRTC_SUCCESS, f"{status}: {log()}"
        return rest[0] if rest else None

    def log():
        size = nvrtc.nvrtcGetProgramLogSize(program)[1]
        text = bytearray(size)  # NVRTC writes into it: b" " * 1 would be the interpreter's own b" "
        nvrtc.nvrtcGetProgramLog(program, text)
        return bytes(text).rstrip(b"\0 \n").decode()

    program = nvrtc.nvrtcCreateProgram(source.encode("ascii"), name.encode(), 0, [], [])[1]
    target = f"--gpu-architecture={'sm' if kind == 'cubin' else 'compute'}_{architecture}"
    options = [option.encode() for option in (target, *kernels.COMPILE_OPTIONS, *ADDED_BY_CUPY)]
    try:
        checked(nvrtc.nvrtcCompileProgram(program, len(options), options))
        size_of, get = (
            (nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN)
            if kind == "cubin"
            else (nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX)
        )
        image = bytearray(checked(size_of(program)))
        checked(get(program, image))
        return bytes(image), log()
    finally:
        nvrtc.nvrtcDestroyProgram(program)


@needs_nvrtc
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids="sm_{}".format)
@pytest.mark.parametrize("file", kernels.source_files())
def test_nvrtc_compiles_every_kernel(file, architecture):
    source = kernels.source_text(file)
    names = [kernel.name for kernel in kernels.declared_kernels().values() if kernel.file == file]
    assert names, f"no kernel was read from {file}"
    cubin, log = nvrtc_compile(source, file, architecture, "cubin")
    assert cubin[:4] == b"\x7fELF"
    assert all(name.encode() in cubin for name in names)
    assert log == "", "warnings"
    ptx, _ = nvrtc_compile(source, file, architecture, "ptx")
    entries = re.findall(rb"\.visible \.entry (\w+)", ptx)
    assert sorted(entry.decode() for entry in entries) == sorted(names)
    # -fmad=false held: no fused multiply-add of floats; and -ftz=true, which CuPy adds, has nothing to flush.
    assert re.search(rb"\b(mad|fma)\.rn\.f64", ptx) is None
    assert re.search(rb"\.f32\b", ptx) is None
    report.note(names, "compiled for", f"sm_{architecture}")


def test_the_package_declares_every_kernel_of_the_sources():
    found = {
        name: [parameter.split()[-1].lstrip("*") for parameter in parameters.split(",")]
        for path in kernels.kernel_folder().glob("*.cu")
        for name, parameters in hostbuild.declared(path.read_text(encoding="ascii"))
    }
    assert found
    assert found == {
        name: [parameter.name for parameter in kernel.parameters] for name, kernel in kernels.declared_kernels().items()
    }


@needs_nvrtc
def test_a_compile_error_names_the_kernel_file_and_line():
    source = kernels.source_text("walk.cu").replace("Row row{0, 0, 0};", "Rwo row{0, 0, 0};")
    line = next(
        number
        for number, text in enumerate((kernels.kernel_folder() / "walk.cu").read_text().splitlines(), start=1)
        if "Row row{0, 0, 0};" in text
    )
    with pytest.raises(AssertionError, match=rf"kernels/walk\.cu\({line}\): error"):
        nvrtc_compile(source, "walk.cu", 90, "ptx")


def test_sources_are_ascii_and_include_only_each_other():
    for path in kernels.kernel_folder().glob("*.cu*"):
        text = path.read_text(encoding="ascii")
        for include in re.findall(r"#include (\S+)", text):
            known = (kernels.kernel_folder() / include.strip('"')).is_file()
            assert known or (path.name == "common.cuh" and include == "<stdint.h>"), f"{path.name}: {include}"


@needs_nvcc
@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids="sm_{}".format)
def test_no_kernel_spills_registers(architecture, tmp_path):
    """ptxas reports registers and spills of each kernel; a spill fails."""
    found = {}
    for file in kernels.source_files():
        source = tmp_path / file
        source.write_text(kernels.source_text(file), encoding="ascii")
        command = ["nvcc", *kernels.COMPILE_OPTIONS, "-cubin", f"-arch=sm_{architecture}", "-Xptxas", "-v",
                   "-Werror", "all-warnings", "-diag-suppress", "177", str(source),
                   "-o", str(tmp_path / "out.cubin")]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        for match in re.finditer(
            r"Function properties for (\w+)\n\s+(\d+) bytes stack frame, (\d+) bytes spill stores, "
            r"(\d+) bytes spill loads(?:\nptxas info\s+: Used (\d+) registers)?",
            done.stderr,
        ):
            found[match[1]] = tuple(int(number or 0) for number in match.groups()[1:])
    assert set(kernels.declared_kernels()) <= set(found)
    for name, (stack, stores, loads, registers) in sorted(found.items()):
        assert stores == loads == 0, f"{name} spills on sm_{architecture}, {stack} bytes of stack"
        if name in kernels.declared_kernels():
            report.note([name], "registers", f"{architecture}:{registers}")
