"""Single values of records: numbers as text, lists written as text, and names of types for messages."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

_STRING = r"""(?:'(?:[^'\\]|\\[\\'"nrtxuU])*'|"(?:[^"\\]|\\[\\'"nrtxuU])*")"""
_PYTHON_LIST = re.compile(rf"\[\s*{_STRING}(?:\s*,\s*{_STRING})*\s*\]")


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
    """Decode a list or object that a CSV or Parquet column holds as text; return anything else unchanged."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except RecursionError:
        return value
    except ValueError:
        pass
    if not _PYTHON_LIST.fullmatch(value.strip()):
        return value
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return value


def kind_of(value: Any) -> str:
    """Name the type of a value for a message."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)


def listed(names: Iterable[str], most: int = 20) -> str:
    """Quote and join names for a message, at most the first `most` of them."""
    quoted = [repr(name) for name in names]
    return ", ".join(quoted[:most]) + (f" and {len(quoted) - most} more" if len(quoted) > most else "")
