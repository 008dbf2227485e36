"""Find a glossary's terms in texts: longest match, in one pass, whatever the case, plural or spelling.

The glossary becomes a trie over word forms (a Chinese character is a word). At each word the longest path through the
trie wins and its words are taken; the next search begins behind it. A glossary of any size costs the same: what counts
is the length of a text, times the words of the longest term that begins as it does.

A term of one word in capitals (AIDS, IT) matches only in capitals.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linksyn_gpu.errors import ConfigError, DataError
from linksyn_gpu.knowledge.clean import plain_text
from linksyn_gpu.knowledge.evidence import split_gloss
from linksyn_gpu.knowledge.latex import plain_name
from linksyn_gpu.knowledge.normal_form import CJK, HAS_CJK
from linksyn_gpu.knowledge.words import american, simplified, singular, word_list

# A word (with its inner apostrophes), a CJK character, or one sign that ends every phrase; hyphens and spaces do not.
_WORD = re.compile(rf"[{CJK}]|(?:(?![{CJK}])[^\W_])+|[^\s\w'’‘\"“”()\[\]\-‐‑–/]")
_PLAIN_WORD = re.compile(r"[^\W_]+|[^\s\w'’‘\"“”()\[\]\-‐‑–/]")  # the same for a text without CJK characters
_POSSESSIVE = re.compile(r"['’]s\b|['’]")
_SKIPPED = frozenset(word_list("the a an"))


@dataclass(frozen=True)
class Term:
    """A term and the other names under which it is found."""

    name: str
    aliases: tuple[str, ...] = ()


class Glossary:
    """Terms, ready to be found."""

    def __init__(self, terms: Iterable[Term]) -> None:
        self.names: list[str] = []
        self._forms: dict[str, str] = {}  # word as it stands -> its form; filled as words are met
        self._root: dict[str, Any] = {}
        self._capitals: dict[str, int] = {}
        for term in terms:
            place = len(self.names)
            self.names.append(term.name)
            for name in (term.name, *term.aliases):
                self._add(name, place)

    def __len__(self) -> int:
        return len(self.names)

    def _add(self, name: str, place: int) -> None:
        head, note, kind = split_gloss(name)
        for spelling in (head, note) if kind in ("abbreviation", "gloss") else (head,):
            words = _words(plain_name(spelling or ""))
            if len(words) == 1 and words[0].isupper() and words[0].isascii():
                self._capitals.setdefault(words[0], place)
                self._root.setdefault(self._form(words[0]), {})
                continue
            forms = [self._form(word) for word in words]
            forms = forms[1:] if len(forms) > 1 and forms[0] in _SKIPPED else forms
            node = self._root
            for form in forms:
                node = node.setdefault(form, {})
            if forms:
                node.setdefault("", place)

    def _form(self, word: str) -> str:
        form = self._forms.get(word)
        if form is None:
            folded = word.casefold()
            form = american(singular(folded) if folded.isascii() else simplified(folded))
            self._forms[word] = form
        return form

    def find(self, text: str) -> list[int]:
        """Terms in a text, each once, in the order of their first place; `names` has their names."""
        words = _words(text)
        known, root = self._forms, self._root
        if len(known) > 2**21:
            known.clear()
        forms = [known.get(word) or self._form(word) for word in words]
        found: dict[int, None] = {}
        behind = 0
        for at in [place for place, form in enumerate(forms) if form in root]:
            if at >= behind:  # else inside a term that was found
                term, behind = self._longest(words, forms, at)
                if term >= 0:
                    found[term] = None
        return list(found)

    def _longest(self, words: list[str], forms: list[str], at: int) -> tuple[int, int]:
        """The longest term that begins at a word, or -1, and the place behind it."""
        node, here = self._root[forms[at]], at + 1
        best, behind = self._capitals.get(words[at], -1), at + 1
        while node is not None:
            if "" in node:
                best, behind = node[""], here
            node = node.get(forms[here]) if here < len(forms) else None
            here += 1
        return best, behind


def _words(text: str) -> list[str]:
    if "'" in text or "’" in text:
        text = _POSSESSIVE.sub("", text)
    return (_PLAIN_WORD if text.isascii() or not HAS_CJK.search(text) else _WORD).findall(text)


def find_terms(texts: Iterable[str], glossary: Glossary, most: int) -> Iterator[list[str]]:
    """For each text the names of up to `most` terms in it."""
    for text in texts:
        yield [glossary.names[place] for place in glossary.find(plain_text(text))[:most]]


def read_glossary(path: str | Path) -> Glossary:
    """Read a glossary.

    Parameters
    ----------
    path : path
        `.jsonl`, each line an object with `term` (and `aliases`, a list), or with `key_terms`, a list of such objects
        (and `inline_terms`, a list of names), as glossaries of textbooks come; `.txt`, one term a line.

    Raises
    ------
    ConfigError
        The file cannot be read, or its suffix is another.
    DataError
        A line is no such object, or there is no term at all.
    """
    path = Path(path)
    if path.suffix not in (".jsonl", ".txt"):
        raise ConfigError(f"{path}: a glossary is a .jsonl or a .txt file")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    terms: dict[str, Term] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            for term in [Term(line.strip())] if path.suffix == ".txt" else _terms(path, number, line):
                terms.setdefault(term.name, term)
    if not terms:
        raise DataError(f"{path}: holds no term")
    return Glossary(terms.values())


def _terms(path: Path, number: int, line: str) -> Sequence[Term]:
    try:
        entry = json.loads(line)
        if "term" in entry:
            return [_term(entry)]
        inline = [Term(_text(name)) for name in entry.get("inline_terms", [])]
        return [_term(inner) for inner in entry["key_terms"]] + inline
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}:{number}: not a glossary entry ({type(error).__name__}: {error})") from None


def _term(entry: Any) -> Term:
    return Term(_text(entry["term"]), tuple(_text(alias) for alias in entry.get("aliases", [])))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"{value!r} is not a term")
    return value.strip()
