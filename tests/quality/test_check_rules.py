"""Each rule check drops what it names and keeps good rows that look similar, in English and Chinese."""

import dataclasses
from pathlib import Path

import pytest

from bench.bad_rows import EXAMPLES, KINDS, bad_rows, read_bank
from linksyn_gpu.config import ChecksConfig
from linksyn_gpu.config.loader import from_mapping
from linksyn_gpu.config.quality import CHECKS as NAMES
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.quality import checks
from linksyn_gpu.quality.checks import fault_of_row

QUESTION = "Why does ice float on liquid water?"
ANSWER = "Ice is less dense than liquid water."
FRAGE = "为什么冰会浮在水面上？"
ANTWORT = "因为冰的密度比水小。"


def row(question=QUESTION, answer=ANSWER, explanation="", options=(), **others):
    return {"question": question, "answer": answer, "explanation": explanation, "options": list(options), **others}


def chinese(question=FRAGE, answer=ANTWORT, explanation="", options=(), **others):
    return row(question, answer, explanation, options, language="zh", **others)


def choice(answer, *options, question="Which gas do plants take in?", **others):
    return row(question, answer, options=options, **others)


def calculation(question, answer="10 N", explanation="", **others):
    return row(question, answer, explanation, question_type="calculation", **others)


LONG = "Plants take in carbon dioxide through their stomata, fix it in the stroma and store the sugar as starch grains."
PASSAGE = (
    "Some of the sugar travels through the phloem to roots, seeds and fruit, which burn it or turn it into cellulose, "
    "oils and proteins. At night no light reaches the leaf, so the grains shrink again until morning. Animals that eat "
    "such leaves take over the stored energy, and bacteria return the carbon to the air after both have died."
)
WAR = (
    "The treaty ended hostilities, redrew frontiers, imposed reparations, and created resentment among officers, "
    "workers, farmers and ministers who later supported nationalist parties against the republic."
)
TEXTS = ("gas", "carbon dioxide", "oxygen", "nitrogen")

BAD = {
    "asks_nothing": [
        row("This question is open."),
        row("The relation between heat and temperature in gases."),
        row("Plants take in carbon dioxide through their stomata."),
        chinese("这道题目是开放的。"),
        chinese("植物通过气孔吸收二氧化碳。"),
    ],
    "answer_is_label": [
        *(row(answer=text) for text in ("B", "(C)", "D.", "Option B", "The answer is C.", "b)")),
        *(chinese(answer=text) for text in ("选项B", "故选D。", "答案：C", "（C）")),
    ],
    "missing_options": [
        row("Which of the following gases do plants take in?", "carbon dioxide"),
        row("Choose the correct option about plants and light.", "They need light."),
        chinese("下列说法中关于光合作用正确的是？", "需要光"),
        choice("gas", "gas"),
    ],
    "options_in_question": [
        row("Which gas do plants take in? (A) oxygen (B) carbon dioxide (C) helium", "carbon dioxide"),
        row("Which gas do plants take in?\nA. oxygen\nB. carbon dioxide\nC. helium", "carbon dioxide"),
        chinese("植物吸收哪种气体？A、氧气 B、二氧化碳 C、氮气", "二氧化碳"),
    ],
    "cut_text": [
        row("Explain why the pressure of a gas rises when its"),
        row(answer="Ice floats because its density is lower than that of the"),
        row(answer="Ice floats. The molecules of ice form an open lattice and therefore"),
        row(explanation="The molecules of ice form an open lattice. Therefore the same mass,"),
        chinese("如果水的温度从四度升高到二十度，那么水的密"),
    ],
    "unbalanced": [
        row("Why is $x^2 = 4 solved by two numbers?"),
        row("How large is $\\frac{1}{2$ of the ice?"),
        row("Why does ice (which is solid float on water?"),
        row("Why does “ice float on water?"),
        row(explanation="See the program:\n```python\nprint(1)"),
        row(explanation="$\\left( x+1 $ is positive."),
        row(explanation="$\\begin{cases} x=1 $ holds."),
        chinese("为什么冰（固态的水会浮在水面上？"),
    ],
    "not_self_contained": [
        row("According to the passage above, why does ice float?"),
        row("As shown in the figure below, why does ice float?"),
        row("Using the result of question 1, why does ice float?"),
        row("Like in the seed questions, why does ice float?"),
        row("Following the knowledge path, why does ice float on water?"),
        row(answer="See the figure above."),
        chinese("如图所示，为什么冰会浮在水面上？"),
        chinese("根据上文，为什么冰会浮在水面上？"),
        chinese("利用第1题的结论，说明冰为什么会浮在水面上。"),
    ],
    "refusal": [
        row(answer="I'm sorry, but I cannot answer this question."),
        row(answer="As an AI language model, I have no opinion."),
        row(answer="I cannot determine the answer."),
        row("Sure! Here is a new question: why does ice float on water?"),
        row(explanation="I hope this helps! It is about density."),
        row(explanation="Wait, that is wrong. Let me recalculate the density."),
        chinese(answer="抱歉，我无法回答这个问题。"),
        chinese("好的，以下是一道新题：为什么冰会浮在水面上？"),
    ],
    "placeholder": [
        *(row(answer=text) for text in ("[insert answer]", "<answer>", "TODO", "string", "Your answer here")),
        row("Why does [insert substance] float on liquid water?"),
        row(explanation="Lorem ipsum dolor sit amet."),
        chinese(answer="【此处填写答案】"),
        chinese(answer="待补充"),
    ],
    "markup": [
        row("<p>Why does ice float on liquid water?</p>"),
        row("**Question:** Why does ice float on liquid water?"),
        row("### Density\nWhy does ice float on liquid water?"),
        row("Why does ice float on water? ![ice](ice.png)"),
        row("Why does ice float on water?&nbsp;"),
        row("<|im_start|>Why does ice float on liquid water?"),
        chinese("<b>为什么冰会浮在水面上？</b>"),
    ],
    "control_characters": [
        row("Why does ice \x07float on water?"),
        row("Why does ice \ufffd float on water?"),
        row("Why doesn\u00e2\u20ac\u2122t ice sink in water?"),
        chinese("为什么冰会\x1b浮在水面上？"),
    ],
    "wrong_language": [
        row(answer="因为冰的密度比水小，所以它会浮起来。"),
        row(explanation="因为冰的密度比水小，所以它会浮起来。"),
        chinese(answer="Because the density of ice is lower than that of water."),
        row("Warum schwimmt das Eis auf der Oberfläche des Wassers und sinkt nicht?"),
    ],
    "mixed_languages": [
        row("Why does ice 的密度比水小 float on water?", language="en"),
        row(answer="Ice has a lower 密度比水 than liquid water."),
        chinese("为什么冰的密度 is lower than the density of 液态水？"),
    ],
    "answer_given_away": [
        row(f"{QUESTION} (Answer: {ANSWER})"),
        row(f"{ANSWER} {QUESTION}"),
        chinese(f"{FRAGE}答案是{ANTWORT}"),
    ],
    "several_questions": [
        row(
            "Why does solid ice float on cold liquid water? Who wrote the plays Hamlet, Macbeth and Othello? "
            "Which planet of the solar system has the largest moon?"
        ),
        row("What is heat? Why is it so? Where is heat? When is it hot? Who found heat?"),
        chinese("冰为什么浮在水面？唐朝的都城在哪里？三角形的内角和等于多少？"),
    ],
    "catch_all_option": [
        choice("All of the above", "oxygen", "helium", "All of the above"),
        choice("none of these", "oxygen", "helium", "none of these"),
        choice("Both A and B", "oxygen", "helium", "Both A and B"),
        choice("以上都对", "氧气", "氮气", "以上都对", question="植物吸收哪种气体？", language="zh"),
    ],
    "no_number": [
        calculation("How large is the force on the body?", "The force is the sum of all forces."),
        calculation("Calculate the profit of the company.", "It is revenue minus cost."),
        chinese("求物体受到的合力大小是多少？", "合力等于各力的矢量和。", question_type="calculation"),
    ],
    "answers_disagree": [
        calculation("A body of 2 kg accelerates at 5 m/s². How large is the force?", "10", "So the answer is 12."),
        calculation("What is 2 times 5?", "10", "$2\\times 5 = \\boxed{12}$"),
        calculation("What is 2 times 5?", "10", "2 + 5 = 7"),
        choice(*TEXTS[1:2], *TEXTS, explanation="Therefore the correct answer is C."),
        choice(*TEXTS[1:2], *TEXTS, explanation="So the answer is nitrogen."),
        chinese("2乘以5等于多少？", "10", "所以答案是12。"),
        chinese("植物吸收哪种气体？", "二氧化碳", "所以选C。", ("氧气", "二氧化碳", "氮气")),
    ],
    "unrelated_answer": [
        row("How do plants turn light and carbon dioxide into sugar in their leaves?", WAR),
        choice(
            *TEXTS[1:2], *TEXTS, explanation=WAR, question="Which gas do green plants take in through their leaves?"
        ),
    ],
    "degenerate": [
        row(answer="xkcdf qwrtp zzpfb bdfgh hjklm npqrst wvxzk bcdfg"),
        row(explanation="It is less dense. " * 9),
    ],
    "implausible_length": [
        row("Is it so? " + " ".join(f"word{n}" for n in range(1300))),
        choice("oxygen", "oxygen", " ".join(f"word{n}" for n in range(200))),
        row("Prove that the sum of two even numbers is even.", "Yes.", question_type="proof"),
        chinese("某公司拒绝退款，请分析顾客可以主张什么权利。", "可以", question_type="case"),
    ],
}
"""Rows that a check must drop, by its reason."""

GOOD = [
    row(),
    chinese(),
    row("Describe how ice forms on a lake."),
    row("Plants take in ________ through their stomata.", "carbon dioxide"),
    row("Plants take in carbon dioxide. True or false?", "True"),
    row("Vaccines contain weakened or dead germs.", "True"),
    row("If $x^2 = 4$ and $x > 0$, find $x$.", "$x = 2$"),
    row("$7 \\times 8 =$", "56"),
    choice("carbon dioxide", "oxygen", "carbon dioxide", question="Plants take in"),
    chinese("水的沸点约为（　）摄氏度。", "100"),
    chinese("从密度的角度说明冰为什么浮在水面上。"),
    # letters that are answers
    row("What is the chemical symbol of carbon?", "C"),
    row("Which of the points A and B is nearer to the centre?", "B"),
    row("Which vitamin is in oranges?", "C"),
    # options that are no options
    row("Which of the following rises: price, demand or supply?", "price"),
    row("Name the compounds:\n(a) NaCl\n(b) KCl\n(c) HCl", "(a) sodium chloride; (b) potassium chloride; (c) acid"),
    # ends that are no cuts
    row("What is 2 m plus 3 m?", "5 m"),
    row(answer="a lower density"),
    row("Classify each metal:\n(a) sodium\n(b) iron", "(a) alkali metal; (b) transition metal"),
    # balanced after all
    row("A pen costs $5 and a book $12. How much do both cost?", "$17"),
    row("For which x in [0, 1) is $x^2$ smaller than x?", "all but 0"),
    row("Choose a) for ice and b) for steam. Why is ice denser than steam?", "It is a solid."),
    row('What does the 5" disk store?', "data"),
    # references that a reader can follow
    row("Draw the graph of $y = x^2$ and read off its minimum.", "0 at $x = 0$"),
    row("What does the picture of Dorian Gray show in the novel by Wilde?", "his age"),
    row("Which problem did Euler solve in Königsberg?", "the problem of the seven bridges"),
    row(f"{LONG} {PASSAGE} According to the passage, where is starch stored?", "in the stroma"),
    row("Which Python type holds text?", "string"),
    # people who speak
    row("Why did the witness say 'I cannot answer' in court?", "to avoid incriminating herself"),
    row("What does a language model predict?", "the next token"),
    row("What does the <b> tag do in HTML?", "It makes text bold."),
    row("Is 3 < 5 and 7 > 2?", "yes"),
    # names and terms in their own language
    row("What does the Chinese word 光合作用 mean in English?", "photosynthesis", language="en"),
    row("Who proposed the Belt and Road Initiative (一带一路倡议)?", "China", language="en"),
    chinese("计算机中 CPU 和 RAM 各有什么作用？", "CPU 负责运算，RAM 用于存储数据。"),
    chinese("pH 小于 7 的溶液呈什么性？", "酸性"),
    row("Write the reaction of sodium with water.", "2Na(s) + 2H2O(l) → 2NaOH(aq) + H2(g)"),
    # a question and its follow-up
    row("What is the density of ice? Why does ice float on water?", "0.92; it is less dense"),
    choice("oxygen", "oxygen", "helium", "All of the above"),
    choice("None", "One", "Two", "None", question="How many moons does Venus have?"),
    calculation("Find the kinetic energy of a body of mass $m$ and speed $v$.", "$mv^2/2$"),
    calculation("A body of two kilograms falls. How large is its weight?", "20 N", "2 · 10 = 20"),
    calculation("What is 2.5 times 4?", "10", "First 2 · 4 = 8, then 0.5 · 4 = 2, so the answer is 10.0."),
    choice("carbon dioxide", *TEXTS, explanation="Oxygen is released. Therefore the correct answer is B."),
    row("Prove that the sum of two even numbers is even.", "$2a + 2b = 2(a+b)$, which is even.", question_type="proof"),
    row("Why did the republic fail?", WAR.replace("The treaty", "The treaty that the republic signed")),
]
"""Rows that every check must keep."""


@pytest.mark.parametrize(
    ("reason", "bad"), [pytest.param(name, each, id=f"{name}-{n}") for name in BAD for n, each in enumerate(BAD[name])]
)
def test_a_check_drops_what_it_names(reason, bad):
    fault = fault_of_row(bad)
    assert fault is not None
    assert fault[0] == reason, fault
    assert reason in checks.REASONS


@pytest.mark.parametrize("good", [pytest.param(each, id=str(n)) for n, each in enumerate(GOOD)])
def test_a_good_row_stays(good):
    assert fault_of_row(good) is None


@pytest.mark.parametrize("reason", BAD)
def test_a_check_that_is_off_gives_no_reason(reason):
    for bad in BAD[reason]:
        fault = fault_of_row(bad, ChecksConfig(off=(reason,)))
        assert fault is None or fault[0] != reason


@pytest.mark.parametrize(
    ("threshold", "value", "now_good"),
    [
        ("min_proof", 1, BAD["implausible_length"][2]),
        ("max_question", 5000, BAD["implausible_length"][0]),
        ("max_option", 500, BAD["implausible_length"][1]),
        ("min_case_answer", 1, BAD["implausible_length"][3]),
        ("max_questions", 9, BAD["several_questions"][1]),
        ("max_chinese_in_english", 20, BAD["mixed_languages"][0]),
        ("max_english_in_chinese", 20, BAD["mixed_languages"][2]),
        ("min_related", 90, BAD["unrelated_answer"][0]),
        ("min_given_away", 90, BAD["answer_given_away"][1]),
        ("passage", 5, row(f"{LONG} According to the passage, where is the sugar stored?", "in the stroma")),
        ("min_noise", 99, BAD["degenerate"][0]),
        ("loop_share", 1.0, row(explanation="It is less dense, so it floats. " + "No, it is not. " * 4 + LONG)),
        (
            "min_prose",
            90,
            row(explanation=f"Ice floats on water because its lattice of molecules {'so ' * 8}loosely fills the room"),
        ),
    ],
)
def test_a_threshold_decides(threshold, value, now_good):
    assert fault_of_row(now_good) is not None
    assert fault_of_row(now_good, ChecksConfig(**{threshold: value})) is None


def test_vectors_decide_whether_an_answer_is_related():
    config = ChecksConfig(min_similarity=0.3)
    assert fault_of_row(row(), config, similarity=0.2)[0] == "unrelated_answer"
    assert fault_of_row(row(), config, similarity=0.4) is None
    assert fault_of_row(row(), config) is None


def test_the_settings_name_every_check():
    assert tuple(reason for reason, _, _ in checks.CHECKS) == NAMES
    assert all(meaning for meaning in checks.REASONS.values())


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"off": ["asks_something"]}, "asks_nothing"),
        ({"max_option": -1}, "max_option"),
        ({"loop_share": 0.0}, "loop_share"),
        ({"min_similarity": 2.0}, "min_similarity"),
    ],
)
def test_a_wrong_setting_says_what_is_allowed(settings, part):
    with pytest.raises(ConfigError, match=part):
        from_mapping(ChecksConfig, settings)


def test_a_row_of_any_file_is_read():
    assert fault_of_row({"question": QUESTION, "answer": ANSWER}) is None
    assert fault_of_row({"question": FRAGE, "answer": ANTWORT, "options": None, "language": None}) is None
    assert fault_of_row({"question": QUESTION, "answer": None})[0] == "empty_answer"
    assert fault_of_row({"question": "Which gas?", "answer": "B", "options": ["O2", "CO2"]}) is None


def test_bad_rows_made_of_the_example_seeds_are_caught():
    good = read_bank(EXAMPLES)
    rows = bad_rows(good, 8)
    assert len(KINDS) >= 60
    assert sum(kind.held_out for kind in KINDS.values()) >= 20
    assert all(len(each) == 8 for each in rows.values())
    kept = [each["question"] for kind in rows.values() for each in kind if fault_of_row(each) is None]
    assert len(kept) <= 0.05 * 8 * len(rows)
    assert [each["question"] for each in good if fault_of_row(each) is not None] == []


def test_bad_rows_made_of_real_seeds_are_caught(real_data):
    names = ("seed_openstax_en.jsonl", "seed_tal_math_en_zh.jsonl")
    good = [each for name in names for each in read_bank(Path(real_data(name)))]
    rows = [each for kind in bad_rows(good, 20).values() for each in kind]
    assert sum(fault_of_row(each) is not None for each in rows) >= 0.97 * len(rows)
    assert sum(fault_of_row(each) is not None for each in good) <= 0.03 * len(good)


def test_the_same_seed_makes_the_same_bad_rows():
    good = read_bank(EXAMPLES)
    assert bad_rows(good, 3, seed=1) == bad_rows(good, 3, seed=1)
    assert dataclasses.asdict(ChecksConfig())["off"] == ()
