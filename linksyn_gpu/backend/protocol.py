"""What the backends share with their callers: the rule of a step, and the largest batch of walks."""

from __future__ import annotations

from dataclasses import dataclass

MAX_BATCH = 2**31


@dataclass(frozen=True)
class StepRule:
    """How a step is taken."""

    no_revisit: bool
    p: float
    q: float

    @property
    def second_order(self) -> bool:
        return self.p != 1.0 or self.q != 1.0

    def acceptance(self) -> tuple[int, int, int]:
        """floor(a * 2^53) for a step (back to the previous KP, to a neighbour of it, elsewhere)."""
        raw = (1.0 / self.p, 1.0, 1.0 / self.q)
        back, near, far = (int(a / max(raw) * 2.0**53) for a in raw)
        return back, near, far
