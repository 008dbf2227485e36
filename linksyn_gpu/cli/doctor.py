"""`linksyn-gpu doctor`: what this machine has, and which backend would be used and why."""

from __future__ import annotations

import importlib.metadata
import os
import platform

import click

from linksyn_gpu.cli.console import at_the_border
from linksyn_gpu.cli.options import Bytes

PACKAGES = {
    "core": ("numpy", "scipy", "numba", "pyarrow", "click", "rich", "jinja2", "aiohttp", "psutil", "orjson"),
    "embedded engine": ("xllamacpp",),
    "analytics": ("igraph",),
    "GPU": ("cupy-cuda13x", "cupy-cuda12x", "cupy", "cudf-cu13", "cugraph-cu13", "cudf", "cugraph"),
    "cluster": ("ray",),
}


@click.command()
@click.option("--run", "folder", type=click.Path(), help="Also plan the device memory of this run folder's graph.")
@click.option("--length", default=4, show_default=True, help="Steps of a walk, for the memory plan.")
@click.option("--round-paths", default=1_000_000, show_default=True, help="Walks of a round, for the memory plan.")
@click.option("--gpu-memory", type=Bytes(), help="Plan for this much device memory; left out: what is free here.")
@at_the_border
def command(folder: str | None, length: int, round_paths: int, gpu_memory: int | None) -> None:
    """Show what was found: processor, memory, GPU, packages, and the backend that would be used."""
    from linksyn_gpu import __version__
    from linksyn_gpu.backend import resolve
    from linksyn_gpu.backend.kernels import kernel_folder
    from linksyn_gpu.errors import BackendUnavailable
    from linksyn_gpu.llm.servers.smol import model_status

    click.echo(f"linksyn-gpu {__version__}, Python {platform.python_version()}, {platform.platform()}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    click.echo(f"processor: {os.cpu_count()} cores, {memory / 2**30:.0f} GiB memory")
    try:
        backend = resolve("auto")
        click.echo(f"backend: {backend.name} ({backend.reason})")
    except BackendUnavailable as error:
        click.echo(f"backend: none, {error}")
    click.echo(f"kernels: {len(list(kernel_folder().glob('*.cu')))} CUDA sources found")
    click.echo(f"embedded model: {model_status()}")
    for group, names in PACKAGES.items():
        click.echo(f"{group}: " + (", ".join(filter(None, map(_version, names))) or "not installed"))
    if folder is not None:
        from linksyn_gpu.run import stages as pipeline
        from linksyn_gpu.run.folder import Workspace

        with Workspace(folder, create=False) as ws:
            click.echo(f"\ndevice memory for {folder}:\n{pipeline.memory_plan(ws, length, round_paths, gpu_memory)}")


def _version(name: str) -> str:
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return ""
