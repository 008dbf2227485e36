"""Settings of a whole run: one table of the TOML file per stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from linksyn_gpu.config.checks import one_of, require
from linksyn_gpu.config.curate import CurateConfig, JudgeConfig
from linksyn_gpu.config.decontaminate import DecontaminateConfig
from linksyn_gpu.config.enhance import EnhanceConfig
from linksyn_gpu.config.export import ExportConfig
from linksyn_gpu.config.extract import ExtractConfig
from linksyn_gpu.config.graph import GraphConfig
from linksyn_gpu.config.plan import PlanConfig
from linksyn_gpu.config.quality import ChecksConfig
from linksyn_gpu.config.seeds import SeedsConfig
from linksyn_gpu.config.synthesis import SynthesisConfig, check_question_types
from linksyn_gpu.config.walk import BundleConfig, QuotaConfig, WalkConfig

BACKENDS = ("auto", "cpu", "gpu")
MAX_PATHS = 10**12
DEFAULT_PATHS = 24


@dataclass(frozen=True)
class RunConfig:
    """Settings of a run: one table of the TOML file per stage."""

    paths: int | None = None
    """Paths to sample in the whole campaign; a larger number continues a campaign. None: as many as the campaign has,
    `DEFAULT_PATHS` for a new one."""
    qa: int | None = None
    """Kept QA to reach, instead of `paths`: further paths are sampled until every cell of the quota has its share, or
    until it has `quota.max_overdraw` times the paths that it would need if every QA were kept."""
    seed: int = 0
    """Seed of all random numbers, 0 .. 2^64 - 1."""
    backend: str = "auto"
    gpu_memory: int | None = None
    """Device memory in bytes that graph and walks may use; None: what is free."""
    workers: int | None = None
    """Processes for text work: requests, checks, comparisons, extraction. No file depends on it. None: one per core,
    and this process alone for little text."""
    cluster: str | None = None
    """Address of a Ray cluster for text work, or 'auto': the one on this machine; None: local processes."""
    seeds: SeedsConfig = field(default_factory=SeedsConfig)
    decontaminate: DecontaminateConfig = field(default_factory=DecontaminateConfig)
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    # Paths of a campaign are distinct by default; those of a Walker used alone are not.
    walk: WalkConfig = field(default_factory=lambda: WalkConfig(distinct=True))
    quota: QuotaConfig = field(default_factory=QuotaConfig)
    bundle: BundleConfig = field(default_factory=BundleConfig)
    question_types: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Discipline, group or 'default' -> shares of question types; what it does not name is as in
    `SynthesisConfig.question_types`."""
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    checks: ChecksConfig = field(default_factory=ChecksConfig)
    enhance: EnhanceConfig = field(default_factory=EnhanceConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    curate: CurateConfig = field(default_factory=CurateConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    export: ExportConfig = field(default_factory=ExportConfig)

    def __post_init__(self) -> None:
        if (total := self.quota.total_qa) is not None:
            require(self.qa in (None, total), f"qa = {self.qa}, but the quota counts {total} QA: leave qa out")
            object.__setattr__(self, "qa", total)
        for name in ("paths", "qa"):
            value = getattr(self, name)
            require(value is None or 1 <= value <= MAX_PATHS, f"{name} = {value} must be in 1 .. {MAX_PATHS:,}")
        require(
            self.paths is None or self.qa is None,
            f"paths = {self.paths} and qa = {self.qa}: give one of them; qa plans its paths by itself",
        )
        memory = self.gpu_memory
        require(memory is None or 0 < memory < 2**63, f"gpu_memory = {memory} must be in 1 .. 2^63 - 1 bytes")
        require(
            self.bundle.min_seeds <= self.walk.length,
            f"bundle.min_seeds = {self.bundle.min_seeds}, but a path of walk.length = {self.walk.length} steps "
            f"has at most {self.walk.length} seeds; lower min_seeds or raise length",
        )
        require(self.workers is None or 1 <= self.workers <= 4096, f"workers = {self.workers} must be in 1 .. 4096")
        require(self.cluster != "", "cluster must be an address, or 'auto'")
        check_question_types(self.question_types)
        require(0 <= self.seed < 2**64, f"seed = {self.seed} must be in 0 .. 2^64 - 1")
        one_of("backend", self.backend, BACKENDS)
