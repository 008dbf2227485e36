"""The command line over a run folder, with engine 'batch', which needs no language model."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from linksyn_gpu.cli import COMMANDS, main
from linksyn_gpu.cli.options import DISPLAY, FORECAST, GROUPS, PRICES, RUN_FOLDER
from tests.conftest import QUICK, SEEDS
from tests.requests import requests_of


def invoke(*words, code=0):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    assert code == 0 or isinstance(result.exception, SystemExit), "a user's mistake must not show a traceback"
    return result


def run(out, *flags, code=0):
    return invoke("run", SEEDS, "--out", out, *QUICK, *flags, code=code)


def answer(request, **fields):
    """A batch API's line for a request, with one plain new question."""
    item = {
        "question": f"Why does case {request['custom_id']} differ from the one before it?",
        "options": [],
        "answer": "Because its premises are different.",
        "explanation": "",
        "knowledge_points": [],
        "discipline": "law",
        "difficulty": 3,
        **fields,
    }
    message = {"role": "assistant", "content": json.dumps({"qa": [item]})}
    body = {
        "model": "writer",
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    }
    return {"custom_id": request["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}


def test_every_command_has_help():
    for name in COMMANDS:
        assert "usage:" in invoke(name, "--help").stdout.lower()


def test_help_lists_the_flags_of_run_by_group():
    lines = invoke("run", "--help").stdout.splitlines()
    titles = [line[:-1] for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == [RUN_FOLDER, *GROUPS, FORECAST, DISPLAY, "Help"]
    flags = [line.split()[0].rstrip(",") for line in lines if line.startswith("  -")]
    assert flags == [
        *("--out", "--config", "--force"),
        *(flag.flag.split("/")[0] for group in GROUPS.values() for flag in group),
        *PRICES,
        *("--plain", "--metrics-port", "--metrics-host"),
        "-h",
    ]


def test_help_shows_the_default_of_a_setting():
    text = " ".join(invoke("walk", "--help").stdout.split())
    assert "Steps of a path. [4]" in text
    assert "to the bit. [0]" in text


def test_every_stage_command_takes_the_run_folder_in_the_same_place():
    for name in set(COMMANDS) - {"run", "plan", "ingest", "bench"}:
        command = main.get_command(None, name)
        folder = next(param for param in command.params if isinstance(param, click.Argument))
        assert (folder.name, folder.make_metavar(click.Context(command)).strip("[]")) == ("folder", "DIR")


def test_control_characters_of_a_seed_do_not_reach_the_terminal(tmp_path):
    seeds = tmp_path / "seeds.jsonl"
    kps = ["a", "b", "c", "d"]
    rows = [{"id": i, "question": f"q{i}", "answer": "a", "kps": kps, "discipline": "\x1b[2Jlaw"} for i in range(4)]
    seeds.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tmp_path / "run.toml"
    config.write_text("[quota.discipline]\nnosuch = 1\n")
    refused = invoke("run", seeds, "--out", tmp_path / "out", *QUICK, "--config", config, code=2)
    assert "\N{REPLACEMENT CHARACTER}[2Jlaw" in refused.stderr
    config.write_text('[quota.discipline]\n"\\u001b[2Jlaw" = 1\n')
    done = invoke("run", seeds, "--out", tmp_path / "out", *QUICK, "--config", config)
    assert "\x1b" not in done.output + refused.output


def test_run_writes_requests_in_the_openai_batch_format_and_names_the_next_step(tmp_path):
    result = run(tmp_path / "out")
    assert "180 records = 180 seeds + 0 rejected" in result.stdout
    assert "--collect ANSWERS.jsonl" in result.stdout
    requests = requests_of(tmp_path / "out")
    assert len({request["custom_id"] for request in requests}) == 12
    for request in requests:
        assert (request["method"], request["url"]) == ("POST", "/v1/chat/completions")
        assert request["body"]["messages"][-1]["role"] == "user"


def test_collected_answers_become_qa_with_path_kps_and_seeds(out, tmp_path):
    requests = requests_of(out)
    half = len(requests) // 2
    answers = tmp_path / "answers.jsonl"
    lines = [answer(request) for request in reversed(requests[:half])]  # any order
    answers.write_text("".join(json.dumps(line) + "\n" for line in [*lines, lines[0]]) + "not json\n")
    result = invoke("synthesize", out, "--collect", answers)
    assert f"{len(requests) - half} requests have no answer yet" in result.stdout
    assert "duplicates 1" in result.stdout
    assert "unreadable 1" in result.stdout

    answers.write_text("".join(json.dumps(answer(request)) + "\n" for request in requests[half:]))
    result = invoke("synthesize", out, "--collect", answers)
    assert "no answer yet" not in result.stdout
    kept = [json.loads(line) for line in (out / "qa.jsonl").read_text(encoding="utf-8").splitlines()]
    dropped = pq.read_table(out / "dropped.parquet").to_pylist()
    assert f"{len(requests)} written = {len(kept)} kept + {len(dropped)}" in result.stdout
    assert kept
    seeds = {json.loads(line)["id"]: json.loads(line) for line in Path(SEEDS).read_text(encoding="utf-8").splitlines()}
    for qa in kept:
        assert len(qa["path"]) >= 2
        assert len(qa["seed_ids"]) >= 2
        held = {kp for seed in qa["seed_ids"] for kp in seeds[seed]["knowledge_points"]}
        assert len(held & set(qa["path"])) >= 2
    report = invoke("report", out).stdout
    assert f"= {len(kept)} kept" in report
    page = (out / "report.html").read_text(encoding="utf-8")
    assert {"Coverage by the first paths", "Visits against their target"} <= set(re.findall("<h3>(.*?)</h3>", page))


def test_other_thresholds_of_the_checks_read_the_recorded_answers_again(out, tmp_path):
    answers, checks = tmp_path / "answers.jsonl", tmp_path / "checks.toml"
    lines = [answer(request, answer="TODO") for request in requests_of(out)]
    answers.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert f"(placeholder {len(lines)}" in invoke("synthesize", out, "--collect", answers).stdout
    checks.write_text('[checks]\noff = ["placeholder"]\n', encoding="utf-8")
    for flags in (("--config", checks), ()):  # the settings of the last call are the defaults of the next one
        assert "placeholder" not in invoke("synthesize", out, *flags).stdout
        assert (out / "qa.jsonl").read_text(encoding="utf-8").count("TODO") > 0
    checks.write_text('[checks]\noff = ["place_holder"]\n', encoding="utf-8")
    assert "placeholder" in invoke("synthesize", out, "--config", checks, code=2).stderr


def test_the_stages_one_by_one_give_the_same_paths_as_run(finished_run, tmp_path):
    parts = tmp_path / "parts"
    invoke("ingest", SEEDS, "--out", parts)
    invoke("build", parts)
    invoke("walk", parts, "--paths", 12, "--calibration-rounds", 2)
    invoke("synthesize", parts, "--engine", "batch", "--model", "m")
    for name in ("paths.parquet", "requests/requests-00000.jsonl", "kps.parquet"):
        assert (parts / name).read_bytes() == (finished_run / name).read_bytes()


def test_the_same_seed_gives_the_same_files_and_another_does_not(tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        run(tmp_path / name, "--seed", seed)
    a, b, c = ((tmp_path / name / "paths.parquet").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_running_again_writes_nothing(out):
    made = [out / name for name in ("seeds.arrow", "kps.parquet", "paths.parquet", "requests/requests-00000.jsonl")]
    before = [path.stat().st_mtime_ns for path in made]
    run(out)
    assert [path.stat().st_mtime_ns for path in made] == before


def test_other_settings_are_refused_by_name_and_force_starts_over(out):
    refused = run(out, "--length", 3, code=2)
    assert "walk.length was 4, is 3" in refused.stderr
    assert "--force" in refused.stderr
    run(out, "--length", 3, "--force")
    assert max(len(nodes) for nodes in pq.read_table(out / "paths.parquet")["nodes"].to_pylist()) == 4


def test_a_changed_input_file_is_noticed(tmp_path):
    seeds = tmp_path / "seeds.jsonl"
    lines = Path(SEEDS).read_text(encoding="utf-8").splitlines(keepends=True)
    seeds.write_text("".join(lines), encoding="utf-8")
    invoke("run", seeds, "--out", tmp_path / "out", *QUICK)
    seeds.write_text("".join(lines[:-1]), encoding="utf-8")
    assert (
        "the content of 'seeds.jsonl' changed" in invoke("run", seeds, "--out", tmp_path / "out", *QUICK, code=2).stderr
    )


def test_quotas_print_asked_and_delivered_for_each_cell(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text('[quota.discipline]\nlaw = 1\nphysics = 2\n[quota.difficulty]\n"2" = 1\n"4" = 1\n')
    result = run(tmp_path / "out", "--config", config, "--paths", 60)
    assert "law, level 2" in result.stdout
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())["cells"]
    assert [cell["asked"] for cell in plan] == [10, 10, 20, 20]
    kept = pq.read_table(tmp_path / "out" / "paths.parquet").to_pylist()
    for number, cell in enumerate(plan):
        assert cell["delivered"] == sum(row["cell"] == number and row["drop_reason"] is None for row in kept)


def test_dropped_paths_are_counted_with_their_reasons(tmp_path):
    seeds = tmp_path / "seeds.jsonl"
    rows = [{"question": f"q{i}", "answer": "a", "knowledge_points": kps} for i, kps in enumerate(["ab", "bc", "cd"])]
    seeds.write_text("".join(json.dumps({**r, "knowledge_points": list(r["knowledge_points"])}) + "\n" for r in rows))
    result = invoke("run", seeds, "--out", tmp_path / "out", *QUICK)
    table = pq.read_table(tmp_path / "out" / "paths.parquet").to_pylist()
    kept = [row for row in table if row["drop_reason"] is None]
    assert len(table) == 12
    assert {row["drop_reason"] for row in table} <= {None, "repeated", "few_seeds"}
    assert f"12 requested = {len(kept)} kept + {12 - len(kept)} (" in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["run", "nowhere.jsonl", "--out", "o"], 1, "nowhere.jsonl"),
        (["build", "nowhere"], 2, "holds no run"),
        (["run", SEEDS, "--out", "o", "--config", "none.toml"], 2, "none.toml"),
        (["run", SEEDS, "--out", "o", "--engine", "openai"], 2, "needs base_url"),
        (["run", SEEDS, "--out", "o", "--map", "question"], 2, "FIELD=COLUMN"),
        (["run", SEEDS, "--out", "o", "--map", "kps=concepts"], 2, "is not a field of a seed; allowed: id, question"),
        (["run", SEEDS, "--out", "o", "--beta", "3"], 2, "beta = 3.0 is not one of"),
        (["run", SEEDS, "--out", "o", "--backend", "gpu"], 1, "--backend cpu"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_a_users_mistake_gives_one_line_and_an_exit_code(tmp_path, monkeypatch, words, code, message):
    monkeypatch.chdir(tmp_path)
    assert message in invoke(*words, code=code).stderr


def test_rejected_records_are_listed_and_all_rejected_is_an_error(tmp_path):
    seeds = tmp_path / "seeds.jsonl"
    good = Path(SEEDS).read_text(encoding="utf-8")
    seeds.write_text(good + "{broken\n" + '{"answer": "no question"}\n', encoding="utf-8")
    result = invoke("ingest", seeds, "--out", tmp_path / "out")
    assert "182 records = 180 seeds + 2 (" in result.stdout
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert [(r["line"], r["reason"]) for r in rejects] == [(181, "invalid_json"), (182, "no_question")]
    seeds.write_text("{broken\n")
    invoke("ingest", seeds, "--out", tmp_path / "other", code=1)


def test_a_graph_without_edges_is_an_error_that_says_why(tmp_path):
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text('{"question": "q", "answer": "a", "knowledge_points": ["alone"]}\n')
    assert "no edge" in invoke("run", seeds, "--out", tmp_path / "out", *QUICK, code=1).stderr


def test_doctor_says_which_backend_and_why():
    result = invoke("doctor")
    assert "backend: " in result.stdout
    assert "numba " in result.stdout


@pytest.mark.slow
def test_a_run_killed_in_every_stage_ends_with_the_files_of_an_undisturbed_run(tmp_path):
    """SIGKILL as soon as a file of the next stage appears; then the same command is run again."""
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "killed"
    flags = ["--engine", "batch", "--model", "m", "--paths", "4000", "--calibration-rounds", "20"]
    command = [sys.executable, "-m", "linksyn_gpu", "run", SEEDS, *flags, "--out"]
    subprocess.run([*command, undisturbed], check=True, capture_output=True)
    killed_at = []
    for mark in ("manifest.json", "seeds.arrow", "graph", ".paths.parquet.*.part", "plan.json",
                 ".tasks.parquet.*.part", "requests/requests-00000.jsonl"):  # fmt: skip
        if any(out.glob(mark)):
            continue
        process = subprocess.Popen([*command, out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not any(out.glob(mark)):
            assert process.poll() is None, f"the run ended before {mark} was there"
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -signal.SIGKILL, f"the run ended before the kill at {mark}"
        killed_at.append(mark)
    assert len(killed_at) >= 5, killed_at
    subprocess.run([*command, out], check=True, capture_output=True)
    for name in (
        "seeds.arrow",
        "kps.parquet",
        "paths.parquet",
        "requests/requests-00000.jsonl",
        "graph/evidence.npy",
    ):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()
    assert not list(out.rglob(".*.part"))


def test_sizes_are_read_with_their_units(tmp_path):
    run(tmp_path / "out", "--gpu-memory", "1.5GiB")
    plan = invoke("doctor", tmp_path / "out", "--gpu-memory", "2GiB").stdout
    assert "free on the device" in plan
    assert "2.0 GiB" in plan
    assert "write bytes" in run(tmp_path / "other", "--gpu-memory", "many", code=2).stderr


def test_a_walker_that_cannot_follow_the_settings_is_refused_with_the_reason(tmp_path):
    assert "pass --revisit" in run(tmp_path / "a", "--walker", "cugraph", code=2).stderr
    refused = run(tmp_path / "b", "--walker", "cugraph", "--revisit", "--backend", "cpu", code=1)
    assert "needs the GPU backend" in refused.stderr


def test_analyze_writes_a_row_for_each_kp(out):
    pytest.importorskip("igraph", reason="extra 'analytics' is not installed")
    assert "1 components" in invoke("analyze", out).stdout
    table = pq.read_table(out / "analytics.parquet")
    assert table.num_rows == 240
    assert sum(table["pagerank"].to_pylist()) == pytest.approx(1.0)


def test_a_wrong_setting_can_be_corrected_without_force(tmp_path):
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text(Path(SEEDS).read_text(encoding="utf-8").replace('"question"', '"stem"'), encoding="utf-8")
    out = tmp_path / "out"
    invoke("run", seeds, "--out", out, *QUICK, "--map", "question=stam", code=1)
    config = tmp_path / "run.toml"
    config.write_text("[quota.discipline]\nnosuch = 1\n")
    mapped = ("run", seeds, "--out", out, *QUICK, "--map", "question=stem", "--config", config)
    assert "which no seed has" in invoke(*mapped, code=2).stderr
    config.write_text("[quota.discipline]\nphysics = 1\n")
    invoke(*mapped)


def test_force_sets_answers_aside(out, tmp_path):
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps(answer(request)) + "\n" for request in requests_of(out)))
    invoke("synthesize", out, "--collect", answers)
    run(out, "--length", 3, "--force")
    assert (out / "journal.1").is_dir()
    assert "0 written" in invoke("report", out).stdout


def test_answers_that_arrive_after_the_end_are_still_collected(out, tmp_path):
    """All answers of the first file are unusable and the stage is done; a second file replaces them."""
    answers = tmp_path / "answers.jsonl"
    lines = [answer(request) for request in requests_of(out)]
    for line in lines:
        line["response"]["body"]["choices"][0]["finish_reason"] = "length"
    answers.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert f"cut_off {len(lines)}" in invoke("synthesize", out, "--collect", answers, code=3).stdout
    answers.write_text("".join(json.dumps(answer(request)) + "\n" for request in requests_of(out)))
    invoke("synthesize", out, "--collect", answers)
    assert (out / "qa.jsonl").read_text(encoding="utf-8").count("\n") > 0


def test_requests_without_an_answer_are_written_to_a_file_that_can_be_sent_again(out, tmp_path):
    requests = requests_of(out)
    answers = tmp_path / "answers.jsonl"
    expired = {"custom_id": requests[1]["custom_id"], "response": None, "error": {"code": "batch_expired"}}
    answers.write_text(json.dumps(answer(requests[0])) + "\n" + json.dumps(expired) + "\n")
    result = invoke("synthesize", out, "--collect", answers)
    assert f"{len(requests) - 1} requests have no answer yet" in result.stdout
    assert "requests-pending/*.jsonl" in result.stdout
    (file,) = (out / "requests-pending").iterdir()
    pending = [json.loads(line)["custom_id"] for line in file.read_text().splitlines()]
    assert pending == [request["custom_id"] for request in requests[1:]]
    assert "no answer yet" in invoke("report", out).stdout


def test_paths_too_long_for_a_prompt_are_counted(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text("[synthesis]\nmax_prompt_chars = 2000\n")
    result = run(tmp_path / "out", "--config", config)
    kept = len(requests_of(tmp_path / "out"))
    assert f"= {kept} requests + " in result.stdout
    assert "prompt_too_long" in result.stdout


def test_stages_out_of_order_say_which_comes_first(tmp_path):
    invoke("ingest", SEEDS, "--out", tmp_path / "out")
    for words in (["walk"], ["analyze"], ["synthesize", "--engine", "batch", "--model", "m"]):
        refused = invoke(words[0], tmp_path / "out", *words[1:], code=2)
        assert "is not finished; run 'linksyn-gpu " in refused.stderr


def test_extract_runs_between_ingest_and_build_and_prints_what_it_merged(tmp_path):
    seeds = tmp_path / "seeds.jsonl"
    rows = [{"id": i, "question": f"Q{i}?", "answer": "a", "kps": ["isotopes", "mass"]} for i in range(2)]
    rows.append({"id": 9, "question": "Q9?", "answer": "a", "kps": ["Isotope", "mass"]})
    seeds.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    runner, run = CliRunner(), str(tmp_path / "run")
    assert runner.invoke(main, ["ingest", str(seeds), "--out", run]).exit_code == 0
    done = runner.invoke(main, ["extract", run, "--merge", "forms"])
    assert done.exit_code == 0
    assert "3 names = 2 knowledge points" in done.output
    assert "2 KPs, 1 edges" in runner.invoke(main, ["build", run]).output
    wrong = runner.invoke(main, ["extract", run, "--extractor", "terms"])
    assert wrong.exit_code == 2
    assert "--glossary" in wrong.output
