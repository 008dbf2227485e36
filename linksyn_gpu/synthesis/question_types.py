"""Which type of question each request asks for: exact shares by discipline, in the order of the paths."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence

from linksyn_gpu.config import DEFAULT, DEFAULT_TYPES
from linksyn_gpu.taxonomy.disciplines import Taxonomy, default_taxonomy

Shares = Mapping[str, float]


class TypeAssigner:
    """Gives each request of a discipline the type that is furthest below its share so far; of equal ones the first.

    The types of earlier requests never change when later ones are added.

    Parameters
    ----------
    shares : mapping
        `[question_types]`: discipline or 'default' -> {type: share}.
    types : sequence of str
        `synthesis.question_types`: types with equal shares for disciplines that `shares` does not name. Its default
        stands for the types that the taxonomy gives the discipline, or its group.
    taxonomy : Taxonomy, optional
        By which disciplines are compared; None: that of the package.
    """

    def __init__(
        self,
        shares: Mapping[str, Shares],
        types: Sequence[str] = DEFAULT_TYPES,
        taxonomy: Taxonomy | None = None,
    ) -> None:
        self._taxonomy = taxonomy if taxonomy is not None else default_taxonomy()
        key = self._taxonomy.key
        self._named = {key(name): _normalised(own) for name, own in shares.items() if name != DEFAULT}
        self._default = _normalised(shares[DEFAULT]) if DEFAULT in shares else None
        self._types = tuple(types)
        self._counts: Counter[tuple[str | None, str]] = Counter()
        self._shares_of = functools.cache(self._find)

    def next(self, discipline: str | None) -> str:
        """Type of the next request of a discipline."""
        key, shares = self._shares_of(discipline)
        n = 1 + sum(self._counts[key, kind] for kind in shares)
        chosen = max(shares, key=lambda kind: shares[kind] * n - self._counts[key, kind])
        self._counts[key, chosen] += 1
        return chosen

    def count(self, discipline: str | None, kind: str) -> None:
        """Count a request that was made earlier."""
        self._counts[self._shares_of(discipline)[0], kind] += 1

    def _find(self, discipline: str | None) -> tuple[str | None, Shares]:
        """Key of a discipline, and its shares: its own, those of its group, the default."""
        key = None if discipline is None else self._taxonomy.key(discipline)
        group = None if key is None else self._taxonomy.group(key)
        for name in (key, group):
            if name is not None and name in self._named:
                return key, self._named[name]
        if self._default is not None:
            return key, self._default
        types = self._taxonomy.question_types(key) if key is not None and self._types == DEFAULT_TYPES else None
        return key, _normalised(dict.fromkeys(types or self._types, 1.0))


def _normalised(shares: Shares) -> Shares:
    total = sum(shares.values())
    return {kind: share / total for kind, share in shares.items() if share > 0.0}
