"""Settings of stage `walk`: the tables `[walk]`, `[quota]` and `[bundle]`."""

from __future__ import annotations

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
    """Target visits go as seed_count ** tau: 1 is popularity, 0 is uniform coverage."""
    beta: float = 1.0
    """Strength of live feedback: 0, 0.5, 1 or 2."""
    rounds: int = 20
    """Rounds that a campaign is cut into; the value function is renewed for each."""
    calibration_rounds: int = 20
    """Rounds of throw-away walks that set the potential before a campaign; 0 for none."""
    no_revisit: bool = True
    """A walk never visits a KP twice."""
    p: float = 1.0
    """node2vec return parameter."""
    q: float = 1.0
    """node2vec in-out parameter."""
    calibration_paths: int | None = None
    """Walks in a calibration round; None: 4 per KP, within 1,024 .. 4,194,304."""
    min_length: int = 2
    """A path of fewer KPs is redrawn."""
    distinct: bool = False
    """Redraw a path whose set of KPs was sampled before in the campaign."""
    max_redraws: int = 8
    """Bound on redraws of one path; then the path is dropped with its reason."""
    walker: str = "exact"
    """'exact': this project's walks, the same bits on every backend; 'cugraph': cuGraph's biased_random_walks over the
    same transition table, on a GPU, with other random numbers, without no_revisit, p and q."""

    def __post_init__(self) -> None:
        require(1 <= self.length <= MAX_WALK_LENGTH, f"length = {self.length} must lie in 1..{MAX_WALK_LENGTH}")
        one_of("walker", self.walker, WALKERS)
        require(
            self.walker == "exact" or (not self.no_revisit and self.p == self.q == 1.0),
            "walker 'cugraph' knows neither no_revisit nor p and q: pass --revisit, and leave p and q at 1",
        )
        require(0.0 <= self.tau <= 4.0, f"tau = {self.tau} must lie in 0..4")
        one_of("beta", float(self.beta), (0.0, 0.5, 1.0, 2.0))
        require(self.rounds >= 1, f"rounds = {self.rounds} must be at least 1")
        for name in ("calibration_rounds", "max_redraws"):
            require(getattr(self, name) >= 0, f"{name} = {getattr(self, name)} must not be negative")
        for name in ("p", "q"):
            # 2^-16 .. 2^16 keeps every acceptance weight at or above 2^-32, the sampler's resolution.
            value = getattr(self, name)
            require(2.0**-16 <= value <= 2.0**16, f"{name} = {value} must lie in 2^-16 .. 2^16")
        require(
            self.calibration_paths is None or self.calibration_paths >= 1,
            f"calibration_paths = {self.calibration_paths} must be at least 1, or left out",
        )
        require(
            2 <= self.min_length <= self.length + 1,
            f"min_length = {self.min_length} must lie in 2 .. length + 1 = {self.length + 1}",
        )


@dataclass(frozen=True)
class QuotaConfig:
    """What a campaign is asked to deliver, as shares (table `[quota]`); both empty: one cell over everything."""

    discipline: Mapping[str, float] = field(default_factory=dict)
    """Discipline -> share of the paths; shares are relative and need not sum to 1."""
    difficulty: Mapping[str, float] = field(default_factory=dict)
    """Level 1..5 (a string, as TOML keys are) -> share of the paths."""
    cross_discipline: float = 0.1
    """How much a KP of another discipline is still worth in a cell: 0 shuts it out, 1 treats all alike."""
    difficulty_width: float = 1.0
    """Width, in levels, of the Gaussian kernel that steers a cell to KPs of its difficulty."""

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
        require(
            0.0 <= self.cross_discipline <= 1.0,
            f"cross_discipline = {self.cross_discipline} must lie in 0..1",
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
