"""Settings of stage `curate`: the tables `[curate]` and `[judge]`."""

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
    seeds: tuple[str, ...] = ()
    """For QA of other files: files of seeds, which count as the seeds of a campaign do."""

    def __post_init__(self) -> None:
        require(0.0 < self.near_duplicates <= 1.0, f"near_duplicates = {self.near_duplicates} must be in (0, 1]")


@dataclass(frozen=True)
class JudgeConfig:
    """Whether and how a model judges the QA of the data set."""

    use: bool = False
    """Ask the model of `[synthesis]` about each QA that the steps before kept."""
    min_score: int = 4
    """Least score, 1..5, of correctness, of clarity, and of worth for learning."""
    solves: int = 0
    """Independent solutions of each QA, without its answer; 0: none."""
    min_agreed: float = 0.5
    """Least share of the solutions that agree with the answer."""

    def __post_init__(self) -> None:
        require(1 <= self.min_score <= 5, f"min_score = {self.min_score} must be in 1 .. 5")
        require(0 <= self.solves <= 32, f"solves = {self.solves} must be in 0 .. 32")
        require(0.0 < self.min_agreed <= 1.0, f"min_agreed = {self.min_agreed} must be in (0, 1]")
