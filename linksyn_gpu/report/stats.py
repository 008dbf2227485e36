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
class FinalRows:
    """Counts of the final QA. A length is counted under the power of two that is not above it; 0 has its own count."""

    file: str
    """The file of the run folder that holds them."""
    rows: int
    by_cell: Counter[tuple[str, str]]
    """By discipline and difficulty, 'unknown' where a row has none."""
    lengths: dict[str, Counter[int]]
    """Characters of the questions and of the answers, by the bound below."""
    models: Counter[str]


@dataclass(frozen=True, eq=False)
class PathRows:
    """Counts of the kept paths."""

    lengths: Counter[int]
    """Paths by their number of KPs."""
    seed_use: Counter[int]
    """Seeds by the number of kept paths that use them; 0 included."""
    expected: Float64
    """[n_kps] visits that each KP would have if all cells had exactly their targets."""


@dataclass(frozen=True)
class Knowledge:
    """Knowledge points: the most frequent ones, and what stage extract merged."""

    frequent: list[dict[str, Any]] = field(default_factory=list)
    """'name', 'seed_count' and 'degree', most frequent first."""
    merges: list[dict[str, Any]] = field(default_factory=list)
    """Rows of merges.jsonl whose aliases have the most seeds."""
    doubtful: list[dict[str, Any]] = field(default_factory=list)
    """The first rows of doubtful.jsonl: the most similar pairs."""


@dataclass(frozen=True, eq=False)
class RunStats:
    """All figures of a run. A stage that is not finished is None, except 'synthesize' and 'enhance': counts so far."""

    stages: dict[str, dict[str, Any] | None]
    cells: list[dict[str, Any]] = field(default_factory=list)
    """Rows of plan.json with the figures of `pipeline.stages.forecast.campaign_figures`."""
    coverage: Coverage | None = None
    kept_by: dict[str, Counter[str]] = field(default_factory=dict)
    """Final QA by language, question type, discipline and difficulty."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """Rows of final QA of different cells and paths, each with its `seeds`: [{'id', 'question'}]."""
    final: FinalRows | None = None
    """What the final QA hold; None while there are none."""
    paths: PathRows | None = None
    """What the kept paths hold; None while stage walk is not finished."""
    examples: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    """File of dropped rows -> reason -> the first of them: its 'what', 'detail' and 'text'."""
    overview: dict[str, Any] = field(default_factory=dict)
    """When, models, tokens, versions, digest and settings of the run."""
    clusters: Counter[int] = field(default_factory=Counter)
    """Clusters of near-duplicate questions by their number of members; a cluster has at least two."""
    certificate: dict[str, Any] | None = None
    """What the search for benchmark items finds, with `searched`: 'QA' or 'seeds'."""
    knowledge: Knowledge = field(default_factory=lambda: Knowledge())
    campaign: dict[str, Any] | None = None
    """Coverage curve, distinct KP sets, and KPs without a path by cause."""
    forecast: dict[str, Any] | None = None
    """Tokens, cost and time, if the command `plan` computed them for these paths."""
    judged: dict[tuple[str, str], int] = field(default_factory=dict)
    """QA of stage enhance by (level of the cell, level that the judge gave), as text; "any" without one."""
    outcomes: dict[str, int] = field(default_factory=dict)
    """Requests that have an answer or a failure by now, for 'synthesize' and 'enhance' while they are not finished."""
