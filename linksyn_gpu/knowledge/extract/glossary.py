"""Find the terms of a glossary in texts: longest match, independent of case, plural and spelling.

An Aho-Corasick automaton (pyahocorasick) matches word forms instead of characters, therefore terms begin and end at
words; a Chinese character is a word. The automaton has the terms backwards and reads a text from its end. At each word
it reports the terms that *begin* there, longest first, and a pass from the left takes the longest that do not overlap.
The time is linear in the text and in the number of matches.

A term of one word in capitals (AIDS, IT) matches only in capitals. `entry` says how a text may write an entry.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linksyn_gpu.errors import ConfigError, DataError
from linksyn_gpu.knowledge.extract.entry import Spelling, spellings
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
    disciplines: tuple[str, ...] = ()
    """Disciplines whose glossary has the term; empty: not known."""


class Glossary:
    """Terms, ready to be found.

    Attributes
    ----------
    names, disciplines : list
        Name and disciplines of each term.
    term_of : list of int
        Term of each spelling.
    word_of : list of str
        Each spelling if it is one word that may be common; '' for a phrase and for a word matched as written.
    """

    def __init__(self, terms: Iterable[Term]) -> None:
        self.names: list[str] = []
        self.disciplines: list[tuple[str, ...]] = []
        self.term_of: list[int] = []
        self.word_of: list[str] = []
        self._codes: dict[str, str] = {}  # word form -> its characters in the automaton
        self._code_of_word = _CodeOfWord(self._codes)
        self._exact: dict[str, int] = {}  # word as written -> spelling
        self._phrases: dict[str, tuple[int, int]] = {}  # codes -> spelling, its number of words
        self._add(terms)
        self._automaton = _automaton(self._phrases)
        calls = sorted((word for word in self._exact if word.endswith("(")), key=len, reverse=True)
        self._calls = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, calls))})|{_WORD.pattern}") if calls else None

    def __len__(self) -> int:
        return len(self.names)

    def _add(self, terms: Iterable[Term]) -> None:
        """Add all terms: first their main spellings, then the others that mean one term only."""
        others: dict[str, dict[int, Spelling]] = {}  # key -> term -> spelling
        for place, term in enumerate(terms):
            self.names.append(term.name)
            self.disciplines.append(term.disciplines)
            owner = place
            for name in (term.name, *term.aliases):
                for spelling in spellings(name):
                    if spelling.main:
                        owner = self._spelling(spelling, owner)  # the abbreviation goes to the owner of the head
                    else:
                        others.setdefault(self._key(spelling)[0], {})[owner] = spelling
        for meant in others.values():
            if len(meant) == 1:  # "mean" of "mean (arithmetic)" and "mean (geometric)" means neither
                ((owner, spelling),) = meant.items()
                self._spelling(spelling, owner)

    def _spelling(self, spelling: Spelling, term: int) -> int:
        """Add a spelling of a term unless it is known; return the term that has it."""
        key, length = self._key(spelling)
        if not key:
            return term
        known = self._exact.get(key) if spelling.exact else self._phrases.get(key, (None, 0))[0]
        if known is not None:
            return self.term_of[known]
        number = len(self.term_of)
        self.term_of.append(term)
        self.word_of.append("" if spelling.exact or (length > 1 and not CJK.search(spelling.text)) else spelling.text)
        if not spelling.exact:
            self._phrases[key] = (number, length)
        else:
            self._exact[key] = number
            if key.isupper():
                self._exact.setdefault(f"{key}s", number)  # "PDFs"
        return term

    def _key(self, spelling: Spelling) -> tuple[str, int]:
        """Key of a spelling, '' if it can't be found in a text, and its number of words."""
        words = _words(plain_name(spelling.text))
        if spelling.exact:
            return spelling.text if len(words) == 1 < len(spelling.text) else "", 1
        forms = list(map(_form, words))
        forms = forms[1:] if len(forms) > 1 and forms[0] in _SKIPPED else forms
        if forms and len(forms[0]) == len(forms) == 1 and forms[0].isascii():
            return "", 1  # one letter or sign alone
        codes = "".join(self._codes.setdefault(form, _code(len(self._codes))) for form in forms)[::-1]
        return codes, len(forms)

    def find(self, text: str) -> list[int]:
        """Terms in a text, each once, in the order of their first occurrence; `names` has their names."""
        return list(dict.fromkeys(self.term_of[spelling] for spelling in self.find_spellings(self.words(text))))

    def words(self, text: str) -> list[str]:
        """Words of a text as the search reads them."""
        return _words(text) if self._calls is None else _words(text, self._calls)

    def find_spellings(self, words: Sequence[str]) -> list[int]:
        """Spellings of terms among the words of a text, each once, in the order of their first occurrence."""
        if len(self._code_of_word) > 2**21:
            self._code_of_word.clear()
        codes = "".join(map(self._code_of_word.__getitem__, words))[::-1]
        longest: dict[int, tuple[int, int]] = {}  # word -> longest spelling that begins there, its number of words
        if len(self._automaton):
            for end, found in self._automaton.iter(codes):  # of the spellings with one end the longest comes first
                longest.setdefault(len(words) - 1 - end // len(_UNKNOWN), found)
        if not self._exact.keys().isdisjoint(words):
            for at, word in enumerate(words):
                if word in self._exact:
                    longest.setdefault(at, (self._exact[word], 1))
        kept: dict[int, None] = {}
        end = 0
        for at in sorted(longest):
            if at >= end:  # otherwise inside the last one
                spelling, length = longest[at]
                kept[spelling], end = None, at + length
        return list(kept)


def _automaton(phrases: Mapping[str, tuple[int, int]]) -> Any:
    import ahocorasick

    automaton = ahocorasick.Automaton()
    for codes, value in phrases.items():
        automaton.add_word(codes, value)
    automaton.make_automaton()
    return automaton


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


def _words(text: str, pattern: re.Pattern[str] | None = None) -> list[str]:
    if "'" in text or "’" in text:
        text = _POSSESSIVE.sub("", text)
    if pattern is not None:
        return pattern.findall(text)
    return (_PLAIN_WORD if text.isascii() or not CJK.search(text) else _WORD).findall(text)


def read_glossary(path: str | Path, discipline: Callable[[str], str] = str) -> Glossary:
    """Read a glossary.

    Parameters
    ----------
    path : path
        `.txt` with one term per line, or `.jsonl`. A line of a `.jsonl` file is an object with `term` and optionally
        `aliases` (list of str), or, as in glossaries of textbooks, with `key_terms` (list of such objects) and
        optionally `inline_terms` (list of str). Each line may have a `discipline`. A term of several disciplines is
        one term.
    discipline : callable
        Maps the name of a discipline in the file to the name that seeds have.

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
                terms[term.name] = _joined(terms.get(term.name), term, discipline)
    if not terms:
        raise DataError(f"{path}: has no term")
    return Glossary(terms.values())


def _joined(known: Term | None, term: Term, discipline: Callable[[str], str]) -> Term:
    before, aliases = (known.disciplines, known.aliases) if known is not None else ((), ())
    disciplines = (*before, *map(discipline, term.disciplines))
    return Term(term.name, tuple(dict.fromkeys((*aliases, *term.aliases))), tuple(dict.fromkeys(disciplines)))


def _terms(path: Path, number: int, line: str) -> Sequence[Term]:
    try:
        entry = json.loads(line)
        disciplines = (_text(entry["discipline"]),) if entry.get("discipline") is not None else ()
        if "term" in entry:
            return [_term(entry, disciplines)]
        inline = [Term(_text(name), (), disciplines) for name in entry.get("inline_terms", [])]
        return [_term(inner, disciplines) for inner in entry["key_terms"]] + inline
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f'{path}:{number}: not a glossary entry ({type(error).__name__}: {error}); write {{"term": "..."}} or '
            '{"key_terms": [{"term": "..."}]}'
        ) from None


def _term(entry: Any, disciplines: tuple[str, ...]) -> Term:
    return Term(_text(entry["term"]), tuple(_text(alias) for alias in entry.get("aliases", [])), disciplines)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"{value!r} is not a term")
    return value.strip()
