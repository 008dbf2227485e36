"""Homographs that the table lacks: one name with unlike neighbours in two disciplines has two senses.

The neighbours of a name in a discipline are the names that share seeds with it there. Two disciplines use a name in
different senses if both know it well (`MIN_SEEDS`, `MIN_NEIGHBOURS`), share no neighbour of it, and the neighbours'
vectors differ: the mean, over the neighbours of both sides, of the cosine with the nearest neighbour of the other side
is below `ALIKE`. This rule is this project's own; docs/knowledge.md says on which names its limits were chosen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.knowledge.merge.normal_form import merge_key, normal_form
from linksyn_gpu.text import CJK

MIN_SEEDS, MIN_NEIGHBOURS = 3, 3
NEAREST = 8
"""Neighbours compared: those with most common seeds."""
ALIKE = 0.28

Rows = Callable[[], Iterable[tuple[Sequence[str], str | None]]]
"""Yields (knowledge points, discipline) of each seed; called twice."""
Embed = Callable[[Sequence[str]], Mapping[str, NDArray[np.float32]]]
"""Vectors of names, without those that have none."""


def find_senses(rows: Rows, known: Iterable[str], embed: Embed) -> dict[str, dict[str, frozenset[str]]]:
    """Senses of names outside the table, in the table's form: merge key -> sense -> disciplines.

    A sense has the name of its discipline with the most seeds. A discipline that knows the name too little belongs to
    the sense with the most seeds.

    Parameters
    ----------
    known : iterable of str
        Merge keys of the table's names; the table decides on them.
    """
    key = cache(lambda name: merge_key(normal_form(name)))
    seeds, spellings = _count(rows(), key)
    decided = set(known)
    usual = {
        name: by_discipline
        for name, by_discipline in seeds.items()
        if name not in decided
        and sum(n >= MIN_SEEDS for n in by_discipline.values()) > 1
        and not (len(name) == 1 and CJK.match(name))
    }
    near = _neighbours(rows(), key, usual)
    wanted = sorted({other for by_discipline in near.values() for names in by_discipline.values() for other in names})
    vectors = embed([spellings[name] for name in wanted]) if wanted else {}
    unit = {name: _unit(vectors[spellings[name]]) for name in wanted if spellings[name] in vectors}
    found = {}
    for name, by_discipline in usual.items():
        senses = _senses(by_discipline, near[name], unit)
        if len(senses) > 1:
            found[name] = {members[0]: frozenset(members) for members in senses}
    return found


def _count(
    rows: Iterable[tuple[Sequence[str], str | None]], key: Callable[[str], str]
) -> tuple[dict[str, Counter[str]], dict[str, str]]:
    """Seeds of each merge key by discipline, and the most frequent spelling of each key."""
    seeds: dict[str, Counter[str]] = defaultdict(Counter)
    spelled: Counter[str] = Counter()
    for names, discipline in rows:
        spelled.update(list(dict.fromkeys(names)))
        if discipline is not None:
            for name in dict.fromkeys(map(key, names)):
                seeds[name][discipline] += 1
    spellings: dict[str, str] = {}
    for name in spelled:
        best = spellings.setdefault(key(name), name)
        if spelled[name] > spelled[best]:
            spellings[key(name)] = name
    return seeds, spellings


def _neighbours(
    rows: Iterable[tuple[Sequence[str], str | None]], key: Callable[[str], str], usual: Mapping[str, Counter[str]]
) -> dict[str, dict[str, Counter[str]]]:
    """Names that share seeds with each of these names, by discipline, with the number of common seeds."""
    near: dict[str, dict[str, Counter[str]]] = {name: defaultdict(Counter) for name in usual}
    for names, discipline in rows:
        if discipline is None:
            continue
        keys = set(map(key, names))
        for name in keys & usual.keys():
            if usual[name][discipline] >= MIN_SEEDS:
                near[name][discipline].update(keys - {name})
    return near


def _senses(
    seeds: Mapping[str, int], near: Mapping[str, Counter[str]], unit: Mapping[str, NDArray[np.float64]]
) -> list[list[str]]:
    """Disciplines by sense, most seeds first. A discipline joins the first sense with no discipline unlike it."""
    order = sorted(seeds, key=lambda discipline: (-seeds[discipline], discipline))
    unlike = {
        frozenset(pair) for pair in combinations(near, 2) if _unlike(near[pair[0]], near[pair[1]], unit)
    }  # disciplines with too few seeds are not in `near`
    senses: list[list[str]] = []
    for discipline in order:
        for members in senses:
            if not any(frozenset((discipline, member)) in unlike for member in members):
                members.append(discipline)
                break
        else:
            senses.append([discipline])
    return senses


def _unlike(one: Counter[str], other: Counter[str], unit: Mapping[str, NDArray[np.float64]]) -> bool:
    if not one.keys().isdisjoint(other):
        return False
    sides = []
    for side in (one, other):
        best = sorted(side, key=lambda name: (-side[name], name))[:NEAREST]
        sides.append([unit[name] for name in best if name in unit])
    if min(map(len, sides)) < MIN_NEIGHBOURS:
        return False
    left, right = (np.stack(side) for side in sides)
    # Summed in one fixed order: a matrix product may differ in the last bits between machines and thread counts.
    cosines = np.array([[float((a * b).sum()) for b in right] for a in left])
    return float(cosines.max(1).mean() + cosines.max(0).mean()) / 2 < ALIKE


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float64]:
    double = vector.astype(np.float64)
    length = float(np.sqrt((double * double).sum()))
    return double / length if length > 0.0 else double
