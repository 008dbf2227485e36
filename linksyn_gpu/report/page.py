"""The report page: one HTML file that loads nothing; every text is escaped, and only the page's own scripts run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from typing import Any

from linksyn_gpu import __version__
from linksyn_gpu.report.compare import Comparison, comparison_figures, tables_of
from linksyn_gpu.report.embedding import content_policy, json_for_script, plotly_script
from linksyn_gpu.report.figures import Figure, HeatMap, figures_of
from linksyn_gpu.report.graph_view import GraphView, igraph_is_installed, view_data
from linksyn_gpu.report.stats import UNFINISHED, RunStats
from linksyn_gpu.tables import clean_text

COPIED = (
    *("id", "question", "options", "answer", "explanation", "discipline", "disciplines", "difficulty", "language"),
    *("question_type", "knowledge_points", "path", "seed_ids", "seeds", "model", "request_id"),
)
"""Fields of "copy as JSON"."""
CHECKED = {
    "difficulty_asked": "level asked for",
    "level_judged": "level judged",
    "near_duplicates": "near-duplicates removed",
    "judge_score": "judge's score",
    "judge_agreed": "solutions that agree",
}
"""What stages found of a QA, shown where it is known."""
FLOW = (
    ("ingest", "records", "seeds", "rejected", "Seeds", "records", "seeds"),
    ("walk", "paths", "kept", "dropped", "Paths", "walks", "kept paths"),
    ("synthesize", "requests", "answered", "failed", "Requests", "requests", "answers"),
    ("synthesize", "written", "kept", "dropped", "New QA", "QA written", "QA kept"),
    ("enhance", "candidates", "kept", "dropped", "Enhanced QA", "candidates", "QA kept"),
    ("curate", "qa", "kept", "dropped", "Curated QA", "QA", "QA kept"),
)
"""Stage, names of its counts (in, kept, lost), and what the page calls them."""
THEME = (
    'document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";'
)
"""Runs before the page is drawn, so that a dark page is not white first."""


def render_page(stats: RunStats, view: GraphView | None = None, questions: Mapping[str, Any] | None = None) -> str:
    """Render the page.

    Parameters
    ----------
    stats : RunStats
    view : GraphView, optional
        The map of the KP graph.
    questions : mapping, optional
        See `graph_view.view_data`.
    """
    figures = figures_of(stats)
    paths = _paths(stats, view)
    data = {
        "samples": [{name: row[name] for name in COPIED if name in row} for row in stats.samples],
        "paths": paths,
        "graph": None if view is None else view_data(view, questions or {}),
    }
    return _rendered(
        "report.html.jinja",
        figures,
        data,
        ["page.js", *(["graph.js"] if view is not None else [])],
        stats=stats,
        about=stats.overview,
        alone=_alone(stats),
        has_igraph=igraph_is_installed(),
        view=view,
        on_map={number for number, path in enumerate(paths) if path},
        flow=flow_of(stats),
        checked=CHECKED,
    )


def render_comparison(comparison: Comparison) -> str:
    """Render the page of two campaigns side by side."""
    return _rendered(
        "compare.html.jinja",
        comparison_figures(comparison),
        {"samples": []},
        ["page.js"],
        names=comparison.names,
        named=[*zip(comparison.names, comparison.runs, strict=True)],
        tables=tables_of(comparison),
        version=__version__,
    )


def _rendered(
    template: str, figures: Sequence[Figure | HeatMap], data: dict[str, Any], scripts: Sequence[str], **values: Any
) -> str:
    """A template with its figures, the data block, and scripts of `static/` behind that of Plotly."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        finalize=lambda value: clean_text(value) if type(value) is str else value,  # not of `Markup`
        loader=jinja2.PackageLoader("linksyn_gpu.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda n: f"{n:,}"
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}%"
    environment.filters["moment"] = lambda text: text[:16].replace("T", " ") + " UTC"  # as the manifest records it
    plotly = plotly_script()
    drawn = [script for script in (plotly, *map(_file, scripts)) if script is not None]
    data = {**data, "figures": {figure.name: _plain(figure) for figure in figures}}
    return environment.get_template(template).render(
        policy=Markup(content_policy([THEME, *drawn])),
        style=Markup(_file("page.css")),
        theme=Markup(THEME),
        scripts=[Markup(script) for script in drawn],
        data=Markup(json_for_script(data)),
        figures={figure.name: figure for figure in figures},
        has_charts=plotly is not None,
        **values,
    )


def _file(name: str) -> str:
    return (resources.files("linksyn_gpu.report") / "static" / name).read_text(encoding="utf-8")


def _plain(figure: Any) -> dict[str, Any]:
    """A figure for the page's script, without what the page writes itself."""
    fields = asdict(figure)
    return {name: value for name, value in fields.items() if name not in ("name", "title", "note")}


def _paths(stats: RunStats, view: GraphView | None) -> list[list[int]]:
    """KPs of each sample's path by their place in the view; [] if the view lacks one of them."""
    if view is None:
        return []
    place = {name: i for i, name in enumerate(view.names)}
    paths = [[place.get(name, -1) for name in row.get("path") or ()] for row in stats.samples]
    return [path if path and min(path) >= 0 else [] for path in paths]


def _alone(stats: RunStats) -> dict[str, str]:
    """Figures that would have a single bar: their name and its category."""
    names = {f"qa-by-{criterion}".replace("_", "-"): counts for criterion, counts in stats.kept_by.items()}
    return {name: next(iter(counts)) for name, counts in names.items() if len(counts) == 1}


def flow_of(stats: RunStats) -> list[dict[str, Any]]:
    """One bar per unit that is counted: how many came, how many stayed, and why the others did not."""
    unfinished = {state.name for state in stats.states if state.state == UNFINISHED}
    bars = []
    for stage, came, stayed, lost, title, of, kept in FLOW:
        counts = dict(stats.stages[stage] or {})
        journal = stats.journals.get(stage)
        if came == "requests" and stage in unfinished and journal is not None and journal.requests is not None:
            counts = {  # while the stage runs, its journal is newer than its counts
                "requests": journal.requests,
                "answered": journal.answered,
                "failed": journal.failed.total(),
                "failed_by_reason": journal.failed,
                "pending": journal.requests - journal.settled,
            }
        if came not in counts or f"{lost}_by_reason" not in counts:
            continue
        reasons = Counter(counts[f"{lost}_by_reason"])
        drops = [drop for drop in stats.drops if drop.stage == stage and drop.reason in reasons]
        waiting = (
            []
            if came == "written"
            else [("pending", counts.get("pending", 0)), ("in reserve", counts.get("reserve", 0))]
        )
        total = max(1, counts[came])
        bars.append(
            {
                "title": title,
                "of": of,
                "kept": kept,
                "stage": stage,
                "n": counts[came],
                "n_kept": counts[stayed],
                "lost": lost,
                "n_lost": reasons.total(),
                "waiting": [(name, n) for name, n in waiting if n],
                "shares": [
                    (kind, 100 * n / total)
                    for kind, n in (
                        ("kept", counts[stayed]),
                        ("lost", reasons.total()),
                        ("wait", sum(n for _, n in waiting)),
                    )
                    if n
                ],
                "drops": drops,
            }
        )
    return bars
