"""From path to bundle: for each edge of a path, one seed that holds both ends.

Neighbouring seeds of a bundle therefore share a knowledge point: they are strongly linked. Within the evidence of an
edge, the seed used least before this round is preferred, then the nearest to the cell's difficulty, then a Philox draw.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from linksyn_gpu.backend import resolve
from linksyn_gpu.backend.protocol import NOT_A_PATH
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.config import BundleConfig
from linksyn_gpu.config.loader import config_or_fields
from linksyn_gpu.errors import DataError
from linksyn_gpu.tables import PATH_STATUS, Bundles, Int64, KPGraph, Seeds, WalkBatch

DISTANCES = 8  # more than any distance to a level: one use counts more than all of them
UNKNOWN_DISTANCE = 5  # a seed without difficulty comes after any with one


class SeedLinker:
    """Links seeds along paths, round by round; the number of uses of each seed continues from round to round.

    Parameters
    ----------
    graph : KPGraph
        With evidence.
    seeds : Seeds
        The seeds that the graph was built from.
    config : BundleConfig, optional
    seed : int
        Campaign seed.
    backend : {'auto', 'cpu', 'gpu', 'reference'}
    batch_size : int, optional
        Paths in the backend's memory at once; None: all of a round. Never changes a bundle.

    Raises
    ------
    DataError
        The graph has no evidence, or was built from other seeds.
    """

    def __init__(
        self,
        graph: KPGraph,
        seeds: Seeds,
        config: BundleConfig | None = None,
        seed: int = 0,
        backend: str = "auto",
        *,
        batch_size: int | None = None,
    ) -> None:
        self._batch_size = batch_size
        self.config = config if config is not None else BundleConfig()
        self._ops = resolve(backend).ops
        self._evidence = self._ops.load_evidence(graph)
        if graph.n_seeds != len(seeds):
            raise DataError(
                f"the graph was built from {graph.n_seeds} seeds, not from these {len(seeds)}: build it again"
            )
        self._difficulty: Int64 = seeds.table.column("difficulty").fill_null(0).to_numpy().astype(np.int64)
        self._n_kps, self._n_seeds = graph.n_kps, len(seeds)
        self._uses = self._ops.asarray(np.zeros(len(seeds), np.int64))
        self._key = derive_key(seed, Purpose.BUNDLE)

    @property
    def uses(self) -> Int64:
        """[n_seeds] kept bundles that contain each seed."""
        return self._ops.to_host(self._uses).copy()

    def link_round(self, batch: WalkBatch, level: int | None = None) -> Bundles:
        """Link the paths of one round.

        Parameters
        ----------
        batch : WalkBatch
            As `Walker.sample_round` returns it.
        level : int, optional
            Difficulty of the round's cell.

        Returns
        -------
        Bundles
            On the host, one row per path.
        """
        if batch.nodes.size and (batch.nodes.min() < -1 or batch.nodes.max() >= self._n_kps):
            raise DataError(f"the KPs of paths must lie in 0 .. {self._n_kps - 1}: the paths are not of this graph")
        ops = self._ops
        rank = self._uses * DISTANCES + ops.asarray(self._distance(level))
        ordered = ops.order_evidence(self._evidence, rank)
        n, length = batch.nodes.shape[0], batch.nodes.shape[1] - 1
        seeds, sizes, kept = np.empty((n, length), np.int32), np.empty(n, np.int32), np.empty(n, np.bool_)
        step = self._batch_size or max(1, n)
        for begin in range(0, n, step):
            rows = slice(begin, begin + step)
            nodes, ids, walked = map(ops.asarray, (batch.nodes[rows], batch.ids[rows], batch.status[rows] == 0))
            linked = ops.link_paths(self._evidence, ordered, nodes, ids, walked, self._key)
            seeds[rows] = ops.to_host(linked)
            if (seeds[rows] == NOT_A_PATH).any():
                raise DataError("a path takes a step that is not an edge of the graph: the paths are not of this graph")
            sizes[rows] = ops.to_host(ops.path_lengths(linked))
            kept[rows] = (batch.status[rows] == 0) & (sizes[rows] >= self.config.min_seeds)
            self._uses = self._uses + ops.count_occurrences(linked, ops.asarray(kept[rows]), self._n_seeds)
        drops = Counter({PATH_STATUS[s]: int((batch.status == s).sum()) for s in range(1, len(PATH_STATUS))})
        drops["few_seeds"] = int(((batch.status == 0) & ~kept).sum())
        return Bundles(seeds, sizes, kept, +drops)

    def _distance(self, level: int | None) -> Int64:
        """[n_seeds] distance of each seed to the level of the cell, 0 if the cell has none."""
        if level is None:
            return np.zeros(self._difficulty.size, np.int64)
        return np.where(self._difficulty > 0, np.abs(self._difficulty - level), UNKNOWN_DISTANCE)


def link_seeds(
    batch: WalkBatch,
    graph: KPGraph,
    seeds: Seeds,
    config: BundleConfig | None = None,
    *,
    seed: int = 0,
    levels: Sequence[int | None] | None = None,
    backend: str = "auto",
    **settings: Any,
) -> Bundles:
    """Link seeds along the paths of a batch.

    Parameters
    ----------
    batch : WalkBatch
        Its rounds are linked in order.
    graph : KPGraph
        With evidence, built from `seeds`.
    seeds : Seeds
    config : BundleConfig, optional
    seed : int
        Campaign seed.
    levels : sequence of (int or None), optional
        Difficulty of each cell of the plan; None: that of the batch's cells.
    backend : {'auto', 'cpu', 'gpu', 'reference'}
    settings
        Fields of `BundleConfig`, instead of `config`.

    Returns
    -------
    Bundles
        One row per path of the batch.
    """
    linker = SeedLinker(graph, seeds, config_or_fields(BundleConfig, config, settings), seed, backend)
    if levels is None and batch.cells:
        levels = [cell.difficulty for cell in batch.cells]
    parts = []
    for part in _rounds(batch):
        level = None if levels is None or len(part) == 0 else levels[int(part.cell[0])]
        parts.append(linker.link_round(part, level))
    return Bundles(
        np.concatenate([p.seeds for p in parts]),
        np.concatenate([p.sizes for p in parts]),
        np.concatenate([p.kept for p in parts]),
        sum((p.drops for p in parts), Counter()),
        (batch, graph, seeds),
    )


def _rounds(batch: WalkBatch) -> list[WalkBatch]:
    """Cut a batch where its round changes."""
    bounds = [0, *(np.flatnonzero(np.diff(batch.round)) + 1).tolist(), len(batch)]
    return [batch[a:b] for a, b in itertools.pairwise(bounds)]
