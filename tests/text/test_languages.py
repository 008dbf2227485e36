"""Languages are recognised by evidence; formulas are not evidence."""

import pytest

from linksyn_gpu.text.languages import other_language


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Die Kraft ist das Produkt von Masse und Beschleunigung.", "German"),
        ("Quels sont les produits de la réaction dans le tube ?", "French"),
        ("¿Cómo se mide la fuerza en el laboratorio?", "Spanish"),
        ("Qual è la velocità della luce?", "Italian"),
        ("Qual é a velocidade da luz em uma fibra?", "Portuguese"),
        ("Wat is de snelheid van het licht?", "Dutch"),
        ("光の速さはどのくらいですか。", "Japanese"),
        ("光的速度是多少？", "Chinese"),
    ],
)
def test_another_language_is_named(text, name):
    assert other_language(text, "en") == name


@pytest.mark.parametrize(
    "text", ["", "$x^2 + y^2 = 1$", "`for der in die: und()`", "H2SO4 + 2 NaOH", "$$\\text{wenn}$$"]
)
def test_formulas_and_code_are_in_every_language(text):
    assert other_language(text, "en") is None
    assert other_language(text, "zh") is None


def test_a_quoted_word_or_name_does_not_decide():
    assert other_language("What does the German word Schadenfreude mean?", "en") is None
    assert other_language("Which kana follows あ in the syllabary?", "en") is None
    assert other_language("Ist and und: which of these is a German verb?", "en") is None
    assert other_language("日语助词の相当于汉语的哪个字？", "zh") is None
