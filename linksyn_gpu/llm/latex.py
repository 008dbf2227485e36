r"""LaTeX inside JSON strings whose backslashes were not doubled.

A model that writes `"$a \ne b$"` means the command `\ne`; JSON reads a line break and "e". Which of them was meant is
decided on the raw text of the string, by what follows the backslash:

- no JSON escape begins like that (`\alpha`, `\(`): LaTeX;
- `\b` and `\f`: LaTeX, since backspace and form feed have no other use in a text;
- `\n`, `\r`, `\t`: LaTeX when the whole word is a command (`\nabla`, `\times`), otherwise a line break or a tab. A few
  commands can also be a line break and a word: `\nless` and "less". Outside formulas they are line breaks where the
  text before them ends a sentence;
- `\u` without four hexadecimal digits: LaTeX.

In a string with one such command all backslashes are single: `\\` is then the row end of a matrix, not an escaped
backslash. The rules are this project's own; docs/synthesis.md has their measurement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_NAMES = """
nabla natural ncong ne nearrow neg neq newcommand newline newpage nexists ngeq ngeqq ngeqslant ngtr ni nleftarrow
nLeftarrow nleftrightarrow nLeftrightarrow nleq nleqq nleqslant nless nmid noindent nolimits nonumber normalfont
normalsize not notin nparallel nprec npreceq nrightarrow nRightarrow nshortmid nshortparallel nsim nsubset nsubseteq
nsubseteqq nsucc nsucceq nsupseteq nsupset ntriangleleft ntrianglelefteq ntriangleright ntrianglerighteq nu nvdash
nvDash nVdash nVDash nwarrow raggedleft raggedright raise raisebox rangle rbrace rbrack rceil ref renewcommand rfloor
rgroup rho right rightarrow rightarrowtail rightharpoondown rightharpoonup rightleftarrows rightleftharpoons
rightrightarrows rightsquigarrow rightthreetimes risingdotseq rlap rm rmoustache root rotatebox rtimes rule rvert
rVert tag tan tanh tau tbinom tfrac therefore theta thickapprox thicksim thinspace tilde times tiny to top toprule tt
triangle triangledown triangleleft trianglelefteq triangleq triangleright trianglerighteq twoheadleftarrow
twoheadrightarrow
"""
_COMMANDS = frozenset(_NAMES.split())
"""Commands that begin with n, r or t, but for those that begin with "text"."""
_LINE_BREAK_AND_WORD = frozenset(
    ("ne", "neg", "nexists", "ni", "nless", "nmid", "not", "nparallel", "nsim", "nsubset", "nu")
)
_AMONG_ROWS = frozenset(
    ("alpha", "begin", "beta", "cdots", "cos", "ddots", "end", "frac", "gamma", "hline", "left", "sin", "sqrt", "vdots")
)
"""Further commands that a row of a matrix may begin with: after two backslashes they are doubled commands."""
_ENDS_A_SENTENCE = frozenset(".:;,!?。：；，！？")
_MARK = re.compile(r"(\\+)(u[0-9a-fA-F]{4}|[A-Za-z]+|.|\Z)|\$\$?", re.DOTALL)
_HEX = re.compile("u[0-9a-fA-F]{4}")


def escape_latex(raw: str) -> str:
    r"""Double the backslashes of LaTeX commands in a JSON string that was written without.

    Parameters
    ----------
    raw : str
        What stands between the quotes of a JSON string, before decoding.

    Returns
    -------
    str
        Text whose every escape a JSON decoder accepts. A string without such LaTeX keeps its meaning. The work is
        linear in the length.
    """
    single = any(_is_command(raw, *where) for where in _backslashes(raw))
    pieces, at = [], 0
    for mark, in_formula, in_rows in _backslashes(raw):
        run, word = mark.group(1), mark.group(2)
        n = len(run)
        if n % 2 == 1:
            if _is_command(raw, mark, in_formula, in_rows) or (single and word == "/"):
                n *= 2
            elif single:
                n += n - 1
            if word == "'":  # "don\'t": JavaScript's escape
                n -= 1
            elif word == "\n":  # a backslash before a raw line break
                word = "n"
        elif single and not (n == 2 and _is_doubled(word, in_rows)):
            n *= 2
        pieces += [raw[at : mark.start()], "\\" * n, word]
        at = mark.end()
    return "".join([*pieces, raw[at:]])


def _backslashes(raw: str) -> Iterator[tuple[re.Match[str], bool, bool]]:
    """Runs of backslashes with what follows: the match, whether it is in a formula, and whether among rows."""
    dollars = brackets = rows = 0
    for mark in _MARK.finditer(raw):
        word = mark.group(2)
        if word is None:
            dollars += 1
            continue
        yield mark, dollars % 2 == 1 or brackets > 0 or rows > 0, rows > 0
        rows += (word == "begin") - (word == "end")
        if rows == 0 and word in ("(", ")", "[", "]"):
            brackets += 1 if word in "([" else -1


def _is_command(raw: str, mark: re.Match[str], in_formula: bool, in_rows: bool) -> bool:
    """Whether the last backslash of a run begins LaTeX and was not escaped for JSON."""
    word, behind = mark.group(2), raw[mark.end() : mark.end() + 1]
    if len(mark.group(1)) % 2 == 0 or word == "" or word[0] in "\"'\n":
        return False
    if word == "/":
        return in_formula  # a correction of spacing; elsewhere JSON's needless escape of a slash
    if word[0] == "u":
        return _HEX.fullmatch(word) is None
    if word[0] not in "nrt":
        return True
    if word == "n" and in_rows and behind in ("=", "<", ">"):
        return True  # no row begins with a relation: this is the row end before a variable n
    if word not in _COMMANDS and not word.startswith("text"):
        return False
    if in_formula or word not in _LINE_BREAK_AND_WORD:
        return True
    before = raw[max(0, mark.start() - 8) : mark.start()].rstrip(" ")
    begins_line = before == "" or before[-1] in _ENDS_A_SENTENCE or before.endswith("\\n")
    return not begins_line and behind != "."


def _is_doubled(word: str, in_rows: bool) -> bool:
    """Whether two backslashes before `word` are one that was escaped, in a string whose others are single."""
    if in_rows:
        return word in _COMMANDS or word in _AMONG_ROWS
    return word != "" and not word[0].isspace() and not word[0].isdigit() and word not in "&" and word[0] != '"'
