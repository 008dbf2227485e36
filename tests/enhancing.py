"""A scripted model for stage enhance: judge, solvers, comparer and writer, recognised by their prompts."""

import json
from collections import Counter

from linksyn_gpu.llm.protocol import Completion, Failure

ORIGINAL = ("make harder", "待改难的题目")


def kind_of(body):
    name = body["response_format"]["json_schema"]["name"]
    if name != "qa":
        return name
    return "rewrite" if any(key in body["messages"][-1]["content"] for key in ORIGINAL) else "synthesize"


def data_of(body):
    """The JSON lines of a prompt's data section."""
    text = body["messages"][-1]["content"]
    inside = text.split("<data>\n", 1)[1].split("\n</data>", 1)[0]
    return [json.loads(line) for line in inside.splitlines()]


def item(question, answer="because", **fields):
    return {
        "question": question,
        "explanation": "",
        "answer": answer,
        "knowledge_points": ["kp 1"],
        "discipline": "d",
        "difficulty": 5,
        **fields,
    }


class Model:
    """Answers by kind of prompt; override what a test is about.

    Questions carry their level as "level N", their true answer as "key X"; a rewrite adds one level.
    """

    def __init__(self):
        self.asked = Counter()
        self.bodies = []

    def judge(self, qa):
        level = int(qa["question"].split("level ")[1][0])
        return json.dumps({"reasons": [f"it looks like {level}"], "level": level})

    def solve(self, qa, seed):
        return json.dumps({"explanation": "so", "answer": qa["question"].split("key ")[1].split("?")[0]})

    def compare(self, pair):
        return json.dumps({"same": pair["first"] == pair["second"]})

    def rewrite(self, original, failures):
        level = min(5, int(original["question"].split("level ")[1][0]) + 1 + len(failures))
        name = original["question"].split()[0]
        question = f"{name} harder by {len(failures) + 1} is of level {level} with key because?"
        return json.dumps({"qa": [item(question)]})

    def reply(self, body):
        """The text for the body of a request, or the reason of a failure."""
        kind, data = kind_of(body), data_of(body)
        self.asked[kind] += 1
        self.bodies.append(body)
        if kind == "judge":
            return self.judge(data[0])
        if kind == "solve":
            return self.solve(data[0], body["seed"])
        if kind == "compare":
            return self.compare(data[0])
        original = next(line[key] for line in data for key in ORIGINAL if key in line)
        return self.rewrite(original, [line for line in data if "failed attempt" in line])

    def ask(self, kind, requests, validate):
        """An `asking.Send` without a server. An invalid text is a failure, without a second attempt."""
        for request in requests:
            name, body = request["custom_id"], request["body"]
            assert kind_of(body) == kind
            text = self.reply(body)
            if isinstance(text, Failure):
                yield Failure(name, text.reason, text.detail)
            elif reason := validate(text):
                yield Failure(name, reason, "")
            else:
                yield Completion(name, text, "", "stop", 10, 5, "fake", 1, body["seed"], body["max_tokens"])


def failing(reason):
    """A failure that `Model` returns instead of a text."""
    return Failure("", reason, "as scripted")
