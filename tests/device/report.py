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


def plain() -> dict[str, dict[str, list[str]]]:
    """The notes as plain dicts, which a worker of pytest-xdist can send."""
    return {kernel: dict(columns) for kernel, columns in shown.items()}


def merge(notes: dict[str, dict[str, list[str]]]) -> None:
    """Add the notes of another process."""
    for kernel, columns in notes.items():
        for column, parts in columns.items():
            for what in parts:
                note([kernel], column, what)


def table() -> list[str]:
    """One line per kernel; '-' if the test of a column did not run, was skipped, or failed."""
    rows = [("kernel", *COLUMNS)]
    for name in sorted(shown):
        in_order = (sorted(shown[name][column], key=lambda what: (len(what), what)) for column in COLUMNS)
        rows.append((name, *(" ".join(parts) or "-" for parts in in_order)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
