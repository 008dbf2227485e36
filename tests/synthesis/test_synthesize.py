"""The stage from bundles to kept QA: everything counted, in the order of the requests, through any engine."""

import contextlib
import json
import logging
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.errors import DataError
from linksyn_gpu.llm import Engine, batchfile
from linksyn_gpu.llm.client import Limits
from linksyn_gpu.llm.dispatch import ask_all
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.quality.checks import COMPARED, Checker
from linksyn_gpu.synthesis import prompts, requests, synthesize
from linksyn_gpu.synthesis.answers import validator
from linksyn_gpu.tables import Cell, RowWriter, qa_schema, seed_schema
from tests.llm.fake_server import FakeServer, completion, ok
from tests.requests import requests_of

NAMES = [f"kp {i}" for i in range(10)]
CELLS = (Cell("biology", 2, 1), Cell(None, None, 1))
PATHS = pa.schema(
    [
        ("walk_id", pa.int64()),
        ("cell", pa.int32()),
        ("nodes", pa.list_(pa.int32())),
        ("seeds", pa.list_(pa.int32())),
        ("drop_reason", pa.string()),
    ]
)


@pytest.fixture
def seeds():
    rows = [
        {
            "id": f"seed-{i}",
            "question": f"What is sample question number {i}?",
            "answer": str(i),
            "options": [],
            "disciplines": ["physics" if i % 2 else "biology"],
            "difficulty": i % 5 + 1,
            "knowledge_points": NAMES[i : i + 2],
            "language": "en",
        }
        for i in range(10)
    ]
    return pa.Table.from_pylist(rows, schema=seed_schema())


def path(i, reason=None):
    return {
        "walk_id": 100 + i,
        "cell": i % 2,
        "nodes": [i % 8, i % 8 + 1],
        "seeds": [i % 8, i % 8 + 1],
        "drop_reason": reason,
    }


class Run:
    """The stage over a folder."""

    def __init__(self, folder, seeds, **settings):
        self.folder = folder
        self.config = SynthesisConfig(
            **{"engine": "openai", "base_url": "http://x/v1", "question_types": ("open",), **settings}
        )
        self.sources = requests.Sources(NAMES, seeds, self.config)

    def write(self, rows, cells=CELLS):
        """Write the requests of some paths; returns them."""
        made = []
        files = self.open_requests, self.folder / "tasks.parquet"
        with requests.RequestsWriter(self.sources, cells, *files) as writer:
            made += writer.write(requests.path_batches(pa.Table.from_pylist(rows, schema=PATHS)))
        return made

    @contextlib.contextmanager
    def open_requests(self, number):
        path = self.folder / requests.requests_name(number, self.config.engine)
        path.parent.mkdir(exist_ok=True)
        yield path

    def requests(self):
        return requests_of(self.folder)

    def ask(self, script):
        with FakeServer(script) as server, Journal(self.folder / "journal") as journal:
            engine = Engine(server.url, "fake")
            limits = Limits.of(self.config, engine)
            validate = validator(self.config.field_limit, self.config.per_path)
            return ask_all(self.requests(), engine, journal, limits=limits, validate=validate)

    def assemble(self):
        rows = self.sources.seeds.select(COMPARED).to_pylist()
        checker = Checker(rows, prompts.instruction_text())
        with (
            Journal(self.folder / "journal", writable=False) as journal,
            RowWriter(qa_schema(), self.folder / "qa.parquet", self.folder / "qa.jsonl") as kept,
            RowWriter(synthesize.dropped_schema(), self.folder / "dropped.parquet") as dropped,
        ):
            assembly = synthesize.Assembly(self.sources, checker.rules, checker.admit)
            counts = synthesize.assemble(
                journal, journal.index(), self.folder / "tasks.parquet", assembly, kept, dropped
            )
        rows = [json.loads(line) for line in (self.folder / "qa.jsonl").read_text().splitlines()]
        assert pq.read_table(self.folder / "qa.parquet").to_pylist() == rows
        lost = pq.read_table(self.folder / "dropped.parquet").to_pylist()
        for found in (counts, *counts["cells"]):
            assert found["requests"] == found["answered"] + found["failed"] + found["pending"]
            assert found["written"] == found["kept"] + found["dropped"]
            assert found["answered"] * self.config.per_path == found["written"] + found["items_missing"]
        for name in ("requests", "failed", "paths_dropped", "written", "dropped", "items_missing"):
            assert counts[name] == sum(cell[name] for cell in counts["cells"])
        stages = Counter(row["stage"] for row in lost)
        assert (stages["qa"], stages["path"]) == (counts["dropped"], counts["paths_dropped"])
        assert stages["request"] + stages["answer"] == counts["failed"]
        assert counts["kept"] == len(rows)
        return counts, rows, lost


def qa(question, answer="because", **fields):
    return {
        "question": question,
        "answer": answer,
        "explanation": "",
        "knowledge_points": ["kp 1"],
        "discipline": "d",
        "difficulty": 4,
        **fields,
    }


def answer(*items):
    return ok(json.dumps({"qa": items}))


def number(body):
    """Which request this is, by the first knowledge point of its path."""
    return int(body["messages"][-1]["content"].split('"kp ')[1][0])


def test_a_kept_qa_names_everything_that_it_was_made_from(tmp_path, seeds):
    run = Run(tmp_path, seeds)
    assert len(run.write([path(1)])) == 1
    run.ask(lambda body, n: answer(qa("How do these two points go together?")))
    _, rows, _ = run.assemble()
    request = run.requests()[0]
    assert rows == [
        {
            "id": request["custom_id"] + "-0",
            "question": "How do these two points go together?",
            "options": [],
            "answer": "because",
            "explanation": "",
            "reasoning": "",
            "knowledge_points": ["kp 1"],
            "discipline": "physics",
            "difficulty": 4,
            "language": "en",
            "question_type": "open",
            "walk_id": 101,
            "path": ["kp 1", "kp 2"],
            "seed_ids": ["seed-1", "seed-2"],
            "seed_difficulties": [2, 3],
            "difficulty_asked": None,
            "cell": 1,
            "request_id": request["custom_id"],
            "prompt_digest": prompts.synthesis_digest(),
            "model": "fake",
            "temperature": 0.7,
            "top_p": 0.95,
            "seed": request["body"]["seed"],
            "max_tokens": request["body"]["max_tokens"],
            "left_out": [],
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "license_group": None,
        }
    ]


def test_requests_and_qa_are_counted_apart_each_with_every_reason(tmp_path, seeds):
    run = Run(tmp_path, seeds, max_attempts=1, per_path=3)
    written = run.write([path(0, "few_seeds"), *(path(i) for i in range(1, 8))])
    assert len(written) == 7
    replies = {
        1: answer(qa("What is a first new question?"), qa("What is sample question number 3?"), qa("", "x")),
        2: ok("no JSON at all"),
        3: ok('{"qa": [', finish="length"),
        4: {"status": 400, "json": {"error": {"message": "refused"}}},
        5: {"status": 500, "json": {"error": "boom"}},
        6: answer(qa("What is a first new question?")),
        7: ok('{"qa": []}'),
    }
    probe = ok("OK")  # a short request that shows that the server refuses only request 4
    stats = run.ask(lambda body, n: replies[number(body)] if "kp" in body["messages"][-1]["content"] else probe)
    assert (stats.completed, stats.failed) == (2, 5)
    counts, rows, dropped = run.assemble()
    assert (counts["requests"], counts["answered"], counts["failed"], counts["pending"]) == (7, 2, 4, 1)
    assert (counts["written"], counts["kept"], counts["dropped"], counts["items_missing"]) == (4, 1, 3, 2)
    assert counts["paths_dropped_by_reason"] == {"few_seeds": 1}
    assert counts["pending_reasons"] == {"server_error": 1}
    assert counts["failed_by_reason"] == {"bad_request": 1, "invalid_json": 1, "cut_off": 1, "no_items": 1}
    assert counts["dropped_by_reason"] == {"repeats_seed": 1, "empty_question": 1, "repeats_batch": 1}
    assert [(cell["cell"], cell["requests"], cell["kept"]) for cell in counts["cells"]] == [(0, 3, 0), (1, 4, 1)]
    by_reason = {row["reason"]: row for row in dropped}
    assert len(dropped) == 9
    assert by_reason["item_missing"]["detail"] == "1 of 3 items in the answer"
    assert by_reason["invalid_json"]["text"] == "no JSON at all"
    assert by_reason["bad_request"]["detail"] == "HTTP 400: refused"
    assert by_reason["few_seeds"]["request_id"] is None
    assert [row["id"][-2:] for row in rows] == ["-0"]


def test_output_is_in_the_order_of_the_requests_for_any_order_of_answers(tmp_path, seeds):
    run = Run(tmp_path, seeds)
    run.write([path(i) for i in range(8)])
    run.ask(
        lambda body, n: {**answer(qa(f"What is new question {number(body)}?")), "latency": 0.2 - 0.02 * number(body)}
    )
    _, rows, _ = run.assemble()
    with Journal(tmp_path / "journal", writable=False) as journal:
        arrived = [record["id"] for record in journal.read()]
    asked = [request["custom_id"] for request in run.requests()]
    assert arrived != asked
    assert [row["request_id"] for row in rows] == asked


def test_a_stopped_run_counts_pending_requests_and_then_continues(tmp_path, seeds):
    run = Run(tmp_path, seeds)
    run.write([path(i) for i in range(8)])
    script = lambda body, n: answer(qa(f"What is new question {number(body)}?"))  # noqa: E731
    with FakeServer(script) as server, Journal(tmp_path / "journal") as journal:
        ask_all(run.requests()[:3], Engine(server.url, "fake"), journal, limits=Limits(concurrency=2))
    counts, rows, dropped = run.assemble()
    assert (counts["written"], counts["pending"], len(rows), dropped) == (3, 5, 3, [])
    assert counts["pending_reasons"] == {"no_answer": 5}
    stats = run.ask(script)
    assert (stats.completed, stats.skipped) == (5, 3)
    assert run.assemble()[0]["pending"] == 0


def test_a_failure_that_passes_is_pending_until_an_answer_comes_and_never_dropped(tmp_path, seeds):
    run = Run(tmp_path, seeds, max_attempts=1)
    run.write([path(i) for i in range(4)])
    good = lambda body, n: answer(qa(f"What is new question {number(body)}?"))  # noqa: E731
    run.ask(lambda body, n: {"status": 500, "json": {"error": "boom"}} if number(body) % 2 else good(body, n))
    counts, rows, dropped = run.assemble()
    assert (counts["written"], counts["pending"], counts["answered"]) == (2, 2, 2)
    assert (counts["pending_reasons"], len(rows), dropped) == ({"server_error": 2}, 2, [])
    assert run.ask(good).completed == counts["pending"]
    counts, rows, _ = run.assemble()
    assert (counts["pending"], counts["pending_reasons"], len(rows)) == (0, {}, 4)


def test_batch_answers_give_the_same_rows_as_a_server(tmp_path, seeds):
    replies = {i: json.dumps({"qa": [qa(f"What is new question {i}?")]}) for i in range(8)}
    one = Run(tmp_path / "one", seeds)
    two = Run(tmp_path / "two", seeds)
    for run in (one, two):
        run.folder.mkdir()
        run.write([path(i) for i in range(8)])
    one.ask(lambda body, n: ok(replies[number(body)]))
    lines = [
        json.dumps(
            {
                "custom_id": r["custom_id"],
                "response": {"status_code": 200, "body": completion(replies[number(r["body"])])},
            }
        )
        for r in reversed(two.requests())
    ]
    (two.folder / "answers.jsonl").write_text("\n".join(lines))
    with Journal(two.folder / "journal") as journal:
        ids = (r["custom_id"] for r in two.requests())
        batchfile.collect([two.folder / "answers.jsonl"], journal, ids, validate=validator(None))
    rows = two.assemble()[1]
    assert rows == one.assemble()[1]
    # A batch's answer does not tell how it was sampled; its request does.
    assert [row["seed"] for row in rows] == [r["body"]["seed"] for r in two.requests()]


def test_the_same_inputs_give_the_same_files(tmp_path, seeds):
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run = Run(tmp_path / name, seeds)
        run.write([path(i) for i in range(5)])
        contents.append((run.folder / "requests/requests-00000.jsonl.zst").read_bytes())
    assert contents[0] == contents[1]


def test_the_requests_of_a_discipline_use_the_question_types_in_turn(tmp_path, seeds):
    run = Run(tmp_path, seeds, question_types=("open", "proof", "case"))
    run.write([path(0), path(1, "few_seeds"), path(2), path(3), path(4)])
    types = pq.read_table(tmp_path / "tasks.parquet")["question_type"].to_pylist()
    assert sorted(filter(None, types)) == ["case", "open", "open", "proof"]
    assert types[1] is None


def test_the_cells_discipline_and_level_are_asked_for(tmp_path, seeds):
    run = Run(tmp_path, seeds)
    run.write([path(0)])
    row = pq.read_table(tmp_path / "tasks.parquet").to_pylist()[0]
    assert (row["discipline"], row["difficulty"]) == ("biology", 2)


def test_a_prompt_that_is_too_long_is_dropped_and_never_cut(tmp_path, seeds):
    run = Run(tmp_path, seeds, max_prompt_chars=50)
    assert run.write([path(0)]) == []
    (tmp_path / "journal").mkdir()
    counts, _, dropped = run.assemble()
    assert (counts["requests"], counts["written"]) == (0, 0)
    assert dropped[0]["stage"] == "path"
    assert "at most 50" in dropped[0]["detail"]


def test_many_paths_make_as_many_requests_in_their_order(tmp_path, seeds):
    run = Run(tmp_path, seeds)
    made = run.write([path(i % 8) | {"walk_id": i} for i in range(2500)], cells=())
    ids = [request["custom_id"] for request in run.requests()]
    assert ids == [request["custom_id"] for request in made]
    assert len(set(ids)) == 2500
    assert pq.read_table(tmp_path / "tasks.parquet")["request_id"].to_pylist() == ids


def test_an_answer_with_a_lone_surrogate_does_not_stop_the_run(tmp_path, seeds):
    run = Run(tmp_path, seeds)
    run.write([path(1)])
    text = '{"qa": [{"question": "What is this sign \\ud800 good for?", "answer": "nothing"}]}'
    run.ask(lambda body, n: ok(text))
    assert run.assemble()[0]["failed_by_reason"] == {"invalid_json": 1}


def test_wrong_files_are_data_errors(tmp_path, seeds):
    run = Run(tmp_path, seeds)
    with pytest.raises(DataError, match="seed row 99"):
        run.write([{**path(0), "seeds": [0, 99]}])
    file = tmp_path / "requests.jsonl"
    file.write_text('{"custom_id": "a", "body": {}}\nnonsense\n')
    with pytest.raises(DataError, match=r"requests.jsonl:2"):
        list(requests.read_requests(file))


def test_a_refused_schema_still_gives_rows(tmp_path, seeds, caplog):
    def script(body, n):
        if "response_format" in body:
            return {"status": 400, "json": {"error": {"message": "response_format is not supported"}}}
        return ok("```json\n" + json.dumps({"qa": [qa(f"What is new question {number(body)}?")]}) + "\n```")

    run = Run(tmp_path, seeds)
    run.write([path(i) for i in range(5)])
    with caplog.at_level(logging.ERROR):
        run.ask(script)
    counts, rows, _ = run.assemble()
    assert counts["kept"] == 5
    assert all(row["left_out"] == ["response_format"] for row in rows)


def test_an_answer_that_cannot_be_used_is_asked_for_again():
    long = json.dumps({"qa": [qa("What is it? " * 30)]})
    assert validator(None)(long) is None
    assert validator(100)(long) == "cut_text"
    assert validator(None)("nothing") == "invalid_json"


@pytest.mark.parametrize("rows_per_chunk", [1, 3, 7])
def test_seeds_in_several_chunks_give_the_same_files(tmp_path, seeds, rows_per_chunk):
    contents = []
    apart = pa.concat_tables([seeds.slice(i, rows_per_chunk) for i in range(0, 10, rows_per_chunk)])
    assert apart.column("id").num_chunks > 1
    for name, table in (("whole", seeds), ("apart", apart)):
        (tmp_path / name).mkdir()
        run = Run(tmp_path / name, table)
        run.write([path(i) for i in range(8)])
        run.ask(lambda body, n: answer(qa(f"What is new question {number(body)}?")))
        contents.append(((run.folder / "requests/requests-00000.jsonl.zst").read_bytes(), run.assemble()[1]))
    assert contents[0] == contents[1]
    assert len(contents[0][1]) == 8


def test_every_item_that_was_asked_for_is_kept_or_dropped_with_a_reason(tmp_path, seeds):
    """Two items each: one is missing in all attempts, one comes at the second attempt, one answer has too many."""
    run = Run(tmp_path, seeds, per_path=2, max_attempts=3)
    run.write([path(i) for i in range(1, 5)])
    asked = Counter()

    def script(body, n):
        which = number(body)
        asked[which] += 1
        whole = [qa(f"What is new question {which} of {kind}?") for kind in ("force", "energy", "power")]
        if which == 1 or (which == 2 and asked[which] == 1):
            return answer(whole[0], {"answer": "the question is missing"})
        return answer(*whole) if which == 3 else answer(*whole[:2])

    stats = run.ask(script)
    assert (stats.completed, stats.failed) == (4, 0)
    assert asked == {1: 3, 2: 2, 3: 1, 4: 1}
    counts, rows, dropped = run.assemble()
    assert Counter(row["question"].split()[4] for row in rows) == {"1": 1, "2": 2, "3": 2, "4": 2}
    assert (counts["dropped"], counts["items_missing"], counts["answers_with_surplus"]) == (0, 1, 1)
    details = {row["reason"]: row["detail"] for row in dropped}
    assert details == {"item_missing": "1 of 2 items in the answer", "item_surplus": "1 more than the 2 asked for"}


def test_a_part_of_an_answer_is_kept_when_later_attempts_are_worse(tmp_path, seeds):
    run = Run(tmp_path, seeds, per_path=2, max_attempts=2)
    run.write([path(1)])
    replies = iter([answer(qa("How do these two points go together?")), ok("no JSON")])
    run.ask(lambda body, n: next(replies))
    counts, rows, _ = run.assemble()
    assert (len(rows), counts["dropped"], counts["items_missing"]) == (1, 0, 1)


def test_a_part_of_an_answer_waits_when_the_server_fails_afterwards(tmp_path, seeds):
    run = Run(tmp_path, seeds, per_path=2, max_attempts=2)
    run.write([path(1)])
    replies = iter([answer(qa("How do these two points go together?")), {"status": 500, "json": {"error": "boom"}}])
    run.ask(lambda body, n: next(replies))
    counts, rows, _ = run.assemble()
    assert (len(rows), counts["pending_reasons"]) == (0, {"server_error": 1})


def test_absurd_token_counts_of_a_server_do_not_block_the_data_set(tmp_path, seeds):
    run = Run(tmp_path, seeds)
    run.write([path(1)])
    reply = answer(qa("How do these two points go together?"))
    reply["json"]["usage"] = {"prompt_tokens": 2**40, "completion_tokens": 2**31}
    run.ask(lambda body, n: reply)
    row = run.assemble()[1][0]
    assert max(row["prompt_tokens"], row["completion_tokens"]) <= 2**31 - 1


def test_rows_have_no_control_characters_in_either_file(tmp_path, seeds):
    run = Run(tmp_path, seeds)
    run.write([path(1)])
    reply = answer(qa("How do \x00these two\x1b points go together?"))
    reply["json"]["choices"][0]["message"]["reasoning_content"] = "thought\x00s"
    run.ask(lambda body, n: reply)
    row = run.assemble()[1][0]  # both files are compared there
    assert (row["question"], row["reasoning"]) == ("How do these two points go together?", "thoughts")
