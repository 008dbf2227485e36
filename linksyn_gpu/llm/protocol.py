"""Outcomes of a request: a completion, or a failure with one reason of a fixed set."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import orjson

from linksyn_gpu.llm.thinking import split_thinking

REQUEST_REASONS = {
    "bad_request": "the server refused this request (4xx) and accepted others; its message is the detail",
    "prompt_too_long": "the prompt leaves no space for an answer in the model's context",
    "timeout": "no whole answer within the time allowed",
    "connection": "the connection was lost before the whole answer arrived",
    "server_error": "the server failed (5xx)",
    "refused": "the server refuses the account or the settings; the run stops, and asks again when it is fixed",
    "rate_limited": "the server asked to wait (429, 503) more often than allowed",
    "expired": "the batch ended (expired, cancelled) before the service answered this request",
    "bad_response": "the server answered 200 without a chat completion",
    "filtered": "the server withheld the answer (finish_reason content_filter)",
}
"""Why a request has no answer."""

ANSWER_REASONS = {
    "cut_off": "the answer did not end within max_tokens_retry (finish_reason length)",
    "no_text": "the answer was empty, or held only thinking",
}
"""Why an answer cannot be used, before its text is read; a caller's `validate` adds its own reasons."""

ITEM_MISSING = "item_missing"
"""Reason of a caller's `validate` for an answer of which a part can be used: it is asked for again, and the part is
kept if no attempt gives more."""

TRANSIENT = frozenset({"timeout", "connection", "server_error", "refused", "rate_limited", "expired", "bad_response"})
"""Failures that say nothing about the request itself: a later run asks these requests again."""

MAX_DETAIL = 500
UNTELLING = ("invalid_request_error", "BadRequestError", "error", "unknown_error")
"""Codes that say no more than the status does."""
MAX_DEPTH = 8
"""Nesting to which the parts of a message or of an error are read."""


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer that was received in full."""

    id: str
    text: str
    """The answer without its thinking."""
    reasoning: str
    """The model's thinking where it shows it: `reasoning_content`, typed parts, or marked text (see `thinking`)."""
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
    left_out: tuple[str, ...] = ()
    """Parameters of the request that were not sent, because the server refuses them or the settings say so."""
    endpoint: str = ""
    """Address of the server that answered; '' where it is unknown, as in a batch file."""
    received: float = field(default=0.0, compare=False)
    """Unix time in seconds when this was received; 0: unknown, as in a batch file."""
    seconds: float = field(default=0.0, compare=False)
    """From the first attempt to this outcome, waits for the server included."""
    pauses: int = field(default=0, compare=False)
    """Times that the server asked this request to wait (HTTP 429, 503)."""


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
    endpoint: str = ""
    """Address of the server that was asked last."""
    received: float = field(default=0.0, compare=False)
    """This and the next two: as of `Completion`."""
    seconds: float = field(default=0.0, compare=False)
    pauses: int = field(default=0, compare=False)

    @property
    def transient(self) -> bool:
        return self.reason in TRANSIENT


Outcome = Completion | Failure


def read_json(data: bytes | str) -> Any:
    """JSON from a server. Nesting and numbers that Python cannot handle are a ValueError, like any other damage."""
    return orjson.loads(data)


def read_body(
    request_id: str,
    body: Any,
    *,
    attempts: int = 1,
    seed: int | None = None,
    max_tokens: int | None = None,
    left_out: tuple[str, ...] = (),
) -> Outcome:
    """Read the body of a chat completion; any other body is a Failure 'bad_response'."""
    try:
        choice = body["choices"][0]
        message = choice["message"]
        content, shown = _parts(message.get("content"))
        shown += _texts(message.get("reasoning_content") or message.get("reasoning"))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        detail = f"not a chat completion ({type(error).__name__}: {error}) {_describe(body)}".strip()
        return Failure(request_id, "bad_response", clip(detail), attempts)
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    prompt_tokens, completion_tokens = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    finish, model = str(choice.get("finish_reason") or ""), str(body.get("model") or "")
    if finish == "content_filter":
        detail = "finish_reason content_filter"
        return Failure(request_id, "filtered", detail, attempts, content, prompt_tokens, completion_tokens, model)
    inner, answer = split_thinking(content)
    reasoning = "\n\n".join(part for part in (*(text.strip() for text in shown), inner) if part)
    return Completion(
        request_id,
        answer,
        reasoning,
        finish,
        prompt_tokens,
        completion_tokens,
        model,
        attempts,
        seed,
        max_tokens,
        left_out=left_out,
    )


def _parts(content: Any) -> tuple[str, list[str]]:
    """(text, thinking) of a message's content: a text, or a list of typed parts."""
    if content is None or isinstance(content, str):
        return content or "", []
    if not isinstance(content, list):
        raise TypeError("content is not text")
    texts, thinking = [], []
    for part in content:
        kind = str(part.get("type")) if isinstance(part, dict) else ""
        if "think" in kind or "reason" in kind:
            thinking += _texts(part)
        else:
            texts += _texts(part)
    return "".join(texts), ["".join(thinking)]


def _texts(value: Any, depth: int = 0) -> list[str]:
    """The texts in a part of a message, in any of the shapes that servers use."""
    if isinstance(value, str):
        return [value]
    if depth > MAX_DEPTH:
        raise TypeError("content is nested too deeply")
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner, depth + 1)]
    if isinstance(value, dict):
        names = ("text", "thinking", "reasoning", "content", "summary")
        return [text for name in names for text in _texts(value.get(name), depth + 1)]
    return []


def count(value: Any) -> int:
    """A number of tokens that a server reported; 0 where it is not one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**31:
        return 0
    return int(value)


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
        endpoint=completion.endpoint,
    )


def error_message(data: Any) -> str:
    """The message in a server's error, in any of the usual shapes, with its code and the parameter that it names.

    Parameters
    ----------
    data : bytes or object
        The body of a reply, or the object in it.
    """
    if not isinstance(data, bytes):
        return clip(_describe(data) or "no message")
    text = data.decode(errors="replace").strip()
    try:
        return clip(_describe(read_json(data)) or text)
    except ValueError:
        return clip(text)


def _describe(value: Any, depth: int = 0) -> str:
    if isinstance(value, str):
        return value
    if depth > MAX_DEPTH:
        return ""
    if isinstance(value, list):
        return "; ".join(filter(None, (_describe(inner, depth + 1) for inner in value[:5])))
    if not isinstance(value, dict):
        return ""
    names = ("error", "message", "msg", "detail", "errors", "title")
    text = next(filter(None, (_describe(value.get(name), depth + 1) for name in names)), "")
    if isinstance(place := value.get("loc"), list):  # of a field that FastAPI refuses
        text = f"{'.'.join(map(str, place))}: {text}"
    for name in ("param", "code", "type"):
        code = value.get(name)
        if isinstance(code, str) and code and code not in text and code not in UNTELLING:
            text += f" ({name} {code})"
    return text.strip()


def to_json(value: Any) -> bytes:
    """JSON in UTF-8 without spaces; a lone surrogate, which is not valid Unicode, becomes a question mark."""
    try:
        return orjson.dumps(value)
    except TypeError:  # orjson refuses surrogates, deep nesting, and integers of more than 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def to_record(outcome: Outcome) -> dict[str, Any]:
    """An outcome as a JSON object for the journal."""
    kind = "completion" if isinstance(outcome, Completion) else "failure"
    return {"kind": kind, **{name: getattr(outcome, name) for name in outcome.__slots__}}


def from_record(record: dict[str, Any]) -> Outcome:
    """The outcome that `to_record` wrote."""
    fields = {name: value for name, value in record.items() if name != "kind"}
    for name in ("prompt_tokens", "completion_tokens", "spent_tokens"):
        fields[name] = count(fields.get(name, 0))
    if "left_out" in fields:
        fields["left_out"] = tuple(fields["left_out"])
    return Completion(**fields) if record["kind"] == "completion" else Failure(**fields)


def clip(text: str) -> str:
    """`text`, shortened for a failure's detail."""
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"
