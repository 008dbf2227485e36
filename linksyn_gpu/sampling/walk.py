"""Rounds of walks on a KP graph, biased by the value function and its feedback.

A round has one value per KP, one transition table and any number of walks; its visits are added when it ends.
Arrays stay in the backend's memory from round to round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from linksyn_gpu.backend import resolve
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.config import QuotaConfig, WalkConfig
from linksyn_gpu.config.loader import config_or_fields, to_mapping
from linksyn_gpu.errors import BackendUnavailable, ConfigError
from linksyn_gpu.sampling.plan import Round, cell_affinities, plan_cells, plan_rounds
from linksyn_gpu.sampling.value import target_shares
from linksyn_gpu.tables import Cell, Float64, Int64, KPGraph, WalkBatch

WALKS_PER_KP = 4  # default size of a calibration round ...
MIN_CALIBRATION, MAX_CALIBRATION = 1 << 10, 1 << 22  # ... and its bounds


class Walker:
    """Samples walks; visits, sampled KP sets and walk ids carry on from call to call.

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
        Walks that are in the backend's memory at once; None: as many as fit. Never changes a path.
    memory : int, optional
        Bytes of the backend's memory that may be taken; None: all that is free.
    settings
        Fields of `WalkConfig`, instead of `config`.

    Attributes
    ----------
    backend : Backend
        What was chosen, and why.
    batch_size : int
        Walks that are in the backend's memory at once.
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
        if self.config.walker == "cugraph" and self.backend.name != "gpu":
            raise BackendUnavailable(f"walker 'cugraph' needs the GPU backend, not {self.backend.name}")
        self._ops = ops = self.backend.ops
        self._n_kps = graph.n_kps
        fitting = ops.walks_that_fit(graph, self.config.length, memory=memory)
        self.batch_size = fitting if batch_size is None else min(batch_size, fitting)
        self._rule = ops.StepRule(self.config.no_revisit, self.config.p, self.config.q)
        self._graph = ops.load_graph(graph, second_order=self._rule.second_order)
        self._targets = [
            ops.asarray(target_shares(graph.seed_count, self.config.tau, affinity))
            for affinity in (affinities if affinities is not None else [None])
        ]
        self._potentials: dict[int, Any] = {}
        self._visits = ops.asarray(np.zeros(graph.n_kps, np.int64))
        self._seen = ops.key_set() if self.config.distinct else None
        self._n_walks = 0
        self._n_rounds = 0

    @property
    def visits(self) -> Int64:
        """[n_kps] how often walks visited each KP so far; those that were drawn again count too.

        Else KPs that only give paths which are too short or known already would be owed ever more.
        """
        return np.array(self._ops.to_host(self._visits), np.int64)

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
            [n] rows, on the host. A path that broke `min_length` or `distinct` to the last redraw stays in,
            with its `status`.
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
            batches.append(self.to_host(self.sample_round(part.n_paths, part.cell)))
            if on_round is not None:
                on_round(part.n_paths)
        settings = {"seed": self.seed, "walk": to_mapping(self.config)}
        return replace(WalkBatch.concatenate(batches), cells=cells, settings=settings)

    def sample_round(self, n: int, cell: int = 0) -> WalkBatch:
        """Sample one round of `n` walks for a cell.

        The batch's arrays stay in the backend's memory, or go to the host when they do not fit there at once.
        """
        ops, config = self._ops, self.config
        target = self._targets[cell]
        value = ops.node_value(target, self._potential(cell), self._visits, float(config.beta))
        table = ops.transition_table(self._graph, value)
        start = ops.start_table(table, target, value)
        parked = n > self.batch_size
        ids: Any = (
            np.arange(self._n_walks, self._n_walks + n) if parked else ops.walk_ids(self._n_walks, self._n_walks + n)
        )

        # Attempt by attempt over the whole round, so that batches cannot change which of two equal paths is kept.
        nodes, status, visits = self._attempt(table, start, ids, 0, parked)
        redraws = 0
        for number in range(1, config.max_redraws + 1):
            failed = np.flatnonzero(status) if parked else ops.flatnonzero(status)
            if failed.size == 0:
                break
            redraws += int(failed.size)
            nodes[failed], status[failed], more = self._attempt(table, start, ids[failed], number, parked)
            visits = visits + more

        self._visits = self._visits + visits
        batch = WalkBatch(
            nodes,
            (nodes >= 0).sum(axis=1, dtype=np.int32) if parked else ops.path_lengths(nodes),
            ids,
            status,
            np.full(n, cell, np.int32),
            np.full(n, self._n_rounds, np.int32),
            redraws,
        )
        self._n_walks += n
        self._n_rounds += 1
        return batch

    def _attempt(self, table: Any, start: Any, ids: Any, number: int, parked: bool) -> tuple[Any, Any, Any]:
        """Draw and screen a walk for each id, in batches: nodes and status (on the host if `parked`), and visits."""
        ops = self._ops
        key = derive_key(self.seed, Purpose.WALK, number)
        visits: Any = 0
        pieces = []
        for begin in range(0, max(1, ids.size), self.batch_size):
            nodes = self._draw(table, start, ops.asarray(ids[begin : begin + self.batch_size]), key)
            visits = visits + self._visits_of(nodes)
            status = ops.screen_paths(nodes, self.config.min_length, self._seen)
            pieces.append((ops.to_host(nodes), ops.to_host(status)) if parked else (nodes, status))
        if len(pieces) == 1:
            return (*pieces[0], visits)
        return np.concatenate([p[0] for p in pieces]), np.concatenate([p[1] for p in pieces]), visits

    def to_host(self, batch: WalkBatch) -> WalkBatch:
        """Bring a round's batch to the host."""
        host = self._ops.to_host
        return WalkBatch(
            host(batch.nodes),
            host(batch.lengths),
            host(batch.ids),
            host(batch.status),
            batch.cell,
            batch.round,
            batch.redraws,
        )

    def _potential(self, cell: int) -> Any:
        """Calibrated potential P of a cell: float64 [n_kps], made when the cell is first walked."""
        if cell not in self._potentials:
            self._potentials[cell] = self._calibrate(cell)
        return self._potentials[cell]

    def _calibrate(self, cell: int) -> Any:
        """Walk and throw away, so that visits come near the target before the campaign begins."""
        ops, target = self._ops, self._targets[cell]
        key = derive_key(self.seed, Purpose.CALIBRATION, cell)
        size = self.config.calibration_paths or min(max(WALKS_PER_KP * self._n_kps, MIN_CALIBRATION), MAX_CALIBRATION)
        nothing = ops.asarray(np.zeros(self._n_kps, np.int64))
        potential = ops.asarray(np.ones(self._n_kps))
        for i in range(self.config.calibration_rounds):
            value = ops.node_value(target, potential, nothing, 0.0)
            table = ops.transition_table(self._graph, value)
            start = ops.start_table(table, target, value)
            visits = nothing
            for begin in range(i * size, (i + 1) * size, self.batch_size):
                ids = ops.walk_ids(begin, min(begin + self.batch_size, (i + 1) * size))
                visits = visits + self._visits_of(self._draw(table, start, ids, key))
            potential = ops.calibrated_potential(potential, target, visits)
        return potential

    def _visits_of(self, nodes: Any) -> Any:
        return self._ops.count_occurrences(nodes, self._ops.path_lengths(nodes) > 0, self._n_kps)

    def _draw(self, table: Any, start: Any, ids: Any, key: int) -> Any:
        own = self.config.walker == "exact"
        sample = self._ops.sample_walks if own else self._ops.sample_walks_cugraph
        return sample(self._graph, table, start, ids, length=self.config.length, rule=self._rule, key=key)
