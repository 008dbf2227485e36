"""The report page: one HTML file with inline pictures and no external resources; every text is escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from linksyn_gpu.report.stats import Coverage, RunStats
from linksyn_gpu.tables import clean_text

WIDTH, HEIGHT, MARGIN = 640, 300, 48
MAX_POINTS = 400


def render_page(stats: RunStats, title: str) -> str:
    """Render the page.

    Parameters
    ----------
    stats : RunStats
    title : str
        Name of the run.
    """
    import jinja2

    environment = jinja2.Environment(
        finalize=lambda value: clean_text(value) if isinstance(value, str) else value,
        loader=jinja2.PackageLoader("linksyn_gpu.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.jinja")
    picture = _curves(stats.coverage) if stats.coverage is not None else None
    levels = _levels(stats.stages["enhance"])
    curve = _growth(stats.campaign["curve"]) if stats.campaign is not None else None
    return template.render(stats=stats, title=title, picture=picture, curve=curve, funnel=_funnel(stats), levels=levels)


def _funnel(stats: RunStats) -> list[dict[str, Any]]:
    """One bar per unit that is counted: how many came, how many stayed, and why the others did not."""
    rows = [
        ("ingest", "records", "seeds", "rejected"),
        ("walk", "paths", "kept", "dropped"),
        ("synthesize", "requests", "answered", "failed"),
        ("synthesize", "written", "kept", "dropped"),
        ("enhance", "candidates", "kept", "dropped"),
    ]
    bars = []
    for stage, came, stayed, lost in rows:
        counts = stats.stages[stage]
        if counts is not None:
            reasons = Counter(counts[f"{lost}_by_reason"]).most_common()
            if came != "written" and (pending := counts.get("pending", 0)):
                reasons.append(("pending", pending))
            bars.append(
                {
                    "stage": stage,
                    "what": "QA written" if came == "written" else came,
                    "in": counts[came],
                    "kept": counts[stayed],
                    "share": counts[stayed] / max(1, counts[came]),
                    "stayed": "kept" if stayed == "seeds" else stayed,
                    "lost": lost,
                    "reasons": reasons,
                }
            )
    return bars


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


def _growth(curve: Sequence[tuple[int, int, int]]) -> dict[str, Any] | None:
    """Distinct KPs and seeds against the number of paths, linear axes; None without a kept path."""
    paths, most = curve[-1][0], max(max(point[1:]) for point in curve)
    if not (paths and most):
        return None
    lines = []
    for name, column in (("knowledge points", 1), ("seeds", 2)):
        places = (
            (
                MARGIN + (WIDTH - 2 * MARGIN) * point[0] / paths,
                HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * point[column] / most,
            )
            for point in curve
        )
        lines.append({"name": name, "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in places)})
    size = {"width": WIDTH, "height": HEIGHT, "margin": MARGIN}
    return {
        "lines": lines,
        **size,
        "top": f"{most:,}",
        "bottom": "0",
        "first": "0",
        "legend": HEIGHT - MARGIN - 54,
        "last": f"{paths:,}",
    }


def _curves(coverage: Coverage) -> dict[str, Any] | None:
    """Log-log curves of the KPs by rank: their share of the visits of kept paths, and of the mentions in seeds.

    None without a visit and without a mention.
    """
    total = max(1, int(coverage.visits.sum()))
    series = {"visits of kept paths": coverage.visits / total, "popularity among seeds": coverage.popularity}
    ordered = {name: np.sort(shares[shares > 0.0])[::-1] for name, shares in series.items()}
    drawn = {name: shares for name, shares in ordered.items() if shares.size}
    if not drawn:
        return None
    top = max(float(shares[0]) for shares in drawn.values())
    bottom = min(float(shares[-1]) for shares in drawn.values())
    longest = max(shares.size for shares in drawn.values())
    lines = []
    for name, shares in drawn.items():
        rank = np.unique(np.geomspace(1, shares.size, MAX_POINTS).astype(np.int64))
        x = MARGIN + (WIDTH - 2 * MARGIN) * np.log(rank) / max(np.log(longest), 1e-9)
        span = max(np.log(top / bottom), 1e-9)
        y = MARGIN + (HEIGHT - 2 * MARGIN) * np.log(top / shares[rank - 1]) / span
        lines.append({"name": name, "points": " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))})
    return {
        "lines": lines,
        "width": WIDTH,
        "height": HEIGHT,
        "margin": MARGIN,
        "top": f"{top:.2g}",
        "bottom": f"{bottom:.2g}",
        "first": "1",
        "legend": MARGIN,
        "last": f"{longest:,}",
    }
