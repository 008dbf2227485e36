"""Train and validation without a common seed.

QA that share a seed belong together, and walks link nearly all seeds of a bank. Two seeds are neighbours if a QA uses
both. Where the validation split cannot be made of whole connected components, seeds are cut off along a breadth-first
order, and QA with seeds on both sides are withheld from both splits. The order with the fewest withheld QA is taken.
The rule is this project's own.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, connected_components

from linksyn_gpu.tables import Int32, Int64

SPLITS = ("train", "validation", "withheld")
TRAIN, VALIDATION, WITHHELD = range(3)
STARTS = 16
"""Breadth-first orders that are tried in the largest component."""


@dataclass(frozen=True)
class _Cut:
    """The first `n_seeds` seeds of an order as the validation side."""

    order: Int64
    n_seeds: int
    validation: int
    withheld: int


def split_rows(
    row_offsets: Int64, row_seeds: Int32, seed_ids: Sequence[str], share: float, max_withheld: float
) -> NDArray[np.uint8]:
    """Assign rows to the splits.

    Parameters
    ----------
    row_offsets : int64 [n + 1]
    row_seeds : int32
        Seeds of row i: `row_seeds[row_offsets[i]:row_offsets[i + 1]]`, numbers of `seed_ids`.
    seed_ids : sequence of str
        The result depends on the ids, not on the order of rows or seeds.
    share : float
        Share of the rows for validation.
    max_withheld : float
        Largest share of withheld rows. The validation split is as small as this bound makes it, and may be empty.

    Returns
    -------
    uint8 [n]
        Index into `SPLITS`.
    """
    n, n_seeds = row_offsets.size - 1, len(seed_ids)
    split = np.zeros(n, np.uint8)
    target = round(share * n)
    if target == 0:
        return split
    size = np.diff(row_offsets)
    rank = np.argsort([zlib.crc32(name.encode()) for name in seed_ids], kind="stable")  # an order without a pattern
    place = np.empty(n_seeds, np.int64)
    place[rank] = np.arange(n_seeds)
    # Seeds by their place from here on.
    seeds = place[row_seeds]
    inner = np.ones(seeds.size, bool)
    inner[row_offsets[:-1][size > 0]] = False
    second = np.flatnonzero(inner)
    edges = sparse.csr_array((np.ones(second.size, np.int8), (seeds[second - 1], seeds[second])), (n_seeds, n_seeds))
    components, label = connected_components(edges, directed=False)
    members = np.bincount(label, minlength=components)
    # Whole components first, in the order of their first seeds; the largest one last.
    first = np.full(components, n_seeds)
    np.minimum.at(first, label, np.arange(n_seeds))
    first[np.argmax(members)] = n_seeds
    by_component = np.lexsort((np.arange(n_seeds), first[label]))
    small, large = np.split(by_component, [n_seeds - int(members.max())])
    best: _Cut | None = None
    for start in large[: min(STARTS, large.size)]:
        reached = breadth_first_order(edges, start, directed=False, return_predecessors=False)
        cut = _best_cut(np.concatenate([small, reached]), seeds, row_offsets, target, int(max_withheld * n))
        if best is None or (cut.validation, -cut.withheld) > (best.validation, -best.withheld):
            best = cut
        if best.validation >= target and best.withheld == 0:
            break
    assert best is not None  # there is a largest component
    position = np.empty(n_seeds, np.int64)
    position[best.order] = np.arange(n_seeds)
    inside = np.add.reduceat(np.append(position[seeds] < best.n_seeds, False), row_offsets[:-1]) * (size > 0)
    split[inside > 0] = WITHHELD
    split[(inside == size) & (size > 0)] = VALIDATION
    return split


def _best_cut(order: Int64, seeds: Int64, row_offsets: Int64, target: int, max_withheld: int) -> _Cut:
    """The prefix of an order with about `target` rows inside and the fewest rows across, within the bound."""
    position = np.empty(order.size, np.int64)
    position[order] = np.arange(order.size)
    filled = np.flatnonzero(np.diff(row_offsets))
    touched = np.minimum.reduceat(position[seeds], row_offsets[filled])
    complete = np.maximum.reduceat(position[seeds], row_offsets[filled])
    # [p] rows that have a seed among the first p seeds, and rows all of whose seeds are.
    begun, ended = (
        np.concatenate([[0], np.cumsum(np.bincount(at, minlength=order.size))]) for at in (touched, complete)
    )
    across = begun - ended
    allowed = (across <= max_withheld) & (ended <= 2 * target)
    wanted = np.minimum(ended, target)
    wanted[~allowed] = -1
    # The most rows up to the target, then the fewest across, then the shortest prefix.
    n = int(np.lexsort((np.arange(across.size), across, -wanted))[0])
    return _Cut(order, n, int(ended[n]), int(across[n]))
