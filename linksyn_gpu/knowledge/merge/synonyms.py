"""Synonyms that names and texts state: "deoxyribonucleic acid (DNA)", "natrium, also known as sodium", 光合作用又称……

Only names that the bank already has are linked, and every synonym keeps the words that state it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from linksyn_gpu.knowledge.merge.normal_form import merge_key, normal_form
from linksyn_gpu.text import CJK, CJK_RANGES
from linksyn_gpu.text.words import word_list

_TRAILING = re.compile(r"[(（]([^()（）]{1,60})[)）]\s?$")
_SYMBOL = re.compile(r"[A-Za-zα-ωΑ-Ω](?:[_^]?\{?[\w/+°]{1,4}\}?)?°?")
_NUMBERED = frozenset(
    word_list(
        "vitamin hepatitis group type class grade factor plan part phase section form set point level act theory "
        "title schedule version influenza complex axis area case bus"
    )
)
_SHORT = re.compile(r"[A-Z0-9][A-Za-z0-9]*(?:[-/&][A-Za-z0-9]+)*s?")
SMALL_WORDS = frozenset(word_list("of the and for in on to a an with by from"))
_WINDOW = 120
_LONGEST_ZH = 40  # characters; the whole text up to a break must be a name
_IN_TEXT = re.compile(r"[(（]([A-Z][A-Za-z0-9-]{1,9})[)）]")
_ALSO = re.compile(
    r"(?:,\s?|\(\s?|\s)(?:which is |is |are |sometimes |commonly |often )?"
    r"(?:also (?:known as|called|referred to as|termed)|a\.k\.a\.)\s",
    re.IGNORECASE,
)
_ALSO_ZH = re.compile(r"[,，(（]?\s?(?:又称为?|又叫做?|也称为?|也叫做?|亦称为?|简称为?|俗称|别称)\s?[“\"]?")
_BREAK = re.compile(r"[.;:!?()\n]")
_ZH_BREAK = re.compile(f"[^{CJK_RANGES}A-Za-z0-9]")
_ARTICLE = re.compile(r"^(?:the|a|an)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Synonym:
    """Two names, as normal forms, that a name or a text gives to the same thing."""

    short: str
    long: str
    kind: str
    """'abbreviation', 'gloss' (the same name in another script) or 'alias'."""
    quote: str


def split_gloss(name: str) -> tuple[str, str | None, str | None]:
    """Split a name from a note in brackets at its end that only repeats the name.

    Returns
    -------
    (head, note, kind)
        kind: 'symbol' ("enthalpy (H)"), 'abbreviation' ("aggregate demand (AD)", "kilogram (kg)"), 'gloss' (one part
        Chinese, the other not). Any other note ("mercury (planet)") distinguishes names: (name, None, None).
    """
    found = _TRAILING.search(name) if name.endswith((")", "）", ") ", "） ")) else None
    if found is None or not (head := name[: found.start()].rstrip()):
        return name, None, None
    note = found[1].strip()
    if bool(CJK.search(head)) != bool(CJK.search(note)) and len(head) > 1 and len(note) > 1:
        return head, note, "abbreviation" if is_abbreviation(note, head) else "gloss"
    if is_abbreviation(note, head):
        return head, note, "abbreviation"
    if _SYMBOL.fullmatch(note) and len(head) > 3 and head.split()[-1].casefold() not in _NUMBERED:
        return head, note, "symbol"
    return name, None, None


def is_abbreviation(short: str, long: str) -> bool:
    """Whether a short name may stand for a long one (Schwartz and Hearst 2003, stricter).

    All characters of the short name occur in the long one in the same order, starting with its first. If the long
    name has several words, their initials occur in the short name in order.
    """
    if CJK.search(short):
        return 2 <= len(short) < len(long) and bool(CJK.search(long)) and _in_order(short, long)
    if not _SHORT.fullmatch(short) and not (short.isalpha() and short.islower() and 2 <= len(short) <= 4):
        return False
    letters = re.sub(r"[^A-Za-z0-9]", "", short.removesuffix("s") if short[:1].isupper() else short)
    words = re.findall(r"[A-Za-z0-9]+", long)
    if not 2 <= len(letters) <= 10 or not words or len(letters) >= len(long.replace(" ", "")):
        return False
    if letters[0].casefold() != words[0][0].casefold() or not _in_order(letters.casefold(), long.casefold()):
        return False
    if short.islower():  # a unit: kg, atm, mol
        return len(words) == 1 and sum(c in "aeiou" for c in letters) <= 1
    initials = "".join(word[0] for word in words if word.casefold() not in SMALL_WORDS).casefold()
    capitals = "".join(c for c in letters if c.isupper() or c.isdigit()).casefold()
    if len(words) == 1:
        return len(capitals) >= 2
    return len(capitals) >= 2 and _in_order(initials, letters.casefold()) and len(initials) >= 2


def _in_order(part: str, whole: str) -> bool:
    rest = iter(whole)
    return all(c in rest for c in part)


def synonyms_in_names(names: Iterable[str]) -> list[Synonym]:
    """Abbreviations and glosses that names have in brackets."""
    found = []
    for name in names:
        head, note, kind = split_gloss(name)
        if note is not None and kind in ("abbreviation", "gloss"):
            short, long = normal_form(note), normal_form(head)
            if short and long and short != long:
                found.append(Synonym(short, long, kind, name))
    return found


def synonyms_in_text(text: str, known: Callable[[str], bool]) -> list[Synonym]:
    """Synonyms among known names that a running text states.

    Parameters
    ----------
    known : callable
        Whether the bank has a name with this normal form.
    """
    found = []
    if "(" in text or "（" in text:
        for match in _IN_TEXT.finditer(text):
            if known(normal_form(match[1])) and (pair := _long_form(text, match, known)):
                found.append(pair)
    if "also " in text or "a.k.a" in text:
        for match in _ALSO.finditer(text):
            before, after = _around(text, match, _BREAK)
            left = _ending(_ARTICLE.sub("", before.strip()), known)
            right = _beginning(_ARTICLE.sub("", after.strip()), known)
            if left and right and left != right:
                found.append(Synonym(right, left, "alias", _clip(before + match[0] + after)))
    if "称" in text or "叫" in text:
        for match in _ALSO_ZH.finditer(text):
            before, after = _around(text, match, _ZH_BREAK)
            if max(len(before), len(after)) > _LONGEST_ZH:
                continue
            left, right = normal_form(before), normal_form(after)
            if left != right and known(left) and known(right):
                found.append(Synonym(right, left, "alias", _clip(before + match[0] + after)))
    return found


def _around(text: str, match: re.Match[str], stop: re.Pattern[str]) -> tuple[str, str]:
    """Text before and after a match, up to the nearest break."""
    before = stop.split(text[max(0, match.start() - _WINDOW) : match.start()])[-1]
    return before, stop.split(text[match.end() : match.end() + _WINDOW], maxsplit=1)[0]


def _long_form(text: str, match: re.Match[str], known: Callable[[str], bool]) -> Synonym | None:
    """The longest known name that ends where the bracket opens and has the bracket as its abbreviation."""
    before = re.split("[()（）]", text[max(0, match.start() - _WINDOW) : match.start()])[-1]
    if CJK.search(before):  # no spaces between words
        run = _ZH_BREAK.split(before)[-1]
        candidates = [run[start:] for start in range(max(0, len(run) - 12), len(run) - 1)]
        fits = [name for name in candidates if known(normal_form(name))]
    else:
        words = before.split()[-8:]
        candidates = [" ".join(words[start:]) for start in range(len(words))]
        fits = [name for name in candidates if is_abbreviation(match[1], name) and known(normal_form(name))]
    quote = _clip(before + match[0])
    return Synonym(normal_form(match[1]), normal_form(fits[0]), "abbreviation", quote) if fits else None


def _ending(text: str, known: Callable[[str], bool]) -> str | None:
    """The known name that a text ends with, after a comma or an article; a name never starts inside a phrase."""
    piece = re.split(r",\s*|\b(?:the|a|an|is|are|of the|in the)\s+", text)[-1].strip()
    form = normal_form(piece)
    return form if known(form) else None


def _beginning(text: str, known: Callable[[str], bool]) -> str | None:
    """The known name that a text begins with, before a comma, a verb or a conjunction."""
    piece = re.split(r",\s*|\s+(?:is|are|was|were|and|or|that|which|in|because|can|will|has|have)\b", text)[0].strip(
        " \"'"
    )
    form = normal_form(piece)
    return form if known(form) else None


def _clip(text: str, most: int = 160) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else "…" + text[-most + 1 :]


def unambiguous(synonyms: Iterable[Synonym]) -> tuple[list[Synonym], set[str]]:
    """Separate ambiguous abbreviations.

    Returns
    -------
    usable : list of Synonym
        Those whose short form has one long form per script. An abbreviation with one English and one Chinese long
        form also links the two long forms.
    ambiguous : set of str
        The other short forms.
    """
    kept: dict[tuple[str, str], Synonym] = {}
    by_script: dict[str, dict[bool, dict[str, Synonym]]] = defaultdict(lambda: {False: {}, True: {}})
    for item in synonyms:
        kept.setdefault((item.short, merge_key(item.long)), item)
        if item.kind == "abbreviation":
            by_script[item.short][bool(CJK.search(item.long))].setdefault(merge_key(item.long), item)
    ambiguous = {short for short, found in by_script.items() if max(map(len, found.values())) > 1}
    usable = [item for item in kept.values() if item.kind != "abbreviation" or item.short not in ambiguous]
    for short, found in by_script.items():
        if short not in ambiguous and found[False] and found[True]:
            one, two = (next(iter(found[script].values())) for script in (False, True))
            usable.append(Synonym(one.long, two.long, "gloss", f"{one.quote} | {two.quote}"))
    return usable, ambiguous
