"""From path to bundle: for each edge of a path, one seed that holds both ends.

Neighbouring seeds of a bundle therefore share a knowledge point: they are strongly linked. Within the evidence of an
edge, seeds of the cell's discipline are preferred, then the seed used least before this round, then the nearest to the
cell's level, then a Philox draw.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.backend import resolve
from linksyn_gpu.backend.protocol import NOT_A_PATH, Array
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.config import BundleConfig, QuotaConfig
from linksyn_gpu.config.loader import config_or_fields
from linksyn_gpu.errors import DataError
from linksyn_gpu.sampling.labels import seed_labels, seeds_of
from linksyn_gpu.tables import PATH_STATUS, Bundles, Cell, Int32, Int64, KPGraph, Seeds, WalkBatch

DISTANCES = 8  # more than any distance to a level: one use counts more than all of them
FOREIGN = 1 << 43  # a seed of another discipline comes after any of the cell's
FEW_SEEDS, OFF_CELL = (PATH_STATUS.index(reason) for reason in ("few_seeds", "off_cell"))

Status = NDArray[np.uint8]


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
    quota : QuotaConfig, optional
        Its `min_own_share` decides which paths belong to a cell.
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
        quota: QuotaConfig | None = None,
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
        self._labels = seed_labels(seeds)
        self._min_own_share = (quota or QuotaConfig()).min_own_share
        self._n_kps, self._n_seeds = graph.n_kps, len(seeds)
        self._uses = self._ops.asarray(np.zeros(len(seeds), np.int64))
        self._key = derive_key(seed, Purpose.BUNDLE)

    @property
    def uses(self) -> Int64:
        """[n_seeds] kept bundles that contain each seed."""
        return self._ops.to_host(self._uses).copy()

    def resume(self, bundles: Bundles) -> None:
        """Count the uses of seeds in kept bundles of an earlier campaign."""
        linked, kept = self._ops.asarray(bundles.seeds), self._ops.asarray(bundles.kept)
        self._uses = self._uses + self._ops.count_occurrences(linked, kept, self._n_seeds)

    def begin_round(self, cell: Cell | None = None) -> None:
        """Order the evidence for the paths of a cell: seeds of its discipline first, then the least used, then the
        nearest to its level."""
        order = self._distance(cell.difficulty if cell is not None else None)
        self._own = None
        if cell is not None and cell.discipline is not None:
            self._own = seeds_of(cell.discipline, self._labels)
            order = order + np.where(self._own, 0, FOREIGN)
        self._ordered = self._ops.order_evidence(self._evidence, self._uses * DISTANCES + self._ops.asarray(order))

    def link(self, nodes: Array, ids: Array, status: Status) -> tuple[Int32, Status]:
        """Link paths of the round, in the backend's memory.

        Parameters
        ----------
        nodes : int32 [n, length + 1]
        ids : int64 [n]
        status : uint8 [n]
            Index into `PATH_STATUS`, on the host; paths that are not kept get no seeds.

        Returns
        -------
        seeds : int32 [n, length]
            On the host, padded with -1.
        status : uint8 [n]
            With 'few_seeds' and 'off_cell'.
        """
        ops = self._ops
        linked = ops.link_paths(self._evidence, self._ordered, nodes, ids, ops.asarray(status == 0), self._key)
        seeds = ops.to_host(linked)
        if (seeds == NOT_A_PATH).any():
            raise DataError("a path takes a step that is not an edge of the graph: the paths are not of this graph")
        size = (seeds >= 0).sum(axis=1)
        reason = np.where(size < self.config.min_seeds, FEW_SEEDS, 0)
        if self._own is not None:
            own = (self._own[seeds] & (seeds >= 0)).sum(axis=1)
            reason[(reason == 0) & (own <= self._min_own_share * size)] = OFF_CELL
        status = np.where(status == 0, reason, status).astype(np.uint8)
        self._uses = self._uses + ops.count_occurrences(linked, ops.asarray(status == 0), self._n_seeds)
        return seeds, status

    def link_round(self, batch: WalkBatch, cell: Cell | None = None) -> Bundles:
        """Link the paths of one round.

        Parameters
        ----------
        batch : WalkBatch
            As `Walker.sample_round` returns it.
        cell : Cell, optional
            The round's cell.

        Returns
        -------
        Bundles
            On the host, one row per path.
        """
        if batch.nodes.size and (batch.nodes.min() < -1 or batch.nodes.max() >= self._n_kps):
            raise DataError(f"the KPs of paths must lie in 0 .. {self._n_kps - 1}: the paths are not of this graph")
        self.begin_round(cell)
        n, length = batch.nodes.shape[0], batch.nodes.shape[1] - 1
        seeds, status = np.empty((n, length), np.int32), np.empty(n, np.uint8)
        step = self._batch_size or max(1, n)
        for begin in range(0, n, step):
            rows = slice(begin, begin + step)
            nodes, ids = self._ops.asarray(batch.nodes[rows]), self._ops.asarray(batch.ids[rows])
            seeds[rows], status[rows] = self.link(nodes, ids, batch.status[rows])
        return Bundles(seeds, status)

    def _distance(self, level: int | None) -> Int64:
        """[n_seeds] distance of each seed to the level of the cell, 0 if the cell has none.

        A seed without a level has the mean distance of the others: it is neither preferred nor avoided.
        """
        difficulty = self._labels.difficulty
        rated = difficulty > 0
        if level is None or not rated.any():
            return np.zeros(difficulty.size, np.int64)
        distance = np.abs(difficulty - level)
        total, n_rated = int(distance[rated].sum()), int(rated.sum())
        return np.where(rated, distance, (2 * total + n_rated) // (2 * n_rated))


def link_seeds(
    batch: WalkBatch,
    graph: KPGraph,
    seeds: Seeds,
    config: BundleConfig | None = None,
    *,
    seed: int = 0,
    cells: Sequence[Cell] | None = None,
    quota: QuotaConfig | None = None,
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
    cells : sequence of Cell, optional
        Cells of the plan; None: the batch's own.
    quota : QuotaConfig, optional
        Its `min_own_share` decides which paths belong to a cell.
    backend : {'auto', 'cpu', 'gpu', 'reference'}
    settings
        Fields of `BundleConfig`, instead of `config`.

    Returns
    -------
    Bundles
        One row per path of the batch.
    """
    linker = SeedLinker(graph, seeds, config_or_fields(BundleConfig, config, settings), seed, backend, quota=quota)
    cells = batch.cells if cells is None else cells
    parts = [
        linker.link_round(part, cells[int(part.cell[0])] if cells and len(part) else None) for part in _rounds(batch)
    ]
    return Bundles(
        np.concatenate([p.seeds for p in parts]), np.concatenate([p.status for p in parts]), (batch, graph, seeds)
    )


def _rounds(batch: WalkBatch) -> list[WalkBatch]:
    """Cut a batch where its round changes."""
    bounds = [0, *(np.flatnonzero(np.diff(batch.round)) + 1).tolist(), len(batch)]
    return [batch[a:b] for a, b in itertools.pairwise(bounds)]
