"""Which names are common words of the language in the seeds of a discipline.

A glossary has terms that are also common words: "and" and "type" in a book about programming, "period" in a book about
chemistry. The measure is the weirdness of Ahmad, Gillam and Tostevin (1999): the frequency in texts of the subject,
divided by the frequency in general language. Here the divisor is the larger of two frequencies: that in general
language (wordfreq), and the median of the disciplines of the bank, because exercises of all disciplines say "type".
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from linksyn_gpu.text import CJK
from linksyn_gpu.text.words import singular

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMMON = 1e-5
"""Smallest share of the words of general language that makes a word common: once in 100,000 words, Zipf value 4."""
FUNCTION = 2e-3
"""Share of the words from which a word is a function word in every subject ("and", "not", "in")."""
AT_HOME, ELSEWHERE = 1.0, 5.0
"""A common word is a term if its weirdness is larger: where the glossary has it, in other disciplines."""
FEWEST_SEEDS = 5
"""Smallest number of seeds with a common word in a discipline whose glossary lacks it."""
FEWEST_DISCIPLINES, DISCIPLINE_SEEDS = 3, 30
"""The median needs so many disciplines with so many seeds."""


@functools.cache
def _frequencies(language: str) -> Mapping[str, float]:
    import wordfreq

    found: Mapping[str, float] = wordfreq.get_frequency_dict(language, "small")
    return found


def general_frequency(word: str) -> float:
    """Share of a word among the words of general English or Chinese; 0 if it is rarer than once in a million words."""
    if CJK.search(word):
        return _frequencies("zh").get(word, 0.0)
    folded = word.casefold()
    known = _frequencies("en")
    return max(known.get(folded, 0.0), known.get(singular(folded), 0.0))


def weirdness(
    seeds_with: NDArray[np.int64], words: NDArray[np.int64], seeds: NDArray[np.int64], general: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Frequency of names in each discipline, divided by the usual one; infinite if that is 0.

    Parameters
    ----------
    seeds_with : (n_names, n_disciplines) int64
        Seeds of each discipline that have the name.
    words, seeds : (n_disciplines,) int64
        Words and seeds of each discipline.
    general : (n_names,) float64
        Frequency of each name in general language.

    Returns
    -------
    (n_names, n_disciplines) float64
    """
    rate = seeds_with / np.maximum(words, 1)
    large = seeds >= DISCIPLINE_SEEDS
    usual = general
    if large.sum() >= FEWEST_DISCIPLINES:
        ordered = np.sort(rate[:, large], axis=1)
        usual = np.maximum(general, ordered[:, (ordered.shape[1] - 1) // 2])  # the lower median: a rate that occurs
    ratio: NDArray[np.float64] = np.full(rate.shape, np.inf)
    np.divide(rate, usual[:, None], out=ratio, where=usual[:, None] > 0)
    return ratio


def are_terms(
    seeds_with: NDArray[np.int64],
    words: NDArray[np.int64],
    seeds: NDArray[np.int64],
    general: NDArray[np.float64],
    home: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """In which disciplines common words are terms of a glossary.

    Parameters
    ----------
    seeds_with, words, seeds, general
        As of `weirdness`.
    home : (n_names, n_disciplines) bool
        Whether a glossary of the discipline has the word.

    Returns
    -------
    (n_names, n_disciplines) bool
    """
    ratio = weirdness(seeds_with, words, seeds, general)
    at_home: NDArray[np.bool_] = home & (ratio > AT_HOME)
    elsewhere = (ratio > ELSEWHERE) & (seeds_with >= FEWEST_SEEDS)
    return (at_home | elsewhere) & (general < FUNCTION)[:, None]
