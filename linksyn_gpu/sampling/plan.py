"""The plan of a campaign: cells (discipline, difficulty) with their paths, and the rounds that sample them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from linksyn_gpu.config import QuotaConfig
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.sampling.value import cell_affinity
from linksyn_gpu.tables import Cell, Float64, Int64, KPStatistics
from linksyn_gpu.text import name_key


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


def plan_cells(quota: QuotaConfig, n_paths: int) -> list[Cell]:
    """Cells of a quota: the product of its discipline and difficulty shares, whose counts sum to `n_paths`.

    Raises
    ------
    ConfigError
        Two names of the quota are the same discipline.
    """
    keys = [name_key(name) for name in quota.discipline]
    if len(set(keys)) < len(keys):
        raise ConfigError(f"quota.discipline has the same discipline twice: {', '.join(quota.discipline)}")
    disciplines: list[tuple[str | None, float]] = [*quota.discipline.items()] or [(None, 1.0)]
    levels: list[tuple[str | None, float]] = [*quota.difficulty.items()] or [(None, 1.0)]
    pairs = [(d, s, a * b) for d, a in disciplines for s, b in levels if a * b > 0.0]
    counts = largest_remainder([share for _, _, share in pairs], n_paths)
    return [Cell(d, int(s) if s else None, n) for (d, s, _), n in zip(pairs, counts, strict=True)]


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


def cell_affinities(cells: Sequence[Cell], statistics: KPStatistics, quota: QuotaConfig) -> list[Float64 | None]:
    """Affinity of every KP to each cell; None for a cell without discipline and difficulty.

    Raises
    ------
    ConfigError
        A cell names a discipline that no seed has, or reaches no KP.
    """
    affinities: list[Float64 | None] = []
    for cell in cells:
        if cell.discipline is None and cell.difficulty is None:
            affinities.append(None)
            continue
        affinity = cell_affinity(
            statistics.seed_count,
            _held_in(cell.discipline, statistics),
            statistics.mean_difficulty,
            cell.difficulty,
            cross_discipline=quota.cross_discipline,
            difficulty_width=quota.difficulty_width,
        )
        if not affinity.any():
            raise ConfigError(f"quota cell ({cell.label}) reaches no KP; raise quota.cross_discipline")
        affinities.append(affinity)
    return affinities


def _held_in(discipline: str | None, statistics: KPStatistics) -> Int64 | None:
    """Seeds of each KP that are of `discipline`: int64 [n_kps]."""
    if discipline is None:
        return None
    keys = [name_key(name) for name in statistics.disciplines]
    if name_key(discipline) not in keys:
        known = ", ".join(sorted(statistics.disciplines)) or "none"
        raise ConfigError(f"quota names discipline {discipline!r}, which no seed has; the seeds have: {known}")
    column = statistics.discipline_counts[:, [keys.index(name_key(discipline))]]
    return np.asarray(column.todense(), np.int64).ravel()
