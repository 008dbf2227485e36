"""Settings of stage `curate`: the table `[curate]`."""

from __future__ import annotations

from dataclasses import dataclass

from linksyn_gpu.config.checks import require


@dataclass(frozen=True)
class CurateConfig:
    """What the data set leaves out of the kept QA."""

    near_duplicates: float = 0.8
    """Two QA are near-duplicates from this Jaccard index of their word 3-grams on (question and options), in (0, 1]. At
    1 the sets must be equal."""
    against_seeds: bool = True
    """Whether a QA that is a near-duplicate of a seed is left out."""

    def __post_init__(self) -> None:
        require(0.0 < self.near_duplicates <= 1.0, f"near_duplicates = {self.near_duplicates} must be in (0, 1]")
