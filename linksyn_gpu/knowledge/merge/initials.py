"""Abbreviations that no text explains: NMR for "nuclear magnetic resonance", by the initials of the other names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from linksyn_gpu.knowledge.merge.synonyms import SMALL_WORDS
from linksyn_gpu.knowledge.merge.units import Unit

_ABBREVIATION = re.compile("[A-Z]{3,8}")


def initials_pairs(units: Sequence[Unit]) -> tuple[list[tuple[int, int]], set[str]]:
    """Abbreviations of 3 to 8 capitals and the names that have their letters as initials.

    Returns
    -------
    pairs : list of (int, int)
        Abbreviation and long name; the long name is the only one of its key with these initials.
    ambiguous : set of str
        Normal forms of the abbreviations with several long names.
    """
    short = {unit.spelling.casefold(): at for at, unit in enumerate(units) if _ABBREVIATION.fullmatch(unit.spelling)}
    long: dict[str, dict[int, str]] = {letters: {} for letters in short}
    for at, unit in enumerate(units if short else ()):
        for letters in _initials(unit.form):
            if letters in long:
                long[letters][at] = unit.key
    pairs, ambiguous = [], set()
    for letters, found in long.items():
        if len(set(found.values())) == 1:
            pairs += [(short[letters], at) for at in found]
        elif found:
            ambiguous.add(units[short[letters]].form)
    return pairs, ambiguous


def _initials(form: str) -> set[str]:
    """Initials of a name of several words, with and without its small words."""
    words = form.split(" ")
    if len(words) < 3 or not form.isascii():
        return set()
    return {"".join(w[0] for w in words), "".join(w[0] for w in words if w not in SMALL_WORDS)}
