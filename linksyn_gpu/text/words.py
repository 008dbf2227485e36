"""Words in one form: singular, number words as digits, American spelling, simplified Chinese characters.

Plural rules exist for English only. The forms are compared and never shown. A rule may therefore produce a word that
does not exist ("analysi") as long as every spelling of the word gives the same one.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Any

from linksyn_gpu.text import CJK_RANGES


def word_list(text: str) -> list[str]:
    """Split a text at white space: tables of words are easier to read without quotes."""
    return text.split()


FUNCTION_WORDS = frozenset(
    word_list(
        "a an the of and or nor but if then than as at by for from in into on onto out over per to under until up upon "
        "via with within without between among about after before during since through toward towards against along "
        "across behind below above near off not no nor this that these those it its he she they them his her their we "
        "our you your i me my who whom whose which what when where why how is are was were be been being am do does "
        "did done has have had having can could may might must shall should will would there here so such very more "
        "most less least much many few some any all each every both either neither other another same only own just "
        "also too even still yet already again once twice never always often"
    )
)
"""English words that only join others; no name begins or ends with one."""

_IRREGULAR = dict(
    pair.split("/")
    for pair in word_list(
        "mice/mouse lice/louse children/child men/man women/woman feet/foot teeth/tooth geese/goose oxen/ox "
        "people/people indices/index vertices/vertex matrices/matrix apices/apex appendices/appendix "
        "vortices/vortex cortices/cortex helices/helix axes/axis analyses/analysis hypotheses/hypothesis "
        "syntheses/synthesis theses/thesis parentheses/parenthesis bases/base crises/crisis diagnoses/diagnosis "
        "oases/oasis neuroses/neurosis bacteria/bacterium criteria/criterion phenomena/phenomenon nuclei/nucleus "
        "stimuli/stimulus fungi/fungus cacti/cactus alveoli/alveolus bacilli/bacillus villi/villus loci/locus "
        "foci/focus radii/radius larvae/larva algae/alga formulae/formula antennae/antenna vertebrae/vertebra "
        "spectra/spectrum quanta/quantum strata/stratum mitochondria/mitochondrion ova/ovum genera/genus "
        "taxa/taxon polyhedra/polyhedron viruses/virus buses/bus gases/gas biases/bias lenses/lens atlases/atlas "
        "statuses/status campuses/campus censuses/census consensuses/consensus leaves/leaf halves/half lives/life "
        "knives/knife wives/wife wolves/wolf shelves/shelf calves/calf loaves/loaf thieves/thief shoes/shoe "
        "toes/toe dice/die ties/tie pies/pie lies/lie dies/die calories/calorie cookies/cookie movies/movie "
        "zombies/zombie prairies/prairie caches/cache aches/ache niches/niche avalanches/avalanche quizzes/quiz "
        "genies/genie ganglia/ganglion automata/automaton protozoa/protozoan metazoa/metazoan "
        "spermatozoa/spermatozoon mycelia/mycelium symposia/symposium curricula/curriculum memoranda/memorandum "
        "referenda/referendum millennia/millennium flagella/flagellum cilia/cilium sera/serum septa/septum "
        "crania/cranium maxima/maximum minima/minimum optima/optimum equilibria/equilibrium momenta/momentum "
        "continua/continuum vacua/vacuum stomata/stoma schemata/schema stigmata/stigma lemmata/lemma hyphae/hypha "
        "pupae/pupa nebulae/nebula supernovae/supernova novae/nova fibulae/fibula tibiae/tibia cocci/coccus "
        "thrombi/thrombus emboli/embolus gyri/gyrus sulci/sulcus tori/torus moduli/modulus syllabi/syllabus "
        "termini/terminus tumuli/tumulus alumni/alumnus humeri/humerus uteri/uterus emphases/emphasis "
        "ellipses/ellipse metastases/metastasis prognoses/prognosis codices/codex cervices/cervix genii/genius "
        "simplices/simplex"
    )
)
"""Plural -> singular."""
# Singular words that end in s. Words in ss, us, is and ics need no entry.
_SINGULAR = frozenset(
    word_list(
        "series species news gas lens bias atlas chaos cosmos ethos pathos logos mythos asbestos yes always "
        "perhaps diabetes rabies herpes measles mumps shingles rickets scabies christmas texas kansas arkansas "
        "paris athens thomas james charles wales hercules euripides socrates archimedes thales hobbes descartes "
        "mars as has was does this its plus minus versus canvas pancreas alias trellis pajamas texas honduras "
        "bahamas andes themis adidas archaeopteris homeostasis corps aves pisces means xerxes hermes aristophanes "
        "sophocles hippocrates pythagoras judas rhinoceros albatross isosceles thermos mores"
    )
)
_ENDINGS = re.compile(r"(?:ss|sh|ch|x|zz)es$")

PLURAL_ONLY = frozenset(
    word_list(
        "arms clothes customs damages glasses goods headquarters humanities means morals mores odds outskirts premises "
        "proceeds remains riches savings securities spectacles surroundings valuables"
    )
)
"""Words whose plural means something else ("arms"): as a name of one word they stay plural."""

_CARDINALS = word_list(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_ORDINALS = word_list(
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth"
)
_TENS = {word: 10 * n for n, word in enumerate(word_list("twenty thirty forty fifty sixty seventy eighty ninety"), 2)}
_SUFFIX = {1: "st", 2: "nd", 3: "rd"}
NUMBER_WORDS = (
    {word: str(n) for n, word in enumerate(_CARDINALS)}
    | {word: f"{n}{_SUFFIX.get(n, 'th')}" for n, word in enumerate(_ORDINALS)}
    | {word: str(n) for word, n in _TENS.items()}
    | {f"{word[:-1]}ieth": f"{n}th" for word, n in _TENS.items()}
)


def join_numbers(words: list[str]) -> list[str]:
    """Join number words up to 99: "twenty", "first" become "21st"."""
    joined: list[str] = []
    for word in words:
        tens = _TENS.get(joined[-1].casefold()) if joined else None
        ones = NUMBER_WORDS.get(word.casefold(), "")
        if tens is not None and ones[:1] in "123456789" and ones.rstrip("stndrh") in "123456789" and ones:
            joined[-1] = f"{tens // 10}{ones}"
        else:
            joined.append(word)
    return joined


ROMAN = {
    word: str(n)
    for n, word in enumerate(word_list("I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI XVII XVIII XIX XX"), 1)
    if word not in ("I", "V", "X")  # these are letters far more often than numbers
}


@functools.lru_cache(maxsize=2**18)
def singular(word: str) -> str:
    """Singular of an English word in lower case; a word that is not a plural is returned unchanged."""
    if not word.endswith("s") and word not in _IRREGULAR:
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 3 or word in _SINGULAR or word.endswith(("ss", "us", "is", "ics", "'s")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith("eses") and len(word) > 6:  # "prostheses"
        return word[:-2] + "is"
    if _ENDINGS.search(word) or word.endswith("oes"):
        return word[:-2]
    return word[:-1]


_OUR = re.compile(
    r"(behavi|neighb|endeav|demean|splend|flav|harb|parl|clam|ferv|cand|ranc|glam|hon|hum|tum|vap|rum|vig|arm|sav"
    r"|col|fav|lab|val|od)our"
)
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^aeroplane"), "airplane"),
    (re.compile(r"^programme"), "program"),
    (re.compile(r"^(?:alumini)um"), "aluminum"),
    (re.compile(r"(?<=.)(?:ae|oe)"), "e"),
    (re.compile(r"^(?:ae|oe)"), "e"),
    (re.compile(r"(?<=\w{3})is(?=e$|ed$|er$|ing$|ation|able$)"), "iz"),
    (re.compile(r"(?<=\w)ys(?=e$|ed$|er$|ing$)"), "yz"),
    (re.compile(r"(?<=\w{4})ll(?=ing$|ed$|er$)"), "l"),
    (re.compile(r"(met|lit|cent|fib|theat|calib|lust|spect)re$"), r"\1er"),
    (re.compile(r"euvre"), "euver"),
    (re.compile(r"ogue$"), "og"),
    (re.compile(r"sulph"), "sulf"),
    (re.compile(r"^(def|off|lic|pret)ence"), r"\1ense"),
    (re.compile(r"^gray"), "grey"),
    (re.compile(r"^practise"), "practice"),
    (re.compile(r"^plough"), "plow"),
    (re.compile(r"^mould"), "mold"),
    (re.compile(r"^artefact"), "artifact"),
    (re.compile(r"gement$"), "gment"),
    (re.compile(r"^ageing$"), "aging"),
    (re.compile(r"^sceptic"), "skeptic"),
    (re.compile(r"^enquir"), "inquir"),
    (re.compile(r"lment$"), "llment"),
)


@functools.lru_cache(maxsize=2**18)
def american(word: str) -> str:
    """American spelling of a word in lower case, without accents on Latin letters."""
    if not word.isascii():
        word = _without_accents(word)
    if len(word) < 5 or not word.isalpha():
        return "grey" if word == "gray" else word
    word = _OUR.sub(r"\1or", word)
    for pattern, replacement in _RULES:
        word = pattern.sub(replacement, word)
    return word


def _without_accents(word: str) -> str:
    pieces = []
    for character in word:
        parts = unicodedata.normalize("NFD", character)
        pieces.append(parts[0] if len(parts) > 1 and parts[0].isascii() else character)
    return "".join(pieces)


_DIGITS = {character: n for n, character in enumerate("零一二三四五六七八九")}
_CHINESE_ORDINAL = re.compile("第([零一二三四五六七八九十]{1,3})")


def chinese_ordinals(text: str) -> str:
    """Write Chinese ordinals up to 99 with digits: 第二定律 becomes 第2定律."""
    return _CHINESE_ORDINAL.sub(lambda m: "第" + _chinese_number(m[1]), text) if "第" in text else text


def _chinese_number(text: str) -> str:
    tens, ten, ones = text.partition("十")
    if not ten:
        return "".join(str(_DIGITS[c]) for c in text)
    if any(len(part) > 1 or part == "十" for part in (tens, ones)):
        return text
    return str(_DIGITS.get(tens, 1) * 10 + _DIGITS.get(ones, 0))


_CHINESE = re.compile(f"[{CJK_RANGES}]+")


def simplified(text: str) -> str:
    """Write traditional Chinese characters as simplified ones (OpenCC), and 图象 as 图像, 想象 as 想像."""
    if text.isascii():
        return text
    # OpenCC takes no lone surrogates: only the Chinese part is passed to it.
    text = _CHINESE.sub(lambda match: _opencc().convert(match[0]), text)
    return text.replace("图象", "图像").replace("想象", "想像")


@functools.cache
def _opencc() -> Any:
    import opencc

    return opencc.OpenCC("t2s")
