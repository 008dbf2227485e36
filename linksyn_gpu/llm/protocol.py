"""Outcomes of a request: a completion, or a failure with one reason of a fixed set."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import orjson

REQUEST_REASONS = {
    "bad_request": "the server refused this request (4xx); its message is the detail",
    "timeout": "no whole answer within the time allowed",
    "connection": "the connection was lost before the whole answer arrived",
    "server_error": "the server failed (5xx)",
    "rate_limited": "the server asked to wait (429, 503) more often than allowed",
    "bad_response": "the server answered 200 without a chat completion",
    "filtered": "the server withheld the answer (finish_reason content_filter)",
}
"""Why a request has no answer."""

ANSWER_REASONS = {
    "cut_off": "the answer did not end within max_tokens_retry (finish_reason length)",
    "no_text": "the answer was empty, or held only thinking",
}
"""Why an answer cannot be used, before its text is read; a caller's `validate` adds its own reasons."""

TRANSIENT = frozenset({"timeout", "connection", "server_error", "rate_limited", "bad_response"})
"""Failures that say nothing about the request itself: a later run asks these requests again."""

MAX_DETAIL = 500


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer that was received in full."""

    id: str
    text: str
    """The answer without its thinking."""
    reasoning: str
    """The model's thinking where it shows it: `reasoning_content`, or the text between <think> and </think>."""
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str
    attempts: int = 1
    seed: int | None = None
    """Sampling seed of the attempt that produced this text; None: unknown, as in a batch file."""
    max_tokens: int | None = None
    """Answer limit of this attempt in tokens; None: unknown."""
    spent_tokens: int = 0
    """Tokens read and written in all attempts, discarded answers included."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A request without a usable answer."""

    id: str
    reason: str
    """One of `REQUEST_REASONS`, `ANSWER_REASONS` or the reasons of the caller's `validate`."""
    detail: str
    attempts: int = 1
    text: str = ""
    """The last text received, if any."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model: str = ""
    spent_tokens: int = 0
    """As of `Completion`."""

    @property
    def transient(self) -> bool:
        return self.reason in TRANSIENT


Outcome = Completion | Failure


def split_thinking(text: str) -> tuple[str, str]:
    """Split a text into (thinking, answer). Thinking that never ends leaves no answer.

    A chat template that opens the block in the prompt results in a closing tag only.
    """
    opened, closed = "<think>", "</think>"
    stripped = text.lstrip()
    if stripped.startswith(opened):
        thinking, _, answer = stripped[len(opened) :].partition(closed)
        return thinking.strip(), answer.strip()
    if closed in text:
        thinking, _, answer = text.rpartition(closed)
        return thinking.strip(), answer.strip()
    return "", text.strip()


def read_body(
    request_id: str, body: Any, *, attempts: int = 1, seed: int | None = None, max_tokens: int | None = None
) -> Outcome:
    """Read the body of a chat completion; any other body is a Failure 'bad_response'."""
    try:
        choice = body["choices"][0]
        message = choice["message"]
        content = message.get("content") or ""
        thinking = message.get("reasoning_content") or message.get("reasoning") or ""
        usage = body.get("usage") or {}
        prompt_tokens = int(usage.get("prompt_tokens") or 0)
        completion_tokens = int(usage.get("completion_tokens") or 0)
        if not isinstance(content, str) or not isinstance(thinking, str):
            raise TypeError("content is not text")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        detail = f"not a chat completion ({type(error).__name__}: {error}): {json.dumps(body)[:120]}"
        return Failure(request_id, "bad_response", clip(detail), attempts)
    finish = str(choice.get("finish_reason") or "")
    model = str(body.get("model") or "")
    if finish == "content_filter":
        return Failure(
            request_id,
            "filtered",
            "finish_reason content_filter",
            attempts,
            content,
            prompt_tokens,
            completion_tokens,
            model,
        )
    inner, answer = split_thinking(content)
    reasoning = "\n\n".join(part for part in (thinking.strip(), inner) if part)
    return Completion(
        request_id, answer, reasoning, finish, prompt_tokens, completion_tokens, model, attempts, seed, max_tokens
    )


def unusable(completion: Completion) -> str | None:
    """Why a completion cannot be used, one of `ANSWER_REASONS`, or None."""
    if completion.finish_reason == "length":
        return "cut_off"
    return None if completion.text else "no_text"


def fail(completion: Completion, reason: str, detail: str) -> Failure:
    """Turn an unusable completion into a failure that keeps its text and its tokens."""
    return Failure(
        completion.id,
        reason,
        clip(detail),
        completion.attempts,
        completion.text,
        completion.prompt_tokens,
        completion.completion_tokens,
        completion.model,
    )


def error_message(data: bytes | str | Any) -> str:
    """The message in a server's error body, in any of the usual shapes."""
    value = data
    if isinstance(data, (bytes, str)):
        text = data.decode(errors="replace") if isinstance(data, bytes) else data
        try:
            value = json.loads(text)
        except ValueError:
            return clip(text.strip())
    if isinstance(value, dict):
        value = value.get("error") or value.get("message") or value.get("detail") or value
    if isinstance(value, dict):
        parts = [value.get("message"), value.get("param") and f"(param {value['param']})"]
        value = " ".join(str(part) for part in parts if part) or json.dumps(value)
    return clip(value if isinstance(value, str) else json.dumps(value))


def to_json(value: Any) -> bytes:
    """JSON in UTF-8 without spaces; a lone surrogate, which is not valid Unicode, becomes a question mark."""
    try:
        return orjson.dumps(value)
    except TypeError:  # orjson refuses surrogates, and integers of more than 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def to_record(outcome: Outcome) -> dict[str, Any]:
    """An outcome as a JSON object for the journal."""
    kind = "completion" if isinstance(outcome, Completion) else "failure"
    return {"kind": kind, **{name: getattr(outcome, name) for name in outcome.__slots__}}


def from_record(record: dict[str, Any]) -> Outcome:
    """The outcome that `to_record` wrote."""
    fields = {name: value for name, value in record.items() if name != "kind"}
    return Completion(**fields) if record["kind"] == "completion" else Failure(**fields)


def clip(text: str) -> str:
    """`text`, shortened for a failure's detail."""
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"
