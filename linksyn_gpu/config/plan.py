"""Settings of the command `plan`: the table `[plan]`."""

from __future__ import annotations

from dataclasses import dataclass

from linksyn_gpu.config.checks import require


@dataclass(frozen=True)
class PlanConfig:
    """What a forecast assumes and is asked for (command `plan`). It changes nothing in the campaign."""

    price_in: float | None = None
    """Price of a million tokens read."""
    price_out: float | None = None
    """Price of a million tokens written."""
    tokens_per_second: float | None = None
    """Tokens that the server writes per second; None: as measured in the folder, if there are answers."""
    tokens: float | None = None
    """Written tokens of kept QA for which paths, storage and time are computed."""
    completion_tokens: float | None = None
    """Tokens assumed per answer; None: the mean of the folder's answers, or 300 for each QA while there are none."""
    tokenizer: str | None = None
    """tokenizer.json of the model, to count prompt tokens without a server (extra plan)."""

    @property
    def prices(self) -> tuple[float, float] | None:
        """Prices of a million tokens read and written; None where they are not set."""
        return None if self.price_in is None or self.price_out is None else (self.price_in, self.price_out)

    def __post_init__(self) -> None:
        for name in ("price_in", "price_out"):
            value = getattr(self, name)
            require(value is None or 0.0 <= value < float("inf"), f"{name} = {value} must be a price >= 0")
        for name in ("tokens_per_second", "tokens", "completion_tokens"):
            value = getattr(self, name)
            require(value is None or 0.0 < value < float("inf"), f"{name} = {value} must be positive")
        both = (self.price_in is None) == (self.price_out is None)
        require(both, "price_in and price_out: give both (0 for one that costs nothing), or neither")
