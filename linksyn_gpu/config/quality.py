"""Settings of the rule checks of QA: the table `[checks]`."""

from __future__ import annotations

from dataclasses import dataclass, fields

from linksyn_gpu.config.checks import each_of, require

CHECKS = (
    *("empty_question", "empty_answer", "control_characters", "placeholder", "echo_of_prompt", "degenerate"),
    *(
        "wrong_language",
        "mixed_languages",
        "refusal",
        "options_in_question",
        "cut_text",
        "too_short",
        "implausible_length",
    ),
    *("missing_options", "empty_option", "duplicate_options", "answer_not_in_options", "catch_all_option"),
    *("answer_is_label", "answer_is_question", "answer_given_away", "private_data", "markup", "unbalanced"),
    *("not_self_contained", "several_questions", "asks_nothing", "no_number", "answers_disagree", "unrelated_answer"),
)
"""Names of the checks, which are also the reasons of their drops."""


@dataclass(frozen=True)
class ChecksConfig:
    """Thresholds of the rule checks. A length counts words and numbers, and each Chinese character as one."""

    off: tuple[str, ...] = ()
    """Checks that are left out, by name."""
    min_question: int = 4
    """Shortest question of an English text that contains nothing that asks, in words; with options half of it."""
    min_question_zh: int = 5
    """The same for Chinese, in characters."""
    min_stem: int = 8
    """Shortest statement in English that is a question if it has options, in words."""
    max_question: int = 1200
    """Longest question."""
    max_option: int = 150
    """Longest option."""
    max_answer: int = 3000
    """Longest answer, and longest explanation."""
    min_proof: int = 8
    """Shortest answer to a proof."""
    min_case_answer: int = 5
    """Shortest answer to a case."""
    min_prose: int = 14
    """A text of at least so many words whose last sentence has no end was cut off."""
    loop_share: float = 1 / 3
    """Share of a text that a repeated passage makes up at least, if the text is degenerate."""
    distinct_share: float = 0.25
    """A long text is degenerate if fewer of its word sequences are distinct."""
    min_noise: int = 4
    """Fewest words without a vowel in a text that is noise."""
    min_language: int = 12
    """Shortest answer or explanation whose language is judged, in characters."""
    max_chinese_in_english: int = 3
    """Most Chinese characters in an English sentence, outside brackets and quotation marks."""
    max_english_in_chinese: int = 4
    """Most English words in a Chinese sentence, outside brackets, quotation marks and formulas."""
    max_questions: int = 4
    """Most question marks in a question."""
    min_standalone: int = 4
    """Fewest words of the subject that a question has if it counts as one of several."""
    passage: int = 60
    """A question of at least so many words may contain the passage that it speaks of."""
    min_given_away: int = 25
    """Shortest answer that must not stand in the question word by word, in characters."""
    min_related: int = 12
    """Fewest different words of the subject in an answer and its explanation that must share one with the question."""
    min_similarity: float = 0.0
    """Least cosine of the vectors of question and answer, where vectors are configured."""

    def __post_init__(self) -> None:
        each_of("off", self.off, "a check", CHECKS)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("loop_share", "distinct_share"):
                require(0.0 < value <= 1.0, f"{field.name} = {value} must be in (0, 1]")
            elif field.name == "min_similarity":
                require(-1.0 <= value <= 1.0, f"min_similarity = {value} must be in -1 .. 1")
            elif field.name != "off":
                require(value >= 0, f"{field.name} = {value} must not be negative")
