"""From a bundle of linked seeds to a line of the OpenAI batch format."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from linksyn_gpu import prompts
from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

URL = "/v1/chat/completions"
UNNAMED_MODEL = "auto"
"""Stands in a request while the model is not named; the engine's first model takes its place on sending."""
SMOL_MODEL = "SmolLM2-135M-Instruct"
SMOL_PROMPT_CHARS = 18_000
"""Longest prompt that leaves room for an answer in the embedded model's context of 8,192 tokens."""
PATH_REASONS = {"prompt_too_long": "the prompt is longer than max_prompt_chars, or than the model can take"}
"""Why a path gets no request here; it may also come with a reason of its own."""
CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")

Cell = tuple[str | None, int | None]


def tasks_schema() -> pa.Schema:
    """Columns of tasks.parquet: one row a path, in order; `request_id` is null where it was dropped."""
    import pyarrow as pa

    return pa.schema(
        [
            ("request_id", pa.string()),
            ("walk_id", pa.int64()),
            ("cell", pa.int32()),
            ("nodes", pa.list_(pa.int32())),
            ("seeds", pa.list_(pa.int32())),
            ("question_type", pa.string()),
            ("language", pa.string()),
            ("discipline", pa.string()),
            ("difficulty", pa.int8()),
            ("prompt_chars", pa.int32()),
            ("drop_reason", pa.string()),
            ("detail", pa.string()),
        ]
    )


def task_row(
    path: dict[str, Any],
    number: int,
    kp_names: Sequence[str],
    seeds: SeedRows,
    cells: Sequence[Cell],
    config: SynthesisConfig,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """One row of tasks.parquet, and the request where the path gives one."""
    row = {name: path[name] for name in ("walk_id", "cell", "nodes", "seeds")}
    if path["drop_reason"] is not None:
        return {**row, "drop_reason": path["drop_reason"]}, None
    cell = cells[path["cell"]] if cells else (None, None)
    bundle = [seeds[i] for i in path["seeds"]]
    question_type = config.question_types[number % len(config.question_types)]
    task = make_task(
        bundle, [kp_names[v] for v in path["nodes"]], cell, question_type, config.language, config.per_path
    )
    request, prompt_chars = make_request(task, path["walk_id"], config)
    row |= {
        "question_type": task.question_type,
        "language": task.language,
        "discipline": task.discipline,
        "difficulty": task.difficulty,
        "prompt_chars": prompt_chars,
    }
    limit = _max_prompt_chars(config)
    if prompt_chars > limit:
        detail = f"{prompt_chars} characters, at most {limit}"
        return {**row, "drop_reason": "prompt_too_long", "detail": detail}, None
    return {**row, "request_id": request["custom_id"]}, request


def make_task(
    bundle: Sequence[dict[str, Any]],
    kp_path: Sequence[str],
    cell: Cell,
    question_type: str,
    language: str,
    n: int,
) -> prompts.Task:
    """What to ask of a bundle: the cell's discipline and level, else what is most common among its seeds."""
    discipline, difficulty = cell
    if discipline is None:
        discipline = _most_common([seed["disciplines"][0] for seed in bundle if seed.get("disciplines")])
    if difficulty is None:
        known = [seed["difficulty"] for seed in bundle if seed.get("difficulty") is not None]
        difficulty = int(sum(known) / len(known) + 0.5) if known else None
    if language == "auto":
        language = _most_common([_language(seed) for seed in bundle]) or "en"
    return prompts.Task(bundle, kp_path, discipline, difficulty, question_type, language, n)


def make_request(task: prompts.Task, walk_id: int, config: SynthesisConfig) -> tuple[dict[str, Any], int]:
    """A line of the OpenAI batch format, and its prompt's length in characters.

    The id is a digest of the path's id and the body, so the same request has the same id in every run; the
    sampling seed comes from the digest too.
    """
    messages = prompts.render(task, config.templates)
    schema = prompts.answer_schema(task, config.field_limit)
    body: dict[str, Any] = {
        "model": config.model or _default_model(config),
        "messages": messages,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "max_tokens": config.max_tokens,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "qa", "strict": True, "schema": schema},
        },
    }
    content = json.dumps([walk_id, body], sort_keys=True)
    digest = hashlib.sha256(content.encode()).digest()
    body["seed"] = int.from_bytes(digest[16:20]) >> 1
    request = {"custom_id": digest[:16].hex(), "method": "POST", "url": URL, "body": body}
    return request, sum(len(message["content"]) for message in messages)


def _max_prompt_chars(config: SynthesisConfig) -> int:
    if config.engine == "smol":
        return min(config.max_prompt_chars, SMOL_PROMPT_CHARS)
    return config.max_prompt_chars


def _default_model(config: SynthesisConfig) -> str:
    return SMOL_MODEL if config.engine == "smol" else UNNAMED_MODEL


def _most_common(values: Sequence[str]) -> str | None:
    """The most frequent value, the first of equals."""
    return Counter(values).most_common(1)[0][0] if values else None


def _language(seed: dict[str, Any]) -> str:
    stated = seed.get("language")
    if stated:
        return "zh" if stated.casefold().startswith(("zh", "chi", "cn")) else "en"
    return "zh" if CJK.search(seed["question"]) else "en"


class SeedRows:
    """Those seeds of a table that a batch of paths names, as dicts."""

    def __init__(self, seeds: pa.Table, paths: Sequence[dict[str, Any]]) -> None:
        wanted = sorted({i for path in paths if path["drop_reason"] is None for i in path["seeds"]})
        if wanted and wanted[-1] >= seeds.num_rows:
            raise DataError(f"a path names seed row {wanted[-1]}, the seed table has {seeds.num_rows}")
        self._rows: dict[int, dict[str, Any]] = dict(
            zip(wanted, seeds.take(wanted).to_pylist() if wanted else [], strict=True)
        )

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self._rows[row]
