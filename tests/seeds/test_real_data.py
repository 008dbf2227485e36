"""Real seeds: graph sizes that were measured independently, and texts that are not changed."""

import json

import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from linksyn_gpu import WalkConfig, Walker, build_graph, link_seeds, read_seeds


def components(graph):
    matrix = csr_array((graph.count, graph.indices, graph.indptr), shape=(graph.n_kps, graph.n_kps))
    return connected_components(matrix, directed=False)[0]


@pytest.mark.parametrize(
    ("keep_duplicates", "kp_form", "expected"),
    [(True, "exact", (2975, 15132, 83)), (False, "folded", (2944, 15008, 82))],
)
def test_the_openstax_graph_has_the_measured_size(real_data, keep_duplicates, kp_form, expected):
    seeds = read_seeds(real_data("seed_openstax_en.jsonl"), keep_duplicates=keep_duplicates)
    graph = build_graph(seeds, kp_form=kp_form)
    assert (graph.n_kps, graph.n_edges, components(graph)) == expected


def test_walks_on_route_nodes_of_competition_maths_keep_chinese_and_latex_intact(real_data):
    path = real_data("seed_tal_math_en_zh.jsonl")
    seeds = read_seeds(path, columns={"knowledge_points": "kp_routes"}, route_separator="->", difficulty_scale="0-4")
    raw = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        raw.setdefault(record["id"], record)
    for row in range(0, len(seeds), 97):
        seed = seeds[row]
        assert (seed["question"], seed["answer"]) == (raw[seed["id"]]["question"], raw[seed["id"]]["answer"])
        assert seed["options"] == raw[seed["id"]]["options"]
        assert seed["difficulty"] == raw[seed["id"]]["difficulty"] + 1
    graph = build_graph(seeds)
    batch = Walker(graph, WalkConfig(length=4, calibration_rounds=5), seed=1).sample(500)
    bundles = link_seeds(batch, graph, seeds, seed=1)
    assert bundles.kept.mean() > 0.9
    assert any("\u4e00" <= char <= "\u9fff" for name in graph.names for char in name)
