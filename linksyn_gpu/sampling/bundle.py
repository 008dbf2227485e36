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

from linksyn_gpu.backend import resolve
from linksyn_gpu.backend.protocol import NOT_A_PATH, RANKS_PER_USE, Array, RankedEvidence, WalkGraph
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.config import BundleConfig, QuotaConfig
from linksyn_gpu.config.loader import config_or_fields
from linksyn_gpu.errors import DataError
from linksyn_gpu.sampling.labels import find_discipline, seed_labels
from linksyn_gpu.tables import Bundles, Cell, Int32, Int64, KPGraph, Seeds, WalkBatch


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
    loaded : WalkGraph, optional
        `Walker.loaded_of` of a walker on the same graph and backend: the two share one copy of the graph.

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
        loaded: WalkGraph | None = None,
    ) -> None:
        self._batch_size = batch_size
        self.config = config if config is not None else BundleConfig()
        self._ops = resolve(backend).ops
        self._evidence = self._ops.load_evidence(graph, loaded)
        if graph.n_seeds != len(seeds):
            raise DataError(
                f"the graph was built from {graph.n_seeds} seeds, not from these {len(seeds)}: build it again"
            )
        labels = seed_labels(seeds)
        self._disciplines, self._taxonomy = labels.disciplines, labels.taxonomy
        self._level_counts = np.bincount(labels.difficulty, minlength=RANKS_PER_USE)
        self._labels = self._ops.load_labels(labels)
        self._min_own_share = self._ops.asarray(np.full(1, (quota or QuotaConfig()).min_own_share))
        self._n_kps, self._n_seeds = graph.n_kps, len(seeds)
        self._key = derive_key(seed, Purpose.BUNDLE)
        self._ranked: RankedEvidence | None = None
        self._own: Array | None = None
        self.forget_uses()

    def forget_uses(self) -> None:
        """Begin a campaign: no seed is used yet."""
        self._uses = self._ops.asarray(np.zeros(self._n_seeds, np.int64))

    @property
    def uses(self) -> Int64:
        """[n_seeds] kept bundles that contain each seed."""
        return self._ops.to_host(self._uses).copy()

    def resume(self, bundles: Bundles) -> None:
        """Count the uses of seeds in kept bundles of an earlier campaign."""
        linked, kept = self._ops.asarray(bundles.seeds), self._ops.asarray(bundles.kept)
        self._uses = self._uses + self._ops.count_occurrences(linked, kept, self._n_seeds)

    def begin_round(self, cell: Cell | None = None) -> None:
        """Rank the seeds for the paths of a cell: those of its discipline first, then the least used, then the nearest
        to its level."""
        wanted = np.zeros(len(self._disciplines), np.uint8)
        discipline = None if cell is None else cell.discipline
        if discipline is not None:
            wanted[find_discipline(discipline, self._disciplines, self._taxonomy)] = 1
        distances = self._distances(None if cell is None else cell.difficulty)
        self._ranked, self._own = None, None  # frees their memory
        rank, own = self._ops.rank_seeds(self._labels, self._uses, wanted, distances)
        self._own = None if discipline is None else own
        self._ranked = self._ops.rank_evidence(self._evidence, rank)

    def link(self, nodes: Array, ids: Array, status: Array) -> tuple[Array, Array]:
        """Link paths of the round, in the backend's memory.

        Parameters
        ----------
        nodes : int32 [n, length + 1]
        ids : int64 [n]
        status : uint8 [n]
            Index into `PATH_STATUS`; paths that are not kept get no seeds.

        Returns
        -------
        seeds : int32 [n, length]
            Padded with -1; the first is `NOT_A_PATH` where a step is not an edge of the graph.
        status : uint8 [n]
            With 'few_seeds' and 'off_cell'.
        """
        ops = self._ops
        assert self._ranked is not None, "begin_round was not called"
        linked = ops.link_paths(self._evidence, self._ranked, nodes, ids, status == 0, self._key)
        status = ops.screen_bundles(linked, status, self._own, self.config.min_seeds, self._min_own_share)
        self._uses = self._uses + ops.count_occurrences(linked, status == 0, self._n_seeds)
        return linked, status

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
            linked = self.link(*(self._ops.asarray(column[rows]) for column in (batch.nodes, batch.ids, batch.status)))
            seeds[rows], status[rows] = map(self._ops.to_host, linked)
        check_linked(seeds)
        return Bundles(seeds, status)

    def _distances(self, level: int | None) -> Int64:
        """Distance of each level to the level of the cell, 0 if the cell has none.

        A seed without a level has the mean distance of the others: it is neither preferred nor avoided.
        """
        counts = self._level_counts
        n_rated = int(counts[1:].sum())
        if level is None or n_rated == 0:
            return np.zeros(counts.size, np.int64)
        distances = np.abs(np.arange(counts.size) - level)
        distances[0] = (2 * int(counts[1:] @ distances[1:]) + n_rated) // (2 * n_rated)
        return distances


def check_linked(seeds: Int32) -> None:
    """Refuse bundles of paths that are not of the graph.

    Raises
    ------
    DataError
        A path takes a step that is not an edge of the graph.
    """
    if (seeds[:, :1] == NOT_A_PATH).any():
        raise DataError("a path takes a step that is not an edge of the graph: the paths are not of this graph")


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
