"""The extractor that 'auto' stands for."""

from __future__ import annotations

import importlib.util

from linksyn_gpu.errors import ConfigError

PACKAGES = ("yake", "jieba")
"""Packages of the extra `extract`, which key phrases need."""
INSTALL = 'pip install "linksyn-gpu[extract]"'
ENGINES = ("openai", "vllm", "ray")
"""Engines whose model can name knowledge points: the embedded model cannot, and batch files answer later."""


def choose_extractor(seeds: int, without: int, engine: str) -> tuple[str, str]:
    """The extractor for a bank, and the reason for the choice as a text.

    Parameters
    ----------
    seeds, without : int
        Seeds of the bank, and those of them that have no knowledge point.
    engine : str
        `SynthesisConfig.engine`.

    Raises
    ------
    ConfigError
        Key phrases are the only choice, and their packages are not installed.
    """
    if without == 0:
        return "given", "all seeds have knowledge points"
    missing = "no seed has knowledge points" if without == seeds else f"{without:,} seeds have no knowledge points"
    if engine in ENGINES:
        return "llm", f"{missing}, and engine {engine} has a model that can name them"
    if without < seeds:
        return "names", f"{missing}; their texts are searched for the names that the other seeds have"
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        raise ConfigError(
            f"{missing}. To extract key phrases, install {', '.join(absent)}: {INSTALL}. Or use a model: --engine "
            "openai --base-url URL; or a glossary: --extractor terms --glossary FILE; or the column of the input that "
            "has them: --map knowledge_points=COLUMN"
        )
    return "yake", f"{missing}, and engine {engine} has no model that could name them: key phrases of the texts"
