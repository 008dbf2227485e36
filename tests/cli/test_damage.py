"""Damaged or exchanged files of a run, and settings that a run folder must not decide alone."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from linksyn_gpu.cli import main

SEEDS = [{"question": f"Question {i}?", "answer": "a", "kps": [f"k{i % 5}", f"k{(i + 2) % 5}"]} for i in range(12)]
FLAGS = (
    "--engine",
    "batch",
    "--model",
    "m",
    "--paths",
    "6",
    "--length",
    "2",
    "--calibration-rounds",
    "2",
    "--backend",
    "cpu",
)


def invoke(*words, code=0):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def run(tmp_path):
    """(command that makes a run, or makes it complete again; its folder)"""
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text("".join(json.dumps(seed) + "\n" for seed in SEEDS))
    words = ("run", seeds, "--out", tmp_path / "out", *FLAGS)
    invoke(*words)
    return words, tmp_path / "out"


def contents(folder):
    names = (
        "requests/requests-00000.jsonl",
        "plan.json",
        *(f"graph/{name}.npy" for name in ("indptr", "indices", "count", "evidence")),
    )
    return [(folder / name).read_bytes() for name in names]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        *("seeds.arrow", "kps.parquet", "graph/indices.npy", "graph/indptr.npy", "paths.parquet", "plan.json"),
        *("visits.npz", "requests/requests-00000.jsonl", "tasks.parquet", "qa.parquet", "dropped.parquet"),
    ],
)
def test_one_changed_bit_is_noticed_and_the_same_command_restores_the_files(run, name):
    words, folder = run
    before = contents(folder)
    flip(folder / name)
    invoke(*words)
    assert contents(folder) == before


@pytest.mark.parametrize("content", ["", '{"custom_id": "x", "body": {"messages": []}}\n'])
def test_exchanged_or_emptied_requests_are_written_again(run, content):
    _, folder = run
    before = contents(folder)
    (folder / "requests/requests-00000.jsonl").write_text(content)
    invoke("synthesize", folder)
    assert contents(folder) == before


def test_a_damaged_graph_is_refused_by_later_stages_with_the_command_that_makes_it_again(run):
    _, folder = run
    flip(folder / "graph" / "indices.npy")
    for command in ("walk", "analyze"):
        refused = invoke(command, folder, code=2)
        assert "stage 'build' has missing or damaged files; run 'linksyn-gpu build' first" in refused.stderr
    invoke("build", folder)
    invoke("analyze", folder)


def edit_manifest(folder: Path, **settings):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    entry = manifest["stages"]["synthesize"]
    for name, value in settings.items():
        entry["operational" if name in entry["operational"]["synthesis"] else "settings"]["synthesis"][name] = value
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"engine": "openai", "base_url": "http://server.example/v1"}, "base_url"),
        ({"engine": "vllm", "model": "m", "vllm_command": "touch {folder}/was-run"}, "vllm_command"),
        ({"engine": "vllm", "model": "m", "vllm_args": ["--trust-remote-code"]}, "vllm_args"),
    ],
)
def test_a_run_folder_alone_does_not_choose_who_gets_the_key_or_which_program_runs(run, monkeypatch, settings, name):
    _, folder = run
    monkeypatch.setenv("LINKSYN_API_KEY", "secret-of-the-user")
    edit_manifest(folder, **settings)
    refused = invoke("synthesize", folder, code=2)
    assert f"synthesis.{name} = " in refused.stderr
    assert f"confirm it with --{name.replace('_', '-')} or in a --config file" in refused.stderr
    assert not (folder / "was-run").exists()
