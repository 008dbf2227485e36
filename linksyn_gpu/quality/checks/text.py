"""Checks of any text of a QA: complete, clean, and in the language asked for."""

from __future__ import annotations

import re

from linksyn_gpu.quality.checks.row import Row
from linksyn_gpu.quality.repetition import repetition
from linksyn_gpu.tables import cut_field
from linksyn_gpu.text import CJK, CJK_RANGES
from linksyn_gpu.text.languages import FORMULA, FUNCTION_WORDS, other_language
from linksyn_gpu.text.privacy import find_private
from linksyn_gpu.text.words import word_list

# ------------------------------------------------------------------------------------------------- placeholders

_PART = "question|answer|explanation|option|response|solution"
PLACEHOLDER = re.compile(
    r"\W{0,3}(?:your|insert|insert the|insert your|enter your|write your) (?:PART)(?: text)?(?: goes)?(?: here)?\W{0,3}"
    r"|\W{0,3}(?:the |new )?(?:PART)(?: text)?(?: goes)? here\W{0,3}|[<\[{]+ *(?:your )?(?:PART) *[>\]}]+"
    r"|\W{0,3}(?:todo|tbd|tba|placeholder|to be (?:completed|determined|added|filled)|n/a|xxx+"
    r"|option [a-d] text|(?:correct )?answer text)\W{0,3}"
    r"|\W{0,3}(?:待补充|待完善|待填写|答案内容|问题内容|此处略|略)\W{0,3}".replace("PART", _PART),
    re.IGNORECASE,
)
"""A whole text that is a placeholder: "The answer goes here", "<answer>", "TODO"."""
MAX_PLACEHOLDER = 60
PLACEHOLDER_INSIDE = re.compile(
    r"\[(?:insert|enter|fill in|add|your|placeholder|todo|tbd)\b[^\]\n]{0,60}\]|<(?:insert|enter|your)\b[^>\n]{0,60}>"
    r"|\[(?:topic|name|value|number|placeholder)\]|(?<!\w)(?-i:\[X\])|\{\{ [a-z_]{3,30} \}\}"
    r"|\{\{[a-z]{3,20}_?[a-z]{0,20}\}\}(?![_^])|\blorem ipsum\b"
    r"|[\[【（(](?:此处|在此|请)(?:填写|输入|插入|填入|补充)[^\]】）)\n]{0,20}[\]】）)]",
    re.IGNORECASE,
)
ABOUT_STRINGS = frozenset(word_list("type types data code program python variable instrument violin guitar theory"))
"""Words of a question whose answer may be "string"."""
PLACEHOLDER_SIGNS = ("[", "<", "{{", "【", "（", "ipsum")
"""A placeholder inside a text, and the signs of which each match contains one."""


def placeholder(row: Row) -> str | None:
    """A text is a placeholder, or contains one, or is the type that the schema names."""
    if row.item.answer == "string" and ABOUT_STRINGS.isdisjoint(row.vocabulary):
        return "string"
    for name, text in row.texts:
        if name != "explanation" and len(text) < MAX_PLACEHOLDER and (match := PLACEHOLDER.fullmatch(text)):
            return match[0]
        if any(map(text.__contains__, PLACEHOLDER_SIGNS)) and (match := PLACEHOLDER_INSIDE.search(text)):
            return match[0]
    return None


# ------------------------------------------------------------------------------------------------- markup, characters

MARKUP = re.compile(
    r"</?(?:p|br|b|i|u|em|strong|div|span|sub|sup|img|a|table|tr|td|th|ul|ol|li|h[1-6]|font|hr|pre|code|center|s)"
    r"(?:\s[^<>\n]{0,200})?/?>"
    r"|&(?:nbsp|lt|gt|amp|quot|apos|ndash|mdash|#\d{1,7}|#x[0-9a-f]{1,6});"
    r"|\*\*[^*\s][^*\n]{0,300}\*\*|^ {0,3}#{1,6} +\S|!\[[^\]\n]{0,200}\]\(|\]\((?:https?:|/"
    r"|\w+\.(?:png|jpe?g|gif|svg|html?|pdf))"
    r"|^ {0,3}\|?(?: *:?-{3,}:? *\|)+(?: *:?-{3,}:?)? *$|^-{3,}$|<\|[a-z_]{1,30}\|>|\[/?INST\]|<</?SYS>>",
    re.IGNORECASE | re.MULTILINE,
)
MARKUP_SIGNS = ("<", "&", "**", "#", "](", "---", "[I", "[/")
"""HTML tags and entities, bold text, headings, images, links and tables of Markdown, tokens of chat
templates; and signs of which each match contains one."""
ABOUT_MARKUP = re.compile(r"\b(?:html|xml|css|markdown|tags?|web|browser)\b|标签|网页", re.IGNORECASE)
CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ue000-\uf8ff\ufdd0-\ufdef\ufffd\ufffe\uffff]|[\ud800-\udfff]"
)
MOJIBAKE = re.compile("[\u00c2\u00c3][\u0080-\u00bf\u2018-\u2022]|\u00e2\u20ac|ï»¿|锟斤拷")
"""UTF-8 that was read as Latin-1, Windows-1252 or GBK."""


def private_data(row: Row) -> str | None:
    """An e-mail address, a telephone number or a key of a service; its kind is recorded, and the text is not."""
    for name, text in (*row.texts, *(("option", option) for option in row.item.options)):
        if (found := find_private(text)) is not None:
            return f"{name}: {found[0]}"
    return None


def markup(row: Row) -> str | None:
    """HTML, Markdown or a token of a chat template is left in a text; a question about markup may contain it."""
    for _, text in row.texts:
        if not any(map(text.__contains__, MARKUP_SIGNS)):
            continue
        if (match := MARKUP.search(text)) and not ABOUT_MARKUP.search(row.item.question):
            return match[0][:80]
    return None


def control_characters(row: Row) -> str | None:
    """A control or private character, or UTF-8 that was read in another encoding."""
    for _, text in row.texts:
        if not text.isprintable() and (match := CONTROL.search(text)):
            return f"U+{ord(match[0]):04X}"
        if not text.isascii() and (match := CONTROL.search(text) or MOJIBAKE.search(text)):
            return ascii(match[0])
    return None


# ------------------------------------------------------------------------------------------------- cut off

DANGLING = frozenset(
    word_list(
        "the a an of and or by with to is are was were from as at into than that which because its their this these in "
        "less thus they then but has have had be been between when where while if so such very more most your our his "
        "for on per we they"
    )
)
"""Words that do not end a sentence without a stop."""
STOPPED = re.compile(r"[.!?。！？．…:：;；)）\]】}\"”’'」』$%°|~_=\d>*`\-]$|\\[)\]]$")
SENTENCE_END = re.compile(r"[a-z0-9)$][.!?](?: [A-Z]|\s*$)|[。！？．；]")


def cut_text(row: Row) -> str | None:
    """A text is as long as the schema allows, or ends in mid-sentence."""
    limits = row.asked.limits
    if limits is not None and (field := cut_field(row.item, limits)):
        return field
    for name, text in row.texts:
        if (name == "explanation" or not row.item.options) and _ends_inside_sentence(text, name, row):
            return f"{name}: ...{text[-40:]}"
    return None


def _ends_inside_sentence(text: str, name: str, row: Row) -> bool:
    """Whether a text stops before its sentence does.

    A comma, or a word such as "the", says so. So does any other word in prose: in a question, and in a text that has
    sentences with stops or is long. The items of a list have no stops.
    """
    text = text.rstrip()
    if not text or STOPPED.search(text) or "__" in text:
        return False
    if text[-1] in ",，、":
        return True
    *lines, last_line = text.split("\n")
    if lines and (ITEM.match(last_line) or last_line.count(" ") < MIN_CUT or not STOPPED.search(lines[-1].rstrip())):
        return False
    if row.chinese and CJK.match(text[-1]):
        whole = ENDING_CJK.search(text) or (name != "question" and RESULT.search(text[-30:]))
        return name != "answer" and len(text) >= row.config.min_prose and not whole
    last, words = text[-20:].split()[-1], text.count(" ") + 1
    if not LAST_WORD.fullmatch(last) or words < MIN_CUT:
        return False
    if last.lower() in DANGLING or name == "question":
        return True
    if PART.search(text) or RESULT.search(text[-30:]):
        return False
    return words >= (MIN_CUT if SENTENCE_END.search(text) else row.config.min_prose)


RESULT = re.compile(rf"[=≈$\d][)）$ ]*(?:[A-Za-z]{{1,12}} ?){{0,2}}[{CJK_RANGES}]{{0,3}}$")
"""A calculation, which often ends with its result instead of a stop."""
PART = re.compile(r"\([a-z0-9]{1,3}\) ")
LAST_WORD = re.compile("[A-Za-z]?[a-z]+(?:['’][a-z]+)?")
ITEM = re.compile(r"\s*(?:\(?[A-Za-z0-9]{1,3}[).:]|[-*•_|])")
MIN_CUT = 5
ENDING_CJK = re.compile(r"[是为吗呢几少么个种有得分元人天米]$")


# ------------------------------------------------------------------------------------------------- balance

MONEY = re.compile(r"(?<![\w$])\$\.?\d[\d,]*(?:\.\d+)?(?![\d$\\^_{}])")
NUMBER = re.compile(r"\$\d+\$")
"""A number as a formula: in such a text "$5" is no money."""
ESCAPED = re.compile(r"\\[\\${}]|\\(?:left|right) *[{}]|\\textbackslash(?:\{\})? *\$?|(?<!\$)\$(?=\$\$\d)")
ENUMERATION = re.compile(r"(?:^|(?<=[\s;,:.；，。：(（]))[A-Za-z0-9一二三四五六]{1,4}[)）](?!\w*[(（])", re.MULTILINE)
INTERVAL = re.compile(
    r"[\[(（][^()\[\]（）\n]{1,40}[,，][^()\[\]（）\n]{1,40}[\])）]|[\])][^()\[\]\n]{1,20}[,;][^()\[\]\n]{1,20}[\[(]"
)
SIZED = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)\s*[()\[\]]|\\[()\[\]]")
PAIRS = (("(（", ")）"), ("[【", "]】"), ("“", "”"), ("《", "》"), ("「", "」"))
TEX_PAIRS = (("\\left", "\\right"), ("\\begin", "\\end"), ("\\(", "\\)"), ("\\[", "\\]"))
_TEX = re.compile(r"\\(?:left(?![a-z])|right(?![a-z])|begin|end|[()\[\]])")


def unbalanced(row: Row) -> str | None:
    """A formula, bracket, quotation mark or code fence is opened and not closed, or the reverse."""
    for name, text in row.texts:
        if sign := _unbalanced_sign(text):
            return f"{name}: {sign}"
    for option in row.item.options:
        if sign := _unbalanced_sign(option):
            return f"option: {sign}"
    return None


def _unbalanced_sign(text: str) -> str | None:
    if "```" in text and text.count("```") % 2:
        return "```"
    if "\\" in text:
        found = _TEX.findall(text)
        for left, right in TEX_PAIRS:
            if found.count(left) != found.count(right) and not (left in "\\(\\[" and "\\\\" in text):
                return left
    if "$" in text or "{" in text or "}" in text:
        plain = ESCAPED.sub("", text)
        if plain.count("{") != plain.count("}"):
            return "{"
        if plain.count("$") % 2 and (NUMBER.search(plain) or MONEY.sub("", plain).count("$") % 2):
            return "$"
    if "(" in text or ")" in text or "[" in text or "]" in text or not text.isascii():
        return _unbalanced_bracket(text)
    return None


def _unbalanced_bracket(text: str) -> str | None:
    if '"' in text:  # also closes “
        text = text.replace("“", "").replace("”", "")
    for lefts, rights in PAIRS:  # the usual case: nothing to look at more closely
        if sum(map(text.count, lefts)) != sum(map(text.count, rights)):
            break
    else:
        return None
    plain = ENUMERATION.sub(" ", INTERVAL.sub(" ", SIZED.sub(" ", text)))
    for lefts, rights in PAIRS:
        if sum(map(plain.count, lefts)) != sum(map(plain.count, rights)):
            return lefts[0]
    return None


# ------------------------------------------------------------------------------------------------- degenerate

NOISE = re.compile(r"\b(?![A-Z])[bcdfghjklmnpqrstvwxz]{5,}\b")
"""Letters without a vowel."""


def degenerate(row: Row) -> str | None:
    """A text repeats itself, or is no language."""
    for _, text in row.texts:
        if repeated := repetition(text, row.config.loop_share, row.config.distinct_share):
            return repeated
        noise = NOISE.findall(text)
        if len(noise) >= row.config.min_noise and len(noise) * 2 > text.count(" "):
            return " ".join(noise)[:80]
    return None


# ------------------------------------------------------------------------------------------------- language

ABOUT_LANGUAGE = re.compile(
    r"\b(?:chinese|english|french|german|latin|greek|spanish|japanese|translat\w+|language|words?|pronounced?|poem)\b"
    r"|翻译|英语|英文|单词|译|诗|语言|词",
    re.IGNORECASE,
)
GLOSS = re.compile(r"[(（][^()（）]{0,80}[)）]|[\"“‘'「『《][^\"”’'」』》]{0,80}[\"”’'」』》]|\"[^\"]{0,80}\"")
"""What stands in brackets or quotation marks: a name or term in its own language."""
NO_FUNCTION_WORD = "no English function word"


def wrong_language(row: Row) -> str | None:
    """A text is not in the language asked for. An answer of a few words is not judged, nor a list of names."""
    language = row.asked.language
    if other := other_language(row.item.question, language):
        return other
    for name, text in row.texts[1:]:
        if len(text) < row.config.min_language or (not row.chinese and sum(map(text.count, ENGLISH)) >= MIN_ENGLISH):
            continue
        other = other_language(text, language)
        if other and other != NO_FUNCTION_WORD and not ABOUT_LANGUAGE.search(row.item.question):
            few = len(LONG_WORD.findall(FORMULA.sub(" ", text))) < MIN_FOREIGN_WORDS  # formulas: Au(s), ΔH
            if (few and other not in ("Chinese", "Japanese")) or _in_both_languages(row):
                continue
            return f"{name}: {other}"
    return None


ENGLISH = (" the ", " of ", " is ", " to ", " and ")
MIN_ENGLISH = 4
"""An answer or explanation with so many of the commonest English words is in English; this saves time."""


def _in_both_languages(row: Row) -> bool:
    """Whether the question passes as either language, or has no prose at all."""
    return other_language(row.item.question, "en" if row.chinese else "zh") is None


MIN_FOREIGN_WORDS = 4
"""Fewest words of an English text in a Chinese QA; fewer are a name."""


def mixed_languages(row: Row) -> str | None:
    """A sentence changes its language. A text that says everything in both languages, sentence by sentence, may."""
    for name, text in row.texts:
        if text.isascii() or not _LATIN_WORD.search(text):
            continue
        for sentence in SENTENCES.split(text):
            found = _mixed(sentence, row)
            if found and not ABOUT_LANGUAGE.search(row.item.question):
                return f"{name}: {found[:60]}"
    return None


def _mixed(sentence: str, row: Row) -> str | None:
    """The words of the other language in a sentence, if they are too many."""
    ideographs = len(CJK.findall(sentence))
    if not ideographs:
        return None
    prose = GLOSS.sub(" ", sentence)
    words = _LATIN_WORD.findall(prose)  # formulas may be cut too: they are not removed
    if row.chinese:
        found = [word for word in words if word in FUNCTION_WORDS["English"]]
        mixed = found and len(words) > row.config.max_english_in_chinese
        return " ".join(words) if mixed else None
    found = CJK.findall(prose)
    return "".join(found) if len(found) > row.config.max_chinese_in_english and len(words) > MIN_MIXED else None


SENTENCES = re.compile(r"[.?!。？！．\n]")
MIN_MIXED = 2
LONG_WORD = re.compile(rf"(?<![\\\w])[^\W\d_A-Z{CJK_RANGES}]{{4,}}")
_LATIN_WORD = re.compile(r"(?<![\\A-Za-z])[a-z]{2,}(?![A-Za-z])")
