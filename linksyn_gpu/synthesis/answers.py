"""From the text of an answer to QA items, or to the reason why there are none."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from linksyn_gpu.llm.json_answer import TruncatedAnswer, json_values, read_level
from linksyn_gpu.llm.protocol import ITEM_MISSING
from linksyn_gpu.synthesis.prompts import text_limits
from linksyn_gpu.tables import Item, clean_text, cut_field

REASONS = {
    "invalid_json": "the answer contains no valid JSON",
    "truncated": "the answer's JSON ends too early",
    "no_items": "the answer is JSON but contains no question",
}
TEXT_NAMES = ("text", "content", "value", "option", "answer")
LABEL_NAMES = ("label", "letter", "key", "id", "name")
"""Fields of an option that is written as an object."""


@dataclass(frozen=True)
class Parsed:
    """Items of an answer. If there are none, `reason` (of `REASONS`) and `detail` say why."""

    items: tuple[Item, ...]
    reason: str | None = None
    detail: str = ""
    surplus: int = 0
    """Items that the answer contains in addition to `items`."""


def parse(text: str, n: int | None = None) -> Parsed:
    """Find the QA items in an answer's text.

    Parameters
    ----------
    n : int, optional
        Items that were asked for. Of an answer with more, the last JSON values count, since drafts come before the
        final text, and of these the first `n` items.
    """
    text = text.strip().removeprefix("\ufeff")
    try:
        values = list(json_values(text))
    except TruncatedAnswer as error:
        return Parsed((), "truncated", str(error))
    if not values:
        return Parsed((), "invalid_json", "no JSON object in the answer")
    groups = [list(_items(value)) for value in values]
    found = left = sum(map(len, groups))
    if not found:
        return Parsed((), "no_items", f"JSON without a question: {json.dumps(values[0])[:120]}")
    if n is None:
        n = found
    first = 0
    while left - len(groups[first]) >= n:
        left -= len(groups[first])
        first += 1
    items = tuple(itertools.islice(itertools.chain.from_iterable(groups[first:]), n))
    return Parsed(items, surplus=found - len(items))


def validator(limit: int | None, n: int = 1) -> Callable[[str], str | None]:
    """A check of an answer's text that gives the reason to ask again, or None.

    The reason is one of `REASONS`, 'item_missing' for fewer than `n` items, or 'cut_text' if the schema's limit cut off
    every item. `limit` is `SynthesisConfig.field_limit`.
    """
    limits = text_limits(limit)

    def validate(text: str) -> str | None:
        parsed = parse(text, n)
        if parsed.reason is not None:
            return parsed.reason
        if limits is not None and all(cut_field(item, limits) for item in parsed.items):
            return "cut_text"
        return ITEM_MISSING if len(parsed.items) < n else None

    return validate


def _items(value: Any) -> Iterator[Item]:
    """Items in a decoded value: an item, a list of items, or an object that holds such a list."""
    if isinstance(value, list):
        for element in value:
            if isinstance(element, dict):
                yield from _items(element)
    elif isinstance(value, dict):
        if isinstance(value.get("question"), str):
            yield _item(value)
        else:
            lists = [value["qa"]] if "qa" in value else [v for v in value.values() if isinstance(v, list)]
            for inner in lists:
                yield from _items(inner)


def _item(value: dict[str, Any]) -> Item:
    options = value.get("options") or ()
    if isinstance(options, dict):  # {"A": "...", "B": "..."}
        options = [{"label": letter, "text": option} for letter, option in options.items()]
    elif not isinstance(options, list):
        options = ()
    kps = value.get("knowledge_points") or ()
    kps = [kps] if isinstance(kps, str) else kps if isinstance(kps, list) else ()
    return Item(
        _text(value["question"]),
        _text(value.get("answer")),
        tuple(map(_text, options)),
        _text(value.get("explanation")),
        tuple(dict.fromkeys(name for name in map(_text, kps) if name)),
        _text(value.get("discipline")) or None,
        read_level(value.get("difficulty")),
    )


def _text(value: Any) -> str:
    """The text of a field; empty for an object that is not a text with a label."""
    if value is None:
        return ""
    if isinstance(value, str):
        return clean_text(value).strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list):
        return "\n".join(filter(None, map(_text, value)))
    return _labelled(value)


def _labelled(value: dict[str, Any]) -> str:
    """The text of {"label": "A", "text": "..."} or {"A": "..."}, as "A. ..."."""
    text = next((value[name] for name in TEXT_NAMES if name in value), None)
    label = next((value[name] for name in LABEL_NAMES if name in value), None)
    if text is None and len(value) == 1:
        label, text = next(iter(value.items()))
    if text is None or (isinstance(text, dict) and not _text(text)):
        return ""
    label, text = _text(label), _text(text)
    return f"{label}. {text}" if label and not text.startswith(label) else text
