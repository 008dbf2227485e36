"""`linksyn-gpu report`: what a run did, as text, as a page, and as figures for papers; or two runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from linksyn_gpu.cli.console import errors_as_text, result, status
from linksyn_gpu.cli.options import existing_run
from linksyn_gpu.cli.summary import comparison_text, report_text

if TYPE_CHECKING:
    from linksyn_gpu.report.figures import Figure, HeatMap

FORMATS = ("pdf", "svg", "png")


@click.command()
@existing_run
@click.argument("other", required=False, metavar="[OTHER_DIR]", type=click.Path())
@click.option("--figures", metavar="FOLDER", type=click.Path(), help="Also write the figures, each with its data.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Format of --figures.  [pdf]")
@errors_as_text
def command(folder: str, other: str | None, figures: str | None, form: Any) -> None:
    """Print the figures of the run in DIR, and write DIR/report.html. Also works during the run.

    With OTHER_DIR, print the figures of both runs side by side, and write DIR/comparison.html.

    `--figures` writes a file for each figure (extra 'figures'), its data as CSV, and captions.md with titles and notes.
    """
    from linksyn_gpu.pipeline import stages
    from linksyn_gpu.pipeline.folder import Workspace

    if form is not None and figures is None:
        raise click.UsageError("--format is the format of --figures: add --figures FOLDER")
    with Workspace(folder, create=False, lock=False) as ws:
        if other is None:
            from linksyn_gpu.report.figures import figures_of

            stats = stages.gather(ws)
            result(report_text(stats))
            _write_page(f"{folder}/report.html", lambda: stages.write_page(ws, stats))
            found = figures_of(stats)
        else:
            from linksyn_gpu.report.compare import comparison_figures

            with Workspace(other, create=False, lock=False) as second:
                comparison = stages.compare(ws, second)
            result(comparison_text(comparison))
            _write_page(f"{folder}/comparison.html", lambda: stages.write_comparison(ws, comparison))
            found = comparison_figures(comparison)
    if figures is not None:
        _write_figures(found, figures, form or FORMATS[0])


def _write_page(name: str, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:  # a folder or medium that cannot be written
        status(f"{name} was not written: {error}")
    else:
        result(f"page       {name}")


def _write_figures(figures: Sequence[Figure | HeatMap], folder: str, form: Any) -> None:
    from linksyn_gpu.report.plots import write_figures

    if not figures:
        status("No figures were written: there is no data for any yet.")
        return
    drawn = write_figures(figures, Path(folder), form)
    result(f"figures    {folder}: {len(figures):,} as {form} with their data as CSV; captions.md")
    if drawn.without_glyph:
        status(
            f"No installed font has {drawn.without_glyph!r}: the figures show boxes instead. Install a font that has "
            "them, such as Noto Sans CJK, delete Matplotlib's font cache, and write the figures again."
        )
