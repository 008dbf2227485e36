"""Batch files: requests written for another machine, and its answers read into the journal.

The files in `requests/` are in the OpenAI batch format, which `vllm run-batch` also reads. Answers come back as
`{"custom_id": ..., "response": {"status_code": ..., "body": {...}}, "error": ...}`, in any order, in one file or
several (OpenAI puts failed lines into a second file).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from linksyn_gpu.config import PARAMETERS
from linksyn_gpu.errors import DataError
from linksyn_gpu.llm.journal import (
    ANSWERED,
    TO_ASK_AGAIN,
    Index,
    Journal,
    find_key,
    rank_of,
    request_key,
    request_keys,
)
from linksyn_gpu.llm.protocol import (
    ITEM_MISSING,
    TRANSIENT,
    Failure,
    Outcome,
    clip,
    error_message,
    fail,
    read_body,
    to_record,
    unusable,
)
from linksyn_gpu.llm.refusals import ANSWER_LIMITS, Dialect, Kind, read_refusal

REASONS = {Kind.INVALID: "invalid_json", Kind.UNUSABLE: "bad_request", Kind.FILTERED: "filtered"}
"""Reasons of lines that say something about their request. After any other refusal a request is asked again."""


@dataclass
class Collected:
    """What files of answers held. `lines` is the sum of the counts below it, without `missing`."""

    lines: int = 0
    completions: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Lines whose request failed or whose answer cannot be used, by reason."""
    duplicates: int = 0
    """Lines whose request already has a usable answer, in the journal or on an earlier line."""
    unknown: int = 0
    """Lines whose custom_id belongs to no request of this run."""
    unreadable: int = 0
    """Lines that are not JSON objects with a custom_id."""
    missing: int = 0
    """Requests that are still to be asked: they have neither an answer nor a failure that would come again."""
    examples: list[str] = field(default_factory=list)
    """`file:line: what is wrong` for the first few lines that were not used."""


def write(
    requests: Iterable[dict[str, Any]],
    target: str | Path,
    *,
    settled: Index | None = None,
    dialect: Dialect | None = None,
    answer_limit: int | None = None,
) -> int:
    """Write requests for another machine.

    Parameters
    ----------
    dialect : Dialect, optional
        Parameters to leave out or to rename.
    answer_limit : int, optional
        Replaces the answer limit of each request.
    settled : Index, optional
        Leave out the requests that the journal has an answer for.

    Returns
    -------
    int
        Lines written.
    """
    n = 0
    with Path(target).open("w", encoding="utf-8", errors="replace", newline="\n") as lines:
        for request in requests:
            if settled is None or not settled.settled(request["custom_id"]):
                body = dict(request["body"])
                if answer_limit is not None:
                    body |= dict.fromkeys(ANSWER_LIMITS & body.keys(), answer_limit)
                line = {**request, "body": body if dialect is None else dialect.apply(body)}
                lines.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
                n += 1
    return n


def collect(
    answers: Iterable[str | Path],
    journal: Journal,
    known_ids: Iterable[str],
    *,
    validate: Callable[[str], str | None] | None = None,
) -> Collected:
    """Read files of answers, in any order, into the journal.

    A usable answer replaces an earlier failure. A failure that says nothing new about its request is counted and not
    written again. Holds 17 bytes per request.

    Parameters
    ----------
    known_ids : iterable of str
        Ids of all requests of the run.
    validate : callable, optional
        As in `dispatch.ask_all`; an answer that it refuses is a failed line.

    Raises
    ------
    DataError
        A file cannot be read, or no line belongs to this run.
    """
    known = request_keys(known_ids)
    best = journal.index().ranks_of(known)
    result = Collected()
    doubtful: list[tuple[int, Failure]] = []

    def keep(row: int, outcome: Outcome) -> None:
        record = to_record(outcome)
        if (rank := rank_of(record)) < best[row]:
            journal.append(record)
            best[row] = rank

    for where, line in _lines(answers):
        result.lines += 1
        value = _object(line)
        request_id = value.get("custom_id") if value else None
        if value is None or not isinstance(request_id, str):
            result.unreadable += 1
            _note(result, f"{where}: not a JSON object with a custom_id")
            continue
        row = find_key(known, request_key(request_id))
        if row < 0:
            result.unknown += 1
            _note(result, f"{where}: custom_id {request_id!r} belongs to no request of this run")
            continue
        if best[row] == ANSWERED:
            result.duplicates += 1
            continue
        outcome = read_line(value, validate)
        if isinstance(outcome, Failure):
            result.failed[outcome.reason] += 1
            _note(result, f"{where}: {outcome.reason}: {outcome.detail}")
        else:
            result.completions += 1
        if isinstance(outcome, Failure) and outcome.reason == "bad_request":
            doubtful.append((row, outcome))
        else:
            keep(row, outcome)
    # As in a run: a refusal says something about its request only where other requests were answered.
    if result.completions or result.duplicates or result.failed.keys() - {"bad_request", *TRANSIENT}:
        for row, failure in doubtful:
            keep(row, failure)
    journal.sync()
    if result.lines and not result.completions and not result.failed and not result.duplicates:
        raise DataError(f"no line belongs to this run; the first: {result.examples[0]}")
    result.missing = int((best >= TO_ASK_AGAIN).sum())
    return result


def read_line(value: dict[str, Any], validate: Callable[[str], str | None] | None = None) -> Outcome:
    """The outcome on one line of a file of answers."""
    request_id = value["custom_id"]
    response = value.get("response")
    response = response if isinstance(response, dict) else {}
    body = response.get("body")
    status = response.get("status_code", 200 if body else None)
    error = value.get("error") or (body if status != 200 else None)
    if error or status != 200:
        if not isinstance(status, int) or isinstance(status, bool) or not 400 <= status < 500:
            return Failure(request_id, "server_error", clip(f"HTTP {status}: {error_message(error)}"))
        refusal = read_refusal(status, error, PARAMETERS)
        reason = REASONS.get(refusal.kind, "refused")
        if refusal.kind is Kind.TOO_LONG and refusal.space is not None and refusal.space <= 0:
            reason = "prompt_too_long"
        return Failure(request_id, reason, clip(refusal.message))
    outcome = read_body(request_id, body)
    if isinstance(outcome, Failure):
        return outcome
    fault = unusable(outcome) or (validate(outcome.text) if validate else None)
    if fault is None or fault == ITEM_MISSING:
        return outcome
    return fail(outcome, fault, f"finish_reason {outcome.finish_reason or 'unknown'}")


def _lines(files: Iterable[str | Path]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        try:
            with Path(file).open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield f"{file}:{number}", line
        except OSError as error:
            raise DataError(f"{file}: cannot be read: {error.strerror}") from error


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _note(result: Collected, text: str, most: int = 5) -> None:
    if len(result.examples) < most:
        result.examples.append(text)
