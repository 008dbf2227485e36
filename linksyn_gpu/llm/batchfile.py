"""Batch files: requests written for another machine, and its answers read into the journal.

The files in `requests/` are in the OpenAI batch format, which `vllm run-batch` also reads. Answers come back as
`{"custom_id": ..., "response": {"status_code": ..., "body": {...}}, "error": ...}`, in any order, in one file or
several (OpenAI puts failed lines into a second file).
"""

from __future__ import annotations

import contextlib
import glob
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from linksyn_gpu.config import PARAMETERS, SynthesisConfig
from linksyn_gpu.errors import ConfigError, DataError
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
from linksyn_gpu.streams import MAX_LINE, bounded_lines, open_to_read, open_to_write
from linksyn_gpu.tables import json_line

REASONS = {
    **{Kind.INVALID: "invalid_json", Kind.UNUSABLE: "bad_request", Kind.FILTERED: "filtered"},
    **{Kind.WAIT: "rate_limited", Kind.RETRY: "server_error"},
}
"""Reasons of error lines; 'refused' for the other kinds. Which of them pass: `protocol.TRANSIENT`."""
ENDED = ("batch_expired", "batch_cancelled")
"""Codes of lines that the service did not answer before the batch ended."""
ANSWER_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
"""Names of the files of answers in a folder."""
OpenFile = Callable[[int], contextlib.AbstractContextManager[Path]]
"""Gives, for the number of a file, a context with the path to write it to."""


class RequestFiles:
    """Lines in files of bounded size, within the limits of batch services; use as a context manager.

    Parameters
    ----------
    open_file : callable
        The next file is opened when one is full.
    config : SynthesisConfig
        Has the limits. Files of engine 'batch' are plain, for the service; others are compressed, by their names.
    """

    def __init__(self, open_file: OpenFile, config: SynthesisConfig) -> None:
        self._open_file = open_file
        self._most_lines, self._most_bytes = config.batch_requests, config.batch_bytes
        self._compressed = config.engine != "batch"
        self.number = 0
        """Of the next file."""
        self._open = contextlib.ExitStack()
        self._file: IO[bytes] | None = None
        self._lines = self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def end(self) -> None:
        """End the file that is open, if one is."""
        self._open.close()
        self._file = None

    def write(self, line: bytes) -> int:
        """Write a line, and return the number of its file.

        Raises
        ------
        ConfigError
            The line alone is larger than a file may be.
        """
        if len(line) > self._most_bytes:
            raise ConfigError(
                f"a request has {len(line):,} bytes, and a file of requests at most {self._most_bytes:,}: raise "
                "--batch-bytes, or lower max_prompt_chars"
            )
        if self._file is None or self._lines == self._most_lines or self._bytes + len(line) > self._most_bytes:
            self.end()
            path = self._open.enter_context(self._open_file(self.number))
            self._file = self._open.enter_context(open_to_write(path, compressed=self._compressed))
            self.number += 1
            self._lines = self._bytes = 0
        self._file.write(line)
        self._lines += 1
        self._bytes += len(line)
        return self.number - 1


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
    """Lines that are not JSON objects with a custom_id, or say nothing about it."""
    missing: int = 0
    """Requests that are still to be asked: they have neither an answer nor a failure that would come again."""
    examples: list[str] = field(default_factory=list)
    """`file:line: what is wrong` for the first few lines that were not used."""


def write(
    requests: Iterable[dict[str, Any]],
    files: RequestFiles,
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
    for request in requests:
        if settled is None or not settled.settled(request["custom_id"]):
            body = dict(request["body"])
            if answer_limit is not None:
                body |= dict.fromkeys(ANSWER_LIMITS & body.keys(), answer_limit)
            files.write(json_line({**request, "body": body if dialect is None else dialect.apply(body)}))
            n += 1
    return n


def answer_files(names: Iterable[str | Path]) -> list[Path]:
    """Files of answers by name, by a pattern such as `answers/*.jsonl`, or all in a folder; each once.

    Raises
    ------
    DataError
        A file is missing, a pattern matches no file, or a folder has no `ANSWER_SUFFIXES`.
    """
    found: dict[Path, Path] = {}
    for name in map(str, names):
        path = Path(name)
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.is_file() and file.name.endswith(ANSWER_SUFFIXES))
            if not files:
                raise DataError(f"{name}: no file of answers in this folder ({', '.join(ANSWER_SUFFIXES)})")
        elif path.exists() or not re.search(r"[*?\[]", name):
            files = [path]
        else:
            matches = glob.glob(name, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute patterns
            files = sorted(Path(match) for match in matches if Path(match).is_file())
            if not files:
                raise DataError(f"{name}: the pattern matches no file")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


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
    answers : iterable of path
        See `answer_files`.
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

    for where, line in _lines(answer_files(answers)):
        result.lines += 1
        value = _object(line)
        request_id = value.get("custom_id") if value else None
        if value is None or not isinstance(request_id, str):
            result.unreadable += 1
            _note(result, f"{where}: {_unreadable(line)}")
            continue
        if not {"response", "error"} & value.keys():
            result.unreadable += 1
            _note(result, f"{where}: has neither 'response' nor 'error', as a request has, not an answer")
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
    if (best == ANSWERED).any() or result.failed.keys() - {"bad_request", *TRANSIENT}:
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
        if isinstance(error, dict) and error.get("code") in ENDED:
            return Failure(request_id, "expired", clip(error_message(error)))
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


def _lines(files: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        try:
            with open_to_read(file) as stream:
                for number, line in bounded_lines(stream, MAX_LINE):
                    if line.strip():
                        yield f"{file}:{number}", line
        except OSError as error:
            raise DataError(f"{file}: cannot be read to its end: {error.strerror or error}") from error


def _unreadable(line: bytes) -> str:
    return f"longer than {MAX_LINE:,} bytes" if len(line) > MAX_LINE else "not a JSON object with a custom_id"


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line) if len(line) <= MAX_LINE else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _note(result: Collected, text: str, most: int = 5) -> None:
    if len(result.examples) < most:
        result.examples.append(text)
