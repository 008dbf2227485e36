"""`linksyn-gpu bench`: CPU against GPU."""

from __future__ import annotations

import runpy
import sys

import click

from linksyn_gpu.cli.console import at_the_border


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@at_the_border
def command(arguments: tuple[str, ...]) -> None:
    """Run bench/gpu.py with these ARGUMENTS; --help shows its own."""
    from linksyn_gpu.backend.gpu.cuda import bench_folder

    folder = bench_folder()
    sys.argv = ["linksyn-gpu bench", *arguments]
    sys.path.insert(0, str(folder))  # its graph makers and clock stand beside it
    runpy.run_path(str(folder / "gpu.py"), run_name="__main__")
