"""The embeddings client against every fault that a server has, and its journal: a text is paid for once."""

import base64
import json

import numpy as np
import pytest

from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm import Engine
from linksyn_gpu.llm import embeddings as client
from linksyn_gpu.llm.journal import Journal
from tests.llm.fake_server import FakeServer, embeddings, vector_of

TEXTS = [f"name {i}" for i in range(10)]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(client, "BACKOFF", 0.01)
    monkeypatch.setattr(client, "BATCH", 3)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "embed-journal"


def embed(folder, server, texts=TEXTS, *, model="fake", key=None, timeout=10.0, **more):
    url = server if isinstance(server, str) else server.url
    with Journal(folder) as journal:
        found = client.embed(texts, Engine(url, model, key), journal, timeout=timeout, **more)
    assert found.rows.tolist() == list(range(len(texts)))
    return found.vectors


def wanted(texts):
    return np.array([vector_of(text) for text in texts], np.float32)


def test_vectors_have_the_order_of_the_texts_for_any_batches_and_any_order_of_the_server(folder):
    texts = [*TEXTS, "Straße", "光合作用", TEXTS[3]]
    seen = []
    with FakeServer() as server:
        found = embed(folder, server, texts, on_progress=seen.append)
    assert found.dtype == np.float32
    assert np.array_equal(found, wanted(texts))
    assert max(map(len, (body["input"] for body in server.bodies))) == 3
    assert set(server.embedded.values()) == {1}, "a text that stands twice is asked for once"
    assert seen == sorted(seen)
    assert seen[-1] == 12


def test_nothing_is_asked_for_nothing(folder):
    assert embed(folder, "http://127.0.0.1:9/v1", []).shape == (0, 0)


def test_a_second_run_pays_only_for_new_texts_and_another_model_for_all(folder):
    with FakeServer() as server:
        embed(folder, server)
        again = embed(folder, server, [*TEXTS, "new"])
        assert np.array_equal(again, wanted([*TEXTS, "new"]))
        assert (server.embedded["name 0"], server.embedded["new"], server.embedded.total()) == (1, 1, 11)
        embed(folder, server, model="other")
        assert server.embedded["name 0"] == 2
    assert np.array_equal(embed(folder, "http://127.0.0.1:9/v1"), wanted(TEXTS)), "the server is not needed any more"


def test_what_came_before_a_failure_is_kept(folder):
    def fail_late(body, n):
        return {"status": 402, "json": {"error": {"message": "no"}}} if "name 9" in body["input"] else {
            "json": embeddings(body)
        }  # fmt: skip

    with FakeServer(embed=fail_late) as server, pytest.raises(EngineError):
        embed(folder, server)
    with Journal(folder) as journal:
        kept = len(journal.index())
    with FakeServer() as server:
        assert np.array_equal(embed(folder, server), wanted(TEXTS))
        assert server.embedded.total() == 10 - kept


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 503},
        {"status": 429, "headers": {"Retry-After": "0"}},
        {"drop": True},
        {"half": True},
    ],
    ids=str,
)
def test_transient_faults_are_retried(folder, fault):
    def script(body, n):
        first = body["input"][0] not in known
        known.add(body["input"][0])
        return {"json": embeddings(body), **(fault if first else {})}

    known = set()
    with FakeServer(embed=script) as server:
        assert np.array_equal(embed(folder, server), wanted(TEXTS))
        assert set(server.embedded.values()) == {2}


def test_a_pause_that_the_server_asks_for_is_made(folder, monkeypatch):
    waited = []
    sleep = client.asyncio.sleep

    async def remember(seconds):
        waited.append(seconds)
        await sleep(0)

    monkeypatch.setattr(client.asyncio, "sleep", remember)
    answers = iter([{"status": 429, "headers": {"Retry-After": "7"}}, {"status": 429, "headers": {"Retry-After": "x"}}])
    with FakeServer(embed=lambda body, n: next(answers, {"json": embeddings(body)})) as server:
        embed(folder, server, TEXTS[:1])
    assert [seconds for seconds in waited if seconds] == [7.0, 0.02]


def test_a_slow_answer_is_retried(folder):
    slow = iter([0.6])
    with FakeServer(embed=lambda body, n: {"json": embeddings(body), "latency": next(slow, 0)}) as server:
        assert embed(folder, server, TEXTS[:1], timeout=0.3).shape == (1, 8)


@pytest.mark.parametrize(
    ("vector", "readable"),
    [
        (base64.b64encode(np.array([0.5, -2.0], "<f4").tobytes()).decode(), True),
        ([1, 2.5], True),
        ("not base64!", False),
        (base64.b64encode(b"abcde").decode(), False),
        ([], False),
        ([1.0, None], False),
        ([1.0, "2"], False),
        ([True, False], False),
        ([[1.0], [2.0]], False),
        (None, False),
        ({"x": 1}, False),
    ],
    ids=str,
)
def test_vectors_are_lists_of_numbers_or_base64(folder, vector, readable):
    answer = {"data": [{"index": 0, "embedding": vector}]}
    with FakeServer(embed=lambda body, n: {"json": answer}) as server:
        if readable:
            assert embed(folder, server, ["x"]).shape == (1, 2)
        else:
            with pytest.raises(EngineError, match=r"protocol|0 numbers"):
                embed(folder, server, ["x"])
            assert server.embedded["x"] == 1, "asked again, it would say the same"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e39"])
def test_a_number_that_is_not_finite_is_refused_with_its_text(folder, number):
    raw = b'{"data": [{"index": 0, "embedding": [1.0, %s]}]}' % number.encode()
    with FakeServer(embed=lambda body, n: {"raw": raw}) as server, pytest.raises(EngineError, match="finite, for 'x'"):
        embed(folder, server, ["x"])


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}],
        [{"index": 1, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}],
        [{"index": i, "embedding": [1.0]} for i in range(3)],
        [{"index": "0", "embedding": [1.0]}, {"index": "1", "embedding": [1.0]}],
    ],
    ids=str,
)
def test_a_wrong_number_of_vectors_is_refused(folder, rows):
    with (
        FakeServer(embed=lambda body, n: {"json": {"data": rows}}) as server,
        pytest.raises(EngineError, match="vectors for 2 texts"),
    ):
        embed(folder, server, ["x", "y"])


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b'{"data": 3}', b'{"data": [{"embedding": [1]}]}', b"null"])
def test_another_service_is_recognised_by_its_answer(folder, raw):
    with FakeServer(embed=lambda body, n: {"raw": raw}) as server, pytest.raises(EngineError, match="does not speak"):
        embed(folder, server, ["x"])


def test_vectors_of_different_lengths_are_refused_in_an_answer_and_across_answers(folder):
    def ragged(body, n):
        return {"json": {"data": [{"index": i, "embedding": [1.0] * (i + 1)} for i in range(len(body["input"]))]}}

    with FakeServer(embed=ragged) as server, pytest.raises(EngineError, match="vectors of 1, 2 numbers in one answer"):
        embed(folder, server, ["x", "y"])
    with FakeServer() as server:
        embed(folder, server, ["x"])
    with (
        FakeServer(embed=lambda body, n: {"json": {"data": [{"index": 0, "embedding": [1.0]}]}}) as server,
        pytest.raises(EngineError, match=r"have 8 numbers and 1: .* another model; delete .*embed-journal"),
    ):
        embed(folder, server, ["x", "z"])


LONG = {"status": 400, "json": {"error": {"message": "maximum context length is 512 tokens"}}}


def test_a_text_that_the_server_refuses_goes_without_a_vector_and_is_not_asked_again(folder):
    bad = {"name 3", "name 4", "name 9"}

    def script(body, n):
        return LONG if bad & set(body["input"]) else {"json": embeddings(body)}

    for _ in range(2):
        with FakeServer(embed=script) as server, Journal(folder) as journal:
            found = client.embed(TEXTS, Engine(server.url, "fake"), journal)
        assert found.rows.tolist() == [0, 1, 2, 5, 6, 7, 8]
        assert np.array_equal(found.vectors, wanted([TEXTS[row] for row in found.rows]))
    assert not server.embedded, "a second run asks nothing"


@pytest.mark.parametrize("most", [1, 2, 5])
def test_batches_shrink_to_what_the_server_takes(folder, monkeypatch, most):
    monkeypatch.setattr(client, "BATCH", 16)
    monkeypatch.setattr(client, "IN_FLIGHT", 1)

    def script(body, n):
        return {"json": embeddings(body)} if len(body["input"]) <= most else {"status": 413, "raw": b"too many texts"}

    texts = [f"name {i}" for i in range(100)]
    with FakeServer(embed=script) as server:
        assert np.array_equal(embed(folder, server, texts), wanted(texts))
        assert len(server.bodies) < 31 + 2 * 100 / most, "a size that was refused is not tried again"


@pytest.mark.parametrize("n", [1, 30])
def test_a_server_that_refuses_every_text_stops_the_run(folder, n):
    with FakeServer(embed=lambda body, n: LONG) as server, pytest.raises(EngineError, match="512 tokens; is model"):
        embed(folder, server, [f"text {i}" for i in range(n)])
    assert len(server.bodies) < 100


def test_a_wrong_key_stops_at_once_and_is_not_shown(folder):
    with FakeServer(key="right") as server:
        with pytest.raises(EngineError, match="refused the API key") as refused:
            embed(folder, server, ["x"], key="secret-key")
        assert "secret-key" not in str(refused.value)
        assert "LINKSYN_API_KEY" in str(refused.value)
        assert embed(folder, server, ["x"], key="right").shape == (1, 8)


def test_a_chat_server_without_embeddings_is_named(folder):
    with (
        FakeServer(embed=lambda body, n: {"status": 404, "json": {"error": {"message": "no such route"}}}) as server,
        pytest.raises(EngineError, match="no such route; is model 'fake' an embedding model"),
    ):
        embed(folder, server, ["x"])
    assert server.embedded["x"] == 1


def test_a_server_that_is_gone_is_reported_after_some_retries(folder):
    with FakeServer() as server:
        url = server.url
    with pytest.raises(EngineError, match=r"5 times; vectors received before are kept"):
        embed(folder, url, ["x"])


def test_a_torn_record_is_asked_for_again(folder):
    with FakeServer() as server:
        embed(folder, server, ["x", "y"])
        (segment,) = folder.glob("answers-*.jsonl")
        segment.write_bytes(segment.read_bytes()[:-20])
        assert np.array_equal(embed(folder, server, ["x", "y"]), wanted(["x", "y"]))
        assert (server.embedded["x"], server.embedded["y"]) == (1, 2)


def test_the_request_follows_the_protocol(folder):
    with FakeServer() as server:
        embed(folder, server, ["x", "光"])
    assert json.loads(json.dumps(server.bodies[0])) == {
        "model": "fake",
        "input": ["x", "光"],
        "encoding_format": "float",
    }
