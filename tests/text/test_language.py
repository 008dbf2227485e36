"""Guessing the language of a text by its scripts and function words, and keys of names."""

import pytest

from linksyn_gpu.text import name_key
from linksyn_gpu.text.languages import guess_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("", "en"),
        ("1 + 1 = ?", "en"),
        ("什么是渗透？", "zh"),
        (r"$\frac{\alpha}{\beta}$ 角", "zh"),
        ("DNA 复制的方向", "zh"),
        ("α, β, γ and δ", "en"),
        ("Where does the word 茶 for tea come from?", "en"),
        ("What does the German word Schadenfreude mean?", "en"),
        ("Quelle est la capitale de la France et dans quel pays ?", "fr"),
        ("Was ist die Einheit der Kraft?", "de"),
        ("¿Cómo se mide la fuerza en el laboratorio?", "es"),
        ("光合成で植物が吸収する気体は何ですか。", "ja"),
        ("광합성에서 식물이 흡수하는 기체는 무엇입니까?", "ko"),
        ("한국의 수도(首都)는 어디입니까?", "ko"),
        ("Что такое осмос?", "ru"),
        ("ما هو التناضح؟", "ar"),
        ("प्रकाश संश्लेषण क्या है?", "hi"),
        ("ფოტოსინთეზი რა არის?", "und"),
    ],
)
def test_scripts_and_function_words_give_the_language(text, language):
    assert guess_language(text) == language


@pytest.mark.parametrize(
    "name", ["osmosis\u200e", "os\u2060mosis", "\ufeffOsmosis ", "osmo\u00adsis", "ｏｓｍｏｓｉｓ\u200b"]
)
def test_invisible_characters_do_not_change_the_key_of_a_name(name):
    assert name_key(name) == "osmosis"


def test_joiners_inside_words_are_kept():
    assert name_key("می\u200cخواهم") != name_key("میخواهم")
