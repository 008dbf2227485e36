"""The plan of a campaign: cells (discipline, difficulty) with their paths, and the rounds that sample them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import sparse

from linksyn_gpu.config import QuotaConfig
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.sampling.labels import find_discipline, seeds_of
from linksyn_gpu.sampling.value import level_kernel, target_shares
from linksyn_gpu.tables import Bool, Cell, Float64, Int32, Int64, KPGraph, KPStatistics, SeedLabels
from linksyn_gpu.taxonomy.disciplines import Taxonomy


@dataclass(frozen=True)
class Round:
    """Walks that are sampled with one state of the value function."""

    cell: int
    n_paths: int


def largest_remainder(shares: Sequence[float], total: int) -> list[int]:
    """Split `total` in proportion to `shares`: integers that sum to it exactly (Hamilton's method).

    The remainder after rounding down goes to the largest fractions, and among equal ones to the first.
    """
    weights = [Fraction(share) for share in shares]  # exact: a float sum could round past a whole number
    exact = [weight * total / sum(weights) for weight in weights]
    counts = [int(x) for x in exact]
    largest = sorted(range(len(counts)), key=lambda i: counts[i] - exact[i])
    for i in largest[: total - sum(counts)]:
        counts[i] += 1
    return counts


def with_license_groups(quota: QuotaConfig, names: Sequence[str], number: Int32, labels: SeedLabels) -> QuotaConfig:
    """A quota without presets in which each discipline has shares of the groups of licenses, as in its seeds.

    Parameters
    ----------
    names : sequence of str
        The groups.
    number : int32 [n_seeds]
        Group of each seed.
    """
    shares = {}
    for discipline in [*quota.discipline] or [""]:
        own = seeds_of(discipline, labels) if discipline else np.ones(number.size, bool)
        counts = np.bincount(number[own], minlength=len(names))
        # A bundle needs two seeds.
        shares[discipline] = {name: float(n) for name, n in zip(names, counts.tolist(), strict=True) if n >= MIN_SEEDS}
    return replace(quota, license_group=shares)


def resolve_quota(quota: QuotaConfig, labels: SeedLabels) -> QuotaConfig:
    """A quota with the shares that its presets stand for.

    'seeds': shares as of the seeds of each discipline, or of the rated seeds of each level. 'uniform': equal shares of
    the disciplines or levels that have seeds. Labels of one discipline count as one. A group of the taxonomy counts
    only if the bank has none of its disciplines. A discipline needs 2 seeds: with fewer, no bundle is of it.

    Raises
    ------
    ConfigError
        No seed has a discipline, or a level.
    """
    if quota.discipline_preset is not None:
        keys = [labels.taxonomy.key(label) for label in labels.disciplines]
        counts = {key: int(seeds_of(key, labels, exactly=True).sum()) for key in dict.fromkeys(keys)}
        group = labels.taxonomy.group
        covered = {group(key) for key in counts if group(key) != key}
        counts = {key: n for key, n in counts.items() if n >= MIN_SEEDS and key not in covered}
        shares = _preset_shares(quota.discipline_preset, counts, "discipline")
        quota = replace(quota, discipline_preset=None, discipline=shares)
    if quota.difficulty_preset is not None:
        levels, numbers = np.unique(labels.difficulty[labels.difficulty > 0], return_counts=True)
        counts = {str(level): n for level, n in zip(levels.tolist(), numbers.tolist(), strict=True)}
        shares = _preset_shares(quota.difficulty_preset, counts, "difficulty")
        quota = replace(quota, difficulty_preset=None, difficulty=shares)
    return quota


MIN_SEEDS = 2
"""Seeds of a discipline in a preset, at least."""


def _preset_shares(preset: str, counts: Mapping[str, int], what: str) -> dict[str, float]:
    if not counts:
        raise ConfigError(f"quota.{what}_preset = {preset!r}, but the seeds have no {what}; leave it out")
    total = sum(counts.values())
    return {key: n / total if preset == "seeds" else 1.0 / len(counts) for key, n in counts.items()}


def plan_cells(quota: QuotaConfig, n_paths: int) -> list[Cell]:
    """Cells of a quota: the product of its shares, whose counts sum to `n_paths`."""
    disciplines: list[tuple[str | None, float]] = [*quota.discipline.items()] or [(None, 1.0)]
    levels: list[tuple[str | None, float]] = [*quota.difficulty.items()] or [(None, 1.0)]
    found, shares = [], []
    for discipline, a in disciplines:
        own = quota.license_group.get(discipline or "", {})
        groups: list[tuple[str | None, float]] = [*own.items()] or [(None, 1.0)]
        in_all = sum(share for _, share in groups)
        for level, b in levels:
            for group, c in groups:
                if (share := a * b * c / in_all) > 0.0:
                    found.append(Cell(discipline, int(level) if level else None, 0, group))
                    shares.append(share)
    return [replace(cell, n_paths=n) for cell, n in zip(found, largest_remainder(shares, n_paths), strict=True)]


def further_paths(wanted: Sequence[int], planned: Sequence[int], total: int) -> list[int]:
    """Paths of each cell that bring a campaign to `total` paths, as near to `wanted` in each cell as it can come.

    `planned` are the paths that the campaign has (empty: none); no cell loses any of them.
    """
    planned = planned or [0] * len(wanted)
    missing = [max(0, want - have) for want, have in zip(wanted, planned, strict=True)]
    return largest_remainder([float(n) for n in missing], total - sum(planned))


def paths_for_missing_qa(
    asked: Sequence[int], available: Sequence[int], planned: Sequence[int], per_path: int, max_overdraw: float
) -> list[int]:
    """Further paths of each cell for the QA that it lacks.

    Parameters
    ----------
    asked, available : sequence of int
        QA of each cell: asked for, and kept so far.
    planned : sequence of int
        Paths of each cell so far; empty: none.
    per_path : int
        QA that a path asks for.
    max_overdraw : float
        Bound of all paths of a cell, as a multiple of those that it would need if all QA were kept.

    Returns
    -------
    list of int
        As many paths as give the missing QA at the cell's own rate of kept QA per path so far, within the bound.
    """
    paths = []
    for want, have, walked in zip(asked, available, planned or [0] * len(asked), strict=True):
        least = -(-want // per_path)
        if walked == 0:
            paths.append(least)
            continue
        missing = max(0, want - have)
        # One path with half its QA is added to the count: a cell without kept QA has a rate too.
        needed = -(-missing * 2 * (walked + 1) // (2 * have + per_path))
        paths.append(min(needed, max(0, int(least * max_overdraw) - walked)))
    return paths


def plan_rounds(cells: Sequence[Cell], n_rounds: int) -> list[Round]:
    """Divide cells into about `n_rounds` rounds of similar size, interleaved so that each round has recent feedback."""
    total = sum(cell.n_paths for cell in cells)
    size = max(1, -(-total // n_rounds))
    parts = []
    for number, cell in enumerate(cells):
        pieces = max(1, -(-cell.n_paths // size))
        for i, n in enumerate(largest_remainder([1.0] * pieces, cell.n_paths)):
            # The i-th of a cell's pieces belongs at the fraction (i + 1/2) / pieces of the campaign.
            parts.append(((i + 0.5) / pieces, number, n))
    return [Round(cell, n) for _, cell, n in sorted(parts) if n > 0]


@dataclass(frozen=True, eq=False)
class CellGoal:
    """What the walks of a cell aim at."""

    target: Float64
    """[n_kps] T(v)."""
    starts: Float64
    """[n_kps] T(v) where a walk may start: at KPs with a neighbour and a seed of the cell's discipline. All 0: none of
    these KPs has a neighbour, and no walk of the cell can start."""
    weight: Int32 | None = None
    """[n_entries] edge weights: > 0 for edges with a seed of the discipline, -w(e) for foreign ones; None: those of the
    graph."""
    cross_discipline: float = 0.0
    """Share of the steps that should go over foreign edges."""
    graph: KPGraph | None = None
    """That of the cell's seeds, with the same KPs; None: that of the campaign."""


def goals_digest(goals: Sequence[CellGoal]) -> str:
    """SHA-256 of what the cells aim at, in bits.

    Targets are the only inputs of walks that are computed with `**` and `exp` of the host's mathematical library, whose
    last bit may differ between processors and library versions. Equal digests mean equal inputs, and then the walks
    have the same bits on any machine and backend.
    """
    digest = hashlib.sha256()
    for goal in goals:
        for array, dtype in ((goal.target, "<f8"), (goal.starts, "<f8"), (goal.weight, "<i4")):
            digest.update(b"" if array is None else np.ascontiguousarray(array, dtype).data)
            digest.update(b"-" if array is None else b"+")
        digest.update(struct.pack("<d", goal.cross_discipline))
    return digest.hexdigest()


def cell_goals(
    cells: Sequence[Cell],
    graph: KPGraph,
    statistics: KPStatistics,
    quota: QuotaConfig,
    tau: float,
    factor: Float64 | None = None,
    groups: Mapping[str, tuple[KPGraph, KPStatistics]] | None = None,
) -> list[CellGoal]:
    """What the walks of each cell aim at.

    Parameters
    ----------
    factor : float64 [n_kps], optional
        Of each KP's target in every cell, as `scores.score_factor` returns it; None: 1.
    groups : mapping, optional
        Graph and statistics of each group of licenses.

    Raises
    ------
    ConfigError
        A cell names a discipline that no seed has, or two names of the quota are the same discipline.
    """
    if statistics.labels is not None:
        _check_names([*quota.discipline], statistics.labels.taxonomy)
    weights: dict[tuple[str, str | None], Int32] = {}
    labels, whole = statistics.labels, (graph, statistics)
    goals = []
    for cell in cells:
        graph, statistics = whole if cell.license_group is None else (groups or {})[cell.license_group]
        own_graph = None if cell.license_group is None else graph
        reachable = np.where(graph.degree > 0, graph.seed_count, 0)
        kernel = factor
        if cell.difficulty is not None:
            level = level_kernel(statistics.mean_difficulty, cell.difficulty, quota.difficulty_width)
            kernel = level if factor is None else level * factor
        if cell.discipline is None:
            target = target_shares(graph.seed_count, tau, kernel=kernel)
            goals.append(CellGoal(target, target, graph=own_graph))
            continue
        if labels is None or graph.evidence is None:
            raise ConfigError("a quota of disciplines needs a graph with evidence and the labels of its seeds")
        key = (cell.discipline, cell.license_group)
        if key not in weights:
            weights[key] = cell_weight(graph, seeds_of(cell.discipline, labels))
        own_count = np.minimum(_count_own(cell.discipline, statistics, labels.taxonomy), reachable)
        x = quota.cross_discipline
        target = target_shares(reachable, tau, own_count=own_count, cross_discipline=x, kernel=kernel)
        starts = np.where(own_count > 0, target, 0.0)
        goals.append(CellGoal(target, starts, weights[key], x, own_graph))
    return goals


def _check_names(names: Sequence[str], taxonomy: Taxonomy) -> None:
    if len({taxonomy.key(name) for name in names}) < len(names):
        raise ConfigError(f"quota.discipline has the same discipline twice: {', '.join(names)}")


def _count_own(discipline: str, statistics: KPStatistics, taxonomy: Taxonomy) -> Int64:
    """f_d(v): int64 [n_kps]. A seed with two labels of the discipline counts twice."""
    found = find_discipline(discipline, statistics.disciplines, taxonomy)
    columns = statistics.discipline_counts[:, found]
    return np.asarray(columns.sum(axis=1), np.int64).ravel()


def cell_weight(graph: KPGraph, own: Bool) -> Int32:
    """Edge weights of a cell: w(e) c_d(e) / c(e), at least 1, where c_d(e) > 0, and -w(e) elsewhere: int32 [n_entries].

    c_d(e) counts the seeds of an edge's evidence that are `own`, bool [n_seeds]. With weight 'count' the result is
    c_d(e).
    """
    assert graph.evidence is not None
    assert graph.evidence_indptr is not None
    running = np.concatenate([[0], np.cumsum(own[graph.evidence], dtype=np.int64)])
    own_count = running[graph.evidence_indptr[1:]] - running[graph.evidence_indptr[:-1]]
    _, edges_before = graph.upper
    above = graph.indices > np.repeat(np.arange(graph.n_kps, dtype=np.int32), graph.degree)
    weight, count = graph.weight[above], graph.count[above]
    scaled = np.maximum(1, weight.astype(np.int64) * own_count // count)
    of_edge = np.where(own_count > 0, scaled, -weight).astype(np.int32)
    out = np.empty(graph.indices.size, np.int32)
    out[above] = of_edge
    # The entries below the diagonal are the transposed ones above it: sorted by column, then by row.
    upper = sparse.csr_array((of_edge, graph.indices[above], edges_before), shape=(graph.n_kps, graph.n_kps))
    out[~above] = upper.tocsc().data
    return out


def plan_table(
    cells: Sequence[Cell], labels: SeedLabels, delivered: Sequence[int], drops: Sequence[Mapping[str, int]]
) -> list[dict[str, Any]]:
    """The cells as rows of plan.json: what was asked for, what the bank has for it, what was delivered and dropped."""
    rows = []
    for cell, n, dropped in zip(cells, delivered, drops, strict=True):
        of_cell = np.ones(labels.difficulty.size, bool)
        if cell.discipline is not None:
            of_cell = seeds_of(cell.discipline, labels)
        level = labels.difficulty if cell.difficulty is not None else None
        rows.append(
            {
                "discipline": cell.discipline,
                "difficulty": cell.difficulty,
                **({} if cell.license_group is None else {"license_group": cell.license_group}),
                "asked": cell.n_paths,
                "delivered": n,
                "dropped_by_reason": dict(dropped),
                "seeds": int(of_cell.sum()),
                "seeds_of_level": None if level is None else int((of_cell & (level == cell.difficulty)).sum()),
            }
        )
    return rows
