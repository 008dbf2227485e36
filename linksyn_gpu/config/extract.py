"""Settings of the optional stage `extract`: the table `[extract]` of a run's TOML file, a part of `RunConfig`."""

from __future__ import annotations

from dataclasses import dataclass

from linksyn_gpu.config.checks import server_address
from linksyn_gpu.errors import ConfigError

EXTRACTORS = ("given", "llm", "yake", "terms")
MERGES = ("none", "forms", "fuzzy")


@dataclass(frozen=True)
class ExtractConfig:
    """How knowledge points are found, labelled and merged. A model is the one that `SynthesisConfig` names."""

    extractor: str = "given"
    """'given': what the seeds bring; 'llm': a language model; 'yake': key phrases; 'terms': a glossary's terms."""
    merge: str = "none"
    """'none'; 'forms': names of one normal form or key; 'fuzzy': evidence and look-alikes too."""
    only_missing: bool = False
    """Extract for seeds without knowledge points alone; the others keep theirs."""
    max_kps: int = 8
    """Most knowledge points that are extracted for a seed."""
    glossary: str | None = None
    """Terms, .jsonl or .txt (extractor 'terms')."""
    merge_rules: str | None = None
    """The user's own word on names; wins over everything."""
    homographs: str | None = None
    """Further homographs, in the form of knowledge/homographs.toml."""
    taxonomy: str | None = None
    """Disciplines, in the form of knowledge/disciplines.toml; None: that file."""
    threshold: float = 0.7
    """Least n-gram cosine of two names that are looked at as a pair."""
    sure: float = 0.85
    """Cosine from which a pair that no rule explains is listed as doubtful."""
    decide_doubtful: bool = False
    """Let the model decide doubtful pairs."""
    map_labels: bool = False
    """Let the model map discipline labels that the taxonomy does not know."""
    embed_url: str | None = None
    """Server of the OpenAI embeddings protocol, for candidates by meaning."""
    embed_model: str | None = None
    embed_threshold: float = 0.85
    """Least cosine of two names' vectors that makes them a candidate pair."""
    accept_similarity: float | None = None
    """Cosine of vectors from which a pair that no guard stops is merged unasked; None: never."""

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
            raise ConfigError("embed_url and embed_model go together")
        if self.embed_url is not None:
            server_address("embed_url", self.embed_url)
        if self.merge != "fuzzy" and (self.decide_doubtful or self.embed_url is not None):
            raise ConfigError("decide_doubtful and embed_url need merge = 'fuzzy'")
        if self.merge == "none" and self.merge_rules is not None:
            raise ConfigError("merge_rules needs merge = 'forms' or 'fuzzy'")

    @property
    def asked_for(self) -> bool:
        """Whether the stage has anything to do in a whole run."""
        return self != ExtractConfig()

    @property
    def uses_model(self) -> bool:
        """Whether a language model is asked."""
        return self.extractor == "llm" or self.decide_doubtful or self.map_labels
