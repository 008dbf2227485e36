"""Figures of a run, as plain data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from linksyn_gpu.tables import Float64, Int64


@dataclass(frozen=True, eq=False)
class Coverage:
    """How kept paths spread over the KPs that walks can reach."""

    visits: Int64
    """[n_kps]"""
    popularity: Float64
    """[n_kps] seeds of a KP as a share of all mentions."""
    reachable: int
    visited: int
    gini: float
    divergence: float
    """KL(visits || target) in nats; NaN unless the plan is one cell: each cell has a target of its own."""
    noise_floor: float
    """Mean KL if visits were drawn from the target itself: (KPs - 1) / (2 visits)."""
    seeds_used: int
    """Distinct seeds in kept bundles."""


@dataclass(frozen=True, eq=False)
class RunStats:
    """All figures of a run. A stage that is not finished is None, except 'synthesize' and 'enhance': counts so far."""

    stages: dict[str, dict[str, Any] | None]
    cells: list[dict[str, Any]] = field(default_factory=list)
    """Rows of plan.json with the figures of `pipeline.stages.forecast.campaign_figures`."""
    coverage: Coverage | None = None
    kept_by: dict[str, Counter[str]] = field(default_factory=dict)
    """Kept QA by language, question type, discipline and difficulty."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    campaign: dict[str, Any] | None = None
    """Coverage curve, distinct KP sets, and KPs without a path by cause."""
    forecast: dict[str, Any] | None = None
    """Tokens, cost and time, if the command `plan` computed them for these paths."""
    judged: dict[tuple[str, str], int] = field(default_factory=dict)
    """QA of stage enhance by (level of the cell, level that the judge gave), as text; "any" without one."""
    outcomes: dict[str, int] = field(default_factory=dict)
    """Requests that have an answer or a failure by now, for 'synthesize' and 'enhance' while they are not finished."""
