"""The normal form of a knowledge point's name, and the further forms under which two names are one.

    normal form   NFKC, case, spacing, punctuation, full width, LaTeX, plural, numbers: "Newton's 2nd Laws" and
                  "newton second law" are one
    key           the normal form under the `STEPS` too: British spelling and accents, traditional characters, Greek
                  letters spelled out, "A of B" for "B A", the particle 的, word spaces

Names with one key are one knowledge point. That is an equivalence, so it cannot chain. What case alone tells apart
(Co, the element, and CO) stays apart.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping

from linksyn_gpu.text.latex import GREEK_NAMES, plain_name
from linksyn_gpu.text.words import (
    NUMBER_WORDS,
    PLURALS_OF_THEIR_OWN,
    ROMAN,
    american,
    chinese_ordinals,
    join_numbers,
    simplified,
    singular,
    word_list,
)

CJK = "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
HAS_CJK = re.compile(f"[{CJK}]")
_PLAIN = re.compile(r"[A-Za-z]+(?: [A-Za-z]+)*")
_CJK_GAP = re.compile(f"(?<=[{CJK}]) | (?=[{CJK}])")
POWERS = str.maketrans({c: f"^{unicodedata.normalize('NFKC', c)}" for c in "⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ"} | {"⁺": "+", "⁻": "\u2212"})
_QUOTES = str.maketrans(dict.fromkeys("’‘ʼ´`′＇", "'") | dict.fromkeys("‐‑‒–—―﹣－", "-") | {"⁄": "/", "∕": "/"})
_POSSESSIVE = re.compile(r"'s\b|'(?=\s|$)|'", re.IGNORECASE)
_OPTIONAL_S = re.compile(r"(?<=\w)\((?:s|es)\)")
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_STOPS = re.compile(r"(?<!\d)\.|\.(?!\d)")
_MINUS = re.compile(r"(?:^|(?<=[\s(=<>]))[-\u2212](?=\d)")
_NEGATIVE = "\ue000"  # holds the place of a minus sign while other dashes become spaces
_KEPT = frozenset("#%*/" + _NEGATIVE)  # punctuation that tells names apart: C#, 5%, A*, km/h, -1
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
# In capitals these are abbreviations (US, WHO, IT); "as", "at" and the like stay, which units and symbols are.
_PRONOUNS = frozenset(word_list("us it who he she we me am"))
_OTHER_PREPOSITIONS = frozenset(
    word_list("of in for to on by with from and or at as into between under over per vs versus")
)


def normal_form(name: str) -> str:
    """Normal form of a name; '' for one without a letter, digit or symbol."""
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
    if len(words) == 1 and words[0].casefold() in PLURALS_OF_THEIR_OWN:
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
    """Everything that concerns single characters; words keep their case."""
    name = plain_name(name).translate(POWERS).translate(_QUOTES)
    name = unicodedata.normalize("NFKC", name).translate(_QUOTES)
    name = _OPTIONAL_S.sub("", name)
    name = _POSSESSIVE.sub("", name).replace(" & ", " and ")
    name = _STOPS.sub("", THOUSANDS.sub("", name))
    name = _MINUS.sub(_NEGATIVE, name)
    name = re.sub(r"\s*/\s*", "/", chinese_ordinals(name))
    return "".join(c if _stays(c) else " " for c in name)


def _stays(character: str) -> bool:
    if character.isalnum() or character in _KEPT or character == ".":
        return True
    # Marks belong to the letter before them: without its vowel signs a Hindi word is another word.
    return (
        unicodedata.category(character)[0] in "MSC"
        and not character.isspace()
        and character not in "\u200b\ufeff\u00ad"
    )


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


# ---------------------------------------------------------------------- further forms


def _spelling(form: str) -> str:
    return " ".join(map(american, form.split(" ")))


def _greek(form: str) -> str:
    if form.isascii():
        return form
    return re.sub("[α-ω]", lambda m: GREEK_NAMES.get(m[0], m[0]), form.replace("µ", "μ"))


def _of_phrase(form: str) -> str:
    """Write "A of B" as "B A", where it is that simple; articles in between go."""
    words = form.split(" ")
    if words.count("of") != 1:
        return form
    at = words.index("of")
    head, tail = words[:at], [word for word in words[at + 1 :] if word not in ("the", "a", "an")]
    if not head or not tail or not _OTHER_PREPOSITIONS.isdisjoint((*head, *tail)):
        return form
    return " ".join(tail + head)


# Not where 的 is a part of the word: 目的地, 标的物, 的士, 的确.
_PARTICLE = re.compile(f"(?<=[{CJK}])(?<![目标])的(?=[{CJK}])(?![士确])")


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
    "particle": _particle,
    "spacing": _joined,
}
"""Further forms in the order in which they are taken."""


def key_of(form: str) -> str:
    """The key of a normal form: names with one key are one knowledge point."""
    if form.isascii():
        return _joined(_of_phrase(_spelling(form)))
    for step in STEPS.values():
        form = step(form)
    return form


def steps_between(form: str, other: str) -> Iterator[str]:
    """The steps by which two normal forms of one key differ, the least that are needed to make them one."""
    for name, step in STEPS.items():
        if form == other:
            return
        stepped = step(form), step(other)
        if stepped != (form, other):
            yield name
            form, other = stepped
