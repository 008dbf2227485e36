"""Functions that read text end on texts of 50,000 characters of any unit, within the time limit of a test.

A pattern whose time grows with the square of the length, or faster, does not.
"""

import importlib
import pkgutil
import re

import pytest

import linksyn_gpu
from linksyn_gpu.knowledge.extract.glossary import Glossary, Term
from linksyn_gpu.knowledge.extract.plain_text import is_name, plain_text
from linksyn_gpu.knowledge.merge.guards import veto
from linksyn_gpu.knowledge.merge.normal_form import merge_key, normal_form
from linksyn_gpu.knowledge.merge.synonyms import is_abbreviation, split_gloss, synonyms_in_text
from linksyn_gpu.text import estimate_tokens, name_key
from linksyn_gpu.text.languages import guess_language
from linksyn_gpu.text.latex import plain_name

LENGTH = 50_000
UNITS = [
    "a", "A", "1", " ", "\t", "\n", "@", "a@", "a@a.", "_", "^", "a_", "a^{", "{", "}", "{_", "(", "(A", "(a)", "[",
    "<", "<a", "<a ", "<code>", "<code ", "</code>", "<!--", "`", "`a", "```", "$", "$1", "$1=", "$a", "$$", "&",
    "&#1", "&amp;", "\\", "\\(", "\\[", "\\begin{a}", "\\text{", "\\text{a}", "\\frac{", "\\frac{a}{", "\\a ",
    "\\a{", "=", "1.", "=1.1", "= 1.1", "1 = ", "x = ", "-", "-1", "/", " / ", "1,000", "e1", "'", "'s ", ",", ", ",
    "also ", "also known as ", "又称", ", 简称", "import ", "for (", "int a", "SELECT a ", "return a", "www.", "http://",
    ".", ". ", "ab. ", "of ", "and the ", "twenty ", "一", "一 ", "的", "第十", "あ", "한", "é", "ß", "\u200b",
    "\ud800", "\x00", "α", "ⅷ",
]  # fmt: skip
GLOSSARY = Glossary(map(Term, ("a", "a a", "a a b", "一", "一一", "A")))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("unit", UNITS)
def test_texts_of_any_unit_end(unit):
    text = unit * (LENGTH // len(unit)) + "x = 1 (A) also b 称"
    plain_text(text)
    is_name(text)
    is_abbreviation("ABC", text)
    is_abbreviation(text, text)
    split_gloss(text + ")")
    split_gloss(text + " (A)")
    form = normal_form(text)
    merge_key(form)
    veto(form, f"{form} a")
    plain_name(text)
    name_key(text)
    guess_language(text)
    estimate_tokens(text)
    GLOSSARY.find(text)
    synonyms_in_text(text, lambda form: form == "a")


@pytest.mark.timeout(60)
def test_nested_markup_ends():
    for opening, closing in (
        ("\\text{", "}"),
        ("\\frac{", "}{a}"),
        ("<b>", "</b>"),
        ("\\begin{a}", "\\end{a}"),
        ("$", "$"),
    ):
        text = opening * 5000 + "a" + closing * 5000
        assert plain_name(text) is not None
        assert plain_text(text) is not None


def test_character_references_of_thousands_of_digits_are_dropped():
    assert plain_name("force&#" + "1" * 5000 + ";") == "force"
    assert plain_text("mass &#x" + "f" * 5000 + "; and &amp; force").split() == ["mass", "and", "&", "force"]


def compiled_patterns():
    for module in pkgutil.walk_packages(linksyn_gpu.__path__, "linksyn_gpu."):
        if not module.name.startswith(("linksyn_gpu.backend", "linksyn_gpu.__main__")):
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                    yield pytest.param(value, id=f"{module.name}.{name}")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", list(compiled_patterns()))
def test_every_pattern_of_the_package_ends_at_one_place_of_a_text(pattern):
    for unit in UNITS:
        text = unit * (10_000 // len(unit)) + "!x"
        pattern.match(text)
        pattern.fullmatch(text)
