"""The map of the KP graph: what is drawn of a large graph, and where."""

import numpy as np
import pytest

from linksyn_gpu.report import graph_view
from linksyn_gpu.report.graph_view import view_data, view_of
from linksyn_gpu.tables import KPGraph

pytest.importorskip("igraph", reason="needs igraph: pip install -e '.[report]'")


def graph_of(edges, n):
    """A graph of (u, v, count)."""
    both = sorted([(u, v, c) for u, v, c in edges] + [(v, u, c) for u, v, c in edges])
    u, v, c = (np.array(column) for column in zip(*both, strict=True))
    return KPGraph.from_csr(np.searchsorted(u, np.arange(n + 1)), v, c, [f"kp {i}" for i in range(n)])


@pytest.fixture
def graph():
    """Two rings of 30 and 10 KPs with chords, and an isolated KP."""
    rings = [(i, (i + 1) % 30, 1 + i % 3) for i in range(30)] + [(30 + i, 30 + (i + 1) % 10, 1) for i in range(10)]
    return graph_of([*rings, *((i, i + 7, 1) for i in range(20))], 41)


def view(graph, paths=(), visits=None):
    visits = np.zeros(graph.n_kps, np.int64) if visits is None else visits
    return view_of(graph, visits, ["law" if i < 30 else "" for i in range(graph.n_kps)], paths)


def test_a_small_graph_is_drawn_whole_but_for_isolated_kps(graph):
    found = view(graph)
    assert list(found.names) == [f"kp {i}" for i in range(40)]
    assert len(found.edges) == graph.n_edges == found.all_edges == len({(min(e), max(e)) for e in found.edges.tolist()})
    assert (found.all_kps, found.isolated) == (40, 1)
    assert list(found.disciplines) == ["law", "unknown"]
    counts = dict(zip(map(tuple, found.edges.tolist()), found.counts.tolist(), strict=True))
    assert (counts[0, 1], counts[1, 2], counts[2, 3]) == (1, 2, 3)


def test_beyond_the_budget_paths_come_first_and_then_the_most_visited(graph, monkeypatch):
    monkeypatch.setattr(graph_view, "MAX_KPS", 12)
    monkeypatch.setattr(graph_view, "MAX_EDGES", 11)
    visits = np.arange(41)
    found = view(graph, [[3, 4, 5], [5, 12]], visits)
    assert found.kps.tolist() == [3, 4, 5, 12, *range(32, 40)]
    drawn = {tuple(found.kps[edge].tolist()) for edge in found.edges}
    assert {(3, 4), (4, 5), (5, 12)} <= drawn
    assert len(drawn) == 10, "all edges between these KPs"
    monkeypatch.setattr(graph_view, "MAX_EDGES", 4)
    found = view(graph, [[3, 4, 5], [5, 12]], visits)
    assert {(3, 4), (4, 5), (5, 12)} < {tuple(found.kps[edge].tolist()) for edge in found.edges}
    assert (len(found.edges), found.all_edges, found.all_kps) == (4, graph.n_edges, 40)


def test_the_same_graph_has_the_same_layout_and_no_two_components_overlap(graph):
    first, second = view(graph), view(graph)
    assert (first.x == second.x).all()
    assert (first.community == second.community).all()
    ring, other = first.x[:30], first.x[30:]
    assert ring.max() < other.min()
    assert len({*zip(first.x.tolist(), first.y.tolist(), strict=True)}) == 40


def test_a_graph_without_an_edge_has_no_map():
    assert view(KPGraph.from_csr([0, 0, 0], np.zeros(0, int), np.zeros(0, int), ["a", "b"])) is None


def test_a_question_of_several_kps_is_written_once(graph):
    data = view_data(view(graph), {"kp 1": ["Why?", "How?"], "kp 2": ["Why?"]})
    assert data["questions"] == ["Why?", "How?"]
    assert data["qa"][:3] == [[], [0, 1], [0]]
    assert len(data["edges"]) == 2 * len(data["counts"])
