"""Guards keep two similar names apart: numbers, negation, antonyms, opposite affixes.

A guard compares only the words in which two normal forms differ. Its decision is final for rules and models; only a
rule of the user (`--merge-rules`) overrides it.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from pathlib import Path

from linksyn_gpu.config.loader import read_toml
from linksyn_gpu.text import CJK, CJK_RANGES
from linksyn_gpu.text.words import word_list

_TOKEN = re.compile(f"[{CJK_RANGES}]|[^{CJK_RANGES} ]+")
_CJK_NUMBER = re.compile("[零一二两三四五六七八九十百千万甲乙丙丁戊]")
_NUMBER = re.compile(r"\d")
_MULTIPLES = re.compile(
    r"^(mono|uni|bi|di|tri|tetra|quad|quadri|penta|quint|hexa|hepta|octa|nona|deca|poly|multi|semi|hemi|demi)(?=[a-z]{3})"
)
_MEASURES = re.compile(r"^(kilo|mega|giga|tera|centi|milli|micro|nano|pico|deci)(?=[a-z]{3})")
_NUMBER_LIKE = frozenset(
    word_list(
        "primary secondary tertiary quaternary single double triple quadruple half quarter once twice binary "
        "ternary unary linear quadratic cubic quartic"
    )
)

_NEGATIONS = ("non", "un", "in", "im", "il", "ir", "dis", "anti", "counter", "mis", "de", "a", "an")
_NEGATION_WORDS = frozenset(word_list("not no non without never anti lack absence"))
_CJK_NEGATIONS = "非不无未反抗否"


def _pairs(text: str) -> list[tuple[str, str]]:
    """Pairs of a text such as "up down | left right"; a new line also ends a pair."""
    found = (pair.split() for pair in re.split(r"[|\n]", text) if pair.strip())
    return [(one, two) for one, two in found]


_TABLES = read_toml(Path(__file__).with_name("guards.toml"))
_AFFIXES = sorted(set(map(tuple, map(sorted, _pairs(_TABLES["prefixes"])))), key=lambda p: -len(p[0]) - len(p[1]))
_SUFFIXES = _pairs(_TABLES["endings"])
_PAIRS = frozenset(map(frozenset, _pairs(_TABLES["antonyms"])))
_CJK_PAIRS = [(one, two) for one, _, two in (pair.partition("/") for pair in _TABLES["chinese"].split())]


def veto(form: str, other: str) -> str | None:
    """Name of the guard that keeps two normal forms apart, or None.

    Returns
    -------
    'number', 'negation', 'antonym', 'affix' or None
    """
    mine, theirs = Counter(_TOKEN.findall(form)), Counter(_TOKEN.findall(other))
    left, right = list((mine - theirs).elements()), list((theirs - mine).elements())
    if not left and not right:
        return None
    if any(_one_negates(a, b) for a in left for b in right) or _negating(left) != _negating(right):
        return "negation"
    if sorted(filter(None, map(_number, left))) != sorted(filter(None, map(_number, right))):
        return "number"
    if any(frozenset((a, b)) in _PAIRS for a in left for b in right):
        return "antonym"
    if CJK.search(form) and (found := _cjk_veto(form, other, left, right)):
        return found
    if any(_opposed(a, b) for a in left for b in right):
        return "affix"
    return None


def share_words(form: str, other: str) -> bool:
    """Whether two normal forms have a word (or Chinese character) in common."""
    return not set(_TOKEN.findall(form)).isdisjoint(_TOKEN.findall(other))


@functools.lru_cache(maxsize=2**16)
def _number(token: str) -> str | None:
    """The number in a token: digits, a number word, a single letter ("vitamin C"), or a prefix (di-)."""
    if _NUMBER.search(token) or token in _NUMBER_LIKE or (len(token) == 1 and not token.isspace()):
        if CJK.match(token) and not _CJK_NUMBER.match(token):
            return None
        return token
    found = _MULTIPLES.match(token) or _MEASURES.match(token)
    return found[1] if found else None


def _negating(tokens: list[str]) -> int:
    return sum(token in _NEGATION_WORDS or token in _CJK_NEGATIONS for token in tokens)


def _one_negates(a: str, b: str) -> bool:
    """Whether one token is the other with a negating prefix: equilibrium, disequilibrium."""
    if len(a) > len(b):
        a, b = b, a
    return len(a) >= 3 and b.endswith(a) and b[: len(b) - len(a)] in _NEGATIONS


def _opposed(a: str, b: str) -> bool:
    """Whether two tokens differ in opposite prefixes or in endings that change the meaning."""
    for one, two in _AFFIXES:
        for p, q in ((one, two), (two, one)):
            if a.startswith(p) and b.startswith(q) and a[len(p) :] == b[len(q) :] and len(a) - len(p) >= 3:
                return True
    for p, q in _SUFFIXES:
        for x, y in ((p, q), (q, p)):
            if a.endswith(x) and b.endswith(y) and a[: -len(x)] == b[: -len(y)] and len(a) - len(x) >= 3:
                return True
    return False


def _cjk_veto(form: str, other: str, left: list[str], right: list[str]) -> str | None:
    rest, others_rest = "".join(left), "".join(right)
    for one, two in _CJK_PAIRS:
        if len(one) == 1:
            opposed = (one in rest and two in others_rest) or (two in rest and one in others_rest)
        else:
            opposed = (one in form and two in other and two not in form and one not in other) or (
                two in form and one in other and one not in form and two not in other
            )
        if opposed:
            return "antonym"
    return None
