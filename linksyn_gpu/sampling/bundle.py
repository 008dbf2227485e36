"""From path to bundle: for each edge of a path one seed that holds both its ends.

Neighbouring seeds of a bundle so share a knowledge point: they are strongly linked. Preference, within the edge's
evidence: the seed used least before this round, then the nearest to the cell's difficulty, then a Philox draw.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from linksyn_gpu.backend import resolve
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.config import BundleConfig
from linksyn_gpu.config.loader import config_or_fields
from linksyn_gpu.errors import DataError
from linksyn_gpu.tables import PATH_STATUS, Bundles, Int64, KPGraph, Seeds, WalkBatch

DISTANCES = 8  # room for the distance to a level below one use more
UNKNOWN_DISTANCE = 5  # a seed without difficulty comes after any with one


class SeedLinker:
    """Links seeds along paths, round by round; how often each seed was used carries on.

    Parameters
    ----------
    graph : KPGraph
        With postings.
    seeds : Seeds
        The seeds that the graph was built from.
    config : BundleConfig, optional
    seed : int
        Campaign seed.
    backend : {'auto', 'cpu', 'gpu', 'reference'}
    batch_size : int, optional
        Paths that are in the backend's memory at once; None: those of a round. Never changes a bundle.

    Raises
    ------
    DataError
        The graph has no postings, or was built from other seeds.
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
            raise DataError(f"the graph was built from {graph.n_seeds} seeds, not from these {len(seeds)}")
        self._difficulty: Int64 = seeds.table.column("difficulty").fill_null(0).to_numpy().astype(np.int64)
        self._uses = self._ops.asarray(np.zeros(len(seeds), np.int64))
        self._key = derive_key(seed, Purpose.BUNDLE)

    @property
    def uses(self) -> Int64:
        """[n_seeds] kept bundles that each seed is in."""
        return np.array(self._ops.to_host(self._uses), np.int64)

    def link_round(self, batch: WalkBatch, level: int | None = None) -> Bundles:
        """Link the paths of one round.

        Parameters
        ----------
        batch : WalkBatch
            As `Walker.sample_round` gives it.
        level : int, optional
            Difficulty of the round's cell.

        Returns
        -------
        Bundles
            Its arrays are in the backend's memory, or on the host when the round does not fit there at once.
        """
        ops = self._ops
        rank = self._uses * DISTANCES + ops.asarray(self._distance(level))
        ordered = ops.order_evidence(self._evidence, rank)
        size = self._batch_size or max(1, len(batch))
        pieces = []
        for begin in range(0, max(1, len(batch)), size):
            part = batch[begin : begin + size]
            nodes, ids, status = map(ops.asarray, (part.nodes, part.ids, part.status))
            seeds = ops.link_paths(self._evidence, ordered, nodes, ids, status == 0, self._key)
            sizes = ops.path_lengths(seeds)
            kept = (status == 0) & (sizes >= self.config.min_seeds)
            self._uses = self._uses + ops.count_occurrences(seeds, kept, self._uses.size)
            pieces.append(Bundles(seeds, sizes, kept))
        return pieces[0] if len(pieces) == 1 else self._joined(pieces)

    def _joined(self, pieces: Sequence[Bundles]) -> Bundles:
        """Bundles of several batches, on the host."""
        host = self._ops.to_host
        return Bundles(
            np.concatenate([host(p.seeds) for p in pieces]),
            np.concatenate([host(p.sizes) for p in pieces]),
            np.concatenate([host(p.kept) for p in pieces]),
        )

    def to_host(self, bundles: Bundles, batch: WalkBatch) -> Bundles:
        """Bring a round's bundles to the host, with their drops counted; `batch` is on the host already."""
        host = self._ops.to_host
        seeds, sizes, kept = host(bundles.seeds), host(bundles.sizes), host(bundles.kept)
        drops = Counter({PATH_STATUS[s]: int((batch.status == s).sum()) for s in range(1, len(PATH_STATUS))})
        drops["few_seeds"] = int(((batch.status == 0) & ~kept).sum())
        return Bundles(seeds, sizes, kept, +drops)

    def _distance(self, level: int | None) -> Int64:
        """[n_seeds] levels between each seed and the cell's, 0 where the cell names none."""
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
        On the host; its rounds are linked in order.
    graph : KPGraph
        With postings, built from `seeds`.
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
        On the host, a row for each path of the batch.
    """
    linker = SeedLinker(graph, seeds, config_or_fields(BundleConfig, config, settings), seed, backend)
    if levels is None and batch.cells:
        levels = [cell.difficulty for cell in batch.cells]
    parts = []
    for part in _rounds(batch):
        level = None if levels is None or len(part) == 0 else levels[int(part.cell[0])]
        parts.append(linker.to_host(linker.link_round(part, level), part))
    return Bundles(
        np.concatenate([p.seeds for p in parts]),
        np.concatenate([p.sizes for p in parts]),
        np.concatenate([p.kept for p in parts]),
        sum((p.drops for p in parts), Counter()),
        (batch, graph, seeds),
    )


def _rounds(batch: WalkBatch) -> list[WalkBatch]:
    """Cut a batch where its round changes."""
    borders = [0, *(np.flatnonzero(np.diff(batch.round)) + 1).tolist(), len(batch)]
    return [batch[a:b] for a, b in itertools.pairwise(borders)]
