"""A published row in its forms: all columns, a conversation, an instruction with its output, a plain text."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Row = Mapping[str, Any]

WORDS = {"en": ("{}", "Answer: {}"), "zh": ("{}", "答案：{}")}
"""How a conversation gives the explanation and the final answer, by language."""

TEXTS: dict[str, tuple[tuple[tuple[str, str], ...], ...]] = {
    "en": (
        (("question", "Question: {}"), ("options", "{}"), ("explanation", "Solution: {}"), ("answer", "Answer: {}")),
        (("question", "{}"), ("options", "{}"), ("answer", "The answer is: {}"), ("explanation", "{}")),
        (("question", "Q: {}"), ("options", "{}"), ("explanation", "A: {}"), ("answer", "Final answer: {}")),
        (("question", "Problem. {}"), ("options", "{}"), ("answer", "Answer. {}"), ("explanation", "Explanation. {}")),
        (("question", "{}"), ("options", "{}"), ("explanation", "{}"), ("answer", "Result: {}")),
    ),
    "zh": (
        (("question", "问题：{}"), ("options", "{}"), ("explanation", "解析：{}"), ("answer", "答案：{}")),
        (("question", "{}"), ("options", "{}"), ("answer", "答：{}"), ("explanation", "{}")),
        (("question", "题目：{}"), ("options", "{}"), ("answer", "参考答案：{}"), ("explanation", "理由：{}")),
        (("question", "问：{}"), ("options", "{}"), ("explanation", "答：{}"), ("answer", "最终答案：{}")),
        (("question", "{}"), ("options", "{}"), ("explanation", "{}"), ("answer", "结论：{}")),
    ),
}
"""Templates of form 'text': parts in order; one without a value is left out. The id of a row chooses its template."""


def _language(row: Row) -> str:
    return "zh" if row["language"] == "zh" else "en"


def options_text(row: Row) -> str:
    """The options, one per line, with their letters; empty without options."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(ascii_uppercase, row["options"], strict=False))


def answer_text(row: Row) -> str:
    """The final answer; of a multiple choice question with the letter of its option."""
    answer: str = row["answer"]
    letters = dict(zip(row["options"], ascii_uppercase, strict=False))
    return f"{letters[answer]}. {answer}" if answer in letters else answer


def _question(row: Row) -> str:
    return "\n".join(filter(None, (row["question"], options_text(row))))


def _solution(row: Row) -> str:
    explanation, answer = WORDS[_language(row)]
    parts = (explanation.format(row["explanation"]) if row["explanation"] else "", answer.format(answer_text(row)))
    return "\n\n".join(filter(None, parts))


def as_chat(row: Row, *, reasoning: bool = False) -> dict[str, Any]:
    """`messages`: the user's question, and the explanation with the final answer."""
    reply = {"role": "assistant", "content": _solution(row)}
    user = {"role": "user", "content": _question(row)}
    if reasoning:
        user["reasoning_content"], reply["reasoning_content"] = "", row["reasoning"]
    return {"id": row["id"], "messages": [user, reply]}


def as_alpaca(row: Row) -> dict[str, Any]:
    """`instruction`, `input` (the options) and `output`."""
    return {
        "id": row["id"],
        "instruction": row["question"],
        "input": options_text(row),
        "output": _solution(row),
    }


def as_text(row: Row) -> dict[str, Any]:
    """`text` for continual pre-training, by one of `TEXTS`."""
    templates = TEXTS[_language(row)]
    values = {**row, "options": options_text(row), "answer": answer_text(row)}
    parts = templates[zlib.crc32(row["id"].encode()) % len(templates)]
    return {"id": row["id"], "text": "\n".join(form.format(values[name]) for name, form in parts if values[name])}


def maker_of(form: str, *, reasoning: bool) -> Callable[[Row], dict[str, Any]]:
    """The function that makes rows of a form of `config.FORMS`, except 'qa'."""
    if form == "chat":
        return lambda row: as_chat(row, reasoning=reasoning)
    return {"alpaca": as_alpaca, "text": as_text}[form]


def schema_of(form: str, qa: pa.Schema, *, reasoning: bool) -> pa.Schema:
    """Columns of a form; those of form 'qa' are `qa`."""
    import pyarrow as pa

    text = pa.string()
    parts = [("role", text), ("content", text), *([("reasoning_content", text)] if reasoning else [])]
    return {
        "qa": qa,
        "chat": pa.schema([("id", text), ("messages", pa.list_(pa.struct(parts)))]),
        "alpaca": pa.schema([("id", text), ("instruction", text), ("input", text), ("output", text)]),
        "text": pa.schema([("id", text), ("text", text)]),
    }[form]
