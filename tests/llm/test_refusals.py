"""Refusals as servers write them are told apart by what to do about them."""

import json

import pytest

from linksyn_gpu.llm.refusals import Dialect, Kind, Refusal, read_refusal

SENT = {"model": "m", "messages": [], "temperature": 1, "top_p": 1, "seed": 1, "max_tokens": 9, "response_format": {}}


def openai(message, **more):
    return {"error": {"message": message, "type": "invalid_request_error", **more}}


def fastapi(*loc, msg="Extra inputs are not permitted"):
    return {"detail": [{"type": "extra_forbidden", "loc": ["body", *loc], "msg": msg, "input": {"temperature": 1}}]}


def read(status, body, **more):
    return read_refusal(status, json.dumps(body).encode() if not isinstance(body, bytes) else body, SENT, **more)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, openai("no")),
        (402, openai("Insufficient Balance")),
        (407, b"proxy"),
        (498, b"token expired"),
        (400, openai("Your credit balance is too low to access the API.")),
        (400, openai("API key not valid. Please pass a valid API key.")),
        (403, openai("Billing is not enabled for this project")),
        (404, openai("The model `x` does not exist or you do not have access to it.", code="model_not_found")),
        (429, openai("You exceeded your current quota, please check your plan.", code="insufficient_quota")),
    ],
    ids=str,
)
def test_a_wrong_account_key_or_model_concerns_every_request(status, body):
    assert read(status, body).kind is Kind.SETUP


@pytest.mark.parametrize(
    ("status", "body", "more"),
    [
        (429, openai("Rate limit reached for requests"), {}),
        (429, b"", {}),
        (429, openai("You exceeded your current quota. Please retry in 23 s."), {}),
        (429, openai("You exceeded your current quota, check your billing"), {"retry_after": 3.0}),
        (503, openai("insufficient_quota of slots"), {}),
        (529, openai("Overloaded"), {}),
    ],
    ids=str,
)
def test_a_limit_that_passes_is_waited_for(status, body, more):
    assert read(status, body, **more).kind is Kind.WAIT


@pytest.mark.parametrize("status", [500, 502, 504, 408, 409, 425])
def test_a_failure_of_the_server_is_retried(status):
    assert read(status, b"<html>temperature</html>").kind is Kind.RETRY


@pytest.mark.parametrize(
    ("status", "body", "name", "new_name"),
    [
        (
            400,
            openai("Unsupported parameter: 'temperature' is not supported.", param="temperature"),
            "temperature",
            None,
        ),
        (
            400,
            openai("'temperature' does not support 0.7. Only the default (1) value is supported."),
            "temperature",
            None,
        ),
        (422, fastapi("seed"), "seed", None),
        (422, {"message": fastapi("top_p"), "type": "invalid_request_error"}, "top_p", None),
        (
            400,
            openai("Unrecognized argument: seed. Allowed are model, messages, temperature, max_tokens"),
            "seed",
            None,
        ),
        (422, b"response_format: response_format.type `json_schema` is unavailable now", "response_format", None),
        (400, openai("guided decoding is off"), "response_format", None),
        (400, openai("Failed to parse grammar"), "response_format", None),
        (
            400,
            openai("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", param="max_tokens"),
            "max_tokens",
            "max_completion_tokens",
        ),
        (422, fastapi("max_tokens"), "max_tokens", None),
    ],
    ids=str,
)
def test_a_parameter_that_the_server_does_not_accept_is_named(status, body, name, new_name):
    refusal = read(status, body)
    assert (refusal.kind, refusal.parameter, refusal.new_name) == (Kind.PARAMETER, name, new_name)


@pytest.mark.parametrize(
    ("message", "context", "space"),
    [
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 1024. This model's maximum context length is 1024 "
            "tokens and your request has 424 input tokens (1024 > 1024 - 424).",
            1024,
            600,
        ),
        (
            "This model's maximum context length is 4097 tokens. However, you requested 5000 tokens (3976 in the "
            "messages, 1024 in the completion). Please reduce the length of the messages or completion.",
            4097,
            121,
        ),
        (
            "This model's maximum context length is 8,192 tokens. However, your messages resulted in 9,000 tokens.",
            8192,
            -808,
        ),
        ("request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it", 4096, -904),
        ("max_tokens is too large: 100000. This model supports at most 16384 completion tokens.", None, 16384),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", None, 8192),
        ("Input is too long for requested model: prompt is too long", None, None),
    ],
)
def test_a_context_that_is_too_small_says_how_much_space_there_is(message, context, space):
    refusal = read(400, openai(message))
    assert (refusal.kind, refusal.context, refusal.space) == (Kind.TOO_LONG, context, space)


def test_a_generation_that_failed_the_servers_own_check_is_an_invalid_answer():
    body = openai("Failed to generate JSON.", code="json_validate_failed", failed_generation='{"qa": [')
    refusal = read(400, body)
    assert (refusal.kind, refusal.text) == (Kind.INVALID, '{"qa": [')


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, openai("The response was filtered due to Azure's content management policy", code="content_filter")),
        (403, openai("Your input was flagged by moderation")),
        (
            400,
            {"error": {"message": "Input data may contain inappropriate content.", "code": "data_inspection_failed"}},
        ),
    ],
    ids=str,
)
def test_a_content_filter_concerns_one_request(status, body):
    assert read(status, body).kind is Kind.FILTERED


@pytest.mark.parametrize("status", [302, 400, 403, 404, 405, 410, 413, 415, 418, 422, 451])
@pytest.mark.parametrize("body", [b"", b"no", openai("no")], ids=str)
def test_any_other_refusal_may_concern_one_request(status, body):
    assert read(status, body).kind is Kind.UNUSABLE


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 5000,
        b'{"error":' * 5000,
        b'{"error": ' * 200 + b"1" + b"}" * 200,
        b"\xff\xfe",
        b'{"error": 1e999999}',
        b"9" * 5000,
    ],
    ids=lambda body: body[:12].decode(errors="replace"),
)
@pytest.mark.parametrize("status", [400, 500])
def test_an_error_body_of_any_shape_is_read(status, body):
    assert read(status, body).message.startswith(f"HTTP {status}: ")


def test_a_dialect_leaves_out_and_renames_and_learns_once():
    dialect = Dialect(["seed"], {"max_tokens": "max_completion_tokens"})
    assert dialect.apply(SENT).keys() == SENT.keys() - {"seed", "max_tokens"} | {"max_completion_tokens"}
    assert dialect.left_out(SENT) == ("seed",)
    refusal = Refusal(Kind.PARAMETER, "", "temperature")
    assert dialect.learn(refusal)
    assert not dialect.learn(refusal), "another request in flight met the same refusal"
    assert "temperature" not in dialect.apply(SENT)


def test_a_new_name_that_is_refused_too_is_left_out():
    dialect = Dialect()
    dialect.learn(Refusal(Kind.PARAMETER, "", "max_tokens", "max_completion_tokens"))
    assert not dialect.learn(Refusal(Kind.PARAMETER, "", "max_tokens", "max_completion_tokens"))
    assert dialect.apply({"max_tokens": 5}) == {"max_completion_tokens": 5}
    dialect.learn(Refusal(Kind.PARAMETER, "", "max_completion_tokens"))
    assert dialect.apply({"max_tokens": 5}) == {}
