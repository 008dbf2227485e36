"""Thinking is recognised by the structure of a text, in the notation of each model."""

import json

import pytest

from linksyn_gpu.llm.protocol import Completion, Failure, read_body
from linksyn_gpu.llm.thinking import split_thinking

ANSWER = json.dumps({"qa": [{"question": "Which force acts on a 3 kg body?", "answer": "29 N"}]})
DRAFT = 'Draft: {"qa": [{"question": "Is this a draft?", "answer": "yes"}]} No, "better:'
SET_TAGS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("analysis", "assistantfinal"),
]


@pytest.mark.parametrize(("opened", "closed"), SET_TAGS, ids=lambda text: text.strip())
@pytest.mark.parametrize("gap", ["", "\n\n", "\nHere it is:\n```json\n"])
def test_the_answer_follows_the_thinking_in_each_notation(opened, closed, gap):
    thinking, answer = split_thinking(f"  {opened}{DRAFT}{closed}{gap}{ANSWER}")
    assert answer == (gap + ANSWER).strip()
    assert "Is this a draft?" in thinking


@pytest.mark.parametrize("closed", ["</think>", "</thinking>", "[/THINK]", "◁/think▷"])
@pytest.mark.parametrize("draft", [DRAFT, "prose", "so {1, 2", 'he said "so', 'a "quoted" word and a set {x}'])
def test_a_closing_tag_alone_ends_thinking_that_the_prompt_opened(closed, draft):
    assert split_thinking(f"{draft}{closed}\n{ANSWER}") == (draft, ANSWER)


@pytest.mark.parametrize("opened", ["<think>", "[THINK]", "◁think▷", "<|channel|>analysis<|message|>"])
def test_thinking_that_does_not_end_leaves_no_answer(opened):
    assert split_thinking(f"{opened}{DRAFT}")[1] == ""


@pytest.mark.parametrize("tag", ["</think>", "<think>", "[/THINK]", "</think> or </b>", '\\"</think>\\"'])
@pytest.mark.parametrize("before", ["", "```json\n", "Here: ", "<think>short</think>"])
def test_a_tag_inside_a_json_string_belongs_to_the_answer(tag, before):
    text = '{"qa": [{"question": "What does ' + tag + ' end?", "answer": "thinking"}]}'
    assert split_thinking(before + text)[1] == (before + text).removeprefix("<think>short</think>").strip()


def test_several_blocks_of_thinking_are_all_thinking():
    assert split_thinking(f"<think>a</think>between<think>b</think>{ANSWER}")[1] == ANSWER


@pytest.mark.parametrize("text", ["", "analysis of data is fun", "no thinking here", ANSWER, "a < b"])
def test_text_without_thinking_is_the_answer(text):
    assert split_thinking(text) == ("", text)


def test_many_tags_and_brackets_take_linear_time():
    text = '{"</think>' * 100_000
    assert split_thinking(text)[1] in (text, "")


def body(**message):
    return {"choices": [{"finish_reason": "stop", "message": message}]}


@pytest.mark.parametrize(
    "message",
    [
        {"content": ANSWER, "reasoning_content": "hm"},
        {"content": ANSWER, "reasoning": "hm"},
        {"content": ANSWER, "reasoning": {"content": [{"type": "text", "text": "hm"}]}},
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": ANSWER},
            ]
        },
        {"content": [{"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": ANSWER}]},
        {"content": [{"type": "text", "text": "<think>hm</think>"}, {"type": "text", "text": ANSWER}]},
    ],
    ids=str,
)
def test_thinking_in_fields_and_parts_is_kept_apart(message):
    outcome = read_body("a", body(**message))
    assert isinstance(outcome, Completion)
    assert (outcome.text, outcome.reasoning) == (ANSWER, "hm")


@pytest.mark.parametrize("content", [5, {"text": "x"}, True])
def test_content_that_is_not_text_is_a_bad_response(content):
    outcome = read_body("a", body(content=content))
    assert isinstance(outcome, Failure)
    assert outcome.reason == "bad_response"


def test_content_that_is_nested_too_deeply_is_a_bad_response():
    content = "x"
    for _ in range(500):
        content = [content]
    assert read_body("a", body(content=content)).reason == "bad_response"


@pytest.mark.parametrize("number", [2**31, 1e400, -1, "7", None, True, float("nan"), [1], 10**30])
def test_an_impossible_number_of_tokens_counts_as_zero(number):
    outcome = read_body("a", {**body(content=ANSWER), "usage": {"prompt_tokens": number, "completion_tokens": 5}})
    assert (outcome.prompt_tokens, outcome.completion_tokens) == (0, 5)
