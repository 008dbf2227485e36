r"""Texts as hashed tokens in which spelling makes no difference: for finding a text again after it was respelt.

A token is a run of letters, a run of digits, or one Chinese character or kana. Case, width, spaces, punctuation and
mathematical signs make no difference. LaTeX is read as what it shows: "$$\dfrac{1}{2}$$" and "1/2" are equal, and so
are "x^{2}" and "x²"; "\text{cm}" is "cm", "\alpha" is "α", and commands of layout
and signs are left out. Traditional Chinese characters are read as simplified ones, each by itself (OpenCC).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from linksyn_gpu.text import CJK, name_key
from linksyn_gpu.text.latex import GREEK_NAMES
from linksyn_gpu.text.ngrams import (
    FNV_OFFSET,
    FNV_PRIME,
    IDEOGRAPH,
    SEPARATOR,
    SIGN,
    WORD,
    Int64,
    UInt64,
    character_kinds,
    mixed,
)
from linksyn_gpu.text.words import simplified, word_list

DIGIT, BACKSLASH = 4, 5
"""Kinds of characters in addition to those of `text.ngrams`."""
LEFT_OUT = word_list(
    "left right big bigl bigr bigg biggl biggr displaystyle textstyle scriptstyle limits nolimits text textbf textit "
    "textrm textsf texttt mathrm mathbf mathbb mathit mathcal mathsf mathfrak boldsymbol operatorname emph bm bf rm it "
    "mbox hbox uline textquotesingle frac dfrac tfrac cfrac sqrt overline underline overrightarrow overset underset "
    "underbrace overbrace "
    "widehat hat bar vec dot ddot tilde widetilde boxed phantom quad qquad hspace vspace hfill newline par item hline "
    "times cdot cdots ldots dots div pm mp ast star le leq leqslant ge geq geqslant ne neq lt gt approx equiv sim "
    "simeq cong propto infty int iint oint sum prod to rightarrow leftarrow leftrightarrow longrightarrow implies iff "
    "circ degree prime angle triangle square parallel perp cap cup subset subseteq supset in notin ni forall exists "
    "emptyset varnothing setminus neg land lor wedge vee oplus otimes because therefore partial nabla mid vert lvert "
    "rvert lbrace rbrace langle rangle lfloor rfloor lceil rceil colon textgreater textless textbar textasciitilde "
    "textbackslash textdegree textasciicircum textunderscore underscore checkmark bullet dag ddag nonumber tag label"
)
"""LaTeX commands of layout and of signs, without their backslash."""
NAMES_A_GROUP = word_list("begin end")
"""Commands whose argument in braces is left out too."""
SECOND_SHAPES = word_list("epsilon theta rho sigma phi pi")
"""Greek letters of which LaTeX has a second shape, as in \\varphi."""
_OMITTED, _WITH_ARGUMENT, _SPELT = 0, 1, 2

UInt32 = NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens of texts, as rows of a ragged array."""

    indptr: Int64
    """[n_texts + 1]"""
    tokens: UInt64
    """[n_tokens] hashes, in the order of the text."""
    begin: Int64
    """[n_tokens] first character of the token in the folded text."""
    end: Int64
    """[n_tokens] character after its last one."""

    def __len__(self) -> int:
        return self.indptr.size - 1


def folded(text: str) -> str:
    """The text whose characters are counted by `Tokens.begin`: NFKC, without case and invisible characters."""
    return name_key(text)


def tokens_of(texts: Sequence[str]) -> Tokens:
    """Cut texts into tokens."""
    rows = [folded(text) for text in texts]
    ends = np.concatenate([[0], np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)))]).astype(np.int64)
    characters = np.frombuffer("".join(rows).encode("utf-32-le", errors="surrogatepass"), np.uint32)
    return Tokens(*_tokenize(characters, ends, *_characters(), *_commands()))  # type: ignore[arg-type]


@functools.cache
def _characters() -> tuple[NDArray[np.uint8], UInt32]:
    """[code points] the kind of each character, and the character that it is read as."""
    kinds = character_kinds().copy()
    kinds[kinds == SIGN] = SEPARATOR
    kinds[[code for code in range(sys.maxunicode + 1) if chr(code).isdecimal()]] = DIGIT
    kinds[ord("\\")] = BACKSLASH
    read_as = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    chinese = np.flatnonzero(kinds == IDEOGRAPH)
    written = simplified("\n".join(map(chr, chinese))).split("\n")
    for code, character in zip(chinese.tolist(), written, strict=True):
        if len(character) == 1 and CJK.match(character):
            read_as[code] = ord(character)
    return kinds, read_as


@functools.cache
def _commands() -> tuple[UInt64, NDArray[np.uint8], UInt64]:
    """LaTeX commands: hashes of their names in ascending order, what becomes of each, and its token."""
    rows = [(word_hash(name), _OMITTED, 0) for name in LEFT_OUT]
    rows += [(word_hash(name), _WITH_ARGUMENT, 0) for name in NAMES_A_GROUP]
    greek = {name: letter for letter, name in GREEK_NAMES.items() if letter.islower()}
    rows += [(word_hash(name), _SPELT, word_hash(letter)) for name, letter in greek.items()]
    rows += [(word_hash(f"var{name}"), _SPELT, word_hash(greek[name])) for name in SECOND_SHAPES]
    rows.sort()
    hashes, actions, tokens = zip(*rows, strict=True)
    return np.array(hashes, np.uint64), np.array(actions, np.uint8), np.array(tokens, np.uint64)


def word_hash(word: str) -> int:
    """Token of a single word, number or Chinese character."""
    code = np.uint64(mixed(FNV_OFFSET ^ np.uint64(ord(word[0]))))
    for character in word[1:]:
        code = np.uint64(_extended(code, np.uint64(ord(character))))
    return int(code)


@njit(nogil=True, cache=True)
def _extended(token: np.uint64, character: np.uint64) -> np.uint64:
    return mixed((token ^ character) * FNV_PRIME)


@njit(nogil=True, cache=True)
def _tokenize(
    characters: UInt32,
    ends: Int64,
    kinds: NDArray[np.uint8],
    read_as: UInt32,
    commands: UInt64,
    actions: NDArray[np.uint8],
    spelt: UInt64,
) -> tuple[Int64, UInt64, Int64, Int64]:
    n_texts = ends.size - 1
    indptr = np.zeros(n_texts + 1, np.int64)
    tokens = np.empty(characters.size, np.uint64)  # a token has at least one character
    first = np.empty(characters.size, np.int64)
    last = np.empty(characters.size, np.int64)
    filled = 0
    for text in range(n_texts):
        base, end = ends[text], ends[text + 1]
        at = base
        while at < end:
            kind = kinds[characters[at]]
            if kind == SEPARATOR:
                at += 1
                continue
            begin = at
            action = _SPELT
            if kind == BACKSLASH:
                at += 1
                if at == end or kinds[characters[at]] != WORD:
                    continue
                kind = WORD
            token = mixed(FNV_OFFSET ^ np.uint64(read_as[characters[at]]))
            at += 1
            if kind != IDEOGRAPH:
                while at < end and kinds[characters[at]] == kind:
                    token = _extended(token, np.uint64(characters[at]))
                    at += 1
            if characters[begin] == 92:  # a backslash
                place = np.searchsorted(commands, token)
                if place < commands.size and commands[place] == token:
                    action, token = actions[place], spelt[place]
            if action == _SPELT:
                tokens[filled], first[filled], last[filled] = token, begin - base, at - base
                filled += 1
            elif action == _WITH_ARGUMENT and at < end and characters[at] == 123:  # {
                while at < end and characters[at] != 125:  # }
                    at += 1
        indptr[text + 1] = filled
    return indptr, tokens[:filled].copy(), first[:filled].copy(), last[:filled].copy()
