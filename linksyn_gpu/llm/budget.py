"""How much may be asked: a bound on requests and on tokens, over all calls that share a journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linksyn_gpu.llm.protocol import Outcome
from linksyn_gpu.text import COMPLETION_GUESS, estimate_tokens

ENOUGH = 16
"""Answers after which estimates follow what they took."""


class Budget:
    """Lets requests pass until a bound is met.

    Asked just before a request is sent. What is in flight counts as estimated, what has come as the server told it. So
    the bound on tokens may be passed, by no more than what the requests in flight take beyond their estimate.

    Parameters
    ----------
    max_requests, max_tokens : int, optional
        None: no bound. Tokens are those read and written together, of all attempts.
    requests, tokens : int
        What was spent before.
    """

    def __init__(
        self, max_requests: int | None = None, max_tokens: int | None = None, *, requests: int = 0, tokens: int = 0
    ) -> None:
        self.max_requests, self.max_tokens = max_requests, max_tokens
        self.requests, self.tokens = requests, tokens
        self.met: str | None = None
        """Which bound stopped the asking, for people; None: none did."""
        self._reserved: dict[str, float] = {}
        self._in_flight = 0.0
        self._answers = self._completion_tokens = 0
        self._prompt_tokens = self._prompt_estimate = 0

    def refuses(self, *, known: bool = False) -> bool:
        """Whether a bound is met; `known`: the request was asked before and counts no second time."""
        if not known and self.max_requests is not None and self.requests >= self.max_requests:
            self.met = f"{self.max_requests:,} requests were asked for at most (--max-requests)"
        elif self.max_tokens is not None and self.tokens >= self.max_tokens:
            self.met = f"{self.tokens:,} of at most {self.max_tokens:,} tokens are spent (--budget-tokens)"
        return self.met is not None

    def admit(self, request: Mapping[str, Any], *, known: bool = False) -> bool | None:
        """Whether a request may be sent now; its share is then set aside until `settle`.

        None: that depends on what is in flight; ask again when some of it has settled.
        """
        if self.refuses(known=known):
            return False
        if self.max_tokens is not None:
            tokens = self._expected(request)
            if self.tokens + tokens > self.max_tokens:
                self.met = f"one more answer would pass {self.max_tokens:,} tokens (--budget-tokens)"
                return False
            if self.tokens + self._in_flight + tokens > self.max_tokens:
                return None
            self._reserved[request["custom_id"]] = tokens
            self._in_flight += tokens
        self.requests += not known
        return True

    def settle(self, request: Mapping[str, Any], outcome: Outcome) -> None:
        """Put what a request took in the place of its estimate."""
        self.tokens += outcome.spent_tokens
        if self.max_tokens is None:
            return
        self._in_flight -= self._reserved.pop(outcome.id, 0.0)
        if outcome.prompt_tokens:
            self._answers += 1
            self._completion_tokens += outcome.completion_tokens
            self._prompt_tokens += outcome.prompt_tokens
            self._prompt_estimate += prompt_tokens(request)

    def _expected(self, request: Mapping[str, Any]) -> float:
        estimate = float(prompt_tokens(request))
        if self._answers < ENOUGH:
            return estimate + COMPLETION_GUESS
        return estimate * self._prompt_tokens / self._prompt_estimate + self._completion_tokens / self._answers


def prompt_tokens(request: Mapping[str, Any]) -> int:
    """Tokens that a request's messages are estimated to have."""
    return sum(estimate_tokens(message["content"]) for message in request["body"]["messages"])
