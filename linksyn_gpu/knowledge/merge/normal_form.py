"""The normal form of a knowledge point's name, and its merge key.

    normal form   removes differences of Unicode form, case, spacing, punctuation, width, LaTeX, plural and number
                  words: "Newton's 2nd Laws" and "newton second law" have the same one
    merge key     the normal form after the `STEPS` too: American spelling without accents, simplified characters,
                  Greek letters by name, "B A" for "A of B", "world war 2" for "2nd world war", no particle
                  的, no spaces

Names with the same merge key are one knowledge point. Equality of keys is transitive, therefore these merges cannot
chain. Names that differ in meaning by case alone (Co, the element, and CO) keep different keys.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping

from linksyn_gpu.text import CJK_RANGES, INVISIBLE
from linksyn_gpu.text.latex import GREEK_NAMES, POWERS, THOUSANDS, plain_name
from linksyn_gpu.text.words import (
    NUMBER_WORDS,
    PLURAL_ONLY,
    ROMAN,
    american,
    chinese_ordinals,
    join_numbers,
    simplified,
    singular,
    word_list,
)

_PLAIN = re.compile(r"[A-Za-z]+(?: [A-Za-z]+)*")
_CJK_GAP = re.compile(f"(?<=[{CJK_RANGES}]) | (?=[{CJK_RANGES}])")
_QUOTES = str.maketrans(dict.fromkeys("’‘ʼ´`′＇", "'") | dict.fromkeys("‐‑‒–—―﹣－", "-") | {"⁄": "/", "∕": "/"})
_POSSESSIVE = re.compile(r"'s\b|'(?=\s|$)|'", re.IGNORECASE)
_OPTIONAL_S = re.compile(r"(?<=\w)\((?:s|es)\)")
_STOPS = re.compile(r"(?<!\d)\.|\.(?!\d)")
_MINUS = re.compile(r"(?:^|(?<=[\s(=<>]))[-\u2212](?=\d)")
_NEGATIVE = "\ue000"  # replaces a minus sign while other dashes become spaces
_KEPT = frozenset("#%*/" + _NEGATIVE)  # punctuation that distinguishes names: C#, 5%, A*, km/h, -1
_ACRONYMS = re.compile(r"[A-Z0-9]{2,}s")
_ELEMENTS = frozenset(
    word_list(
        "He Li Be Ne Na Mg Al Si Cl Ar Ca Sc Ti Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Zr Nb Mo Tc Ru Rh Pd "
        "Ag Cd In Sn Sb Te Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta Re Os Ir Pt Au Hg Tl Pb Bi "
        "Po At Rn Fr Ra Ac Th Pa Np Pu Am Cm Bk Cf Es Fm Md No Lr"
    )
)
_COUNTED = frozenset(
    word_list("type phase stage class grade level part war group photosystem period factor act volume")
)
# Abbreviations when written in capitals (US, WHO, IT). "as" and "at" are left out: they are units and symbols.
_PRONOUNS = frozenset(word_list("us it who he she we me am"))
_OTHER_PREPOSITIONS = frozenset(
    word_list("of in for to on by with from and or at as into between under over per vs versus")
)


def normal_form(name: str) -> str:
    """Normal form of a name; '' for a name without a letter, digit or symbol."""
    if _PLAIN.fullmatch(name):
        words = name.split(" ")
    else:
        if name in ("", " "):
            return ""
        words = _text(name).split()
    if len(words) == 1 and words[0] in _ELEMENTS:
        return f"{words[0].casefold()} (element)"
    if len(words) == 1 and words[0].isupper() and words[0].casefold() in _PRONOUNS:
        return f"{words[0].casefold()} (capitals)"
    if len(words) == 1 and words[0].casefold() in PLURAL_ONLY:
        return words[0].casefold()
    if len(words) > 1 and words[0] in ("The", "the", "THE"):
        del words[0]
    words = join_numbers(words)
    last = len(words) - 1
    forms = [
        "1"
        if word == "I" and place > 0 and (place == last or words[place - 1].casefold() in _COUNTED)
        else _word(word, place)
        for place, word in enumerate(words)
    ]
    joined = " ".join(forms).replace(_NEGATIVE, "-")
    return joined if joined.isascii() else _CJK_GAP.sub("", joined)


def _text(name: str) -> str:
    """Normalise single characters; words keep their case."""
    name = plain_name(INVISIBLE.sub("", name)).translate(POWERS).translate(_QUOTES)
    name = " ".join(unicodedata.normalize("NFKC", name).translate(_QUOTES).split())
    name = _OPTIONAL_S.sub("", name)
    name = _POSSESSIVE.sub("", name).replace(" & ", " and ")
    name = _STOPS.sub("", THOUSANDS.sub("", name))
    name = _MINUS.sub(_NEGATIVE, name)
    name = re.sub(" ?/ ?", "/", chinese_ordinals(name))
    return "".join(c if _stays(c) else " " for c in name)


def _stays(character: str) -> bool:
    if character.isalnum() or character in _KEPT or character == ".":
        return True
    # A mark belongs to the letter before it: without its vowel signs a Hindi word is a different word.
    return unicodedata.category(character)[0] in "MSC" and not character.isspace()


def _word(word: str, place: int) -> str:
    if place > 0 and (word in ROMAN or word in ("ii", "iii", "vii", "viii")):
        return ROMAN[word.upper()]
    if _ACRONYMS.fullmatch(word):
        return word[:-1].casefold()
    if word.isupper() and 2 <= len(word) <= 6 and word.isascii():
        return word.lower()
    word = word.casefold()
    word = singular(word) if word.isascii() else word
    return NUMBER_WORDS.get(word, word)


# ---------------------------------------------------------------------- merge key


def _spelling(form: str) -> str:
    return " ".join(map(american, form.split(" ")))


def _greek(form: str) -> str:
    if form.isascii():
        return form
    return re.sub("[α-ω]", lambda m: GREEK_NAMES.get(m[0], m[0]), form.replace("µ", "μ"))


def _of_phrase(form: str) -> str:
    """Write "A of B" as "B A" if there is no other preposition; articles of B are dropped."""
    words = form.split(" ")
    if words.count("of") != 1:
        return form
    at = words.index("of")
    head, tail = words[:at], [word for word in words[at + 1 :] if word not in ("the", "a", "an")]
    if not head or not tail or not _OTHER_PREPOSITIONS.isdisjoint((*head, *tail)):
        return form
    return " ".join(tail + head)


_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th) (?!.*\bof\b)(.* .*)")


def _ordinal(form: str) -> str:
    """Write "world war 1" for "1st world war"."""
    found = _ORDINAL.fullmatch(form) if form[:1].isdigit() else None
    return f"{found[2]} {found[1]}" if found else form


# 的 is part of these words: 目的地, 标的物, 的士, 的确.
_PARTICLE = re.compile(f"(?<=[{CJK_RANGES}])(?<![目标])的(?=[{CJK_RANGES}])(?![士确])")


def _particle(form: str) -> str:
    return _PARTICLE.sub("", form) if "的" in form else form


def _joined(form: str) -> str:
    # A space between digits stays: "type 1 1" is not "type 11".
    return re.sub(r"(?<!\d) | (?!\d)", "", form)


STEPS: Mapping[str, Callable[[str], str]] = {
    "spelling": _spelling,
    "script": simplified,
    "greek": _greek,
    "of_phrase": _of_phrase,
    "ordinal": _ordinal,
    "particle": _particle,
    "spacing": _joined,
}
"""Steps from the normal form to the merge key, in this order."""


def merge_key(form: str) -> str:
    """Merge key of a normal form; names with the same key are one knowledge point."""
    if form.isascii():
        return _joined(_ordinal(_of_phrase(_spelling(form))))
    for step in STEPS.values():
        form = step(form)
    return form


def steps_between(form: str, other: str) -> Iterator[str]:
    """Names of the fewest `STEPS` that make two normal forms with the same merge key equal."""
    for name, step in STEPS.items():
        if form == other:
            return
        stepped = step(form), step(other)
        if stepped != (form, other):
            yield name
            form, other = stepped
