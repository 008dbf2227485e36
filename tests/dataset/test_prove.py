"""Every row can be made again from the seeds, and one changed value anywhere is found."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linksyn_gpu.pipeline.folder import Workspace
from tests.dataset.conftest import invoke


def some_ids(folder, n=2):
    return pq.read_table(folder / "qa.parquet", columns=["id"]).column("id").to_pylist()[100 : 100 + n]


def forge(folder, name, change):
    """Replace a Parquet file by a changed one, with a checksum in the manifest that fits."""
    table = change(pq.read_table(folder / name))
    with Workspace(folder, create=False) as ws:
        with ws.replacing(name) as part:
            pq.write_table(table, part, compression="zstd")
        for stage in ws.manifest["stages"].values():
            if name in stage.get("files", {}):
                stage["files"][name] = ws.path(name).stat().st_size
        ws._write_manifest()


def with_text(table, row, column, value):
    values = table.column(column).to_pylist()
    values[row] = value
    return table.set_column(table.schema.get_field_index(column), table.schema.field(column), pa.array(values))


def test_all_rows_agree_with_what_is_made_again(campaign, tmp_path):
    invoke("export", campaign, "--to", tmp_path / "d", "--forms", "qa")
    n = pq.read_metadata(campaign / "qa.parquet").num_rows
    assert n > 900
    output = invoke("prove", campaign, "--all", "--dataset", tmp_path / "d").output
    assert f"proved     {n:,} QA = {n:,} agree + 0 differ" in output


def test_rows_of_a_campaign_that_grew_are_made_again_part_by_part(finished_campaign, tmp_path):
    from tests.dataset.conftest import write_seeds
    from tests.dataset.varied_server import varied
    from tests.llm.fake_server import FakeServer

    first = write_seeds(tmp_path / "seeds.jsonl", 150)
    more = tmp_path / "more.jsonl"
    more.write_text("".join(write_seeds(tmp_path / "all.jsonl", 200).read_text().splitlines(keepends=True)[150:]))
    words = ("--out", tmp_path / "out", "--length", 3, "--calibration-rounds", 1, "--rounds", 2, "--engine", "openai")
    with FakeServer(varied) as server:
        invoke("run", first, *words, "--paths", 40, "--base-url", server.url)
        invoke("run", first, *words, "--paths", 60, "--base-url", server.url)
        invoke("run", first, more, *words, "--paths", 90, "--base-url", server.url)
    assert " 0 differ" in invoke("prove", tmp_path / "out", "--all").output


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("qa.parquet", "question", "Is this the question?"),
        ("qa.parquet", "seed_ids", ["s1", "s2"]),
        ("curated.parquet", "answer", "another answer"),
        ("curated.parquet", "path", ["topic 1"]),
        ("curated.parquet", "model", "a better model"),
        ("curated.parquet", "walk_id", 7),
    ],
)
def test_a_changed_value_is_found_though_all_checksums_fit(campaign, name, column, value):
    wanted = some_ids(campaign)[0]
    row = pq.read_table(campaign / name, columns=["id"]).column("id").to_pylist().index(wanted)
    forge(campaign, name, lambda table: with_text(table, row, column, value))
    output = invoke("prove", campaign, wanted, code=1).output
    assert f"differs in {name}: {column} is {json.dumps(value)}" in output


@pytest.mark.parametrize("column", ["question", "knowledge_points"])
def test_a_changed_seed_is_found(campaign, column):
    """Its text is in the prompt of its rows; its knowledge points decide the walks."""
    wanted = some_ids(campaign, 1)[0]
    used = pq.read_table(campaign / "qa.parquet").to_pylist()[100]["seed_ids"][0]
    with Workspace(campaign, create=False) as ws:
        from linksyn_gpu.pipeline import store

        table = store.read_taken(ws)
        row = table.column("id").to_pylist().index(used)
        value = {"question": "Another question?", "knowledge_points": ["topic 0", "topic 1"]}[column]
        changed = with_text(table, row, column, value).cast(table.schema)
        with ws.replacing("seeds.arrow") as part, pa.ipc.new_file(part, changed.schema) as file:
            file.write_table(changed)
        ws.manifest["stages"]["ingest"]["files"]["seeds.arrow"] = ws.path("seeds.arrow").stat().st_size
        ws._write_manifest()
    invoke("prove", campaign, wanted, code=1)


def test_a_changed_answer_in_the_journal_is_found(campaign):
    segment = next((campaign / "journal").glob("answers-*.jsonl"))
    content = segment.read_bytes()
    request = some_ids(campaign, 1)[0].partition("-")[0].encode()
    at = content.index(b"How does", content.index(request))
    segment.write_bytes(content[:at] + b"Why does" + content[at + 8 :])
    output = invoke("prove", campaign, *some_ids(campaign, 1), code=1).output
    assert "not in the journal" in output


@pytest.mark.parametrize("name", ["data", "text", "chat", "alpaca"])
def test_one_flipped_byte_of_a_published_file_is_found(campaign, tmp_path, name):
    folder = tmp_path / "d"
    invoke("export", campaign, "--to", folder)
    path = next((folder / name).glob("train-*.parquet"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    output = invoke("prove", campaign, some_ids(campaign, 1)[0], "--dataset", folder, code=1).output
    assert path.name in output


def test_an_unknown_id_is_refused(campaign):
    assert "no QA has the id nothing-0" in invoke("prove", campaign, "nothing-0", code=2).output


def test_a_seed_is_traced_to_exactly_the_rows_that_used_it(campaign):
    table = pq.read_table(campaign / "curated.parquet", columns=["id", "seed_ids"])
    expected = [row["id"] for row in table.to_pylist() if "s7" in row["seed_ids"]]
    assert expected
    lines = [line.split("\t") for line in invoke("trace", campaign, "--seed", "s7").output.splitlines() if "\t" in line]
    assert sorted(line[0] for line in lines if line[1] == "curated.parquet") == sorted(expected)
    assert {line[0] for line in lines} <= {*pq.read_table(campaign / "qa.parquet").column("id").to_pylist()}
    assert "no seed has the id" in invoke("trace", campaign, "--seed", "s9999", code=2).output
