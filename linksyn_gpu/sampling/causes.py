"""Why paths, KPs and QA are missing: exactly one cause per missing unit, from facts of the graph and of the campaign.

A lost path is explained by the part of the graph in which its last draw started: its *component*, over the KPs that the
cell's walks may visit. Whether all KP sets of a component are used is decided by listing its paths, which is possible
for small components. Where a further path may exist, the cause is the bound on redraws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from linksyn_gpu.sampling.labels import seeds_of
from linksyn_gpu.sampling.plan import CellGoal, largest_remainder
from linksyn_gpu.tables import Bool, Cell, Int32, Int64, KPGraph, SeedLabels

Keys = NDArray[np.uint64]
PATH_CAUSES = {
    "component_too_small": "no path of min_length KPs exists there",
    "too_few_own_seeds": "no path there can have more than min_own_share of its seeds of the discipline",
    "too_few_distinct_seeds": "no path there has min_seeds distinct seeds",
    "kp_sets_used_up": "every KP set that can give a bundle there was drawn before, and paths have distinct sets",
    "redraw_bound": "a further path may exist; max_redraws draws did not find it",
}
"""Why a path is missing. 'There' is the component in which its last draw started."""

KP_CAUSES = {
    "no_neighbour": "the KP shares no seed with another KP, or pruning removed its edges",
    "not_in_quota": "no cell of the quota has a start in the KP's component, or the KP as a target",
    **{name: PATH_CAUSES[name] for name in ("component_too_small", "too_few_own_seeds", "too_few_distinct_seeds")},
}
"""Why no path can visit a KP."""

QA_CAUSES = {
    **PATH_CAUSES,
    "lost_in_requests": "the path made no request (prompt_too_long), or the request has no usable answer; with reason",
    "lost_in_answers": "the answer has fewer QA than were asked for (item_missing)",
    "lost_to_checks": "the QA failed a check; with reason",
    "lost_to_enhancement": "stage enhance dropped the QA; with reason",
    "lost_in_curation": "stage curate left the QA out as a near-duplicate; with reason",
    "budget": "the request was not sent: --max-requests or --budget-tokens was reached",
    "pending": "the request has no answer yet",
}
"""Why a QA is missing; 'lost_to_checks: repeats_seed' has its reason after the colon."""

MAX_LISTED_PATHS = 1 << 18
"""Paths of a component, at most, with which its KP sets are listed."""
MAX_LISTED_KPS = 4096
"""KPs of a component, at most, whose KP sets may be listed: the sets of larger ones are not remembered."""
CHECKED_AT_ONCE = 2048
MAX_LISTED_IN_ALL = 1 << 21
"""Paths that are listed for one cell, at most."""


@dataclass(frozen=True)
class PathRules:
    """Settings that decide which paths are kept."""

    length: int
    min_length: int
    no_revisit: bool
    distinct: bool
    min_seeds: int
    min_own_share: float


class CellComponents:
    """The parts of the graph that the walks of one cell can reach, and what they hold.

    Parameters
    ----------
    live : bool [n_kps]
        KPs that the walks may visit.
    starts : bool [n_kps]
        KPs at which they may start.
    own : bool [n_seeds], optional
        Seeds of the cell's discipline.
    """

    def __init__(self, graph: KPGraph, live: Bool, starts: Bool, own: Bool | None, rules: PathRules) -> None:
        rows = np.repeat(np.arange(graph.n_kps, dtype=np.int32), graph.degree)
        inside = live[rows] & live[graph.indices]
        ones = np.ones(int(inside.sum()), np.int8)
        shape = (graph.n_kps, graph.n_kps)
        links = sparse.csr_array((ones, (rows[inside], graph.indices[inside])), shape=shape)
        n, label = csgraph.connected_components(links, directed=False)
        self.label: Int64 = np.where(live, label, n).astype(np.int64)
        """[n_kps] component of each KP; `n` for KPs that the walks may not visit."""
        self.n = int(n)
        self.size: Int64 = np.bincount(self.label, minlength=n + 1)[:n]
        order = np.flatnonzero(starts & (np.diff(links.indptr) > 0)).astype(np.int32)
        self._starts = order[np.argsort(self.label[order], kind="stable")]
        self._first_start = np.searchsorted(self.label[self._starts], np.arange(n + 1))
        self.has_start: Bool = np.diff(self._first_start) > 0
        least = rules.min_length if rules.no_revisit else 2
        self.cause = np.full(n, "", object)
        """[n] why no path can exist in a component; '' where one may."""
        seeds, own_seeds = self._count_seeds(graph, rows, inside, own)
        self.cause[seeds < rules.min_seeds] = "too_few_distinct_seeds"
        if own is not None:
            self.cause[own_seeds == 0] = "too_few_own_seeds"
        self.cause[self.size < least] = "component_too_small"

    def starts_in(self, component: int) -> Int32:
        """KPs of a component at which walks may start."""
        return self._starts[self._first_start[component] : self._first_start[component + 1]]

    def _count_seeds(self, graph: KPGraph, rows: Int32, inside: Bool, own: Bool | None) -> tuple[Int64, Int64]:
        """[n] distinct seeds that hold an edge of each component, and how many of these are `own`."""
        assert graph.evidence is not None
        assert graph.evidence_indptr is not None
        assert graph.n_seeds is not None
        above = graph.indices > rows
        of_edge = np.where(inside, self.label[rows], -1)[above]
        component = np.repeat(of_edge, np.diff(graph.evidence_indptr))
        used = component >= 0
        pairs = np.unique(component[used] * graph.n_seeds + graph.evidence[used])
        where, seed = np.divmod(pairs, graph.n_seeds)
        own_seeds = np.bincount(where[own[seed]] if own is not None else where, minlength=self.n)
        return np.bincount(where, minlength=self.n), own_seeds


class ShortfallExplainer:
    """Reads the paths of a campaign and names a cause for each one that was not kept.

    Parameters
    ----------
    graph : KPGraph
        With evidence.
    cells, goals : sequence
        Of the plan.
    labels : SeedLabels
    rules : PathRules
    """

    def __init__(
        self, graph: KPGraph, cells: Sequence[Cell], goals: Sequence[CellGoal], labels: SeedLabels, rules: PathRules
    ) -> None:
        self._graph, self._goals, self._rules = graph, goals, rules
        self._own = [None if cell.discipline is None else seeds_of(cell.discipline, labels) for cell in cells]
        known: dict[tuple[str | None, bytes, bytes], CellComponents] = {}  # cells of several levels share theirs
        self._components = []
        for cell, goal, own in zip(cells, goals, self._own, strict=True):
            live, starts = goal.target > 0.0, goal.starts > 0.0
            key = (cell.discipline, live.tobytes(), starts.tobytes())
            if key not in known:
                known[key] = CellComponents(graph, live, starts, own, rules)
            self._components.append(known[key])
        self._lost = [Counter[int]() for _ in cells]
        self._remembered = np.zeros(graph.n_kps, bool)
        for parts in self._components:
            small = np.append(parts.size <= MAX_LISTED_KPS, False)
            self._remembered |= small[parts.label]
        self._used: list[Keys] = []
        rows = np.repeat(np.arange(graph.n_kps, dtype=np.int64), graph.degree)
        self._entries = rows * graph.n_kps + graph.indices  # ascending

    def add(self, nodes: Int32, cell: Int32, kept: Bool) -> None:
        """Count paths.

        Parameters
        ----------
        nodes : int32 [n, width]
            KPs, padded with -1: of the last draw where the path was not kept.
        cell : int32 [n]
        kept : bool [n]
        """
        first = nodes[:, 0]
        for number in np.unique(cell[~kept]).tolist():
            label = np.append(self._components[number].label, -1)  # a path without a KP has no component
            components, counts = np.unique(label[first[~kept & (cell == number)]], return_counts=True)
            self._lost[number].update(dict(zip(components.tolist(), counts.tolist(), strict=True)))
        if self._rules.distinct:
            long = (nodes >= 0).sum(axis=1) >= self._rules.min_length
            self._used.append(kp_set_keys(nodes[long & self._remembered[first]]))

    def path_causes(self) -> list[dict[str, int]]:
        """Lost paths of each cell by cause of `PATH_CAUSES`; they sum to all that were not kept."""
        used = np.sort(np.concatenate([*self._used, np.zeros(0, np.uint64)]))
        return [self._causes_of(number, used) for number in range(len(self._goals))]

    def _causes_of(self, number: int, used: Keys) -> dict[str, int]:
        parts = self._components[number]
        causes: Counter[str] = Counter()
        budget = MAX_LISTED_IN_ALL
        for component, n in sorted(self._lost[number].items()):
            if not 0 <= component < parts.n:
                causes["component_too_small"] += n  # no start has a neighbour
                continue
            cause = parts.cause[component]
            if not cause and parts.size[component] <= MAX_LISTED_KPS and budget > 0:
                cause, listed = self._cause_by_listing(number, component, used)
                budget -= listed
            causes[cause or "redraw_bound"] += n
        return dict(causes)

    def _cause_by_listing(self, number: int, component: int, used: Keys) -> tuple[str, int]:
        """The cause if no further path can exist in a component ('' if one may), and how many paths were listed."""
        parts = self._components[number]
        paths = list_paths(self._graph, parts.label < parts.n, parts.starts_in(component), self._rules)
        if paths is None:
            return "", MAX_LISTED_PATHS
        listed = paths.shape[0]
        if listed == 0:
            return "component_too_small", 1
        any_seeds = any_own = False
        for begin in range(0, listed, CHECKED_AT_ONCE):
            part = paths[begin : begin + CHECKED_AT_ONCE]
            enough_seeds, enough_own = self._can_be_linked(part, self._own[number])
            any_seeds, any_own = any_seeds or bool(enough_seeds.any()), any_own or bool(enough_own.any())
            keys = kp_set_keys(part)
            known = (
                used.take(np.searchsorted(used, keys), mode="clip") == keys if used.size else np.zeros(keys.size, bool)
            )
            if (enough_own & ~known).any():
                return "", listed
        if not any_seeds:
            return "too_few_distinct_seeds", listed
        return "kp_sets_used_up" if any_own else "too_few_own_seeds", listed

    def _can_be_linked(self, paths: Int32, own: Bool | None) -> tuple[Bool, Bool]:
        """Which paths can have enough distinct seeds at best, and which of them enough of the discipline: bool [n]."""
        graph, rules = self._graph, self._rules
        assert graph.evidence is not None
        assert graph.evidence_indptr is not None
        n, steps = paths.shape[0], paths.shape[1] - 1
        taken = paths[:, 1:].ravel() >= 0
        u = np.minimum(paths[:, :-1], paths[:, 1:]).ravel()[taken].astype(np.int64)
        v = np.maximum(paths[:, :-1], paths[:, 1:]).ravel()[taken].astype(np.int64)
        first, before = graph.upper
        entry = np.searchsorted(self._entries, u * graph.n_kps + v)
        edge = before[u] + entry - first[u]
        path = np.repeat(np.arange(n), steps)[taken]
        size = np.diff(graph.evidence_indptr)[edge]
        owner = np.repeat(path, size)
        place = np.arange(owner.size) - np.repeat(np.cumsum(size) - size, size)
        seed = graph.evidence[np.repeat(graph.evidence_indptr[edge], size) + place]
        pairs = np.unique(owner * np.int64(graph.n_seeds or 1) + seed)
        owner_of_pair, seed_of_pair = np.divmod(pairs, graph.n_seeds or 1)
        edges = np.bincount(path, minlength=n)
        enough = np.minimum(np.bincount(owner_of_pair, minlength=n), edges) >= rules.min_seeds
        if own is None:
            return enough, enough
        has_own = np.zeros(edge.size, bool)
        has_own[np.repeat(np.arange(edge.size), size)[own[seed]]] = True
        own_edges = np.bincount(path[has_own], minlength=n)
        most_own = np.minimum(np.bincount(owner_of_pair[own[seed_of_pair]], minlength=n), own_edges)
        fewest = np.maximum(most_own + (own_edges < edges), rules.min_seeds)
        return enough, enough & (most_own > rules.min_own_share * fewest)

    def kp_causes(self, visited: Bool) -> dict[str, int]:
        """KPs that no kept path visits: those that none can visit by cause of `KP_CAUSES`, and the rest as 'not_drawn'.

        Parameters
        ----------
        visited : bool [n_kps]
        """
        cause = np.full(self._graph.n_kps, "not_in_quota", object)
        for parts in self._components:
            can_start = np.append(parts.has_start, False)[parts.label]
            here = np.append(np.where(parts.cause == "", "not_drawn", parts.cause), "")[parts.label]
            better = can_start & ((cause == "not_in_quota") | (here == "not_drawn"))
            cause[better] = here[better]
        cause[self._graph.degree == 0] = "no_neighbour"
        return dict(Counter(cause[~visited].tolist()))


def list_paths(graph: KPGraph, live: Bool, starts: Int32, rules: PathRules) -> Int32 | None:
    """Every path that walks can take from `starts` over `live` KPs, padded with -1; None if there are too many.

    A walk ends after `length` steps, or where it cannot go on; those below `min_length` KPs are left out.
    """
    paths = starts[:, None]
    ended: list[Int32] = []
    for _ in range(rules.length):
        last = paths[:, -1]
        degree = graph.degree[last]
        if int(degree.sum()) + sum(len(part) for part in ended) > MAX_LISTED_PATHS:
            return None
        row = np.repeat(np.arange(last.size), degree)
        within = np.arange(row.size) - np.repeat(np.cumsum(degree) - degree, degree)
        following = graph.indices[graph.indptr[last][row] + within]
        possible = live[following]
        if rules.no_revisit:
            possible &= ~(paths[row] == following[:, None]).any(axis=1)
        row, following = row[possible], following[possible]
        dead = np.ones(last.size, bool)
        dead[row] = False
        ended.append(paths[dead])
        paths = np.column_stack([paths[row], following]).astype(np.int32)
    padded = [
        np.pad(part, ((0, 0), (0, rules.length + 1 - part.shape[1])), constant_values=-1)
        for part in (*ended, paths)
        if part.shape[1] >= rules.min_length
    ]
    return np.concatenate([*padded, np.empty((0, rules.length + 1), np.int32)])


def kp_set_keys(nodes: Int32) -> Keys:
    """A 64-bit hash of the KP set of each path (padded with -1): uint64 [n]."""
    key = np.zeros(nodes.shape[0], np.uint64)
    for column in np.sort(nodes, axis=1).T:
        key = (key ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key


def qa_causes(
    asked: int,
    kept: int,
    per_path: int,
    lost_paths: Mapping[str, int],
    counts: Mapping[str, Any],
    lost_later: Mapping[str, int],
    *,
    bounded: bool,
) -> dict[str, int]:
    """Missing QA of a cell by cause of `QA_CAUSES`; they sum to `asked` - `kept`.

    Parameters
    ----------
    asked, kept : int
    lost_paths : mapping
        Of `ShortfallExplainer.path_causes`.
    counts : mapping
        Of the cell, as stage synthesize records them.
    lost_later : mapping
        QA that the stages after synthesize dropped or wait for, by cause.
    bounded : bool
        Requests were not sent because a limit was reached.

    Where a cell was given more paths than it has QA to deliver (`--qa`), more are lost than are missing: the missing
    ones are divided in proportion to the losses (largest remainder).
    """
    losses: Counter[str] = Counter()
    for cause, n in lost_paths.items():
        losses[cause] += n * per_path
    for reason, n in counts["failed_by_reason"].items():
        losses[f"lost_in_requests: {reason}"] += n * per_path
    for reason, n in counts["paths_dropped_by_reason"].items():
        if reason == "prompt_too_long":  # the others are lost paths
            losses[f"lost_in_requests: {reason}"] += n * per_path
    for reason, n in counts["pending_reasons"].items():
        losses["budget" if bounded and reason == "no_answer" else "pending"] += n * per_path
    losses["lost_in_answers: item_missing"] += counts["items_missing"]
    for reason, n in counts["dropped_by_reason"].items():
        losses[f"lost_to_checks: {reason}"] += n
    losses.update(lost_later)
    losses = +losses
    missing = max(0, asked - kept)
    if losses.total() < missing:  # the campaign is to get further paths
        losses["pending"] += missing - losses.total()
    if losses.total() == missing:
        return dict(losses)
    shares = largest_remainder([float(n) for n in losses.values()], missing)
    return {name: n for name, n in zip(losses, shares, strict=True) if n}
