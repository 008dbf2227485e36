"""Checks of the question: what it asks, and whether it can be understood alone."""

from __future__ import annotations

import re

from linksyn_gpu.quality.checks.row import Row, length
from linksyn_gpu.text import CJK_RANGES
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
        "an the of in on to for by with from and or so as be not that this these those it its they he she we you "
        "your one please following above below correct right wrong true false statement statements option options "
        "answer question"
    )
)
"""Other words that do not name a subject."""
ASKING_CJK = re.compile(
    "为什么|什么|怎[么样]|如何|何[为谓]|哪[个些项种里]?|多少|几|是否|吗|呢|请|求解?|计算|证明|解释?|说明|简述|回答|[是为]"
)
FILLING_CJK = re.compile("问题?|答案?|题目?|下列|下面|以下|说法|叙述|选项|正确|错误|原因|这样|[不的有它其这那会]")
"""The same in Chinese."""
BLANK = re.compile(
    r"_{2,}|[(（][\s~]*[)）]|\\_|\\(?:uline|underline)\b|\\(?:blank|square|Box|boxed)\b|□|\.{4,}|…{2}|~{2,}"
)
"""A blank to fill in."""
FORMULA_SIGN = re.compile(r"[=<>≤≥≠≈+×÷√∫∑^→⟶]|\\[A-Za-z]{2}")


def empty_question(row: Row) -> str | None:
    """The question is empty."""
    return None if row.item.question else ""


def too_short(row: Row) -> str | None:
    """A question without a subject, or a title: a few words, none of which asks. Options count as a subject."""
    question, words, ideographs = row.item.question, row.words, row.ideographs
    if len(words) > MANY_WORDS or len(ideographs) > MANY_WORDS or FORMULA_SIGN.search(question):
        return None
    short = question[:80]
    if row.item.options:
        return short if len(ideographs) + len(words) < row.config.min_question // 2 else None
    named = [word for word in words if word not in ASKING | FILLING and (len(word) > 1 or word.isdigit())]
    if not named and not FILLING_CJK.sub("", ASKING_CJK.sub("", ideographs)):
        return short
    asks = not ASKING.isdisjoint(words) or ASKING_CJK.search(ideographs) or BLANK.search(question)
    long_enough = len(words) >= row.config.min_question or len(ideographs) >= row.config.min_question_zh
    return None if asks or long_enough else short


MANY_WORDS = 30
"""A question of more words than this has a subject."""

# ------------------------------------------------------------------------------------------------- asks nothing

_START = r"(?:^|\s{2,9}|[.!?;:。][)\"”']?\s{1,9}|\n)"
"""The start of a sentence."""
_CLAUSE = r"(?:[,，]\s{0,9}(?:and |then |or )?|\b(?:then|please|now) )"
"""The start of a clause that may give a task."""
_LABEL = r"(?:[a-zA-Z]{2,20}ly )?(?:\(?[a-zA-Z0-9]{1,4}[.):]\s{0,9}|[-*•]\s{0,9})?"
INTERROGATIVES = "what which who whom whose why how is are was were do does did can could should would will"
IMPERATIVES = (
    "account add analy[sz]e apply argue arrange assess assign assume balance build calculate change check choose "
    "circle cite classify comment compare complete compute conclude consider construct contrast convert correct count "
    "create critique deduce define demonstrate derive describe design determine develop diagram differentiate discuss "
    "distinguish divide draw elaborate estimate evaluate examine expand explain explore express extend factori?[sz]?e? "
    "fill find formulate generate generali[sz]e give graph identify illustrate imagine indicate infer integrate "
    "interpret investigate judge justify label let list locate make mark match measure model multiply name note open "
    "order outline perform pick place plan plot point predict prepare present propose prove provide put rank rate read "
    "rearrange recall recommend record reduce refer reflect relate repeat replace rewrite round say select sequence "
    "show simplify sketch solve sort specify split state subtract suggest summari[sz]e suppose synthesi[sz]e test "
    "think trace transform translate try use using verify write work"
)
_TASKS = "|".join(word_list(IMPERATIVES))
ASKS = re.compile(
    f"{_START}{_LABEL}(?:{'|'.join(word_list(INTERROGATIVES))}|{_TASKS})\\b|{_CLAUSE}(?:{_TASKS}|what|how|why)\\b",
    re.IGNORECASE,
)
"""An interrogative or imperative at the start of a sentence or clause."""
TRUE_FALSE = re.compile(r"\btrue\b.{0,12}\bfalse\b|\bstatement (?:\d|I)|判断|对错|正误", re.IGNORECASE)
JUDGEMENT = re.compile(r"(?:[A-H]\W+)?(?:true|false|对|错|正确|错误|√|×)\W*", re.IGNORECASE)
"""The answer to a statement that is to be judged."""
_TASKS_CJK = (
    "求(?!得)|计算|证明|解释|说明|简述|回答|分析|比较|写出|指出|化简|解方程|解不等式|列举|论述|填|选|画出|描述|讨论|概括|归纳|谈谈|评价"
    "|阐述|推导|判断|设计|补充|改正|完成|翻译|举例|给出|列出|找出|确定|试[述析论说比]"
)
_BEGIN_CJK = r"(?:^|[，,。．；;：:、！!\s$）)】])"
ASKS_CJK = re.compile(
    "[?？]|什么|怎[么样]|如何|何[为谓时处种以]|为何|哪|多少|几[^何乎]|是否|吗|呢|能否|可否|请"
    f"|{_BEGIN_CJK}(?:(?:试|并|再|则|[从用以就对按]|试?(?:根据|结合|运用|利用|依据))[^，。；]{{0,24}})?(?:{_TASKS_CJK})"
    r"|(?:[是为有共=]|等于|不可能|正确的|错误的)\W{0,12}$"
)
OPEN_END = re.compile(r"[:：=]\s*\W{0,4}$|:\s*\n")


def asks_nothing(row: Row) -> str | None:
    """No question mark, interrogative, imperative or blank; options may complete an unfinished or long statement."""
    question = row.item.question
    if "?" in question or "？" in question or BLANK.search(question) or OPEN_END.search(question):
        return None
    if JUDGEMENT.fullmatch(row.item.answer) or JUDGEMENT.fullmatch(row.item.options[0] if row.item.options else ""):
        return None
    if ASKS_CJK.search(question) if row.chinese else ASKS.search(question) or TRUE_FALSE.search(question):
        return None
    if row.item.options and (row.chinese or not question.endswith(".") or len(row.words) >= row.config.min_stem):
        return None  # an unfinished statement, or one whose term the options name
    return None if row.asked.question_type == "calculation" and FORMULA_SIGN.search(question) else question[:80]


# ------------------------------------------------------------------------------------------------- several questions

_MARK = re.compile("[?？]")
_CONTENT = re.compile(rf"[a-z]{{4,}}|[{CJK_RANGES}]{{2}}")


def several_questions(row: Row) -> str | None:
    """More questions than allowed, or two that have no word in common."""
    question = row.item.question
    marks = question.count("?") + question.count("？")
    if marks < 2:
        return None
    if marks > row.config.max_questions:
        return f"{marks} questions"
    if row.ideographs and len(row.words) > len(row.ideographs) // 4:
        return None  # the same question in two languages
    contents = [_content(part) for part in _MARK.split(question)[:-1]]
    long = [words for words in contents if len(words) >= row.config.min_standalone]
    if len(contents) < MIN_SEVERAL:
        return None
    alone = sum(not any(len(words & other) >= MIN_SHARED for other in contents if other is not words) for words in long)
    return f"{alone} questions on different subjects" if alone >= 2 else None


MIN_SEVERAL = 3
"""Of two questions, the second often asks for a conclusion and shares no word with the first."""
MIN_SHARED = 2
"""Words that a question shares with another if it belongs to it."""


def _content(text: str) -> frozenset[str]:
    """Words that name the subject, by their first letters, so that "force" is "forces"."""
    return frozenset(word[:5] for word in _CONTENT.findall(text.casefold()) if word not in COMMON)


COMMON = frozenset(
    word_list(
        "what which who whose when where why how does following this that these those there their they them from with "
        "have been were will would could should than then into about each other same many much most more some such "
        "between after before also only your answer question correct true false statement best "
        "什么 多少 哪个 哪些 下列 一个 这个 可以 正确 如果"
    )
)

# ------------------------------------------------------------------------------------------------- not self-contained

_TEXTS = "passage|text|article|paragraph|excerpt|story|essay|reading|case study|dialogue|conversation"
_FIGURES = "figure|diagram|graph|picture|image|chart|illustration|photo|photograph|drawing|map"
PASSAGE = re.compile(
    rf"\b(?:{_TEXTS}) (?:above|below)\b|\b(?:above|previous|given|preceding|following) (?:{_TEXTS})\b"
    rf"|\b(?:according to|based on|from|stated in|mentioned in|described in|in|read) (?:the|this) (?:{_TEXTS})\b",
    re.IGNORECASE,
)
PASSAGE_CJK = re.compile(
    "(?:根据|阅读|由|从|结合|依据)(?:上述|以上|上面|下面|下列|所给|给出的)?的?(?:短文|材料|文章|课文|段落|文段|资料)"
    "|上文|上述(?:材料|短文|文章|段落)"
)
FIGURE = re.compile(
    rf"\b(?:{_FIGURES}|table) (?:above|below|shown|on the right|on the left|at (?:the )?right|provided)\b"
    rf"|\b(?:above|following|previous|given) (?:{_FIGURES})\b|\b(?:see|shown in|refer to) (?:the )?(?:{_FIGURES})\b"
    r"|\bin (?:the|this) (?:figure|diagram|picture|image|photo|photograph|illustration|drawing)\b"
    r"|\bas shown (?:below|above)\b",
    re.IGNORECASE,
)
FIGURE_CJK = re.compile("如[左右上下]?图|[上下左右]图|图中|见图|如[上下]?表|[上下]表|图所示")
OTHERS = re.compile(
    r"\b(?:previous|preceding|earlier|above|last|seed|solved|reference|example|other|given) "
    r"(?:questions?|problems?|exercises?)\b"
    r"|\b(?:answer to|result of|result from|in|from|like|using|see|of) (?:question|problem|exercise) #?\d+\b"
    r"|\bthe (?:reference|seed) data\b|\bknowledge (?:points? )?path\b|\bquestions? above\b",
    re.IGNORECASE,
)
OTHERS_CJK = re.compile(
    r"第\s*\d+\s*题|上一?[道个]?题|前一?[道个]?题|前面的?题|种子(?:题|问题)|参考数据(?![:：])|知识点?路径|已解题"
)
OF_CONTEST = re.compile(r"\b(?:level|paper|amc|contest|olympiad|competition|kangaroo|adapted)\b", re.IGNORECASE)
DEICTIC = re.compile(
    r"\b(?:solve|answer) (?:this|the) (?:problem|question)\b|\bbetween the two\W{0,3}$"
    r"|\banswer to (?:this|the) question\b",
    re.IGNORECASE,
)
SEVERAL_SENTENCES = re.compile(r"[.!?;:。；：]\s|\n")
"""What a question of a single sentence cannot speak of."""
REFERS = re.compile(
    r"\b(?:seed|solved) questions?\b|\bthe (?:reference|seed) data\b|\bknowledge (?:points? )?path\b"
    rf"|\b(?:answer to|see) question \d+\b|\b(?:see|refer to) the (?:{_TEXTS}|{_FIGURES})\b"
    rf"|\b(?:{_TEXTS}|{_FIGURES}) (?:above|below)\b",
    re.IGNORECASE,
)
REFERS_CJK = re.compile("种子题|参考数据(?![:：])|知识点?路径|已解题目|见[上下]?[图表]")
PASSAGE_WORDS = frozenset(word_list(_TEXTS.replace("|", " ")))
FIGURE_WORDS = frozenset(word_list(_FIGURES.replace("|", " ") + " table shown"))
OTHERS_WORDS = frozenset(word_list("question questions problem problems exercise exercises data path"))
"""Words of which each match of the English patterns contains one."""
FOLLOWS = re.compile("follow|below|this|下", re.IGNORECASE)


def not_self_contained(row: Row) -> str | None:
    """A text speaks of a passage, a figure, another question or the prompt, which a reader does not have.

    A long question may contain its passage, and one with a table its figures.
    """
    question, used = row.item.question, row.vocabulary
    passages, figures, others = (not used.isdisjoint(each) for each in (PASSAGE_WORDS, FIGURE_WORDS, OTHERS_WORDS))
    chinese = not question.isascii()
    for wanted, pattern in ((others, OTHERS), (chinese, OTHERS_CJK)):
        if wanted and (match := pattern.search(question)) and not OF_CONTEST.search(question):
            return match[0]
    for wanted, pattern in ((figures, FIGURE), (chinese, FIGURE_CJK)):
        if wanted and (match := pattern.search(question)) and "|" not in question and "[image" not in question:
            return match[0]
    for wanted, pattern in ((passages, PASSAGE), (chinese, PASSAGE_CJK)):
        if wanted and (match := pattern.search(question)):
            # At the beginning, it cannot speak of a passage that stands before it.
            at_start = match.start() < AT_START and not FOLLOWS.search(match[0])
            if at_start or length(question) < row.config.passage:
                return match[0]
    if (match := DEICTIC.search(question)) and not SEVERAL_SENTENCES.search(question):
        return match[0]
    for _, text in row.texts[1:]:
        if (passages or figures or others) and (match := REFERS.search(text)):
            return match[0]
        if not text.isascii() and (match := REFERS_CJK.search(text)):
            return match[0]
    return None


AT_START = 20

# ------------------------------------------------------------------------------------------------- length


def implausible_length(row: Row) -> str | None:
    """A text is much longer than texts of its kind, or a proof or case answer is much shorter."""
    item, config = row.item, row.config
    if len(item.question) > config.max_question and (n := length(item.question)) > config.max_question:
        return f"question of {n} words"
    for option in item.options:
        if len(option) > config.max_option and (n := length(option)) > config.max_option:
            return f"option of {n} words"
    for name, text in row.texts[1:]:
        if len(text) > config.max_answer and (n := length(text)) > config.max_answer:
            return f"{name} of {n} words"
    least = {"proof": config.min_proof, "case": config.min_case_answer}.get(row.asked.question_type, 0)
    if least and len(item.answer) < 20 * least and (n := length(item.answer)) < least:
        return f"{row.asked.question_type} with an answer of {n} words"
    return None
