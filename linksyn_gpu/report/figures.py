"""The figures of a report, independent of what draws them: series with names, axis titles and units.

The page draws them with Plotly; other formats and tables use the same series.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from linksyn_gpu.report.stats import Clusters, Coverage, Histogram, Outcomes, RunStats, Timeline
from linksyn_gpu.tables import Float64

MAX_POINTS = 400
"""Points of a curve by rank."""
MAX_KPS = 1500
"""KPs of the figure of visits against the target."""
UNVISITED = 0.5
"""Where a KP without a visit is drawn on a logarithmic axis."""
MAX_NAMES = 30
"""Disciplines, languages or question types of a figure, the ones with most."""
MOST_USES = 30
"""Uses of a seed from which on they are counted together."""
LEVELS = (1.0, 5.0)
"""Lowest and highest level of difficulty."""
TARGET = " (target)"
"""Behind the name of the level that enhancement asks for."""
CRITERIA = ("question_type", "language", "discipline", "difficulty")

Kind = Literal["line", "bars", "points"]
Value = float | int | str


@dataclass(frozen=True)
class Series:
    """One line, group of bars, or cloud of points."""

    name: str
    x: Sequence[Value]
    y: Sequence[float | None]
    kind: Kind = "line"
    labels: Sequence[str] = ()
    """Text of each point."""
    dashed: bool = False
    group: int | None = None
    """Series of a group have a colour of their own, and differ by dashes or hatching; None: each has its colour."""


@dataclass(frozen=True)
class Figure:
    """A chart: its series, and axis titles with units."""

    name: str
    """Of its file and in the page, such as 'coverage-curve'."""
    title: str
    x_title: str
    y_title: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False
    horizontal: bool = False
    """Bars that grow to the right: `x` has the categories, and `x_title` belongs to the vertical axis."""
    stacked: bool = False
    note: str = ""
    """How to read it, in a sentence or two."""

    def rows(self) -> Iterator[tuple[Value | None, ...]]:
        """The data as a table with a header: series, x, y; with labels if there are any."""
        labelled = any(series.labels for series in self.series)
        yield ("series", self.x_title, self.y_title, *(("label",) if labelled else ()))
        for series in self.series:
            for i, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
                yield (series.name, x, y, *((series.labels[i] if series.labels else "",) if labelled else ()))


@dataclass(frozen=True)
class HeatMap:
    """A value for each pair of a row and a column; None: no such cell."""

    name: str
    title: str
    x_title: str
    y_title: str
    x: Sequence[str]
    y: Sequence[str]
    values: Sequence[Sequence[float | None]]
    """[len(y)][len(x)]"""
    unit: str
    """Title of the colour scale."""
    percent: bool = False
    """The values are shares."""
    note: str = ""
    span: tuple[float, float] | None = None
    """Values at the ends of the colour scale; None: the least and the largest one."""

    def rows(self) -> Iterator[tuple[Value | None, ...]]:
        """The data as a table with a header."""
        yield (self.y_title, self.x_title, self.unit)
        for label, values in zip(self.y, self.values, strict=True):
            for column, value in zip(self.x, values, strict=True):
                if value is not None:
                    yield (label, column, value)


def figures_of(stats: RunStats) -> list[Figure | HeatMap]:
    """Every figure for which the run has data, in the order of the page."""
    found: list[Figure | HeatMap] = [*cell_maps(stats.cells)]
    if stats.campaign is not None and stats.campaign["curve"][-1][0]:
        found.append(coverage_curve(stats.campaign["curve"]))
    if (coverage := stats.coverage) is not None and coverage.visits.any():
        found += [
            visits_by_rank(coverage),
            visits_against_target(coverage),
            lorenz_curve(coverage),
            lengths_of_paths(coverage),
            seed_uses(coverage),
        ]
    found += kept_by(stats.kept_by)
    found += [length_histogram(name, lengths) for name, lengths in stats.lengths.items()]
    if stats.stages["enhance"] is not None:
        found.append(levels(stats.stages["enhance"]))
    if stats.clusters is not None and stats.clusters.sizes:
        found.append(cluster_sizes(stats.clusters))
    found += [recall(what, certificate) for what, certificate in stats.certificates.items()]
    for outcomes in stats.journals.values():
        if outcomes.timeline is not None:
            found += over_time(outcomes, outcomes.timeline)
    return found


# ---------------------------------------------------------------------- the quota


def cell_maps(cells: Sequence[Mapping[str, Any]]) -> list[HeatMap]:
    """Discipline by difficulty: paths asked for, paths kept, own share, and the level that the judge gave."""
    if len(cells) < 2:
        return []
    asked = Counter[str]()
    for cell in cells:
        asked[_discipline(cell)] += cell["asked"]
    rows = [name for name, _ in asked.most_common(MAX_NAMES)]
    left_out = (
        f" The {MAX_NAMES} of {len(asked):,} disciplines with most paths are drawn." if len(asked) > MAX_NAMES else ""
    )
    levels_of = sorted({cell["difficulty"] or 0 for cell in cells})
    columns = [str(level) if level else "any" for level in levels_of]

    def grid(value: Any) -> list[list[float | None]]:
        found: dict[tuple[str, int], float | None] = {}
        for cell in cells:
            found[_discipline(cell), cell["difficulty"] or 0] = value(cell)
        return [[found.get((row, level)) for level in levels_of] for row in rows]

    def heat(name: str, title: str, unit: str, value: Any, *, note: str = "", **further: Any) -> HeatMap:
        note = f"{note}{left_out}".strip()
        axes = "difficulty asked for (level)", "discipline", columns, rows
        return HeatMap(name, title, *axes, grid(value), unit, note=note, **further)

    span = 0.0, float(max(1, *(max(cell["asked"], cell["delivered"]) for cell in cells)))
    found = [
        heat("cells-asked", "Paths asked for", "paths", lambda cell: cell["asked"], span=span),
        heat("cells-kept", "Paths kept", "paths", lambda cell: cell["delivered"], span=span),
    ]
    if any(cell.get("qa") for cell in cells):
        found.append(
            heat(
                "cells-qa",
                "QA kept of those asked for",
                "share of QA",
                lambda cell: cell["qa"]["kept"] / cell["qa"]["asked"] if cell["qa"] and cell["qa"]["asked"] else None,
                percent=True,
            )
        )
    if any(cell["own_share"] is not None for cell in cells):
        note = "Seeds of the discipline among all seeds of the paths."
        found.append(
            heat("cells-own", "Own seeds", "share of seeds", lambda cell: cell["own_share"], percent=True, note=note)
        )
    if any(cell.get("judged_level") is not None for cell in cells):
        note = "Mean level that the judge of stage enhance gave the kept QA."
        found.append(
            heat(
                "cells-judged",
                "Level judged",
                "mean level",
                lambda cell: cell.get("judged_level"),
                note=note,
                span=LEVELS,
            )
        )
    return found


def _discipline(cell: Mapping[str, Any]) -> str:
    group = f" ({cell['license_group']})" if cell.get("license_group") else ""
    return f"{cell['discipline'] or 'any discipline'}{group}"


# ---------------------------------------------------------------------- coverage


def coverage_curve(curve: Sequence[tuple[int, int, int]]) -> Figure:
    """Distinct KPs and seeds of the first paths."""
    paths, kps, seeds = zip(*curve, strict=True)
    return Figure(
        "coverage-curve",
        "Coverage by the first paths",
        "kept paths, in their order",
        "distinct KPs or seeds",
        [Series("knowledge points", paths, kps), Series("seeds", paths, seeds)],
        note="A curve that has become flat reaches hardly anything new with more paths.",
    )


def visits_by_rank(coverage: Coverage) -> Figure:
    """Shares of KPs by rank: visits of kept paths, their target, and mentions in seeds."""
    shares = {
        "visits": coverage.visits / max(1, int(coverage.visits.sum())),
        "target": coverage.expected / max(1.0, float(coverage.expected.sum())),
        "popularity among seeds": coverage.popularity,
    }
    series = []
    for name, values in shares.items():
        ordered = np.sort(values[values > 0.0])[::-1]
        if ordered.size:
            rank = np.unique(np.geomspace(1, ordered.size, MAX_POINTS).astype(np.int64))
            series.append(Series(name, rank.tolist(), ordered[rank - 1].tolist(), dashed=name == "target"))
    return Figure(
        "visits-by-rank",
        "Knowledge points by rank",
        "rank of the KP",
        "share of visits or mentions",
        series,
        log_x=True,
        log_y=True,
        note="Each curve has its own ranks. A flat curve treats all KPs the same.",
    )


def visits_against_target(coverage: Coverage) -> Figure:
    """Visits of each KP against the visits that its target asks for, with the range of chance."""
    reached = np.flatnonzero(coverage.expected > 0.0)
    order = reached[np.argsort(coverage.expected[reached], kind="stable")]
    at = np.unique(np.linspace(0, max(0, order.size - 1), min(MAX_KPS, order.size)).round().astype(np.int64))
    chosen = order[at]
    expected = coverage.expected[chosen]
    visits = np.maximum(coverage.visits[chosen], UNVISITED)
    ends = [float(expected.min()), float(expected.max())] if expected.size else [1.0, 1.0]
    line: Float64 = np.geomspace(ends[0], ends[1], 60)
    lower, upper = _poisson_range(line)
    shown = f"{chosen.size:,} of {reached.size:,} KPs are drawn. " if chosen.size < reached.size else ""
    return Figure(
        "visits-against-target",
        "Visits against their target",
        "visits by the target",
        "visits of kept paths",
        [
            Series("knowledge points", expected.tolist(), visits.tolist(), "points"),
            Series("target", ends, ends),
            Series("noise floor, upper end", line.tolist(), upper.tolist(), dashed=True, group=2),
            Series("noise floor, lower end", line.tolist(), lower.tolist(), dashed=True, group=2),
        ],
        log_x=True,
        log_y=True,
        note=(
            f"{shown}Dashed: the range in which 95% of KPs would lie if visits were drawn from the target itself. "
            f"KPs without a visit are drawn at {UNVISITED:g}."
        ),
    )


def _poisson_range(mean: Float64) -> tuple[Float64, Float64]:
    """Range of 95% of a Poisson variable, at least `UNVISITED`, as smooth curves (Anscombe)."""
    root = np.sqrt(mean + 0.375)
    lower = np.maximum(root - 0.98, 0.0) ** 2 - 0.375
    return np.maximum(lower, UNVISITED), (root + 0.98) ** 2 - 0.375


def lorenz_curve(coverage: Coverage) -> Figure:
    """Share of visits that the least visited KPs have together."""
    visits = np.sort(coverage.visits[coverage.expected > 0.0])
    together = np.concatenate([[0], np.cumsum(visits)]) / max(1, int(visits.sum()))
    at = np.unique(np.linspace(0, visits.size, 101).round().astype(np.int64))
    return Figure(
        "lorenz-curve",
        "Evenness of visits",
        "share of the KPs, least visited first (%)",
        "share of the visits (%)",
        [
            Series("visits", (100 * at / max(1, visits.size)).tolist(), (100 * together[at]).tolist()),
            Series("all KPs the same", [0, 100], [0, 100], dashed=True),
        ],
        note=f"Gini coefficient {coverage.gini:.3f}: 0 if every KP has as many visits, near 1 if few have all.",
    )


def lengths_of_paths(coverage: Coverage) -> Figure:
    """Kept paths by their number of KPs."""
    lengths = sorted(coverage.path_lengths)
    bars = Series("paths", [str(n) for n in lengths], [coverage.path_lengths[n] for n in lengths], "bars")
    return Figure("path-lengths", "Lengths of paths", "knowledge points of a path", "kept paths", [bars])


def seed_uses(coverage: Coverage) -> Figure:
    """Seeds by the number of bundles that hold them."""
    counts = [0] * (MOST_USES + 1)
    for uses, n in coverage.seed_uses.items():
        counts[min(uses, MOST_USES)] += n
    last = max((uses for uses, n in enumerate(counts) if n), default=0)
    names = [f"{uses}+" if uses == MOST_USES else str(uses) for uses in range(last + 1)]
    bars = Series("seeds", names, counts[: last + 1], "bars")
    return Figure("seed-uses", "Use of seeds", "kept paths that use the seed", "seeds", [bars])


# ---------------------------------------------------------------------- QA


def kept_by(counts: Mapping[str, Mapping[str, int]]) -> list[Figure]:
    """QA by question type, language, discipline and difficulty."""
    found = []
    for criterion in CRITERIA:
        if of := counts.get(criterion):
            what = criterion.replace("_", " ")
            ordered = criterion == "difficulty"
            names = sorted(of) if ordered else sorted(of, key=lambda name: (-of[name], name))[:MAX_NAMES]
            note = f"The {MAX_NAMES} most frequent of {len(of):,}." if len(names) < len(of) else ""
            bars = Series("QA", names, [of[name] for name in names], "bars")
            file = f"qa-by-{criterion}".replace("_", "-")
            found.append(Figure(file, f"QA by {what}", what, "QA", [bars], horizontal=not ordered, note=note))
    return found


def length_histogram(name: str, histogram: Histogram) -> Figure:
    """QA by the length of one part."""
    unit = "tokens" if name == "written tokens" else "characters"
    what = "written tokens of the request" if unit == "tokens" else f"length of the {name} ({unit})"
    edges = histogram.edges
    starts = [f"{int(a):,}-{int(b) - 1:,}" for a, b in itertools.pairwise(edges)]
    middles = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
    bars = Series("QA", middles, list(histogram.counts), "bars", starts)
    note = "The last bar also has everything longer." if len(histogram.counts) > 1 else ""
    title = "Written tokens" if unit == "tokens" else f"Length of {name}s"
    return Figure(f"length-{name.replace(' ', '-')}", title, what, "QA", [bars], note=note)


def levels(counts: Mapping[str, Any]) -> Figure:
    """QA of each level before and after stage enhance."""
    before, after = counts["levels_before"], counts["levels_after"]
    names = [level for level in (*"12345", "unknown") if level != "unknown" or level in before]
    shown = [f"{name}{TARGET}" if name == str(counts["asked_level"]) else name for name in names]
    series = [
        Series(name, shown, [found.get(level, 0) for level in names], "bars")
        for name, found in (("before", before), ("after", after))
    ]
    title, note = "Levels before and after enhancement", f"The target is level {counts['asked_level']}."
    return Figure("levels", title, "level that the judge gave", "QA", series, note=note)


def cluster_sizes(clusters: Clusters) -> Figure:
    """Near-duplicate clusters by their size."""
    sizes = sorted(clusters.sizes)
    bars = Series("clusters", [str(size) for size in sizes], [clusters.sizes[size] for size in sizes], "bars")
    return Figure("cluster-sizes", "Clusters of near-duplicates", "members of a cluster", "clusters", [bars])


def recall(what: str, certificate: Mapping[str, Any]) -> Figure:
    """Share of injected benchmark items that decontamination finds, by form."""
    forms = {form: row["recall"] for form, row in certificate["forms"].items() if row["recall"] is not None}
    bars = Series("found", list(forms), [100 * share for share in forms.values()], "bars")
    title = f"Benchmark items found in {what}, by form"
    axis = "injected items that are found (%)"
    return Figure(f"recall-{what.casefold()}", title, "form", axis, [bars], horizontal=True)


# ---------------------------------------------------------------------- the server


def over_time(outcomes: Outcomes, timeline: Timeline) -> list[Figure]:
    """Tokens, requests in flight, and pauses of one stage over time."""
    width = timeline.bin_seconds
    total = width * timeline.answers.size
    unit, scale = ("hours", 3600.0) if total > 7200 else ("minutes", 60.0) if total > 300 else ("seconds", 1.0)
    at = ((np.arange(timeline.answers.size) + 0.5) * width / scale).round(4).tolist()
    axis = f"time in which requests were in flight ({unit})"
    stage, pauses = outcomes.stage, [float(n) for n in timeline.pauses]

    def per_second(values: Any) -> list[float]:
        return [round(float(value), 3) for value in values / width]

    return [
        Figure(
            f"{stage}-tokens",
            f"Tokens over time, stage {stage}",
            axis,
            "tokens per second",
            [
                Series("read", at, per_second(timeline.read_tokens)),
                Series("written", at, per_second(timeline.written_tokens)),
            ],
        ),
        Figure(
            f"{stage}-server",
            f"Server use and throttling, stage {stage}",
            axis,
            "requests in flight, pauses" if any(pauses) else "requests in flight (mean)",
            [
                Series("in flight (mean)", at, [round(float(value), 2) for value in timeline.in_flight]),
                *([Series("pauses asked for (429, 503)", at, pauses, "bars")] if any(pauses) else []),
            ],
        ),
        Figure(
            f"{stage}-answers",
            f"Answers over time, stage {stage}",
            axis,
            "answers per second",
            [Series("answers", at, per_second(timeline.answers))],
        ),
    ]
