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
"""Smallest weirdness of a common word in the disciplines whose glossary has it, and in other disciplines."""
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


def is_term(
    seeds_with: NDArray[np.int64], words: NDArray[np.int64], seeds: NDArray[np.int64], general: float, home: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """In which disciplines a word is a term.

    Parameters
    ----------
    seeds_with : (n_disciplines,) int64
        Seeds of each discipline that have the word.
    words, seeds : (n_disciplines,) int64
        Words and seeds of each discipline.
    general : float
        `general_frequency` of the word.
    home : (n_disciplines,) bool
        Whether a glossary of the discipline has the word.

    Returns
    -------
    (n_disciplines,) bool
    """
    if general < COMMON:
        return np.ones(len(seeds), bool)
    if general >= FUNCTION:
        return np.zeros(len(seeds), bool)
    rate = seeds_with / np.maximum(words, 1)
    large = seeds >= DISCIPLINE_SEEDS
    usual = float(np.median(rate[large])) if large.sum() >= FEWEST_DISCIPLINES else 0.0
    weirdness = rate / max(general, usual)
    at_home: NDArray[np.bool_] = home & (weirdness >= AT_HOME)
    elsewhere = (weirdness >= ELSEWHERE) & (seeds_with >= FEWEST_SEEDS)
    return at_home | elsewhere
