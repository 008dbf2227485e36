"""Layouts: records in the shapes of public question banks are read without flags."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linksyn_gpu import config as allowed
from linksyn_gpu.seeds import layouts
from linksyn_gpu.seeds.normalize import read_seeds
from linksyn_gpu.tables import Seeds

USER, ASSISTANT = {"role": "user", "content": "What is ice?"}, {"role": "assistant", "content": "Frozen water."}

# Each row was written for this test, in the shape of the data set: (layout, record, fields of the seed).
ROWS = [
    ("columns", {"question": "What is ice?", "answer": "Frozen water."}, {"answer": "Frozen water."}),
    ("alpaca", {"instruction": "Name it.", "input": "H2O", "output": "water"}, {"question": "Name it.\n\nH2O"}),
    ("chat", {"messages": [USER, ASSISTANT]}, {"question": "What is ice?", "answer": "Frozen water."}),
    (
        "chat",
        {
            "prompt": "What is ice?",
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
                {"role": "user", "content": [{"type": "text", "text": "What is"}, {"type": "text", "text": "ice?"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "Frozen water."}]},
            ],
        },
        {"question": "What is\nice?", "answer": "Frozen water."},
    ),
    (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "What is ice?"}, {"from": "gpt", "value": "Frozen water."}]},
        {"question": "What is ice?", "answer": "Frozen water."},
    ),
    (
        "gsm8k",
        {"question": "A box holds 6 eggs. How many do 7 boxes hold?", "answer": "7 boxes: 6*7=<<6*7=42>>42.\n#### 42"},
        {"answer": "42", "explanation": "7 boxes: 6*7=42."},
    ),
    (
        "math",
        {
            "problem": "Solve $x+1=3$.",
            "level": "Level 3",
            "type": "Algebra",
            "solution": r"So $x = \frac{4}{2}$, or $\boxed{\frac{4}{2}}$.",
        },
        {
            "answer": r"\frac{4}{2}",
            "explanation": r"So $x = \frac{4}{2}$, or $\boxed{\frac{4}{2}}$.",
            "difficulty": 3,
            "disciplines": ["Algebra"],
        },
    ),
    (
        "columns",  # MATH-500
        {"problem": "Solve $x=2$.", "solution": r"$\boxed{2}$", "answer": "2", "subject": "Algebra", "level": 2},
        {"answer": "2", "explanation": r"$\boxed{2}$", "difficulty": 2, "disciplines": ["Algebra"]},
    ),
    (
        "mmlu",
        {"question": "Which bone is longest?", "subject": "anatomy", "choices": ["rib", "femur"], "answer": 1},
        {"answer": "femur", "options": ["rib", "femur"], "disciplines": ["anatomy"]},
    ),
    (
        "mmlu",
        {"question": "Which bone is longest?", "options": ["A. rib", "B. femur"], "answer": "(b)"},
        {"answer": "B. femur"},
    ),
    (
        "ceval",
        {"id": 4, "question": "哪块骨头最长？", "A": "肋骨", "B": "股骨", "C": "胫骨", "D": "", "answer": "B"},
        {"answer": "股骨", "options": ["肋骨", "股骨", "胫骨"]},
    ),
    (
        "arc",
        {"question": "Which one?", "choices": {"text": ["rib", "femur"], "label": ["1", "2"]}, "answerKey": "2"},
        {"answer": "femur", "options": ["rib", "femur"]},
    ),
    (
        "arc",  # as AI2 publishes it
        {
            "id": "q1",
            "question": {"stem": "Which?", "choices": [{"text": "rib", "label": "A"}, {"text": "shin", "label": "B"}]},
            "answerKey": "B",
        },
        {"question": "Which?", "answer": "shin", "options": ["rib", "shin"]},
    ),
    (
        "sciq",
        {
            "question": "What melts?",
            "correct_answer": "ice",
            "distractor1": "sand",
            "distractor2": "air",
            "distractor3": "fog",
            "support": "Ice melts at 0 °C.",
        },
        {"answer": "ice", "options": ["air", "fog", "ice", "sand"], "explanation": "Ice melts at 0 °C."},
    ),
    (
        "sciq",  # GPQA
        {"Question": "What melts?", "Correct Answer": "ice", "Incorrect Answer 1": "sand", "Incorrect Answer 2": "air"},
        {"answer": "ice", "options": ["air", "ice", "sand"]},
    ),
    (
        "squad",
        {
            "context": "Ice melts at 0 °C.",
            "question": "When does ice melt?",
            "answers": {"text": ["at 0 °C", "0 °C"], "answer_start": [10, 13]},
        },
        {"question": "Ice melts at 0 °C.\n\nWhen does ice melt?", "answer": "at 0 °C"},
    ),
    (
        "truthfulqa",
        {"question": "Do pigs fly?", "best_answer": "No", "correct_answers": ["No"], "incorrect_answers": ["Yes"]},
        {"answer": "No", "options": []},
    ),
    (
        "hotpotqa",
        {
            "question": "Which sea is at the mouth of the river of Vienna?",
            "answer": "Black Sea",
            "type": "bridge",
            "supporting_facts": {"title": ["Vienna"], "sent_id": [0]},
            "context": {"title": ["Vienna"], "sentences": [["Vienna is on the Danube."]]},
        },
        {"question": "Which sea is at the mouth of the river of Vienna?", "answer": "Black Sea"},
    ),
]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize(("layout", "record", "fields"), ROWS)
def test_the_layout_is_found_and_its_fields_are_read(tmp_path, layout, record, fields, suffix):
    path = tmp_path / f"bank{suffix}"
    if suffix == ".jsonl":
        path.write_text(json.dumps(record), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist([record]), path)
    seeds = read_seeds(path)
    assert {name: seeds[0][name] for name in fields} == fields
    assert seeds.layouts == {layout: 1}
    assert (seeds.unanswered, seeds.rejects) == ([], [])


def test_each_layout_is_tested_and_can_be_chosen():
    tested = {layout for layout, _, _ in ROWS} | {"medmcqa"}
    assert {"columns", *layouts.SHAPES} == tested == set(allowed.LAYOUTS) - {"auto"}


@pytest.mark.parametrize(("layout", "record", "fields"), [row for row in ROWS if row[0] != "columns"])
def test_a_layout_can_be_chosen(layout, record, fields):
    seeds = Seeds.from_records([record, {"text": "of another layout"}], layout=layout)
    assert {name: seeds[0][name] for name in fields} == fields
    assert [(reject.line, reject.reason) for reject in seeds.rejects] == [(2, "no_question")]


def test_layout_columns_reads_columns_only():
    record = {"question": "6 times 7?", "answer": "6*7=<<6*7=42>>42\n#### 42"}
    seeds = Seeds.from_records([record], layout="columns")
    assert (seeds[0]["answer"], seeds[0]["explanation"]) == (record["answer"], None)


@pytest.mark.parametrize("answer", ["#### two\nlines", "text ####", "a #### b", "####" + "x" * 101])
def test_other_uses_of_four_hashes_are_text(answer):
    assert Seeds.from_records([{"question": "q", "answer": answer}])[0]["answer"] == answer


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"\boxed{1}, no: \boxed{\{2\}}", r"\{2\}"),
        (r"\boxed{3", r"\boxed{3"),
        (r"\boxed{}", r"\boxed{}"),
        (r"\fbox{4}", "4"),
        ("no box", "no box"),
    ],
)
def test_the_last_complete_box_is_the_answer_of_a_solution(solution, answer):
    assert Seeds.from_records([{"problem": "p", "solution": solution}])[0]["answer"] == answer


# --- dialogues

TURNS = [USER, ASSISTANT, {"role": "user", "content": "And fog?"}, {"role": "assistant", "content": "Droplets."}]


def test_of_a_dialogue_the_last_pair_or_each_pair_is_a_seed():
    record = {"id": "d", "messages": TURNS}
    last = Seeds.from_records([record])
    assert (last.table["id"].to_pylist(), last[0]["question"], last[0]["answer"]) == (["d"], "And fog?", "Droplets.")
    assert last.notes["earlier_turns_left_out"] == 1
    every = Seeds.from_records([record], turns="all")
    assert every.table["id"].to_pylist() == ["d-1", "d-2"]
    assert every.table["question"].to_pylist() == ["What is ice?", "And fog?"]
    assert (every.layouts, every.notes["earlier_turns_left_out"]) == ({"chat": 2}, 0)


def test_a_dialogue_without_an_answer_is_a_question_and_one_without_a_question_is_rejected():
    seeds = Seeds.from_records(
        [{"messages": [USER]}, {"messages": [ASSISTANT]}, {"messages": "text"}, {"messages": []}]
    )
    assert (seeds[0]["question"], seeds[0]["answer"]) == ("What is ice?", "")
    assert [(r.line, r.reason) for r in seeds.rejects] == [(2, "no_question"), (3, "wrong_type"), (4, "no_question")]


def test_a_dialogue_next_to_columns_of_question_and_answer_is_not_used():
    seeds = Seeds.from_records([{"problem": "p", "solution": "s", "messages": TURNS}])
    assert (seeds[0]["question"], seeds.layouts) == ("p", {"columns": 1})


# --- numbers of options


def medmcqa(*numbers):
    options = {"opa": "rib", "opb": "femur", "opc": "tibia", "opd": "ulna"}
    return [{"question": f"Which bone is {i}?", **options, "cop": n, "exp": "why"} for i, n in enumerate(numbers)]


@pytest.mark.parametrize(
    ("numbers", "answers"),
    [
        ([1, 0, 3], ["femur", "rib", "ulna"]),
        ([1, 4, 3], ["rib", "ulna", "tibia"]),
        (["1", "4", "3"], ["rib", "ulna", "tibia"]),
        ([1, 2, 3], ["", "", ""]),
        ([0, 4, 1], ["rib", "", "femur"]),
        ([-1, -1], ["", ""]),
    ],
)
def test_numbers_of_options_count_from_0_or_1_as_the_file_shows(numbers, answers):
    seeds = Seeds.from_records(medmcqa(*numbers))
    assert seeds.table["answer"].to_pylist() == answers
    assert seeds.layouts == {"medmcqa": len(numbers)}
    assert seeds[0]["options"] == ["rib", "femur", "tibia", "ulna"]
    assert seeds.notes["answer_unresolved"] == answers.count("")
    assert list(seeds.unanswered) == (["records"] if not any(answers) else [])


def test_what_numbers_count_from_can_be_set():
    for base, answers in ((0, ["femur", "tibia"]), (1, ["rib", "femur"])):
        assert Seeds.from_records(medmcqa(1, 2), index_base=base).table["answer"].to_pylist() == answers
    assert Seeds.from_records(medmcqa(1, 2), layout="medmcqa", index_base=1)[0]["explanation"] == "why"


@pytest.mark.parametrize(
    ("options", "answer", "found", "note"),
    [
        (["rib", "femur"], "B", "femur", "answer_from_label"),
        (["rib", "femur"], "b.", "femur", "answer_from_label"),
        (["rib", "femur"], "（B）", "femur", "answer_from_label"),
        (["rib", "femur"], "E", "", "answer_unresolved"),
        (["rib", "femur"], "x", "x", None),
        (["rib", "femur"], "e", "e", None),
        (["a", "an"], "a", "a", None),
        (["B. rib", "A. femur"], "A", "A. femur", "answer_from_label"),
        ({"yes": "it is", "no": "it is not"}, "no", "it is not", "answer_from_label"),
        ({"1": "rib", "2": "femur"}, 1, "rib", "answer_from_label"),
        ([{"label": "P", "text": "rib"}, {"label": "Q", "text": "femur"}], "Q", "femur", "answer_from_label"),
        (["5 cm", "1 cm"], "1", "1", None),
        (["rib", ""], 1, "", "answer_unresolved"),
        ([], "B", "B", "letter_without_options"),
        ([], "b", "b", None),
        ([], "7", "7", None),
        (["rib", "femur"], "12345", "12345", None),
    ],
)
def test_an_answer_that_names_an_option_becomes_its_text_or_is_marked(options, answer, found, note):
    seeds = Seeds.from_records([{"question": "q", "options": options, "answer": answer}])
    assert seeds[0]["answer"] == found
    named = {"answer_from_label", "answer_from_index", "answer_unresolved", "letter_without_options"}
    assert named & set(seeds.notes) == ({note} if note else set())


# --- columns


def test_options_can_be_mapped_to_several_columns():
    record = {"stem": "Which bone?", "w": "rib", "x": "femur", "key": "b", "choices": ["unused"]}
    seeds = Seeds.from_records([record], columns={"question": "stem", "options": "w, x", "answer": "key"})
    assert (seeds[0]["options"], seeds[0]["answer"]) == (["rib", "femur"], "femur")


def test_columns_that_look_like_answers_or_options_and_are_not_used_are_named():
    seeds = Seeds.from_records([{"question": "q", "endings": ["a", "b"], "label": 1}])
    assert list(seeds.remarks) == [
        "records: 'label' not used, but named like answer; to use it: --map answer=label",
        "records: 'endings' not used, but named like options; to use it: --map options=endings",
    ]
    assert list(seeds.unanswered) == ["records"]
    mapped = Seeds.from_records(
        [{"question": "q", "endings": ["a", "b"], "label": 1}], columns={"answer": "label", "options": "endings"}
    )
    assert (mapped[0]["answer"], mapped.remarks, mapped.unanswered) == ("b", [], [])
