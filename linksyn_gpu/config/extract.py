"""Settings of the optional stage `extract`: table `[extract]` of a run's TOML file."""

from __future__ import annotations

from dataclasses import dataclass, replace

from linksyn_gpu.config.checks import one_of, require, server_address

EXTRACTORS = ("auto", "given", "llm", "yake", "terms", "names")
MERGES = ("none", "forms", "fuzzy")


@dataclass(frozen=True)
class ExtractConfig:
    """How knowledge points are found, labelled and merged. `SynthesisConfig` names the language model."""

    extractor: str = "auto"
    """'given': those of the seeds; 'llm': a language model; 'yake': key phrases; 'terms': terms of a glossary; 'names':
    the names that other seeds of the bank have; 'auto': chosen by the seeds and the engine, see `choose_extractor`."""
    merge: str = "none"
    """'none'; 'forms': names with the same merge key; 'fuzzy': also stated synonyms and similar names. Extractor 'auto'
    replaces 'none' by 'forms' if it chooses 'llm' or 'yake'."""
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
        one_of("extractor", self.extractor, EXTRACTORS)
        one_of("merge", self.merge, MERGES)
        glossary = self.extractor != "terms" or self.glossary is not None
        require(glossary, "extractor 'terms' needs a glossary: --glossary FILE")
        require(self.max_kps >= 1, f"max_kps = {self.max_kps} must be at least 1")
        for name in ("threshold", "sure", "embed_threshold", "accept_similarity"):
            value = getattr(self, name)
            require(value is None or 0.0 < value <= 1.0, f"{name} = {value} must lie in (0, 1]")
        both = (self.embed_url is None) == (self.embed_model is None)
        require(both, "embed_url and embed_model need each other: set both or none")
        if self.embed_url is not None:
            server_address("embed_url", self.embed_url)
        fuzzy = self.merge == "fuzzy" or not (self.decide_doubtful or self.embed_url is not None)
        require(fuzzy, "decide_doubtful and embed_url need merge = 'fuzzy'")
        require(self.merge != "none" or self.merge_rules is None, "merge_rules needs merge = 'forms' or 'fuzzy'")

    @property
    def asked_for(self) -> bool:
        """Whether `run` includes the stage; 'auto' stands for 'given' here, as long as it is not resolved."""
        unlike_the_defaults = replace(self, extractor="auto", glossary=None) != ExtractConfig()
        return self.extractor not in ("auto", "given") or self.glossary is not None or unlike_the_defaults

    @property
    def uses_model(self) -> bool:
        """Whether the stage needs a language model."""
        return self.extractor == "llm" or self.decide_doubtful or self.map_labels
