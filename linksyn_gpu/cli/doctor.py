"""`linksyn-gpu doctor`: what this machine has, and which backend would be used and why."""

from __future__ import annotations

import importlib.metadata
import os
import platform

import click

from linksyn_gpu.cli.console import errors_as_text, result
from linksyn_gpu.cli.options import BYTES
from linksyn_gpu.config import MAX_PATHS, MAX_WALK_LENGTH

PACKAGES = {
    "core": "numpy scipy numba pyarrow click rich jinja2 aiohttp psutil orjson pyahocorasick opencc wordfreq",
    "embedded engine": "xllamacpp",
    "analytics": "igraph",
    "key phrases": "yake jieba",
    "GPU": "cupy-cuda13x cupy cudf-cu13 cudf cugraph-cu13 cugraph cuvs-cu13 cuvs",
}


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path())
@click.option("--length", type=click.IntRange(1, MAX_WALK_LENGTH), default=4, help="Plan for paths of this many steps.")
@click.option("--round-paths", type=click.IntRange(1, MAX_PATHS), default=1_000_000, help="Paths per round.")
@click.option("--gpu-memory", type=BYTES, help="Plan for this much device memory; default: what is free here.")
@errors_as_text
def command(folder: str | None, length: int, round_paths: int, gpu_memory: int | None) -> None:
    """Show processor, memory, GPU, packages, and the backend that would be used.

    With the run folder DIR, also plan the device memory of its graph.
    """
    from linksyn_gpu import __version__
    from linksyn_gpu.backend import resolve
    from linksyn_gpu.backend.gpu.cuda import kernel_folder
    from linksyn_gpu.errors import BackendUnavailable
    from linksyn_gpu.llm.servers.smol import model_status

    result(f"linksyn-gpu {__version__}, Python {platform.python_version()}, {platform.platform()}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    result(f"processor: {os.cpu_count()} cores, {memory / 2**30:.0f} GiB memory")
    try:
        backend = resolve("auto")
        result(f"backend: {backend.name} ({backend.reason})")
    except BackendUnavailable as error:
        result(f"backend: none, {error}")
    result(f"kernels: {len(list(kernel_folder().glob('*.cu')))} CUDA sources found")
    result(f"embedded model: {model_status()}")
    for group, names in PACKAGES.items():
        result(f"{group}: " + (", ".join(filter(None, map(_version, names.split()))) or "not installed"))
    if folder is not None:
        from linksyn_gpu.pipeline import stages
        from linksyn_gpu.pipeline.folder import Workspace

        with Workspace(folder, create=False) as ws:
            plan = stages.memory_plan(ws, length, round_paths, gpu_memory)
        result(f"\ndevice memory for {folder}:\n{plan}")


def _version(name: str) -> str:
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return ""
