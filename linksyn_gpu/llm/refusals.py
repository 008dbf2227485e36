"""What a refusal means: wait, try again, ask differently, drop this one request, or stop the run.

Servers agree on few status codes and on no words. A refusal is therefore classified by its status and by the words,
codes and parameter names in its body (`protocol.error_message`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from linksyn_gpu.llm.protocol import error_message, read_json


class Kind(Enum):
    """What to do about a refusal."""

    WAIT = "the server asks for a pause"
    RETRY = "a failure that passes"
    INVALID = "the server could not generate a valid answer: ask again with another seed"
    PARAMETER = "the server does not accept one parameter: ask without it, or under its new name"
    TOO_LONG = "prompt and answer exceed the model's context: ask for a shorter answer"
    UNUSABLE = "this request is refused; others may be accepted"
    FILTERED = "a content filter refuses this request"
    SETUP = "the account or the settings are wrong: no request can succeed"


@dataclass(frozen=True)
class Refusal:
    """A reply that is not an answer."""

    kind: Kind
    message: str
    parameter: str = ""
    """Of PARAMETER: its name as it was sent."""
    new_name: str | None = None
    """Of PARAMETER: the name that the server wants instead."""
    context: int | None = None
    """Of TOO_LONG: tokens of the model's context, where the server reports them."""
    space: int | None = None
    """Of TOO_LONG: tokens that an answer may have, where the server reports them."""
    text: str = ""
    """Of INVALID: what was generated."""


FIXED = ("model", "messages")
"""Parameters that a request cannot do without."""
ANSWER_LIMITS = {"max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens"}
"""Names of the limit on an answer's tokens."""

_ACCOUNT = re.compile(
    r"insufficient[ _-]?(quota|balance|funds|credits?)|credit balance|(out of|no|not enough|purchase) credits"
    r"|billing|payment|in arrears|quota (is )?(exceeded|exhausted)|exceeded (your|the) (current |monthly )?quota"
    r"|account (is |has been )?(not active|suspended|disabled|deactivated)|spending limit|usage limit reached"
    r"|(invalid|incorrect|missing|expired|revoked|wrong|unknown|no)[ _](api|access|auth)[ _-]?(key|token)"
    r"|api[ _]key (is |was )?(not valid|invalid|expired|not found)",
    re.I,
)
_PASSING_LIMIT = re.compile(r"(try again|retry) (in|after)|per[ _-](second|minute|hour)|\b[rt]p[mh]\b", re.I)
_MODEL = re.compile(
    r"model\b.{0,80}(not found|does not exist|not exist|not available|unknown|not supported|decommissioned|no access)"
    r"|(unknown|invalid|no such|unsupported) model|model_not_found",
    re.I | re.S,
)
_FILTER = re.compile(
    r"content[ _-]?(filter|management|policy|moderation)|moderation|flagged|safety (system|policy)"
    r"|responsible ?ai|usage polic|data_inspection|inappropriate content|risk control",
    re.I,
)
_INVALID = re.compile(r"json_validate_failed|failed_generation|failed to generate json", re.I)
_TOO_LONG = re.compile(
    r"context[ _-]?(length|window|size)|max_model_len|n_ctx|too many tokens|(prompt|input|request) is too long"
    r"|reduce the length|tokens?\b.{0,60}(too (large|long|high|many)|exceed|at most|less than or equal|valid range)"
    r"|exceed.{0,60}\btokens",
    re.I | re.S,
)
_CONTEXT = re.compile(r"(?:context[ _-]?(?:length|window|size)|max_model_len|n_ctx)\D{0,40}?(\d[\d,]*)", re.I)
_PROMPT = re.compile(
    r"(\d[\d,]*)(?: input tokens| tokens? (?:from|in) the (?:input|prompt|messages)"
    r"| in (?:the|your) (?:messages|prompt))"
    r"|(?:resulted in|request \(|prompt (?:contains|has|is)|input (?:has|is|of)|n_prompt_tokens\D{1,4}) ?(\d[\d,]*)",
    re.I,
)
_MOST = re.compile(
    r"(?:at most|less than or equal to|<=|range[^\]]{0,60}[,~-]|up to|maximum(?: of| is| value)?)\s*(\d[\d,]*)"
)
_REFUSED = re.compile(
    r"unsupported|not (be |yet |currently )?(supported|permitted|allowed|recogni[sz]ed|accepted|available|valid)"
    r"|un(known|recogni[sz]ed|expected|available)|extra (inputs|fields)|extra_forbidden|invalid|forbidden"
    r"|does(n't| not) (support|accept|allow)|deprecated|only the default|must be|incompatible|cannot|failed to",
    re.I,
)
_SCHEMA = re.compile(r"response_format|json_schema|structured output|guided|grammar", re.I)
_INSTEAD = re.compile(r"use [`'\"]?(\w+)[`'\"]? instead|did you mean [`'\"]?(\w+)", re.I)


def read_refusal(
    status: int, body: Any, sent: Mapping[str, Any] | Iterable[str], retry_after: float | None = None
) -> Refusal:
    """Classify a reply that is not an answer.

    Parameters
    ----------
    body : bytes or object
        The reply's body, or the object in it.
    sent : mapping
        The body of the request; its keys are the parameters that the refusal may be about.
    retry_after : float, optional
        Seconds that the server asked to wait.
    """
    message = error_message(body)
    said = f"HTTP {status}: {message}"
    if status in (429, 503, 529):
        passing = retry_after is not None or _PASSING_LIMIT.search(message) is not None
        final = status == 429 and not passing and _ACCOUNT.search(message) is not None
        return Refusal(Kind.SETUP if final else Kind.WAIT, said)
    if status >= 500 or status in (408, 409, 425):
        return Refusal(Kind.RETRY, said)
    if status in (401, 402, 407, 498):
        return Refusal(Kind.SETUP, said)
    if status in (400, 422) and _INVALID.search(message):
        return Refusal(Kind.INVALID, said, text=_generated(body))
    if _FILTER.search(message):
        return Refusal(Kind.FILTERED, said)
    if _ACCOUNT.search(message):
        return Refusal(Kind.SETUP, said)
    if status in (400, 413, 422):
        if _TOO_LONG.search(message):
            return _too_long(said, message)
        if (found := _parameter(message, sent)) is not None:
            return Refusal(Kind.PARAMETER, said, *found)
    if status in (400, 403, 404, 422) and _MODEL.search(message):
        return Refusal(Kind.SETUP, said)
    return Refusal(Kind.UNUSABLE, said)


def _too_long(said: str, message: str) -> Refusal:
    context, prompt, most = (_number(pattern.search(message)) for pattern in (_CONTEXT, _PROMPT, _MOST))
    space = context - prompt if context is not None and prompt is not None else most
    return Refusal(Kind.TOO_LONG, said, context=context, space=space)


def _number(match: re.Match[str] | None) -> int | None:
    if match is None:
        return None
    digits = next(group for group in match.groups() if group is not None).replace(",", "")
    return int(digits) if len(digits) < 10 else None


def _parameter(message: str, sent: Iterable[str]) -> tuple[str, str | None] | None:
    """(name, new name) of the parameter that a message refuses: the first one in it that was sent."""
    names = [name for name in sent if name not in FIXED]
    if "response_format" in names and _SCHEMA.search(message):
        return "response_format", None
    if not _REFUSED.search(message):
        return None
    named = re.search(r"\(param (\w+)\)", message)
    if named is not None and named[1] in names:
        found = named[1]
    else:
        places = {name: re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message) for name in names}
        standing = {name: match.start() for name, match in places.items() if match is not None}
        if not standing:
            return None
        found = min(standing, key=lambda name: standing[name])
    instead = _INSTEAD.search(message)
    new_name = (instead[1] or instead[2]) if instead is not None else None
    if new_name is None and found == "max_tokens" and "max_completion_tokens" in message:
        new_name = "max_completion_tokens"
    return found, new_name if new_name not in (found, *names) else None


def _generated(body: Any) -> str:
    """The text in the error of a server that checks the schema itself."""
    try:
        value = read_json(body) if isinstance(body, bytes) else body
        text = value["error"]["failed_generation"]
    except (ValueError, KeyError, TypeError):
        return ""
    return text if isinstance(text, str) else ""


class Dialect:
    """How one server wants a request's parameters: some under another name, some not at all.

    Parameters
    ----------
    without : iterable of str
        Parameters that are not sent.
    rename : mapping
        Name of a parameter -> the name that is sent.
    """

    def __init__(self, without: Iterable[str] = (), rename: Mapping[str, str] | None = None) -> None:
        self.without = set(without)
        self.rename = dict(rename or {})

    def apply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body as this server wants it."""
        return {self.rename.get(name, name): value for name, value in body.items() if name not in self.without}

    def left_out(self, body: Mapping[str, Any]) -> tuple[str, ...]:
        """Names of the parameters of a body that `apply` leaves out."""
        return tuple(sorted(self.without & body.keys()))

    def learn(self, refusal: Refusal) -> bool:
        """Take note of a refused parameter; False where it was known, as another request in flight met it, too."""
        before = len(self.without), len(self.rename)
        original = next((name for name, new in self.rename.items() if new == refusal.parameter), refusal.parameter)
        if refusal.new_name is not None and original not in self.rename:
            self.rename[original] = refusal.new_name
        elif refusal.new_name is None or self.rename[original] == refusal.parameter:
            self.without.add(original)
        return (len(self.without), len(self.rename)) != before
