"""Names to units: all spellings of one key, one sense at a time where the key is a homograph."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from linksyn_gpu.config.loader import read_toml
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.knowledge.merge.glosses import split_gloss
from linksyn_gpu.knowledge.merge.normal_form import HAS_CJK, key_of, normal_form
from linksyn_gpu.knowledge.merge.rules import Rules
from linksyn_gpu.taxonomy.disciplines import Taxonomy

Senses = Mapping[str, Mapping[str, frozenset[str]]]
"""Key of a homograph -> sense -> disciplines and groups."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A name as seeds of one discipline have it."""

    name: str
    discipline: str | None = None
    count: int = 1
    """Seeds that hold it."""


@dataclass(slots=True)
class Unit:
    """Spellings that are one name, in one sense."""

    key: str
    sense: str | None
    form: str
    """Normal form of the first spelling."""
    spellings: Counter[str] = field(default_factory=Counter)
    groups: set[str] = field(default_factory=set)
    """Groups of the taxonomy of its mentions; those without one are left out."""
    held_apart: bool = False
    """A spelling that the user's rules took out of its key."""

    @property
    def count(self) -> int:
        return self.spellings.total()

    @property
    def spelling(self) -> str:
        """The most frequent spelling, the first of equals."""
        return max(self.spellings, key=self.spellings.__getitem__)

    def shares_groups(self, other: Unit) -> bool:
        """Whether nothing in their disciplines speaks against the two being one."""
        return not self.groups or not other.groups or not self.groups.isdisjoint(other.groups)


def load_homographs(path: str | Path | None = None) -> Senses:
    """Read the shipped homographs, and those of a user's file, which win name by name.

    Raises
    ------
    ConfigError
        A file is not of the form of `homographs.toml`.
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
            table[key_of(normal_form(name))] = {sense: frozenset(found) for sense, found in senses.items()}
    return table


@dataclass
class Units:
    """The units of a bank's names."""

    units: list[Unit]
    of_mention: list[int]
    """[n_mentions] unit of each mention."""
    of_name: dict[str, list[int]]
    """Units of each name that the rules speak of; several where it is a homograph."""
    homographs: list[str]
    """Names that were parted into senses."""


def make_units(
    mentions: Sequence[Mention],
    *,
    rules: Rules | None = None,
    homographs: Senses | None = None,
    taxonomy: Taxonomy | None = None,
) -> Units:
    """Group mentions by key and sense, in order of first appearance."""
    rules = rules or Rules()
    homographs = homographs or {}
    keys = _Keys(rules, homographs)
    senses = [keys.sense(mention, taxonomy) for mention in mentions]
    found: dict[str, set[str]] = defaultdict(set)
    for mention, sense in zip(mentions, senses, strict=True):
        if sense is not None:
            found[keys.key(mention.name)].add(sense)
    units: list[Unit] = []
    places: dict[tuple[str, str | None], int] = {}
    of_mention: list[int] = []
    spoken_of = set(rules.names())
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
        if mention.name.strip() in spoken_of and place not in (known := of_name.setdefault(mention.name.strip(), [])):
            known.append(place)
    parted = sorted({unit.spelling for unit in units if unit.sense is not None})
    return Units(units, of_mention, of_name, parted)


class _Keys:
    """Form, key and sense of names, each name once."""

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
        if name in self._known:  # spaces at the ends do not make another name
            return self._known[name]
        head, _, _ = split_gloss(name)
        if head is name and name.endswith(")") and "(" in name:  # "mercury (planet)": the sense in so many words
            outer, _, note = name[:-1].rpartition("(")
            key = key_of(normal_form(outer))
            if note.strip().casefold() in self._homographs.get(key, ()):
                return normal_form(outer), key, note.strip().casefold()
        form = normal_form(head) or name
        return form, key_of(form), None

    def sense(self, mention: Mention, taxonomy: Taxonomy | None) -> str | None:
        """Sense of a mention: said in its name, or told by its discipline."""
        _, key, said = self._lookup(mention.name)
        if said is not None:
            return said
        if key in self._split:
            return mention.discipline
        table = self._homographs.get(key)
        if mention.discipline is None:
            return None
        group = taxonomy.group(mention.discipline) if taxonomy is not None else None
        if table is None:  # one Chinese character names another thing in each group of disciplines, as a rule
            return group if len(key) == 1 and HAS_CJK.match(key) else None
        for sense, disciplines in table.items():  # a discipline by its own name before its group
            if mention.discipline in disciplines:
                return sense
        return next((sense for sense, disciplines in table.items() if group in disciplines), None)


def count_mentions(rows: Iterable[tuple[Sequence[str], str | None]]) -> list[Mention]:
    """Count names by discipline over seeds: rows of (knowledge points, discipline)."""
    counts: Counter[tuple[str, str | None]] = Counter()
    for names, discipline in rows:
        counts.update((name, discipline) for name in dict.fromkeys(names))
    return [Mention(name, discipline, count) for (name, discipline), count in counts.items()]
