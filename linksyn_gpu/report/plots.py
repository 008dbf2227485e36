"""Figures as files for papers: PDF, SVG or PNG drawn by Matplotlib, each with its data as CSV.

The files have no titles, as papers put them into the caption; captions.md lists title and note of each figure. The same
data give the same bytes. Colours are those of Okabe and Ito, and the scale Cividis, which colour-blind readers can tell
apart; lines also differ by dashes, and bars by hatching.
"""

from __future__ import annotations

import csv
import itertools
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from linksyn_gpu.errors import ConfigError
from linksyn_gpu.report.figures import Figure, HeatMap, Series
from linksyn_gpu.tables import clean_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

FORMATS = ("pdf", "svg", "png")
Format = Literal["pdf", "svg", "png"]
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
HATCHES = ("", "////", "....", "xxxx")
WIDTH, HEIGHT, PER_ROW, LEGEND_ROW = 5.2, 3.2, 0.24, 0.19
"""Inches; `PER_ROW` is for each horizontal bar and each row of a heat map."""
LONGEST_LABEL, LONGEST_TITLE, LONGEST_UPRIGHT = 44, 60, 20
"""Characters of the names of bars and series, of axis titles, and of names under bars."""
MOST_TICKS = 16
LEGEND = 76
"""Characters in a row of the legend; the line of an entry takes about eight."""
CJK_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei"),
    *("Microsoft YaHei", "PingFang SC", "Hiragino Sans GB"),
)
"""Fonts with Chinese characters; of a collection, Matplotlib knows the first font only."""
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.4,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # embedded TrueType, which journals ask for
    "svg.hashsalt": "linksyn-gpu",
    "text.parse_math": False,  # a name with '$' is no formula
}
UNDATED: dict[Format, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


@dataclass(frozen=True)
class Drawn:
    """What `write_figures` wrote."""

    files: Sequence[Path]
    without_glyph: str
    """Characters of labels that no installed font has."""


def write_figures(figures: Sequence[Figure | HeatMap], folder: Path, form: Format) -> Drawn:
    """Write each figure, its data, and captions.md into a folder.

    Raises
    ------
    ConfigError
        Matplotlib is not installed.
    """
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise ConfigError("--figures needs Matplotlib: pip install 'linksyn-gpu[figures]'") from None
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with matplotlib.rc_context(), warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        matplotlib.rcdefaults()  # not the style of the user
        matplotlib.rcParams.update({**STYLE, "font.family": _fonts()})
        for figure in figures:
            files += [folder / f"{figure.name}.{form}", folder / f"{figure.name}.csv"]
            _drawn(figure).savefig(files[-2], format=form, metadata=UNDATED[form])
            with files[-1].open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(figure.rows())
    missing = set()
    for warning in found:
        if glyph := re.match(r"Glyph (\d+) ", str(warning.message)):
            missing.add(chr(int(glyph[1])))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    captions = folder / "captions.md"
    captions.write_text("".join(f"## {f.name}\n\n{f.title}. {f.note}".rstrip() + "\n\n" for f in figures), "utf-8")
    return Drawn([*files, captions], "".join(sorted(missing)))


def _fonts() -> list[str]:
    """The font of Matplotlib, and one for Chinese where it is installed."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *[name for name in CJK_FONTS if name in installed][:1]]


def _label(text: object, longest: int = LONGEST_LABEL) -> str:
    shown = " ".join(clean_text(str(text)).split())
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."


def _drawn(figure: Figure | HeatMap) -> Canvas:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = canvas.add_subplot()
    if isinstance(figure, HeatMap):
        _draw_heat_map(canvas, axes, figure)
        return canvas
    axes.set_xscale("log" if figure.log_x else "linear")
    axes.set_yscale("log" if figure.log_y else "linear")
    bars = [series for series in figure.series if series.kind == "bars"]
    if bars and figure.horizontal:
        _draw_horizontal(canvas, axes, figure, bars)
    else:
        axes.set_xlabel(_label(figure.x_title, LONGEST_TITLE))
        axes.set_ylabel(_label(figure.y_title, LONGEST_TITLE))
        for number, series in enumerate(figure.series):
            if series.kind != "bars":
                _draw_series(axes, series, number, figure.series)
        if bars:
            _draw_bars(axes, bars, figure)
        if not figure.log_y:
            axes.set_ylim(bottom=0.0)  # counts and shares
        for axis, log in ((axes.xaxis, figure.log_x), (axes.yaxis, figure.log_y)):
            _thousands(axis, log=log)
    if len(figure.series) > 1:
        longest = max(len(_label(series.name)) for series in figure.series)
        rows = -(-len(figure.series) // max(1, LEGEND // (longest + 8)))
        canvas.set_figheight(canvas.get_figheight() + LEGEND_ROW * (rows - 1))
        canvas.legend(loc="outside upper left", ncols=-(-len(figure.series) // rows))
    return canvas


def _look(number: int, series: Series, of: Sequence[Series]) -> tuple[str, int]:
    """Colour, and number of the dashes or the hatching."""
    if series.group is None:
        return COLORS[number % len(COLORS)], number % len(DASHES)
    within = sum(other.group == series.group for other in of[:number])
    return COLORS[series.group % len(COLORS)], within % len(DASHES)


def _draw_series(axes: Axes, series: Series, number: int, of: Sequence[Series]) -> None:
    color, dashes = _look(number, series, of)
    if series.kind == "points":
        axes.plot(
            series.x, series.y, ".", markersize=2.5, color=color, alpha=0.6, label=_label(series.name), rasterized=True
        )
    else:
        style = DASHES[max(1, dashes)] if series.dashed else DASHES[dashes]
        axes.plot(series.x, series.y, color=color, linestyle=style, label=_label(series.name))


def _draw_bars(axes: Axes, bars: Sequence[Series], figure: Figure) -> None:
    """Bars next to each other, at the numbers of their values or at the places of their categories."""
    names = list(dict.fromkeys(itertools.chain.from_iterable(series.x for series in bars)))
    if not all(isinstance(name, str) for name in names):
        for series in bars:
            color, hatch = _look(figure.series.index(series), series, figure.series)
            x = [float(value) for value in series.x]
            width = min((b - a for a, b in itertools.pairwise(sorted(x))), default=1.0)
            style = {"color": color} if len(bars) == 1 else {"fill": False, "edgecolor": color, "hatch": HATCHES[hatch]}
            axes.bar(x, _numbers(series), width, label=_label(series.name), **style)
        return
    place = {name: number for number, name in enumerate(names)}
    width = 0.8 / len(bars)
    for number, series in enumerate(bars):
        color, hatch = _look(figure.series.index(series), series, figure.series)
        x = [place[name] + (number - (len(bars) - 1) / 2) * width for name in series.x]
        axes.bar(
            x, _numbers(series), width, color=color, hatch=HATCHES[hatch], edgecolor="white", label=_label(series.name)
        )
    step = -(-len(names) // MOST_TICKS)
    shown = [_label(name, LONGEST_UPRIGHT) for name in names]
    axes.set_xticks(range(0, len(names), step), shown[::step], rotation=90 if max(map(len, shown)) > 12 else 0)
    axes.grid(visible=False, axis="x")


def _draw_horizontal(canvas: Canvas, axes: Axes, figure: Figure, bars: Sequence[Series]) -> None:
    names = list(dict.fromkeys(itertools.chain.from_iterable(series.x for series in bars)))
    place, height = {name: number for number, name in enumerate(names)}, 0.8 / len(bars)
    for number, series in enumerate(bars):
        color, hatch = _look(number, series, figure.series)
        y = [place[name] + (number - (len(bars) - 1) / 2) * height for name in series.x]
        axes.barh(
            y, _numbers(series), height, color=color, hatch=HATCHES[hatch], edgecolor="white", label=_label(series.name)
        )
    axes.set_yticks(range(len(names)), [_label(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(_label(figure.y_title, LONGEST_TITLE))
    axes.set_ylabel(_label(figure.x_title, LONGEST_TITLE))
    _thousands(axes.xaxis, log=figure.log_y)
    rows = len(names) * max(1.0, 0.7 * len(bars)) + (len(bars) > 1)
    canvas.set_size_inches(_label_width(axes) + 3.8, max(1.2, 0.8 + PER_ROW * rows))


def _label_width(axes: Axes) -> float:
    """Inches of the longest name on the vertical axis."""
    return float(max(label.get_window_extent().width for label in axes.get_yticklabels()) / axes.figure.dpi)


def _draw_heat_map(canvas: Canvas, axes: Axes, figure: HeatMap) -> None:
    values = np.array([[np.nan if v is None else v for v in row] for row in figure.values], np.float64)
    scale = 100 if figure.percent else 1
    values = scale * values
    low, high = (scale * end for end in figure.span) if figure.span is not None else (None, None)
    image = axes.imshow(values, cmap="cividis", aspect="auto", vmin=low, vmax=high)
    axes.set_xticks(range(len(figure.x)), [_label(name) for name in figure.x])
    axes.set_yticks(range(len(figure.y)), [_label(name) for name in figure.y])
    axes.set_xlabel(_label(figure.x_title, LONGEST_TITLE))
    axes.set_ylabel(_label(figure.y_title, LONGEST_TITLE))
    axes.grid(visible=False)
    middle = (image.norm.vmin + image.norm.vmax) / 2 if np.isfinite(values).any() else 0.0
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            color = "white" if value < middle else "black"
            text = f"{value:.1f}" if figure.percent else f"{value:,.0f}" if value == round(value) else f"{value:,.2f}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    canvas.set_size_inches(_label_width(axes) + max(3.2, 1.8 + 0.6 * len(figure.x)), 1.1 + PER_ROW * len(figure.y))
    canvas.colorbar(image, ax=axes, label=_label(figure.unit) + (" (%)" if figure.percent else ""))


def _numbers(series: Series) -> list[float]:
    return [np.nan if value is None else value for value in series.y]


def _thousands(axis: Any, *, log: bool) -> None:
    """Numbers with commas; on a logarithmic axis powers of ten, and further numbers where it has few of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, ScalarFormatter

    if log:
        low, high = axis.get_view_interval()
        if high / max(low, 1e-300) < 50:
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_minor_formatter(NullFormatter())
    elif not isinstance(axis.get_major_formatter(), ScalarFormatter):
        return  # names
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
