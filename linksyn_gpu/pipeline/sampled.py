"""Rule checks of a sample of the answers while they arrive, for the share of QA that is kept so far."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from linksyn_gpu.tables import Asked

if TYPE_CHECKING:
    from linksyn_gpu.config import ChecksConfig, SynthesisConfig

PER_SECOND = 10
"""Answers that are checked in one second at most: a check of one QA takes about a millisecond of the event loop."""


class SampledChecks:
    """Checks a sample of the answers by the rules that need only the QA itself.

    It is an estimate: seeds, the language and type that were asked for, and QA outside the sample are not compared.
    Stage synthesize checks every QA with all rules when it ends.

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

    def after(self, validate: Callable[[str], str | None]) -> Callable[[str], str | None]:
        """The same check of an answer's text, which also passes texts that are valid on to the sample."""

        def validate_and_sample(text: str) -> str | None:
            reason = validate(text)
            if reason is None and time.monotonic() >= self._next:
                self._next = time.monotonic() + 1.0 / PER_SECOND
                self._take(text)
            return reason

        return validate_and_sample

    def _take(self, text: str) -> None:
        from linksyn_gpu.synthesis.answers import parse
        from linksyn_gpu.text.languages import guess_language

        for item in parse(text, self._per_path).items:
            kind = "multiple_choice" if item.options else "open"
            fault = self._checker.check(item, Asked(kind, guess_language(item.question)))
            self._tally["" if fault is None else fault[0]] += 1
