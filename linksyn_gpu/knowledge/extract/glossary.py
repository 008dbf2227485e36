"""Find a glossary's terms in texts: longest match, in one pass, whatever the case, plural or spelling.

An Aho-Corasick automaton (1975) over word forms instead of characters, so that matches begin and end at words; a
Chinese character is a word. It holds the terms backwards and reads a text from its end: then what it knows at a word is
the longest term that *begins* there, and one pass from the left takes them, each search beginning behind the last term.
The cost is two look-ups a word at most, whatever the glossary and however its terms overlap.

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
from linksyn_gpu.knowledge.extract.plain_text import plain_text
from linksyn_gpu.knowledge.merge.glosses import split_gloss
from linksyn_gpu.knowledge.merge.normal_form import CJK, HAS_CJK
from linksyn_gpu.text.latex import plain_name
from linksyn_gpu.text.words import american, simplified, singular, word_list

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
        # Nodes are numbers, 0 is the root. Node -> form -> node; node of the longest proper suffix; longest term that
        # is a suffix of the node's forms, and its words (0: none).
        self._children: list[dict[str, int]] = [{}]
        self._fallback: list[int] = [0]
        self._term: list[int] = [-1]
        self._length: list[int] = [0]
        self._capitals: dict[str, int] = {}
        for term in terms:
            place = len(self.names)
            self.names.append(term.name)
            for name in (term.name, *term.aliases):
                self._add(name, place)
        self._link()

    def __len__(self) -> int:
        return len(self.names)

    def _add(self, name: str, place: int) -> None:
        head, note, kind = split_gloss(name)
        for spelling in (head, note) if kind in ("abbreviation", "gloss") else (head,):
            words = _words(plain_name(spelling or ""))
            if len(words) == 1 and words[0].isupper() and words[0].isascii():
                self._capitals.setdefault(words[0], place)
                continue
            forms = [self._form(word) for word in words]
            forms = forms[1:] if len(forms) > 1 and forms[0] in _SKIPPED else forms
            node = 0
            for form in reversed(forms):
                node = self._child(node, form)
            if forms and not self._length[node]:
                self._term[node], self._length[node] = place, len(forms)

    def _child(self, node: int, form: str) -> int:
        found = self._children[node].get(form)
        if found is None:
            found = self._children[node][form] = len(self._children)
            self._children.append({})
            self._fallback.append(0)
            self._term.append(-1)
            self._length.append(0)
        return found

    def _link(self) -> None:
        """Find each node's fallback and, where it ends no term, the term of its fallback; nearest to the root first."""
        queue = list(self._children[0].values())
        for node in queue:  # it grows while it is read
            behind = self._fallback[node]
            if not self._length[node]:
                self._term[node], self._length[node] = self._term[behind], self._length[behind]
            for form, child in self._children[node].items():
                while behind and form not in self._children[behind]:
                    behind = self._fallback[behind]
                self._fallback[child] = self._children[behind].get(form, 0)
                behind = self._fallback[node]
                queue.append(child)

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
        known = self._forms
        if len(known) > 2**21:
            known.clear()
        found: dict[int, None] = {}
        behind = 0
        for at, term, length in reversed(self._longest(words, [known.get(word) or self._form(word) for word in words])):
            if at >= behind:  # else inside a term that was found
                found[term], behind = None, at + length
        return list(found)

    def _longest(self, words: list[str], forms: list[str]) -> list[tuple[int, int, int]]:
        """(word, term, words of the term) of the longest term that begins at each word, last words first."""
        children, fallback, lengths, capitals = self._children, self._fallback, self._length, self._capitals
        found: list[tuple[int, int, int]] = []
        node = 0
        for at in range(len(forms) - 1, -1, -1):
            form = forms[at]
            step = children[node].get(form)
            while step is None and node:
                node = fallback[node]
                step = children[node].get(form)
            node = step or 0
            if lengths[node]:
                found.append((at, self._term[node], lengths[node]))
            elif words[at] in capitals:
                found.append((at, capitals[words[at]], 1))
        return found


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
