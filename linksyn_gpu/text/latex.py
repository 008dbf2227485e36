r"""Names written without LaTeX and HTML: "$\alpha$ decay" becomes "α decay", "H<sub>2</sub>O" becomes "H2O".

`knowledge.extract.plain_text` handles running text, from which whole formulas are removed.
"""

from __future__ import annotations

import html
import re
import unicodedata

from linksyn_gpu.text.words import word_list

POWERS = str.maketrans({c: f"^{unicodedata.normalize('NFKC', c)}" for c in "⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ"} | {"⁺": "+", "⁻": "\u2212"})
"""Unicode superscripts as `^` and the plain character, for `str.translate`."""
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
"""Comma between groups of three digits."""

_GREEK = word_list(
    "alpha α beta β gamma γ delta δ epsilon ε varepsilon ε zeta ζ eta η theta θ vartheta θ iota ι kappa κ "
    "lambda λ mu μ nu ν xi ξ pi π rho ρ sigma σ tau τ upsilon υ phi φ varphi φ chi χ psi ψ omega ω Gamma Γ "
    "Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Phi Φ Psi Ψ Omega Ω"
)
_OTHER = word_list(
    "times × cdot · pm ± le ≤ leq ≤ ge ≥ geq ≥ neq ≠ infty ∞ int ∫ sum ∑ sqrt √ to → rightarrow → circ ° angle "
    "∠ degree °"
)
_SYMBOLS = dict(zip((*_GREEK, *_OTHER)[0::2], (*_GREEK, *_OTHER)[1::2], strict=True))
GREEK_NAMES = {
    character: name.removeprefix("var").lower()
    for name, character in zip(_GREEK[0::2], _GREEK[1::2], strict=True)
    if not name.startswith("var")
}
"""English names of Greek letters: "β decay" is also written "beta decay"."""
_WRAPPER = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathbb|mathit|mathcal|operatorname|emph|bm)\*?\s*\{([^{}]*)\}"
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_COMMAND = re.compile(r"\\([A-Za-z]+)\s?")
_SUBSCRIPT = re.compile(r"_\{?(\w+)\}?")
_POWER = re.compile(r"\^\{([^{}]*)\}")
_CHARGE = re.compile(r"\^([+-])(?!\d)")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>")
_LONG_REFERENCE = re.compile(r"&#[xX]?[0-9a-fA-F]{9,}+;?")
_SUP = re.compile(r"<sup>([^<>]*)</sup>", re.IGNORECASE)


def unescape(text: str) -> str:
    """Replace HTML character references; `html.unescape` fails on numbers of thousands of digits, they are dropped."""
    return html.unescape(_LONG_REFERENCE.sub("", text))


def plain_name(name: str) -> str:
    """Return a name without LaTeX and HTML."""
    if "<" in name or "&" in name:
        name = unescape(_TAG.sub("", _SUP.sub(r"^\1", name)))
    if "\\" not in name and "$" not in name and "_{" not in name and "^{" not in name:
        return name
    if name.count("$") >= 2 or "\\" in name:
        name = name.replace("$", "{}")  # the end of a formula ends a command without adding a space
    for _ in range(8):  # nested wrappers, innermost first
        name = _FRACTION.sub(r"\1/\2", _WRAPPER.sub(r"\1", name))
    name = re.sub(r"\\[()\[\],;:!]|\\\\|~", " ", name).replace(r"\%", "%").replace(r"\&", "&")
    name = _COMMAND.sub(lambda m: _SYMBOLS.get(m[1], f" {m[1]} "), name)
    name = _CHARGE.sub(r"\1", _POWER.sub(r"^\1", _SUBSCRIPT.sub(r"\1", name)))
    return name.replace("{", "").replace("}", "").replace("\\", " ")
