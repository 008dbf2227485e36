"""The knowledge distribution value function: which KPs have fewer visits than their target.

LinkSyn's own formula is not public; this formula is this project's own. Target T and affinity are computed here once,
on the host, in float64; what runs per round (feedback F, potential P) is in `backend/`, with the same bits everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linksyn_gpu.errors import DataError
from linksyn_gpu.tables import Bool, Float64, Int64


def target_shares(seed_count: Int64, tau: float, affinity: Float64 | None = None) -> Float64:
    """T(v) = f(v)^tau * affinity(v), normalised to sum 1.

    Parameters
    ----------
    seed_count : int64 [n_kps]
        f(v), seeds that hold v.
    tau : float
        1: popularity; 0: uniform coverage.
    affinity : float64 [n_kps], optional
        Relevance of v to the cell of the round, >= 0; None: 1 everywhere.

    Returns
    -------
    float64 [n_kps]
        All 0 if no KP has a share.

    Raises
    ------
    DataError
        The affinity does not have one finite number >= 0 per KP.
    """
    shares = seed_count.astype(np.float64) ** tau
    if affinity is not None:
        if affinity.shape != shares.shape or not np.isfinite(affinity).all() or affinity.min(initial=0.0) < 0.0:
            raise DataError(f"an affinity must be {shares.size:,} finite numbers >= 0, one per KP of the graph")
        shares = shares * affinity
    total = shares.sum()
    return shares / total if total > 0.0 else shares


def cell_affinity(
    held: Int64,
    in_discipline: Int64 | None,
    mean_difficulty: Float64,
    difficulty: int | None,
    *,
    cross_discipline: float,
    difficulty_width: float,
) -> Float64:
    """Relevance of each KP to a cell of the plan.

    (x + (1 - x) * share of v's seeds in the cell's discipline) * exp(-((d(v) - level) / width)^2 / 2)
    with x = `cross_discipline` and d(v) the mean difficulty of v's seeds. This project's own formula.

    Parameters
    ----------
    held : int64 [n_kps]
        f(v).
    in_discipline : int64 [n_kps], optional
        Seeds of v in the cell's discipline; None if the cell has none.
    mean_difficulty : float64 [n_kps]
        NaN if no seed of v has a difficulty: then the kernel is 1.
    difficulty : int, optional
        Level of the cell.
    """
    affinity = np.ones(held.size)
    if in_discipline is not None:
        share = np.divide(in_discipline, held, out=np.zeros(held.size), where=held > 0)
        affinity = cross_discipline + (1.0 - cross_discipline) * share
    if difficulty is not None:
        kernel = np.exp(-0.5 * ((mean_difficulty - difficulty) / difficulty_width) ** 2)
        affinity = affinity * np.where(np.isnan(mean_difficulty), 1.0, kernel)
    return affinity


def divergence(visits: Int64, target: Float64, reachable: Bool) -> float:
    """KL(visits || target) in nats over the KPs that walks can reach, the target renormalised to them."""
    n, t = visits[reachable].astype(np.float64), target[reachable]
    if n.sum() == 0.0 or t.sum() == 0.0:
        raise DataError("no reachable KP has a visit, or none has a target: sample walks first, or change the quota")
    p, t = n / n.sum(), t / t.sum()
    seen = p > 0.0
    return float((p[seen] * np.log(p[seen] / t[seen])).sum())


def gini(visits: Sequence[int] | Int64) -> float:
    """Gini coefficient of visit counts: 0 if all KPs have the same number, near 1 if one has them all."""
    x = np.sort(np.asarray(visits, np.float64))
    if x.size == 0 or x.sum() == 0.0:
        return 0.0
    rank = np.arange(1, x.size + 1)
    return float((2.0 * (rank * x).sum() / (x.size * x.sum())) - (x.size + 1) / x.size)
