"""A user's own word on names (`--merge-rules FILE`): it wins over every guard, rule and model.

A UTF-8 text file, one rule a line, its parts separated by tabs; blank lines and lines that begin with # do nothing:

    same    NAME  NAME  [NAME ...]    one knowledge point
    apart   NAME  NAME                never one
    name    NAME  TITLE               what NAME's knowledge point is called
    split   NAME                      one knowledge point a discipline

Names are compared as they stand, up to spaces at their ends. To undo a merge, add the line that its row of
merges.jsonl gives under `undo`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from linksyn_gpu.errors import ConfigError, DataError

_PARTS = {"same": (2, None), "apart": (2, 2), "name": (2, 2), "split": (1, 1)}


@dataclass
class Rules:
    """What the user said; names as written."""

    same: list[tuple[str, str]] = field(default_factory=list)
    apart: list[tuple[str, str]] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    split: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._check()

    def __bool__(self) -> bool:
        return bool(self.same or self.apart or self.titles or self.split)

    def names(self) -> Iterator[str]:
        """All names that stand in a rule."""
        for pair in (*self.same, *self.apart):
            yield from pair
        yield from self.titles
        yield from self.split

    def _check(self) -> None:
        groups = Groups()
        for a, b in self.same:
            groups.join(a, b)
        for a, b in self.apart:
            if groups.find(a) == groups.find(b):
                raise DataError(f"the merge rules contradict each other: {a!r} and {b!r} are both same and apart")


class Groups:
    """Sets that are joined: union-find."""

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
    """Read a rules file; None: no rules.

    Raises
    ------
    ConfigError
        The file cannot be read, or a line is no rule; the message names it.
    DataError
        Rules contradict each other.
    """
    if path is None:
        return Rules()
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
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
                f"{path}:{number}: not a rule: {line.strip()!r}; a rule reads 'same', 'apart', 'name' or 'split' and "
                "its names, separated by tabs"
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
