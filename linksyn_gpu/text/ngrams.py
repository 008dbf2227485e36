"""Texts as sets of hashed n-grams, for comparing many of them.

A text is cut into tokens: a word or number (a run of letters and digits), one Chinese character or kana, or one
mathematical sign. Spaces and punctuation are left out. N-grams never leave a run of tokens of the same script: words
and signs are one script, Chinese characters the other. A run that is shorter than n is one n-gram.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from linksyn_gpu.text import CJK, name_key

SEPARATOR, WORD, IDEOGRAPH, SIGN = range(4)
"""Kinds of characters."""
SIGNS = frozenset("-*/%^|\\")
"""Signs that Unicode counts as punctuation, in addition to its symbols (S*)."""
FNV_OFFSET, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)

UInt64 = NDArray[np.uint64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GramSets:
    """The distinct n-grams of texts, as rows of a sparse matrix."""

    indptr: Int64
    """[n_texts + 1]"""
    grams: UInt64
    """[n_grams] hashes, ascending in each row."""

    def __len__(self) -> int:
        return self.indptr.size - 1

    @property
    def sizes(self) -> Int64:
        """[n_texts] distinct n-grams of each text."""
        return np.diff(self.indptr)


def gram_sets(texts: Sequence[str], n: int) -> GramSets:
    """Cut texts into n-grams.

    Parameters
    ----------
    texts : sequence of str
        Compared without regard to case, width and invisible characters (`text.name_key`).
    n : int
        Tokens of an n-gram.
    """
    folded = [name_key(text) for text in texts]
    lengths = np.fromiter(map(len, folded), np.int64, len(folded))
    ends = np.concatenate([[0], np.cumsum(lengths)])
    joined = "".join(folded).encode("utf-32-le", errors="surrogatepass")
    characters = np.frombuffer(joined, np.uint32)
    counts, grams = _cut(characters, ends, character_kinds(), n)
    return GramSets(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), grams)


@functools.cache
def character_kinds() -> NDArray[np.uint8]:
    """[code points] kind of each character."""
    kinds = np.zeros(sys.maxunicode + 1, np.uint8)
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        category = unicodedata.category(character)
        if category[0] in "LNM":
            kinds[code] = IDEOGRAPH if CJK.match(character) else WORD
        elif category[0] == "S" or character in SIGNS:
            kinds[code] = SIGN
    return kinds


@njit(nogil=True, cache=True)
def mixed(value: np.uint64) -> np.uint64:
    """A bijection whose low and high bits depend on all bits of the value (the finaliser of SplitMix64)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(nogil=True, cache=True)
def _cut(characters: NDArray[np.uint32], ends: Int64, kinds: NDArray[np.uint8], n: int) -> tuple[Int64, UInt64]:
    """Count and hash the distinct n-grams of each text, ascending in each text."""
    n_texts = ends.size - 1
    counts = np.zeros(n_texts, np.int64)
    out = np.empty(characters.size, np.uint64)  # an n-gram has at least one character
    tokens = np.empty(characters.size + 1, np.uint64)
    filled = 0
    for text in range(n_texts):
        begin = filled
        size = 0  # tokens in the current run
        run = SEPARATOR
        at, end = ends[text], ends[text + 1]
        while at < end:
            kind = kinds[characters[at]]
            if kind == SEPARATOR:
                at += 1
                continue
            token = mixed(FNV_OFFSET ^ np.uint64(characters[at]))
            at += 1
            while kind == WORD and at < end and kinds[characters[at]] == WORD:
                token = mixed((token ^ np.uint64(characters[at])) * FNV_PRIME)
                at += 1
            script = IDEOGRAPH if kind == IDEOGRAPH else WORD
            if script != run and size > 0:
                filled = _grams_of_run(tokens, size, n, out, filled)
                size = 0
            run = script
            tokens[size] = token
            size += 1
        if size > 0:
            filled = _grams_of_run(tokens, size, n, out, filled)
        filled = _distinct(out, begin, filled)
        counts[text] = filled - begin
    return counts, out[:filled].copy()


@njit(nogil=True, cache=True)
def _grams_of_run(tokens: UInt64, size: int, n: int, out: UInt64, filled: int) -> int:
    """Append the n-grams of a run of tokens."""
    width = min(n, size)
    for first in range(size - width + 1):
        gram = np.uint64(width)
        for i in range(first, first + width):
            gram = mixed((gram ^ tokens[i]) * FNV_PRIME)
        out[filled] = gram
        filled += 1
    return filled


@njit(nogil=True, cache=True)
def _distinct(out: UInt64, begin: int, end: int) -> int:
    """Sort out[begin:end], remove repeats, and return the new end."""
    if end - begin < 2:
        return end
    out[begin:end].sort()
    last = begin
    for i in range(begin + 1, end):
        if out[i] != out[last]:
            last += 1
            out[last] = out[i]
    return last + 1
