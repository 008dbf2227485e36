"""The Python interface that docs/notebook.md describes, and its script examples/notebook.py."""

import ast
import itertools
import json
import runpy
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import linksyn_gpu
from linksyn_gpu import (
    BundleConfig,
    ConfigError,
    DataError,
    Engine,
    GraphConfig,
    KPGraph,
    QuotaConfig,
    RunConfig,
    Seeds,
    SynthesisConfig,
    WalkConfig,
    Walker,
    build_graph,
    link_seeds,
    open_run,
    read_seeds,
    synthesize,
)

EXAMPLES = Path(__file__).parents[1] / "examples"
QUICK = {"paths": 12, "walk": {"calibration_rounds": 2}, "synthesis": {"engine": "batch", "model": "m"}}


@pytest.fixture(scope="module")
def seeds():
    return read_seeds(EXAMPLES / "seeds.jsonl")


@pytest.fixture(scope="module")
def graph(seeds):
    return build_graph(seeds)


@pytest.fixture(scope="module")
def bundles(graph, seeds):
    quota = QuotaConfig(discipline={"law": 1, "physics": 3}, difficulty={"2": 1, "4": 1})
    paths = Walker(graph, length=3, calibration_rounds=2, seed=7, quota=quota).sample(16)
    return link_seeds(paths, graph, seeds)


def test_the_script_of_the_documentation_runs(capsys):
    runpy.run_path(str(EXAMPLES / "notebook.py"))
    assert "requests pending" in capsys.readouterr().out


def test_type_checkers_see_the_names_that_are_imported_lazily():
    tree = ast.parse(Path(linksyn_gpu.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == {name: f"linksyn_gpu.{module}" for name, module in linksyn_gpu._HOME.items()}


def test_reprs_are_one_short_line(seeds, graph, bundles):
    paths = bundles.origin[0]
    assert repr(graph) == "KPGraph(240 KPs, 510 edges from 180 seeds)"
    for thing in (seeds, graph, paths, bundles):
        assert len(repr(thing)) < 80


def test_neighbors_come_by_name_with_the_seeds_they_share(graph):
    found = graph.neighbors("  DERIVATIVE ")
    assert found == graph.neighbors("derivative")
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert graph.neighbors(next(iter(found)))["derivative"] == next(iter(found.values()))
    with pytest.raises(DataError, match=r"no KP 'derivatve'; similar: derivative"):
        graph.neighbors("derivatve")


def test_an_exact_name_takes_precedence_over_an_equal_key():
    graph = KPGraph.from_csr([0, 1, 2], [1, 0], [3, 3], names=["ph", "pH"])
    assert graph.neighbors("ph") == {"pH": 3}
    assert graph.neighbors("pH") == {"ph": 3}
    assert graph.neighbors("PH") == {"pH": 3}


def test_to_scipy_is_the_matrix_of_shared_seeds(seeds, graph):
    matrix = graph.to_scipy()
    held = Counter()
    for row in range(len(seeds)):
        kps = sorted({graph.index_of(name) for name in seeds[row]["knowledge_points"]})
        held.update((u, v) for u in kps for v in kps if u != v)
    rows, columns = matrix.nonzero()
    assert dict(zip(zip(rows.tolist(), columns.tolist(), strict=True), matrix.data.tolist(), strict=True)) == held


def test_a_quota_is_met_exactly_in_the_paths_sampled(bundles):
    paths = bundles.origin[0]
    asked = {(cell.discipline, cell.difficulty): cell.n_paths for cell in paths.cells}
    assert asked == {("law", 2): 2, ("law", 4): 2, ("physics", 2): 6, ("physics", 4): 6}
    assert np.bincount(paths.cell).tolist() == list(asked.values())


def test_a_quota_needs_a_graph_of_seeds():
    bare = KPGraph.from_csr([0, 1, 2], [1, 0], [3, 3])
    with pytest.raises(ConfigError, match="build_graph"):
        Walker(bare, quota=QuotaConfig(discipline={"law": 1}))


def test_tables_carry_names(seeds, graph, bundles):
    rows = bundles.to_arrow().to_pylist()
    assert [row["path"] for row in rows] == [row["path"] for row in bundles.origin[0].to_arrow(graph).to_pylist()]
    ids = {seed: row for row, seed in enumerate(seeds.table.column("id").to_pylist())}
    for row in rows:
        assert (row["drop_reason"] is None) == bool(bundles.kept[row["walk_id"]])
        steps = [{a, b} for a, b in itertools.pairwise(row["path"])]
        for seed in row["seed_ids"]:
            assert any(step <= set(seeds[ids[seed]]["knowledge_points"]) for step in steps)


@pytest.mark.parametrize(
    "call",
    [
        lambda s, g, b, out: build_graph(s, GraphConfig(), min_count=2),
        lambda s, g, b, out: Walker(g, WalkConfig(), length=2),
        lambda s, g, b, out: link_seeds(b.origin[0], g, s, BundleConfig(), min_seeds=2),
        lambda s, g, b, out: synthesize(b, SynthesisConfig(), engine="batch", out=out),
        lambda s, g, b, out: linksyn_gpu.run(s, out, RunConfig(), paths=3),
    ],
)
def test_every_entry_point_takes_a_config_or_its_fields(seeds, graph, bundles, tmp_path, call):
    with pytest.raises(ConfigError, match="not both"):
        call(seeds, graph, bundles, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_field_is_refused_with_the_known_ones(graph):
    with pytest.raises(ConfigError, match=r"lenght: no such setting; allowed here: length"):
        Walker(graph, lenght=3)


def test_a_run_from_python_is_the_run_of_the_command_line(tmp_path, seeds):
    from click.testing import CliRunner

    from linksyn_gpu.cli import main

    flags = ("--engine", "batch", "--model", "m", "--paths", "12", "--calibration-rounds", "2")
    done = CliRunner().invoke(main, ["run", str(EXAMPLES / "seeds.jsonl"), "--out", str(tmp_path / "cli"), *flags])
    assert done.exit_code == 0, done.output
    stages = []
    linksyn_gpu.run(
        EXAMPLES / "seeds.jsonl", tmp_path / "files", done=lambda name, counts: stages.append(name), **QUICK
    )
    assert stages == ["ingest", "build", "walk", "synthesize"]
    linksyn_gpu.run(seeds, tmp_path / "memory", **{**QUICK, "synthesis": SynthesisConfig(engine="batch", model="m")})
    for name in ("paths.parquet", "requests/requests-00000.jsonl", "kps.parquet"):
        of_cli = (tmp_path / "cli" / name).read_bytes()
        assert of_cli == (tmp_path / "files" / name).read_bytes() == (tmp_path / "memory" / name).read_bytes()


def test_an_open_run_gives_seeds_graph_paths_qa_and_figures(tmp_path, seeds, graph):
    done = linksyn_gpu.run(EXAMPLES / "seeds.jsonl", tmp_path / "out", **QUICK)
    assert repr(done).endswith("stages: ingest, build, walk, synthesize)")
    assert done.seeds.table.equals(seeds.table)
    assert done.graph.neighbors("derivative") == graph.neighbors("derivative")
    assert Walker(done.graph, quota=QuotaConfig(discipline={"law": 1})).sample(2).cells[0].discipline == "law"
    assert done.paths.num_rows == 12
    assert done.paths.column_names == ["walk_id", "round", "cell", "path", "seed_ids", "drop_reason"]
    assert set(done.paths.column("seed_ids").combine_chunks().values.to_pylist()) <= set(
        seeds.table.column("id").to_pylist()
    )
    assert (done.qa.num_rows, done.stats.stages["synthesize"]["pending"]) == (0, done.counts["synthesize"]["pending"])
    assert done.dropped.column_names[:2] == ["stage", "reason"]
    with pytest.raises(ConfigError, match="holds no run"):
        open_run(tmp_path)


def test_synthesis_from_bundles_continues_in_its_folder_and_refuses_other_bundles(tmp_path, graph, seeds, bundles):
    out = tmp_path / "out"
    first = synthesize(bundles, engine="batch", model="m", out=out)
    assert first.counts["walk"]["kept"] == int(bundles.kept.sum())
    requests = (out / "requests/requests-00000.jsonl").read_bytes()
    assert len(requests.splitlines()) == int(bundles.kept.sum())
    assert b"physics" in requests
    synthesize(bundles, engine="batch", model="m", out=out)
    assert (out / "requests/requests-00000.jsonl").read_bytes() == requests
    others = link_seeds(Walker(graph, length=3, seed=8).sample(16), graph, seeds)
    with pytest.raises(ConfigError, match="bundles was"):
        synthesize(others, engine="batch", model="m", out=out)
    synthesize(others, engine="batch", model="m", out=out, force=True)
    assert (out / "requests/requests-00000.jsonl").read_bytes() != requests


def test_synthesis_asks_a_server_that_is_running(tmp_path, bundles):
    from tests.llm.fake_server import FakeServer

    with FakeServer() as server:
        done = synthesize(bundles, engine=Engine(server.url, "fake"), out=tmp_path / "out", per_path=1)
    counts = done.counts["synthesize"]
    assert counts["written"] == counts["kept"] + counts["dropped"]
    assert counts["requests"] == counts["answered"] == int(bundles.kept.sum())
    assert done.qa.num_rows == counts["kept"]
    assert pq.read_table(tmp_path / "out" / "qa.parquet").num_rows == counts["kept"]


def test_bundles_that_do_not_know_their_seeds_say_how_to_make_them(bundles):
    with pytest.raises(DataError, match="link_seeds"):
        replace(bundles, origin=None).to_arrow()


def test_seeds_in_memory_are_the_seeds_of_the_file(seeds):
    pandas = pytest.importorskip("pandas")
    import pyarrow as pa

    rows = [json.loads(line) for line in (EXAMPLES / "seeds.jsonl").read_text(encoding="utf-8").splitlines()]
    for made in (
        Seeds.from_records(rows),
        Seeds.from_arrow(pa.Table.from_pylist(rows)),
        Seeds.from_pandas(pandas.DataFrame(rows)),
    ):
        assert made.table.equals(seeds.table)
