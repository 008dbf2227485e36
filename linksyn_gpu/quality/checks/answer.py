"""Checks of the answer: that it is one, of the kind asked for, and that the explanation supports it."""

from __future__ import annotations

import math
import re

from linksyn_gpu.quality.checks.row import Row
from linksyn_gpu.quality.equivalence import TOLERANCE, Quantity, read_quantity
from linksyn_gpu.quality.options import fold, match_option
from linksyn_gpu.text import CJK_RANGES
from linksyn_gpu.text.words import word_list

PUNCTUATION = frozenset(".,;:!?…\"'()[]{}_-–—~。，、；：！？“”‘’（）【】《》")


def empty_answer(row: Row) -> str | None:
    """The answer is empty or only punctuation; signs without any punctuation are an answer: "+", "∅", "≥"."""
    answer = row.item.answer
    says_nothing = not any(map(str.isalnum, answer)) and not PUNCTUATION.isdisjoint(answer)
    return answer[:80] if not answer or (says_nothing and answer not in row.item.options) else None


def answer_is_question(row: Row) -> str | None:
    """The answer only repeats the question."""
    item = row.item
    same = len(item.answer) * 2 > len(item.question) and fold(item.answer) == fold(item.question)
    return item.answer[:80] if same else None


# ------------------------------------------------------------------------------------------------- model talk

REFUSES = re.compile(
    r"\W*(?:(?:i'?m |i am )?(?:very |so |really )?sorry\b"
    r"|i (?:cannot|can'?t|can not|am unable to|'m unable to|do not|don'?t|could not|couldn'?t) "
    r"(?:answer|determine|provide|help|have|know|solve|assist|find|say|access|create|generate|see)\b"
    r"|抱歉|对不起|很遗憾|我?(?:无法|不能)(?:回答|确定|提供|判断|解答))",
    re.IGNORECASE,
)
"""The beginning of an answer or explanation that refuses."""
OPENS = re.compile(
    r"\W*(?:(?:sure|certainly|of course|absolutely|okay|ok|great)[,!.] "
    r"|here(?:'s| is| are) (?:a|an|the|your|my|one|another)\b[^.:\n]{0,60}"
    r"(?:question|answer|problem|explanation|solution)\b"
    r"|(?:好的|当然(?:可以)?|没问题)[，,！!。]|这是(?:我)?为[你您])",
    re.IGNORECASE,
)
"""The beginning of an answer to a user."""
SPEAKS = re.compile(
    r"\bas an? (?:large )?(?:ai|artificial intelligence|language) ?(?:language )?(?:model|assistant)?\b"
    r"|\bi (?:do not|don'?t) have (?:access|enough|the ability)\b|\bi hope (?:this|that|it) helps\b"
    r"|\blet me know if\b|\bfeel free to\b|\bi(?:'d| would) be happy to\b|\bas (?:you )?requested\b"
    r"|\bi (?:made up|generated|created|wrote) (?:this|the|a) question\b|</?think(?:ing)?>"
    r"|(?:^|[.!?] )(?:wait|hmm+)\b[,.!]"
    r"|\blet me (?:think|re-?calculate|re-?check|re-?consider|try again|start over|double[- ]check)\b",
    re.IGNORECASE,
)
SPOKEN = frozenset(word_list("ai language artificial i know free requested think thinking wait hmm hmmm me"))
"""Words of which each match of `SPEAKS` contains one."""
SPEAKS_CJK = re.compile(
    "作为一[个名]?(?:人工智能|AI|语言模型|大型?语言模型)|作为AI"
    "|(?:以下|下面)是(?:我)?(?:为[你您])?(?:编写|设计|生成|准备|出)?的?(?:一道|一个)?(?:新的?)?(?:题|问题)"
    "|希望(?:这|能|以上)?对?[你您]有?所?帮助|随时(?:告诉|联系|问)我|(?:等等|等一下)[，,]"
    "|让我(?:再|重新)(?:想|算|看|考虑)|重新算一下"
)
"""Places where a model speaks of itself or to its user, or thinks aloud."""


def refusal(row: Row) -> str | None:
    """The model refuses, speaks of itself or to its user, or leaves its thinking."""
    spoken = not SPOKEN.isdisjoint(row.vocabulary)
    for name, text in row.texts:
        match = OPENS.match(text) or (REFUSES.match(text) if name != "question" else None)
        if match is None and spoken:
            match = SPEAKS.search(text)
        if match is None and not text.isascii():
            match = SPEAKS_CJK.search(text)
        if match:
            return match[0].strip()[:80]
    return None


# ------------------------------------------------------------------------------------------------- option letters

LABEL = re.compile(
    r"(?:(?:so |therefore |thus )?(?:the )?(?:correct |right |best )?(?:answer|option|choice)s?(?: is"
    r"| are|:)? *(?:option |choice )?)?"
    r"\(?([A-Ha-h])\)?[.):]?"
    r"|(?:因此|所以|故)?(?:正确)?(?:答案|选项|选|应选|故选)(?:是|为|选)?[:：]?(?:选项?)?[(（]?([A-H])[)）]?(?:选?项)?[。.]?|[(（]([A-H])[)）]",
    re.IGNORECASE,
)
LETTER_ASKED = re.compile(
    r"\b(?:symbol|letter|vitamin|blood|type|grade|note|key|variable|element|point|side|set|group|team|base|hepatitis)\b"
    r"|符号|字母|维生素|血型|元素|型|点|音",
    re.IGNORECASE,
)


def answer_is_label(row: Row) -> str | None:
    """An open question is answered with the letter of an option. A bare letter may name something in the question."""
    answer = row.item.answer
    if row.multiple_choice or len(answer) > 40 or not (match := LABEL.fullmatch(answer)):
        return None
    letter = next(filter(None, match.groups()))
    if letter == answer and (letter.islower() or LETTER_ASKED.search(row.item.question)):
        return None  # a variable or a symbol
    return None if _names(row.item.question, letter) else answer


def _names(question: str, letter: str) -> bool:
    """Whether a question gives a letter a meaning: "point B", or one of several parts between which it "
    "asks to choose."""
    if re.search(rf"(?<![A-Za-z(（]){letter.upper()}(?![A-Za-z])", question):
        return True
    return "hich" in question and f"({letter.lower()})" in question


# ------------------------------------------------------------------------------------------------- gives answer away

STATED = re.compile(r"(?:\b(?:correct |right )?answer(?: is|:| =)|答案[是为:：])\s*", re.IGNORECASE)


def answer_given_away(row: Row) -> str | None:
    """The question states its answer: after "the answer is", or word by word."""
    question, answer = row.item.question, row.item.answer
    stated = "answer" in row.vocabulary or "答案" in question
    if stated and (match := STATED.search(question)):
        rest = question[match.end() :].lstrip("$( ")
        if rest and rest[0] not in "_(（?？" and fold(rest).startswith(fold(answer)[:20].rstrip(".。 ").lstrip("$( ")):
            return question[match.start() :][:80]
    if row.multiple_choice or len(answer) < row.config.min_given_away:
        return None
    given = fold(answer).rstrip(".。 ")
    return answer[:80] if given in fold(question) else None


# ------------------------------------------------------------------------------------------------- numbers

NUMBER_WORDS = "|".join(
    word_list(
        "one two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty thirty forty fifty "
        "sixty ninety half twice double triple dozen hundred thousand million"
    )
)
HAS_NUMBER = re.compile(
    rf"\d|[零一二两三四五六七八九十百千万亿半]|\$|\\[A-Za-z]|[=≈√π∞∑∫²³]|\b(?:{NUMBER_WORDS})\b",
    re.IGNORECASE,
)


def no_number(row: Row) -> str | None:
    """A calculation whose question or answer has no number and no formula."""
    if row.asked.question_type != "calculation":
        return None
    for name, text in row.texts[:2]:
        if not HAS_NUMBER.search(text):
            return f"{name}: {text[:60]}"
    return None


# ------------------------------------------------------------------------------------------------- explanation

BOXED = re.compile(r"\\boxed\{([^{}]{1,60}(?:\{[^{}]{0,30}\}[^{}]{0,30}){0,3})\}")
CONCLUDES = re.compile(
    r"\b(?:(?:final |correct |right )?(?:answer|option|choice)(?: is| was|:| must be)"
    r"|option(?= \(?[A-H]\)? is (?:correct|right))|result is) *:? *"
    r"|(?:故|所以|因此|综上)?(?:正确)?(?:答案|结果)(?:是|为|应为|选)[:：]? *|(?:故|所以|因此|应|应该)选(?:择"
    r"|项)?[:：]? *",
    re.IGNORECASE,
)
CONCLUDING = frozenset(word_list("answer option choice result boxed"))
"""Words of which each English conclusion contains one."""
CHOSEN = re.compile(r"(?:option |choice |选项)?[(（]?\$*([A-H])\$*[)）]?(?=$|[\s.,;:。．，；、!])")
LAST_VALUE = re.compile(r"[=≈]\s*\$*\s*(-?\d+(?:\.\d+)?(?:/\d+)?)(?![\w\d.^*/×÷+\\-])")
MAX_CONCLUSION = 120


def answers_disagree(row: Row) -> str | None:
    """The explanation concludes with another option, or with another number, than the answer."""
    explanation = row.item.explanation
    if not explanation:
        return None
    said = None if explanation.isascii() and CONCLUDING.isdisjoint(row.vocabulary) else _conclusion(explanation)
    if row.multiple_choice:
        return None if said is None else _other_option(row, said)
    given = read_quantity(row.item.answer)
    if given is None:
        return None
    if said is not None:
        return said if _other_number(given, said) else None
    if row.asked.question_type == "calculation" and (values := LAST_VALUE.findall(explanation)):
        texts = [values[-1]] if all(_other_number(given, value) for value in values) else []
        number = re.escape(row.item.answer.strip("$ "))
        return texts[0] if texts and not re.search(rf"(?<![\d.]){number}(?![\d.]\d)(?!\d)", explanation) else None
    return None


def _conclusion(explanation: str) -> str | None:
    """What the explanation says that the answer is, at its last such place."""
    if boxed := BOXED.findall(explanation):
        return str(boxed[-1])
    ends = [match.end() for match in CONCLUDES.finditer(explanation)]
    if not ends:
        return None
    rest = explanation[ends[-1] : ends[-1] + MAX_CONCLUSION]
    return re.split(r"(?<!\d)[.。．；;\n]|[.。．；;](?!\d)", rest, maxsplit=1)[0].strip() or None


def _other_option(row: Row, said: str) -> str | None:
    if row.right is None:
        return None
    letters = list(row.options)
    if (chosen := CHOSEN.match(said + " ")) and chosen[1] in letters and len(said) <= 60:
        return said if letters.index(chosen[1]) != row.right else None
    named = match_option(said, row.item.options)
    return said[:80] if named is not None and named != row.right else None


def _other_number(given: Quantity, said: str) -> bool:
    other = read_quantity(said.strip("$ "))
    if other is None or (given.unit and other.unit and given.unit != other.unit):
        return False
    if given.whole and other.whole:
        return given.value != other.value
    return not math.isclose(given.value, other.value, rel_tol=TOLERANCE)


# ------------------------------------------------------------------------------------------------- unrelated

_CONTENT = re.compile(rf"[a-z]{{4,}}|[{CJK_RANGES}]")
COMMON = frozenset(
    word[:5]
    for word in word_list(
        "what which whose when where does following this that these those there their they them from with have been "
        "were will would could should than then into about each other same many much most more some such between "
        "after before also only your answer question correct explain describe discuss compare because example used "
        "using make made different first very like being both during through over under while where people time "
        "number change form find give given show part work result great large small high well figure image "
        "diagram table "
        "label state effect include often sometimes usually certain several various another however therefore thus "
        "either whether since until above below less least still just even every always never type kind amount level "
        "increase decrease produce require cause consider determine identify describe"
    )
)


def unrelated_answer(row: Row) -> str | None:
    """Question and answer have nothing in common: no word of a long answer, or a low similarity of their vectors."""
    if row.similarity is not None and row.similarity < row.config.min_similarity:
        return f"similarity {row.similarity:.2f}"
    item = row.item
    known = " ".join((item.question, *item.options))
    for name, text in row.texts[1:]:
        if name == "answer" and item.options:
            continue
        if _unrelated(known, text, row):
            return f"{name}: {text[:80]}"
        known = f"{known} {text}"  # an explanation may speak of the answer alone
    return None


def _unrelated(known: str, text: str, row: Row) -> bool:
    """Whether a long text has no word of the question; formulas have no words in common."""
    if len(text) < 4 * row.config.min_related or row.chinese or "$" in text or "\\" in text:
        return False
    said = _content(text)
    if len(said) < row.config.min_related:
        return False
    asked = _content(known)
    return len(asked) >= MIN_ASKED and not asked & said


MIN_ASKED = 3


def _content(text: str) -> set[str]:
    return {word[:5] for word in _CONTENT.findall(text.casefold())} - COMMON
