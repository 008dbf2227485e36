"""A whole campaign with bundles on a device: the bits of the CPU, and the memory of its plan."""

import sys

import numpy as np
import pytest

from linksyn_gpu.backend.gpu.memory import SLACK, plan_memory
from linksyn_gpu.backend.protocol import CampaignSize
from linksyn_gpu.config import GraphConfig, QuotaConfig, WalkConfig
from linksyn_gpu.sampling.bundle import SeedLinker
from linksyn_gpu.sampling.graph import build_graph
from linksyn_gpu.sampling.plan import cell_goals, plan_cells, plan_rounds
from linksyn_gpu.sampling.walk import Walker, calibration_size
from tests.graphs import make_seeds

QUOTA = QuotaConfig(discipline={"physics": 1.0, "law": 1.0}, difficulty={"2": 1.0, "5": 1.0})
CONFIG = WalkConfig(length=4, min_length=3, calibration_rounds=2, rounds=8, distinct=True)
N_PATHS = 20_000


@pytest.fixture(scope="module")
def seeds():
    """Popular KPs have edges of hundreds of seeds."""
    rng = np.random.default_rng(5)
    rows = []
    for i in range(4000):
        kps = np.minimum(rng.zipf(1.4, 4), 300)
        label = ["physics", "law", "history"][i % 3]
        level = int(rng.integers(1, 6)) if i % 4 else None
        rows.append({"knowledge_points": [f"k{k}" for k in kps], "disciplines": [label], "difficulty": level})
    return make_seeds(rows)


def campaign(seeds, graph, backend, batch_size=None):
    cells = plan_cells(QUOTA, N_PATHS)
    goals = cell_goals(cells, graph, graph.statistics, QUOTA, CONFIG.tau)
    walker = Walker(graph, CONFIG, 5, backend, goals=goals, batch_size=batch_size, n_paths=N_PATHS)
    linker = SeedLinker(graph, seeds, None, 5, backend, quota=QUOTA, loaded=walker.loaded_of(graph))
    return list(walker.linked_rounds(plan_rounds(cells, CONFIG.rounds), cells, {None: linker}))


@pytest.mark.parametrize("config", [GraphConfig(), GraphConfig(weight="cosine", min_count=2, top_k=20)], ids=str)
def test_graphs_have_the_bits_of_the_cpu(gpu, seeds, config):
    expected, found = (build_graph(seeds, config, backend=backend) for backend in ("cpu", "gpu"))
    for name in ("indptr", "indices", "count", "weight", "evidence_indptr", "evidence", "seed_count", "component"):
        assert np.array_equal(getattr(expected, name), getattr(found, name)), name
    assert expected.drops == found.drops
    assert (expected.statistics.discipline_counts != found.statistics.discipline_counts).nnz == 0


@pytest.mark.parametrize(("batch_size", "pinned"), [(None, 16 << 20), (1000, 50_000)])
def test_bundles_have_the_bits_of_the_cpu(gpu, seeds, batch_size, pinned, monkeypatch):
    gpu.release()  # the pinned buffers too
    monkeypatch.setattr(sys.modules["linksyn_gpu.backend.gpu.transfer"], "PINNED_BYTES", pinned)
    graph = build_graph(seeds, backend="cpu")
    assert np.diff(graph.evidence_indptr).max() > 100
    expected, found = campaign(seeds, graph, "cpu"), campaign(seeds, graph, "gpu", batch_size)
    for (batch, bundles), (other, other_bundles) in zip(expected, found, strict=True):
        assert np.array_equal(batch.nodes, other.nodes)
        assert np.array_equal(batch.status, other.status)
        assert np.array_equal(bundles.seeds, other_bundles.seeds)
    assert any(bundles.kept.any() for _, bundles in found)
    gpu.release()


def test_a_campaign_takes_no_more_than_its_plan(gpu, seeds):
    from linksyn_gpu.backend.gpu.device import peak_memory  # imports CuPy

    graph = build_graph(seeds, backend="cpu")
    assert gpu.release() == 0, "an earlier test holds device memory"
    campaign(seeds, graph, "gpu")
    n_walks = max(N_PATHS // CONFIG.rounds, calibration_size(CONFIG, graph.n_kps))
    size = CampaignSize.of(graph, n_cells=4, n_weights=2, n_paths=N_PATHS)
    plan = plan_memory(size, n_walks, CONFIG.length, gpu.free_memory())
    # The slack alone does not make the plan true.
    assert peak_memory() <= plan.peak_bytes - SLACK + (8 << 20)
