"""Settings of decontamination: the table `[decontaminate]`."""

from __future__ import annotations

from dataclasses import dataclass

from linksyn_gpu.config.checks import require


@dataclass(frozen=True)
class DecontaminateConfig:
    """Which benchmark items must not stand in seeds and in new QA."""

    against: tuple[str, ...] = ()
    """Benchmark files, patterns or folders, in any layout of seeds. Empty: no decontamination."""
    share: float = 0.6
    """Least share of an item's weight that is matched in a contaminated text, in (0, 1]; short items need more."""
    clean: tuple[str, ...] = ()
    """Files that are known to hold no benchmark item: the certificate counts hits in them as false."""

    def __post_init__(self) -> None:
        require(0.0 < self.share <= 1.0, f"share = {self.share} must be in (0, 1]")
        require(all(self.against), "against must not contain an empty file name")
        require(
            bool(self.against) or not self.clean, "clean is used only together with against: name benchmark files too"
        )
