"""Rule checks of single QA items: keep, or a reason. Cheap and deterministic, without a model."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from linksyn_gpu.quality.options import by_letter, fold, match_option, plain_answer
from linksyn_gpu.quality.repetition import repetition
from linksyn_gpu.tables import Asked, Item, cut_field
from linksyn_gpu.text import CJK
from linksyn_gpu.text.languages import WORD, other_language
from linksyn_gpu.text.words import word_list

REASONS = {
    "empty_question": "the question is empty",
    "empty_answer": "the answer is empty or only punctuation",
    "cut_text": "the question, the answer or an option is as long as the schema allows: it was cut off",
    "echo_of_prompt": "a text repeats a passage of the prompt or its schema, or is a placeholder",
    "degenerate": "a text repeats itself: the same words in a row, or few distinct word sequences",
    "wrong_language": "the question is not in the language asked for",
    "too_short": "the question has no subject, or is a few words without a question or task",
    "missing_options": "a multiple choice question with fewer than two options",
    "empty_option": "an option has no text",
    "duplicate_options": "two options are the same",
    "answer_not_in_options": "the answer names none of the options, or several",
    "answer_is_question": "the answer only repeats the question",
    "repeats_seed": "the question is the same as a seed's (with options: and the options or the right option too)",
    "repeats_batch": "the question was already asked by an earlier item of this run (same comparison)",
}
"""Every reason a check gives, in the order of the checks."""
COMPARED = ["question", "options", "answer"]
"""Columns of seeds and of new QA that decide whether a question is a repeat."""

MIN_WORDS = 4
MIN_CJK = 5
"""Fewest words or Chinese characters of a question that contains nothing that asks: a title is not a question."""
MIN_STEM = 2
"""Fewest words and Chinese characters of a question with options."""
ASKING = frozenset(
    word_list(
        "what which who whose when where why how is are was were do does did can could should would will has have "
        "choose select explain describe discuss define find solve calculate compute determine evaluate simplify factor "
        "prove show give state name identify list complete compare"
    )
)
"""Words that ask or give a task."""
FILLING = frozenset(
    word_list(
        "an the of in on to for by with from and or so as be not that this these those it its they he she we you your "
        "one please following above below correct right wrong true false statement statements option options answer "
        "question"
    )
)
"""Other words that do not name a subject."""
ASKING_CJK = re.compile(
    "为什么|什么|怎[么样]|如何|何[为谓]|哪[个些项种里]?|多少|几|是否|吗|呢|请|求解?|计算|证明|解释?|说明|简述|回答|[是为]"
)
FILLING_CJK = re.compile("问题?|答案?|题目?|下列|下面|以下|说法|叙述|选项|正确|错误|原因|这样|[不的有它其这那会]")
"""The same in Chinese."""
ALPHANUMERIC = re.compile(r"[^\W_]+")
BLANK = re.compile(r"_{2,}|[(（]\s*[)）]")
FORMULA_SIGN = re.compile(r"[=<>≤≥≠≈+×÷√∫∑^→⟶]|\\[A-Za-z]{2}")
ECHO_WORDS = 8
ECHO_CJK = 14
"""A passage of this many words or Chinese characters is not in the prompts by chance."""
PASSAGE = re.compile(f"{CJK.pattern}{{{ECHO_CJK},}}")
ECHOES = re.compile(
    r"</?data>|\"qa\"|knowledge_points|\bwrite \d+ new questions?\b|知识点路径|只是参考数据|已解题目"
    r"|\b(?:based on|according to|from|using|like|unlike) the (?:solved questions?|reference data)\b"
    r"|\bknowledge points? (?:of|on|from|in) the (?:path|data)\b",
    re.IGNORECASE,
)
"""Markup and phrases of the prompts that exam questions do not contain."""
PLACEHOLDER = re.compile(
    r"\W{0,3}(?:your|insert|insert the|insert your) (?:NAME)(?: text)?(?: goes)?(?: here)?\W{0,3}"
    r"|\W{0,3}(?:the |new )?(?:NAME)(?: text)?(?: goes)? here\W{0,3}|[<\[{]+ *(?:NAME) *[>\]}]+".replace(
        "NAME", "question|answer|explanation|option"
    ),
    re.IGNORECASE,
)
"""A whole text that is a placeholder: "The answer goes here", "<answer>"."""
PUNCTUATION = frozenset(".,;:!?…\"'()[]{}_-–—~。，、；：！？“”‘’（）【】《》")
LAYOUT = re.compile(r"[\s$~_]+")
STOPS = re.compile(r"\(\)|[,.:;!?、。](?!\d)")
"""Together with `LAYOUT`: what may differ between two copies of one question (white space, "$", blanks, stops)."""
OTHER_OPTIONS = re.compile(r"\b(?:above|these|them|other|others)\b|以上|上述|其他", re.IGNORECASE)
"""An option that refers to the others: "all of the above"."""


def _digest(*parts: str) -> int:
    """64-bit hash of some texts."""
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(errors="replace"), digest_size=8).digest())


class DigestSet:
    """A set of digests at 8 bytes each: a sorted array, and a small set of new ones that are merged into it later."""

    MERGE_AT = 2**14
    """The new digests are merged when there are this many, or a sixteenth of the array if that is more."""

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
        """Add a digest; False if it is there already."""
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
    """Checks items one after the other and remembers the questions of those that pass.

    Parameters
    ----------
    seeds, earlier : iterable of mapping
        Rows with the columns `COMPARED` that no new item may repeat: seeds, and what this run has already.
        The checker keeps 8 bytes per question, 24 per multiple choice question.
    instructions : str
        Fixed text of the prompts, which no item may repeat.
    """

    def __init__(
        self, seeds: Iterable[Mapping[str, Any]] = (), instructions: str = "", earlier: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        self._seeds, self._seen = (
            DigestSet(key for row in rows for key in _keys(row["question"], row["options"] or (), row["answer"])[1])
            for rows in (seeds, earlier)
        )
        self._instructions = frozenset(_grams(instructions))

    def check(self, item: Item, asked: Asked) -> tuple[str, str] | None:
        """Why the item is dropped, as (reason, detail); None: it is kept.

        A later item with the same question as a kept one is 'repeats_batch'.
        """
        return (
            _check_text(item, asked)
            or self._check_echo(item)
            or _check_degenerate(item)
            or _check_language(item, asked)
            or _check_subject(item)
            or _check_options(item, asked)
            or self._check_repeats(item)
        )

    def _check_echo(self, item: Item) -> tuple[str, str] | None:
        for text in (item.question, item.answer):
            if match := ECHOES.search(text) or PLACEHOLDER.fullmatch(text):
                return "echo_of_prompt", match.group(0)
        for text in (item.question, item.answer, item.explanation):
            if shared := next((gram for gram in _grams(text) if gram in self._instructions), None):
                return "echo_of_prompt", " ".join(shared)
        return None

    def _check_repeats(self, item: Item) -> tuple[str, str] | None:
        if fold(item.answer) == fold(item.question):
            return "answer_is_question", item.answer[:80]
        same, own = _keys(item.question, item.options, item.answer)
        for reason, known in (("repeats_seed", self._seeds), ("repeats_batch", self._seen)):
            if any(key in known for key in same):
                return reason, item.question[:80]
        for key in own:
            self._seen.add(key)
        return None


def _keys(question: str | None, options: Sequence[str], answer: str | None) -> tuple[list[int], list[int]]:
    """Digests of what this question would repeat, and digests by which later questions find it.

    Two questions with options are the same if they have the same stem and the same options or right option: the stem
    alone may be "Which statement is correct?". If one of two questions has no options, the stem decides.
    """
    stem = STOPS.sub("", LAYOUT.sub("", fold(question or "")))
    alone, with_options = _digest(stem), _digest(stem, "options")
    if not options:
        return [alone, with_options], [alone]
    texts = [plain_answer(text) for text in by_letter(options).values()]
    keys = [_digest(stem, "options", *sorted(texts))]
    right = match_option(answer or "", options)
    if right is not None and not OTHER_OPTIONS.search(texts[right]):
        keys.append(_digest(stem, "answer", texts[right]))
    return [alone, *keys], [with_options, *keys]


def _check_text(item: Item, asked: Asked) -> tuple[str, str] | None:
    if not item.question:
        return "empty_question", ""
    # Signs without any punctuation are an answer: "+", "∅", "≥".
    says_nothing = not any(map(str.isalnum, item.answer)) and not PUNCTUATION.isdisjoint(item.answer)
    if not item.answer or (says_nothing and item.answer not in item.options):
        return "empty_answer", item.answer[:80]
    if asked.limits is not None and (field := cut_field(item, asked.limits)):
        return "cut_text", field
    return None


def _check_subject(item: Item) -> tuple[str, str] | None:
    """Drop a question without a subject, and a title: a few words, none of which asks. Options count as a subject."""
    short = "too_short", item.question[:80]
    if FORMULA_SIGN.search(item.question):
        return None
    ideographs = "".join(CJK.findall(item.question))
    words = ALPHANUMERIC.findall(CJK.sub(" ", item.question).casefold())
    if item.options:
        return short if len(ideographs) + len(words) < MIN_STEM else None
    named = [word for word in words if word not in ASKING | FILLING and (len(word) > 1 or word.isdigit())]
    if not named and not FILLING_CJK.sub("", ASKING_CJK.sub("", ideographs)):
        return short
    asks = not ASKING.isdisjoint(words) or ASKING_CJK.search(ideographs) or BLANK.search(item.question)
    return None if asks or len(words) >= MIN_WORDS or len(ideographs) >= MIN_CJK else short


def _check_degenerate(item: Item) -> tuple[str, str] | None:
    for text in (item.question, item.answer, item.explanation):
        if repeated := repetition(text):
            return "degenerate", repeated
    return None


def _check_language(item: Item, asked: Asked) -> tuple[str, str] | None:
    other = other_language(item.question, asked.language)
    return None if other is None else ("wrong_language", other)


def _check_options(item: Item, asked: Asked) -> tuple[str, str] | None:
    if asked.question_type != "multiple_choice":
        return None
    if len(item.options) < 2:
        return "missing_options", f"{len(item.options)} options"
    texts = [plain_answer(text) for text in by_letter(item.options).values()]
    if not all(texts):
        return "empty_option", f"option {texts.index('') + 1}"
    if len(set(texts)) < len(texts):
        return "duplicate_options", Counter(texts).most_common(1)[0][0][:80]
    if match_option(item.answer, item.options) is None:
        return "answer_not_in_options", item.answer[:80]
    return None


def _grams(text: str) -> Iterator[tuple[str, ...]]:
    """Each sequence of `ECHO_WORDS` words or `ECHO_CJK` Chinese characters; they identify a copied passage."""
    yield from _windows(WORD.findall(CJK.sub(" ", fold(text))), ECHO_WORDS)
    for passage in PASSAGE.findall(text):
        yield from _windows(passage, ECHO_CJK)


def _windows(tokens: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[start:] for start in range(size)), strict=False)
