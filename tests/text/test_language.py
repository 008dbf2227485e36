"""Telling Chinese from the rest by the letters of a text."""

import pytest

from linksyn_gpu.text import guess_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("", "en"),
        ("1 + 1 = ?", "en"),
        ("什么是渗透？", "zh"),
        (r"$\frac{\alpha}{\beta}$ 角", "zh"),
        ("Où est l'été ?", "en"),
        ("Where does the word 茶 for tea come from?", "en"),
        ("DNA 复制的方向", "zh"),
    ],
)
def test_a_tenth_of_ideographs_makes_a_text_chinese(text, language):
    assert guess_language(text) == language
