"""What a text is written in, the key of a name, and a rough count of tokens."""

from __future__ import annotations

import re
import unicodedata

CJK_RANGES = (
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
)
"""Chinese characters and kana, which are written without spaces, as the inside of a regular expression's [...]."""
CJK = re.compile(f"[{CJK_RANGES}]")
TEX_COMMAND = re.compile(r"\\[A-Za-z]+")


def name_key(name: str) -> str:
    """Key under which two names are equal: NFKC, case folding, no white space at the ends."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def guess_language(text: str) -> str:
    r"""Language of a text: 'zh' if at least a tenth of its letters are Chinese characters, 'en' otherwise.

    The letters of TeX commands (\frac) do not count: a formula has no language.
    """
    if text.isascii():
        return "en"
    letters = sum(map(str.isalpha, TEX_COMMAND.sub("", text)))
    chinese = len(CJK.findall(text))
    return "zh" if chinese and chinese * 10 >= letters else "en"


COMPLETION_GUESS = 300
"""Tokens assumed per answer while too few answers have come to know better."""


def estimate_tokens(text: str) -> int:
    """Rough number of tokens of a text: 4 characters per token, 1.5 for CJK characters.

    Tokenizers differ by a third or more; the counts that servers report are recorded too (docs/synthesis.md).
    """
    cjk = 0 if text.isascii() else len(CJK.findall(text))
    return round((len(text) - cjk) / 4 + cjk / 1.5)
