"""Merge rules of the user (`--merge-rules FILE`); they override every guard, rule and model.

The file is UTF-8 text with one rule per line and tabs between the parts. Blank lines and lines that begin with # are
ignored:

    same    NAME  NAME  [NAME ...]    one knowledge point
    apart   NAME  NAME                two knowledge points
    name    NAME  TITLE               the title of NAME's knowledge point
    split   NAME                      one knowledge point per discipline

Names are compared as written, except for spaces at the ends. To undo a merge, add the `undo` line of its row in
merges.jsonl.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from linksyn_gpu.errors import ConfigError, DataError

_PARTS = {"same": (2, None), "apart": (2, 2), "name": (2, 2), "split": (1, 1)}


@dataclass
class Rules:
    """Rules of the user; names as written."""

    same: list[tuple[str, str]] = field(default_factory=list)
    apart: list[tuple[str, str]] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    split: set[str] = field(default_factory=set)

    def names(self) -> Iterator[str]:
        """All names in the rules."""
        for pair in (*self.same, *self.apart):
            yield from pair
        yield from self.titles
        yield from self.split

    def __post_init__(self) -> None:
        groups = Groups()
        for a, b in self.same:
            groups.join(a, b)
        for a, b in self.apart:
            if groups.find(a) == groups.find(b):
                raise DataError(f"merge rules: {a!r} and {b!r} are both 'same' and 'apart'; remove one of these rules")


class Groups:
    """Disjoint sets (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[object, object] = {}

    def find(self, item: object) -> object:
        root = item
        while (parent := self._parent.get(root, root)) != root:
            root = parent
        while item != root:
            self._parent[item], item = root, self._parent.get(item, item)
        return root

    def join(self, a: object, b: object) -> None:
        self._parent[self.find(b)] = self.find(a)


def read_rules(path: str | Path | None) -> Rules:
    """Read a rules file; None gives no rules.

    Raises
    ------
    ConfigError
        The file cannot be read, or a line is not a rule.
    DataError
        Rules contradict each other.
    """
    if path is None:
        return Rules()
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    rules = Rules()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        kind, *names = (part.strip() for part in line.split("\t"))
        least, most = _PARTS.get(kind, (0, 0))
        if not least or len(names) < least or (most is not None and len(names) > most) or not all(names):
            raise ConfigError(
                f"{path}:{number}: {line.strip()[:80]!r} is not a rule; write 'same', 'apart', 'name' or 'split' and "
                "the names, separated by tabs"
            )
        if kind == "same":
            rules.same += [(names[0], name) for name in names[1:]]
        elif kind == "apart":
            rules.apart.append((names[0], names[1]))
        elif kind == "name":
            rules.titles[names[0]] = names[1]
        else:
            rules.split.add(names[0])
    return Rules(rules.same, rules.apart, rules.titles, rules.split)
