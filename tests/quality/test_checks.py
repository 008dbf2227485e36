"""Rule checks: a good item passes, each fault has its own reason."""

import numpy as np
import pytest

from linksyn_gpu.quality.checks import REASONS, Checker, DigestSet, match_option
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
        (Item("Explain how plants make sugar. " + CALM, CALM, explanation=CALM * 2), OPEN),
    ],
)
def test_a_good_item_is_kept(item, asked):
    assert reason(item, asked) is None


@pytest.mark.parametrize(
    ("item", "asked", "expected"),
    [
        (Item("", "a"), OPEN, "empty_question"),
        (Item("What gas do plants absorb?", ""), OPEN, "empty_answer"),
        (Item("What gas do plants absorb?", ", +"), OPEN, "empty_answer"),
        (Item("Why so?", "a"), OPEN, "too_short"),
        (Item("为什么", "因"), ZH, "too_short"),
        (Item("Write 1 new question about plants and gases", "a"), OPEN, "echo_of_prompt"),
        (Item("What is inside the <data> section here?", "a"), OPEN, "echo_of_prompt"),
        (Item("What is it " + "the cell " * 30, "a"), OPEN, "degenerate"),
        (Item("What is a plant cell made of?", "It is green. " * 12), OPEN, "degenerate"),
        (Item("什么是光合作用，它发生在哪里？", "叶绿体"), OPEN, "wrong_language"),
        (Item("Что такое фотосинтез и где он идёт?", "x"), OPEN, "wrong_language"),
        (GOOD, ZH, "wrong_language"),
        (choice("oxygen"), CHOICE, "missing_options"),
        (choice("oxygen", "oxygen", "B. Oxygen."), CHOICE, "duplicate_options"),
        (choice("oxygen", "oxygen", "carbon", "B. "), CHOICE, "empty_option"),
        (choice("helium", "oxygen", "carbon dioxide"), CHOICE, "answer_not_in_options"),
        (choice("D", "oxygen", "carbon dioxide"), CHOICE, "answer_not_in_options"),
        (Item("What gas do plants absorb?", "what gas do  plants absorb?"), OPEN, "answer_is_question"),
    ],
)
def test_each_fault_has_its_reason(item, asked, expected):
    assert reason(item, asked) == expected
    assert expected in REASONS


def test_a_seeds_question_in_other_letters_is_a_repeat():
    item = Item("ＷＨＡＴ gas  do plants absorb\nfor photosynthesis?", "x")
    assert reason(item, seed_questions=[GOOD.question]) == "repeats_seed"


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
    english = "is it true that one can combine several ideas in an unfamiliar situation; choosing the method is good"
    assert reason(Item(english, "yes"), instructions=instructions) == "echo_of_prompt"
    assert reason(Item("请问在陌生情境中综合多个概念，需要自己选择方法吗？", "是"), ZH) is None
    chinese = Item("请由这些知识点联系起来的已解题目出发，说明原因。", "是")
    assert reason(chinese, ZH, instructions=instructions) == "echo_of_prompt"


def test_a_text_that_fills_its_room_was_cut():
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
    assert reason(GOOD, earlier_questions=[GOOD.question.upper()]) == "repeats_batch"
    assert reason(GOOD, earlier_questions=["Where is it?"]) is None
