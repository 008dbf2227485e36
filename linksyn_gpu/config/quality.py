"""Settings of the rule checks of QA: the table `[checks]`."""

from __future__ import annotations

from dataclasses import dataclass

from linksyn_gpu.config.checks import each_of, require

CHECKS = (
    *("empty_question", "empty_answer", "cut_text", "control_characters", "placeholder", "echo_of_prompt", "markup"),
    *("unbalanced", "degenerate", "refusal", "wrong_language", "mixed_languages", "too_short", "implausible_length"),
    *("asks_nothing", "several_questions", "not_self_contained", "options_in_question", "missing_options"),
    *("empty_option", "duplicate_options", "answer_not_in_options", "catch_all_option", "answer_is_label"),
    *("answer_is_question", "answer_given_away", "no_number", "answers_disagree", "unrelated_answer"),
)
"""Names of the checks, which are also the reasons of their drops."""


@dataclass(frozen=True)
class ChecksConfig:
    """Thresholds of the rule checks. A length counts words, and each Chinese character as one."""

    off: tuple[str, ...] = ()
    """Checks that are left out, by name."""
    min_question: int = 4
    """Shortest question of an English text that contains nothing that asks, in words; with options half of it."""
    min_question_zh: int = 5
    """The same for Chinese, in characters."""

    def __post_init__(self) -> None:
        each_of("off", self.off, "a check", CHECKS)
        for name in ("min_question", "min_question_zh"):
            require(getattr(self, name) >= 1, f"{name} = {getattr(self, name)} must be at least 1")
