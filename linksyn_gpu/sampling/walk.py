"""Rounds of walks on a KP graph, biased by the value function and its feedback.

A round has one value per KP, one transition table and any number of walks; its visits are added at its end. Graph,
tables and visits stay in the backend's memory from round to round; the walks are returned on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.backend import resolve
from linksyn_gpu.backend.protocol import (
    AnyOperations,
    Array,
    CampaignSize,
    StartTable,
    StepRule,
    TransitionTable,
    WalkGraph,
)
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.config import QuotaConfig, WalkConfig
from linksyn_gpu.config.loader import config_or_fields, to_mapping
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.sampling.bundle import SeedLinker, check_linked
from linksyn_gpu.sampling.plan import CellGoal, Round, cell_goals, plan_cells, plan_rounds, resolve_quota
from linksyn_gpu.sampling.value import target_shares
from linksyn_gpu.tables import PATH_STATUS, Bundles, Cell, Int32, Int64, KPGraph, WalkBatch

WALKS_PER_KP = 4  # default size of a calibration round, for each KP at which walks of the cell may start ...
MIN_CALIBRATION, MAX_CALIBRATION = 1 << 10, 1 << 22  # ... and its bounds
COUNTED_WALKS = 1 << 16  # walks of a calibration round whose foreign steps are counted: their share is exact to 0.1%


def calibration_size(config: WalkConfig, n_starts: int) -> int:
    """Walks of a calibration round of a cell, in which walks may start at `n_starts` KPs."""
    if config.calibration_rounds == 0:
        return 0
    return config.calibration_paths or min(max(WALKS_PER_KP * n_starts, MIN_CALIBRATION), MAX_CALIBRATION)


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


@dataclass
class _DrawnRound:
    """A round whose walks are drawn, and whose last paths may still be on their way to the host."""

    nodes: Int32
    seeds: Int32
    ids: Int64
    status: NDArray[np.uint8]
    cell: Int32
    number: Int32
    redraws: int = 0
    copies: list[Callable[[], None]] = field(default_factory=list)

    def end_copies(self) -> None:
        """Wait until the host has all paths and bundles of the batches so far."""
        for end in self.copies:
            end()
        self.copies.clear()

    def result(self) -> tuple[WalkBatch, Bundles]:
        """The round on the host; its bundles are empty if no seeds were linked."""
        self.end_copies()
        check_linked(self.seeds)
        lengths = (self.nodes >= 0).sum(axis=1, dtype=np.int32)
        batch = WalkBatch(self.nodes, lengths, self.ids, self.status, self.cell, self.number, self.redraws)
        return batch, Bundles(self.seeds, self.status)


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
    n_paths : int
        Paths that the whole campaign will have: memory for their KP sets is reserved. More are allowed.
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
        n_paths: int = 0,
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
        of_goals = {id(goal.weight) for goal in goals or () if goal.weight is not None}
        n_disciplines = len(of_goals) or len({cell.discipline for cell in cells} - {None})
        n_keys = n_paths if self.config.distinct else 0
        n_cells = max(1, len(goals or cells))
        size = CampaignSize.of(graph, n_cells=n_cells, n_weights=n_disciplines, n_paths=n_keys)
        fitting, n_weights = ops.walks_that_fit(size, self.config.length, memory=memory)
        self._keeps_weights = n_weights == n_disciplines
        self.batch_size = fitting if batch_size is None else min(batch_size, fitting)
        self._rule = StepRule(self.config.no_revisit, self.config.p, self.config.q)
        self._loaded: dict[int, WalkGraph] = {}
        if goals is None or any(goal.graph is None for goal in goals):
            self._loaded[id(graph)] = ops.load_graph(
                graph, second_order=self._rule.second_order
            )  # refuses a damaged graph
        if quota is not None and graph.statistics is not None:
            goals = cell_goals(cells, graph, graph.statistics, quota, self.config.tau)
        elif goals is None:
            target = target_shares(graph.seed_count, self.config.tau)
            goals = [CellGoal(target, target)]
        of_cell = [graph if goal.graph is None else goal.graph for goal in goals]
        for own in of_cell:
            if id(own) not in self._loaded:
                self._loaded[id(own)] = ops.load_graph(own, second_order=self._rule.second_order)
        self._graphs = [self._loaded[id(own)] for own in of_cell]
        self._cells = [_CellWalks(ops, goal) for goal in goals]
        self._cell_graphs: dict[int, WalkGraph] = {}
        self._no_visits = ops.asarray(np.zeros(graph.n_kps, np.int64))
        self._seen = ops.key_set() if self.config.distinct else None
        self._n_walks = 0
        self._n_rounds = 0
        self._last: _DrawnRound | None = None

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
        drawn = []
        for part in rounds:
            drawn.append(self._round(part.n_paths, part.cell, None))
            if on_round is not None:
                on_round(part.n_paths)
        settings = {"seed": self.seed, "walk": to_mapping(self.config)}
        batches = [one.result()[0] for one in drawn]
        return replace(WalkBatch.concatenate(batches), cells=cells, settings=settings)

    def sample_round(self, n: int, cell: int = 0) -> WalkBatch:
        """Sample one round of `n` walks for a cell.

        Returns
        -------
        WalkBatch
            [n] rows, on the host.
        """
        return self._round(n, cell, None).result()[0]

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
        return self._round(n, cell, linker).result()

    def linked_rounds(
        self, rounds: Iterable[Round], cells: Sequence[Cell], linkers: Mapping[str | None, SeedLinker]
    ) -> Iterator[tuple[WalkBatch, Bundles]]:
        """Sample and link rounds in turn; each is given when the next is drawn: its results arrive in the meantime.

        Parameters
        ----------
        rounds : iterable of Round
        cells : sequence of Cell
            Cells of the plan.
        linkers : mapping
            The linker of each group of licenses, on the same backend; {None: linker} without groups.

        Yields
        ------
        WalkBatch, Bundles
            As `sample_linked` returns them.
        """
        before: _DrawnRound | None = None
        for part in rounds:
            linker = linkers[cells[part.cell].license_group]
            linker.begin_round(cells[part.cell])
            drawn = self._round(part.n_paths, part.cell, linker)
            if before is not None:
                yield before.result()
            before = drawn
        if before is not None:
            yield before.result()

    def loaded_of(self, graph: KPGraph) -> WalkGraph | None:
        """A graph in the backend's memory, for a `SeedLinker`: that of the walker or of one of its goals."""
        return self._loaded.get(id(graph))

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

    def _round(self, n: int, cell: int, linker: SeedLinker | None) -> _DrawnRound:
        ops, config = self._ops, self.config
        walks, graph = self._cells[cell], self._graph_of(cell)
        before, drawn_round = self._last, self._empty_round(n, cell)
        self._last = drawn_round
        if walks.n_starts == 0:
            drawn_round.status[:] = PATH_STATUS.index("no_start")
            return drawn_round
        if walks.potential is None:
            walks.potential = self._calibrate(cell)
        value = self._value(walks, walks.potential, walks.visits, float(config.beta))
        table = ops.transition_table(graph, value, walks.scale, steps=n * config.length)
        start = ops.start_table(table, walks.starts, value)
        ids, status = drawn_round.ids, drawn_round.status
        status[:] = 1

        # Attempt by attempt over the whole round: the size of a batch must not decide which of two equal paths is kept.
        added = self._no_visits
        for number in range(config.max_redraws + 1):
            failed = np.flatnonzero(status)
            if failed.size == 0:
                break
            drawn_round.redraws += failed.size if number else 0
            key = derive_key(self.seed, Purpose.WALK, number)
            for begin in range(0, failed.size, self.batch_size):
                rows = failed[begin : begin + self.batch_size]
                row_ids = ops.asarray(ids[rows]) if number else ops.walk_ids(int(ids[begin]), int(ids[rows[-1]]) + 1)
                nodes = self._draw(graph, table, start, row_ids, key)
                for earlier in (before, drawn_round):  # while the device draws
                    if earlier is not None:
                        earlier.end_copies()
                added = added + self._visits_of(nodes)
                screened = ops.screen_paths(nodes, config.min_length, self._seen)
                if linker is not None:
                    linked, screened = linker.link(nodes, row_ids, screened)
                    drawn_round.copies.append(ops.fetch_rows(linked, drawn_round.seeds, rows))
                drawn_round.copies.append(ops.fetch_rows(nodes, drawn_round.nodes, rows))
                status[rows] = ops.to_host(screened)
        walks.visits = walks.visits + added
        return drawn_round

    def _empty_round(self, n: int, cell: int) -> _DrawnRound:
        """The next round, without a walk."""
        length, ids = self.config.length, np.arange(self._n_walks, self._n_walks + n)
        nodes, seeds = np.full((n, length + 1), -1, np.int32), np.full((n, length), -1, np.int32)
        cells, numbers = np.full(n, cell, np.int32), np.full(n, self._n_rounds, np.int32)
        self._n_walks += n
        self._n_rounds += 1
        return _DrawnRound(nodes, seeds, ids, np.zeros(n, np.uint8), cells, numbers)

    def _value(self, walks: _CellWalks, potential: Array, visits: Array, beta: float) -> Array:
        """V of each KP; 1 at KPs without a seed of the cell's discipline.

        The factor of foreign edges alone decides how often these are visited: a value of their own would work against
        it, because each of thousands has a tiny target.
        """
        value = self._ops.node_value(walks.target, potential, visits, beta)
        return value if walks.weight is None else value * walks.own + walks.foreign

    def _graph_of(self, cell: int) -> WalkGraph:
        """The graph with the weights of a cell; those of all disciplines stay in memory if they fit, else the last."""
        weight, graph = self._cells[cell].weight, self._graphs[cell]
        if weight is None:
            return graph
        if id(weight) not in self._cell_graphs:
            if not self._keeps_weights:
                self._cell_graphs.clear()
            self._cell_graphs[id(weight)] = self._ops.cell_graph(graph, self._ops.asarray(weight))
        return self._cell_graphs[id(weight)]

    def _calibrate(self, cell: int) -> Array:
        """Walk and discard, to bring visits near the target and foreign steps near their share."""
        ops, config = self._ops, self.config
        walks, graph = self._cells[cell], self._graph_of(cell)
        key = derive_key(self.seed, Purpose.CALIBRATION, cell)
        size = calibration_size(config, walks.n_starts)
        potential = ops.asarray(np.ones(self._n_kps))
        for i in range(config.calibration_rounds):
            visits, steps = self._calibration_round(walks, graph, potential, range(i * size, (i + 1) * size), key)
            potential = ops.calibrated_potential(potential, walks.target, visits)
            if walks.weight is not None:
                walks.scale = ops.calibrated_scale(walks.scale, walks.share, steps)
        return potential

    def _calibration_round(
        self, walks: _CellWalks, graph: WalkGraph, potential: Array, ids: range, key: int
    ) -> tuple[Array, Array]:
        """Visits of a round of walks, and their foreign steps with all steps."""
        ops = self._ops
        value = self._value(walks, potential, self._no_visits, 0.0)
        table = ops.transition_table(graph, value, walks.scale, steps=len(ids) * self.config.length)
        start = ops.start_table(table, walks.starts, value)
        visits, steps = self._no_visits, walks.no_steps
        for begin in range(0, len(ids), self.batch_size):
            part = ids[begin : begin + self.batch_size]
            drawn = self._draw(graph, table, start, ops.walk_ids(part.start, part.stop), key)
            visits = visits + self._visits_of(drawn)
            if walks.weight is not None and begin < COUNTED_WALKS:
                steps = steps + ops.count_steps(graph, drawn[: COUNTED_WALKS - begin])
        return visits, steps

    def _visits_of(self, nodes: Array) -> Array:
        return self._ops.count_occurrences(nodes, self._ops.path_lengths(nodes) > 0, self._n_kps)

    def _draw(self, graph: WalkGraph, table: TransitionTable, start: StartTable, ids: Array, key: int) -> Array:
        exact = self.config.walker == "exact"
        sample = self._ops.sample_walks if exact else self._ops.sample_walks_cugraph
        return sample(graph, table, start, ids, length=self.config.length, rule=self._rule, key=key)
