"""What texts themselves say about names: "deoxyribonucleic acid (DNA)", "natrium, also known as sodium", 光合作用又称……

Only names that a bank already has are ever linked, and each link keeps the words that it was read from.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from linksyn_gpu.knowledge.merge.normal_form import CJK, HAS_CJK, normal_form
from linksyn_gpu.text.words import word_list

_TRAILING = re.compile(r"^(?P<head>.+?)\s*[(（](?P<gloss>[^()（）]{1,60})[)）]\s*$")
_SYMBOL = re.compile(r"[A-Za-zα-ωΑ-Ω](?:[_^]?\{?[\w/+°]{1,4}\}?)?°?")
_NUMBERED = frozenset(
    word_list(
        "vitamin hepatitis group type class grade factor plan part phase section form set point level act theory "
        "title schedule version influenza complex axis area case bus"
    )
)
_SHORT = re.compile(r"[A-Z0-9][A-Za-z0-9]*(?:[-/&][A-Za-z0-9]+)*s?")
_SMALL = frozenset(word_list("of the and for in on to a an with by from"))
_WINDOW = 120
_IN_TEXT = re.compile(r"[(（]([A-Z][A-Za-z0-9-]{1,9})[)）]")
_ALSO = re.compile(
    r"(?:,\s*|\s*\(\s*|\s+)(?:which is |is |are |sometimes |commonly |often )?"
    r"(?:also (?:known as|called|referred to as|termed)|a\.k\.a\.)\s+",
    re.IGNORECASE,
)
_ALSO_ZH = re.compile(r"[,，(（]?\s*(?:又称为?|又叫做?|也称为?|也叫做?|亦称为?|简称为?|俗称|别称)\s*[“\"]?")
_BREAK = re.compile(r"[.;:!?()\n]")
_ZH_BREAK = re.compile(f"[^{CJK}A-Za-z0-9]")
_ARTICLE = re.compile(r"^(?:the|a|an)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Evidence:
    """Two names that a text calls one thing; names as normal forms."""

    short: str
    long: str
    kind: str
    """'abbreviation', 'gloss' (the same in another script) or 'alias'."""
    quote: str


def split_gloss(name: str) -> tuple[str, str | None, str | None]:
    """Part a name from a note in brackets at its end that only says it again.

    Returns
    -------
    (head, note, kind)
        kind: 'symbol' ("enthalpy (H)"), 'abbreviation' ("aggregate demand (AD)", "kilogram (kg)"), 'gloss' (one part
        Chinese, the other not). Any other note ("mercury (planet)") tells names apart: (name, None, None).
    """
    found = _TRAILING.match(name) if name.endswith((")", "）", ") ", "） ")) else None
    if found is None:
        return name, None, None
    head, note = found["head"], found["gloss"].strip()
    if bool(HAS_CJK.search(head)) != bool(HAS_CJK.search(note)) and len(head) > 1 and len(note) > 1:
        return head, note, "abbreviation" if is_abbreviation(note, head) else "gloss"
    if is_abbreviation(note, head):
        return head, note, "abbreviation"
    if _SYMBOL.fullmatch(note) and len(head) > 3 and head.split()[-1].casefold() not in _NUMBERED:
        return head, note, "symbol"
    return name, None, None


def is_abbreviation(short: str, long: str) -> bool:
    """Whether a short name may stand for a long one (Schwartz and Hearst 2003, stricter).

    Every character of the short one comes in the long one, in order; the first begins it. Of several words at least
    the capitals must begin words, or stand inside one that another capital begins (DNA: Deoxyribo-Nucleic Acid).
    """
    if HAS_CJK.search(short):
        return 2 <= len(short) < len(long) and bool(HAS_CJK.search(long)) and _in_order(short, long)
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
    initials = "".join(word[0] for word in words if word.casefold() not in _SMALL).casefold()
    capitals = "".join(c for c in letters if c.isupper() or c.isdigit()).casefold()
    if len(words) == 1:
        return len(capitals) >= 2
    # Each word that counts must give its initial, unless the abbreviation is shorter than the words are many.
    return len(capitals) >= 2 and _in_order(initials, letters.casefold()) and len(initials) >= 2


def _in_order(part: str, whole: str) -> bool:
    rest = iter(whole)
    return all(c in rest for c in part)


def from_names(names: Iterable[str]) -> list[Evidence]:
    """Abbreviations and glosses that names carry in brackets."""
    found = []
    for name in names:
        head, note, kind = split_gloss(name)
        if note is not None and kind in ("abbreviation", "gloss"):
            short, long = normal_form(note), normal_form(head)
            if short and long and short != long:
                found.append(Evidence(short, long, kind, name))
    return found


def from_text(text: str, known: Callable[[str], bool]) -> list[Evidence]:
    """Links between known names that a running text makes.

    Parameters
    ----------
    known : callable
        Whether a normal form is a name of the bank.
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
                found.append(Evidence(right, left, "alias", _clip(before + match[0] + after)))
    if "称" in text or "叫" in text:
        for match in _ALSO_ZH.finditer(text):
            before, after = _around(text, match, _ZH_BREAK)
            left, right = normal_form(before), normal_form(after)
            if left != right and known(left) and known(right):
                found.append(Evidence(right, left, "alias", _clip(before + match[0] + after)))
    return found


def _around(text: str, match: re.Match[str], stop: re.Pattern[str]) -> tuple[str, str]:
    """What stands before and behind a match, up to the nearest break."""
    before = stop.split(text[max(0, match.start() - _WINDOW) : match.start()])[-1]
    return before, stop.split(text[match.end() : match.end() + _WINDOW], maxsplit=1)[0]


def _long_form(text: str, match: re.Match[str], known: Callable[[str], bool]) -> Evidence | None:
    """The longest known name that ends where the bracket opens and that the short form abbreviates."""
    before = re.split("[()（）]", text[max(0, match.start() - _WINDOW) : match.start()])[-1]
    if HAS_CJK.search(before):  # no spaces to count words by
        run = _ZH_BREAK.split(before)[-1]
        candidates = [run[start:] for start in range(max(0, len(run) - 12), len(run) - 1)]
        fits = [name for name in candidates if known(normal_form(name))]
    else:
        words = before.split()[-8:]
        candidates = [" ".join(words[start:]) for start in range(len(words))]
        fits = [name for name in candidates if is_abbreviation(match[1], name) and known(normal_form(name))]
    quote = _clip(before + match[0])
    return Evidence(normal_form(match[1]), normal_form(fits[0]), "abbreviation", quote) if fits else None


def _ending(text: str, known: Callable[[str], bool]) -> str | None:
    """A known name that is the whole text, or its end behind a comma or an article: no word may be cut off it."""
    piece = re.split(r",\s*|\b(?:the|a|an|is|are|of the|in the)\s+", text)[-1].strip()
    form = normal_form(piece)
    return form if known(form) else None


def _beginning(text: str, known: Callable[[str], bool]) -> str | None:
    piece = re.split(r",\s*|\s+(?:is|are|was|were|and|or|that|which|in|because|can|will|has|have)\b", text)[0].strip(
        " \"'"
    )
    form = normal_form(piece)
    return form if known(form) else None


def _clip(text: str, most: int = 160) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else "…" + text[-most + 1 :]


def unambiguous(
    evidence: Iterable[Evidence], key_of: Callable[[str], str]
) -> tuple[list[Evidence], dict[str, set[str]]]:
    """Evidence whose short form stands for one long form in each script; the ambiguous ones with their long forms."""
    kept: dict[tuple[str, str], Evidence] = {}
    by_script: dict[str, dict[bool, dict[str, Evidence]]] = defaultdict(lambda: {False: {}, True: {}})
    for item in evidence:
        kept.setdefault((item.short, key_of(item.long)), item)
        if item.kind == "abbreviation":
            by_script[item.short][bool(HAS_CJK.search(item.long))].setdefault(key_of(item.long), item)
    ambiguous = {
        short: {*found[False], *found[True]} for short, found in by_script.items() if max(map(len, found.values())) > 1
    }
    usable = [e for e in kept.values() if e.kind != "abbreviation" or e.short not in ambiguous]
    for short, found in by_script.items():
        if (
            short not in ambiguous and found[False] and found[True]
        ):  # DNA: its English and its Chinese long form are one
            one, two = (next(iter(found[script].values())) for script in (False, True))
            usable.append(Evidence(one.long, two.long, "gloss", f"{one.quote} | {two.quote}"))
    return usable, ambiguous
