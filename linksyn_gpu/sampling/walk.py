"""Rounds of walks on a KP graph, biased by the value function and its feedback.

A round has one value per KP, one transition table and any number of walks; its visits are added at its end. Graph,
tables and visits stay in the backend's memory from round to round; the walks are returned on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from linksyn_gpu.backend import resolve
from linksyn_gpu.backend.protocol import AnyOperations, Array, StartTable, StepRule, TransitionTable, WalkGraph
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.config import QuotaConfig, WalkConfig
from linksyn_gpu.config.loader import config_or_fields, to_mapping
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.sampling.bundle import SeedLinker
from linksyn_gpu.sampling.plan import CellGoal, Round, cell_goals, plan_cells, plan_rounds, resolve_quota
from linksyn_gpu.sampling.value import target_shares
from linksyn_gpu.tables import PATH_STATUS, Bundles, Cell, Int32, Int64, KPGraph, WalkBatch

WALKS_PER_KP = 4  # default size of a calibration round, for each KP at which walks of the cell may start ...
MIN_CALIBRATION, MAX_CALIBRATION = 1 << 10, 1 << 22  # ... and its bounds
COUNTED_WALKS = 1 << 16  # walks of a calibration round whose foreign steps are counted: their share is exact to 0.1%


class _CellWalks:
    """State of a cell in the backend's memory."""

    def __init__(self, ops: AnyOperations, goal: CellGoal) -> None:
        self.weight = goal.weight
        """On the host; None: those of the graph."""
        self.target = ops.asarray(goal.target)
        self.starts = self.target if goal.starts is goal.target else ops.asarray(goal.starts)
        if goal.weight is not None:
            foreign = (goal.target > 0.0) & (goal.starts == 0.0)
            self.own, self.foreign = ops.asarray(1.0 - foreign), ops.asarray(foreign.astype(np.float64))
        self.n_starts = int((goal.starts > 0.0).sum())
        self.potential: Array | None = None
        """Calibrated P, from the cell's first round on."""
        self.visits = ops.asarray(np.zeros(goal.target.size, np.int64))
        """Of the cell's rounds so far: those of other cells say nothing about this cell's target."""
        self.scale = ops.asarray(np.ones(1))
        """Calibrated factor of foreign edges."""
        self.share = ops.asarray(np.full(1, goal.cross_discipline))
        self.no_steps = ops.asarray(np.zeros(2, np.int64))


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
    goals : sequence of CellGoal, optional
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
        goals: Sequence[CellGoal] | None = None,
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
        if quota is not None and (goals is not None or graph.statistics is None):
            raise ConfigError("quota needs a graph that build_graph made from seeds, and replaces goals")
        if quota is not None and graph.statistics is not None and graph.statistics.labels is not None:
            self.quota = quota = resolve_quota(quota, graph.statistics.labels)
        cells = plan_cells(quota, 0) if quota is not None else []
        self.seed = seed
        self.backend = resolve(backend)
        self._ops = ops = self.backend.ops
        self._n_kps = graph.n_kps
        n_cells = max(1, len(goals or cells))
        weighted = any(c.discipline for c in cells) or any(goal.weight is not None for goal in goals or ())
        fitting = ops.walks_that_fit(graph, self.config.length, n_cells=n_cells, cell_weights=weighted, memory=memory)
        self.batch_size = fitting if batch_size is None else min(batch_size, fitting)
        self._rule = StepRule(self.config.no_revisit, self.config.p, self.config.q)
        self._graph = ops.load_graph(graph, second_order=self._rule.second_order)  # refuses a damaged graph
        if quota is not None and graph.statistics is not None:
            goals = cell_goals(cells, graph, graph.statistics, quota, self.config.tau)
        elif goals is None:
            target = target_shares(graph.seed_count, self.config.tau)
            goals = [CellGoal(target, target)]
        self._cells = [_CellWalks(ops, goal) for goal in goals]
        self._cell_graph: tuple[Int32 | None, WalkGraph] = (None, self._graph)
        self._no_visits = ops.asarray(np.zeros(graph.n_kps, np.int64))
        self._seen = ops.key_set() if self.config.distinct else None
        self._n_walks = 0
        self._n_rounds = 0

    @property
    def visits(self) -> Int64:
        """[n_kps] how often walks visited each KP so far. Walks that were drawn again count too.

        Otherwise the value of KPs whose paths are always too short or repeated would grow without end.
        """
        visits = self._no_visits
        for walks in self._cells:
            visits = visits + walks.visits
        return self._ops.to_host(visits).copy()

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
        return self._round(n, cell, None)[0]

    def sample_linked(self, n: int, cell: int, linker: SeedLinker) -> tuple[WalkBatch, Bundles]:
        """Sample one round of `n` walks for a cell and link seeds along them.

        A path with too few seeds, or with too few of the cell's discipline, is redrawn like one that is too short.

        Parameters
        ----------
        linker : SeedLinker
            On the same backend; its `begin_round` was called for the cell.

        Returns
        -------
        WalkBatch, Bundles
            [n] rows each, with the same status, on the host.
        """
        batch, seeds = self._round(n, cell, linker)
        return batch, Bundles(seeds, batch.status)

    @property
    def cell_visits(self) -> Int64:
        """[n_cells, n_kps] visits of each cell's walks so far; walks that were drawn again count too."""
        return np.stack([self._ops.to_host(walks.visits) for walks in self._cells])

    def resume(self, batch: WalkBatch, *, count: bool) -> None:
        """Continue from the walks of an earlier campaign with the same cells: their KP sets and ids.

        Parameters
        ----------
        batch : WalkBatch
            On the host, after the walks of all earlier calls.
        count : bool
            Count their visits too. Walks that were drawn again are not in the batch: prefer `add_visits`.
        """
        if len(batch) == 0:
            return
        for begin in range(0, len(batch), self.batch_size):
            rows = slice(begin, begin + self.batch_size)
            drawn = self._ops.asarray(batch.nodes[rows])
            self._ops.screen_paths(drawn, self.config.min_length, self._seen)
            for cell in np.unique(batch.cell[rows]).tolist() if count else ():
                own = self._ops.asarray(batch.cell[rows] == cell)
                walks = self._cells[cell]
                walks.visits = walks.visits + self._ops.count_occurrences(drawn, own, self._n_kps)
        self._n_walks = int(batch.ids[-1]) + 1
        self._n_rounds = int(batch.round[-1]) + 1

    def add_visits(self, visits: Int64) -> None:
        """Add the `cell_visits` of an earlier campaign, with as many cells and KPs or fewer."""
        for walks, earlier in zip(self._cells, visits, strict=False):
            more = np.zeros(self._n_kps - earlier.size, np.int64)
            walks.visits = walks.visits + self._ops.asarray(np.concatenate([earlier, more]))

    def _round(self, n: int, cell: int, linker: SeedLinker | None) -> tuple[WalkBatch, Int32]:
        ops, config = self._ops, self.config
        walks, graph = self._cells[cell], self._graph_of(cell)
        if walks.n_starts == 0:
            return self._no_walks(n, cell)
        if walks.potential is None:
            walks.potential = self._calibrate(cell)
        value = self._value(walks, walks.potential, walks.visits, float(config.beta))
        table = ops.transition_table(graph, value, walks.scale, steps=n * config.length)
        start = ops.start_table(table, walks.starts, value)
        ids = np.arange(self._n_walks, self._n_walks + n)

        # Attempt by attempt over the whole round: the size of a batch must not decide which of two equal paths is kept.
        nodes, status = np.empty((n, config.length + 1), np.int32), np.ones(n, np.uint8)
        seeds = np.empty((n, config.length), np.int32)
        added = self._no_visits
        redraws = 0
        for number in range(config.max_redraws + 1):
            failed = np.flatnonzero(status)
            if failed.size == 0:
                break
            redraws += failed.size if number else 0
            key = derive_key(self.seed, Purpose.WALK, number)
            for begin in range(0, failed.size, self.batch_size):
                rows = failed[begin : begin + self.batch_size]
                row_ids = ops.asarray(ids[rows])
                drawn = self._draw(graph, table, start, row_ids, key)
                added = added + self._visits_of(drawn)
                screened = ops.screen_paths(drawn, config.min_length, self._seen)
                nodes[rows], status[rows] = ops.to_host(drawn), ops.to_host(screened)
                if linker is not None:
                    seeds[rows], status[rows] = linker.link(drawn, row_ids, status[rows])

        walks.visits = walks.visits + added
        cells, rounds = np.full(n, cell, np.int32), np.full(n, self._n_rounds, np.int32)
        self._n_walks += n
        self._n_rounds += 1
        lengths = (nodes >= 0).sum(axis=1, dtype=np.int32)
        return WalkBatch(nodes, lengths, ids, status, cells, rounds, redraws), seeds

    def _no_walks(self, n: int, cell: int) -> tuple[WalkBatch, Int32]:
        """Rows without a walk, for a cell in which none can start."""
        ids = np.arange(self._n_walks, self._n_walks + n)
        status = np.full(n, PATH_STATUS.index("no_start"), np.uint8)
        cells, rounds = np.full(n, cell, np.int32), np.full(n, self._n_rounds, np.int32)
        self._n_walks += n
        self._n_rounds += 1
        length = self.config.length
        nodes, seeds = np.full((n, length + 1), -1, np.int32), np.full((n, length), -1, np.int32)
        return WalkBatch(nodes, np.zeros(n, np.int32), ids, status, cells, rounds), seeds

    def _value(self, walks: _CellWalks, potential: Array, visits: Array, beta: float) -> Array:
        """V of each KP; 1 at KPs without a seed of the cell's discipline.

        The factor of foreign edges alone decides how often these are visited: a value of their own would work against
        it, because each of thousands has a tiny target.
        """
        value = self._ops.node_value(walks.target, potential, visits, beta)
        return value if walks.weight is None else value * walks.own + walks.foreign

    def _graph_of(self, cell: int) -> WalkGraph:
        """The graph with the weights of a cell; only the last one stays in the backend's memory."""
        weight = self._cells[cell].weight
        if weight is None:
            return self._graph
        if self._cell_graph[0] is not weight:
            self._cell_graph = (None, self._graph)
            self._cell_graph = (weight, self._ops.cell_graph(self._graph, self._ops.asarray(weight)))
        return self._cell_graph[1]

    def _calibrate(self, cell: int) -> Array:
        """Walk and discard, to bring visits near the target and foreign steps near their share."""
        ops, config = self._ops, self.config
        walks, graph = self._cells[cell], self._graph_of(cell)
        key = derive_key(self.seed, Purpose.CALIBRATION, cell)
        size = config.calibration_paths or min(max(WALKS_PER_KP * walks.n_starts, MIN_CALIBRATION), MAX_CALIBRATION)
        potential = ops.asarray(np.ones(self._n_kps))
        for i in range(config.calibration_rounds):
            value = self._value(walks, potential, self._no_visits, 0.0)
            table = ops.transition_table(graph, value, walks.scale, steps=size * config.length)
            start = ops.start_table(table, walks.starts, value)
            visits, steps = self._no_visits, walks.no_steps
            for begin in range(0, size, self.batch_size):
                ids = ops.walk_ids(i * size + begin, i * size + min(begin + self.batch_size, size))
                drawn = self._draw(graph, table, start, ids, key)
                visits = visits + self._visits_of(drawn)
                if walks.weight is not None and begin < COUNTED_WALKS:
                    steps = steps + ops.count_steps(graph, drawn[: COUNTED_WALKS - begin])
            potential = ops.calibrated_potential(potential, walks.target, visits)
            if walks.weight is not None:
                walks.scale = ops.calibrated_scale(walks.scale, walks.share, steps)
        return potential

    def _visits_of(self, nodes: Array) -> Array:
        return self._ops.count_occurrences(nodes, self._ops.path_lengths(nodes) > 0, self._n_kps)

    def _draw(self, graph: WalkGraph, table: TransitionTable, start: StartTable, ids: Array, key: int) -> Array:
        exact = self.config.walker == "exact"
        sample = self._ops.sample_walks if exact else self._ops.sample_walks_cugraph
        return sample(graph, table, start, ids, length=self.config.length, rule=self._rule, key=key)
