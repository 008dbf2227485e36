"""The format of a batch input file, written from OpenAI's documentation of its Batch API and of chat completions.

Each line is one request with its own `custom_id`. A file holds requests to one model: at most 50,000, and 200 MB.
"""

import json
import re

MOST_REQUESTS, MOST_BYTES = 50_000, 200 * 10**6
ENDPOINT = "/v1/chat/completions"
ROLES = ("developer", "system", "user", "assistant")
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def is_number(value, low, high):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def is_whole(value, low, high=2**63 - 1):
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_schema(value):
    """`response_format` with a JSON schema."""
    inner = value["json_schema"]
    return (
        value.keys() == {"type", "json_schema"}
        and value["type"] == "json_schema"
        and inner.keys() <= {"name", "description", "schema", "strict"}
        and NAME.fullmatch(inner["name"]) is not None
        and isinstance(inner["schema"], dict)
        and isinstance(inner.get("strict", False), bool)
    )


PARAMETERS = {
    "temperature": lambda value: is_number(value, 0, 2),
    "top_p": lambda value: is_number(value, 0, 1),
    "seed": lambda value: is_whole(value, -(2**63)),
    "max_tokens": lambda value: is_whole(value, 1),
    "max_completion_tokens": lambda value: is_whole(value, 1),
    "response_format": is_schema,
}


def faults(data: bytes) -> list[str]:
    """What is wrong with a file, each with its line."""
    found = []
    lines = data.decode("utf-8").split("\n")
    if lines.pop() != "":
        found.append("the last line does not end")
    if not 1 <= len(lines) <= MOST_REQUESTS:
        found.append(f"{len(lines)} requests")
    if len(data) > MOST_BYTES:
        found.append(f"{len(data)} bytes")
    ids, models = set(), set()
    for number, line in enumerate(lines, 1):
        request = json.loads(line)
        body = request.get("body", {})
        checks = {
            "keys": request.keys() == {"custom_id", "method", "url", "body"},
            "custom_id": isinstance(request.get("custom_id"), str) and 0 < len(request["custom_id"]) <= 64,
            "custom_id is unique": request.get("custom_id") not in ids,
            "method": request.get("method") == "POST",
            "url": request.get("url") == ENDPOINT,
            "model": isinstance(body.get("model"), str) and body["model"] not in ("", "auto"),
            "messages": bool(body.get("messages"))
            and all(
                message.keys() == {"role", "content"}
                and message["role"] in ROLES
                and isinstance(message["content"], str)
                and message["content"]
                for message in body["messages"]
            ),
            "the last message is the user's": body["messages"][-1]["role"] == "user",
            **{
                name: name in PARAMETERS and PARAMETERS[name](value)
                for name, value in body.items()
                if name not in ("model", "messages")
            },
        }
        found += [f"line {number}: {name}" for name, holds in checks.items() if not holds]
        ids.add(request.get("custom_id"))
        models.add(body.get("model"))
    if len(models) > 1:
        found.append(f"several models: {models}")
    return found
