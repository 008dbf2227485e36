"""Discipline labels mapped to a taxonomy of two levels.

The table is `disciplines.toml` or a file of the user. A label that is not in the table becomes `UNKNOWN` and is
counted.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linksyn_gpu.config import QUESTION_TYPES
from linksyn_gpu.config.checks import each_of, shown
from linksyn_gpu.config.loader import read_toml
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.text import name_key

FOLDER = Path(__file__).parent
UNKNOWN = "unknown"
BENCHMARKS = ("mmlu", "cmmlu")
_LISTS = ("aliases", "question_types", *BENCHMARKS)


@dataclass(frozen=True)
class Discipline:
    """A node of the taxonomy: a discipline, or a group if `group` is its own name."""

    name: str
    """English name in lower case; seeds, cells and quotas use it."""
    zh: str
    group: str
    aliases: tuple[str, ...] = ()
    mmlu: tuple[str, ...] = ()
    cmmlu: tuple[str, ...] = ()
    question_types: tuple[str, ...] = ()
    """Question types that suit it; empty: those of its group."""

    @property
    def labels(self) -> Iterator[str]:
        """All labels that map to this discipline."""
        yield from (self.name, self.zh, *self.aliases, *self.mmlu, *self.cmmlu)


class Taxonomy:
    """Disciplines by their labels."""

    def __init__(self, disciplines: Iterable[Discipline]) -> None:
        self.disciplines = {d.name: d for d in disciplines}
        self._by_label: dict[str, str] = {}
        for labels_of in (lambda d: (d.name, d.zh), lambda d: d.aliases, lambda d: (*d.mmlu, *d.cmmlu)):
            found: dict[str, str] = {}
            for discipline in self.disciplines.values():
                for label in labels_of(discipline):
                    key = label_key(label)
                    if found.setdefault(key, discipline.name) != discipline.name:
                        raise ConfigError(
                            f"taxonomy: {found[key]!r} and {discipline.name!r} have the label "
                            f"{shown(repr(label))}; remove one"
                        )
            # A name takes precedence over an alias, an alias over the subject of a benchmark.
            self._by_label = found | self._by_label

    def map_label(self, label: str) -> str:
        """Name of the discipline with a label, or `UNKNOWN`."""
        return self._by_label.get(label_key(label), UNKNOWN)

    def key(self, label: str) -> str:
        """Key under which two labels are one discipline: its name in the taxonomy, or the folded label."""
        for text in (label, re.sub(r"[(（][^()（）]*[)）]", "", label)):  # "法学（1级学科）" is "法学"
            if (known := self.map_label(text)) != UNKNOWN:
                return known
        return name_key(label)

    def group(self, discipline: str) -> str | None:
        """Group of a discipline; None if the discipline is not in the taxonomy."""
        known = self.disciplines.get(discipline)
        return None if known is None else known.group

    def question_types(self, discipline: str) -> tuple[str, ...]:
        """Question types that suit a discipline or its group; empty: the taxonomy says nothing of it."""
        own, group = (self.disciplines.get(name) for name in (discipline, self.group(discipline) or ""))
        return (own.question_types if own else ()) or (group.question_types if group else ())

    @property
    def leaves(self) -> list[str]:
        """Names of the disciplines without the groups, in the order of the file."""
        return [d.name for d in self.disciplines.values() if d.name != d.group]


def label_key(label: str) -> str:
    """Key under which two labels are equal: their letters and digits after NFKC and case folding."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", label).casefold()))


@functools.cache
def default_taxonomy() -> Taxonomy:
    """The taxonomy of the package, read once."""
    return load_taxonomy()


def load_taxonomy(path: str | Path | None = None) -> Taxonomy:
    """Read a taxonomy.

    Parameters
    ----------
    path : path, optional
        A TOML file in the form of `disciplines.toml`; None: that file.

    Raises
    ------
    ConfigError
        The file cannot be read, has another form, or gives one label to two disciplines.
    """
    path = FOLDER / "disciplines.toml" if path is None else path
    nodes: list[Discipline] = []
    for group, entry in read_toml(path).items():
        if not isinstance(entry, Mapping):
            raise ConfigError(f"{path}: {group} must be a table of disciplines")
        inner = {name: value for name, value in entry.items() if isinstance(value, Mapping)}
        nodes.append(_discipline(path, group, group, {k: v for k, v in entry.items() if k not in inner}))
        nodes += [_discipline(path, name, group, value) for name, value in inner.items()]
    names = [node.name for node in nodes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path}: {', '.join(twice[:8])}: defined twice; keep one")
    if UNKNOWN in names or not names:
        raise ConfigError(f"{path}: {f'{UNKNOWN!r} is reserved; use another name' if names else 'has no discipline'}")
    return Taxonomy(nodes)


def _discipline(path: str | Path, name: str, group: str, entry: Mapping[str, Any]) -> Discipline:
    if unknown := sorted(set(entry) - {"zh", *_LISTS}):
        raise ConfigError(f"{path}: {name}: unknown key {', '.join(unknown[:8])}; allowed: zh, {', '.join(_LISTS)}")
    lists = {key: entry.get(key, []) for key in _LISTS}
    for key, value in (*lists.items(), ("zh", [entry.get("zh", "")])):
        if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
            raise ConfigError(f"{path}: {name}.{key} must be text" + ("" if key == "zh" else ", in a list"))
    each_of(f"{path}: {name}.question_types", lists["question_types"], "a question type", QUESTION_TYPES)
    return Discipline(name, entry.get("zh", name), group, **{key: tuple(value) for key, value in lists.items()})
