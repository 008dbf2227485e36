"""`linksyn-gpu bench`: CPU against GPU."""

from __future__ import annotations

import runpy
import sys

import click

from linksyn_gpu.cli.console import errors_as_text


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@errors_as_text
def command(arguments: tuple[str, ...]) -> None:
    """Run bench/gpu.py with ARGUMENTS; --help shows its own help."""
    from linksyn_gpu.backend.gpu.cuda import bench_folder

    folder = bench_folder()
    sys.argv = ["linksyn-gpu bench", *arguments]
    sys.path.insert(0, str(folder))  # for its neighbours graphs.py and timing.py
    runpy.run_path(str(folder / "gpu.py"), run_name="__main__")
