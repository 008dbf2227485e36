"""The report page: one HTML file that loads nothing; every text is escaped, and only the page's own scripts run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib import resources
from typing import Any

from linksyn_gpu.report.charts import charts_of
from linksyn_gpu.report.embedding import content_policy, json_for_script, plotly_script
from linksyn_gpu.report.stats import RunStats
from linksyn_gpu.tables import clean_text

COPIED = (
    *("id", "question", "options", "answer", "explanation", "discipline", "difficulty", "language"),
    *("question_type", "knowledge_points", "path", "seed_ids", "model", "request_id"),
)
"""Fields of "copy as JSON"."""
CHECKED = ("difficulty_asked", "level_judged", "near_duplicates", "judge_score", "judge_agreed")
"""What stages found of a QA, shown where it is known."""


def render_page(stats: RunStats, title: str) -> str:
    """Render the page.

    Parameters
    ----------
    stats : RunStats
    title : str
        Name of the run.
    """
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
    environment.filters["moment"] = lambda text: text[:16].replace("T", " ") + " UTC"  # as the manifest records it
    charts = charts_of(stats)
    plotly = plotly_script()
    scripts = [_file("report.js"), *([plotly] if plotly is not None else [])]
    drawn = [{"name": chart.name, "data": chart.data, "layout": chart.layout} for chart in charts if plotly is not None]
    samples = [{name: row[name] for name in COPIED if name in row} for row in stats.samples]
    return environment.get_template("report.html.jinja").render(
        stats=stats,
        title=title,
        policy=Markup(content_policy(scripts)),
        style=Markup(_file("report.css")),
        scripts=[Markup(script) for script in reversed(scripts)],  # Plotly first: the page's own script uses it
        data=Markup(json_for_script({"charts": drawn, "samples": samples})),
        charts={chart.name: chart for chart in charts},
        has_charts=plotly is not None,
        funnel=_funnel(stats),
        levels=_levels(stats.stages["enhance"]),
        checked=CHECKED,
        settings=_flat(stats.overview.get("settings", {})),
    )


def _file(name: str) -> str:
    return (resources.files("linksyn_gpu.report") / "templates" / name).read_text(encoding="utf-8")


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Settings as (dotted name, value), without those that are not set."""
    found = []
    for name, value in settings.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{name}.")
        elif value not in (None, "", [], ()):
            found.append((f"{prefix}{name}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return found


def _funnel(stats: RunStats) -> list[dict[str, Any]]:
    """One bar per unit that is counted: how many came, how many stayed, and why the others did not."""
    rows = [
        ("ingest", "records", "seeds", "rejected", "rejects.jsonl"),
        ("walk", "paths", "kept", "dropped", "paths.parquet"),
        ("synthesize", "requests", "answered", "failed", "dropped.parquet"),
        ("synthesize", "written", "kept", "dropped", "dropped.parquet"),
        ("enhance", "candidates", "kept", "dropped", "enhance-dropped.parquet"),
        ("curate", "qa", "kept", "dropped", "curate-dropped.parquet"),
    ]
    names = {"written": "QA written", "qa": "QA"}
    bars = []
    for stage, came, stayed, lost, file in rows:
        counts = stats.stages[stage]
        if counts is None or f"{lost}_by_reason" not in counts:
            continue
        reasons = [
            (name, n, _example(stats, file, name)) for name, n in Counter(counts[f"{lost}_by_reason"]).most_common()
        ]
        others = [("pending", counts.get("pending", 0)), ("in reserve", counts.get("reserve", 0))]
        if came != "written":
            reasons += [(name, n, None) for name, n in others if n]
        bars.append(
            {
                "stage": stage,
                "what": names.get(came, came),
                "in": counts[came],
                "kept": counts[stayed],
                "share": counts[stayed] / max(1, counts[came]),
                "stayed": "kept" if stayed == "seeds" else stayed,
                "lost": lost,
                "reasons": reasons,
            }
        )
    return bars


def _example(stats: RunStats, file: str, reason: str) -> dict[str, str] | None:
    return stats.examples.get(file, {}).get(reason)


def _levels(counts: dict[str, Any] | None) -> list[dict[str, Any]]:
    """QA of each level before and after stage enhance; shares are relative to the largest number."""
    if counts is None:
        return []
    before, after = counts["levels_before"], counts["levels_after"]
    most = max([1, *before.values(), *after.values()])
    return [
        {
            "level": level,
            "asked": level == str(counts["asked_level"]),
            "bars": [
                (name, found.get(level, 0), found.get(level, 0) / most)
                for name, found in (("before", before), ("after", after))
            ],
        }
        for level in (*"12345", "unknown")
        if level != "unknown" or level in before
    ]
