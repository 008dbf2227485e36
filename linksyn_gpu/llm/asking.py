"""Asking in steps, for stages whose next request depends on the answers to the last ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.llm import EMBEDDED_MODEL
from linksyn_gpu.llm.prompting import prompt_chars
from linksyn_gpu.llm.protocol import Failure, Outcome

NO_ANSWER = "no_answer"
"""Reason of a failure that stands for a request without any outcome yet."""

Request = Mapping[str, Any]
Validate = Callable[[str], str | None]
"""The reason to ask again for an answer with this text; None if the text can be used."""
Send = Callable[[str, Sequence[Request], Validate], Iterable[Outcome | None]]
"""(kind, requests, validate) -> the outcome of each, in order; None: there is none yet."""


def request_model(config: SynthesisConfig) -> str:
    """Model name in a request; 'auto' if no model is set: on sending, the engine's first model replaces it."""
    return config.model or (EMBEDDED_MODEL if config.engine == "smol" else "auto")


class MeteredAsk:
    """Sends requests step by step and counts what their answers cost.

    Parameters
    ----------
    send : callable
        Sends the requests of one kind.
    max_prompt_chars : int
        A longer prompt is not sent: its outcome is the failure 'prompt_too_long'.
    """

    def __init__(self, send: Send, max_prompt_chars: int) -> None:
        self._send, self._limit = send, max_prompt_chars
        self.spent: Counter[str] = Counter()
        """Requests by kind, and tokens, of the answers that were read."""

    def __call__(self, kind: str, requests: Sequence[Request], validate: Validate) -> Iterator[Outcome]:
        """Ask, and give the outcome of each request in order."""
        chars = [prompt_chars(request["body"]["messages"]) for request in requests]
        short = [request for request, n in zip(requests, chars, strict=True) if n <= self._limit]
        outcomes = iter(self._send(kind, short, validate))
        for request, n in zip(requests, chars, strict=True):
            if n > self._limit:
                detail = f"{n} characters, at most {self._limit}"
                yield Failure(request["custom_id"], "prompt_too_long", detail)
                continue
            outcome = next(outcomes) or Failure(request["custom_id"], NO_ANSWER, "")
            if not is_pending(outcome):
                self.spent[f"{kind}_requests"] += 1
                self.spent["prompt_tokens"] += outcome.prompt_tokens
                self.spent["completion_tokens"] += outcome.completion_tokens
            yield outcome


def is_pending(outcome: Outcome) -> bool:
    """Whether a later call is to ask again: there is no answer yet, or a failure that passes."""
    return isinstance(outcome, Failure) and (outcome.transient or outcome.reason == NO_ANSWER)
