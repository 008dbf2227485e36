"""Units of merging: the spellings with the same merge key, and for a homograph one unit per sense."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from linksyn_gpu.config.loader import read_toml
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.knowledge.merge.normal_form import merge_key, normal_form
from linksyn_gpu.knowledge.merge.rules import Rules
from linksyn_gpu.knowledge.merge.synonyms import split_gloss
from linksyn_gpu.taxonomy.disciplines import Taxonomy
from linksyn_gpu.text import CJK

Senses = Mapping[str, Mapping[str, frozenset[str]]]
"""Merge key of a homograph -> sense -> disciplines and groups."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A name in the seeds of one discipline."""

    name: str
    discipline: str | None = None
    count: int = 1
    """Number of seeds with it."""


@dataclass(slots=True)
class Unit:
    """Spellings of the same name in the same sense."""

    key: str
    sense: str | None
    form: str
    """Normal form of the first spelling."""
    spellings: Counter[str] = field(default_factory=Counter)
    groups: set[str] = field(default_factory=set)
    """Taxonomy groups of its mentions, as far as known."""
    held_apart: bool = False
    """Whether a rule of the user separated this spelling from others with the same key."""

    @property
    def count(self) -> int:
        return self.spellings.total()

    @property
    def spelling(self) -> str:
        """The most frequent spelling; of equally frequent ones the first."""
        return max(self.spellings, key=self.spellings.__getitem__)

    def shares_groups(self, other: Unit) -> bool:
        """Whether the units have a taxonomy group in common, or one of them has none."""
        return not self.groups or not other.groups or not self.groups.isdisjoint(other.groups)


def load_homographs(path: str | Path | None = None) -> Senses:
    """Read the shipped homographs and those of a user's file; for a name in both, the user's entry counts.

    Raises
    ------
    ConfigError
        A file cannot be read or does not have the form of `homographs.toml`.
    """
    table: dict[str, Mapping[str, frozenset[str]]] = {}
    for file in (Path(__file__).with_name("homographs.toml"), path):
        if file is None:
            continue
        for name, senses in read_toml(file).items():
            ok = isinstance(senses, dict) and all(
                isinstance(found, list) and all(isinstance(d, str) for d in found) for found in senses.values()
            )
            if not ok:
                raise ConfigError(f"{file}: [{name}] must map each sense to a list of disciplines")
            table[merge_key(normal_form(name))] = {sense: frozenset(found) for sense, found in senses.items()}
    return table


@dataclass
class Units:
    """The units of a bank's names."""

    units: list[Unit]
    of_mention: list[int]
    """[n_mentions] unit of each mention."""
    of_name: dict[str, list[int]]
    """Units of each name in the user's rules; a homograph has several."""
    homographs: list[str]
    """Names that were split into senses."""


def make_units(
    mentions: Sequence[Mention], rules: Rules, homographs: Senses, taxonomy: Taxonomy | None = None
) -> Units:
    """Group mentions by merge key and sense, in order of first appearance."""
    keys = _Keys(rules, homographs)
    senses = [keys.sense(mention, taxonomy) for mention in mentions]
    found: dict[str, set[str]] = defaultdict(set)
    for mention, sense in zip(mentions, senses, strict=True):
        if sense is not None:
            found[keys.key(mention.name)].add(sense)
    units: list[Unit] = []
    places: dict[tuple[str, str | None], int] = {}
    of_mention: list[int] = []
    in_rules = set(rules.names())
    of_name: dict[str, list[int]] = {}
    for mention, sense in zip(mentions, senses, strict=True):
        key = keys.key(mention.name)
        identity = (key, sense if len(found.get(key, ())) > 1 else None)
        place = places.get(identity)
        if place is None:
            place = places[identity] = len(units)
            units.append(Unit(*identity, keys.form(mention.name), held_apart=mention.name in keys.held_apart))
        unit = units[place]
        unit.spellings[mention.name] += mention.count
        if taxonomy is not None and mention.discipline and (group := taxonomy.group(mention.discipline)):
            unit.groups.add(group)
        of_mention.append(place)
        if mention.name.strip() in in_rules and place not in (known := of_name.setdefault(mention.name.strip(), [])):
            known.append(place)
    split = sorted({unit.spelling for unit in units if unit.sense is not None})
    return Units(units, of_mention, of_name, split)


class _Keys:
    """Normal form, merge key and stated sense of each name, computed once per name."""

    def __init__(self, rules: Rules, homographs: Senses) -> None:
        self._homographs = homographs
        self._known: dict[str, tuple[str, str, str | None]] = {}
        self._split = {self.key(name) for name in rules.split}
        self.held_apart: set[str] = set()
        for first, second in rules.apart:
            if self.key(first) == self.key(second):
                self.held_apart.add(second)
        for name in self.held_apart:
            form, key, sense = self._known[name]
            self._known[name] = (form, f"{key}\0{name}", sense)

    def form(self, name: str) -> str:
        return self._lookup(name)[0]

    def key(self, name: str) -> str:
        return self._lookup(name)[1]

    def _lookup(self, name: str) -> tuple[str, str, str | None]:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._find(name.strip())
        return known

    def _find(self, name: str) -> tuple[str, str, str | None]:
        if name in self._known:  # spaces at the ends do not count
            return self._known[name]
        head, _, _ = split_gloss(name)
        if head is name and name.endswith(")") and "(" in name:  # "mercury (planet)" states its sense
            outer, _, note = name[:-1].rpartition("(")
            key = merge_key(normal_form(outer))
            if note.strip().casefold() in self._homographs.get(key, ()):
                return normal_form(outer), key, note.strip().casefold()
        form = normal_form(head) or name
        return form, merge_key(form), None

    def sense(self, mention: Mention, taxonomy: Taxonomy | None) -> str | None:
        """Sense of a mention, stated in its name or given by its discipline."""
        _, key, stated = self._lookup(mention.name)
        if stated is not None:
            return stated
        if key in self._split:
            return mention.discipline
        table = self._homographs.get(key)
        if mention.discipline is None:
            return None
        group = taxonomy.group(mention.discipline) if taxonomy is not None else None
        if table is None:  # a single Chinese character usually has a different meaning in each group
            return group if len(key) == 1 and CJK.match(key) else None
        for sense, disciplines in table.items():  # the discipline itself takes precedence over its group
            if mention.discipline in disciplines:
                return sense
        return next((sense for sense, disciplines in table.items() if group in disciplines), None)


def count_mentions(rows: Iterable[tuple[Sequence[str], str | None]]) -> list[Mention]:
    """Count the seeds of each name and discipline; a row is (knowledge points, discipline) of a seed."""
    counts: Counter[tuple[str, str | None]] = Counter()
    for names, discipline in rows:
        counts.update((name, discipline) for name in dict.fromkeys(names))
    return [Mention(name, discipline, count) for (name, discipline), count in counts.items()]
