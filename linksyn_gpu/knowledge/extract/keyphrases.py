"""Key phrases of a text without a glossary or a model: YAKE for English, jieba's TF-IDF over nouns for Chinese.

Both come with the extra `extract` (YAKE is LGPL, jieba MIT; neither is part of this package). They find phrases of a
text, not terms of a subject: "interest rates", but also "Arkansas governor". These are left out: the verbs of exercises
("calculate the"), phrases cut at a function word ("deposits by Glenn"), parts of a longer phrase that never occur
alone, and Chinese words that are not in jieba's dictionary ("积是" of 积是它们).
"""

from __future__ import annotations

import functools
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from linksyn_gpu.cluster import MapShards, batched, with_keys
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.knowledge.extract.plain_text import MARK, is_name, plain_text
from linksyn_gpu.knowledge.extract.wording import Bank
from linksyn_gpu.knowledge.merge.normal_form import merge_key, normal_form
from linksyn_gpu.text.words import FUNCTION_WORDS, word_list

MAX_WORDS = 3
SHARD_SEEDS = 256
_NOUNS = ("n", "nz", "vn", "l", "ns", "nt", "an", "nr")
_BETWEEN = frozenset(word_list("of and the"))
# Words with which exercises ask, as opposed to their subject.
_EXERCISE = frozenset(
    word_list(
        "altogether answer answers answered ask asked asks assume assuming based becomes begin begins began best "
        "better calculate calculated called calling choose chosen commonly compare complete completely compute "
        "considered consists contain contained containing contains correct correctly created decide define defined "
        "depends describe described describes detected determine determined determines different discuss divides draw "
        "drawn estimate evaluate example examples exist existed explain explained express expressed false fill find "
        "finding finds following follows form found gave get gets getting give given gives giving go goes going "
        "gradually happen happens help helped higher highest identify identified image important include included "
        "includes increased indicate involves kept know known large larger largest left let likely list listed lower "
        "lowest made make makes making mention need needed needs number numbers observed obtain occur occurred occurs "
        "passed possible prepare prepared problem problems produced provide provided provides question questions "
        "reach reached read reason refer referred refers related replace required resulted results same say says "
        "select several showed shown shows simplest simplify slowly small smaller smallest solve stated statement "
        "statements suggest suppose take taken takes tell told true type types unknown use used uses using usually "
        "value values want wanted wants weigh went worked write written one two three four five six seven eight nine "
        "ten amount times day days year years monday tuesday wednesday thursday friday saturday sunday"
    )
)
# Words of _EXERCISE that may end a name: "atomic number", "cell type".
_NAMES_END_WITH = frozenset(
    word_list("form number numbers problem problems statement statements type types use value values year")
)
_LABEL = re.compile(r"^\s*\(?[A-Ha-h][.．、)）]\s*")  # of an option or an answer
_GLUED = re.compile(r"(?<=[a-z]{2}[.?!])(?=[A-Z][a-z])|(?<=[a-z],)(?=[a-z])")  # "is high.The total", "silver,how"
_APOSTROPHE = re.compile(r"(?<=[A-Za-z])['’](?=[a-z]\b)")
_LETTER_APOSTROPHE = "\u02bc"  # YAKE reads "Boyle's law" as "Boyle law"
_TORN = re.compile(r"^['’]|n['’]t$|^[a-z]$|..\.$|\d:\d")  # "'s", "n't", "x", "cells.", "8:10"
_PARTICIPLE = re.compile(r"^(?!infrared|hundred|quadruped)[a-z]{3,}(?<!e)ed$")  # "pressure exerted", "bonded"
_SPLIT = re.compile(rf"[\n\r{MARK}]+")
# Last characters of Chinese nouns that jieba may cut off: 直角坐标 of 直角坐标系, 等腰三角 of 等腰三角形.
_CHINESE_ENDINGS = frozenset("形系法式性率数线面体角图点量表器学律论仪")
_PERSONS = frozenset("甲乙丙丁戊")
_CHINESE_EXERCISE = frozenset(
    word_list(
        "小题 短文改错 下列 "
        "结果 计算结果 全部 关系 数量 情况 条件 符合条件 问题 答案 题目 正确 说法 选项 结论 过程 方法 地方 时候 部分 "
        "个数 小时 同学 老师 学生 小朋友 爸爸 妈妈 爷爷 奶奶 哥哥 姐姐 弟弟 妹妹 爸爸妈妈 范围 道题 算式 个人 无法 规定"
    )
)


def find_keyphrases(
    seeds: Iterable[tuple[str, str, str]], most: int, map_shards: MapShards = map
) -> Iterator[list[str]]:
    """For each seed, a text with its language and its discipline ('' if unknown), at most `most` phrases, best first.

    All texts are read first: phrases that belong to the wording of the bank are left out, see `wording`. No phrase
    crosses the end of a line or a part that `plain_text` removed. `map_shards` maps the search over shards of texts.

    Raises
    ------
    ConfigError
        The extra `extract` is not installed.
    """
    bank = Bank()
    shards = (([seed[2] for seed in part], [seed[:2] for seed in part]) for part in batched(seeds, SHARD_SEEDS))
    for disciplines, found in with_keys(map_shards, functools.partial(_phrases, most=most), shards):
        for discipline, (plain, names) in zip(disciplines, found, strict=True):
            bank.add(plain, discipline, names)
    return bank.knowledge(most)


def _phrases(texts: Sequence[tuple[str, str]], most: int) -> list[tuple[str, list[tuple[str, str]]]]:
    """Of each text, with its language: the plain text, and its phrases as (merge key, name)."""
    results = []
    for text, language in texts:
        plain = plain_text(text)
        parts = [_LABEL.sub("", part).strip(" .") for part in _SPLIT.split(plain)]
        parts = [part for part in parts if any(map(str.isalpha, part))]
        chinese = language.casefold().startswith("zh")
        found = _chinese(parts, 2 * most) if chinese else _english(parts, 2 * most)
        names: dict[str, str] = {}
        for phrase in found:
            if is_name(phrase):
                names.setdefault(merge_key(normal_form(phrase)), phrase)
        results.append((plain, list(names.items())[: 4 * most]))
    return results


def _english(parts: Sequence[str], most: int) -> list[str]:
    text = _APOSTROPHE.sub(_LETTER_APOSTROPHE, _GLUED.sub(" ", " . ".join(parts)))
    if not text:
        return []
    found = sorted(_yake(4 * most).extract_keywords(text), key=lambda item: float(item[1]))
    ranked = [re.sub(rf" ?{_LETTER_APOSTROPHE}", "'", phrase).strip(" .") for phrase, _ in found]
    return _whole([phrase for phrase in ranked if _is_phrase(phrase)], text.replace(_LETTER_APOSTROPHE, "'"))


def _is_phrase(phrase: str) -> bool:
    """Whether a phrase can be a name: no function words at its ends, and only "of", "and", "the" inside."""
    words = phrase.split()
    folded = [word.casefold() for word in words]
    if not words or {folded[0], folded[-1]} & FUNCTION_WORDS or folded[0] in _EXERCISE:
        return False
    return (
        (folded[-1] not in _EXERCISE or folded[-1] in _NAMES_END_WITH)
        and not any(word in FUNCTION_WORDS and word not in _BETWEEN for word in folded)
        and not any(_TORN.search(word) for word in words)
        and not _PARTICIPLE.search(folded[-1])
        and (len(words) > 1 or len(phrase) > 2 or phrase.isupper())
    )


def _whole(phrases: Sequence[str], text: str) -> list[str]:
    """Drop phrases that occur only inside a longer one, and longer phrases around a more frequent one.

    The end of a longer phrase is kept: "kinetic energy" of "average kinetic energy" is a name, "average kinetic" is
    not.
    """
    text = f" {text.casefold()} "
    folded = {phrase: phrase.casefold() for phrase in phrases}
    count = {phrase: text.count(name) for phrase, name in folded.items()}
    kept = []
    for phrase, name in folded.items():
        longer = [other for other, its in folded.items() if f" {name} " in f" {its} " and other != phrase]
        shorter = [other for other, its in folded.items() if " " in its and f" {its} " in f" {name} " and its != name]
        inside = any(count[other] >= count[phrase] for other in longer)
        ends = " " in name and any(folded[other].endswith(f" {name}") for other in longer)
        if (not inside or ends) and not any(count[other] > count[phrase] for other in shorter):
            kept.append(phrase)
    return kept


def _chinese(parts: Sequence[str], most: int) -> list[str]:
    analyse, known = _jieba()
    text = "\n".join(parts)
    found = []
    for tag in analyse.extract_tags(text, topK=4 * most, allowPOS=_NOUNS, withFlag=True):
        word = tag.word
        # Persons in exercises: 小明, 阳阳, 甲乙. Words outside the dictionary are mostly fragments: 积是 of 积是它们.
        person = (tag.flag == "nr" and word[0] in "小阿老") or len(set(word)) == 1 or set(word) <= _PERSONS
        if len(word) > 1 and known(word) and not person and word not in _CHINESE_EXERCISE:
            found.append(_ended(word, text, known))
    held = {name for name in found if any(name != other and name in other for other in found)}
    return [name for name in found if name not in held or _alone(name, found, text)]


def _ended(word: str, text: str, known: Callable[[str], bool]) -> str:
    """Add the ending that follows each occurrence of a word, unless it begins another word (函数 in 函数图象)."""
    ends = [at.end() for at in re.finditer(re.escape(word), text)]
    following = {text[end : end + 1] for end in ends}
    if len(following) != 1 or not following <= _CHINESE_ENDINGS or any(known(text[end : end + 2]) for end in ends):
        return word
    return word + following.pop()


def _alone(name: str, found: Sequence[str], text: str) -> bool:
    """Whether a name occurs outside the longer names that contain it."""
    for other in found:
        if name in other and name != other:
            text = text.replace(other, " ")
    return name in text


@functools.lru_cache(maxsize=4)
def _yake(top: int) -> Any:
    try:
        import yake
    except ModuleNotFoundError as error:
        raise _missing("yake", error) from None
    return yake.KeywordExtractor(lan="en", n=MAX_WORDS, top=top, dedupLim=0.7)


@functools.cache
def _jieba() -> tuple[Any, Callable[[str], bool]]:
    """jieba's tag extraction, and a test whether a word is in its dictionary."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # in jieba itself: invalid escapes, pkg_resources
            import jieba
            import jieba.analyse
    except ModuleNotFoundError as error:
        raise _missing("jieba", error) from None
    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    return jieba.analyse, lambda word: jieba.dt.FREQ.get(word, 0) > 0


def _missing(package: str, error: ModuleNotFoundError) -> Exception:
    if error.name != package:
        return error
    return ConfigError(f'extractor yake needs {package}: pip install "linksyn-gpu[extract]"')
