"""The knowledge distribution value function: which KPs have fewer visits than their target.

LinkSyn's own formula is not public; this formula is this project's own. Targets are computed here once, on the
host, in float64; what runs per round (feedback F, potential P) is in `backend/`, with the same bits everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linksyn_gpu.errors import DataError
from linksyn_gpu.tables import Bool, Float64, Int64


def target_shares(
    seed_count: Int64,
    tau: float,
    *,
    own_count: Int64 | None = None,
    cross_discipline: float = 0.0,
    kernel: Float64 | None = None,
) -> Float64:
    """T(v), normalised to sum 1.

    Without a discipline f(v)^tau k(v). With one, (1 - x) own(v) + x foreign(v), where own = f_d(v)^tau k(v) and
    foreign = (f(v) - f_d(v))^tau k(v) are each normalised first: x is the share of other disciplines, however large
    they are. This project's own formula.

    Parameters
    ----------
    seed_count : int64 [n_kps]
        f(v), seeds that hold v.
    tau : float
        1: popularity; 0: uniform coverage.
    own_count : int64 [n_kps], optional
        f_d(v), seeds of the cell's discipline that hold v.
    cross_discipline : float
        x.
    kernel : float64 [n_kps], optional
        k(v), as `level_kernel` returns it; None: 1 everywhere.

    Returns
    -------
    float64 [n_kps]
        All 0 if no KP has a share.

    Raises
    ------
    DataError
        The kernel does not have one finite number >= 0 per KP.
    """
    factor = np.ones(seed_count.size) if kernel is None else kernel
    if factor.shape != seed_count.shape or not np.isfinite(factor).all() or factor.min(initial=0.0) < 0.0:
        raise DataError(f"a kernel must be {seed_count.size:,} finite numbers >= 0, one per KP of the graph")
    if own_count is None:
        return _normalised(seed_count.astype(np.float64) ** tau * factor)
    foreign_count = seed_count - own_count
    own, foreign = (
        _normalised(np.where(count > 0, count.astype(np.float64) ** tau * factor, 0.0))
        for count in (own_count, foreign_count)
    )
    return _normalised((1.0 - cross_discipline) * own + cross_discipline * foreign)


def _normalised(shares: Float64) -> Float64:
    total = shares.sum()
    return shares / total if total > 0.0 else shares


def level_kernel(mean_difficulty: Float64, level: int, width: float) -> Float64:
    """k(v) = exp(-((d(v) - level) / width)^2 / 2), d(v) the mean level of v's rated seeds: float64 [n_kps].

    A KP without rated seeds (NaN) gets the mean of the others, 1 if there are none: it is neither preferred nor
    avoided.
    """
    rated = ~np.isnan(mean_difficulty)
    kernel = np.exp(-0.5 * ((mean_difficulty - level) / width) ** 2)
    return np.where(rated, kernel, kernel[rated].mean() if rated.any() else 1.0)


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
