"""Find the terms of a glossary in texts: longest match, independent of case, plural and spelling.

An Aho-Corasick automaton (pyahocorasick) matches word forms instead of characters, therefore terms begin and end at
words; a Chinese character is a word. The automaton has the terms backwards and reads a text from its end. At each word
it reports the terms that *begin* there, longest first, and a pass from the left takes the longest that do not overlap.
The time is linear in the text and in the number of matches.

A term of one word in capitals (AIDS, IT) matches only in capitals.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linksyn_gpu.errors import ConfigError, DataError
from linksyn_gpu.knowledge.extract.plain_text import plain_text
from linksyn_gpu.knowledge.merge.synonyms import split_gloss
from linksyn_gpu.text import CJK, CJK_RANGES
from linksyn_gpu.text.latex import plain_name
from linksyn_gpu.text.words import american, simplified, singular, word_list

# A word, a CJK character, or a sign that ends every phrase. Hyphens, quotes, brackets and spaces do not end one.
_WORD = re.compile(rf"[{CJK_RANGES}]|(?:(?![{CJK_RANGES}])[^\W_])+|[^\s\w'’‘\"“”()\[\]\-‐‑–/]")
_PLAIN_WORD = re.compile(r"[^\W_]+|[^\s\w'’‘\"“”()\[\]\-‐‑–/]")  # the same for a text without CJK characters
_POSSESSIVE = re.compile(r"['’]s\b|['’]")
_SKIPPED = frozenset(word_list("the a an"))
# pyahocorasick searches the children of a node one by one: a word is six characters of a small alphabet, not one of a
# large one (ten times slower). The mark "|" keeps matches at words.
_UNKNOWN = "     |"
MAX_WORD_FORMS = 16**5


@dataclass(frozen=True)
class Term:
    """A term and its other names."""

    name: str
    aliases: tuple[str, ...] = ()


class Glossary:
    """Terms, ready to be found."""

    def __init__(self, terms: Iterable[Term]) -> None:
        import ahocorasick

        self.names: list[str] = []
        self._codes: dict[str, str] = {}  # word form -> its characters in the automaton
        self._code_of_word = _CodeOfWord(self._codes)
        self._automaton = ahocorasick.Automaton()
        self._capitals: dict[str, int] = {}
        for term in terms:
            place = len(self.names)
            self.names.append(term.name)
            for name in (term.name, *term.aliases):
                self._add(name, place)
        self._automaton.make_automaton()

    def __len__(self) -> int:
        return len(self.names)

    def _add(self, name: str, place: int) -> None:
        head, note, kind = split_gloss(name)
        for spelling in (head, note) if kind in ("abbreviation", "gloss") else (head,):
            words = _words(plain_name(spelling or ""))
            if len(words) == 1 and words[0].isupper() and words[0].isascii():
                self._capitals.setdefault(words[0], place)
                continue
            forms = list(map(_form, words))
            forms = forms[1:] if len(forms) > 1 and forms[0] in _SKIPPED else forms
            codes = "".join(self._codes.setdefault(form, _code(len(self._codes))) for form in forms)[::-1]
            if codes and codes not in self._automaton:
                self._automaton.add_word(codes, (place, len(forms)))

    def find(self, text: str) -> list[int]:
        """Terms in a text, each once, in the order of their first occurrence; `names` has their names."""
        words = _words(text)
        if len(self._code_of_word) > 2**21:
            self._code_of_word.clear()
        codes = "".join(map(self._code_of_word.__getitem__, words))[::-1]
        longest: dict[int, tuple[int, int]] = {}  # word -> longest term that begins there, its number of words
        if len(self._automaton):
            for end, found in self._automaton.iter(codes):  # of the terms with one end the longest comes first
                longest.setdefault(len(words) - 1 - end // len(_UNKNOWN), found)
        if not self._capitals.keys().isdisjoint(words):
            for at, word in enumerate(words):
                if word in self._capitals:
                    longest.setdefault(at, (self._capitals[word], 1))
        terms: dict[int, None] = {}
        end = 0
        for at in sorted(longest):
            if at >= end:  # otherwise inside the last term
                place, length = longest[at]
                terms[place], end = None, at + length
        return list(terms)


class _CodeOfWord(dict[str, str]):
    """Code of each word as written, computed when a word is first met."""

    def __init__(self, codes: Mapping[str, str]) -> None:
        self._codes = codes

    def __missing__(self, word: str) -> str:
        code = self[word] = self._codes.get(_form(word), _UNKNOWN)
        return code


def _code(number: int) -> str:
    if number >= MAX_WORD_FORMS:
        raise DataError(f"a glossary has at most {MAX_WORD_FORMS:,} different words; leave out unused terms")
    return f"{number:05x}|"


def _form(word: str) -> str:
    word = word.casefold()
    return american(singular(word) if word.isascii() else simplified(word))


def _words(text: str) -> list[str]:
    if "'" in text or "’" in text:
        text = _POSSESSIVE.sub("", text)
    return (_PLAIN_WORD if text.isascii() or not CJK.search(text) else _WORD).findall(text)


def find_terms(texts: Iterable[str], glossary: Glossary, most: int) -> Iterator[list[str]]:
    """For each text the names of its first `most` terms."""
    for text in texts:
        yield [glossary.names[place] for place in glossary.find(plain_text(text))[:most]]


def read_glossary(path: str | Path) -> Glossary:
    """Read a glossary.

    Parameters
    ----------
    path : path
        `.txt` with one term per line, or `.jsonl`. A line of a `.jsonl` file is an object with `term` and optionally
        `aliases` (list of str), or, as in glossaries of textbooks, with `key_terms` (list of such objects) and
        optionally `inline_terms` (list of str).

    Raises
    ------
    ConfigError
        The file cannot be read or has another suffix.
    DataError
        A line is not such an object, or the file has no term.
    """
    path = Path(path)
    if path.suffix not in (".jsonl", ".txt"):
        raise ConfigError(f"{path}: a glossary must be a .jsonl or .txt file")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    terms: dict[str, Term] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            for term in [Term(line.strip())] if path.suffix == ".txt" else _terms(path, number, line):
                terms.setdefault(term.name, term)
    if not terms:
        raise DataError(f"{path}: has no term")
    return Glossary(terms.values())


def _terms(path: Path, number: int, line: str) -> Sequence[Term]:
    try:
        entry = json.loads(line)
        if "term" in entry:
            return [_term(entry)]
        inline = [Term(_text(name)) for name in entry.get("inline_terms", [])]
        return [_term(inner) for inner in entry["key_terms"]] + inline
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f'{path}:{number}: not a glossary entry ({type(error).__name__}: {error}); write {{"term": "..."}} or '
            '{"key_terms": [{"term": "..."}]}'
        ) from None


def _term(entry: Any) -> Term:
    return Term(_text(entry["term"]), tuple(_text(alias) for alias in entry.get("aliases", [])))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"{value!r} is not a term")
    return value.strip()
