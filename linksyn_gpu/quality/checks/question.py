"""Checks of the question: what it asks, and whether it can be understood alone."""

from __future__ import annotations

import re

from linksyn_gpu.quality.checks.row import Row
from linksyn_gpu.text.words import word_list

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
BLANK = re.compile(r"_{2,}|[(（]\s*[)）]")
FORMULA_SIGN = re.compile(r"[=<>≤≥≠≈+×÷√∫∑^→⟶]|\\[A-Za-z]{2}")


def empty_question(row: Row) -> str | None:
    """The question is empty."""
    return None if row.item.question else ""


def too_short(row: Row) -> str | None:
    """A question without a subject, or a title: a few words, none of which asks. Options count as a subject."""
    question, words, ideographs = row.item.question, row.words, row.ideographs
    short = question[:80]
    if FORMULA_SIGN.search(question):
        return None
    if row.item.options:
        return short if len(ideographs) + len(words) < row.config.min_question // 2 else None
    named = [word for word in words if word not in ASKING | FILLING and (len(word) > 1 or word.isdigit())]
    if not named and not FILLING_CJK.sub("", ASKING_CJK.sub("", ideographs)):
        return short
    asks = not ASKING.isdisjoint(words) or ASKING_CJK.search(ideographs) or BLANK.search(question)
    long_enough = len(words) >= row.config.min_question or len(ideographs) >= row.config.min_question_zh
    return None if asks or long_enough else short
