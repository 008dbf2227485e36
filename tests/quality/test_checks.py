"""Rule checks: a good item passes, each fault has its own reason."""

import json

import numpy as np
import pytest

from linksyn_gpu.config import ChecksConfig
from linksyn_gpu.quality.checks import REASONS, Checker, fault_of_row
from linksyn_gpu.quality.checks.repeats import DigestSet
from linksyn_gpu.quality.options import by_letter, match_option, plain_answer
from linksyn_gpu.synthesis import prompts
from linksyn_gpu.tables import Asked, Item, without_cut_explanation

OPEN = Asked("open", "en")
ZH = Asked("open", "zh")
CHOICE = Asked("multiple_choice", "en")
GOOD = Item(
    "What gas do plants absorb for photosynthesis?", "Carbon dioxide.", explanation="It feeds the Calvin cycle."
)
CALM = "Plants take in carbon dioxide through their stomata and use it in the stroma. "


def reason(item, asked=OPEN, **settings):
    found = Checker(**settings).check(item, asked)
    return found[0] if found else None


def choice(answer, *options):
    return Item("Which of these gases do plants absorb?", answer, options)


@pytest.mark.parametrize(
    ("item", "asked"),
    [
        (GOOD, OPEN),
        (Item("若 $x^2 = 4$，求 $x$ 的全部取值。", "±2"), ZH),
        (Item("Calculate $\\int_0^1 x\\,dx$ for the function above the axis.", "1/2"), OPEN),
        (Item("What does the Chinese word 光 mean in English physics texts?", "light"), OPEN),
        (Item("Find the angle β and the angle α of the triangle.", "30°"), OPEN),
        (Item("What new question did Darwin's JSON data raise?", "many"), OPEN),
        (Item("Which sign stands for the empty set in mathematics?", "∅"), OPEN),
        (choice("oxygen", "oxygen", "carbon dioxide"), CHOICE),
        (choice("B", "A. oxygen", "B. carbon dioxide"), CHOICE),
        (choice("B. carbon dioxide.", "oxygen", "carbon dioxide"), CHOICE),
        (Item("Explain how plants make sugar. " + CALM, "They fix carbon dioxide.", explanation=CALM * 2), OPEN),
        # Short, but it names its subject and asks.
        (Item("What is entropy?", "a measure of disorder"), OPEN),
        (Item("Define pH.", "minus the logarithm of the hydrogen ion activity"), OPEN),
        (Item("What is 15% of 80?", "12"), OPEN),
        (Item("Expand $(a+b)^2$.", "$a^2+2ab+b^2$"), OPEN),
        (Item("$7\\times 8=$", "56"), OPEN),
        (Item("何谓熵？", "无序程度的量度"), ZH),
        (Item("化简：$\\frac{6}{8}$", "$\\frac{3}{4}$"), ZH),
        (Item("A catalyst ______.", "speeds a reaction up"), OPEN),
        # Letters of formulas are not words of a language.
        (Item("设 a、b、c 满足 a+b=3，b+c=5，a+c=4，求 a、b、c。", "1, 2, 3"), ZH),
        (Item("已知$$f(x)=ax+b$$，$$g(x)=f(f(x))$$，求$$g$$。", "$a^2x+ab+b$"), ZH),
        (Item("比较 sin30°、cos60° 与 tan45° 的大小。", "sin30° = cos60° < tan45°"), ZH),
        (Item("HCl、NaOH、NaCl 中哪一种是碱？", "NaOH"), ZH),
        # All of it in both languages, sentence by sentence.
        (Item("求函数 $x^2$ 在区间内的最大值。 Find the greatest value of $x^2$ on the interval.", "4"), ZH),
        (Item("Why does El Niño warm the coast of Peru?", "weaker trade winds"), OPEN),
        (Item("Balance the equation: Fe + O2 -> Fe2O3", "4 Fe + 3 O2 -> 2 Fe2O3"), OPEN),
        # Repetition that is content.
        (Item("Find the determinant of [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]].", "1"), OPEN),
        (Item("Which protein does the repeat " + "CAG " * 20 + "code for in the gene?", "polyglutamine"), OPEN),
        (Item("Work out " + "12 + " * 20 + "12.", "252"), OPEN),
        (Item("Convert the binary number 1 1 1 1 1 1 1 1 0 0 0 0 0 0 0 0 to decimal.", "65280"), OPEN),
        (Item("一班有3人得5分，二班有4人得5分，三班有6人得5分，共有几人得5分？", "13"), ZH),
        # Signs are answers, and everyday words are no echo.
        (Item("Which comparison sign makes 3 _ 5 true?", "<"), OPEN),
        (Item("Which Python operator computes a remainder?", "%"), OPEN),
        (Item("What do we call a sentence that asks for information?", "a question"), OPEN),
        (Item("Why must reference data, once published, stay unchanged?", "others compare with it"), OPEN),
        (Item("Explain why the answer here is an upper bound for the sum.", "each term was rounded up"), OPEN),
        (choice("C. B. F. Skinner", "Carl Rogers", "William James", "B. F. Skinner"), CHOICE),
        (choice("A. D, B, A, C", "D, B, A, C", "C, A, D, B", "A, C, B, D", "B, A, D, C"), CHOICE),
        (choice("Aa", "AA", "Aa", "aa"), CHOICE),
        (choice("AaBb", "AaBb", "AABB", "aabb", "Aabb"), CHOICE),
        (choice("10²", "102", "10²"), CHOICE),
        (choice("Iron", "iron", "copper"), CHOICE),
        (choice(";", ".", ",", ";"), CHOICE),
        (Item("Osmosis is", "A", ("a flow of water", "a flow of heat")), CHOICE),
    ],
)
def test_a_good_item_is_kept(item, asked):
    assert reason(item, asked) is None


def _open(*questions, answer="a"):
    return [(Item(question, answer), OPEN) for question in questions]


def _chinese(*questions):
    return [(Item(question, "因"), ZH) for question in questions]


def _answers(*answers):
    return [(Item(GOOD.question, answer), OPEN) for answer in answers]


def _choices(*answer_and_options):
    return [(choice(*texts), CHOICE) for texts in answer_and_options]


BAD = {
    "empty_question": _open(""),
    "empty_answer": _answers("", ".", "...", "—", "___", ", +", "?!", "“”"),
    "too_short": [
        *_open("?", "Why?", "Why so?", "Photosynthesis", "The cell", "What is it?", "Explain your answer.", "Find x."),
        *_open("True or false?", "Which is correct?", "Question 1", "Is this statement true, and why is it so?"),
        *_chinese("为什么", "细胞", "请解释原因。", "下列说法正确的是（　）", "计算下列问题。"),
        (Item("?", "A", ("yes", "no")), CHOICE),
    ],
    "echo_of_prompt": [
        *_open("Write 1 new question about plants and gases", "What is inside the <data> section here?"),
        *_open('What does "qa" hold in this case?'),
        *_open("Which knowledge_points does this need?", "Join the knowledge points on the path in one question."),
        *_open("Based on the solved questions, how large is the force on a body of 3 kg?"),
        *_chinese("根据已解题目，求物体受到的力。", "由知识点路径可知，加速度是多少？"),
    ],
    "placeholder": [
        *_open("Your question here", "[The question text goes here]"),
        *_answers("Your answer here", "<answer>", "The answer goes here"),
    ],
    "degenerate": [
        *_open("What is it " + "the cell " * 30),
        *_answers("It is green. " * 12, "0" * 400, "1 + " * 200, "No, wait. Let me think about it once more. " * 4),
        (
            Item(
                GOOD.question, "a", explanation="".join(f"Step {n}: we add {n} to the sum so far. " for n in range(15))
            ),
            OPEN,
        ),
        (Item("什么是光合作用？", "植物吸收二氧化碳，" * 8), ZH),
        (Item("光合作用" * 10 + "是什么？", "合成"), ZH),
    ],
    "wrong_language": [
        *_open("什么是光合作用，它发生在哪里？", "Что такое фотосинтез и где он идёт?", "光合成とは何ですか。"),
        *_open("광합성은 어디에서 일어납니까?", "ما هي القوة المؤثرة على الجسم؟", "若x、y满足x+y=7，求x、y的值。"),
        *_open("Welche Kraft wirkt auf einen Körper der Masse 2 kg?", "Quelle est la force qui agit sur un corps ?"),
        *_open("¿Cuál es la fuerza que actúa sobre el cuerpo?", "Qual è la forza che agisce sul corpo?"),
        *_open("Jaka siła działa na ciało o masie dwóch kilogramów podczas spadania w próżni?"),
        *_chinese(
            GOOD.question, "What is 光合作用 in plants?", "光合成はどこで行われますか。", "Simplify the fraction."
        ),
        *_chinese("Welche Kraft wirkt auf einen Körper?", "광합성은 어디에서 일어납니까?"),
    ],
    "missing_options": _choices(("oxygen",), ("oxygen", "oxygen")),
    "empty_option": _choices(
        ("oxygen", "oxygen", "carbon", "C. "), ("oxygen", "oxygen", ""), ("A", "A. oxygen", "B. ", "C. carbon")
    ),
    "duplicate_options": _choices(
        ("oxygen", "oxygen", "B. Oxygen."),
        ("18", "$18$", "18", "19"),
        ("7 P.M.", "1 A.M.", "7 P.M.", "$7$ P.M."),
        ("aa", "AA", "aa", "AA"),
        ("A", "A. carbon dioxide", "B. Carbon  dioxide"),
    ),
    "answer_not_in_options": _choices(
        ("helium", "oxygen", "carbon dioxide"),
        ("D", "oxygen", "carbon dioxide"),
        ("A and B", "oxygen", "carbon dioxide"),
        ("oxygen or carbon dioxide", "oxygen", "carbon dioxide"),
        ("aA", "AA", "Aa", "aa"),
    ),
    "answer_is_question": _answers(
        GOOD.question, GOOD.question.upper(), "what gas do  plants absorb\nfor photosynthesis?"
    ),
}


@pytest.mark.parametrize(
    ("item", "asked", "expected"), [(item, asked, name) for name, rows in BAD.items() for item, asked in rows]
)
def test_each_fault_has_its_reason(item, asked, expected):
    assert reason(item, asked) == expected
    assert expected in REASONS


def rows(*items):
    return [{"question": item.question, "options": list(item.options), "answer": item.answer} for item in items]


def test_a_seeds_question_in_other_letters_is_a_repeat():
    for question in (
        "ＷＨＡＴ gas  do plants absorb\nfor photosynthesis?",
        "What gas do plants absorb for photosynthesis: ____",
    ):
        assert reason(Item(question, "x"), seeds=rows(GOOD)) == "repeats_seed"
    numbers = Item("What is 3.5 times 4?", "14")
    assert reason(Item("What is $3.5$ times $4$ ?", "14"), seeds=rows(numbers)) == "repeats_seed"
    assert reason(Item("What is 35 times 4?", "140"), seeds=rows(numbers)) is None


LENIENT = ChecksConfig(off=("catch_all_option",))
STEM = "Which of the following statements is true?"
PLANTS = Item(STEM, "A", ("Plants absorb carbon dioxide", "Plants absorb helium"))


@pytest.mark.parametrize(
    ("item", "is_repeat"),
    [
        (Item(STEM, "B", ("Iron is a gas", "Iron conducts heat")), False),
        (Item(STEM, "C", ("Iron is a gas", "Iron is blue", "All of the above")), False),
        (Item(STEM, "Plants absorb helium", ("B. Plants absorb carbon dioxide", "A. Plants absorb helium")), True),
        (Item(STEM, "B", ("Plants absorb iron", "Plants absorb carbon dioxide", "Plants absorb gold")), True),
        (Item(STEM, "B", ("Plants absorb iron", "Plants absorb helium")), False),
    ],
)
def test_a_stem_with_other_options_and_another_answer_is_a_new_question(item, is_repeat):
    assert reason(item, CHOICE, seeds=rows(PLANTS), config=LENIENT) == ("repeats_seed" if is_repeat else None)
    assert reason(item, CHOICE, earlier=rows(PLANTS), config=LENIENT) == ("repeats_batch" if is_repeat else None)
    checker = Checker(config=LENIENT)
    assert checker.check(PLANTS, CHOICE) is None
    assert (checker.check(item, CHOICE) is not None) == is_repeat


def test_an_option_that_refers_to_the_others_is_not_compared_as_an_answer():
    first = Item(STEM, "C", ("Iron is a metal", "Iron conducts heat", "All of the above"))
    second = Item(STEM, "C", ("Gold is a metal", "Gold conducts heat", "All of the above"))
    assert reason(second, CHOICE, seeds=rows(first), config=LENIENT) is None


def test_with_and_without_options_a_question_is_the_same():
    closed = Item(GOOD.question, "A", ("carbon dioxide", "helium"))
    assert reason(closed, CHOICE, seeds=rows(GOOD)) == "repeats_seed"
    assert reason(GOOD, seeds=rows(closed)) == "repeats_seed"


def test_the_second_of_equal_questions_is_a_repeat_and_a_dropped_one_does_not_count():
    checker = Checker()
    assert checker.check(Item(GOOD.question, ""), OPEN)[0] == "empty_answer"
    assert checker.check(GOOD, OPEN) is None
    assert checker.check(GOOD, OPEN)[0] == "repeats_batch"


def test_a_digest_set_knows_what_was_added_at_eight_bytes_each():
    rng = np.random.default_rng(1)
    keys = [int(key) for key in rng.integers(0, 2**64, 40_000, np.uint64)]
    seen = DigestSet(keys[:100])
    assert [seen.add(key) for key in keys] == [False] * 100 + [True] * 39_900
    assert not any(seen.add(key) for key in keys)
    assert len(seen) == len(set(keys))
    assert seen._sorted.nbytes + 8 * len(seen._newest) == 8 * len(seen)
    assert len(seen._newest) < DigestSet.MERGE_AT
    assert all(key in seen for key in [*keys[::97], keys[-1]])
    assert not any((key + 1) % 2**64 in seen for key in keys[::97])
    assert 5 not in DigestSet()


def test_the_prompts_own_words_are_an_echo_in_both_languages():
    instructions = prompts.instruction_text()
    english = "Is it true that one can combine several ideas in an unfamiliar situation; choosing the method is good?"
    assert reason(Item(english, "yes"), instructions=instructions) == "echo_of_prompt"
    assert reason(Item("请问在陌生情境中综合多个概念，需要自己选择方法吗？", "是"), ZH) is None
    chinese = Item("请由这些知识点联系起来的已解题目出发，说明原因。", "是")
    assert reason(chinese, ZH, instructions=instructions) == "echo_of_prompt"


def test_a_text_as_long_as_its_limit_was_cut():
    limits = prompts.text_limits(80)
    asked = Asked("open", "en", limits)
    assert reason(GOOD, asked) is None
    assert reason(Item(GOOD.question, (CALM * 3)[: limits["answer"]]), asked) == "cut_text"
    assert reason(Item((CALM * 3)[: limits["question"] - 1], "a"), asked) == "cut_text"


def test_a_cut_explanation_is_left_out_and_the_item_stays():
    limits = prompts.text_limits(80)
    item = Item(GOOD.question, "a", explanation=(CALM * 3)[: limits["explanation"]])
    assert reason(item, Asked("open", "en", limits)) is None
    assert without_cut_explanation(item, limits).explanation == ""
    assert without_cut_explanation(item, None) is item
    assert without_cut_explanation(GOOD, limits) is GOOD


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("oxygen", 0),
        ("A", 0),
        ("(b)", 1),
        ("The answer is B.", 1),
        ("答案是B", 1),
        ("C. Carbon dioxide", 1),
        ("E", None),
        ("A B", None),
    ],
)
def test_an_answer_names_an_option_by_text_or_letter(answer, expected):
    assert match_option(answer, ("oxygen", "carbon dioxide", "A cell", "none")) == expected


def test_questions_that_the_run_has_already_are_repeats_too():
    assert reason(GOOD, earlier=rows(Item(GOOD.question.upper(), "x"))) == "repeats_batch"
    assert reason(GOOD, earlier=rows(Item("Where is it?", "x"))) is None


def test_case_counts_where_it_carries_meaning():
    assert plain_answer("Carbon Dioxide.") == plain_answer("$carbon$  dioxide")
    for one, other in (
        ("CO", "Co"),
        ("AaBbCc", "aabbcc"),
        ("Yy x Yy", "yy x yy"),
        ("2³", "23"),
        ("G基因纯合", "g基因纯合"),
    ):
        assert plain_answer(one) != plain_answer(other)


def test_a_label_is_the_letter_of_its_option():
    assert by_letter(("B. charge", "A. mass")) == {"B": "charge", "A": "mass"}
    assert by_letter(("A. mass", "charge", "B. F. Skinner")) == {"A": "mass", "B": "charge", "C": "B. F. Skinner"}
    assert len(by_letter([str(n) for n in range(2000)])) == 2000


@pytest.mark.parametrize(
    "unit",
    [
        "the force on the body is 8 N. ",
        "0 ",
        "!",
        "a",
        "光",
        "{[(",
        "$",
        "\\a",
        "`",
        '"qa',
        "_ ",
        "Write 1 new ",
        "x1 y2 ",
        " ",
        ".",
        "= ",
        "?x",
        "a\n",
        "(",
        "，因为",
        "is ",
        "-",
        "~",
    ],
)
@pytest.mark.timeout(120)
def test_checks_end_on_half_a_megabyte_of_anything(unit):
    """A check whose time grew with the square of the length would take much longer than the limit."""
    text = unit * (500_000 // len(unit))
    for item in (Item(text, "a"), Item(GOOD.question, text), Item(GOOD.question, "a", (text, "b"), text)):
        Checker(instructions="the words of a prompt").check(item, CHOICE if item.options else OPEN)


@pytest.mark.timeout(120)
def test_checks_end_on_an_item_of_many_options():
    options = tuple(f"{number} N" for number in range(50_000))
    assert reason(Item("How large is the force?", "7 N", options), CHOICE) is None
    assert reason(Item("How large is the force?", "7 N", options + options), CHOICE) == "duplicate_options"


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("seed_openstax_en.jsonl", 0.03),
        ("seed_tal_math_en_zh.jsonl", 0.03),
        ("benchmark_tal_test_slice.jsonl", 0.02),
    ],
)
def test_questions_that_people_wrote_are_kept(real_data, name, limit):
    """At most 1 % of a bank is hit by a check, 3 % by all. Most hits are faults of the banks (bench/checks.py)."""
    bank = list(map(json.loads, real_data(name).read_text(encoding="utf-8").splitlines()))
    checker = Checker(instructions=prompts.instruction_text())
    found = [checker.check(*_as_item(row)) for row in bank]
    hits = [fault[0] for fault in found if fault is not None and fault[0] != "repeats_batch"]
    assert len(hits) <= limit * len(bank), hits
    assert max((hits.count(name) for name in hits), default=0) <= 0.01 * len(bank)


def _as_item(row):
    item = Item(row["question"].strip(), row["answer"], tuple(row["options"]), row.get("analysis") or "")
    return item, Asked("multiple_choice" if row["options"] else "open", row["language"])


def test_private_data_is_dropped_by_its_kind_and_never_repeated():
    row = {"question": "To whom does a student of this course write about water?", "answer": "To jane.roe@uni-bonn.de."}
    assert fault_of_row(row) == ("private_data", "answer: email")
    assert fault_of_row({**row, "answer": "To the teacher of this course."}) is None
