"""Settings of the optional stage `enhance`: the table `[enhance]` of a run's TOML file, a part of `RunConfig`."""

from __future__ import annotations

from dataclasses import dataclass

from linksyn_gpu.errors import ConfigError

ALL = "all"
"""Stands for every discipline in `EnhanceConfig.disciplines`."""


@dataclass(frozen=True)
class EnhanceConfig:
    """Which QA are brought to which level, and how hard is tried. The model is the one `SynthesisConfig` names."""

    disciplines: tuple[str, ...] = ()
    """Disciplines whose QA are brought to `level`; 'all': every QA; empty: the stage is off."""
    level: int = 5
    """Level 2..5 that is asked for (`prompts.LEVELS` defines it)."""
    solves: int = 3
    """Independent solves by which an answer is checked."""
    agree: int | None = None
    """Solves that must agree with the answer; None: more than half."""
    tries: int = 2
    """Rewrites of one QA, at most."""
    extra_steps: int = 2
    """Steps by which a QA's path is extended for each rewrite."""

    def __post_init__(self) -> None:
        if any(not name.strip() for name in self.disciplines):
            raise ConfigError("disciplines: a name is empty")
        if ALL in self.disciplines and len(self.disciplines) > 1:
            raise ConfigError(f"disciplines: {ALL!r} stands alone, it means every discipline")
        if not 2 <= self.level <= 5:
            raise ConfigError(f"level = {self.level} must lie in 2..5: every QA is at level 1 already")
        for name in ("solves", "tries", "extra_steps"):
            if not 1 <= getattr(self, name) <= 100:
                raise ConfigError(f"{name} = {getattr(self, name)} must lie in 1..100")
        if self.agree is not None and not 1 <= self.agree <= self.solves:
            raise ConfigError(f"agree = {self.agree} must lie in 1 .. solves = {self.solves}")

    @property
    def asked_for(self) -> bool:
        """Whether the stage has anything to do in a whole run."""
        return bool(self.disciplines)

    @property
    def needed(self) -> int:
        """Solves that must agree with an answer."""
        return self.solves // 2 + 1 if self.agree is None else self.agree
