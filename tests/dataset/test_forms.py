"""Forms of a published row, in both languages."""

import pytest

from linksyn_gpu.dataset.forms import TEXTS, as_alpaca, as_chat, as_text

CHOICE = {
    "id": "a-0",
    "question": "Which metal is liquid at room temperature?",
    "options": ["iron", "mercury"],
    "answer": "mercury",
    "explanation": "It melts at -39 degrees.",
    "reasoning": "I know this.",
    "language": "en",
}
OPEN = {**CHOICE, "id": "a-1", "options": [], "answer": "mercury", "explanation": ""}


def test_a_conversation_has_the_options_with_letters_and_ends_with_the_answer():
    messages = as_chat(CHOICE)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[0]["content"] == "Which metal is liquid at room temperature?\nA. iron\nB. mercury"
    assert messages[1]["content"] == "It melts at -39 degrees.\n\nAnswer: B. mercury"
    assert as_chat(OPEN)["messages"][1]["content"] == "Answer: mercury"


def test_reasoning_is_in_a_conversation_only_if_wanted():
    assert "reasoning_content" not in as_chat(CHOICE)["messages"][1]
    assert as_chat(CHOICE, reasoning=True)["messages"][1]["reasoning_content"] == "I know this."


def test_an_instruction_has_the_options_as_its_input():
    row = as_alpaca(CHOICE)
    assert (row["instruction"], row["input"]) == (CHOICE["question"], "A. iron\nB. mercury")
    assert as_alpaca(OPEN)["input"] == ""


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_template_of_a_text_is_used_and_leaves_out_empty_parts(language):
    rows = [{**OPEN, "language": language, "id": f"{i}-0"} for i in range(200)]
    texts = {as_text(row)["text"].replace(row["question"], "?").replace("mercury", "!") for row in rows}
    assert len(texts) == len(TEXTS[language])
    for text in texts:
        assert "{" not in text
        assert all(line.strip() for line in text.splitlines())
        assert "!" in text


def test_braces_in_a_text_are_kept():
    row = {**OPEN, "question": r"What is \frac{a}{b}?", "answer": "{x}"}
    assert r"\frac{a}{b}" in as_text(row)["text"]
    assert "{x}" in as_text(row)["text"]
