"""Charts of the report as plain data: a figure in the JSON form of Plotly, and the same numbers as a table.

Plotly reads `<b>`, `<a>` and entities in labels, so that every label from the data goes through `label`. Colours are
those of Okabe and Ito, and the scale Cividis, which colour-blind readers can tell apart.
"""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linksyn_gpu.report.stats import RunStats
from linksyn_gpu.tables import Float64, Int64, clean_text

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
MOST_LABELS = 15
MOST_BINS = 40
DIFFICULTY = "difficulty, 1 to 5"
LEVELS = ("1", "2", "3", "4", "5")


@dataclass(frozen=True)
class Chart:
    """A chart, ready for JSON, with the table that shows the same numbers."""

    name: str
    """Identifier on the page."""
    title: str
    note: str
    """What the chart shows, and how to read it."""
    data: list[dict[str, Any]]
    """Traces of Plotly."""
    layout: dict[str, Any]
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def label(text: str, limit: int = 40) -> str:
    """A text that Plotly shows as it is."""
    text = " ".join(clean_text(text).split())
    return html.escape(text if len(text) <= limit else text[: limit - 3] + "...", quote=False)


def charts_of(stats: RunStats) -> list[Chart]:
    """Return the charts that the figures of a run give, in the order of the page."""
    makers: tuple[Callable[[RunStats], Sequence[Chart]], ...] = (
        _cells,
        _growth,
        _visits,
        _path_lengths,
        _seed_use,
        _kinds,
        _text_lengths,
        _cluster_sizes,
    )
    return [chart for make in makers for chart in make(stats)]


def _axis(title: str, **further: Any) -> dict[str, Any]:
    return {"title": {"text": title}, "automargin": True, **further}


# ---------------------------------------------------------------------- discipline x difficulty


def _cells(stats: RunStats) -> list[Chart]:
    """Heat maps of discipline by difficulty; those of the plan only where it has more than one cell."""
    found = []
    if stats.final is not None and len(stats.final.by_cell) > 1:
        kept = {cell: float(n) for cell, n in stats.final.by_cell.items()}
        note = "Number of final QA by the discipline and difficulty that they state."
        found.append(_heat_map("heat-kept", "QA kept", note, kept, "QA"))
    planned = {(row["discipline"] or "any", str(row["difficulty"] or "any")): row for row in stats.cells}
    if len(planned) < 2 or len(planned) < len(stats.cells):  # one cell, or groups of licenses that share their names
        return found
    note = "Number of paths that the quota asks for in each cell."
    found.append(
        _heat_map(
            "heat-asked", "Paths asked for", note, {key: float(row["asked"]) for key, row in planned.items()}, "paths"
        )
    )
    shares = {key: 100 * row["own_share"] for key, row in planned.items() if row["own_share"] is not None}
    note = "Mean share of the seeds of a path that have the discipline of its cell."
    if shares:
        found.append(_heat_map("heat-own", "Seeds of the own discipline", note, shares, "%"))
    levels = {key: 100 * row["level_share"] for key, row in planned.items() if row["level_share"] is not None}
    note = "Share of the rated seeds that have the difficulty of their cell."
    if levels:
        found.append(_heat_map("heat-level", "Seeds at the level", note, levels, "%"))
    return found + _judged(stats)


def _judged(stats: RunStats) -> list[Chart]:
    if not stats.judged:
        return []
    counts = {(f"asked {asked}", level): float(n) for (asked, level), n in stats.judged.items()}
    note = "QA of stage enhance: the level that their cell asked for, and the level that the judge gave."
    return [_heat_map("heat-judged", "Level asked for and level judged", note, counts, "QA", across="level judged")]


def _heat_map(
    name: str,
    title: str,
    note: str,
    values: dict[tuple[str, str], float],
    unit: str,
    across: str = "difficulty, 1 to 5",
) -> Chart:
    totals = Counter[str]()
    for (row, _), value in values.items():
        totals[row] += int(value)
    most = [row for row, _ in sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:MOST_LABELS]]
    if len(totals) > MOST_LABELS:
        note += f" The {MOST_LABELS} largest of {len(totals):,} rows are shown."
    others = sorted({column for _, column in values} - {*LEVELS})
    columns = [*(level for level in LEVELS if any((row, level) in values for row in most)), *others]
    grid = [[values.get((row, column)) for column in columns] for row in most]
    shown = [["" if value is None else f"{value:,.0f}" for value in line] for line in grid]
    trace = {
        "type": "heatmap",
        "x": columns,
        "y": [label(row) for row in most],
        "z": grid,
        "text": shown,
        "texttemplate": "%{text}",
        "hovertemplate": f"%{{y}}, %{{x}}: %{{z:,.1f}} {unit}<extra></extra>",
        "colorscale": "Cividis",
        "colorbar": {"title": {"text": unit}, "thickness": 12},
        "xgap": 1,
        "ygap": 1,
    }
    layout = {
        "xaxis": _axis(across, type="category"),
        "yaxis": _axis("", type="category", autorange="reversed"),
        "height": 160 + 26 * len(most),
    }
    rows = [(row, *(text for text in line)) for row, line in zip(most, shown, strict=True)]
    return Chart(name, title, note, [trace], layout, (f"{unit} by", *columns), rows)


# ---------------------------------------------------------------------- coverage of the graph


def _growth(stats: RunStats) -> list[Chart]:
    if stats.campaign is None or stats.campaign["curve"][-1][0] == 0:
        return []
    curve = stats.campaign["curve"]
    paths = [point[0] for point in curve]
    lines = (("knowledge points", 1, BLUE, "solid"), ("seeds", 2, ORANGE, "dash"))
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": paths,
            "y": [point[column] for point in curve],
            "line": {"color": color, "dash": dash},
        }
        for name, column, color, dash in lines
    ]
    layout = {"xaxis": _axis("kept paths, in their order"), "yaxis": _axis("distinct, number", rangemode="tozero")}
    note = "Distinct knowledge points and seeds that the first kept paths reach. A flat end: more paths add little."
    rows = [tuple(f"{n:,}" for n in point) for point in _thinned(curve, 12)]
    return [Chart("growth", "Coverage curve", note, traces, layout, ("kept paths", "knowledge points", "seeds"), rows)]


def _thinned(rows: Sequence[Any], n: int) -> list[Any]:
    """At most n rows at equal distances, the first and the last included."""
    return [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, n).round().astype(int)).tolist()]


def _visits(stats: RunStats) -> list[Chart]:
    """Visits of KPs against the visits that their targets give: means of KPs with about the same target."""
    if stats.paths is None or stats.coverage is None:
        return []
    bins = _binned(stats.paths.expected, stats.coverage.visits)
    if not bins:
        return []
    expected = [row[0] for row in bins]
    line = {"type": "scatter", "mode": "lines", "x": expected}
    traces = [
        {
            **line,
            "name": "target",
            "y": expected,
            "line": {"color": ORANGE, "dash": "dash"},
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "visits",
            "x": expected,
            "y": [row[1] or None for row in bins],
            "error_y": {"type": "data", "array": [row[2] for row in bins], "color": BLUE, "thickness": 1},
            "marker": {"color": BLUE, "size": 7},
            "customdata": [row[3] for row in bins],
            "hovertemplate": "target %{x:.3g}, mean visits %{y:.3g}, %{customdata:,} KPs<extra></extra>",
        },
    ]
    layout = {
        "xaxis": _axis("visits by the target, per KP (log)", type="log", dtick="D2"),
        "yaxis": _axis("mean visits, per KP (log)", type="log", dtick="D2"),
    }
    note = (
        "Each mark is the mean of KPs with about the same target; bars are two standard errors of a draw from the "
        "target itself (the noise floor). On the line: visits follow the target."
    )
    rows = [(f"{want:.3g}", f"{mean:.3g}", f"{error:.2g}", f"{n:,}") for want, mean, error, n in bins]
    header = ("visits by the target", "mean visits", "two standard errors", "KPs")
    return [Chart("visits", "Visits against target", note, traces, layout, header, rows)]


def _binned(expected: Float64, visits: Int64) -> list[tuple[float, float, float, int]]:
    """Mean target, mean visits, two standard errors under the target, and number of KPs, by bins of the target."""
    aimed = expected > 0.0
    if not aimed.any():
        return []
    want, got = expected[aimed], visits[aimed]
    edges = np.geomspace(want.min(), want.max() * (1 + 1e-9), MOST_BINS + 1)
    place = np.clip(np.searchsorted(edges, want, side="right") - 1, 0, MOST_BINS - 1)
    found = []
    for number in np.unique(place).tolist():
        own = place == number
        mean, n = float(want[own].mean()), int(own.sum())
        found.append((mean, float(got[own].mean()), 2 * math.sqrt(mean / n), n))
    return found


# ---------------------------------------------------------------------- counts as bars


def _path_lengths(stats: RunStats) -> list[Chart]:
    if stats.paths is None or not stats.paths.lengths:
        return []
    note = "Kept paths by their number of knowledge points."
    bars = [(str(n), stats.paths.lengths[n]) for n in sorted(stats.paths.lengths)]
    return [_bars("path-lengths", "Path lengths", note, bars, "KPs per path", "paths")]


def _seed_use(stats: RunStats) -> list[Chart]:
    if stats.paths is None or not stats.paths.seed_use:
        return []
    counts = Counter[int]()
    for uses, seeds in stats.paths.seed_use.items():
        counts[_bound_below(uses)] += seeds
    note = f"Seeds by the number of kept paths that use them; {counts[0]:,} seeds are not used."
    bars = [(_range(bound), counts[bound]) for bound in sorted(counts)]
    return [_bars("seed-use", "Use of seeds", note, bars, "kept paths that use the seed", "seeds")]


def _bound_below(n: int) -> int:
    """The power of two that is not above n; 0 for 0."""
    return 0 if n == 0 else 1 << (n.bit_length() - 1)


def _range(bound: int) -> str:
    return str(bound) if bound < 2 else f"{bound:,}-{2 * bound - 1:,}"


def _kinds(stats: RunStats) -> list[Chart]:
    found = []
    for name, counts in stats.kept_by.items():
        if not counts:
            continue
        title = name.replace("_", " ").capitalize()
        most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        note = f"Final QA by {name.replace('_', ' ')}."
        if len(most) > MOST_LABELS:
            note += f" The {MOST_LABELS} largest of {len(most):,} are shown."
        found.append(_bars(f"by-{name}", title, note, most[:MOST_LABELS], "", "QA", lying=True))
    return found


def _text_lengths(stats: RunStats) -> list[Chart]:
    if stats.final is None or stats.final.rows == 0:
        return []
    bounds = sorted({bound for counts in stats.final.lengths.values() for bound in counts})
    colors = {"question": BLUE, "answer": ORANGE}
    traces = [
        {
            "type": "bar",
            "name": name,
            "x": [_range(bound) for bound in bounds],
            "y": [counts[bound] for bound in bounds],
            "marker": {"color": colors[name], "pattern": {"shape": "/" if name == "answer" else ""}},
        }
        for name, counts in stats.final.lengths.items()
    ]
    layout = {"xaxis": _axis("characters", type="category"), "yaxis": _axis("QA, number"), "barmode": "group"}
    rows = [(_range(bound), *(f"{counts[bound]:,}" for counts in stats.final.lengths.values())) for bound in bounds]
    note = "Final QA by the number of characters of question and answer."
    header = ("characters", *stats.final.lengths)
    return [Chart("text-lengths", "Text lengths", note, traces, layout, header, rows)]


def _cluster_sizes(stats: RunStats) -> list[Chart]:
    if not stats.clusters:
        return []
    counts = Counter[int]()
    for size, n in stats.clusters.items():
        counts[_bound_below(size)] += n
    note = (
        f"{stats.clusters.total():,} clusters of near-duplicate questions. One QA of each stays; none if it has a seed."
    )
    bars = [(_range(bound), counts[bound]) for bound in sorted(counts)]
    return [_bars("clusters", "Near-duplicate clusters", note, bars, "members", "clusters")]


def _bars(
    name: str, title: str, note: str, bars: Sequence[tuple[str, int]], across: str, unit: str, *, lying: bool = False
) -> Chart:
    names, counts = [label(text) for text, _ in bars], [n for _, n in bars]
    trace: dict[str, Any] = {"type": "bar", "marker": {"color": BLUE}, "text": [f"{n:,}" for n in counts]}
    trace |= {
        "textposition": "auto",
        "textangle": 0,
        "cliponaxis": False,
        "hovertemplate": "%{x}: %{y:,}<extra></extra>",
    }
    if lying:
        trace |= {"orientation": "h", "x": counts, "y": names, "hovertemplate": "%{y}: %{x:,}<extra></extra>"}
        layout = {
            "xaxis": _axis(f"{unit}, number"),
            "yaxis": _axis("", type="category", autorange="reversed"),
            "height": 140 + 26 * len(bars),
        }
    else:
        trace |= {"x": names, "y": counts}
        layout = {"xaxis": _axis(across, type="category"), "yaxis": _axis(f"{unit}, number")}
    rows = [(text, f"{n:,}") for text, n in bars]
    return Chart(name, title, note, [trace], layout, (across or title.lower(), unit), rows)
