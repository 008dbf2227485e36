"""The map of the KP graph: which KPs and edges are drawn, where, and what is known of each.

The layout is computed here, so that the page only draws. A graph beyond the budget is drawn in part: the KPs of the
samples' paths first, then those with most visits; of their edges the heaviest of each KP first.
"""

from __future__ import annotations

import importlib.util
import itertools
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linksyn_gpu.tables import Float64, Int64, KPGraph

MAX_KPS = 5_000
MAX_EDGES = 20_000
SEED = 0
ITERATIONS = 300
COLOURED = 8
"""Disciplines and communities with a colour of their own; the others share one."""
EXTENT = 10_000
"""Coordinates lie in 0 .. EXTENT in the longer direction."""
GAP = 1.2
"""Distance between components, in typical distances of neighbours."""


@dataclass(frozen=True, eq=False)
class GraphView:
    """What the page draws. KPs are numbered 0 .. n - 1 here; `kps` are their numbers in the graph."""

    kps: Int64
    names: Sequence[str]
    x: Int64
    y: Int64
    seeds: Int64
    visits: Int64
    discipline: Int64
    """[n] index into `disciplines`; the last one stands for all others."""
    disciplines: Sequence[str]
    community: Int64
    """[n] 0 is the largest community; `COLOURED` stands for all smaller ones."""
    edges: Int64
    """[n_edges, 2]"""
    counts: Int64
    """[n_edges] seeds that hold both ends."""
    degree: Int64
    """[n] neighbours in the whole graph."""
    all_kps: int
    """KPs of the whole graph with a neighbour."""
    all_edges: int
    isolated: int
    """KPs without a neighbour, which are not drawn."""


def igraph_is_installed() -> bool:
    """Whether the layout can be computed; the package comes with the extra 'report'."""
    return importlib.util.find_spec("igraph") is not None


def view_of(
    graph: KPGraph, visits: Int64, disciplines: Sequence[str], paths: Sequence[Sequence[int]]
) -> GraphView | None:
    """Choose, lay out and colour; None for a graph without an edge.

    Parameters
    ----------
    visits : int64 [n_kps]
    disciplines : sequence of str
        [n_kps] the discipline of most of its seeds; '' without one.
    paths : sequence of sequences of int
        KPs of paths that must be drawn.

    """
    if graph.n_edges == 0:
        return None
    kps, edges, counts = _chosen(graph, visits, paths)
    network = _network(kps.size, edges, counts)
    x, y = _layout(network)
    community = _communities(network)
    named = [disciplines[kp] or "unknown" for kp in kps.tolist()]
    common = [name for name, _ in Counter(named).most_common(COLOURED)]
    number = {name: i for i, name in enumerate(common)}
    more = len(set(named)) > len(common)
    assert graph.names is not None
    return GraphView(
        kps=kps,
        names=[graph.names[kp] for kp in kps.tolist()],
        x=x,
        y=y,
        seeds=np.asarray(graph.seed_count, np.int64)[kps],
        visits=visits[kps],
        discipline=np.array([number.get(name, len(common)) for name in named], np.int64),
        disciplines=[*common, "others"] if more else common,
        community=np.minimum(community, COLOURED),
        edges=edges,
        counts=counts,
        degree=np.asarray(graph.degree, np.int64)[kps],
        all_kps=int((graph.degree > 0).sum()),
        all_edges=graph.n_edges,
        isolated=int((graph.degree == 0).sum()),
    )


def _chosen(graph: KPGraph, visits: Int64, paths: Sequence[Sequence[int]]) -> tuple[Int64, Int64, Int64]:
    """KPs, edges between them as [m, 2] places among these KPs, and seeds of each edge."""
    degree = np.asarray(graph.degree)
    wanted = np.zeros(graph.n_kps, bool)
    wanted[[kp for path in paths for kp in path]] = True
    order = np.lexsort((-np.asarray(graph.seed_count), -visits, ~wanted))
    kps = np.sort(order[degree[order] > 0][:MAX_KPS]).astype(np.int64)
    place = np.full(graph.n_kps, -1, np.int64)
    place[kps] = np.arange(kps.size)
    starts, ends = graph.indptr[kps], graph.indptr[kps + 1]
    left = np.repeat(np.arange(kps.size), ends - starts)
    at = np.concatenate([np.arange(a, b) for a, b in zip(starts.tolist(), ends.tolist(), strict=True)])
    right = place[graph.indices[at]]
    inside = right > left
    left, right, counts = left[inside], right[inside], np.asarray(graph.count, np.int64)[at[inside]]
    steps = [sorted((int(place[a]), int(place[b]))) for path in paths for a, b in itertools.pairwise(path)]
    drawn = np.isin(left * kps.size + right, [a * kps.size + b for a, b in steps])
    rank = np.lexsort((right, left, -counts, -_is_best_of_an_end(left, right, counts, kps.size), ~drawn))[:MAX_EDGES]
    rank.sort()
    return kps, np.stack([left[rank], right[rank]], axis=1), counts[rank]


def _is_best_of_an_end(left: Int64, right: Int64, counts: Int64, n: int) -> Int64:
    """[m] 1 for an edge that is the heaviest of one of its ends."""
    best = np.zeros(counts.size, np.int64)
    order = np.argsort(-counts, kind="stable")
    for ends in (left, right):
        first = np.full(n, -1, np.int64)
        first[ends[order][::-1]] = order[::-1]
        best[first[first >= 0]] = 1
    return best


def _network(n: int, edges: Int64, counts: Int64) -> Any:
    import igraph

    network = igraph.Graph(n=n, edges=edges.tolist(), directed=False)
    network.es["weight"] = counts.tolist()
    return network


def _communities(network: Any) -> Int64:
    """Leiden's communities, the largest first."""
    import igraph

    igraph.set_random_number_generator(random.Random(SEED))
    try:
        found = network.community_leiden(objective_function="modularity", weights="weight", n_iterations=20)
    finally:
        igraph.set_random_number_generator(random)
    members = np.array(found.membership, np.int64)
    order = np.argsort(-np.bincount(members), kind="stable")
    number = np.empty_like(order)
    number[order] = np.arange(order.size)
    return number[members]


def _layout(network: Any) -> tuple[Int64, Int64]:
    """Each component by Fruchterman and Reingold, its area in proportion to its KPs; components are packed in rows."""
    import igraph

    components = sorted(network.connected_components(), key=lambda members: (-len(members), members[0]))
    place = np.zeros((network.vcount(), 2))
    boxes = []
    igraph.set_random_number_generator(random.Random(SEED))
    try:
        for members in components:
            own = network.induced_subgraph(members)
            start = [(np.cos(2.4 * i) * i**0.5, np.sin(2.4 * i) * i**0.5) for i in range(len(members))]  # a sunflower
            weights = np.sqrt(own.es["weight"]).tolist()
            laid = own.layout_fruchterman_reingold(seed=start, niter=ITERATIONS, weights=weights)
            points = np.array(laid.coords, np.float64)
            points -= points.min(axis=0)
            scale = np.sqrt(len(members)) / max(float(np.sqrt(np.prod(np.maximum(np.ptp(points, axis=0), 1e-9)))), 1e-9)
            span = np.ptp(points, axis=0)
            if float(span.max()) * scale > 2.5 * np.sqrt(len(members)):  # a chain: as long as a square would be
                scale = 1.5 * np.sqrt(len(members)) / max(float(span.max()), 1e-9)
            place[members] = points * scale
            boxes.append(span * scale)
    finally:
        igraph.set_random_number_generator(random)
    for members, corner in zip(components, _packed(boxes), strict=True):
        place[members] += corner
    place -= place.min(axis=0)
    place *= EXTENT / max(float(place.max()), 1e-9)
    whole = place.round().astype(np.int64)
    return whole[:, 0], whole[:, 1]


def _packed(boxes: Sequence[Float64]) -> list[Float64]:
    """Corners of boxes: the largest alone at the left, the others in rows at its right and below."""
    sizes = [box + GAP for box in boxes]
    first = sizes[0]
    rest = sum(float(size.prod()) for size in sizes[1:])
    beside = min(float(first[0]), rest / max(float(first[1]), 1e-9)) * 1.15
    beside = max(beside, max((float(size[0]) for size in sizes[1:]), default=0.0))
    corners = [np.zeros(2)]
    x, y, row = float(first[0]), 0.0, 0.0
    left, right = float(first[0]), float(first[0]) + beside
    for size in sizes[1:]:
        if x + size[0] > right:
            x, y, row = left, y + row, 0.0
            if y >= first[1] and left:  # below the largest the rows have the whole width
                left = x = 0.0
        corners.append(np.array([x, y]))
        x += float(size[0])
        row = max(row, float(size[1]))
    return corners


def view_data(view: GraphView, questions: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The view for the page's script, ready for JSON.

    Parameters
    ----------
    questions : mapping
        Name of a KP -> some questions of QA whose path visits it.
    """
    texts: dict[str, int] = {}
    of_kp = [[texts.setdefault(text, len(texts)) for text in questions.get(name, ())] for name in view.names]
    return {
        "names": list(view.names),
        **{name: getattr(view, name).tolist() for name in ("x", "y", "seeds", "visits", "discipline", "community")},
        "degree": view.degree.tolist(),
        "disciplines": list(view.disciplines),
        "edges": view.edges.ravel().tolist(),
        "counts": view.counts.tolist(),
        "questions": list(texts),
        "qa": of_kp,
    }
