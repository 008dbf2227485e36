"""Finds kernels/*.cu and asks whether a CUDA device is usable."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from linksyn_gpu.errors import BackendUnavailable, KernelError


def kernel_folder() -> Path:
    """Folder of the CUDA sources: inside the installed package, or beside it in a repository.

    Raises
    ------
    KernelError
        Neither holds them: the installation is broken.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "kernels", package.parent / "kernels"):
        if (folder / "philox.cuh").is_file():
            return folder
    raise KernelError(f"no CUDA sources in {package / 'kernels'}; install linksyn-gpu again")


def probe_device() -> tuple[bool, str]:
    """Ask for a usable CUDA device.

    Returns
    -------
    usable : bool
    finding : str
        One true sentence for people and the manifest.

    Raises
    ------
    BackendUnavailable
        CuPy is installed but broken: that must not look like a missing GPU.
    """
    if importlib.util.find_spec("cupy") is None:
        return False, "CuPy is not installed, so the GPU cannot be used"
    try:
        import cupy
    except ImportError as error:
        raise BackendUnavailable(
            f"CuPy is installed but does not import ({error}); mend the installation or pass --backend cpu"
        ) from error
    if not cupy.cuda.is_available():
        return False, f"CuPy {cupy.__version__} is installed but finds no usable CUDA device"
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    return True, f"CuPy {cupy.__version__} finds {name}"
