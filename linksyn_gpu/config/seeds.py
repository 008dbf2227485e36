"""Settings of stage `ingest`: the table `[seeds]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from linksyn_gpu.config.checks import each_of, one_of, require, shown
from linksyn_gpu.errors import ConfigError

DIFFICULTY_SCALES = ("1-5", "0-4", "1-10", "1-3", "grade", "words")
SEED_FIELDS = (
    "id",
    "question",
    "answer",
    "options",
    "disciplines",
    "difficulty",
    "knowledge_points",
    "language",
    "source",
    "license",
    "explanation",
)
LAYOUTS = (
    "auto",
    "columns",
    *("chat", "sharegpt", "alpaca", "gsm8k", "math", "arc", "sciq", "medmcqa", "ceval", "mmlu"),
    *("squad", "truthfulqa", "hotpotqa"),
)
TURNS = ("last", "all")


@dataclass(frozen=True)
class SeedsConfig:
    """How seed records are read (stage `ingest`)."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Seed field -> column name, in place of the usual names. Keys are `SEED_FIELDS`. The options may be in several
    columns, with commas: 'A,B,C,D'."""
    layout: str = "auto"
    """Shape of the records, one of `LAYOUTS`; 'auto' finds it, 'columns' uses names of columns only."""
    turns: str = "last"
    """Of a dialogue of several turns, 'last' takes the last question and answer, 'all' makes each pair a seed."""
    index_base: int | None = None
    """What integer answers count the options from, 0 or 1; None: found from the answers of each file."""
    encoding: str | None = None
    """Character encoding of text files, such as 'gb18030'; None: UTF-8, or detected and reported."""
    allow_empty_answers: bool = False
    """Accept files in which no seed has a usable answer; otherwise stage `ingest` stops at them."""
    route_separator: str | None = None
    """Splits each knowledge point into several, e.g. '->' for taxonomy routes 'Algebra->Roots'."""
    difficulty_scale: str = "1-5"
    """Scale of the difficulty column: one of `DIFFICULTY_SCALES`, or a .toml file with your own; a value that is not
    on the scale becomes null and is counted."""
    keep_duplicates: bool = False
    """Keep records whose id or question appeared before; otherwise only the first is kept."""
    reject_private: bool = False
    """Reject records with an e-mail address, a telephone number or a key of a service."""
    max_chars: int = 32_000
    """A record whose question, answer and options together are longer is rejected."""

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            each_of("columns", [name], "a field of a seed", SEED_FIELDS)
            require(isinstance(column, str), f"columns[{name!r}] = {column!r} must be the name of a column")
        one_of("layout", self.layout, LAYOUTS)
        one_of("turns", self.turns, TURNS)
        require(self.index_base in (None, 0, 1), f"index_base = {self.index_base} must be 0 or 1")
        if self.encoding is not None:
            try:
                "a".encode(self.encoding)
            except (LookupError, ValueError):
                raise ConfigError(
                    f"encoding = {shown(repr(self.encoding))} is not an encoding, such as gb18030"
                ) from None
        if not self.difficulty_scale.endswith(".toml"):
            one_of("difficulty_scale", self.difficulty_scale, DIFFICULTY_SCALES)
        require(self.route_separator != "", "route_separator must not be empty")
        require(self.max_chars > 0, f"max_chars = {self.max_chars} must be positive")
