"""`--against`: seeds with benchmark items never enter a bundle, in new campaigns and in those that grow."""

import json
from pathlib import Path

import pyarrow as pa
from click.testing import CliRunner

from linksyn_gpu import Seeds
from linksyn_gpu.cli import main
from linksyn_gpu.pipeline.api import run
from tests.conftest import QUICK, SEEDS

LINES = Path(SEEDS).read_text(encoding="utf-8").splitlines()


def invoke(*words, code=0):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def bank(tmp_path, name, lines):
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def benchmark(tmp_path, *rows):
    """The questions of some seeds, in the layout of another data set, in capitals."""
    records = []
    for row in rows:
        seed = json.loads(LINES[row])
        records.append(json.dumps({"query": seed["question"].upper(), "response": seed["answer"]}))
    return bank(tmp_path, f"bench-{'-'.join(map(str, rows))}.jsonl", records)


def seed_ids(out):
    with pa.memory_map(str(out / "seeds.arrow")) as file:
        return pa.ipc.open_file(file).read_all().column("id").to_pylist()


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def id_of(row):
    return json.loads(LINES[row])["id"]


def ingest_facts(out):
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))["stages"]["ingest"]


def test_a_leaked_seed_is_rejected_counted_and_listed_with_its_hit(tmp_path):
    out, against = tmp_path / "out", benchmark(tmp_path, 3, 50)
    text = invoke("run", SEEDS, "--out", out, *QUICK, "--against", against).stdout
    assert "2 contaminated seeds rejected" in text
    assert {id_of(3), id_of(50)}.isdisjoint(seed_ids(out))
    assert len(seed_ids(out)) == len(LINES) - 2
    rejects = lines_of(out / "rejects.jsonl")
    assert [(row["line"], row["reason"]) for row in rejects] == [(4, "contaminated"), (51, "contaminated")]
    listed = lines_of(out / "contaminated.jsonl")
    assert [row["id"] for row in listed] == [id_of(3), id_of(50)]
    assert all(row["file"] == against.name and row["share"] > 0.9 and row["matched"] for row in listed)
    facts = ingest_facts(out)
    assert facts["settings"]["decontamination"]["benchmarks"][against.name].startswith("sha256 ")
    counts = facts["counts"]
    assert counts["records"] == counts["seeds"] + counts["rejected"]
    assert counts["benchmarks"]["items"] == 2
    assert json.loads((out / "certificate.json").read_text(encoding="utf-8"))["forms"]["verbatim"]["recall"] == 1.0


def test_seeds_in_memory_are_decontaminated_too(tmp_path):
    records = [json.loads(line) for line in LINES]
    settings = {"paths": 4, "synthesis": {"engine": "batch", "model": "m"}, "walk": {"calibration_rounds": 1}}
    against = {"against": [str(benchmark(tmp_path, 3))]}
    made = run(Seeds.from_records(records), tmp_path / "out", decontaminate=against, **settings)
    assert made.counts["ingest"]["rejected_by_reason"] == {"contaminated": 1}
    assert id_of(3) not in made.seeds.table.column("id").to_pylist()


def test_the_same_command_again_does_nothing_and_a_folder_knows_its_benchmarks(tmp_path):
    out, against = tmp_path / "out", benchmark(tmp_path, 3)
    invoke("ingest", SEEDS, "--out", out, "--against", against)
    finished = ingest_facts(out)["finished"]
    before = (out / "seeds.arrow").stat().st_mtime_ns
    invoke("ingest", SEEDS, "--out", out)  # the files that the folder recorded
    assert (out / "seeds.arrow").stat().st_mtime_ns == before
    assert ingest_facts(out)["finished"] == finished


def test_seeds_that_join_a_campaign_are_screened_and_earlier_rows_stay(tmp_path):
    out, against = tmp_path / "out", benchmark(tmp_path, 3, 130)
    first, second = bank(tmp_path, "first.jsonl", LINES[:120]), bank(tmp_path, "second.jsonl", LINES[120:])
    invoke("run", first, "--out", out, *QUICK, "--against", against)
    earlier = seed_ids(out)
    invoke("run", first, second, "--out", out, *QUICK, "--against", against)
    assert seed_ids(out)[: len(earlier)] == earlier
    assert {id_of(3), id_of(130)}.isdisjoint(seed_ids(out))


def test_a_benchmark_file_may_join_later_if_no_seed_in_use_holds_its_items(tmp_path):
    out = tmp_path / "out"
    clean = bank(
        tmp_path, "clean.jsonl", [json.dumps({"question": "Why did the heron stand so still?", "answer": "no"})]
    )
    invoke("run", SEEDS, "--out", out, *QUICK)
    before = (out / "paths.parquet").read_bytes()
    invoke("run", SEEDS, "--out", out, *QUICK, "--against", clean)
    assert (out / "paths.parquet").read_bytes() == before
    leaked = invoke("run", SEEDS, "--out", out, *QUICK, "--against", benchmark(tmp_path, 3), code=2).stderr
    assert "paths refer to" in leaked
    assert "--force" in leaked
    assert "1 seeds hold items of --against" in leaked
    assert len(seed_ids(out)) == len(LINES)


def test_a_missing_benchmark_file_stops_the_command(tmp_path):
    text = invoke("ingest", SEEDS, "--out", tmp_path / "out", "--against", tmp_path / "none.jsonl", code=1).stderr
    assert "none.jsonl: no such file" in text


def test_a_benchmark_item_that_cannot_be_read_is_reported(tmp_path):
    against = bank(tmp_path, "bench.jsonl", [LINES[3], "{not json"])
    text = invoke("ingest", SEEDS, "--out", tmp_path / "out", "--against", against).stdout
    assert "1 benchmark items cannot be read and are not searched for; first line 2: invalid_json" in text


def test_clean_text_is_counted_in_the_certificate(tmp_path):
    out, clean = tmp_path / "out", bank(tmp_path, "clean.jsonl", LINES[60:90])
    invoke("ingest", SEEDS, "--out", out, "--against", benchmark(tmp_path, 3), "--clean", clean)
    certificate = json.loads((out / "certificate.json").read_text(encoding="utf-8"))
    assert certificate["clean"]["texts"] == 30
    assert certificate["clean"]["hits"] == 0
