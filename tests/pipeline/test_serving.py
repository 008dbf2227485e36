"""GPU memory that a server on the same node leaves to the walks: none on a CPU, the graph's plan on a GPU."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from linksyn_gpu.config import DEFAULT_PATHS, QuotaConfig, RunConfig, SynthesisConfig
from linksyn_gpu.pipeline import serving
from linksyn_gpu.pipeline import stages as pipeline
from linksyn_gpu.pipeline.folder import Workspace

FREE = 8 * 2**30
CONFIG = RunConfig(synthesis=SynthesisConfig(engine="vllm", model="m"))


@pytest.fixture
def on_a_gpu(monkeypatch):
    ops = SimpleNamespace(free_memory=lambda: FREE)
    monkeypatch.setattr(serving, "resolve", lambda name: SimpleNamespace(name="gpu", ops=ops))


@pytest.fixture
def ws(tmp_path):
    seeds = tmp_path / "seeds.jsonl"
    row = '{{"question": "What is {0}?", "answer": "a", "knowledge_points": ["k{0}", "k{1}", "k{2}"]}}\n'
    seeds.write_text("".join(row.format(i, i + 1, i + 2) for i in range(30)))
    with Workspace(tmp_path / "out") as ws:
        pipeline.ingest(ws, [str(seeds)], CONFIG)
        yield ws


def test_the_walks_keep_what_the_plan_of_the_graph_needs_and_a_quarter_before_there_is_a_plan(ws, on_a_gpu):
    assert serving.walk_bytes(ws, CONFIG) == FREE // 4
    pipeline.build(ws, CONFIG)
    kept = serving.walk_bytes(ws, CONFIG)
    calibration = 1024  # walks, and fewer paths per round
    assert kept == serving.plan_of(ws, CONFIG.walk.length, calibration, FREE, n_paths=DEFAULT_PATHS).peak_bytes
    without = replace(CONFIG, walk=replace(CONFIG.walk, calibration_rounds=0))
    assert serving.walk_bytes(ws, without) < kept
    repeated = replace(CONFIG, paths=10**6, walk=replace(CONFIG.walk, distinct=False))
    assert serving.walk_bytes(ws, repeated) < serving.walk_bytes(ws, replace(CONFIG, paths=10**6))
    assert 0 < kept < FREE // 4
    assert serving.walk_bytes(ws, replace(CONFIG, paths=10_000_000)) > kept


def test_the_memory_that_the_user_sets_for_the_walks_is_kept(ws, on_a_gpu):
    assert serving.walk_bytes(ws, replace(CONFIG, gpu_memory=5 * 2**30)) == 5 * 2**30


def test_no_memory_is_kept_where_the_cpu_walks_or_no_server_is_started(ws, monkeypatch):
    assert serving.walk_bytes(ws, replace(CONFIG, backend="cpu")) == 0
    monkeypatch.setattr(serving, "resolve", lambda name: pytest.fail("no device needs to be asked"))
    assert serving.walk_bytes(ws, RunConfig()) == 0


def test_cells_with_weights_of_their_own_are_in_the_plan(ws):
    pipeline.build(ws, CONFIG)
    quota = QuotaConfig(discipline={"law": 1.0, "physics": 1.0})
    assert serving.plan_of(ws, 4, 1000, FREE, quota).peak_bytes > serving.plan_of(ws, 4, 1000, FREE).peak_bytes
