"""A model whose questions differ: as many as asked for, made of the prompt's hash."""

import hashlib
import json

import numpy as np

from linksyn_gpu.text.words import word_list
from tests.llm.fake_server import ok

NOUNS = word_list(
    "tax wage rent price trade money crop grain river field plant animal cell acid metal salt light wave force energy "
    "mass heat sound star planet ocean city law court vote king war treaty poem novel verse rhyme note chord"
)
VERBS = word_list("raise lower change limit cause explain follow precede replace support weaken measure")


def varied(body, n):
    """Answers with `n` items of the schema of the request."""
    text = json.dumps(body["messages"]) + str(body.get("seed"))
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))
    schema = body["response_format"]["json_schema"]["schema"]["properties"]["qa"]
    properties = schema["items"]["properties"]

    def words(count):
        return " ".join(rng.choice(NOUNS, count))

    items = []
    for _ in range(schema.get("minItems", 1)):
        one, other, third = words(2), words(3), words(3)
        value = rng.integers(2, 999)
        item = {
            "question": f"How does the {one} {rng.choice(VERBS)} the {other} when the {third} has value {value}?",
            "explanation": f"The {one} comes first, and the {other} follows it at {value}.",
            "answer": f"The {other} follows the {one} at {value}.",
            "knowledge_points": [words(1)],
            "discipline": "economics",
            "difficulty": int(rng.integers(1, 6)),
        }
        if "options" in properties:
            item["options"] = [f"the {other} follows the {one} at {value + i}" for i in range(4)]
            item["answer"] = item["options"][0]
        items.append(item)
    return ok(json.dumps({"qa": items}))
