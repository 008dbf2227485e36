"""Rule checks of a sample of the answers while they arrive, for the share of QA that is kept so far."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linksyn_gpu.config import ChecksConfig, SynthesisConfig
    from linksyn_gpu.llm.protocol import Outcome

PER_SECOND = 10
"""Answers that are checked in one second at most: a check of one QA takes about a millisecond of the event loop."""


class SampledChecks:
    """Checks a sample of the answers by the rules that need only the QA and what was asked for.

    It is an estimate: QA are compared neither with seeds nor with QA outside the sample. Stage synthesize checks every
    QA with all rules when it ends.

    Parameters
    ----------
    tally : Counter
        Takes the number of QA by the reason of their drop; '' for those that pass.
    """

    def __init__(self, config: SynthesisConfig, checks: ChecksConfig, tally: Counter[str]) -> None:
        from linksyn_gpu.quality.checks import Checker

        self._per_path, self._tally = config.per_path, tally
        self._checker = Checker(config=checks)
        self._next = 0.0

    def take(self, request: Mapping[str, Any], outcome: Outcome) -> None:
        """Check the QA of an answer, unless one was checked a moment ago. The request says what was `asked`."""
        from linksyn_gpu.llm.protocol import Completion
        from linksyn_gpu.synthesis.answers import parse

        if not isinstance(outcome, Completion) or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 1.0 / PER_SECOND
        for item in parse(outcome.text, self._per_path).items:
            fault = self._checker.check(item, request["asked"])
            self._tally["" if fault is None else fault[0]] += 1
