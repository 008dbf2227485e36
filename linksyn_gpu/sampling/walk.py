"""Rounds of walks on a KP graph, biased by the value function and its feedback.

A round has one value per KP, one transition table and any number of walks; its visits are added at its end. Graph,
tables and visits stay in the backend's memory from round to round; the walks are returned on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.backend import resolve
from linksyn_gpu.backend.protocol import Array, StartTable, StepRule, TransitionTable
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.config import QuotaConfig, WalkConfig
from linksyn_gpu.config.loader import config_or_fields, to_mapping
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.sampling.plan import Round, cell_affinities, plan_cells, plan_rounds
from linksyn_gpu.sampling.value import target_shares
from linksyn_gpu.tables import Cell, Float64, Int32, Int64, KPGraph, WalkBatch

WALKS_PER_KP = 4  # default size of a calibration round ...
MIN_CALIBRATION, MAX_CALIBRATION = 1 << 10, 1 << 22  # ... and its bounds


class Walker:
    """Samples walks; visits, sampled KP sets and walk ids continue from call to call.

    Parameters
    ----------
    graph : KPGraph
    config : WalkConfig, optional
    seed : int
        0 .. 2^64 - 1. The same seed gives the same paths, to the bit, on every backend and for any number of
        threads.
    backend : {'auto', 'cpu', 'gpu', 'reference'}
    quota : QuotaConfig, optional
        Shares of disciplines and difficulties among the paths of `sample`, for a graph built from seeds.
    affinities : sequence of (float64 [n_kps] or None), optional
        One per cell of a plan that the caller serves by `sample_round`, instead of `quota`; None: a single cell over
        everything.
    batch_size : int, optional
        Walks in the backend's memory at once; None: as many as fit. Never changes a path.
    memory : int, optional
        Bytes of the backend's memory that may be used; None: all that is free.
    settings
        Fields of `WalkConfig`, instead of `config`.

    Attributes
    ----------
    backend : Backend
        What was chosen, and why.
    batch_size : int
        Walks in the backend's memory at once.
    """

    def __init__(
        self,
        graph: KPGraph,
        config: WalkConfig | None = None,
        seed: int = 0,
        backend: str = "auto",
        *,
        quota: QuotaConfig | None = None,
        affinities: Sequence[Float64 | None] | None = None,
        batch_size: int | None = None,
        memory: int | None = None,
        **settings: Any,
    ) -> None:
        if not 0 <= seed < 2**64:
            raise ConfigError(f"seed = {seed} must lie in 0 .. 2^64 - 1")
        if batch_size is not None and batch_size < 1:
            raise ConfigError(f"batch_size = {batch_size} must be at least 1")
        self.config: WalkConfig = config_or_fields(WalkConfig, config, settings)
        self.quota = quota
        if quota is not None:
            if affinities is not None or graph.statistics is None:
                raise ConfigError("quota needs a graph that build_graph made from seeds, and replaces affinities")
            affinities = cell_affinities(plan_cells(quota, 0), graph.statistics, quota)
        self.seed = seed
        self.backend = resolve(backend)
        self._ops = ops = self.backend.ops
        self._n_kps = graph.n_kps
        fitting = ops.walks_that_fit(graph, self.config.length, memory=memory)
        self.batch_size = fitting if batch_size is None else min(batch_size, fitting)
        self._rule = StepRule(self.config.no_revisit, self.config.p, self.config.q)
        self._graph = ops.load_graph(graph, second_order=self._rule.second_order)
        self._targets = [
            ops.asarray(target_shares(graph.seed_count, self.config.tau, affinity))
            for affinity in (affinities if affinities is not None else [None])
        ]
        self._potentials: dict[int, Array] = {}
        self._visits = self._no_visits = ops.asarray(np.zeros(graph.n_kps, np.int64))
        self._seen = ops.key_set() if self.config.distinct else None
        self._n_walks = 0
        self._n_rounds = 0

    @property
    def visits(self) -> Int64:
        """[n_kps] how often walks visited each KP so far. Walks that were drawn again count too.

        Otherwise the value of KPs whose paths are always too short or repeated would grow without end.
        """
        return self._ops.to_host(self._visits).copy()

    def sample(self, n: int, on_round: Callable[[int], None] | None = None) -> WalkBatch:
        """Sample `n` walks in about `config.rounds` rounds: of cell 0, or of all cells of the quota.

        Parameters
        ----------
        n : int
        on_round : callable, optional
            Called with the number of walks of each finished round.

        Returns
        -------
        WalkBatch
            [n] rows. A path that violates `min_length` or `distinct` after the last redraw stays in, with its
            `status`.
        """
        if n < 0:
            raise ConfigError(f"n = {n} must not be negative")
        n_rounds = max(1, min(self.config.rounds, n))
        rounds = [Round(0, n // n_rounds + (i < n % n_rounds)) for i in range(n_rounds)]
        cells: list[Cell] = []
        if self.quota is not None:
            cells = plan_cells(self.quota, n)
            rounds = plan_rounds(cells, n_rounds) or [Round(0, 0)]
        batches = []
        for part in rounds:
            batches.append(self.sample_round(part.n_paths, part.cell))
            if on_round is not None:
                on_round(part.n_paths)
        settings = {"seed": self.seed, "walk": to_mapping(self.config)}
        return replace(WalkBatch.concatenate(batches), cells=cells, settings=settings)

    def sample_round(self, n: int, cell: int = 0) -> WalkBatch:
        """Sample one round of `n` walks for a cell.

        Returns
        -------
        WalkBatch
            [n] rows, on the host.
        """
        ops, config = self._ops, self.config
        target = self._targets[cell]
        value = ops.node_value(target, self._potential(cell), self._visits, float(config.beta))
        table = ops.transition_table(self._graph, value)
        start = ops.start_table(table, target, value)
        ids = np.arange(self._n_walks, self._n_walks + n)

        # Attempt by attempt over the whole round: the size of a batch must not decide which of two equal paths is kept.
        nodes, status, visits = self._attempt(table, start, ids, 0)
        redraws = 0
        for number in range(1, config.max_redraws + 1):
            failed = np.flatnonzero(status)
            if failed.size == 0:
                break
            redraws += failed.size
            nodes[failed], status[failed], more = self._attempt(table, start, ids[failed], number)
            visits = visits + more

        self._visits = self._visits + visits
        cells, rounds = np.full(n, cell, np.int32), np.full(n, self._n_rounds, np.int32)
        self._n_walks += n
        self._n_rounds += 1
        lengths = (nodes >= 0).sum(axis=1, dtype=np.int32)
        return WalkBatch(nodes, lengths, ids, status, cells, rounds, redraws)

    def _attempt(
        self, table: TransitionTable, start: StartTable, ids: Int64, number: int
    ) -> tuple[Int32, NDArray[np.uint8], Array]:
        """Draw and screen a walk for each id, in batches: nodes and status on the host, visits in the backend."""
        ops = self._ops
        key = derive_key(self.seed, Purpose.WALK, number)
        visits = self._no_visits
        nodes = np.empty((ids.size, self.config.length + 1), np.int32)
        status = np.empty(ids.size, np.uint8)
        for begin in range(0, ids.size, self.batch_size):
            rows = slice(begin, begin + self.batch_size)
            drawn = self._draw(table, start, ops.asarray(ids[rows]), key)
            visits = visits + self._visits_of(drawn)
            status[rows] = ops.to_host(ops.screen_paths(drawn, self.config.min_length, self._seen))
            nodes[rows] = ops.to_host(drawn)
        return nodes, status, visits

    def _potential(self, cell: int) -> Array:
        """Calibrated potential P of a cell: float64 [n_kps], computed when the cell is first walked."""
        if cell not in self._potentials:
            self._potentials[cell] = self._calibrate(cell)
        return self._potentials[cell]

    def _calibrate(self, cell: int) -> Array:
        """Walk and discard, to bring visits near the target before the campaign begins."""
        ops, target = self._ops, self._targets[cell]
        key = derive_key(self.seed, Purpose.CALIBRATION, cell)
        size = self.config.calibration_paths or min(max(WALKS_PER_KP * self._n_kps, MIN_CALIBRATION), MAX_CALIBRATION)
        potential = ops.asarray(np.ones(self._n_kps))
        for i in range(self.config.calibration_rounds):
            value = ops.node_value(target, potential, self._no_visits, 0.0)
            table = ops.transition_table(self._graph, value)
            start = ops.start_table(table, target, value)
            visits = self._no_visits
            for begin in range(i * size, (i + 1) * size, self.batch_size):
                ids = ops.walk_ids(begin, min(begin + self.batch_size, (i + 1) * size))
                visits = visits + self._visits_of(self._draw(table, start, ids, key))
            potential = ops.calibrated_potential(potential, target, visits)
        return potential

    def _visits_of(self, nodes: Array) -> Array:
        return self._ops.count_occurrences(nodes, self._ops.path_lengths(nodes) > 0, self._n_kps)

    def _draw(self, table: TransitionTable, start: StartTable, ids: Array, key: int) -> Array:
        exact = self.config.walker == "exact"
        sample = self._ops.sample_walks if exact else self._ops.sample_walks_cugraph
        return sample(self._graph, table, start, ids, length=self.config.length, rule=self._rule, key=key)
