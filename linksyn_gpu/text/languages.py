"""Detects the language of a text by its scripts and function words.

Only evidence of another language counts. Formulas, symbols and names belong to no language: a text that contains
nothing else passes in every language.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from linksyn_gpu.text import CJK

FORMULA = re.compile(r"\$\$[^$]*\$\$|\$[^$]*\$|`[^`]*`|\\[A-Za-z]+|\{[^{}]*\}")
"""Formulas between dollar signs, code between backticks, TeX commands and their arguments."""
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_TEX_COMMAND = re.compile(r"\\[A-Za-z]+")
LATIN = re.compile("[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")
_LATIN_OR_CJK = re.compile(f"[{LATIN.pattern[1:-1]}{CJK.pattern[1:-1]}]+")
KANA = re.compile("[\u3040-\u30ff\u31f0-\u31ff]")
FUNCTION_WORDS = {
    language: frozenset(words.split())
    for language, words in {
        "English": "the of and or to is are was were be been has have had does did can could may would should will in "
        "on at as for from by with what which who how when where why while that this each these it its not than if",
        "German": "der die das und ist sind ein eine einer eines einem den dem mit von für auf welche welcher welches "
        "wie nicht werden wird zu zur zum bei sich man",
        "French": "le les un une du est sont et dans pour avec qui quel quelle quels sur ce cette aux au pas",
        "Spanish": "el los las una del es son y en para con cuál qué cómo por su",
        "Italian": "il la gli una della dei delle è sono con nel qual quale quali che di un",
        "Portuguese": "uma da dos das é são para em qual não que ao",
        "Dutch": "het een zijn wat welke voor met wordt worden van op niet naar hoe",
    }.items()
}
"""The most common function words, without chemical symbols ("os") and most words that are also English ("per")."""
LANGUAGES_OF = {
    word: [language for language, words in FUNCTION_WORDS.items() if word in words]
    for word in frozenset().union(*FUNCTION_WORDS.values())
}
MIN_FUNCTION_WORDS = 2
"""Fewest function words of another language that identify it: one may be part of a name."""
MIN_WORDS = 10
"""An English text of this many words contains an English function word."""
LONG = 4
"""Fewest letters of a Latin word that counts as prose in a Chinese question; shorter ones are sin, log, AB."""
CODES = {
    **{"German": "de", "French": "fr", "Spanish": "es", "Italian": "it", "Portuguese": "pt", "Dutch": "nl"},
    **{"HANGUL": "ko", "CYRILLIC": "ru", "ARABIC": "ar", "DEVANAGARI": "hi", "THAI": "th", "HEBREW": "he"},
}
"""ISO 639-1 code by the name of a language, or of a script: of the languages of a script the most common."""
KANA_SHARE = 4
"""A text is Japanese if it has more than one kana per this many ideographs."""


def other_language(text: str, language: str) -> str | None:
    """Name or example of the other language of a text that is not in `language` ('en' or 'zh'); None if it may be.

    Chinese   fails with more kana than a quarter of the ideographs, or with as many foreign words as ideographs.
    English   fails with more than two ideographs per Latin word; with more words of another script than Latin ones;
              with more function words of another Latin-script language than of English; and when a long text has no
              English function word. A text in both languages passes as either.
    """
    prose = FORMULA.sub(" ", text)
    kana = ideographs = 0
    foreign: list[str] = []
    if text.isascii():
        words = WORD.findall(prose)
    else:
        kana = len(KANA.findall(prose))
        ideographs = len(CJK.findall(KANA.sub("", prose)))
        words = WORD.findall(CJK.sub(" ", prose))
        foreign = [word for word in words if len(word) > 1 and not LATIN.match(word)]
        words = [word for word in words if LATIN.match(word)]
    # Neither symbols, such as x and β, nor abbreviations and chemical formulas.
    latin = [word.casefold() for word in words if word[1:].islower()]
    if language == "zh":
        if kana * KANA_SHARE > ideographs:
            return "Japanese"
        words = [word for word in latin if len(word) >= LONG or word in FUNCTION_WORDS["English"]] + foreign
        return f"not Chinese: {words[0]}" if words and len(words) >= ideographs else None
    if ideographs + kana > 2 * len(latin):
        return "Japanese" if kana * KANA_SHARE > ideographs else "Chinese"
    if len(foreign) > len(latin):
        return f"not English: {foreign[0]}"
    counts = Counter(name for word in latin for name in LANGUAGES_OF.get(word, ()))
    english = counts.pop("English", 0)
    if counts and (best := counts.most_common(1)[0])[1] >= max(MIN_FUNCTION_WORDS, english + 1):
        return best[0]
    return "no English function word" if not english and len(latin) >= MIN_WORDS else None


def guess_language(text: str) -> str:
    r"""ISO 639-1 code of a text's language; 'und' for a script that is not in `CODES`, 'en' without any evidence.

    A tenth of Chinese characters among the letters makes a text Chinese, or with enough kana Japanese. Otherwise most
    letters are of another script, or function words decide (`other_language`). TeX commands (\frac) do not count.
    """
    prose = _TEX_COMMAND.sub("", text)
    letters = sum(map(str.isalpha, prose))
    cjk, kana = len(CJK.findall(text)), len(KANA.findall(text))
    scripts = Counter(_script(c) for c in _LATIN_OR_CJK.sub("", prose) if c.isalpha())
    del scripts["GREEK"]
    if scripts.total() > max(cjk, letters // 2):
        return CODES.get(scripts.most_common(1)[0][0], "und")
    if cjk and cjk * 10 >= letters:
        return "ja" if kana * KANA_SHARE > cjk - kana else "zh"
    return CODES.get(other_language(text, "en") or "", "en")


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]
