"""One name per discipline: labels of any bank, mapped to a taxonomy of two levels.

The table is `disciplines.toml`; a user's own file can replace it. A label that it does not name becomes `UNKNOWN` and
is counted; nothing is guessed.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linksyn_gpu.config.loader import read_toml
from linksyn_gpu.errors import ConfigError

FOLDER = Path(__file__).parent
UNKNOWN = "unknown"
BENCHMARKS = ("mmlu", "cmmlu")
_LISTS = ("aliases", *BENCHMARKS)


@dataclass(frozen=True)
class Discipline:
    """A node of the taxonomy: a discipline, or (where `group` is its own name) a whole group."""

    name: str
    """English name in lower case: what seeds, cells and quotas call it."""
    zh: str
    group: str
    aliases: tuple[str, ...] = ()
    mmlu: tuple[str, ...] = ()
    cmmlu: tuple[str, ...] = ()

    @property
    def labels(self) -> Iterator[str]:
        """Every label that maps here."""
        yield from (self.name, self.zh, *self.aliases, *self.mmlu, *self.cmmlu)


class Taxonomy:
    """Disciplines by their labels."""

    def __init__(self, disciplines: Iterable[Discipline]) -> None:
        self.disciplines = {d.name: d for d in disciplines}
        self._by_label: dict[str, str] = {}
        for way in (lambda d: (d.name, d.zh), lambda d: d.aliases, lambda d: (*d.mmlu, *d.cmmlu)):
            found: dict[str, str] = {}
            for discipline in self.disciplines.values():
                for label in way(discipline):
                    key = label_key(label)
                    if found.setdefault(key, discipline.name) != discipline.name:
                        raise ConfigError(
                            f"taxonomy: the label {label!r} belongs to both {found[key]!r} and {discipline.name!r}"
                        )
            # A name beats an alias, and an alias a benchmark's subject.
            self._by_label = found | self._by_label

    def map_label(self, label: str) -> str:
        """Name of a label's discipline, or `UNKNOWN`."""
        return self._by_label.get(label_key(label), UNKNOWN)

    def group(self, discipline: str) -> str | None:
        """The group of a discipline, by its name; None for what is not in the taxonomy."""
        known = self.disciplines.get(discipline)
        return None if known is None else known.group

    @property
    def leaves(self) -> list[str]:
        """Names of the disciplines proper, in the file's order."""
        return [d.name for d in self.disciplines.values() if d.name != d.group]


def label_key(label: str) -> str:
    """What two labels must share to be one: their letters and digits under NFKC, without case."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", label).casefold()))


def load_taxonomy(path: str | Path | None = None) -> Taxonomy:
    """Read a taxonomy.

    Parameters
    ----------
    path : path, optional
        A TOML file in the form of `disciplines.toml`; None: that one.

    Raises
    ------
    ConfigError
        The file cannot be read, is not of that form, or gives one label to two disciplines.
    """
    if path is None:
        return _default_taxonomy()
    return _taxonomy(path)


@functools.cache
def _default_taxonomy() -> Taxonomy:
    return _taxonomy(FOLDER / "disciplines.toml")


def _taxonomy(path: str | Path) -> Taxonomy:
    nodes: list[Discipline] = []
    for group, entry in read_toml(path).items():
        if not isinstance(entry, Mapping):
            raise ConfigError(f"{path}: {group} must be a table of disciplines")
        inner = {name: value for name, value in entry.items() if isinstance(value, Mapping)}
        nodes.append(_discipline(path, group, group, {k: v for k, v in entry.items() if k not in inner}))
        nodes += [_discipline(path, name, group, value) for name, value in inner.items()]
    names = [node.name for node in nodes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path}: {', '.join(twice)} stands there twice")
    if UNKNOWN in names or not names:
        raise ConfigError(f"{path}: {'the name ' + repr(UNKNOWN) + ' is taken' if names else 'holds no discipline'}")
    return Taxonomy(nodes)


def _discipline(path: str | Path, name: str, group: str, entry: Mapping[str, Any]) -> Discipline:
    if unknown := sorted(set(entry) - {"zh", *_LISTS}):
        raise ConfigError(f"{path}: {name}: unknown key {', '.join(unknown)}; allowed: zh, {', '.join(_LISTS)}")
    lists = {key: entry.get(key, []) for key in _LISTS}
    for key, value in (*lists.items(), ("zh", [entry.get("zh", "")])):
        if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
            raise ConfigError(f"{path}: {name}.{key} must be text" + ("" if key == "zh" else ", in a list"))
    return Discipline(name, entry.get("zh", name), group, **{key: tuple(value) for key, value in lists.items()})
