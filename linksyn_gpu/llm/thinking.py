"""Separates a model's thinking from its answer, by the structure of the text.

Models mark thinking with tags (`<think>`, `[THINK]`, `◁think▷` and others) or with the channels of the harmony format,
whose special tokens a server may have removed. A chat template may have put the opening tag into the prompt, so that
the text holds a closing tag only. A tag inside a JSON string belongs to the answer.
"""

from __future__ import annotations

import re

_NAMES = "think|thinking|thought|reasoning|reflection|seed:think"
_OPENING = re.compile(rf"<(?:{_NAMES})>|\[THINK\]|◁think▷|<\|channel\|?>\s*(?:analysis|thought)|<unused94>", re.I)
_CLOSING = re.compile(rf"</(?:{_NAMES})>|\[/THINK\]|◁/think▷|<channel\|>|<unused95>", re.I)
_FINAL = re.compile(r"<\|channel\|>\s*final.{0,60}?<\|message\|>", re.S)
_CHANNEL_END = re.compile(r"<\|(?:end|return|call)\|>")
# The special tokens of harmony are gone, and only the names of roles and channels are left.
_BARE_START, _BARE_FINAL = re.compile(r"analysis(?=[^a-z\s]|[A-Z]|\s)"), "assistantfinal"
_MARK = re.compile(r'["\\{}]')
_JSON_FOLLOWS = re.compile(r"\s*(?:```\w*\s*)?[{\[]")


def split_thinking(text: str) -> tuple[str, str]:
    """Split a text into (thinking, answer). Thinking that does not end leaves no answer."""
    text = text.strip()
    if finals := list(_FINAL.finditer(text)):
        answer = _CHANNEL_END.split(text[finals[-1].end() :], maxsplit=1)[0]
        return text[: finals[-1].start()].strip(), answer.strip()
    if _BARE_START.match(text) and _BARE_FINAL in text:
        thinking, _, answer = text.rpartition(_BARE_FINAL)
        return thinking.strip(), answer.strip()
    opening = _OPENING.match(text)
    closing = _last_closing(text)
    if closing is None:
        return (text[opening.end() :].strip(), "") if opening else ("", text)
    return text[opening.end() if opening else 0 : closing[0]].strip(), text[closing[1] :].strip()


def _last_closing(text: str) -> tuple[int, int] | None:
    """Start and end of the last closing tag that is not inside a string of a JSON object."""
    tags = [match.span() for match in _CLOSING.finditer(text)]
    if not tags:
        return None
    inside = _in_strings(text, [start for start, _ in tags])
    for (start, end), in_string in zip(reversed(tags), reversed(inside), strict=True):
        # Thinking may hold an unfinished draft: a tag before JSON ends it, even if the draft's string is open.
        if not in_string or _JSON_FOLLOWS.match(text, end):
            return start, end
    return None


def _in_strings(text: str, places: list[int]) -> list[bool]:
    """Whether each of some ascending places lies in a string of a JSON object; one pass over the text."""
    found, depth, in_string, skip = [], 0, False, -1
    marks = [(match.start(), match.group()) for match in _MARK.finditer(text)]
    following = iter(places)
    place = next(following, None)
    for at, mark in [*marks, (len(text), "")]:
        while place is not None and place <= at:
            found.append(in_string)
            place = next(following, None)
        if at == skip:
            continue
        if mark == "\\":
            skip = at + 1  # an escaped character
        elif mark == '"':
            in_string = depth > 0 and not in_string
        elif not in_string:
            depth = max(0, depth + (1 if mark == "{" else -1))
    return found
