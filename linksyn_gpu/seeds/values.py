"""Single values of records: numbers as text, lists written as text, and names of types for messages."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

MISSING_WORDS = frozenset(
    (
        "nan",
        "NaN",
        "NAN",
        "NaT",
        "<NA>",
        "NA",
        "#NA",
        "#N/A",
        "N/A",
        "n/a",
        "None",
        "none",
        "NONE",
        "null",
        "Null",
        "NULL",
    )
)
"""What pandas and others write for a missing value. Case is significant: Na is sodium."""

# A string as Python writes it; one that is not closed reaches to the end, so that matching takes linear time.
_STRING = re.compile(r"""('(?:[^'\\]|\\.)*(?:'|\Z)|"(?:[^"\\]|\\.)*(?:"|\Z))""", re.DOTALL)
_NUMPY_CALL = re.compile(r"\b(?:np\.)?(?:array|str_|bool_?|u?int\d*|float\d*)\(")
_NUMPY_DTYPE = re.compile(r",\s*dtype=[\w.]*")
_NAN = re.compile(r"\bnan\b")
_MAX_LITERAL = 2**20
"""Characters of a list as Python writes it; a longer one is a text."""


class Unfit(Exception):
    """Why a record is not taken: one of `linksyn_gpu.seeds.normalize.REASONS`, and a detail for the user."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def text_of(field: str, value: Any) -> str:
    """Return a scalar as text: a number as JSON writes it, a missing value as ''."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and value != value):  # NaN is pandas' missing value
        return ""
    if isinstance(value, (int, float)):
        return json.dumps(value)
    if isinstance(value, Decimal):
        return str(value)
    raise Unfit("wrong_type", f"{field} is {kind_of(value)}, not a text")


def texts_of(field: str, value: Any) -> list[str]:
    """Return a list of scalars as texts; a scalar is a list of one, a blank one an empty list."""
    if isinstance(value, list):
        name = f"an entry of {field}"
        return [entry if type(entry) is str else text_of(name, entry) for entry in value]
    text = text_of(field, value)
    return [text] if text.strip() else []


def decoded(value: Any) -> Any:
    """Decode a list or object that a column holds as text; return anything else unchanged.

    It may be written by JSON, or as Python and NumPy print it: `['a', None]`, `['a' 'b']`, `{'A': 'x'}`. A tuple is
    taken as a list if it holds a string: (1, 2) may be a point.
    """
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{", "("):
        return value
    try:
        return json.loads(value)
    except RecursionError:
        return value
    except ValueError:
        found = _python_value(value.strip()) if len(value) <= _MAX_LITERAL else None
    if isinstance(found, tuple) and any(isinstance(entry, str) for entry in found):
        return list(found)
    if isinstance(found, dict):
        return {str(key): entry for key, entry in found.items()}
    return found if isinstance(found, list) else value


def _python_value(text: str) -> Any:
    """Parse a value as Python or NumPy prints it; None where it is not one."""
    parts = _STRING.split(text)  # strings are the odd ones
    for place in range(0, len(parts), 2):
        part = parts[place]
        if part.strip() == "...":
            raise Unfit("wrong_type", "a list that NumPy printed in part only, with '...'")
        if part.endswith("dtype="):
            parts[place + 1] = ""
        part = _NAN.sub("None", _NUMPY_DTYPE.sub("", _NUMPY_CALL.sub("(", part)))
        parts[place] = "," if part.isspace() and 0 < place < len(parts) - 1 else part
    try:
        return ast.literal_eval("".join(parts))
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def kind_of(value: Any) -> str:
    """Name the type of a value for a message."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)


def listed(names: Iterable[str], most: int = 20) -> str:
    """Quote and join names for a message, at most the first `most` of them."""
    quoted = [repr(name) for name in names]
    return ", ".join(quoted[:most]) + (f" and {len(quoted) - most} more" if len(quoted) > most else "")
