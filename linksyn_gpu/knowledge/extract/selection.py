"""The terms of a glossary that are knowledge points of a seed.

All texts are searched first. Then `common_words` decides which words are terms in which discipline, and each seed keeps
its best terms: those of its own discipline first, then those that are rarest in general language.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from linksyn_gpu.cluster import MapShards, batched, with_keys
from linksyn_gpu.knowledge.extract.common_words import COMMON, are_terms, general_frequency
from linksyn_gpu.knowledge.extract.glossary import Glossary
from linksyn_gpu.knowledge.extract.plain_text import plain_text

SHARD_SEEDS = 1024


def find_terms(
    seeds: Iterable[tuple[str, str]], glossary: Glossary, most: int, map_shards: MapShards = map
) -> Iterator[list[str]]:
    """For each seed, a text and its discipline ('' if unknown), the names of at most `most` terms.

    `map_shards` maps the search over shards of the texts.
    """
    found = _Found(glossary, seeds, map_shards)
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

    def __init__(self, glossary: Glossary, seeds: Iterable[tuple[str, str]], map_shards: MapShards) -> None:
        self._glossary = glossary
        self._spellings, self._ends = array("I"), array("Q")
        self.discipline_of, self._words = array("H"), array("I")
        numbers: dict[str, int] = {}
        shards = (([d for _, d in part], [text for text, _ in part]) for part in batched(seeds, SHARD_SEEDS))
        search = functools.partial(_search, glossary=glossary)
        for disciplines, results in with_keys(map_shards, search, shards):
            for discipline, (spellings, words) in zip(disciplines, results, strict=True):
                self._spellings.extend(spellings)
                self._ends.append(len(self._spellings))
                self._words.append(words)
                self.discipline_of.append(numbers.setdefault(discipline, len(numbers)))
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
        general = np.array([general_frequency(word) if word else 0.0 for word in glossary.word_of])
        common = np.flatnonzero(general >= COMMON)
        row_of = np.full(len(general) + 1, -1, np.int64)
        row_of[common] = np.arange(len(common))
        rows = row_of[np.asarray(self._spellings, np.int64)]
        ends = np.asarray(self._ends, np.int64)
        found = ends - np.concatenate((np.zeros(min(1, len(ends)), np.int64), ends[:-1]))
        columns = np.repeat(discipline_of, found).astype(np.int64)
        cells = rows[rows >= 0] * n + columns[rows >= 0]
        counts = np.bincount(cells, minlength=len(common) * n).reshape(len(common), n)
        home = np.array([self._home(spelling) for spelling in common.tolist()], np.bool_).reshape(len(common), n)
        terms = are_terms(counts, words, seeds, general[common], home)
        return dict(zip(common.tolist(), terms.tolist(), strict=True))

    def _home(self, spelling: int) -> list[bool]:
        declared = self._glossary.disciplines[self._glossary.term_of[spelling]]
        return [not declared or not name or name in declared for name in self.disciplines]


def _search(texts: Sequence[str], glossary: Glossary) -> list[tuple[list[int], int]]:
    """Spellings of terms in each text, and its number of words."""
    cut = [glossary.words(plain_text(text)) for text in texts]
    return [(glossary.find_spellings(words), len(words)) for words in cut]


def _ranks(glossary: Glossary, disciplines: Sequence[str]) -> Callable[[int, int], tuple[bool, float]]:
    general = [general_frequency(word) if word else 0.0 for word in glossary.word_of]

    def rank(spelling: int, discipline: int) -> tuple[bool, float]:
        return disciplines[discipline] not in glossary.disciplines[glossary.term_of[spelling]], general[spelling]

    return rank
