"""Settings of the optional stage `enhance`: the table `[enhance]`."""

from __future__ import annotations

from dataclasses import dataclass

from linksyn_gpu.config.checks import require

ALL = "all"
"""Value of `EnhanceConfig.disciplines` for all disciplines."""


@dataclass(frozen=True)
class EnhanceConfig:
    """Which QA are brought to which level, and with how many attempts. The model is that of `SynthesisConfig`."""

    disciplines: tuple[str, ...] = ()
    """Disciplines whose QA are brought to `level`; 'all': every QA; empty: the stage does not run."""
    level: int = 5
    """Target level, 2..5 (`taxonomy.difficulty.LEVELS` defines the levels)."""
    solves: int = 3
    """Independent solves that check an answer."""
    agree: int | None = None
    """Solves that must agree with the answer; None: more than half."""
    tries: int = 2
    """Most rewrites of one QA."""
    extra_steps: int = 2
    """Steps added to a QA's path for each rewrite."""

    def __post_init__(self) -> None:
        require(all(name.strip() for name in self.disciplines), "disciplines: a name is empty")
        alone = ALL not in self.disciplines or len(self.disciplines) == 1
        require(alone, f"disciplines: {ALL!r} means every discipline; remove the other names")
        require(2 <= self.level <= 5, f"level = {self.level} must be in 2..5: every QA is at level 1 already")
        for name in ("solves", "tries", "extra_steps"):
            require(1 <= getattr(self, name) <= 100, f"{name} = {getattr(self, name)} must be in 1..100")
        agree = self.agree is None or 1 <= self.agree <= self.solves
        require(agree, f"agree = {self.agree} must be in 1..{self.solves}, the number of solves")

    @property
    def asked_for(self) -> bool:
        """Whether the stage is part of a whole run."""
        return bool(self.disciplines)

    @property
    def needed(self) -> int:
        """Solves that must agree with an answer."""
        return self.solves // 2 + 1 if self.agree is None else self.agree
