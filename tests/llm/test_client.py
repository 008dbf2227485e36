"""The client against a server with every fault: each request has exactly one typed outcome."""

import asyncio
import json
import logging
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from linksyn_gpu.errors import ConfigError, EngineError, StopAsking
from linksyn_gpu.llm import Engine, api_key, protocol
from linksyn_gpu.llm.client import Client, Limits
from linksyn_gpu.llm.dispatch import ask_all
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.llm.protocol import Completion, Failure
from tests.llm.fake_server import GOOD, FakeServer, completion, ok, request

FAST = Limits(concurrency=8, timeout=5.0, backoff=0.01, backoff_cap=0.02, unreachable_after=0.5)


def valid(text):
    try:
        json.loads(text)
    except ValueError:
        return "invalid_json"
    return None


def ask(server, name="a", limits=FAST, validate=None, key=None, **body):
    async def run():
        async with Client(Engine(server.url, "fake", key), limits, validate) as client:
            return await client.complete(request(name, **body)), client

    return asyncio.run(run())


def first_then(first, *, times=1):
    return lambda body, n: first if n <= times else ok()


def test_an_answer_keeps_its_text_tokens_model_seed_and_limit():
    with FakeServer() as server:
        outcome, _ = ask(server)
    known = Completion("a", GOOD, "", "stop", 10, 5, "fake", 1, 7, 64, spent_tokens=15, endpoint=server.url)
    assert outcome == known


def test_thinking_is_kept_apart_from_the_answer():
    with FakeServer(lambda body, n: ok("<think>so {x}</think>\n" + GOOD)) as server:
        outcome, _ = ask(server)
    assert (outcome.text, outcome.reasoning) == (GOOD, "so {x}")
    with FakeServer(lambda body, n: ok(GOOD, reasoning_content="hm")) as server:
        outcome, _ = ask(server)
    assert (outcome.text, outcome.reasoning) == (GOOD, "hm")


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500, "json": {"error": "boom"}},
        {"status": 502, "raw": b"<html>bad gateway</html>"},
        {"drop": True},
        {"raw": json.dumps(completion(GOOD)).encode(), "half": True},
        {"raw": b"<html>hello</html>"},
        {"json": {"wrong": "body"}},
        {"json": ["list"]},
        {"json": completion(GOOD) | {"choices": []}},
    ],
    ids=["500", "502", "dropped", "half-sent", "not-json", "wrong-body", "list", "no-choices"],
)
def test_a_transient_fault_is_retried_and_answered(fault):
    with FakeServer(first_then(fault)) as server:
        outcome, client = ask(server)
    assert isinstance(outcome, Completion)
    assert outcome.attempts == 2
    assert client.stats.retries.total() == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"status": 500, "json": {"error": {"message": "boom"}}}, "server_error"),
        ({"drop": True}, "connection"),
        ({"raw": b"nonsense"}, "bad_response"),
        (ok("{", finish="content_filter"), "filtered"),
        ({"status": 400, "json": {"error": {"message": "too many tokens"}}}, "prompt_too_long"),
        ({"status": 403, "json": {"error": "no"}}, "bad_request"),
        ({"status": 307}, "bad_request"),
        ({"status": 400, "json": {"error": {"code": "content_filter"}}}, "filtered"),
        ({"status": 204}, "bad_response"),
        ({"raw": b'{"choices": ' * 2000}, "bad_response"),
        ({"status": 422, "json": {"detail": [{"msg": "no"}]}}, "bad_request"),
        (ok("  "), "no_text"),
    ],
)
def test_a_lasting_fault_ends_as_a_failure_with_its_reason(fault, reason):
    with FakeServer(lambda body, n: fault) as server:
        outcome, _ = ask(server)
    assert isinstance(outcome, Failure)
    assert outcome.reason == reason
    assert reason in protocol.REQUEST_REASONS | protocol.ANSWER_REASONS
    assert outcome.attempts == (1 if reason in ("bad_request", "filtered", "prompt_too_long") else 3)


def test_a_slow_drip_ends_in_a_timeout():
    with FakeServer(lambda body, n: {**ok(), "drip": 0.05}) as server:
        outcome, _ = ask(server, limits=Limits(timeout=0.3, max_attempts=1))
    assert outcome.reason == "timeout"


def test_the_servers_message_is_kept_for_a_bad_request():
    with FakeServer(
        lambda body, n: {"status": 400, "json": {"error": {"message": "prompt too long: 9 > 8"}}}
    ) as server:
        outcome, _ = ask(server)
    assert "prompt too long: 9 > 8" in outcome.detail


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed_and_spends_no_attempt(status):
    script = first_then({"status": status, "headers": {"Retry-After": "0.3"}}, times=2)
    with FakeServer(script) as server:
        began = time.monotonic()
        outcome, client = ask(server)
    assert isinstance(outcome, Completion)
    assert outcome.attempts == 1
    assert client.stats.throttled == 2
    assert time.monotonic() - began >= 0.6


def test_endless_throttling_ends_as_rate_limited():
    with FakeServer(lambda body, n: {"status": 429}) as server:
        outcome, _ = ask(server, limits=Limits(backoff=0.001, max_throttled=3))
    assert outcome.reason == "rate_limited"


def test_a_cut_off_answer_is_asked_again_with_twice_the_limit_and_then_fails():
    limits = Limits(max_attempts=9, max_tokens_retry=200)
    with FakeServer(lambda body, n: ok('{"qa": [', finish="length")) as server:
        outcome, _ = ask(server, limits=limits)
    assert [body["max_tokens"] for body in server.bodies] == [64, 128, 200]
    assert {body["seed"] for body in server.bodies} == {7}
    assert (outcome.reason, outcome.text) == ("cut_off", '{"qa": [')


def test_an_invalid_answer_is_asked_again_with_another_seed():
    with FakeServer(lambda body, n: ok("no JSON" if n < 3 else GOOD)) as server:
        outcome, client = ask(server, validate=valid)
    seeds = [body["seed"] for body in server.bodies]
    assert len(set(seeds)) == 3
    assert outcome.seed == seeds[-1]
    assert client.stats.retries == {"invalid_json": 2}
    assert client.stats.completion_tokens == 15  # what was thrown away was paid too
    with FakeServer(lambda body, n: ok("no JSON")) as server:
        outcome, _ = ask(server, validate=valid)
    assert (outcome.reason, outcome.text, outcome.attempts) == ("invalid_json", "no JSON", 3)


def test_a_refused_schema_is_left_out_once_for_the_whole_run(caplog):
    def script(body, n):
        if "response_format" in body:
            return {"status": 400, "json": {"error": {"message": "unknown field response_format"}}}
        return ok()

    async def run(server):
        async with Client(Engine(server.url, "fake"), FAST) as client:
            for name in "abc":
                outcome = await client.complete(request(name, response_format={"type": "json_schema"}))
                assert isinstance(outcome, Completion)
                assert outcome.left_out == ("response_format",)

    with FakeServer(script) as server, caplog.at_level(logging.WARNING):
        asyncio.run(run(server))
    assert len(server.bodies) == 4
    assert len([r for r in caplog.records if "refuses response_format" in r.getMessage()]) == 1


@pytest.mark.parametrize("status", [401, 402, 498])
def test_what_every_request_would_meet_stops_the_run_with_the_servers_words(status):
    with (
        FakeServer(lambda body, n: {"status": status, "json": {"error": "says who"}}) as server,
        pytest.raises(StopAsking, match=f"HTTP {status}: says who"),
    ):
        ask(server)
    assert len(server.bodies) == 1


def refuse(name, status=400, message="is not supported"):
    """A server that refuses one parameter."""

    def script(body, n):
        return {"status": status, "json": {"error": {"message": f"{name} {message}"}}} if name in body else ok()

    return script


@pytest.mark.parametrize("name", ["temperature", "top_p", "seed", "max_tokens", "response_format"])
@pytest.mark.parametrize("status", [400, 422])
def test_a_refused_parameter_is_left_out_and_recorded(name, status, caplog):
    with FakeServer(refuse(name, status)) as server, caplog.at_level(logging.WARNING):
        outcome, _ = ask(server, temperature=0.5, top_p=0.9, response_format={"type": "json_schema"})
    assert isinstance(outcome, Completion)
    assert outcome.left_out == (name,)
    assert (outcome.seed, outcome.max_tokens) == (None if name == "seed" else 7, None if name == "max_tokens" else 64)
    assert [name in body for body in server.bodies] == [True, False]
    assert len(caplog.records) == 1


def test_requests_in_flight_meet_one_refusal_without_a_race(tmp_path, caplog):
    """Slow refusals of two parameters arrive after the first was learned: no request fails, one warning for each."""

    def script(body, n):
        named = [name for name in ("seed", "temperature") if name in body]
        if named:
            return {"status": 400, "json": {"error": {"message": f"unknown {named[0]}"}}, "latency": 0.01 * (n % 3)}
        return ok()

    requests = [request(str(i), temperature=0.5) for i in range(60)]
    with FakeServer(script) as server, Journal(tmp_path) as journal, caplog.at_level(logging.WARNING):
        stats = ask_all(requests, Engine(server.url, "m"), journal, limits=FAST)
        assert {tuple(record["left_out"]) for record in journal.read()} == {("seed", "temperature")}
    assert stats.completed == 60
    assert len(caplog.records) == 2


def test_parameters_of_the_settings_are_left_out_and_renamed_from_the_start():
    limits = replace(FAST, without=("seed",), rename={"max_tokens": "max_new_tokens"})
    with FakeServer() as server:
        outcome, _ = ask(server, limits=limits)
    assert isinstance(outcome, Completion)
    (body,) = server.bodies
    assert "seed" not in body
    assert "max_tokens" not in body
    assert body["max_new_tokens"] == 64


CONTEXT = 2048


def small_context(body, n, prompt=424):
    """A server with a small context, in vLLM's words."""
    if body["max_tokens"] > CONTEXT - prompt:
        message = (
            f"'max_tokens' or 'max_completion_tokens' is too large: {body['max_tokens']}. This model's maximum context "
            f"length is {CONTEXT} tokens and your request has {prompt} input tokens"
        )
        return {"status": 400, "json": {"object": "error", "message": message, "code": 400}}
    return ok()


def test_an_answer_limit_beyond_the_context_is_lowered_to_the_space_there_is():
    with FakeServer(small_context) as server:
        outcome, _ = ask(server, max_tokens=4096)
    assert isinstance(outcome, Completion)
    assert [body["max_tokens"] for body in server.bodies] == [4096, CONTEXT - 424]
    assert outcome.max_tokens == CONTEXT - 424


def test_a_prompt_that_leaves_no_space_is_too_long():
    with FakeServer(lambda body, n: small_context(body, n, prompt=2040)) as server:
        outcome, _ = ask(server, max_tokens=512)
    assert outcome.reason == "prompt_too_long"
    assert "2040 input tokens" in outcome.detail


def test_a_prompt_that_surely_exceeds_a_known_context_is_not_sent():
    async def run(server):
        async with Client(Engine(server.url, "fake", context=100), FAST) as client:
            return await client.complete(request("word " * 2000))

    with FakeServer() as server:
        assert asyncio.run(run(server)).reason == "prompt_too_long"
    assert not server.bodies


def test_a_doubled_answer_limit_stays_within_the_context():
    """The server counts 10 tokens of prompt."""

    async def run(server):
        async with Client(Engine(server.url, "fake", context=100), FAST) as client:
            return await client.complete(request("a", max_tokens=64))

    with FakeServer(lambda body, n: ok("{", finish="length")) as server:
        outcome = asyncio.run(run(server))
    assert [body["max_tokens"] for body in server.bodies] == [64, 90]
    assert outcome.reason == "cut_off"


@pytest.mark.parametrize("reports", [True, False], ids=["with the space", "without"])
def test_a_cut_answer_is_kept_when_the_longer_one_is_refused(reports):
    def script(body, n):
        if body["max_tokens"] <= 64:
            return ok('{"qa": [', finish="length")
        words = "maximum context length is 90 tokens and your request has 20 input tokens"
        return {"status": 400, "json": {"error": {"message": words if reports else "too many tokens"}}}

    with FakeServer(script) as server:
        outcome, _ = ask(server)
    assert (outcome.reason, outcome.text) == ("cut_off", '{"qa": [')


def test_an_answer_that_failed_the_servers_own_check_is_asked_again_with_another_seed():
    body = {"error": {"message": "Failed to generate JSON", "code": "json_validate_failed", "failed_generation": "{"}}
    with FakeServer(first_then({"status": 400, "json": body})) as server:
        outcome, client = ask(server)
    assert isinstance(outcome, Completion)
    assert client.stats.retries == {"invalid_json": 1}
    assert server.bodies[0]["seed"] != server.bodies[1]["seed"]
    with FakeServer(lambda b, n: {"status": 400, "json": body}) as server:
        outcome, _ = ask(server)
    assert (outcome.reason, outcome.text, outcome.attempts) == ("invalid_json", "{", 3)


def test_the_share_of_time_spent_waiting_for_a_throttling_server_is_counted():
    script = first_then({"status": 429, "headers": {"Retry-After": "0.3"}})
    with FakeServer(script) as server:
        _, client = ask(server)
    assert client.stats.throttled_seconds > 0.25
    assert client.stats.summary()["throttled_share"] > 0.5


@pytest.mark.parametrize("key", ["k", "none", "tokens"])
def test_a_placeholder_for_a_key_changes_no_text(key):
    with FakeServer(lambda body, n: {"status": 400, "json": {"error": "none of the tokens like this"}}) as server:
        outcome, _ = ask(server, key=key)
    assert outcome.detail == "HTTP 400: none of the tokens like this"


def test_a_key_is_removed_as_a_whole_word_before_a_text_is_cut(tmp_path):
    key = "sk-0123456789"
    echo = f"{key} {key}x " + "." * 480 + f" {key} end"
    with FakeServer(lambda body, n: {"status": 400, "json": {"error": echo}}) as server:
        outcome, _ = ask(server, key=key)
    assert outcome.detail.startswith(f"HTTP 400: *** {key}x ..")
    assert not outcome.detail.endswith(key[:4])
    with FakeServer(lambda body, n: ok(f"the key is {key}")) as server, Journal(tmp_path) as journal:
        ask_all([request("a")], Engine(server.url, "fake", key), journal, limits=FAST)
    assert key.encode() not in b"".join(path.read_bytes() for path in Path(tmp_path).iterdir())


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.0.0.9", True),
        ("0.0.0.0", True),
        ("[::1]", True),
        ("[::ffff:127.0.0.1]", True),
        ("example.com", False),
        ("10.0.0.1", False),
        ("[2001:db8::1]", False),
        ("localhost.example.com", False),
    ],
)
def test_a_server_on_this_machine_is_never_behind_a_proxy(host, local):
    assert Engine(f"http://{host}:8000/v1", "m").is_local is local


@pytest.mark.parametrize("url", ["http://[::1/v1", "http://", "http://host:99999/v1", "host/v1", ""])
def test_an_address_that_is_not_one_is_refused(url):
    with pytest.raises(ConfigError, match="must look like"):
        Engine(url, "m")


def test_an_absent_server_stops_the_run_without_burning_requests(tmp_path):
    with socket.socket() as taken:  # while it is bound and does not listen, nothing answers on its port
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with Journal(tmp_path) as journal, pytest.raises(EngineError, match="could not be reached"):
            ask_all([request(str(i)) for i in range(100)], Engine(url, "m"), journal, limits=FAST)
    with Journal(tmp_path) as journal:
        assert len(journal.index()) == 0


def test_a_server_that_fails_everything_stops_the_run(tmp_path):
    with (
        FakeServer(lambda body, n: {"status": 500}) as server,
        Journal(tmp_path) as journal,
        pytest.raises(EngineError, match="all failed"),
    ):
        ask_all((request(str(i)) for i in range(10_000)), Engine(server.url, "m"), journal, limits=FAST)
    assert sum(server.asked.values()) < 1000


def test_the_key_is_sent_and_shown_nowhere(tmp_path, monkeypatch):
    secret = "sk-very-secret"
    monkeypatch.setenv("LINKSYN_API_KEY", secret)
    assert api_key() == secret
    with FakeServer(key=secret) as server:
        engine = Engine(server.url, "fake", api_key())
        with Journal(tmp_path) as journal:
            stats = ask_all([request("a")], engine, journal, limits=FAST)
    assert stats.completed == 1
    assert secret not in repr(engine)
    assert all(secret.encode() not in path.read_bytes() for path in Path(tmp_path).iterdir())
    with FakeServer(key="other") as server, pytest.raises(EngineError) as error:
        ask(server, key=secret)  # this server echoes the key that it was sent
    assert "wrong key" in str(error.value)
    assert secret not in str(error.value)


def test_a_key_in_the_address_is_refused_without_showing_it():
    for url in ("http://user:hunter2@host/v1", "http://host/v1?key=hunter2", "ftp://hunter2@host"):
        with pytest.raises(ConfigError) as error:
            Engine(url, "m")
        assert "hunter2" not in str(error.value)


def test_a_key_no_header_can_carry_is_refused_without_showing_it():
    with pytest.raises(EngineError, match="LINKSYN_API_KEY") as error:
        api_key({"LINKSYN_API_KEY": "sk\nbad"})
    assert "sk" not in str(error.value).replace("LINKSYN", "")


def test_concurrency_is_bounded(tmp_path):
    with FakeServer(lambda body, n: {**ok(), "latency": 0.002}) as server, Journal(tmp_path) as journal:
        stats = ask_all((request(str(i)) for i in range(400)), Engine(server.url, "m"), journal, limits=FAST)
    assert stats.completed == 400
    assert server.most_in_flight == 8


def test_a_resumed_run_asks_only_what_has_no_answer(tmp_path):
    failing = {"3": {"status": 400, "json": {"error": "no"}}, "4": {"status": 500}}
    names = [str(i) for i in range(20)]
    with FakeServer(lambda body, n: failing.get(body["messages"][0]["content"], ok())) as server:
        for _ in range(2):
            with Journal(tmp_path) as journal:
                ask_all(map(request, names), Engine(server.url, "m"), journal, limits=FAST)
    # What the server refused stays refused; what failed in passing is asked again.
    assert server.asked == {**dict.fromkeys(names, 1), "4": 6}


def test_an_interrupted_run_keeps_every_answer_that_came(tmp_path):
    def stop(stats):
        if stats.done == 50:
            signal.raise_signal(signal.SIGINT)

    names = [str(i) for i in range(200)]
    with FakeServer() as server:
        with Journal(tmp_path) as journal, pytest.raises(KeyboardInterrupt):
            ask_all(map(request, names), Engine(server.url, "m"), journal, limits=FAST, on_progress=stop)
        with Journal(tmp_path) as journal:
            before = len(journal.index())
            assert before >= 50
            stats = ask_all(map(request, names), Engine(server.url, "m"), journal, limits=FAST)
            assert stats.skipped == before
            assert sorted(r["id"] for r in journal.read()) == sorted(names)


def test_requests_are_asked_inside_a_running_loop_as_in_a_notebook(tmp_path):
    async def cell(server):
        with Journal(tmp_path) as journal:
            return ask_all([request("a")], Engine(server.url, "m"), journal, limits=FAST)

    with FakeServer() as server:
        assert asyncio.run(cell(server)).completed == 1
    assert not [t for t in threading.enumerate() if t.name == "linksyn-requests"]


def test_a_server_that_wants_its_answer_limit_under_another_name_gets_it(tmp_path):
    def picky(body, n):
        if "max_tokens" in body:
            message = "Unsupported parameter: 'max_tokens' is not supported, use 'max_completion_tokens' instead."
            return {"status": 400, "json": {"error": {"message": message}}}
        return ok() if body["max_completion_tokens"] >= 128 else {"json": completion("...", "length")}

    with FakeServer(picky) as server, Journal(tmp_path) as journal:
        stats = ask_all(map(request, "abc"), Engine(server.url, "m"), journal, limits=replace(FAST, concurrency=1))
        limits_sent = {record["max_tokens"] for record in journal.read()}
    assert (stats.completed, limits_sent) == (3, {128})
    assert sum("max_tokens" in body for body in server.bodies) == 1, "only the first request is refused"


def test_throttling_lets_fewer_in_and_recovery_lets_all_back(tmp_path):
    calls = 0

    def script(body, n):
        nonlocal calls
        calls += 1
        return {"status": 429, "headers": {"Retry-After": "0.05"}} if calls <= 8 else {**ok(), "latency": 0.005}

    with FakeServer(script) as server, Journal(tmp_path) as journal:
        stats = ask_all((request(str(i)) for i in range(200)), Engine(server.url, "m"), journal, limits=FAST)
    assert stats.completed == 200
    assert stats.throttled == 8
    assert server.most_in_flight == 8
