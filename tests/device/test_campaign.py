"""A whole campaign over the stand-ins: what crosses between host and device, and what it takes of the memory.

Construction, calibration, two cells with edge weights of their own, redraws, linking, results.
"""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from linksyn_gpu.backend.gpu.memory import SLACK, crossings, plan_memory
from linksyn_gpu.backend.protocol import CampaignSize
from linksyn_gpu.config import GraphConfig, QuotaConfig, WalkConfig
from linksyn_gpu.sampling.bundle import SeedLinker
from linksyn_gpu.sampling.graph import build_graph
from linksyn_gpu.sampling.labels import seed_labels
from linksyn_gpu.sampling.plan import cell_goals, plan_cells, plan_rounds
from linksyn_gpu.sampling.walk import Walker, calibration_size
from tests.device import standin_cupy
from tests.sampling.test_cells import bank

DOCUMENT = Path(__file__).parents[2] / "docs" / "gpu.md"
QUOTA = QuotaConfig(discipline={"physics": 1.0, "law": 1.0})
CONFIG = WalkConfig(length=3, min_length=3, calibration_rounds=2, calibration_paths=300, rounds=4, distinct=True)


def places():
    """Places that docs/gpu.md lists, with their direction."""
    table = DOCUMENT.read_text(encoding="utf-8").partition("| place |")[2].partition("\n\n")[0]
    found = set()
    for row in table.splitlines()[2:]:
        names, direction = row.split("|")[1], row.split("|")[2].strip()
        for name in re.findall("`(.+?)`", names):
            found |= {f"{name}, {way}" for way in ("to host", "to device") if direction in (way, "both")}
    return found


def campaign(seeds, graph, n_paths, backend="gpu", config=CONFIG, batch_size=None):
    """Rounds of two cells, as stage walk samples and links them."""
    cells = plan_cells(QUOTA, n_paths)
    goals = cell_goals(cells, graph, graph.statistics, QUOTA, config.tau)
    walker = Walker(graph, config, 5, backend, goals=goals, n_paths=n_paths, batch_size=batch_size)
    linker = SeedLinker(graph, seeds, None, 5, backend, quota=QUOTA, loaded=walker.loaded_of(graph))
    return list(walker.linked_rounds(plan_rounds(cells, config.rounds), cells, {None: linker}))


def test_a_campaign_makes_only_the_copies_that_the_document_lists(gpu):
    seeds = bank(200)
    graph = build_graph(seeds, GraphConfig(weight="npmi", min_count=2), backend="gpu")
    found = campaign(seeds, graph, 120)
    assert sum(batch.redraws for batch, _ in found) > 0
    copies = crossings.copies
    assert set(copies) <= places()
    up = sum(n for place, n in copies.items() if place.endswith("to device"))
    down = sum(n for place, n in copies.items() if place.endswith("to host") and not place.startswith("sizes"))
    assert up == standin_cupy.READS["upload"]
    assert down == standin_cupy.READS["array"] + standin_cupy.READS["column"]
    assert copies["sizes, to host"] == standin_cupy.READS["scalar"]


def test_the_bytes_that_cross_are_those_that_the_document_computes(gpu):
    """The incidence never crosses, the graph once in each direction, a round only what is new to one side."""
    seeds = bank(200)
    graph = build_graph(seeds, backend="gpu")
    labels = seed_labels(seeds)
    n_seeds, n_kps, n_entries, n_edges = len(seeds), graph.n_kps, graph.indices.size, graph.n_edges
    counts = graph.statistics.discipline_counts
    label_bytes = 8 * (n_seeds + 1) + 4 * labels.membership.nnz + n_seeds
    built = {
        "KP lists, to device": seeds.table.column("knowledge_points").nbytes,
        "load_labels, to device": label_bytes,
        "finished graph, to host": 20 * n_kps + 8 + 8 * n_entries + 8 * (n_edges + 1) + 4 * graph.evidence.size,
        "KP statistics, to host": 32 * n_kps + 8 + 12 * counts.nnz,
    }
    n_bytes = dict(crossings.n_bytes)
    assert {place: n_bytes.pop(place) for place in built} == built
    assert set(n_bytes) == {"KP names, to host", "sizes, to host"}

    crossings.clear()
    found = campaign(seeds, graph, 120)
    redraws = sum(batch.redraws for batch, _ in found)
    drawn = sum(len(batch) for batch, _ in found) + redraws
    n_cells, n_rounds = 2, len(found)
    per_kp, per_cell = 8, 4 * 8 + 8  # targets, starts and two masks; no visits
    walked = {
        "load_graph, to device": 8 * (n_kps + 1) + 8 * n_entries,
        "load_evidence, to device": 8 * (n_edges + 1) + 4 * graph.evidence.size,
        "load_labels, to device": label_bytes,
        "rank_seeds, to device": n_rounds * (len(labels.disciplines) + 64),
        "results, to host": drawn * (4 * (CONFIG.length + 1) + 4 * CONFIG.length),
        "to_host, to host": drawn,
    }
    n_bytes = dict(crossings.n_bytes)
    assert {place: n_bytes.pop(place) for place in walked} == walked
    weights = n_bytes.pop("asarray, to device")
    n_bytes.pop("sizes, to host")
    assert not n_bytes
    # Per cell its targets, masks, start of calibration and weights; uses; 8 bytes per redrawn walk.
    fixed = 8 * redraws + 8 * n_seeds + 8 + n_cells * (per_cell * n_kps + 8 + 8 + 16 + per_kp * n_kps) + per_kp * n_kps
    assert weights - fixed == n_cells * 4 * n_entries


def test_weights_that_do_not_fit_together_cross_when_their_cell_has_its_turn(gpu, monkeypatch):
    seeds = bank(200)
    graph = build_graph(seeds, backend="cpu")
    found = campaign(seeds, graph, 120)
    together = crossings.n_bytes["asarray, to device"]
    crossings.clear()
    monkeypatch.setattr("linksyn_gpu.backend.gpu.memory.MANY_WALKS", 1 << 62)
    again = campaign(seeds, graph, 120)
    turns = sum(int(a[0].cell[0] != b[0].cell[0]) for a, b in itertools.pairwise(again))
    assert crossings.n_bytes["asarray, to device"] - together == (turns + 1 - 2) * 4 * graph.indices.size
    for (batch, bundles), (other, other_bundles) in zip(found, again, strict=True):
        assert np.array_equal(batch.nodes, other.nodes)
        assert np.array_equal(bundles.seeds, other_bundles.seeds)


def test_a_campaign_with_few_walks_in_memory_has_the_paths_of_the_reference(gpu):
    seeds = bank(200)
    graph = build_graph(seeds, backend="reference")
    expected = campaign(seeds, graph, 120, "reference")
    found = campaign(seeds, graph, 120, batch_size=11)
    for (batch, bundles), (other, other_bundles) in zip(expected, found, strict=True):
        assert np.array_equal(batch.nodes, other.nodes)
        assert np.array_equal(batch.status, other.status)
        assert np.array_equal(bundles.seeds, other_bundles.seeds)


@pytest.mark.parametrize(
    ("n_seeds", "n_kps", "n_paths", "length", "distinct"),
    [(300, 40, 4000, 4, True), (6000, 40, 800, 4, True), (2000, 400, 30_000, 8, True), (2000, 400, 4000, 3, False)],
)
def test_the_peak_of_a_campaign_is_within_its_plan_and_near_it(gpu, n_seeds, n_kps, n_paths, length, distinct):
    from linksyn_gpu.backend.gpu.device import peak_memory

    seeds = bank(n_seeds, n_kps)
    graph = build_graph(seeds, backend="cpu")
    config = WalkConfig(length=length, min_length=2, calibration_rounds=2, rounds=4, distinct=distinct)
    gpu.release()
    campaign(seeds, graph, n_paths, config=config)
    taken = peak_memory()
    n_walks = max(n_paths // 4, calibration_size(config, graph.n_kps))
    size = CampaignSize.of(graph, n_cells=2, n_weights=2, n_paths=n_paths if distinct else 0)
    planned = plan_memory(size, n_walks, length, 16 << 30).peak_bytes - SLACK  # the slack alone proves nothing
    assert taken <= planned, f"{taken:,} bytes, planned {planned:,}"
    assert taken >= 0.4 * planned, f"{taken:,} bytes, planned {planned:,}"
