"""Settings of stage `walk`: the tables `[walk]`, `[quota]` and `[bundle]`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from linksyn_gpu.config.checks import check_shares, each_of, one_of, require
from linksyn_gpu.config.licenses import license_key

WALKERS = ("exact", "cugraph")
PRESETS = ("seeds", "uniform")
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
    kp_scores: str | None = None
    """File with the accuracy or the loss of a student model for each KP, .jsonl or .csv: weak KPs get more paths."""
    kp_scores_kind: str = "accuracy"
    """Column of that file: 'accuracy' or 'loss'."""
    kp_scores_strength: float = 1.0
    """Exponent of the factor that the scores give the target; 0: none."""
    walker: str = "exact"
    """'exact': walks of this project, with the same bits on every backend; 'cugraph': biased_random_walks of cuGraph on
    a GPU, with the same transition table and other random numbers, without no_revisit, p and q."""

    def __post_init__(self) -> None:
        require(1 <= self.length <= MAX_WALK_LENGTH, f"length = {self.length} must be in 1..{MAX_WALK_LENGTH}")
        one_of("walker", self.walker, WALKERS)
        one_of("kp_scores_kind", self.kp_scores_kind, ("accuracy", "loss"))
        strength = self.kp_scores_strength
        require(0.0 <= strength <= 8.0, f"kp_scores_strength = {strength} must be in 0..8")
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
    """Level 1..5 -> share of the paths."""
    discipline_preset: str | None = None
    """Instead of `discipline`: 'seeds', shares as in the seeds, or 'uniform', equal shares of their disciplines."""
    difficulty_preset: str | None = None
    """Instead of `difficulty`: 'seeds', shares as in the rated seeds, or 'uniform', equal shares of their levels."""
    license_group: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """With `bundle.license_groups`: discipline, or '' without disciplines -> group -> share of its paths; empty: as in
    the seeds."""
    unit: str = "share"
    """'share'; or 'qa': the numbers of `discipline` and `difficulty` are kept QA to reach, which set `qa`. If both are
    given, their sums must be equal."""
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
        object.__setattr__(self, "difficulty", {str(level): share for level, share in self.difficulty.items()})
        one_of("unit", self.unit, ("share", "qa"))
        each_of("difficulty", self.difficulty, "a level", ("1", "2", "3", "4", "5"))
        for name in ("discipline", "difficulty"):
            shares, preset = getattr(self, name), getattr(self, f"{name}_preset")
            check_shares(name, shares)
            require(not (shares and preset), f"{name} and {name}_preset are both set; remove one of them")
            if preset is not None:
                one_of(f"{name}_preset", preset, PRESETS)
                require(self.unit == "share", f"{name}_preset gives shares: leave unit = {self.unit!r} out")
            if self.unit == "qa":
                whole = all(float(n).is_integer() for n in shares.values())
                require(whole, f"{name}: numbers of QA must be whole numbers with unit = 'qa'")
        sums = {sum(shares.values()) for shares in (self.discipline, self.difficulty) if shares}
        require(
            self.unit == "share" or len(sums) == 1,
            f"unit = 'qa', but the numbers of discipline sum to {sum(self.discipline.values()):g} and those of "
            f"difficulty to {sum(self.difficulty.values()):g}: make them equal, or leave one of the two out",
        )
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

    @property
    def total_qa(self) -> int | None:
        """Kept QA that the numbers of a quota in QA sum to; None: the numbers are shares."""
        return int(sum((self.discipline or self.difficulty).values())) if self.unit == "qa" else None

    @property
    def sums(self) -> dict[str, float]:
        """Sums of the shares that do not sum to 1: these are used in proportion."""
        named = {"discipline": self.discipline, "difficulty": self.difficulty}
        totals = {name: sum(shares.values()) for name, shares in named.items() if shares and self.unit == "share"}
        return {name: total for name, total in totals.items() if abs(total - 1.0) > 1e-9}


@dataclass(frozen=True)
class BundleConfig:
    """How seeds are linked along a path (stage `walk`)."""

    min_seeds: int = 2
    """A path with fewer distinct seeds is dropped as 'few_seeds'."""
    license_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name of a group -> licenses. Seeds of different groups are never in one bundle; those with another license or
    none are the group 'other'. Empty: all seeds may meet."""

    def __post_init__(self) -> None:
        require(self.min_seeds >= 2, f"min_seeds = {self.min_seeds}: a link needs at least 2 seeds")
        groups = {name: tuple(licenses) for name, licenses in self.license_groups.items()}
        object.__setattr__(self, "license_groups", groups)
        require("other" not in groups, "license_groups: 'other' is the group of all other licenses; use another name")
        keys = [license_key(name) for licenses in groups.values() for name in licenses]
        twice = sorted({name for name in keys if keys.count(name) > 1})
        require(not twice, f"license_groups: {', '.join(twice)} is in two groups, or twice in one")
