"""From a bundle of linked seeds to a line of the OpenAI batch format."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.errors import DataError
from linksyn_gpu.llm import EMBEDDED_MODEL
from linksyn_gpu.llm.prompting import URL, prompt_chars
from linksyn_gpu.synthesis import prompts
from linksyn_gpu.text import estimate_tokens, guess_language

if TYPE_CHECKING:
    import pyarrow as pa

UNNAMED_MODEL = "auto"
"""Stands in a request while the model is not named; the engine's first model takes its place on sending."""
SMOL_PROMPT_CHARS = 18_000
"""Longest prompt that leaves room for an answer in the embedded model's context of 8,192 tokens."""
LABELS = {"zh": "zh", "cmn": "zh", "chinese": "zh", "中文": "zh", "汉语": "zh", "en": "en", "english": "en"}
"""Language of a seed's label, or of what stands before a '-' or '_' in it."""
logger = logging.getLogger(__name__)

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
            ("prompt_tokens_estimated", pa.int32()),
            ("seed", pa.int64()),
            ("max_tokens", pa.int32()),
            ("drop_reason", pa.string()),
            ("detail", pa.string()),
        ]
    )


def task_row(
    path: dict[str, Any],
    number: int,
    kp_names: Sequence[str],
    seeds: Mapping[int, dict[str, Any]],
    cells: Sequence[Cell],
    config: SynthesisConfig,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """One row of tasks.parquet, and the request where the path gives one; `seeds` are those that it names."""
    row = {name: path[name] for name in ("walk_id", "cell", "nodes", "seeds")}
    if path["drop_reason"] is not None:
        return {**row, "drop_reason": path["drop_reason"]}, None
    cell = cells[path["cell"]] if cells else (None, None)
    bundle = [seeds[i] for i in path["seeds"]]
    question_type = config.question_types[number % len(config.question_types)]
    task = make_task(
        bundle, [kp_names[v] for v in path["nodes"]], cell, question_type, config.language, config.per_path
    )
    request, chars = make_request(task, path["walk_id"], config)
    row |= {
        "question_type": task.question_type,
        "language": task.language,
        "discipline": task.discipline,
        "difficulty": task.difficulty,
        "prompt_chars": chars,
        "prompt_tokens_estimated": sum(estimate_tokens(message["content"]) for message in request["body"]["messages"]),
    }
    limit = max_prompt_chars(config)
    if chars > limit:
        detail = f"{chars} characters, at most {limit}"
        return {**row, "drop_reason": "prompt_too_long", "detail": detail}, None
    sampling = {name: request["body"][name] for name in ("seed", "max_tokens")}
    return {**row, "request_id": request["custom_id"], **sampling}, request


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
        language = _most_common([_language(seed) for seed in bundle]) or guess_language(" ".join(kp_path))
    return prompts.Task(bundle, kp_path, discipline, difficulty, question_type, language, n)


def make_request(task: prompts.Task, walk_id: int, config: SynthesisConfig) -> tuple[dict[str, Any], int]:
    """A line of the OpenAI batch format, and its prompt's length in characters.

    The id is a digest of the path's id and the body, so the same request has the same id in every run; the
    sampling seed comes from the digest too.
    """
    messages = prompts.render(task, config.templates)
    schema = prompts.answer_schema(task, config.field_limit)
    body: dict[str, Any] = {
        "model": config.model or default_model(config),
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
    return request, prompt_chars(messages)


def max_prompt_chars(config: SynthesisConfig) -> int:
    """Longest prompt in characters, as it holds for the engine."""
    if config.engine == "smol":
        return min(config.max_prompt_chars, SMOL_PROMPT_CHARS)
    return config.max_prompt_chars


def default_model(config: SynthesisConfig) -> str:
    """Model name in a request for which none was given."""
    return EMBEDDED_MODEL if config.engine == "smol" else UNNAMED_MODEL


def _most_common(values: Sequence[str]) -> str | None:
    """The most frequent value, the first of equals."""
    return Counter(values).most_common(1)[0][0] if values else None


def _language(seed: dict[str, Any]) -> str:
    return _named_language(seed.get("language") or "") or guess_language(seed["question"])


@functools.lru_cache(maxsize=256)
def _named_language(label: str) -> str | None:
    """The prompts' language that a seed's label names; None for any other label, which is logged once."""
    label = label.strip().casefold()
    found = LABELS.get(label) or LABELS.get(re.split("[-_]", label)[0])
    if label and found is None:
        known = " or ".join(prompts.LANGUAGES)
        logger.warning("prompts are %s, not %r: the text of each seed so labelled decides", known, label)
    return found


class SeedRows:
    """Rows of the seed table by their numbers, in time and memory of the rows alone.

    `Table.take` joins the chunks of every column first: the whole table copied for a few rows, and an error once a
    text column passes 2 GiB.

    Parameters
    ----------
    seeds : pyarrow.Table
        In any number of chunks, which are not copied.
    """

    def __init__(self, seeds: pa.Table) -> None:
        self._chunks = [chunk for chunk in seeds.to_batches() if chunk.num_rows]
        self._ends = np.cumsum([chunk.num_rows for chunk in self._chunks], dtype=np.int64)
        self._n = seeds.num_rows
        self._schema = seeds.schema

    def take(self, rows: Iterable[int]) -> dict[int, dict[str, Any]]:
        """The named rows as dicts, by their numbers.

        Raises
        ------
        DataError
            There is no such row.
        """
        import pyarrow as pa

        wanted = np.unique(np.fromiter(rows, np.int64))
        if wanted.size and not 0 <= wanted[0] <= wanted[-1] < self._n:
            wrong = wanted[0] if wanted[0] < 0 else wanted[-1]
            raise DataError(f"a path names seed row {wrong}, the seed table has {self._n}")
        numbers, first = np.unique(np.searchsorted(self._ends, wanted, side="right"), return_index=True)
        taken = []
        for number, inside in zip(numbers.tolist(), np.split(wanted, first[1:]), strict=False):
            chunk = self._chunks[number]
            taken.append(chunk.take(pa.array(inside - (self._ends[number] - chunk.num_rows))))
        rows_taken = pa.Table.from_batches(taken, self._schema).combine_chunks().to_pylist()
        return dict(zip(wanted.tolist(), rows_taken, strict=True))
