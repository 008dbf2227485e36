"""Words brought to one form: plurals to singulars, number words to digits, British spelling to American.

English alone has plurals here. Forms made by these rules are compared, never shown, so that a rule may make a word
that does not exist ("analysi") as long as it makes the same one of both spellings.
"""

from __future__ import annotations

import functools
import re
import unicodedata


def word_list(text: str) -> list[str]:
    """Words of a text, for tables that read better without a quote around each."""
    return text.split()


_IRREGULAR = {
    "mice": "mouse",
    "lice": "louse",
    "children": "child",
    "men": "man",
    "women": "woman",
    "feet": "foot",
    "teeth": "tooth",
    "geese": "goose",
    "oxen": "ox",
    "people": "people",
    "indices": "index",
    "vertices": "vertex",
    "matrices": "matrix",
    "apices": "apex",
    "appendices": "appendix",
    "vortices": "vortex",
    "cortices": "cortex",
    "helices": "helix",
    "axes": "axis",
    "analyses": "analysis",
    "hypotheses": "hypothesis",
    "syntheses": "synthesis",
    "theses": "thesis",
    "parentheses": "parenthesis",
    "bases": "base",
    "crises": "crisis",
    "diagnoses": "diagnosis",
    "oases": "oasis",
    "neuroses": "neurosis",
    "bacteria": "bacterium",
    "criteria": "criterion",
    "phenomena": "phenomenon",
    "nuclei": "nucleus",
    "stimuli": "stimulus",
    "fungi": "fungus",
    "cacti": "cactus",
    "alveoli": "alveolus",
    "bacilli": "bacillus",
    "villi": "villus",
    "loci": "locus",
    "foci": "focus",
    "radii": "radius",
    "larvae": "larva",
    "algae": "alga",
    "formulae": "formula",
    "antennae": "antenna",
    "vertebrae": "vertebra",
    "spectra": "spectrum",
    "quanta": "quantum",
    "strata": "stratum",
    "mitochondria": "mitochondrion",
    "ova": "ovum",
    "genera": "genus",
    "taxa": "taxon",
    "polyhedra": "polyhedron",
    "viruses": "virus",
    "buses": "bus",
    "gases": "gas",
    "biases": "bias",
    "lenses": "lens",
    "atlases": "atlas",
    "statuses": "status",
    "campuses": "campus",
    "censuses": "census",
    "consensuses": "consensus",
    "leaves": "leaf",
    "halves": "half",
    "lives": "life",
    "knives": "knife",
    "wives": "wife",
    "wolves": "wolf",
    "shelves": "shelf",
    "calves": "calf",
    "loaves": "loaf",
    "thieves": "thief",
    "shoes": "shoe",
    "toes": "toe",
    "dice": "die",
    "ties": "tie",
    "pies": "pie",
    "lies": "lie",
    "dies": "die",
    "calories": "calorie",
    "cookies": "cookie",
    "movies": "movie",
    "zombies": "zombie",
    "prairies": "prairie",
    "caches": "cache",
    "aches": "ache",
    "niches": "niche",
    "avalanches": "avalanche",
    "quizzes": "quiz",
    "genies": "genie",
}
# Singular though they end in s; what ends in ss, us, is or ics is known by that alone.
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

_CARDINALS = word_list("zero one two three four five six seven eight nine ten eleven twelve")
_ORDINALS = word_list("zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth")
_SUFFIX = {1: "st", 2: "nd", 3: "rd"}
NUMBER_WORDS = {word: str(n) for n, word in enumerate(_CARDINALS)} | {
    word: f"{n}{_SUFFIX.get(n, 'th')}" for n, word in enumerate(_ORDINALS)
}
ROMAN = {
    word: str(n)
    for n, word in enumerate(word_list("I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI XVII XVIII XIX XX"), 1)
    if word not in ("I", "V", "X")  # a letter far more often than a number
}


@functools.lru_cache(maxsize=2**18)
def singular(word: str) -> str:
    """Singular of an English word in lower case; what is no plural comes back as it is."""
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
    """One spelling of a word in lower case for its British and American ones, without accents on Latin letters."""
    if not word.isascii():
        word = _without_accents(word)
    if len(word) < 5 or not word.isalpha():
        return word
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


# Traditional characters that stand in names of school and university subjects, and their simplified forms: not a
# whole table, and one-to-one. 後 is left out (后 is a word of its own), as are 乾, 幹, 裡, 係, 複 and their like.
_TRADITIONAL = (
    "學学數数幾几論论會会計计經经濟济歷历漢汉語语動动靜静電电場场運运強强體体積积圖图線线點点邊边對对應应關关連连續续離离變变換换類类別别種种組组織织細细遺遗傳传進进質质氣气壓压溫温熱热產产業业資资貨货幣币"
    "價价稅税財财務务貿贸銀银錢钱險险權权義义責责國国際际聯联條条約约憲宪選选舉举議议員员黨党軍军戰战爭争亂乱滅灭統统區区縣县鄉乡農农莊庄漁渔礦矿鐵铁鋼钢銅铜鋁铝鈉钠鉀钾鈣钙鎂镁錳锰鉛铅氫氢鹽盐鹼碱還还劑剂"
    "濃浓燒烧層层構构結结標标準准測测驗验實实證证據据題题問问課课書书讀读寫写譯译詩诗詞词賦赋記记說说話话聲声韻韵調调樂乐戲戏劇剧藝艺術术畫画機机車车輪轮飛飞導导彈弹衛卫訊讯號号碼码網网絡络軟软處处驅驱醫医"
    "藥药療疗診诊斷断腫肿腦脑腎肾臟脏脈脉縮缩養养營营維维醣糖鳥鸟魚鱼蟲虫馬马龍龙龜龟貓猫樹树葉叶莖茎開开閉闭門门間间頻频顯显隱隐陰阴陽阳極极陸陆島岛灣湾嶼屿風风雲云東东長长寬宽輕轻圓圆橢椭錐锥稜棱補补餘余"
    "倫伦認认識识覺觉憶忆為为與与個个們们兩两過过來来從从現现發发當当時时無无滿满減减總总單单"
)
_SIMPLIFIED = str.maketrans(_TRADITIONAL[0::2], _TRADITIONAL[1::2])


def simplified(text: str) -> str:
    """Write the commonest traditional characters in their simplified form, and 图象 as 图像; others stay."""
    return text.translate(_SIMPLIFIED).replace("图象", "图像").replace("想象", "想像")
