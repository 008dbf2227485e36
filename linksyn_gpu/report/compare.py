"""Two campaigns next to each other: tables, and figures with the series of both."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from linksyn_gpu.report.figures import TARGET, Figure, HeatMap, Series, figures_of
from linksyn_gpu.report.stats import FINISHED, RunStats
from linksyn_gpu.tables import Float64

MOST_POINTS = 3000
"""KPs of the figure of visits of both campaigns."""
MOST_DIFFERENT = 10
"""KPs that are named for each campaign because it visits them more often than the other one."""
MOST_SETTING = 80
"""Characters of a setting."""
NOT_COMBINED = ("visits-against-target",)
"""Figures that would have too many points for two campaigns; `visits_of_both` shows the KPs instead."""
NONE = "-"


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column names what the others compare."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""
    texts: bool = False
    """The columns hold texts, not numbers."""


@dataclass(frozen=True, eq=False)
class KPVisits:
    """Visits of the KPs of both campaigns."""

    names: Sequence[str]
    """[n] KPs that the graph of either campaign has."""
    visits: Float64
    """[2, n]; 0 where a campaign does not have the KP."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The figures of two campaigns."""

    names: tuple[str, str]
    """What tells the campaigns apart: the ends of their folders' paths."""
    runs: tuple[RunStats, RunStats]
    settings: Sequence[tuple[str, str, str]]
    """Settings that differ: dotted name, and the value of each campaign."""
    kps: KPVisits | None = None
    """None: a campaign has no kept path yet."""


# ---------------------------------------------------------------------- tables


def tables_of(comparison: Comparison) -> list[Table]:
    """All tables that have rows, in the order of the page."""
    first, second = comparison.runs
    measures = (
        ("The campaigns", _campaign),
        ("Seeds and graph", _graph),
        ("Paths", _paths),
        ("QA", _qa),
        ("Tokens, cost and time", _spent),
    )
    header = ("", *comparison.names)
    settings = [(name, *(_short(value) for value in values)) for name, *values in comparison.settings]
    found = [Table("Settings that differ", header, settings, texts=True)]
    found += [_measured(title, comparison.names, measure(first), measure(second)) for title, measure in measures]
    found += [_cells(comparison), _drops(comparison), _most_different(comparison)]
    return [table for table in found if table.rows]


Measure = tuple[str, float | int | str | None, str]
"""Name, value and form: a format of a number, '%' for a share, '' for a text."""


def _measured(title: str, names: tuple[str, str], first: Sequence[Measure], second: Sequence[Measure]) -> Table:
    rows = []
    for (name, before, form), (_, after, _) in zip(first, second, strict=True):
        before, after = (None if value != value else value for value in (before, after))  # NaN: no such figure
        if before is not None or after is not None:
            rows.append((name, _shown(before, form), _shown(after, form), _change(before, after, form)))
    texts = all(form == "" for _, _, form in first)
    header = ("", *names) if texts else ("", *names, "change")
    return Table(title, header, [row[: len(header)] for row in rows], texts=texts)


def _shown(value: float | int | str | None, form: str) -> str:
    if value is None:
        return NONE
    return str(value) if form == "" else f"{100 * float(value):.1f}%" if form == "%" else format(value, form)


def _change(before: float | int | str | None, after: float | int | str | None, form: str) -> str:
    """From the first campaign to the second: in points for a share, otherwise as a share of the first."""
    if form == "" or isinstance(before, str) or isinstance(after, str) or before is None or after is None:
        return ""
    if before == after:
        return "same"
    if form == "%":
        return f"{100 * (after - before):+.1f} points"
    return f"{100 * (after / before - 1):+.1f}%" if before else ""


def _short(text: str) -> str:
    return text if len(text) <= MOST_SETTING else f"{text[: MOST_SETTING - 3]}..."


def _campaign(stats: RunStats) -> list[Measure]:
    if (about := stats.overview) is None:
        return []
    last = next((state.name for state in reversed(stats.states) if state.state == FINISHED), None)
    return [
        ("created", about.created[:16].replace("T", " "), ""),
        ("last finished stage", last, ""),
        ("engine", about.engine, ""),
        ("models of the QA", ", ".join(f"{name} {n:,}" for name, n in about.models.items()) or None, ""),
        ("version of linksyn-gpu", about.version, ""),
        ("digest", about.digest[:16], ""),
    ]


def _graph(stats: RunStats) -> list[Measure]:
    seeds, graph = (stats.stages[name] or {} for name in ("ingest", "build"))
    return [
        ("seeds", seeds.get("seeds"), ","),
        *((name, graph.get(key), ",") for name, key in (("knowledge points", "kps"), ("edges", "edges"))),
        ("components", graph.get("components"), ","),
    ]


def _paths(stats: RunStats) -> list[Measure]:
    asked = sum(cell["asked"] for cell in stats.cells) or None
    kept = sum(cell["delivered"] for cell in stats.cells) if stats.cells else None
    coverage, campaign = stats.coverage, stats.campaign or {}
    lengths = coverage.path_lengths if coverage is not None else {}
    paths = sum(lengths.values())
    alone = coverage is not None and coverage.divergence == coverage.divergence  # the plan is one cell
    noise_floor = coverage.noise_floor if coverage is not None and alone else None
    return [
        ("paths asked for", asked, ","),
        ("paths kept", kept, ","),
        ("share of the paths kept", kept / asked if asked and kept is not None else None, "%"),
        ("mean KPs of a path", sum(n * of for n, of in lengths.items()) / paths if paths else None, ".2f"),
        ("distinct KP sets", campaign.get("distinct_kp_sets"), ","),
        ("KPs visited", None if coverage is None else coverage.visited, ","),
        (
            "share of the reachable KPs visited",
            coverage.visited / coverage.reachable if coverage and coverage.reachable else None,
            "%",
        ),
        ("seeds used", None if coverage is None else coverage.seeds_used, ","),
        ("Gini coefficient of the visits", None if coverage is None else coverage.gini, ".3f"),
        ("KL(visits || target), nats", None if coverage is None else coverage.divergence, ".4f"),
        ("noise floor of KL, nats", noise_floor, ".4f"),
        ("share of own seeds", _mean(stats.cells, "own_share"), "%"),
    ]


def _mean(cells: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Mean of a figure of cells, by kept paths."""
    rows = [(cell[name], cell["delivered"]) for cell in cells if cell.get(name) is not None]
    paths = sum(n for _, n in rows)
    return sum(value * n for value, n in rows) / paths if paths else None


def _qa(stats: RunStats) -> list[Measure]:
    synthesis, enhancement, curation = (stats.stages[name] or {} for name in ("synthesize", "enhance", "curate"))
    written, kept = synthesis.get("written"), synthesis.get("kept")
    judged = [(int(level), n) for (_, level), n in stats.judged.items()]
    clusters = None if stats.clusters is None else sum(stats.clusters.sizes.values())
    return [
        ("requests", synthesis.get("requests"), ","),
        ("answered", synthesis.get("answered"), ","),
        ("QA written", written, ","),
        ("QA that pass the checks", kept, ","),
        ("share of the QA that pass the checks", kept / written if written else None, "%"),
        ("QA that the enhancement kept", enhancement.get("kept"), ","),
        ("mean level that the judge gave", _weighted(judged), ".2f"),
        ("clusters of near-duplicates", clusters, ","),
        ("QA of the data set", curation.get("kept"), ","),
        ("QA of the data set per kept path", _per(curation.get("kept"), _kept_paths(stats)), ".3f"),
    ]


def _weighted(rows: Sequence[tuple[int, int]]) -> float | None:
    total = sum(n for _, n in rows)
    return sum(value * n for value, n in rows) / total if total else None


def _per(value: float | None, of: float | None) -> float | None:
    return value / of if value is not None and of else None


def _kept_paths(stats: RunStats) -> int:
    return sum(cell["delivered"] for cell in stats.cells)


def _final_qa(stats: RunStats) -> int | None:
    """QA of the last stage that wrote any."""
    return next((sum(counts.values()) for counts in stats.kept_by.values()), None)


def _spent(stats: RunStats) -> list[Measure]:
    qa, cost = _final_qa(stats), None if stats.overview is None else stats.overview.cost
    read, written = (
        sum(getattr(found, name) for found in stats.journals.values()) if stats.journals else None
        for name in ("read_tokens", "written_tokens")
    )
    lines = [found.timeline for found in stats.journals.values() if found.timeline is not None]
    seconds = sum(line.bin_seconds * line.answers.size for line in lines) or None
    in_time = sum(int(line.written_tokens.sum()) for line in lines)
    each = _per(cost, qa)
    return [
        ("tokens read", read, ","),
        ("tokens written", written, ","),
        ("tokens written per final QA", _per(written, qa), ",.1f"),
        ("cost", cost, ",.2f"),
        ("cost of 1,000 final QA", None if each is None else 1000 * each, ",.2f"),
        ("hours with requests in flight", _per(seconds, 3600), ",.3f"),
        ("tokens written per second", _per(in_time, seconds), ",.1f"),
    ]


def _cells(comparison: Comparison) -> Table:
    """Paths and QA of each cell; empty where neither plan has cells."""
    if all(len(stats.cells) < 2 for stats in comparison.runs):
        return Table("", (), ())
    found = [{_cell_name(cell): cell for cell in stats.cells} for stats in comparison.runs]
    columns: tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...] = (
        ("paths kept", lambda cell: f"{cell['delivered']:,} of {cell['asked']:,}"),
        ("own seeds", lambda cell: _shown(cell["own_share"], "%")),
        ("QA kept", lambda cell: f"{cell['qa']['kept']:,} of {cell['qa']['asked']:,}" if cell.get("qa") else NONE),
        ("judged level", lambda cell: _shown(cell.get("judged_level"), ".2f")),
    )
    rows = [
        (name, *(column(cells[name]) if name in cells else NONE for _, column in columns for cells in found))
        for name in dict.fromkeys([*found[0], *found[1]])
    ]
    header = ("cell", *(f"{title}, {name}" for title, _ in columns for name in comparison.names))
    used = [i for i in range(len(header)) if any(row[i] != NONE for row in rows)]
    return Table("Cells", tuple(header[i] for i in used), [tuple(row[i] for i in used) for row in rows])


def _cell_name(cell: Mapping[str, Any]) -> str:
    level = f"level {cell['difficulty']}" if cell["difficulty"] else "any level"
    group = f", licenses {cell['license_group']}" if cell.get("license_group") else ""
    return f"{cell['discipline'] or 'any discipline'}, {level}{group}"


def _drops(comparison: Comparison) -> Table:
    counts = [Counter({(drop.stage, drop.reason): drop.n for drop in stats.drops}) for stats in comparison.runs]
    order = sorted(counts[0] | counts[1], key=lambda key: -(counts[0] | counts[1])[key])
    stages = list(dict.fromkeys(drop.stage for stats in comparison.runs for drop in stats.drops))
    rows = [
        (f"{stage}: {reason}", *(f"{of[stage, reason]:,}" for of in counts))
        for stage, reason in sorted(order, key=lambda key: stages.index(key[0]))
    ]
    return Table("Drops by reason", ("", *comparison.names), rows)


def _most_different(comparison: Comparison) -> Table:
    """The KPs whose share of the visits differs most between the campaigns."""
    if (kps := comparison.kps) is None:
        return Table("", (), ())
    shares = kps.visits / kps.visits.sum(axis=1, keepdims=True)
    difference = shares[1] - shares[0]
    order = np.argsort(difference, kind="stable")
    chosen = [*order[:MOST_DIFFERENT][difference[order[:MOST_DIFFERENT]] < 0]]
    chosen += [*order[::-1][:MOST_DIFFERENT][difference[order[::-1][:MOST_DIFFERENT]] > 0]]
    rows = [(kps.names[i], *(f"{100 * share:.3f}%" for share in shares[:, i])) for i in chosen]
    visited = kps.visits > 0
    note = (
        "The KPs whose share differs most. "
        f"{int(visited.all(axis=0).sum()):,} KPs are visited in both campaigns, "
        f"{int((visited[0] & ~visited[1]).sum()):,} only in {comparison.names[0]}, "
        f"{int((visited[1] & ~visited[0]).sum()):,} only in {comparison.names[1]}."
    )
    return Table("Share of the visits", ("KP", *comparison.names), rows, note)


# ---------------------------------------------------------------------- figures


def comparison_figures(comparison: Comparison) -> list[Figure | HeatMap]:
    """Figures with the series of both campaigns; heat maps once for each, with the same colour scale."""
    found: list[Figure | HeatMap] = []
    if comparison.kps is not None:
        found.append(visits_of_both(comparison.kps, comparison.names))
    one, other = ({figure.name: figure for figure in figures_of(stats)} for stats in comparison.runs)
    for name in dict.fromkeys([*one, *other]):
        if name not in NOT_COMBINED:
            found += _both(one.get(name), other.get(name), comparison.names)
    return found


def visits_of_both(kps: KPVisits, names: tuple[str, str]) -> Figure:
    """Share of the visits of each KP in one campaign against that in the other; KPs without a visit lie on an edge."""
    visited = np.flatnonzero((kps.visits > 0).any(axis=0))
    order = visited[np.argsort(-kps.visits[:, visited].sum(axis=0), kind="stable")]
    at = np.unique(np.linspace(0, max(0, order.size - 1), min(MOST_POINTS, order.size)).round().astype(np.int64))
    chosen = order[at]
    totals = kps.visits.sum(axis=1)
    shares = np.maximum(kps.visits[:, chosen], 0.5) / totals[:, None]
    ends = [float(shares.min()), float(shares.max())]
    shown = f"{chosen.size:,} of {visited.size:,} KPs are drawn. " if chosen.size < visited.size else ""
    labels = [kps.names[i] for i in chosen]
    return Figure(
        "kp-visits",
        "Visits of each knowledge point in both campaigns",
        f"share of the visits, {names[0]}",
        f"share of the visits, {names[1]}",
        [
            Series("knowledge points", shares[0].tolist(), shares[1].tolist(), "points", labels),
            Series("the same share", ends, ends, dashed=True),
        ],
        log_x=True,
        log_y=True,
        note=f"{shown}A KP without a visit is drawn as if it had half of one.",
    )


def _both(
    one: Figure | HeatMap | None, other: Figure | HeatMap | None, names: tuple[str, str]
) -> Iterator[Figure | HeatMap]:
    pair = [(number, figure) for number, figure in enumerate((one, other)) if figure is not None]
    maps = [(number, figure) for number, figure in pair if isinstance(figure, HeatMap)]
    values = [value for _, figure in maps for row in figure.values for value in row if value is not None]
    for number, figure in maps:
        span = (min(values), max(values)) if values else None
        yield replace(figure, name=f"{figure.name}-{number + 1}", title=f"{figure.title}, {names[number]}", span=span)
    lines = [(number, figure) for number, figure in pair if isinstance(figure, Figure)]
    if lines:
        yield _combined(lines, names)


def _combined(figures: Sequence[tuple[int, Figure]], names: tuple[str, str]) -> Figure:
    """Series of both; one that is the same in both, such as a diagonal, appears once."""
    series: list[Series] = []
    seen: dict[str, int] = {}
    for number, figure in figures:
        for own in figure.series:
            alone = len(figure.series) == 1
            at = seen.get(own.name)
            if at is not None and not alone and (series[at].x, series[at].y) == (own.x, own.y):
                series[at] = replace(series[at], name=own.name, group=len(names))
                continue
            seen[own.name] = len(series)
            series.append(replace(own, name=names[number] if alone else f"{names[number]}: {own.name}", group=number))
    series.sort(key=lambda own: own.group or 0)  # what both have comes last
    notes = [f"{names[number]}: {figure.note}" for number, figure in figures if figure.note]
    same = {figure.note for _, figure in figures}
    note = same.pop() if len(same) == 1 else " ".join(notes)
    return replace(figures[0][1], series=_same_categories(series), note=note)


def _same_categories(series: Sequence[Series]) -> list[Series]:
    """Series of bars with the categories of all of them, numbers first; None: a series has no such bar."""
    series = [replace(own, x=[x.removesuffix(TARGET) if isinstance(x, str) else x for x in own.x]) for own in series]
    names = list(dict.fromkeys(x for own in series if own.kind == "bars" for x in own.x))
    if len(series) < 2 or not all(isinstance(name, str) for name in names):
        return list(series)
    numbers = {name: int(number[0]) for name in names if (number := re.match(r"\d+", str(name)))}
    names.sort(key=lambda name: numbers.get(name, math.inf))
    found = []
    for own in series:
        values = dict(zip(own.x, own.y, strict=True))
        found.append(own if own.kind != "bars" else replace(own, x=names, y=[values.get(name) for name in names]))
    return found
