"""Text that repeats itself, as small models write it when they do not stop.

Repeated numbers, symbols and capitals are content: a matrix, a strand of DNA, a long sum. Repeated words are not.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np

from linksyn_gpu.tables import UInt64
from linksyn_gpu.text import CJK_RANGES

TOKEN = re.compile(rf"[^\W\d_{CJK_RANGES}]+|[{CJK_RANGES}]|\d+|_+|\\[A-Za-z]+|[^\w\s]")
"""A word, a Chinese character, a number, a blank to fill in, a TeX command, or one other character."""
ASCII_TOKEN = re.compile(r"[A-Za-z]+|\d+|_+|\\[A-Za-z]+|[^\w\s]", re.ASCII)
"""The same for a text in ASCII; it is faster."""
GRAM = 4
"""Tokens in a sequence. Two passages are the same where their sequences are the same."""
MIN_TURNS = 3
"""A loop contains its unit at least this many times."""
MIN_LOOP = 12
"""A loop has at least this many tokens."""
MIN_SYMBOL_LOOP = 100
"""A loop whose unit contains no word has at least this many tokens."""
MAX_RUN = 100
"""Longest allowed run of one letter or digit."""
MIN_GRAMS = 40
"""A text with fewer word sequences is too short to say that few of them are distinct."""
MIXER = np.uint64(0x9E3779B97F4A7C15)


def repetition(text: str, loop_share: float = 1 / 3, distinct_share: float = 0.25) -> str | None:
    """What a text repeats: one character, the unit of a loop, or its most common words; None if it does not.

    Parameters
    ----------
    loop_share : float
        Share of the text that a loop makes up at least.
    distinct_share : float
        A text of `MIN_GRAMS` or more word sequences repeats itself if fewer of them are distinct.
    """
    if _is_varied_prose(text):
        return None
    tokens: list[str] = (ASCII_TOKEN if text.isascii() else TOKEN).findall(text)
    distinct = set(tokens)
    if tokens and len(max(distinct, key=len)) > MAX_RUN:
        runs = (token for token in distinct if len(token) > MAX_RUN and len(set(token)) == 1 and token[0] != "_")
        if (run := next(runs, None)) is not None:
            return run[:80]
    if len(tokens) < MIN_LOOP:
        return None
    least = max(MIN_LOOP, int(len(tokens) * loop_share))
    # Of the tokens of a loop, at most a third are new.
    possible = len(distinct) <= len(tokens) - least + least // MIN_TURNS and _may_loop(tokens, least)
    if possible and (unit := _loop(tokens, least)):
        return unit
    # n distinct words make at least n - GRAM + 1 distinct sequences.
    if len(distinct) > len(tokens) - (1 - distinct_share) * MIN_GRAMS + GRAM:
        return None
    words = set(filter(_is_word, distinct))
    if len(words) > len(tokens) * distinct_share + GRAM:
        return None
    return _common_words([token for token in tokens if token in words], distinct_share)


def _is_varied_prose(text: str) -> bool:
    """Whether a text of words between spaces repeats so few pairs of them that no rule can apply. This is fast."""
    words = text.split()
    if not words or len(max(words, key=len)) > MAX_PLAIN_WORD:
        return False
    pairs = len(words) - 1
    return len(text) < MIN_LOOP or len(set(itertools.pairwise(words))) > VARIED_SHARE * pairs


MAX_PLAIN_WORD = 24
"""A longer word may itself be a loop, or Chinese."""
VARIED_SHARE = 0.9
"""A loop of a third of a text, of three turns, leaves less than four fifths of the pairs distinct."""


def _may_loop(tokens: Sequence[str], least: int) -> bool:
    """Whether enough pairs of neighbours repeat: two thirds of a loop are pairs that occurred before. This is fast."""
    if len(set(itertools.pairwise(tokens))) > len(tokens) - least + least // MIN_TURNS:
        return False
    grams = zip(*(tokens[place:] for place in range(GRAM)), strict=False)
    return len(set(grams)) <= len(tokens) - least + least // MIN_TURNS


def _loop(tokens: Sequence[str], shortest: int) -> str | None:
    """The unit of a passage that repeats it `MIN_TURNS` times or more, of at least `shortest` tokens."""
    keys = _gram_keys(tokens)
    order = np.argsort(keys, kind="stable")
    period = np.zeros(keys.size, np.int64)  # distance to the previous occurrence of the same sequence; 0: none
    period[order[1:]] = np.where(keys[order[1:]] == keys[order[:-1]], np.diff(order), 0)
    first = np.flatnonzero(np.diff(period, prepend=-1))  # a run of one period is one passage
    start = first - period[first]
    length = np.append(first[1:], keys.size) + GRAM - 1 - start
    least = np.maximum(MIN_TURNS * period[first], shortest)
    for at in np.flatnonzero((period[first] > 0) & (length >= least)):
        unit = tokens[start[at] : first[at]]
        if length[at] >= MIN_SYMBOL_LOOP or any(map(_is_word, unit)):
            return " ".join(unit)[:80]
    return None


def _common_words(words: Sequence[str], distinct_share: float) -> str | None:
    """The most common sequence of words, if few sequences of the text are distinct."""
    if len(words) < MIN_GRAMS + GRAM - 1:
        return None
    _, at, counts = np.unique(_gram_keys(words), return_index=True, return_counts=True)
    if counts.size >= distinct_share * counts.sum():
        return None
    commonest = at[counts.argmax()]
    return " ".join(words[commonest : commonest + GRAM])


def _gram_keys(tokens: Sequence[str]) -> UInt64:
    """[len(tokens) - GRAM + 1] 64-bit hash of each sequence of `GRAM` tokens."""
    numbers: dict[str, int] = {}
    ids = np.fromiter((numbers.setdefault(token, len(numbers)) for token in tokens), np.uint64, len(tokens))
    keys = np.zeros(len(tokens) - GRAM + 1, np.uint64)
    for place in range(GRAM):
        keys = keys * MIXER + ids[place : place + keys.size]
    return keys


def _is_word(token: str) -> bool:
    """Whether a token is a word of prose: a Chinese character, or letters that are lower case after the first."""
    return (token[1:].islower() and token[0] != "\\") or (token >= "\u3040" and token.isalpha())
