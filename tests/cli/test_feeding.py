"""Walking and synthesis at the same time, limits on what is asked, and a full disk."""

import json
import resource
import signal
import subprocess
import sys
import threading
import time

import pyarrow.parquet as pq
import pytest

from linksyn_gpu.config import RunConfig, SynthesisConfig, WalkConfig
from linksyn_gpu.errors import EngineError
from linksyn_gpu.pipeline import stages as pipeline
from linksyn_gpu.pipeline.feed import Feed
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.progress import Progress
from linksyn_gpu.pipeline.stages.walk import CampaignPart
from tests.cli.test_server import SEEDS, invoke, journal_lines, reply
from tests.llm.fake_server import FakeServer, ok
from tests.requests import requests_of

FILES = (
    "paths.parquet",
    "plan.json",
    "requests/requests-00000.jsonl.zst",
    "tasks.parquet",
    "qa.jsonl",
    "qa.parquet",
    "dropped.parquet",
)
QUICK = ("--calibration-rounds", "2", "--concurrency", "4", "--engine", "openai", "--base-url")


def config(url, **synthesis):
    return RunConfig(
        paths=400,
        walk=WalkConfig(distinct=True, calibration_rounds=2, rounds=20),
        synthesis=SynthesisConfig(engine="openai", base_url=url, concurrency=4, **synthesis),
    )


def begin(folder, settings):
    ws = Workspace(folder)
    with ws:
        pipeline.ingest(ws, [SEEDS], settings)
        pipeline.build(ws, settings)
    return ws


def test_the_server_has_work_while_later_rounds_are_walked_and_the_files_stay_the_same(tmp_path):
    events = []
    with FakeServer(lambda body, n: {**reply(body, n), "latency": 0.005}) as server:
        settings = config(server.url)
        with begin(tmp_path / "both", settings) as ws:
            both = pipeline.walk_and_synthesize(
                ws, settings, progress=Progress(changed=lambda stage, task: events.append((task.what, task.done)))
            )
        with begin(tmp_path / "apart", settings) as ws:
            pipeline.walk(ws, settings)
            apart = pipeline.synthesize(ws, settings)
        first_answer = next(i for i, (what, done) in enumerate(events) if what == "answers" and done > 0)
        assert any(what == "paths walked" for what, _ in events[first_answer:]), "the walk ended before an answer"
    for name in FILES:
        one, other = tmp_path / "both" / name, tmp_path / "apart" / name
        if name.endswith(".parquet"):  # their row groups may differ
            assert pq.read_table(one).equals(pq.read_table(other)), name
        else:
            assert one.read_bytes() == other.read_bytes(), name
    assert 0.0 < both.pop("server")["busy_share"] <= 1.0
    del apart["server"]
    assert both == apart


def test_the_walk_is_kept_when_the_server_cannot_be_reached(tmp_path):
    invoke("run", SEEDS, "--out", tmp_path / "out", "--paths", "12", *QUICK, "http://127.0.0.1:9/v1", code=1)
    assert len(requests_of(tmp_path / "out")) > 5
    with FakeServer(reply) as server:
        result = invoke("run", SEEDS, "--out", tmp_path / "out", "--paths", "12", *QUICK, server.url)
    assert "server     had work" in result.stdout


def test_a_run_stops_at_the_limit_on_requests_and_a_higher_limit_continues_it(tmp_path):
    words = ("run", SEEDS, "--out", tmp_path / "out", "--paths", "24", *QUICK)
    with FakeServer(reply) as server:
        result = invoke(*words, server.url, "--max-requests", "5")
        assert "--max-requests" in result.stderr
        assert "requests have no answer yet" in result.stdout
        assert sum(server.asked.values()) == 5
        assert len((tmp_path / "out" / "qa.jsonl").read_text().splitlines()) > 0
        invoke(*words, server.url, "--max-requests", "5")
        assert sum(server.asked.values()) == 5
        result = invoke(*words, server.url, "--budget-tokens", "10000000")
    assert "no answer yet" not in result.stdout
    assert max(server.asked.values()) == 1


def test_tokens_are_estimated_before_the_run_and_recorded_after_it(tmp_path):
    with FakeServer(reply) as server:
        words = ("run", SEEDS, "--out", tmp_path / "out", "--paths", "24", *QUICK, server.url)
        result = invoke(*words, "--max-requests", "5")
    line = next(line for line in result.stdout.splitlines() if line.startswith("tokens"))
    assert "50 read" in line
    assert "estimated" in line
    assert "to write are pending" in result.stdout


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_loses_no_answer(tmp_path):
    """The journal cannot grow past a limit. With free space again, every request is answered once."""
    out = tmp_path / "out"

    def long(body, n):
        answer = json.loads(reply(body, n)["json"]["choices"][0]["message"]["content"])
        answer["qa"][0]["explanation"] = "because it is so. " * 3000
        return ok(json.dumps(answer))

    def limit_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))

    with FakeServer(long) as server:
        command = [sys.executable, "-m", "linksyn_gpu", "run", SEEDS, "--out", str(out), "--paths", "60", *QUICK]
        full = subprocess.run(
            [*command, server.url], capture_output=True, text=True, preexec_fn=limit_files, check=False
        )
        assert full.returncode in (1, 3), full.stderr
        assert "Free some disk space" in full.stderr
        before = [json.loads(line.split(" ", 1)[1])["id"] for line in journal_lines(out)]
        assert 5 < len(before) < 50
        subprocess.run([*command, server.url], capture_output=True, check=True)
    ids = [json.loads(line.split(" ", 1)[1])["id"] for line in journal_lines(out)]
    assert ids[: len(before)] == before
    assert len(ids) == len(set(ids)) == len(requests_of(out))
    assert len(server.bodies) <= len(ids) + 5, "more requests were repeated than were in flight"


def test_a_feed_gives_the_items_and_the_error_in_their_order():
    def produce(put):
        put(1)
        put(2)
        raise ValueError("third")

    with Feed(produce) as items:
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(ValueError, match="third"):
            next(items)
    with Feed(lambda put: [put(i) for i in range(5)]) as items:
        assert list(items) == [0, 1, 2, 3, 4]
        items.finish()


def many(put, made):
    for i in range(1000):
        made.append(i)
        put(i)


def test_a_feed_makes_a_bounded_number_of_items_ahead_and_stops_with_its_block():
    made = []
    with Feed(lambda put: many(put, made), size=2) as items:
        assert next(items) == 0
        time.sleep(0.1)
    assert len(made) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name == "linksyn-feed"]


def test_a_finished_feed_makes_all_items_that_nobody_takes_and_raises_its_error():
    made = []

    def produce(put):
        many(put, made)
        raise ValueError("after the last")

    with Feed(produce, size=2) as items:
        assert next(items) == 0
        with pytest.raises(ValueError, match="after the last"):
            items.finish()
    assert len(made) == 1000


def test_a_thread_that_takes_items_ends_when_the_block_of_the_feed_ends():
    taken = []

    def slow(put):
        put(1)
        time.sleep(0.5)
        put(2)

    with Feed(slow) as items:
        taker = threading.Thread(target=lambda: taken.extend(items))
        taker.start()
        time.sleep(0.1)
    taker.join(5)
    assert not taker.is_alive()
    assert taken in ([], [1])


def test_a_limit_on_requests_does_not_hide_a_server_that_fails(tmp_path):
    words = ("run", SEEDS, "--out", tmp_path / "out", "--paths", "24", *QUICK)
    with FakeServer(lambda body, n: {"status": 500, "json": {}}) as server:
        result = invoke(*words, server.url, "--max-requests", "5", code=3)
        assert "run the same command again" in result.stderr
        server.script = reply
        result = invoke(*words, server.url, "--max-requests", "5")
    assert "Stopped at the limit you set" in result.stderr


def test_a_run_whose_engine_failed_after_the_last_answer_is_finished_by_the_next_call(tmp_path, monkeypatch):
    """Every request is answered, but the journal could not be synced: the next call finishes the stage."""
    from linksyn_gpu.llm import dispatch

    def ask_then_fail(*args, made=dispatch.ask_all, **options):
        made(*args, **options)
        raise EngineError("the journal could not be synced")

    words = ("run", SEEDS, "--out", tmp_path / "out", "--paths", "12", *QUICK)
    with FakeServer(reply) as server:
        with monkeypatch.context() as patch:
            patch.setattr(dispatch, "ask_all", ask_then_fail)
            assert "could not be synced" in invoke(*words, server.url, code=3).stderr
        asked = sum(server.asked.values())
        invoke(*words, server.url)
        assert sum(server.asked.values()) == asked


def test_a_walk_that_fails_leaves_no_files_and_the_next_call_finds_the_answers(tmp_path, monkeypatch):
    def fail_later(self, made=CampaignPart.rounds):
        for number, table in enumerate(made(self)):
            if number == 10:
                raise MemoryError("no memory for a round")
            yield table

    with FakeServer(reply) as server:
        settings = config(server.url)
        with begin(tmp_path / "out", settings) as ws:
            with monkeypatch.context() as patch:
                patch.setattr(CampaignPart, "rounds", fail_later)
                with pytest.raises(MemoryError):
                    pipeline.walk_and_synthesize(ws, settings)
            assert not [name for name in FILES if ws.path(name).exists()]
            assert not list(ws.folder.rglob(".*.part"))
            assert server.asked
            counts = pipeline.walk_and_synthesize(ws, settings)
    assert counts["pending"] == 0
    assert server.asked.total() <= len(server.asked) + 4, "more was asked again than was in flight"


def test_an_interrupted_run_ends_soon_and_leaves_no_part_of_a_file(tmp_path):
    out = tmp_path / "out"
    flags = ("--out", str(out), "--paths", "20000", "--rounds", "50", *QUICK)
    with FakeServer(lambda body, n: {**reply(body, n), "latency": 0.05}) as server:
        command = [sys.executable, "-m", "linksyn_gpu", "run", SEEDS, *flags, server.url]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while server.asked.total() < 20:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) not in (0, -signal.SIGKILL)
    assert journal_lines(out)
    assert not [name for name in FILES if (out / name).exists()]
    assert not list(out.rglob(".*.part"))
