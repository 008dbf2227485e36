"""Characters of a text, the key of a name, and a rough count of tokens."""

from __future__ import annotations

import functools
import re
import unicodedata

import numpy as np
from numpy.typing import NDArray

CJK_RANGES = (
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
)
"""Chinese characters and kana, which are written without spaces, as the inside of a regular expression's [...]."""
CJK = re.compile(f"[{CJK_RANGES}]")
INVISIBLE = re.compile("[\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
"""Format characters that are never seen: soft hyphen, zero-width space, byte order and direction marks.

The joiners U+200C and U+200D are not among them: Persian and Hindi need them.
"""


def name_key(name: str) -> str:
    """Key under which two names are equal: NFKC, case folding, no invisible characters, no white space at the ends."""
    if name.isascii():
        return name.casefold().strip()
    return INVISIBLE.sub("", unicodedata.normalize("NFKC", name)).casefold().strip()


COMPLETION_GUESS = 300
"""Tokens assumed per answer until enough answers were received to use their mean."""


def estimate_tokens(text: str) -> int:
    """Rough number of tokens of a text: 4 characters per token, 1.5 for CJK characters.

    Tokenizers differ by a third or more; the counts that servers report are recorded too (docs/synthesis.md).
    """
    cjk = 0 if text.isascii() else _count_cjk(text)
    return round((len(text) - cjk) / 4 + cjk / 1.5)


def _count_cjk(text: str) -> int:
    """`len(CJK.findall(text))`, four times as fast: each request has a prompt to count."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return int(np.count_nonzero(_cjk_codes()[codes]))


@functools.cache
def _cjk_codes() -> NDArray[np.bool_]:
    """bool [1,114,112], by code point."""
    found = np.zeros(0x110000, np.bool_)
    for first, last in re.findall("(.)(?:-(.))?", CJK_RANGES):
        found[ord(first) : ord(last or first) + 1] = True
    return found
