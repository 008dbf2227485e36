"""Judge a pair of similar names: the same, doubtful, or different.

Two names are the same only if a rule explains their whole difference: letters swapped, doubled or dropped in a long
word, or a person's name and its adjective (Gauss, Gaussian). Other similar pairs are doubtful: "absorption" and
"adsorption" differ in one letter.
"""

from __future__ import annotations

import re
from collections import Counter

from linksyn_gpu.knowledge.merge.guards import veto
from linksyn_gpu.text import CJK

SAME, DOUBTFUL, DIFFERENT = "same", "doubtful", "different"
SWAPPED_FROM = 9
DOUBLED_FROM = 9
DROPPED_FROM = 11
"""Shortest word in which swapped, doubled or dropped letters count as a typo: in shorter words they often make another
word (marital, martial; desert, dessert; neuron, neutron)."""
_REPEATED = re.compile(r"([a-z])\1+")
_STEM = re.compile(r"(?:as|us|es|is|os|[aeiouy])$")
_ADJECTIVE = ("ian", "ean", "an", "n", "nian", "esian")


def judge(form: str, other: str, spelling: str, others_spelling: str, score: float, sure: float) -> tuple[str, str]:
    """Decide on two normal forms of different keys.

    Parameters
    ----------
    spelling, others_spelling : str
        Most frequent spelling of each name; capitals mark proper names.
    score : float
        Cosine of the candidate search; 1 for pairs at one edit from each other.
    sure : float
        Lowest score at which a pair without any other reason is doubtful.

    Returns
    -------
    (verdict, why)
        `SAME`, `DOUBTFUL` or `DIFFERENT`, and the name of the rule or guard.
    """
    if guard := veto(form, other):
        return DIFFERENT, guard
    left, right = Counter(form.split()), Counter(other.split())
    mine, theirs = list((left - right).elements()), list((right - left).elements())
    if not mine and not theirs:
        return DOUBTFUL, "word order"
    if len(mine) == len(theirs) == 1:
        a, b = mine[0], theirs[0]
        if not CJK.search(a + b):
            if slip(a, b):
                return SAME, "typo"
            if left.total() > 1 and _adjective(a, b, spelling, others_spelling):
                return SAME, "adjective"
            if min(len(a), len(b)) >= 6 and a[:3] == b[:3]:
                return DOUBTFUL, "similar word"
    return (DOUBTFUL, "similar name") if score >= sure and min(len(form), len(other)) >= 5 else (DIFFERENT, "")


def slip(a: str, b: str) -> bool:
    """Whether two long words differ only in two swapped neighbouring letters, in doubled letters, or a dropped letter.

    A letter at an end makes another form (macroeconomic, macroeconomics); methyl and ethyl are different groups.
    """
    if len(a) > len(b):
        a, b = b, a
    if len(a) >= DOUBLED_FROM and _REPEATED.sub(r"\1", a) == _REPEATED.sub(r"\1", b):
        return True
    if len(a) == len(b):
        apart = [i for i in range(len(a)) if a[i] != b[i]]
        swapped = (
            len(apart) == 2 and apart[1] == apart[0] + 1 and a[apart[0]] == b[apart[1]] and a[apart[1]] == b[apart[0]]
        )
        return swapped and len(a) >= SWAPPED_FROM and apart[0] > 0
    if len(b) != len(a) + 1 or len(b) < DROPPED_FROM:
        return False
    at = next((i for i in range(len(a)) if a[i] != b[i]), len(a))
    return a[at:] == b[at + 1 :] and 0 < at < len(a) - 1 and not b[at:].startswith("meth")


def one_stem(form: str, other: str) -> bool:
    """Whether two names of several words differ in one word with the same beginning (climate and climatic policy).

    The words have 4 letters and three fifths of the shorter one in common.
    """
    left, right = Counter(form.split()), Counter(other.split())
    mine, theirs = list((left - right).elements()), list((right - left).elements())
    if left.total() < 2 or len(mine) != 1 or len(theirs) != 1:
        return False
    a, b = mine[0], theirs[0]
    common = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return common >= 4 and 5 * common >= 3 * min(len(a), len(b))


def _adjective(a: str, b: str, spelling: str, others_spelling: str) -> bool:
    name, adjective = sorted((a, b), key=len)
    for stem in (_STEM.sub("", name), name):  # Euclid(es), Euclidean; Malthus, Malthusian
        if len(stem) >= 4 and adjective.startswith(stem) and adjective[len(stem) :] in _ADJECTIVE:
            return stem.capitalize() in spelling and stem.capitalize() in others_spelling
    return False
