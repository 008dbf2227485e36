"""Figures of a run, as plain data. `pipeline.stages.report` reads them from the run folder.

Every field has a value at any moment of a run: what is not known yet is None or empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from linksyn_gpu.tables import Float64, Int64

NOT_BEGUN, UNFINISHED, FINISHED = "not begun", "not finished", "finished"
"""States of a stage."""


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
    expected: Float64
    """[n_kps] visits if those of each cell followed its target exactly."""
    path_lengths: Mapping[int, int]
    """Kept paths by their number of KPs."""
    seed_uses: Mapping[int, int]
    """Seeds by the number of kept bundles that hold them, 0 included."""


@dataclass(frozen=True)
class StageState:
    """How far a stage is."""

    name: str
    state: str
    """`NOT_BEGUN`, `UNFINISHED` or `FINISHED`."""
    begun: str | None = None
    """ISO 8601, UTC."""
    finished: str | None = None


@dataclass(frozen=True)
class Outcomes:
    """What the journal of a stage that asks a model holds now."""

    stage: str
    requests: int | None
    """Requests of the stage; None: not known, as in a stage that asks step by step."""
    answered: int
    failed: Counter[str]
    """Requests whose last outcome is a failure, by reason."""
    read_tokens: int
    """Of all outcomes, as the server counted."""
    written_tokens: int
    spent_tokens: int
    """Read and written in all attempts, discarded answers included."""
    timeline: Timeline | None
    """None: no outcome has a time."""

    @property
    def settled(self) -> int:
        """Requests with an answer or a failure."""
        return self.answered + self.failed.total()


@dataclass(frozen=True, eq=False)
class Timeline:
    """Requests over time, in bins of equal length."""

    begin: float
    """Unix time in seconds of the first bin's start."""
    bin_seconds: float
    answers: Int64
    """[n_bins] outcomes received."""
    read_tokens: Int64
    written_tokens: Int64
    in_flight: Float64
    """[n_bins] mean number of requests in flight."""
    pauses: Int64
    """[n_bins] times that the server asked for a pause (HTTP 429, 503)."""


@dataclass(frozen=True)
class Dropped:
    """Items that a stage dropped for one reason."""

    stage: str
    reason: str
    n: int
    """Counted in the manifest; the examples come from the files."""
    meaning: str = ""
    """The reason in words, where it is known."""
    example: Mapping[str, str] = field(default_factory=dict)
    """One dropped item: part -> text. Empty: the stage keeps no text of it."""


@dataclass(frozen=True)
class Histogram:
    """Counts between edges."""

    edges: Sequence[float]
    """[n + 1] ascending."""
    counts: Sequence[int]
    """[n]"""


@dataclass(frozen=True)
class Extraction:
    """KPs by frequency, and what merging did with their names."""

    frequent: Sequence[tuple[str, int, Sequence[str]]]
    """KP, seeds that hold it, its other names."""
    merges: Sequence[Mapping[str, Any]]
    """Rows of merges.jsonl: the merges that concern most seeds."""
    doubtful: Sequence[Mapping[str, Any]]
    """First rows of doubtful.jsonl."""
    n_merges: int
    n_doubtful: int


@dataclass(frozen=True)
class Clusters:
    """Near-duplicates."""

    sizes: Mapping[int, int]
    """Clusters by number of members."""
    examples: Sequence[Sequence[str]]
    """Questions of some clusters; the one that was kept is first."""


@dataclass(frozen=True)
class Overview:
    """What the campaign is."""

    name: str
    digest: str
    """Hash of the campaign: its settings, seeds and paths."""
    version: str
    """Of linksyn-gpu, which wrote the folder."""
    environment: Mapping[str, str]
    """Versions of the packages of the last finished stage."""
    created: str
    """ISO 8601, UTC."""
    updated: str | None
    """When the last stage was begun or finished."""
    engine: str | None
    models: Mapping[str, int]
    """QA by model, as the server named it."""
    settings: Sequence[tuple[str, str]]
    """Settings that differ from the defaults, by dotted names."""
    read_tokens: int
    """Of all stages."""
    written_tokens: int
    spent_tokens: int | None
    """Read and written in all attempts; None: as much as in the answers, or not recorded."""
    cost: float | None
    """At the prices of the last call of stage synthesize, or of `plan`; None without prices."""
    files: Sequence[str] = ()
    """Input files."""
    of_files: bool = False
    """Whether the folder holds QA of other files instead of a campaign."""
    backends: Sequence[str] = ()
    checks: Sequence[str] = ()
    """Rule checks that new QA passed."""


@dataclass(frozen=True, eq=False)
class RunStats:
    """All figures of a run.

    A stage that is not finished is None, except 'extract', 'synthesize' and 'enhance': their counts of the last call.
    """

    stages: dict[str, dict[str, Any] | None]
    overview: Overview | None = None
    states: Sequence[StageState] = ()
    cells: list[dict[str, Any]] = field(default_factory=list)
    """Rows of plan.json with the figures of `pipeline.stages.forecast.campaign_figures`, and `judged_level`: mean level
    that the judge gave, None without one."""
    coverage: Coverage | None = None
    kept_by: dict[str, Counter[str]] = field(default_factory=dict)
    """QA of `result_of` by language, question type, discipline and difficulty."""
    result_of: str | None = None
    """Stage whose QA `kept_by`, `lengths` and `samples` describe: the last one that wrote any."""
    lengths: dict[str, Histogram] = field(default_factory=dict)
    """Characters of question, answer and explanation, and written tokens of the request."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """Rows of `tables.qa_schema` from different cells and paths, each with `seeds`: id, question, answer and source."""
    campaign: dict[str, Any] | None = None
    """Coverage curve, distinct KP sets, and KPs without a path by cause."""
    forecast: dict[str, Any] | None = None
    """Tokens, cost and time, if the command `plan` computed them for these paths."""
    judged: dict[tuple[str, str], int] = field(default_factory=dict)
    """QA of stage enhance by (level of the cell, level that the judge gave), as text; "any" without one."""
    journals: dict[str, Outcomes] = field(default_factory=dict)
    """Of each stage that has asked a model."""
    drops: list[Dropped] = field(default_factory=list)
    extraction: Extraction | None = None
    clusters: Clusters | None = None
    certificates: dict[str, dict[str, Any]] = field(default_factory=dict)
    """'seeds' and 'QA': what decontamination finds, see `quality.certificate`."""

    @property
    def qa(self) -> int:
        """QA of `result_of`."""
        return next((counts.total() for counts in self.kept_by.values()), 0)

    @property
    def outcomes(self) -> dict[str, int]:
        """Requests that have an answer or a failure by now, for stages that ask a model and are not finished."""
        unfinished = {state.name for state in self.states if state.state == UNFINISHED}
        return {name: found.settled for name, found in self.journals.items() if name in unfinished}
