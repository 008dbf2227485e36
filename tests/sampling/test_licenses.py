"""Groups of licenses: their seeds never meet in a bundle, whatever the quota and the bank."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linksyn_gpu import BundleConfig, QuotaConfig, WalkConfig, Walker, build_graph
from linksyn_gpu.config import GraphConfig
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.sampling.bundle import SeedLinker
from linksyn_gpu.sampling.labels import seed_labels
from linksyn_gpu.sampling.licenses import group_graphs, group_names, group_numbers
from linksyn_gpu.sampling.plan import cell_goals, plan_cells, with_license_groups
from tests.dataset.conftest import invoke
from tests.graphs import make_seeds

GROUPS = {"open": ("MIT", "CC BY 4.0"), "share alike": ("CC BY-SA 4.0",)}
LICENSES = ("MIT", "cc-by-4.0", "CC BY-SA 4.0", "my own", None)
BACKENDS = ("reference", "cpu")
QUICK = WalkConfig(length=4, calibration_rounds=2, calibration_paths=100, rounds=2, distinct=True)


def bank(rng, n, n_kps):
    rows = []
    for _ in range(n):
        size = int(rng.integers(2, 5))
        rows.append(
            {
                "knowledge_points": [f"k{k}" for k in rng.choice(n_kps, size, replace=False)],
                "disciplines": [str(rng.choice(["physics", "law"]))],
                "license": LICENSES[int(rng.integers(len(LICENSES)))],
            }
        )
    return make_seeds(rows)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32), st.sampled_from([{}, {"physics": 1.0, "law": 2.0}]), st.sampled_from(["reference", "cpu"])
)
def test_seeds_of_different_groups_never_meet_in_a_bundle(seed, discipline, backend):
    rng = np.random.default_rng(seed)
    seeds = bank(rng, 60, 15)
    graph, number = build_graph(seeds, backend=backend), group_numbers(seeds, GROUPS)
    quota = with_license_groups(QuotaConfig(discipline=discipline), group_names(GROUPS), number, seed_labels(seeds))
    graphs = group_graphs(seeds, GROUPS, GraphConfig(), backend)
    cells = plan_cells(quota, 60)
    assert sum(cell.n_paths for cell in cells) == 60
    goals = cell_goals(cells, graph, graph.statistics, quota, 0.5, groups=graphs)
    walker = Walker(graph, QUICK, 3, backend, goals=goals)
    kept = 0
    for place, cell in enumerate(cells):
        linker = SeedLinker(graphs[cell.license_group][0], seeds, None, 3, backend, quota=quota)
        linker.begin_round(cell)
        _, bundles = walker.sample_linked(cell.n_paths, place, linker)
        for row, size, ok in zip(bundles.seeds, bundles.sizes, bundles.kept, strict=True):
            found = {group_names(GROUPS)[number[s]] for s in row[:size]}
            assert found <= {cell.license_group}
            kept += ok
    assert kept > 0


def test_licenses_are_compared_as_the_hub_writes_them_and_others_are_a_group_of_their_own():
    seeds = make_seeds([{"license": name, "knowledge_points": ["a", "b"]} for name in LICENSES])
    names = group_names(GROUPS)
    assert [names[number] for number in group_numbers(seeds, GROUPS)] == [
        "open",
        "open",
        "share alike",
        "other",
        "other",
    ]


@pytest.mark.parametrize(
    "groups", [{"a": ("MIT",), "b": ("mit",)}, {"other": ("MIT",)}, {"a": ("CC BY 4.0", "CC-BY-4.0 (ours)")}]
)
def test_groups_that_are_not_apart_are_refused(groups):
    with pytest.raises(ConfigError, match="license_groups"):
        BundleConfig(license_groups=groups)


@pytest.fixture
def grouped(tmp_path):
    rng = np.random.default_rng(3)
    lines = []
    for i in range(120):
        points = [f"topic {k}" for k in rng.choice(12, 3, replace=False)]
        seed = {"id": f"s{i}", "question": f"What is {i}?", "answer": "It is.", "knowledge_points": points}
        lines.append(json.dumps(seed | {"license": ("MIT", "CC BY-SA 4.0", "mine")[i % 3]}))
    (tmp_path / "seeds.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "run.toml").write_text('[bundle.license_groups]\nopen = ["MIT"]\nshared = ["CC BY-SA 4.0"]\n')
    words = ("run", tmp_path / "seeds.jsonl", "--out", tmp_path / "out", "--config", tmp_path / "run.toml")
    return (*words, "--engine", "batch", "--model", "m", "--length", 2, "--calibration-rounds", 1), tmp_path / "out"


def test_a_campaign_keeps_the_groups_apart_also_when_it_grows(grouped):
    words, folder = grouped
    invoke(*words, "--paths", 30)
    before = pq.read_table(folder / "paths.parquet").to_pylist()
    invoke(*words, "--paths", 60)
    rows = pq.read_table(folder / "paths.parquet").to_pylist()
    assert rows[:30] == before
    plan = json.loads((folder / "plan.json").read_text())["cells"]
    assert [cell["license_group"] for cell in plan] == ["open", "shared", "other"]
    assert [cell["asked"] for cell in plan] == [20, 20, 20]
    for row in rows:
        assert {seed % 3 for seed in row["seeds"]} <= {row["cell"]}
    assert "licenses shared" in invoke("report", folder).output
