"""What becomes of a pair of names that look alike: one, doubtful, or two.

Names are one without being asked about only where a rule explains the whole difference: letters swapped or doubled in
a long word, or a person's name for its adjective (Gauss, Gaussian). All else that is near is doubtful: "absorption" and
"adsorption" are one letter apart.
"""

from __future__ import annotations

import re
from collections import Counter

from linksyn_gpu.knowledge.merge.guards import veto
from linksyn_gpu.knowledge.merge.normal_form import HAS_CJK

SAME, DOUBTFUL, DIFFERENT = "same", "doubtful", "different"
SWAPPED_FROM = 9
DOUBLED_FROM = 10
"""Least letters of a word in which a swap or a doubled letter is taken for a slip: shorter ones are words of their own
far too often (marital, martial; desert, dessert)."""
_STEM = re.compile(r"(?:as|us|es|is|os|[aeiouy])$")
_ADJECTIVE = ("ian", "ean", "an", "n", "nian", "esian")


def judge(form: str, other: str, spelling: str, others_spelling: str, score: float, sure: float) -> tuple[str, str]:
    """Decide on two normal forms of different keys.

    Parameters
    ----------
    spelling, others_spelling : str
        How the names are mostly written: proper names are told by their capitals.
    score : float
        Cosine of the candidate search; 1 for pairs at one edit.
    sure : float
        Score from which a pair without any other reason is worth asking about.

    Returns
    -------
    (verdict, why)
        `SAME`, `DOUBTFUL` or `DIFFERENT`; a rule's or a guard's name.
    """
    if guard := veto(form, other):
        return DIFFERENT, guard
    left, right = Counter(form.split()), Counter(other.split())
    mine, theirs = list((left - right).elements()), list((right - left).elements())
    if not mine and not theirs:
        return DOUBTFUL, "word order"
    if len(mine) == len(theirs) == 1:
        a, b = mine[0], theirs[0]
        if not HAS_CJK.search(a + b):
            if slip(a, b):
                return SAME, "typo"
            if left.total() > 1 and _adjective(a, b, spelling, others_spelling):
                return SAME, "adjective"
            if min(len(a), len(b)) >= 6 and a[:3] == b[:3]:
                return DOUBTFUL, "similar word"
    return (DOUBTFUL, "similar name") if score >= sure and min(len(form), len(other)) >= 5 else (DIFFERENT, "")


def slip(a: str, b: str) -> bool:
    """Two words differ in two neighbouring letters swapped, or in one letter doubled, and are long enough."""
    if len(a) > len(b):
        a, b = b, a
    if len(a) == len(b):
        apart = [i for i in range(len(a)) if a[i] != b[i]]
        swapped = (
            len(apart) == 2 and apart[1] == apart[0] + 1 and a[apart[0]] == b[apart[1]] and a[apart[1]] == b[apart[0]]
        )
        return swapped and len(a) >= SWAPPED_FROM and apart[0] > 0
    if len(b) != len(a) + 1 or len(a) < DOUBLED_FROM:
        return False
    at = next((i for i in range(len(a)) if a[i] != b[i]), len(a))
    return a[at:] == b[at + 1 :] and at > 0 and b[at] == b[at - 1]


def _adjective(a: str, b: str, spelling: str, others_spelling: str) -> bool:
    name, adjective = sorted((a, b), key=len)
    for stem in (_STEM.sub("", name), name):  # Euclid(es), Euclidean; Malthus, Malthusian
        if len(stem) >= 4 and adjective.startswith(stem) and adjective[len(stem) :] in _ADJECTIVE:
            return stem.capitalize() in spelling and stem.capitalize() in others_spelling
    return False
