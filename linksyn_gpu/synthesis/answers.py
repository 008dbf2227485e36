"""From the text of an answer to QA items, or to the reason why there are none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from linksyn_gpu.llm.json_answer import TruncatedAnswer, json_values, read_level

REASONS = {
    "invalid_json": "the answer holds no JSON that can be read",
    "truncated": "the answer's JSON ends too early",
    "no_items": "the answer is JSON but holds no question",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One new QA as the model wrote it; text is stripped, nothing else is changed."""

    question: str
    answer: str
    options: tuple[str, ...] = ()
    explanation: str = ""
    knowledge_points: tuple[str, ...] = ()
    discipline: str | None = None
    difficulty: int | None = None
    """Level 1..5 as the model sees it; None where it gave none or something else."""


@dataclass(frozen=True)
class Parsed:
    """Items of an answer; without any, `reason` (of `REASONS`) and `detail` say why."""

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
