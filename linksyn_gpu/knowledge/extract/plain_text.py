"""Running text without formulas, markup, code and links.

Each removed part leaves a `GAP`, which no phrase crosses. `text.latex` handles *names*, in which the letters of a
formula count.
"""

from __future__ import annotations

import re

from linksyn_gpu.text.latex import unescape
from linksyn_gpu.text.words import word_list

MAX_WORDS = 12
_SENTENCE = re.compile(r"[a-z]{4,}\.(?:\s|$)|[!?。！？；;]|[.。]\s.*[.。]$|[\n\r]")
_STATES = frozenset(word_list("is are was were has have"))
_UNFINISHED = frozenset(word_list("a an the of to as by for from with and or is are than that which"))
MARK = "\u241f"
GAP = f" {MARK} "
"""Marks a removed part with a character that is neither letter nor space and therefore ends a phrase."""
JOINT = f"\n{MARK}\n"
"""Separates texts that are read as one; no phrase crosses it."""

# Every pattern takes time linear in the text, also on text made to slow it down: a part ends before the next opening of
# the same kind, quantifiers do not overlap or are possessive (++), and lengths are bounded.
_CODE = re.compile(
    r"```.*?(?:```|\Z)|<(code|pre|script|style)\b[^<>]*>(?:(?!<\1\b).)*?</\1>|`[^`\n]{1,500}`",
    re.DOTALL | re.IGNORECASE,
)
_BLOCK = re.compile(
    r"\$\$.*?\$\$|\\\[(?:(?!\\\[).)*?\\\]|\\\((?:(?!\\\().)*?\\\)"
    r"|\\begin\{(\w{1,40}\*?)\}(?:(?!\\begin\{\1\}).){0,5000}?\\end\{\1\}"
    r"|(?<![\\$\w])\$(?=[^\s$\d])[^$\n]{0,300}?[^\s$\\]\$(?!\d)|(?<![\\$\w])\$\d[^$\n]{0,300}?[=+\\^_<>*/][^$\n]{0,300}?\$(?!\d)"
    r"|(?<![\\$\w])\$(?:\d{1,20}(?:\.\d{1,20})?|[A-Za-z])\$(?!\d)",
    re.DOTALL,
)
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|emph|textrm)\{([^{}]*)\}")
_COMMAND = re.compile(
    r"\\[A-Za-z]++\*?(?:\s*+[_^]?\{[^{}]*+\})*+|\{[_^]\S*+"
    r"|(?P<base>[A-Za-z0-9)]++)(?P<index>(?:\s*+[_^]\s*+(?:\{[^{}]*+\}|\w))*+)"
)
_TAG = re.compile(r"</?([A-Za-z][A-Za-z0-9]{0,40})\b[^<>]{0,500}>|<!--(?:(?!<!--).)*?-->", re.DOTALL)
_INLINE = frozenset(word_list("b i em strong span sub sup u a font small mark"))
_LINK = re.compile(r"https?://\S+|www\.\S+|(?<![\w.+%-])[\w.+%-]++@[\w-]++(?:\.[\w-]++)++")
_CODE_LINE = re.compile(
    r"^[ \t]*(?:def |class |import |from \w++ import|#include|public |private |static |return\b.*;|for ?\(|while ?\("
    r"|if ?\(|print\(|SELECT .* FROM |(?:var|let|const|int|float|double|char|void) \w++.*[;={(]).*$",
    re.MULTILINE,
)
_OPERATION = re.compile(r"(?<![\w.])[-+]?(?:[^\W\d]|\.)*+\d[\w.]*+(?:\s*+[=+×÷*/^<>≤≥≈-]\s*+[\w.()]*+)++")


def plain_text(text: str) -> str:
    """Replace code, formulas, markup and links by `GAP`; a `$` of money ("costs $5 and $10") begins no formula."""
    if "`" in text or "<" in text:
        text = _CODE.sub(GAP, text)
    if any(mark in text for mark in (";", "(", "import ", "def ", "class ")):
        text = _CODE_LINE.sub(GAP, text)
    if "<" in text:
        text = _TAG.sub(lambda m: "" if (m[1] or "").lower() in _INLINE else GAP, text)
    if "&" in text:
        text = unescape(text)
    if "\\" in text or "$" in text:
        text = _BLOCK.sub(GAP, text)
    if "\\" in text or "^" in text or "_" in text:
        text = _COMMAND.sub(lambda m: m[0] if m["base"] and not m["index"] else GAP, _WRAPPED.sub(r"\1", text))
    if "://" in text or "www." in text or "@" in text:
        text = _LINK.sub(GAP, text)
    return _OPERATION.sub(GAP, text) if any(c in text for c in "=<>≤≥≈×÷") else text


def is_name(text: str) -> bool:
    """Whether a text can be a name: at least two letters or one CJK character, no markup, not a sentence."""
    if len(text) > 120:
        return False
    letters = sum(map(str.isalpha, text))
    words = text.casefold().split()
    if len(words) > MAX_WORDS or _SENTENCE.search(text) or len(set(words)) < (len(words) + 1) // 2:
        return False  # a sentence, or repeated words of a model
    if words and (words[-1] in _UNFINISHED or (len(words) > 3 and not _STATES.isdisjoint(words))):
        return False  # part of a sentence
    if MARK in text or "\\" in text or "$" in text or "<" in text or "://" in text:
        return False
    return (letters >= 2 or (letters == 1 and text > "\u2e80")) and 2 * letters >= len(text.replace(" ", ""))
