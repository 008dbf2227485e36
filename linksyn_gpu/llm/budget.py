"""Limits on requests and on tokens, over all calls that share a journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linksyn_gpu.llm.protocol import Outcome
from linksyn_gpu.text import COMPLETION_GUESS, estimate_tokens

ENOUGH = 16
"""Answers after which estimates use the measured tokens."""


class Budget:
    """Admits requests until a limit is reached.

    `admit` is called just before a request is sent. Requests in flight count with an estimate, received answers with
    the tokens that the server reported. The limit on tokens is therefore exceeded at most by the difference between
    both for the requests in flight.

    Parameters
    ----------
    max_requests, max_tokens : int, optional
        None: no limit. Tokens are those read and written, of all attempts.
    requests, tokens : int
        What was spent before.
    """

    def __init__(
        self, max_requests: int | None = None, max_tokens: int | None = None, *, requests: int = 0, tokens: int = 0
    ) -> None:
        self.max_requests, self.max_tokens = max_requests, max_tokens
        self.requests, self.tokens = requests, tokens
        self.met: str | None = None
        """The limit that was reached, as a message; None: none was."""
        self._reserved: dict[str, float] = {}
        self._in_flight = 0.0
        self._answers = self._other_tokens = 0  # others: of the answer, and of discarded attempts
        self._prompt_tokens = self._prompt_estimate = 0

    def refuses(self, *, known: bool = False) -> bool:
        """Whether a limit is reached. `known`: the request was asked before and does not count again."""
        if not known and self.max_requests is not None and self.requests >= self.max_requests:
            self.met = f"the limit of {self.max_requests:,} requests is reached (--max-requests)"
        elif self.max_tokens is not None and self.tokens >= self.max_tokens:
            self.met = f"{self.tokens:,} of at most {self.max_tokens:,} tokens are spent (--budget-tokens)"
        return self.met is not None

    def admit(self, request: Mapping[str, Any], *, known: bool = False) -> bool | None:
        """Whether a request may be sent now. Its estimate is then reserved until `settle`.

        None: this depends on the requests in flight; call again when some of them have settled.
        """
        if self.refuses(known=known):
            return False
        if self.max_tokens is not None:
            tokens = self._expected(request)
            if self.tokens + tokens > self.max_tokens:
                self.met = f"another answer would exceed {self.max_tokens:,} tokens (--budget-tokens)"
                return False
            if self.tokens + self._in_flight + tokens > self.max_tokens:
                return None
            self._reserved[request["custom_id"]] = tokens
            self._in_flight += tokens
        self.requests += not known
        return True

    def settle(self, request: Mapping[str, Any], outcome: Outcome) -> None:
        """Replace a request's estimate by the tokens that it took."""
        self.tokens += outcome.spent_tokens
        if self.max_tokens is None:
            return
        self._in_flight -= self._reserved.pop(outcome.id, 0.0)
        if outcome.prompt_tokens:
            self._answers += 1
            self._other_tokens += outcome.spent_tokens - outcome.prompt_tokens
            self._prompt_tokens += outcome.prompt_tokens
            self._prompt_estimate += prompt_tokens(request)

    def _expected(self, request: Mapping[str, Any]) -> float:
        estimate = float(prompt_tokens(request))
        if self._answers < ENOUGH:
            return estimate + COMPLETION_GUESS
        return estimate * self._prompt_tokens / self._prompt_estimate + self._other_tokens / self._answers


def prompt_tokens(request: Mapping[str, Any]) -> int:
    """Estimated tokens of a request's messages."""
    return sum(estimate_tokens(message["content"]) for message in request["body"]["messages"])
