"""The terms of a glossary that are knowledge points of a seed.

All texts are searched first. Then `common_words` decides which words are terms in which discipline, and each seed keeps
its best terms: those of its own discipline first, then those that are rarest in general language.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from linksyn_gpu.knowledge.extract.common_words import COMMON, general_frequency, is_term
from linksyn_gpu.knowledge.extract.glossary import Glossary
from linksyn_gpu.knowledge.extract.plain_text import plain_text
from linksyn_gpu.tables import Bool, Int64
from linksyn_gpu.text import CJK

LONGEST_WORD = 6
"""Longest Chinese text that counts as one word, in characters."""


def find_terms(
    seeds: Iterable[tuple[str, str]], glossary: Glossary, most: int, key: Callable[[str], str] = str
) -> Iterator[list[str]]:
    """For each seed, a text and its discipline ('' if unknown), the names of at most `most` terms.

    `key` gives the name under which disciplines of seeds and of the glossary are compared.
    """
    glossary = glossary.with_disciplines(key)
    found = _Found(glossary, seeds, key)
    allowed = found.allowed()
    rank = _ranks(glossary, found.disciplines)
    for at, discipline in enumerate(found.discipline_of):
        terms: dict[int, int] = {}  # term -> its spelling
        for spelling in found.of(at):
            if spelling not in allowed or allowed[spelling][discipline]:
                terms.setdefault(glossary.term_of[spelling], spelling)
        if len(terms) > most:
            best = sorted(terms, key=lambda term: rank(terms[term], discipline))[:most]
            terms = {term: terms[term] for term in terms if term in set(best)}
        yield [glossary.names[term] for term in terms]


class _Found:
    """Spellings found in each seed, as flat arrays of integers."""

    def __init__(self, glossary: Glossary, seeds: Iterable[tuple[str, str]], key: Callable[[str], str]) -> None:
        self._glossary = glossary
        self._spellings, self._ends = array("I"), array("Q")
        self.discipline_of, self._words = array("H"), array("I")
        numbers: dict[str, int] = {}
        for text, discipline in seeds:
            words = glossary.words(plain_text(text))
            self._spellings.extend(glossary.find_spellings(words))
            self._ends.append(len(self._spellings))
            self._words.append(len(words))
            name = key(discipline) if discipline else ""
            self.discipline_of.append(numbers.setdefault(name, len(numbers)))
        self.disciplines: list[str] = list(numbers)

    def of(self, seed: int) -> Sequence[int]:
        """Spellings in a seed."""
        return self._spellings[self._ends[seed - 1] if seed else 0 : self._ends[seed]]

    def allowed(self) -> Mapping[int, Sequence[bool]]:
        """Common word, as a spelling -> whether it is a term, for each discipline."""
        glossary, n = self._glossary, len(self.disciplines)
        discipline_of = np.frombuffer(self.discipline_of, np.uint16) if n else np.zeros(0, np.uint16)
        seeds = np.bincount(discipline_of, minlength=n)
        words = np.zeros(n, np.int64)
        np.add.at(words, discipline_of, np.asarray(self._words, np.int64))
        general = [general_frequency(word) if word else 0.0 for word in glossary.word_of]
        common = [spelling for spelling, frequency in enumerate(general) if frequency >= COMMON]
        row_of = np.full(len(general) + 1, -1, np.int64)
        row_of[common] = np.arange(len(common))
        rows = row_of[np.asarray(self._spellings, np.int64)]
        columns = np.repeat(discipline_of, np.diff(np.concatenate([[0], np.asarray(self._ends, np.int64)]))).astype(
            np.int64
        )
        cells = rows[rows >= 0] * n + columns[rows >= 0]
        counts = np.bincount(cells, minlength=len(common) * n).reshape(len(common), n)
        return {
            spelling: is_term(counts[row], words, seeds, general[spelling], self._home(spelling)).tolist()
            for row, spelling in enumerate(common)
        }

    def _home(self, spelling: int) -> Bool:
        declared = self._glossary.disciplines[self._glossary.term_of[spelling]]
        return np.array([not declared or not name or name in declared for name in self.disciplines], bool)


def _ranks(glossary: Glossary, disciplines: Sequence[str]) -> Callable[[int, int], tuple[bool, float]]:
    general = [general_frequency(word) if word else 0.0 for word in glossary.word_of]

    def rank(spelling: int, discipline: int) -> tuple[bool, float]:
        return disciplines[discipline] not in glossary.disciplines[glossary.term_of[spelling]], general[spelling]

    return rank


def without_common_words(
    phrases: Sequence[Sequence[str]], seeds: Iterable[tuple[str, str]], most: int
) -> Iterator[list[str]]:
    """Phrases of each seed without those that consist of common words alone, at most `most`.

    Exercises of all disciplines say "figure" and "video": a word is common in a discipline by `common_words.is_term`,
    and a phrase is left out if all its words are.

    Parameters
    ----------
    phrases : sequence of sequence of str
        Phrases of each seed, best first.
    seeds : iterable of (str, str)
        Text and discipline of each seed.
    """
    numbers: dict[str, int] = {}
    discipline_of, lengths = array("H"), array("I")
    for text, discipline in seeds:
        discipline_of.append(numbers.setdefault(discipline, len(numbers)))
        lengths.append(len(_words_of(text)))
    n = len(numbers)
    of_seed = np.frombuffer(discipline_of, np.uint16) if discipline_of else np.zeros(0, np.uint16)
    sizes = np.bincount(of_seed, minlength=n)
    words = np.bincount(of_seed, weights=np.asarray(lengths, np.float64), minlength=n).astype(np.int64)
    held: dict[str, Int64] = {}
    for row, found in enumerate(phrases):
        for word in {word for phrase in found for word in _words_of(phrase)}:
            if general_frequency(word) >= COMMON:
                held.setdefault(word, np.zeros(n, np.int64))[of_seed[row]] += 1
    home = np.zeros(n, bool)  # no glossary says that a word is a term
    terms = {word: is_term(counts, words, sizes, general_frequency(word), home) for word, counts in held.items()}
    for row, found in enumerate(phrases):
        kept = [
            phrase
            for phrase in found
            if any(word not in terms or terms[word][of_seed[row]] for word in _words_of(phrase))
        ]
        yield kept[:most]


def _words_of(text: str) -> list[str]:
    """Words of a phrase, folded; a Chinese phrase is one word."""
    return [text] if CJK.search(text) and len(text) <= LONGEST_WORD else re.findall(r"[^\W_]+", text.casefold())
