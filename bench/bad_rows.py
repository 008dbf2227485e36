"""Rows that are bad on purpose: each kind damages a good row in one way, with a seeded random generator.

The kinds were written before the rules of `quality/checks`. Those with `held_out` were not looked at while the rules
were made: what is caught of them says how the rules do on faults that nobody had in mind.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Damage = Callable[[random.Random, Row, Sequence[Row]], Row | None]
"""(generator, good row, all good rows) -> bad row; None: the row does not fit this kind."""

EXAMPLES = Path(__file__).parents[1] / "examples" / "seeds.jsonl"
TRIES = 400
"""Good rows that are tried for one bad row."""


@dataclass(frozen=True)
class Kind:
    """One kind of bad rows."""

    name: str
    damage: Damage
    held_out: bool


KINDS: dict[str, Kind] = {}


def kind(damage: Damage) -> Damage:
    """Register a kind by the name of its function."""
    name = damage.__name__.removeprefix("held_")
    KINDS[name] = Kind(name, damage, damage.__name__ != name)
    return damage


def read_bank(path: Path) -> list[Row]:
    """The good rows of a file: seeds or benchmark items in the layout of `examples/seeds.jsonl`."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        seed = json.loads(line)
        rows.append(
            {
                "question": seed["question"].strip(),
                "options": [option.strip() for option in seed.get("options") or ()],
                "answer": seed["answer"].strip(),
                "explanation": (seed.get("analysis") or seed.get("explanation") or "").strip(),
                "language": seed["language"],
                "question_type": "multiple_choice" if seed.get("options") else "open",
                "discipline": seed.get("discipline"),
                "overlaps_seed": bool(seed.get("seed_overlap", {}).get("exact")),
            }
        )
    return rows


def bad_rows(good: Sequence[Row], n: int, seed: int = 0) -> dict[str, list[Row]]:
    """`n` bad rows of each kind, of different good rows where there are enough."""
    found = {}
    for name, each in KINDS.items():
        rng = random.Random(f"{name} {seed}")
        rows: list[Row] = []
        for row in _some(rng, good, TRIES * n) * n:
            if len(rows) == n:
                break
            if (bad := each.damage(rng, row, good)) is not None:
                rows.append({**row, **bad})
        found[name] = rows
    return found


# ------------------------------------------------------------------------------------------------- choosing good rows


def _some(rng: random.Random, rows: Sequence[Row], n: int) -> list[Row]:
    """`n` of the rows in random order; all if there are fewer."""
    return rng.sample(rows, min(n, len(rows)))


def _is(row: Row, kind: str | None = None, language: str | None = None) -> bool:
    return kind in (None, row["question_type"]) and language in (None, row["language"])


def _open(row: Row) -> Row | None:
    """The row as an open question: an open one, or a multiple choice one that can be asked without its options."""
    if not row["options"]:
        return dict(row)
    answer = re.sub(r"^[A-H]\. ", "", row["answer"])
    refers = re.search(
        r"following|which of|above|below|statement|下列|下面|以下|哪个|选项|正确的是", row["question"], re.IGNORECASE
    )
    asks = row["question"].rstrip().endswith(("?", "？"))
    if refers or not asks or re.search(r"above|以上", answer):
        return None
    return {**row, "options": [], "answer": answer, "question_type": "open"}


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in re.findall(r"[^.!?。！？．]{25,}[.。．](?=\s|$|[\u4e00-\u9fff])", text)]


def _words(text: str) -> list[str]:
    return text.split()


def _cut(rng: random.Random, text: str, language: str) -> str | None:
    """The text up to a place in the middle of its last sentence."""
    if language == "zh":
        if len(text) < 30:
            return None
        cut = text[: rng.randint(len(text) // 2, len(text) - 6)]
        return cut if re.search(r"[\u4e00-\u9fff]$", cut) else None
    words = _words(text)
    if len(words) < 14:
        return None
    keep = words[: rng.randint(len(words) // 2, len(words) - 4)]
    return " ".join(keep) if re.search(r"[a-z,]$", keep[-1]) else None


def _joined(first: str, second: str, language: str) -> str:
    return f"{first}{'' if language == 'zh' else ' '}{second}"


# ------------------------------------------------------------------------------------------------- asks nothing


@kind
def asks_nothing_sentence(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The question is a sentence of an answer."""
    if not _is(row, "open", "en") or not (found := _sentences(row["answer"])):
        return None
    return {"question": rng.choice(found)}


@kind
def asks_nothing_phrase(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A remark about a question instead of one."""
    if not _is(row, "open"):
        return None
    english = [
        "This question is open.",
        "A question about the topic of the lesson.",
        "The student reads the chapter carefully.",
    ]
    chinese = ["这道题目是开放的。", "关于本章内容的一道题目。", "同学们认真阅读了课文。"]
    return {"question": rng.choice(english if row["language"] == "en" else chinese)}


@kind
def held_asks_nothing_topic(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A heading that names a topic."""
    if not _is(row, "open", "en") or row["discipline"] is None:
        return None
    words = re.findall(r"[a-z]{6,}", row["question"])
    if len(words) < 3:
        return None
    forms = [
        "The relationship between {} and {} in {}.",
        "An introduction to {}, {} and {}",
        "{} and {} under different {}.",
    ]
    return {"question": rng.choice(forms).format(*rng.sample(words, 3))}


@kind
def held_asks_nothing_chinese(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The question is a sentence of a Chinese answer or explanation."""
    text = row["explanation"] or row["answer"]
    if row["language"] != "zh" or not (found := _sentences(text)):
        return None
    return {
        "question": rng.choice(found),
        "options": [],
        "question_type": "open",
        "answer": re.sub(r"^[A-H]\. ", "", row["answer"]),
    }


# ------------------------------------------------------------------------------------------------- labels and options


@kind
def answer_letter(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """An open question answered with a letter."""
    found = _open(row)
    return found and {**found, "answer": rng.choice(["B", "C", "(A)", "D.", "Option B", "The answer is C.", "b)"])}


@kind
def held_answer_letter_chinese(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A Chinese open question answered with an option."""
    found = _open(row) if row["language"] == "zh" else None
    return found and {**found, "answer": rng.choice(["选项B", "答案：C", "故选D。", "选A", "正确答案是B", "（C）"])}


@kind
def options_gone(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """ "Which of the following" without options."""
    if not _is(row, "multiple_choice", "en") or not re.search(
        r"(which|what).{0,20} of the following[^:;\n]*$", row["question"], re.IGNORECASE
    ):
        return None
    return {"options": [], "question_type": "open", "answer": re.sub(r"^[A-H]\. ", "", row["answer"])}


@kind
def options_gone_chinese(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """下列 without options."""
    stem = row["question"]
    if not _is(row, "multiple_choice", "zh") or not re.search(r"(?:下列|下面|以下)[^，。：；]{0,20}是", stem):
        return None
    if re.search(r"[①②:：]|（1|\([$1]|个数", stem):  # has a list of its own
        return None
    return {"options": [], "question_type": "open", "answer": re.sub(r"^[A-H]\. ", "", row["answer"])}


@kind
def options_gone_type_kept(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A multiple choice question with no or one option."""
    return {"options": row["options"][: rng.randint(0, 1)]} if _is(row, "multiple_choice") else None


def _listed(rng: random.Random, row: Row, form: str, between: str) -> str:
    texts = [re.sub(r"^[A-H]\. ", "", option) for option in row["options"][:4]]
    return between.join(form.format(letter, text) for letter, text in zip("ABCD", texts, strict=False))


@kind
def options_in_question(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The options stand inside an open question, in one line."""
    if not _is(row, "multiple_choice") or len(row["options"]) < 3:
        return None
    listed = _listed(rng, row, rng.choice(["({}) {}", "{}. {}", "{}) {}"]), rng.choice([" ", "; ", ", "]))
    return {
        "question": f"{row['question']} {listed}",
        "options": [],
        "question_type": "open",
        "answer": re.sub(r"^[A-H]\. ", "", row["answer"]),
    }


@kind
def held_options_in_question_lines(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The options stand inside an open question, one in a line."""
    if not _is(row, "multiple_choice") or len(row["options"]) < 3:
        return None
    listed = _listed(rng, row, rng.choice(["{}、{}", "{}: {}", "- {}) {}"]), "\n")
    return {
        "question": f"{row['question']}\n{listed}",
        "options": [],
        "question_type": "open",
        "answer": re.sub(r"^[A-H]\. ", "", row["answer"]),
    }


@kind
def options_equal(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """Two options are the same."""
    if not _is(row, "multiple_choice") or len(row["options"]) < 3:
        return None
    texts = [re.sub(r"^[A-H]\. ", "", option) for option in row["options"]]
    texts[1] = texts[0]
    return {"options": texts}


@kind
def answer_in_no_option(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The answer is none of the options."""
    if not _is(row, "multiple_choice"):
        return None
    other = rng.choice([each for each in _some(rng, good, 50) if each["language"] == row["language"]] or [None])
    text = other and re.sub(r"^[A-H]\. ", "", other["answer"])
    return {"answer": text} if text and len(text) > 12 and text not in row["options"] else None


@kind
def catch_all_answer(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The right option is "all of the above"."""
    if not _is(row, "multiple_choice", "en") or len(row["options"]) < 3:
        return None
    text = rng.choice(["All of the above", "None of the above", "All of these", "Both A and B", "all the above."])
    options = [re.sub(r"^[A-H]\. ", "", option) for option in row["options"]]
    return {"options": [*options[:-1], text], "answer": text}


@kind
def held_catch_all_chinese(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The right option is 以上都对."""
    if not _is(row, "multiple_choice", "zh") or len(row["options"]) < 3:
        return None
    text = rng.choice(["以上都对", "以上选项都不正确", "以上皆是", "以上都不是", "A和B都正确"])
    options = [re.sub(r"^[A-H]\. ", "", option) for option in row["options"]]
    return {"options": [*options[:-1], text], "answer": text}


# ------------------------------------------------------------------------------------------------- cut off, unbalanced


@kind
def cut_question(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """An open English question ends in mid-sentence."""
    found = _open(row) if row["language"] == "en" else None
    cut = found and _cut(rng, found["question"], "en")
    return {**found, "question": cut} if found and cut else None


@kind
def cut_answer(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """An open English answer ends in mid-sentence."""
    cut = _cut(rng, row["answer"], "en") if _is(row, "open", "en") else None
    return {"answer": cut} if cut else None


@kind
def cut_explanation(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """An explanation ends in mid-sentence."""
    cut = _cut(rng, row["explanation"] or row["answer"], row["language"])
    if cut is None or (re.search(r"\$[^$]*$", cut.replace("$$", "$")) and cut.replace("$$", "$").count("$") % 2):
        return None
    return {"explanation": cut}


@kind
def held_cut_chinese(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """An open Chinese question ends in mid-sentence."""
    found = _open(row) if row["language"] == "zh" else None
    cut = found and _cut(rng, found["question"], "zh")
    return {**found, "question": cut} if found and cut else None


@kind
def cut_at_function_word(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """An answer ends with a word that cannot end a sentence."""
    words = _words(row["answer"])
    if not _is(row, "open", "en") or len(words) < 8:
        return None
    places = [
        i for i, word in enumerate(words) if word in ("the", "a", "of", "and", "by", "with", "to", "is") and i > 4
    ]
    return {"answer": " ".join(words[: rng.choice(places) + 1])} if places else None


@kind
def unbalanced_dollar(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A "$" of a formula is missing."""
    text = row["question"].replace("$$", "$")
    if text.count("$") < 2 or text.count("$") % 2 or "\\$" in text:
        return None
    places = [i for i, c in enumerate(text) if c == "$"]
    at = rng.choice(places)
    return {"question": text[:at] + text[at + 1 :]}


@kind
def unbalanced_brace(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A brace of a formula is missing."""
    name = rng.choice(["question", "answer", "explanation"])
    text = row[name]
    places = [i for i, c in enumerate(text) if c == "}"]
    if not places or text.count("{") != text.count("}") or (name == "answer" and row["options"]):
        return None
    at = rng.choice(places)
    return {name: text[:at] + text[at + 1 :]}


@kind
def held_unbalanced_left(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """\\left without \\right, or an environment without its end."""
    formula = rng.choice(
        [r"$\left( x+1 $", r"$\begin{cases} x=1 \\ y=2 $", r"\[ x^2 = 4", r"$\frac{1}{2$", r"\( a+b = 3"]
    )
    found = _open(row)
    return found and {
        **found,
        "explanation": _joined(found["explanation"], f"{formula}", row["language"]).strip() + ".",
    }


@kind
def held_unbalanced_bracket(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A bracket or quotation mark is never closed."""
    found = _open(row)
    if found is None or re.search(r"[()（）\[\]“”]", found["question"]):
        return None
    words = found["question"].split(" ") if row["language"] == "en" else list(found["question"])
    if len(words) < 8:
        return None
    words[rng.randint(2, len(words) - 4)] += rng.choice([" (", " [", " “"])
    return {**found, "question": ("" if row["language"] == "zh" else " ").join(words)}


@kind
def held_unbalanced_fence(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A code fence is never closed."""
    found = _open(row)
    return found and {**found, "explanation": f"{found['explanation']}\n```python\nprint(sum(range(10)))"}


# ------------------------------------------------------------------------------------------------- not self-contained


@kind
def refers_to_passage(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The question needs a passage."""
    if not _is(row, None, "en"):
        return None
    text = rng.choice(
        [
            "According to the passage above, ",
            "Based on the text, ",
            "In the previous passage, ",
            "As stated in the article above, ",
        ]
    )
    return {"question": text + row["question"][:1].lower() + row["question"][1:]}


@kind
def refers_to_figure(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The question needs a figure."""
    if not _is(row, None, "en"):
        return None
    text = rng.choice(
        [
            "As shown in the figure below, ",
            "Using the diagram above, ",
            "In the graph shown below, ",
            "From the table below, ",
            "The picture above shows the situation. ",
        ]
    )
    return {"question": text + row["question"]}


@kind
def refers_to_prompt(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The question speaks of the prompt's seeds or path."""
    if not _is(row, None, "en"):
        return None
    text = rng.choice(
        [
            "Using the result of Question 1, ",
            "Like in the seed questions, ",
            "Following the knowledge path, ",
            "Unlike the previous question, ",
            "Based on the reference data, ",
            "From the solved questions above, ",
        ]
    )
    return {"question": text + row["question"][:1].lower() + row["question"][1:]}


@kind
def held_refers_chinese(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A Chinese question needs a figure, a text or another question."""
    if not _is(row, None, "zh"):
        return None
    text = rng.choice(
        [
            "如图所示，",
            "根据上文，",
            "阅读上述材料，",
            "由下表可知，",
            "利用第1题的结论，",
            "根据种子题目，",
            "根据知识路径，",
            "如下图，",
        ]
    )
    return {"question": text + row["question"]}


@kind
def held_refers_in_answer(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The answer speaks of seeds, data or other questions."""
    found = _open(row) if row["language"] == "en" else None
    text = rng.choice(
        [
            "See the answer to question 2.",
            "As the seed question shows, it is the same.",
            "Refer to the passage above.",
            "See the figure above.",
        ]
    )
    return found and {**found, "answer": text}


# ------------------------------------------------------------------------------------------------- model talk


@kind
def refusal(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The answer is a refusal."""
    found = _open(row)
    english = [
        "I'm sorry, but I cannot answer this question.",
        "As an AI language model, I do not have enough information.",
        "I cannot determine the answer from the given information.",
        "Sorry, I can't help with that.",
        "I do not have access to that data.",
    ]
    chinese = [
        "抱歉，我无法回答这个问题。",
        "作为一个人工智能语言模型，我无法提供答案。",
        "对不起，信息不足，我不能确定。",
    ]
    return found and {**found, "answer": rng.choice(english if row["language"] == "en" else chinese)}


@kind
def model_talk(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The model speaks to its user in the question."""
    english = [
        "Sure! Here is a new question: ",
        "Certainly, here's your question: ",
        "Here is a challenging question for you: ",
        "Of course! I will write one. ",
    ]
    chinese = ["好的，以下是一道新题：", "当然可以！这是为您设计的题目：", "下面是我为你编写的新题目："]
    return {"question": rng.choice(english if row["language"] == "en" else chinese) + row["question"]}


@kind
def held_model_talk_explanation(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The model speaks to its user in the explanation."""
    english = [
        "I hope this helps! Let me know if you need anything else.",
        "Note: I made up this question as requested.",
        "As a large language model, I computed this step by step.",
        "Feel free to ask if you have more questions.",
    ]
    chinese = ["希望这对您有帮助！", "如果您还有其他问题，请随时告诉我。", "作为AI助手，我按要求编写了这道题。"]
    return {
        "explanation": _joined(
            row["explanation"], rng.choice(english if row["language"] == "en" else chinese), row["language"]
        ).strip()
    }


@kind
def held_thinking_left(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The model's thinking was left in the explanation."""
    english = [
        "<think>Let me see what is asked here.</think> ",
        "Wait, that's not right. Let me recalculate. ",
        "Hmm, let me think again. ",
    ]
    chinese = ["<think>先看看题目要求。</think>", "等等，不对，我重新算一下。", "嗯，让我再想想。"]
    return {
        "explanation": rng.choice(english if row["language"] == "en" else chinese)
        + (row["explanation"] or row["answer"])
    }


@kind
def placeholder_answer(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The answer is a placeholder."""
    found = _open(row)
    return found and {
        **found,
        "answer": rng.choice(
            [
                "[insert answer]",
                "[Insert your answer here]",
                "<answer>",
                "TODO",
                "TBD",
                "[Answer]",
                "Your answer here",
                "N/A",
                "...",
            ]
        ),
    }


@kind
def placeholder_inside(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A text contains a placeholder."""
    name = rng.choice(["question", "explanation"])
    text = rng.choice(
        ["[insert number here]", "[X]", "{{value}}", "[your text]", "<INSERT NAME>", "[topic]", "[insert graph]"]
    )
    return {name: _joined(row[name], text, row["language"]).strip()}


@kind
def held_placeholder_other(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """Other placeholders."""
    english = [
        "Lorem ipsum dolor sit amet, consectetur adipiscing elit.",
        "Correct answer text",
        "string",
        "Option A text",
        "[PLACEHOLDER]",
        "(to be completed)",
        "<your answer>",
    ]
    chinese = ["【此处填写答案】", "[请输入答案]", "待补充", "（此处插入答案）", "答案内容"]
    found = _open(row)
    return found and {**found, "answer": rng.choice(english if row["language"] == "en" else chinese)}


# ------------------------------------------------------------------------------------------------- markup, characters


@kind
def html(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """HTML is left in a text."""
    name = rng.choice(["question", "explanation"])
    form = rng.choice(
        ["<p>{}</p>", "{}<br/>", "<b>{}</b>", '<div class="q">{}</div>', "{} <img src='a.png'>", "<span>{}</span>"]
    )
    return {name: form.format(row[name] or row["answer"])}


@kind
def markdown(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """Markdown is left in a text."""
    name = rng.choice(["question", "explanation"])
    form = rng.choice(
        [
            "**Question:** {}",
            "### Question\n{}",
            "{} ![figure](img.png)",
            "**{}**",
            "[{}](http://example.com)",
            "## Solution\n{}",
        ]
    )
    return {name: form.format(row[name] or row["answer"])}


@kind
def held_markup_other(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """Entities, tables and headings are left in a text."""
    form = rng.choice(
        [
            "{}&nbsp;",
            "{} &lt;sup&gt;2&lt;/sup&gt;",
            "{}\n| a | b |\n|---|---|\n| 1 | 2 |",
            "# {}",
            "{}\n---\n**Answer**",
            "<|im_start|>{}",
            "{}</s>",
        ]
    )
    return {"question": form.format(row["question"])}


@kind
def control_characters(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A control character stands in a text."""
    name = rng.choice(["question", "answer", "explanation"])
    if len(row[name]) < 3 or (name == "answer" and row["options"]):
        return None
    at = rng.randint(1, len(row[name]) - 1)
    return {name: row[name][:at] + rng.choice("\x00\x07\x08\x0c\x1b\x7f\x02") + row[name][at:] + " a"}


@kind
def held_broken_encoding(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A text was decoded wrongly."""
    text = row["question"]
    if row["language"] == "zh":
        return {"question": text.encode("utf-8").decode("latin-1")} if len(text) > 10 else None
    words = text.split(" ")
    if len(words) < 6:
        return None
    words[rng.randint(1, len(words) - 2)] += rng.choice(["\ufffd\ufffd", "â€™s", "Ã©", "\ufffd", "â€œ"])
    return {"question": " ".join(words)}


# ------------------------------------------------------------------------------------------------- language

CHINESE_ANSWERS = (
    "因为光合作用需要阳光和水分，所以植物在白天生长。",
    "这是因为价格上升导致需求减少。",
    "该反应放出热量，温度因此升高。",
    "他们在战争之后签订了和平条约。",
)
ENGLISH_ANSWERS = (
    "Because the price rises, the demand for the product falls.",
    "The two triangles are similar, so their sides are in proportion.",
    "It follows from the theorem that the sum of the angles is constant.",
    "The reaction releases heat and the temperature rises.",
)
FRENCH = (
    "Quelle est la force qui agit sur un corps dans le vide ?",
    "Expliquez pourquoi le prix du pain et des légumes augmente dans cette région.",
)
GERMAN = (
    "Welche Kraft wirkt auf einen Körper der Masse zwei Kilogramm und wie groß ist sie?",
    "Erklären Sie, warum der Preis eines Gutes bei steigender Nachfrage nicht fällt.",
)


@kind
def answer_in_other_language(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The answer is in Chinese instead of English, or the reverse."""
    found = _open(row)
    return found and {**found, "answer": rng.choice(CHINESE_ANSWERS if row["language"] == "en" else ENGLISH_ANSWERS)}


@kind
def held_explanation_in_other_language(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The explanation is in Chinese instead of English, or the reverse."""
    return {"explanation": rng.choice(CHINESE_ANSWERS if row["language"] == "en" else ENGLISH_ANSWERS)}


@kind
def mixed_languages(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A question changes its language in the middle."""
    first = row["question"][: len(row["question"]) // 2]
    tails = [
        each["question"][len(each["question"]) // 2 :]
        for each in _some(rng, good, 40)
        if each["language"] != row["language"]
    ]
    tails = [tail for tail in tails if len(_prose(tail)) >= 6]
    return {"question": f"{first} {rng.choice(tails)}"} if tails and len(_prose(first)) >= 6 else None


def _prose(text: str) -> list[str]:
    """English words and Chinese characters of a text."""
    return re.findall(r"(?<![\\A-Za-z])[A-Za-z]{2,}|[\u4e00-\u9fff]", text)


@kind
def held_question_in_other_language(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The question is in French or German."""
    return {"question": rng.choice(FRENCH + GERMAN)}


@kind
def held_words_mixed_in(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """Words of the other language stand in an answer."""
    if not _is(row, "open", "en") or len(row["answer"].split()) < 8:
        return None
    words = row["answer"].split()
    for at in sorted(rng.sample(range(1, len(words)), 3)):
        words[at] = rng.choice(["因为", "光合作用", "需求增加", "温度", "所以价格", "细胞"])
    return {"answer": " ".join(words)}


# ------------------------------------------------------------------------------------------------- question and answer


@kind
def gives_answer(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The question ends with its answer."""
    found = _open(row) or dict(row)
    form = rng.choice(
        ["{} (Answer: {})", "{} Answer: {}", "{} The answer is {}."]
        if row["language"] == "en"
        else ["{}（答案：{}）", "{}答案是{}。"]
    )
    return {**found, "question": form.format(found["question"], found["answer"].rstrip("."))}


@kind
def held_gives_answer_stated(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The question states its answer before it asks."""
    if not _is(row, "open", "en") or not 6 <= len(row["answer"].split()) <= 60:
        return None
    return {"question": f"{row['answer'].rstrip('.')}. {row['question']}"}


@kind
def several_questions(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """Several questions in one."""
    others = [
        each["question"]
        for each in _some(rng, good, 200)
        if _is(each, row["question_type"], row["language"]) and re.search(r"[?？]$", each["question"])
    ]
    if len(others) < 4:
        return None
    return {"question": " ".join(rng.sample(others, rng.randint(3, 4)))}


@kind
def held_several_numbered(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """Several numbered questions in one."""
    others = [
        each["question"]
        for each in _some(rng, good, 200)
        if _is(each, row["question_type"], row["language"]) and re.search(r"[?？]$", each["question"])
    ]
    if len(others) < 4:
        return None
    return {"question": "\n".join(f"{n}. {text}" for n, text in enumerate(rng.sample(others, 3), 1))}


@kind
def no_number(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A calculation without a number."""
    if row["language"] != "en" or re.search(
        r"\d|\$|\b(one|two|three|four|five|six|ten|half|twice)\b", row["question"] + row["answer"]
    ):
        return None
    return {"question_type": "calculation", "options": [], "answer": re.sub(r"^[A-H]\. ", "", row["answer"])}


@kind
def held_no_number_chinese(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A Chinese calculation without a number."""
    if row["language"] != "zh":
        return None
    question = rng.choice(
        [
            "求物体受到的合力大小是多少？",
            "计算该化学反应放出的热量。",
            "请计算这家公司的利润率。",
            "求小明到学校的距离是多少？",
        ]
    )
    return {
        "question": question,
        "question_type": "calculation",
        "options": [],
        "answer": rng.choice(["根据公式可以求出结果。", "合力等于各力的矢量和。"]),
        "explanation": "",
    }


@kind
def disagreeing_choice(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The explanation names another option than the answer."""
    if not _is(row, "multiple_choice") or len(row["options"]) < 3:
        return None
    letters = "ABCDEFGH"[: len(row["options"])]
    texts = [re.sub(r"^[A-H]\. ", "", option) for option in row["options"]]
    right = row["answer"][:1]
    if right not in letters or len(set(texts)) < len(texts):
        return None
    wrong = rng.choice(letters.replace(right, ""))
    form = rng.choice(
        ["So the answer is {}.", "Therefore, the correct answer is ({}).", "Hence option {} is correct."]
        if row["language"] == "en"
        else ["所以选{}。", "故答案为{}。", "因此正确答案是{}。"]
    )
    return {"options": texts, "answer": texts[letters.index(right)], "explanation": form.format(wrong)}


@kind
def disagreeing_number(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The explanation ends with another number than the answer."""
    found = _open(row)
    answer = found and re.fullmatch(r"\$*(\d+)\$*", found["answer"])
    if not found or not answer:
        return None
    wrong = int(answer[1]) + rng.randint(1, 9)
    form = rng.choice(
        [
            "Adding everything up gives 2 + 3 = 5, so the answer is {}.",
            "The result is \\boxed{{{}}}.",
            "Thus the final answer is ${}$.",
        ]
        if row["language"] == "en"
        else ["因此答案是{}。", "所以结果为$\\boxed{{{}}}$。", "故答案为：${}$．"]
    )
    return {**found, "explanation": form.format(wrong)}


@kind
def held_disagreeing_text(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The explanation concludes with the text of another option."""
    if not _is(row, "multiple_choice", "en") or len(row["options"]) < 3:
        return None
    texts = [re.sub(r"^[A-H]\. ", "", option) for option in row["options"]]
    right = row["answer"][:1]
    if right not in "ABCDEFGH" or len(set(texts)) < len(texts) or "above" in " ".join(texts):
        return None
    wrong = rng.choice([text for n, text in enumerate(texts) if "ABCDEFGH"[n] != right])
    return {
        "options": texts,
        "answer": texts["ABCDEFGH".index(right)],
        "explanation": f"Comparing the cases, the correct answer is {wrong}.",
    }


@kind
def held_disagreeing_equation(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The steps of a calculation end in another value than the answer."""
    found = _open(row)
    answer = found and re.fullmatch(r"\$*(\d+)\$*", found["answer"])
    if not found or not answer:
        return None
    first, second = rng.randint(3, 90), rng.randint(3, 90)
    if first + second == int(answer[1]):
        return None
    return {
        **found,
        "explanation": f"${first}+{second}={first + second}$" + ("." if row["language"] == "en" else "．"),
        "question_type": "calculation",
    }


@kind
def unrelated(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The answer and its explanation belong to a question of another discipline."""
    if not _is(row, "open", "en"):
        return None
    others = [
        each
        for each in _some(rng, good, 200)
        if _is(each, "open", "en") and each["discipline"] != row["discipline"] and len(each["answer"].split()) >= 30
    ]
    return {"answer": rng.choice(others)["answer"]} if others and len(row["question"].split()) >= 10 else None


@kind
def held_unrelated_explanation(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The explanation belongs to a question of another discipline."""
    if not _is(row, "multiple_choice", "en") or len(row["question"].split()) < 12:
        return None
    others = [
        each
        for each in _some(rng, good, 200)
        if _is(each, "open", "en") and each["discipline"] != row["discipline"] and len(each["answer"].split()) >= 40
    ]
    return {"explanation": rng.choice(others)["answer"]} if others else None


@kind
def answer_repeats_question(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The answer is the question."""
    found = _open(row)
    return found and {**found, "answer": rng.choice([str.upper, str.lower, str.strip])(found["question"])}


# ------------------------------------------------------------------------------------------------- degenerate, length


@kind
def loop(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A text repeats a phrase."""
    name = rng.choice(["question", "explanation"])
    words = row["question"].split() if row["language"] == "en" else list(row["question"][:12])
    unit = ("" if row["language"] == "zh" else " ").join(words[: rng.randint(4, 8)])
    if len(words) < 8 or not re.search(r"[a-z]{3}|[\u4e00-\u9fff]{3}", unit):
        return None
    return {
        name: _joined(
            row[name], (unit + ("，" if row["language"] == "zh" else ", ")) * rng.randint(6, 12), row["language"]
        )
    }


@kind
def held_loop_of_sentences(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """An explanation says the same thing again and again with other numbers."""
    form = rng.choice(
        [
            "Step {}: we add the number {} to the sum of the numbers so far. ",
            "In case {} the value of the function is equal to {}. ",
        ]
        if row["language"] == "en"
        else ["第{}步：把数{}加到前面的和上。", "当取{}时，函数的值等于{}。"]
    )
    return {"explanation": "".join(form.format(n, n + 3) for n in range(1, rng.randint(14, 20)))}


@kind
def keyboard_noise(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """The answer is noise."""
    found = _open(row)
    letters = "bcdfghjklmnpqrstvwxz"
    return found and {
        **found,
        "answer": " ".join("".join(rng.choice(letters) for _ in range(rng.randint(5, 11))) for _ in range(12)),
    }


@kind
def too_long(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A question of several pages."""
    others = [
        each["answer"] + " " + each["question"] for each in _some(rng, good, 300) if each["language"] == row["language"]
    ]
    text = " ".join(others)
    return {"question": f"{text[: 15_000 if row['language'] == 'en' else 9_000]} {row['question']}"}


@kind
def short_proof(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """A proof or a case of one word."""
    found = _open(row)
    return found and {
        **found,
        "question_type": rng.choice(["proof", "case"]),
        "answer": rng.choice(
            ["Yes.", "True", "8", "$x=2$", "成立", "是"] if row["language"] == "en" else ["成立", "是", "8", "$x=2$"]
        ),
    }


@kind
def held_long_option(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """An option of a page."""
    if not _is(row, "multiple_choice"):
        return None
    texts = [re.sub(r"^[A-H]\. ", "", option) for option in row["options"]]
    pool = [
        each["answer"] + " " + each["question"] for each in _some(rng, good, 200) if each["language"] == row["language"]
    ]
    texts[-1] = f"{texts[-1]} {' '.join(pool)[:4000]}"
    return {"options": texts, "answer": texts[0]}


@kind
def empty_answer(rng: random.Random, row: Row, good: Sequence[Row]) -> Row | None:
    """No answer."""
    return {"answer": rng.choice(["", ".", "...", "—", "?"])}
