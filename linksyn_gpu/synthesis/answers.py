"""From the text of an answer to QA items, or to the reason why there are none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from linksyn_gpu.llm.json_answer import TruncatedAnswer, json_values, read_level
from linksyn_gpu.synthesis.prompts import text_limits
from linksyn_gpu.tables import Item, cut_field

REASONS = {
    "invalid_json": "the answer contains no valid JSON",
    "truncated": "the answer's JSON ends too early",
    "no_items": "the answer is JSON but contains no question",
}


@dataclass(frozen=True)
class Parsed:
    """Items of an answer. If there are none, `reason` (of `REASONS`) and `detail` say why."""

    items: tuple[Item, ...]
    reason: str | None = None
    detail: str = ""


def parse(text: str) -> Parsed:
    """Find the QA items in an answer's text."""
    text = text.strip().removeprefix("\ufeff")
    try:
        values = list(json_values(text))
    except TruncatedAnswer as error:
        return Parsed((), "truncated", str(error))
    if not values:
        return Parsed((), "invalid_json", "no JSON object in the answer")
    items = tuple(item for value in values for item in _items(value))
    if not items:
        return Parsed((), "no_items", f"JSON without a question: {json.dumps(values[0])[:120]}")
    return Parsed(items)


def validator(limit: int | None) -> Callable[[str], str | None]:
    """A check of an answer's text that gives the reason to ask again, or None.

    The reason is one of `REASONS`, or 'cut_text' if the schema's limit cut off every item. `limit` is
    `SynthesisConfig.field_limit`.
    """
    limits = text_limits(limit)

    def validate(text: str) -> str | None:
        parsed = parse(text)
        if parsed.reason is None and limits is not None:
            return "cut_text" if all(cut_field(item, limits) for item in parsed.items) else None
        return parsed.reason

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
        options = [f"{letter}. {_text(option)}" for letter, option in options.items()]
    elif not isinstance(options, list):
        options = ()
    kps = value.get("knowledge_points") or ()
    kps = [kps] if isinstance(kps, str) else kps if isinstance(kps, list) else ()
    return Item(
        _text(value["question"]),
        _text(value.get("answer")),
        tuple(_text(option) for option in options),
        _text(value.get("explanation")),
        tuple(dict.fromkeys(name for name in map(_text, kps) if name)),
        _text(value.get("discipline")) or None,
        read_level(value.get("difficulty")),
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list):
        return "\n".join(filter(None, map(_text, value)))
    return json.dumps(value, ensure_ascii=False)
