"""Rule checks on single QA items: keep, or a reason. Cheap, deterministic, and free of any model."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from linksyn_gpu.synthesis.answers import Item
from linksyn_gpu.text import CJK

REASONS = {
    "empty_question": "the question is empty",
    "empty_answer": "the answer is empty, or holds no letter, digit or symbol of a formula",
    "cut_text": "the question, the answer or an option fills all the room that the schema allowed, so was cut off",
    "too_short": "the question is too short to be one",
    "echo_of_prompt": "the question or answer repeats words of the prompt or its schema",
    "degenerate": "a text repeats itself",
    "wrong_language": "the question is not in the language asked for",
    "missing_options": "a multiple choice question with fewer than two options",
    "empty_option": "an option has no text",
    "duplicate_options": "two options are the same",
    "answer_not_in_options": "the answer names none of the options, or several",
    "answer_is_question": "the answer only repeats the question",
    "repeats_seed": "the question is that of a seed",
    "repeats_batch": "the question was already asked by an earlier item of this run",
}
"""Every reason a check gives, in the order of the checks."""

MIN_WORDS = 4
MIN_CJK = 5
ECHO_WORDS = 8
ECHO_CJK = 14
# What small models hand back of a prompt and its schema instead of a question; none of it belongs in an exam.
ECHOES = re.compile(
    r"</?data>|\"(?:qa|knowledge_points)\"|knowledge_points|\bwrite \d+ new questions?\b|\bsolved questions\b"
    r"|\bknowledge points? (?:of|on|from|in) the (?:path|data)\b|\breference data,"
    r"|\b(?:your|the) (?:question|answer|explanation) (?:goes )?here\b|知识点路径|只是参考数据|已解题目",
    re.IGNORECASE,
)
LATEX = re.compile(r"\$[^$]*\$|\\[a-zA-Z]+|\{[^{}]*\}")
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
LABEL = re.compile(r"^\s*[(（]?([A-Ha-h])[)）.．:：、]\s*")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the item was asked to be."""

    question_type: str
    language: str
    limits: Mapping[str, int] | None = None
    """The schema's bound on each text, as `prompts.text_limits` gives them; None: none."""


def fold(text: str) -> str:
    """The form in which texts are compared: NFKC, case folded, each run of white space one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def digest(text: str) -> int:
    """64 bits that stand for a folded text."""
    return int.from_bytes(hashlib.blake2b(fold(text).encode(errors="replace"), digest_size=8).digest())


class DigestSet:
    """Digests at 8 bytes each: a sorted array, and a small set of the newest until they are merged into it."""

    MERGE_AT = 2**14
    """Newest digests that are merged at the earliest; a sixteenth of the array when that is more."""

    def __init__(self, digests: Iterable[int] = ()) -> None:
        self._sorted = np.unique(np.fromiter(digests, np.uint64))
        self._newest: set[int] = set()

    def __len__(self) -> int:
        return self._sorted.size + len(self._newest)

    def __contains__(self, key: int) -> bool:
        if key in self._newest:
            return True
        at = self._sorted.searchsorted(np.uint64(key))
        return bool(at < self._sorted.size and self._sorted[at] == key)

    def add(self, key: int) -> bool:
        """Put a digest in; False where it is there already."""
        if key in self:
            return False
        self._newest.add(key)
        if len(self._newest) >= max(self.MERGE_AT, self._sorted.size // 16):
            merged = np.concatenate([self._sorted, np.fromiter(self._newest, np.uint64, len(self._newest))])
            merged.sort()
            self._sorted = merged
            self._newest.clear()
        return True


class Checker:
    """Checks items one after the other and remembers their questions.

    Parameters
    ----------
    seed_questions : iterable of str
        Questions that no new one may repeat; kept as 8 bytes each.
    instructions : str
        Fixed text of the prompts, which no item may repeat.
    earlier_questions : iterable of str
        Questions that this run has already; kept as 8 bytes each.
    """

    def __init__(
        self, seed_questions: Iterable[str] = (), instructions: str = "", earlier_questions: Iterable[str] = ()
    ) -> None:
        self._seeds = DigestSet(digest(text) for text in seed_questions)
        self._seen = DigestSet(digest(text) for text in earlier_questions)
        self._instructions = _grams(instructions)

    def check(self, item: Item, asked: Asked) -> tuple[str, str] | None:
        """Why the item is not kept, as (reason, detail); None when it is kept.

        A kept question is remembered: an equal one that comes later is 'repeats_batch'.
        """
        found = (
            _check_text(item, asked)
            or self._check_echo(item)
            or _check_degenerate(item)
            or _check_language(item, asked)
            or _check_options(item, asked)
        )
        if found is not None:
            return found
        if fold(item.answer) == fold(item.question):
            return "answer_is_question", item.answer[:80]
        key = digest(item.question)
        if key in self._seeds:
            return "repeats_seed", item.question[:80]
        if not self._seen.add(key):
            return "repeats_batch", item.question[:80]
        return None

    def _check_echo(self, item: Item) -> tuple[str, str] | None:
        for text in (item.question, item.answer):
            if match := ECHOES.search(text):
                return "echo_of_prompt", match.group(0)
        for text in (item.question, item.answer, item.explanation):
            if shared := _grams(text) & self._instructions:
                return "echo_of_prompt", min(shared)
        return None


def _check_text(item: Item, asked: Asked) -> tuple[str, str] | None:
    if not item.question:
        return "empty_question", ""
    if not any(c.isalnum() or unicodedata.category(c) in ("Sm", "So") for c in item.answer.strip("+=<>|~ ")):
        return "empty_answer", ""
    if asked.limits is not None and (field := cut_field(item, asked.limits)):
        return "cut_text", field
    cjk = len(CJK.findall(item.question))
    if cjk < MIN_CJK and len(item.question.split()) < MIN_WORDS:
        return "too_short", item.question
    return None


def cut_field(item: Item, limits: Mapping[str, int]) -> str | None:
    """Name of a text that fills the room its schema gave it, so was cut in mid-sentence; None when there is none.

    The explanation does not count: a QA is whole without it (see `without_cut_explanation`).
    """
    texts = {"question": (item.question,), "answer": (item.answer,), "options": item.options}
    for field, values in texts.items():
        if any(_fills(text, limits[field]) for text in values):
            return field
    return None


def without_cut_explanation(item: Item, limits: Mapping[str, int] | None) -> Item:
    """The item itself, or with an empty explanation where the schema's bound cut it off."""
    if limits is None or not _fills(item.explanation, limits["explanation"]):
        return item
    return replace(item, explanation="")


def _fills(text: str, room: int) -> bool:
    return len(text) >= room - 2  # stripping may have taken a blank or two off


def _check_degenerate(item: Item) -> tuple[str, str] | None:
    for text in (item.question, item.answer, item.explanation):
        if repeated := _repetition(text):
            return "degenerate", repeated
    return None


def _repetition(text: str) -> str | None:
    """An n-gram that covers most of a text or follows itself many times; None when there is none."""
    cjk = CJK.findall(text)
    tokens = cjk if len(cjk) > len(text) // 3 else fold(text).split()
    if len(tokens) < 12:
        return None
    for size in (1, 2, 3, 4, 6, 8):
        grams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
        run = [1] * len(grams)
        for i in range(size, len(grams)):
            if grams[i] == grams[i - size]:
                run[i] = run[i - size] + 1
                if run[i] * size >= max(12, len(tokens) // 3) and run[i] >= 3:
                    return " ".join(grams[i])
    counts = Counter(zip(*(tokens[i:] for i in range(4)), strict=False))
    total = counts.total()
    if total >= 40 and 2 * len(counts) < total:
        return " ".join(counts.most_common(1)[0][0])
    return None


def _check_language(item: Item, asked: Asked) -> tuple[str, str] | None:
    # Formulas and Latin names are no words of a language.
    prose = LATEX.sub(" ", item.question)
    cjk = len(CJK.findall(prose))
    words = len(WORD.findall(CJK.sub(" ", prose)))
    if asked.language == "zh":
        return ("wrong_language", "not Chinese") if cjk < 3 * words and cjk < 12 else None
    if cjk > words:
        return "wrong_language", "Chinese"
    foreign = [word for word in WORD.findall(prose) if not unicodedata.name(word[0], "").startswith("LATIN")]
    greek = sum(unicodedata.name(word[0], "").startswith("GREEK") and len(word) == 1 for word in foreign)
    return ("wrong_language", foreign[0]) if 2 * (len(foreign) - greek) > words else None


def _check_options(item: Item, asked: Asked) -> tuple[str, str] | None:
    if asked.question_type != "multiple_choice":
        return None
    if len(item.options) < 2:
        return "missing_options", f"{len(item.options)} options"
    folded = [_plain(split_label(option)[1]) for option in item.options]
    if not all(folded):
        return "empty_option", f"option {folded.index('') + 1}"
    if len(set(folded)) < len(folded):
        return "duplicate_options", next(text for text in folded if folded.count(text) > 1)[:80]
    if match_option(item.answer, item.options) is None:
        return "answer_not_in_options", item.answer[:80]
    return None


def split_label(option: str) -> tuple[str | None, str]:
    """Part 'B. text' into ('B', 'text'); without a label (None, text)."""
    match = LABEL.match(option)
    if match is None:
        return None, option.strip()
    return match.group(1).upper(), option[match.end() :].strip()


def match_option(answer: str, options: tuple[str, ...]) -> int | None:
    """Which option an answer names, by its whole text or by its letter; None when none or not one alone."""
    labels = [split_label(option)[0] for option in options]
    texts = [_plain(split_label(option)[1]) for option in options]
    for candidate in (_plain(answer), _plain(split_label(answer)[1])):
        if candidate and texts.count(candidate) == 1:
            return texts.index(candidate)
    bare = re.fullmatch(r"(?:the answer is |answer:? |option |答案是?)?[(（]?([a-h])[)）]?", _plain(answer))
    if bare is None:
        return None
    letter = bare.group(1).upper()
    if all(labels):
        return labels.index(letter) if labels.count(letter) == 1 else None
    at = ord(letter) - ord("A")
    return at if at < len(options) else None


def _plain(text: str) -> str:
    return fold(text).rstrip(" .。:：").strip()


def _grams(text: str) -> set[str]:
    """Long runs of words, or of Chinese characters, by which a copied passage is known."""
    words = WORD.findall(CJK.sub(" ", fold(text)))
    grams = {" ".join(words[i : i + ECHO_WORDS]) for i in range(len(words) - ECHO_WORDS + 1)}
    for passage in re.findall(rf"(?:{CJK.pattern}){{{ECHO_CJK},}}", text):
        grams |= {passage[i : i + ECHO_CJK] for i in range(len(passage) - ECHO_CJK + 1)}
    return grams
