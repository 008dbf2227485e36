"""How a text may write the entry of a glossary: qualifiers, abbreviations, symbols and inverted entries.

mean (arithmetic)           mean, arithmetic mean
confidence interval (CI)    confidence interval; CI, in this case only
frequency (f)               frequency: one letter alone is not a name
regression, linear          linear regression
find()                      find(, as code calls it
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from linksyn_gpu.knowledge.merge.synonyms import is_abbreviation
from linksyn_gpu.text import CJK
from linksyn_gpu.text.words import word_list

_NOTE = re.compile(r"\s*[(（]([^()（）]{1,60})[)）]\s*$")
_CALL = re.compile(r"[^\W\d][\w.]*\(\)")
_CAPITALS = re.compile(r"(?:[a-z0-9]*[A-Z]){2}[A-Za-z0-9]*")
_INVERTED = re.compile(r"([\w'’ -]{3,}), ((?:[\w'’-]+ ){0,2}[\w'’-]+)")
_SMALL_WORDS = frozenset(word_list("and or of the a an to in for by on at with from as"))


@dataclass(frozen=True)
class Spelling:
    """One way to write an entry."""

    text: str
    exact: bool = False
    """Capital and small letters count."""
    main: bool = True
    """The whole entry, or the entry without a note that repeats it. A main spelling wins over others with its words."""


def spellings(entry: str) -> Iterator[Spelling]:
    """Yield the ways in which a text may write an entry, the main one first."""
    note = _NOTE.search(entry)
    if _CALL.fullmatch(entry):
        yield Spelling(entry[:-1], exact=True)
    elif note is not None and (head := entry[: note.start()]):
        yield from _with_note(head, note[1].strip())
    else:
        yield Spelling(entry, exact=_is_capitals(entry))
        inverted = _INVERTED.fullmatch(entry)
        if inverted is not None and _SMALL_WORDS.isdisjoint(inverted[2].casefold().split()):
            yield Spelling(f"{inverted[2]} {inverted[1]}", main=False)


def _with_note(head: str, note: str) -> Iterator[Spelling]:
    if len(note) == 1 and not CJK.search(note):  # a symbol
        yield Spelling(head)
    elif _abbreviates(note, head):
        yield Spelling(head, exact=_is_capitals(head))
        yield Spelling(note, exact=" " not in note and note.isascii(), main=False)
    elif bool(CJK.search(head)) != bool(CJK.search(note)):  # the same name in another language
        yield Spelling(head)
        if len(note) > 2 or CJK.search(note):
            yield Spelling(note, main=False)
    else:
        yield Spelling(head, exact=_is_capitals(head), main=False)
        if not CJK.search(head) and _SMALL_WORDS.isdisjoint(note.casefold().split()):
            yield Spelling(f"{note} {head}", main=False)


def _abbreviates(note: str, head: str) -> bool:
    """Whether a note is an abbreviation of the entry: by the rules of merging, its initials, or letters in capitals."""
    if is_abbreviation(note, head):
        return True
    words = re.findall(r"\w+", head.casefold())
    if len(note) > 1 and note.isalpha() and note.casefold() in (_initials(words), _initials(words, _SMALL_WORDS)):
        return True
    letters = iter(head.casefold())
    same_start = note[:1].casefold() == head[:1].casefold()
    return bool(_CAPITALS.fullmatch(note)) and same_start and all(letter in letters for letter in note.casefold())


def _initials(words: list[str], skipped: frozenset[str] = frozenset()) -> str:
    return "".join(word[0] for word in words if word not in skipped)


def _is_capitals(name: str) -> bool:
    return name.isascii() and name.isupper() and name.isalnum()
