"""Telling languages apart, for seeds that do not say theirs."""

from __future__ import annotations

import re

CJK = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
TEX_COMMAND = re.compile(r"\\[A-Za-z]+")


def guess_language(text: str) -> str:
    r"""Tell Chinese from the rest: 'zh' when CJK ideographs are at least a tenth of the letters, else 'en'.

    The letters of TeX commands (\frac) do not count: a formula has no language.
    """
    if text.isascii():
        return "en"
    letters = sum(map(str.isalpha, TEX_COMMAND.sub("", text)))
    ideographs = len(CJK.findall(text))
    return "zh" if ideographs and ideographs * 10 >= letters else "en"


COMPLETION_GUESS = 300
"""Tokens that an answer is taken to have while too few have come to tell."""


def estimate_tokens(text: str) -> int:
    """Tokens that a model's tokenizer will make of a text, roughly: 4 characters each, CJK ideographs 1.5.

    Tokenizers differ by a third and more; what servers report is recorded beside it (docs/synthesis.md).
    """
    ideographs = 0 if text.isascii() else len(CJK.findall(text))
    return round((len(text) - ideographs) / 4 + ideographs / 1.5)
