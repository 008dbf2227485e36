"""Key phrases of a text without a glossary or a model: YAKE for English, jieba's TF-IDF over nouns for Chinese.

Both come with the extra `extract` (YAKE is LGPL, jieba MIT; neither is shipped here). What they find are phrases of the
text, not names of a subject: expect "interest rates", and also "rates to drop".
"""

from __future__ import annotations

import functools
import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from linksyn_gpu.errors import ConfigError
from linksyn_gpu.knowledge.clean import MARK, is_name, plain_text
from linksyn_gpu.knowledge.normal_form import key_of, normal_form

MAX_WORDS = 3
_NOUNS = ("n", "nz", "vn", "l", "nr", "ns", "nt", "an")
_BETWEEN = re.compile(r"\b(?:to|not|that|which|is|are|was|were|be|can|will|who|why|how|what)\b", re.IGNORECASE)


def find_keyphrases(texts: Iterable[tuple[str, str]], most: int) -> Iterator[list[str]]:
    """For each (text, language) up to `most` key phrases, the weightiest first, none of them twice.

    Raises
    ------
    ConfigError
        The extra `extract` is not installed.
    """
    for text, language in texts:
        plain = plain_text(text)
        found = _chinese(plain, most) if language.casefold().startswith("zh") else _english(plain, most)
        names: dict[str, str] = {}
        for phrase in found:
            if is_name(phrase):
                names.setdefault(key_of(normal_form(phrase)), phrase)
        yield list(names.values())[:most]


def _english(text: str, most: int) -> list[str]:
    extractor = _yake(2 * most)
    pieces = " . ".join(part.strip() for part in text.split(MARK) if part.strip())
    if not any(map(str.isalpha, pieces)):
        return []
    found = extractor.extract_keywords(pieces)
    return [phrase for phrase, _ in sorted(found, key=lambda item: float(item[1])) if not _BETWEEN.search(phrase)]


def _chinese(text: str, most: int) -> list[str]:
    analyse = _jieba()
    return [word for word in analyse.extract_tags(text, topK=2 * most, allowPOS=_NOUNS) if len(word) > 1]


@functools.lru_cache(maxsize=4)
def _yake(top: int) -> Any:
    try:
        import yake
    except ModuleNotFoundError as error:
        raise _missing("yake", error) from None
    return yake.KeywordExtractor(lan="en", n=MAX_WORDS, top=top, dedupLim=0.7)


@functools.cache
def _jieba() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own: invalid escapes, pkg_resources
            import jieba
            import jieba.analyse
    except ModuleNotFoundError as error:
        raise _missing("jieba", error) from None
    jieba.setLogLevel(logging.WARNING)
    return jieba.analyse


def _missing(package: str, error: ModuleNotFoundError) -> Exception:
    if error.name != package:
        return error
    return ConfigError(f'extractor yake needs {package}: pip install "linksyn-gpu[extract]"')
