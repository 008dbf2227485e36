"""What the tests of this session showed about each kernel, for the end of pytest's output."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

COLUMNS = ("compiled for", "same bits as the reference", "sanitizers", "registers")
shown: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))


def note(kernels: Iterable[str], column: str, what: str) -> None:
    """Record a result for these kernels."""
    assert column in COLUMNS
    for kernel in kernels:
        if what not in shown[kernel][column]:
            shown[kernel][column].append(what)


def table() -> list[str]:
    """One line per kernel; '-' if the test of a column did not run, was skipped, or failed."""
    rows = [("kernel", *COLUMNS)]
    rows += [(name, *(" ".join(shown[name][column]) or "-" for column in COLUMNS)) for name in sorted(shown)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
