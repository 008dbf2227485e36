"""Settings of stage `walk`: the tables `[walk]`, `[quota]` and `[bundle]`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from linksyn_gpu.config.checks import one_of, require

WALKERS = ("exact", "cugraph")
MAX_WALK_LENGTH = 255


@dataclass(frozen=True)
class WalkConfig:
    """How walks are sampled (docs/method.md has the formulas)."""

    length: int = 4
    """Steps of a walk; a path has at most length + 1 KPs."""
    tau: float = 0.5
    """Target visits are proportional to seed_count ** tau: 1 is popularity, 0 is uniform coverage."""
    beta: float = 1.0
    """Strength of live feedback: 0, 0.5, 1 or 2."""
    rounds: int = 20
    """Rounds of a campaign; the value function is updated before each."""
    calibration_rounds: int = 20
    """Rounds of discarded walks that set the potential before a campaign; 0 for none."""
    no_revisit: bool = True
    """A walk never visits a KP twice."""
    p: float = 1.0
    """node2vec return parameter."""
    q: float = 1.0
    """node2vec in-out parameter."""
    calibration_paths: int | None = None
    """Walks per calibration round; None: 4 per KP, but 1,024 to 4,194,304."""
    min_length: int = 2
    """A path with fewer KPs is redrawn."""
    distinct: bool = False
    """Redraw a path whose set of KPs was sampled earlier in the campaign."""
    max_redraws: int = 8
    """Redraws of one path, at most; after that the path is dropped with its reason."""
    walker: str = "exact"
    """'exact': walks of this project, with the same bits on every backend; 'cugraph': biased_random_walks of cuGraph on
    a GPU, with the same transition table and other random numbers, without no_revisit, p and q."""

    def __post_init__(self) -> None:
        require(1 <= self.length <= MAX_WALK_LENGTH, f"length = {self.length} must be in 1..{MAX_WALK_LENGTH}")
        one_of("walker", self.walker, WALKERS)
        require(
            self.walker == "exact" or (not self.no_revisit and self.p == self.q == 1.0),
            "walker 'cugraph' does not support no_revisit, p and q: pass --revisit and leave p and q at 1",
        )
        require(0.0 <= self.tau <= 4.0, f"tau = {self.tau} must be in 0..4")
        one_of("beta", float(self.beta), (0.0, 0.5, 1.0, 2.0))
        require(self.rounds >= 1, f"rounds = {self.rounds} must be at least 1")
        for name in ("calibration_rounds", "max_redraws"):
            require(getattr(self, name) >= 0, f"{name} = {getattr(self, name)} must not be negative")
        for name in ("p", "q"):
            # Within 2^-16 .. 2^16 no acceptance weight is below 2^-32, the resolution of the sampler.
            value = getattr(self, name)
            require(2.0**-16 <= value <= 2.0**16, f"{name} = {value} must be in 2^-16 .. 2^16")
        require(
            self.calibration_paths is None or self.calibration_paths >= 1,
            f"calibration_paths = {self.calibration_paths} must be at least 1, or None (the default)",
        )
        require(
            2 <= self.min_length <= self.length + 1,
            f"min_length = {self.min_length} must be in 2 .. length + 1 = {self.length + 1}",
        )


@dataclass(frozen=True)
class QuotaConfig:
    """Shares of the paths of a campaign (table `[quota]`); both empty: one cell for all paths."""

    discipline: Mapping[str, float] = field(default_factory=dict)
    """Discipline -> share of the paths; shares are relative and need not sum to 1."""
    difficulty: Mapping[str, float] = field(default_factory=dict)
    """Level 1..5 (a string, as TOML keys are) -> share of the paths."""
    cross_discipline: float = 0.1
    """Share of the steps of a cell's walks that may leave its discipline."""
    min_own_share: float = 0.5
    """A path belongs to a cell if more than this share of its seeds are of the cell's discipline; another is redrawn,
    and in the end dropped as 'off_cell'."""
    max_overdraw: float = 3.0
    """With `qa`: paths of a cell, at most, as a multiple of those that it would need if every QA were kept."""
    difficulty_width: float = 1.0
    """Width, in levels, of the Gaussian kernel that prefers KPs of the difficulty of a cell."""

    def __post_init__(self) -> None:
        for name in ("discipline", "difficulty"):
            shares = getattr(self, name)
            for key, share in shares.items():
                require(
                    isinstance(share, (int, float)) and 0.0 <= share < float("inf"),
                    f"{name}.{key} = {share!r} must be a share >= 0",
                )
            require(not shares or sum(shares.values()) > 0.0, f"{name}: all shares are 0")
        for level in self.difficulty:
            one_of("a level of difficulty", level, ("1", "2", "3", "4", "5"))
        for name in ("cross_discipline", "min_own_share"):
            require(0.0 <= getattr(self, name) < 1.0, f"{name} = {getattr(self, name)} must be at least 0 and below 1")
        require(
            self.cross_discipline + self.min_own_share < 1.0,
            f"cross_discipline = {self.cross_discipline} leaves no path with more than min_own_share = "
            f"{self.min_own_share} of its seeds in the discipline; lower one of them",
        )
        require(
            1.0 <= self.max_overdraw < math.inf, f"max_overdraw = {self.max_overdraw} must be a number of at least 1"
        )
        require(
            self.difficulty_width > 0.0,
            f"difficulty_width = {self.difficulty_width} must be positive",
        )


@dataclass(frozen=True)
class BundleConfig:
    """How seeds are linked along a path (stage `walk`)."""

    min_seeds: int = 2
    """A path with fewer distinct seeds is dropped as 'few_seeds'."""

    def __post_init__(self) -> None:
        require(self.min_seeds >= 2, f"min_seeds = {self.min_seeds}: a link needs at least 2 seeds")
