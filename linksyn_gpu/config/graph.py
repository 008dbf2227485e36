"""Settings of stage `build`: the table `[graph]`."""

from __future__ import annotations

from dataclasses import dataclass

from linksyn_gpu.config.checks import one_of, require

KP_FORMS = ("folded", "exact")
EDGE_WEIGHTS = ("count", "npmi", "cosine", "jaccard")


@dataclass(frozen=True)
class GraphConfig:
    """How the KP graph is built from seeds (stage `build`)."""

    kp_form: str = "folded"
    """When two names are the same KP: 'folded', equal after NFKC, case folding and trimming; 'exact', equal bytes."""
    weight: str = "count"
    """Edge weight: 'count' (co-occurrences, as MathScale), 'npmi', 'cosine' or 'jaccard'."""
    min_count: int = 1
    """Drop edges that fewer seeds have."""
    top_k: int | None = None
    """Keep an edge only if it is among the `top_k` heaviest of at least one of its ends; None: keep all."""
    max_kps_per_seed: int | None = None
    """Use at most this many KPs of a seed, the first ones; None: use all."""
    memory_limit: int | None = None
    """Memory in bytes that construction may use; None: what is free."""

    def __post_init__(self) -> None:
        one_of("kp_form", self.kp_form, KP_FORMS)
        one_of("weight", self.weight, EDGE_WEIGHTS)
        require(self.min_count >= 1, f"min_count = {self.min_count} must be at least 1")
        for name in ("top_k", "max_kps_per_seed", "memory_limit"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} = {value} must be at least 1, or None (the default)")
