"""Settings of the optional stage `extract`: table `[extract]` of a run's TOML file."""

from __future__ import annotations

from dataclasses import dataclass

from linksyn_gpu.config.checks import server_address
from linksyn_gpu.errors import ConfigError

EXTRACTORS = ("given", "llm", "yake", "terms")
MERGES = ("none", "forms", "fuzzy")


@dataclass(frozen=True)
class ExtractConfig:
    """How knowledge points are found, labelled and merged. `SynthesisConfig` names the language model."""

    extractor: str = "given"
    """'given': those of the seeds; 'llm': a language model; 'yake': key phrases; 'terms': terms of a glossary."""
    merge: str = "none"
    """'none'; 'forms': names with the same merge key; 'fuzzy': also stated synonyms and similar names."""
    only_missing: bool = False
    """Extract only for seeds without knowledge points."""
    max_kps: int = 8
    """Largest number of knowledge points extracted for a seed."""
    glossary: str | None = None
    """File of terms, .jsonl or .txt (extractor 'terms')."""
    merge_rules: str | None = None
    """File of merge rules; they override all other decisions."""
    homographs: str | None = None
    """Further homographs, in the form of knowledge/merge/homographs.toml."""
    taxonomy: str | None = None
    """Disciplines, in the form of taxonomy/disciplines.toml; None: that file."""
    threshold: float = 0.7
    """Lowest n-gram cosine of a candidate pair."""
    sure: float = 0.85
    """Lowest n-gram cosine at which a pair that no rule explains is doubtful."""
    decide_doubtful: bool = False
    """Let the model decide doubtful pairs."""
    map_labels: bool = False
    """Let the model map discipline labels that the taxonomy does not know."""
    embed_url: str | None = None
    """Server with the OpenAI embeddings protocol, for candidate pairs by meaning."""
    embed_model: str | None = None
    """Model of that server."""
    embed_threshold: float = 0.85
    """Lowest cosine of two names' vectors that makes them a candidate pair."""
    accept_similarity: float | None = None
    """Lowest cosine of vectors at which a pair without a guard is merged; None: such pairs are doubtful."""

    def __post_init__(self) -> None:
        for name, allowed in (("extractor", EXTRACTORS), ("merge", MERGES)):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} = {getattr(self, name)!r} is not one of {', '.join(allowed)}")
        if self.extractor == "terms" and self.glossary is None:
            raise ConfigError("extractor 'terms' needs a glossary: --glossary FILE")
        if self.max_kps < 1:
            raise ConfigError(f"max_kps = {self.max_kps} must be at least 1")
        for name in ("threshold", "sure", "embed_threshold", "accept_similarity"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value <= 1.0:
                raise ConfigError(f"{name} = {value} must lie in (0, 1]")
        if (self.embed_url is None) != (self.embed_model is None):
            raise ConfigError("embed_url and embed_model need each other: set both or none")
        if self.embed_url is not None:
            server_address("embed_url", self.embed_url)
        if self.merge != "fuzzy" and (self.decide_doubtful or self.embed_url is not None):
            raise ConfigError("decide_doubtful and embed_url need merge = 'fuzzy'")
        if self.merge == "none" and self.merge_rules is not None:
            raise ConfigError("merge_rules needs merge = 'forms' or 'fuzzy'")

    @property
    def asked_for(self) -> bool:
        """Whether `run` includes the stage."""
        return self != ExtractConfig()

    @property
    def uses_model(self) -> bool:
        """Whether the stage needs a language model."""
        return self.extractor == "llm" or self.decide_doubtful or self.map_labels
