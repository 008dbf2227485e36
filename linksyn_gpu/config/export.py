"""Settings of the command `export`: the table `[export]`."""

from __future__ import annotations

from dataclasses import dataclass

from linksyn_gpu.config.checks import each_of, require

FORMS = ("qa", "chat", "alpaca", "text")
"""Forms of a row: all columns; messages of a conversation; instruction and output; one plain text."""
MIN_SHARD = 1_000_000


@dataclass(frozen=True)
class ExportConfig:
    """What the published data set looks like. It changes nothing in the campaign."""

    forms: tuple[str, ...] = FORMS
    """Forms to write, of `FORMS`; each is a configuration of the data set."""
    by_language: bool = False
    """Whether each language is a configuration too, such as 'qa-en'."""
    reasoning: bool = False
    """Whether form 'chat' includes the model's reasoning, in the message's `reasoning_content`."""
    shard_bytes: int = 500_000_000
    """A Parquet file is closed when it has this many bytes."""
    validation: float = 0.01
    """Share of the QA in the validation split. No seed has QA on both sides."""
    max_withheld: float = 0.02
    """Largest share of the QA that may be left out of both splits because their seeds are on both sides."""
    name: str | None = None
    """Title of the data set; None: the name of the folder."""
    license: str | None = None
    """License of the new QA, as you decide; None: the card says that it is not set."""
    teacher_terms: str | None = None
    """What the terms of the teacher model say about its outputs; None: the card says that nobody has stated them."""
    contact: str | None = None
    """Who publishes the data set, with an address for takedown requests."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "forms", tuple(self.forms))
        each_of("forms", self.forms, "a form", FORMS)
        require(bool(self.forms), f"forms is empty; allowed: {', '.join(FORMS)}")
        least = f"{MIN_SHARD:,}"
        require(self.shard_bytes >= MIN_SHARD, f"shard_bytes = {self.shard_bytes} must be at least {least} bytes")
        require(0.0 <= self.validation < 1.0, f"validation = {self.validation} must be at least 0 and below 1")
        require(0.0 <= self.max_withheld < 1.0, f"max_withheld = {self.max_withheld} must be at least 0 and below 1")
