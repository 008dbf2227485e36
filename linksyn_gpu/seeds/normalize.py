"""Seed files to `Seeds`: columns found by name, values brought into one form, bad rows set aside.

Text is never rewritten: question, answer and options are what the file holds, to the byte. What is compared (for
duplicates) or derived (a missing id or language) is computed beside it.

What each field accepts (a list or object may also be written as JSON inside a string, as CSV needs it):

- question: text. Where its column is `instruction`, a non-blank column `input` (Alpaca) follows after a blank line.
- answer: text or a number. Empty: kept, marked 'empty_answer'.
- options: a list; an object, in the order of its keys ({"A": ..., "B": ...}) or, as {"text": [...]}, by its texts;
  any other string is one option.
- knowledge_points: a list, kept as it stands but for blank entries; any other string is split on ; | and U+FF1B.
  `route_separator` then splits each entry into its nodes.
- disciplines: a list, trimmed, blank ones left out; any other string is one discipline.
- difficulty: a number or text that `difficulty_scale` names; else null, marked 'difficulty_off_scale'.
- id, language, source, license: text or a number. A missing id is made from the content, a missing language guessed
  from the question.

Two records are duplicates when they bear one id, or when question and options both compare equal: under NFKC, with
white space collapsed and trimmed, *upper and lower case kept apart* (Co is not CO). The same stem with other options
is another question; with another answer it is not. The first is kept, or all with `keep_duplicates`: ids then repeat.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from linksyn_gpu.config import SeedsConfig
from linksyn_gpu.config.loader import from_mapping
from linksyn_gpu.errors import ConfigError, DataError
from linksyn_gpu.seeds import readers as records
from linksyn_gpu.seeds.readers import SourceFile, Unfit, listed, text_of, texts_of
from linksyn_gpu.tables import Reject, Seeds, seed_schema
from linksyn_gpu.taxonomy.difficulty import difficulty_scale
from linksyn_gpu.text import guess_language

USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "uid", "question_id"),
    "question": ("question", "prompt", "instruction", "problem", "query"),
    "answer": ("answer", "response", "output", "solution"),
    "options": ("options", "choices"),
    "disciplines": ("discipline", "disciplines", "subject", "category"),
    "difficulty": ("difficulty", "level"),
    "knowledge_points": ("knowledge_points", "kps", "concepts", "tags"),
    "language": ("language", "lang"),
    "source": ("source",),
    "license": ("license", "licence"),
}
"""Names of a field's column, looked for in this order whatever their case, `_`, `-` and spaces. The first that a
record has is used, even where its value is empty: a field never changes its column between records of one shape."""

REASONS = (
    "invalid_json",  # a line that is not JSON
    "not_a_record",  # JSON that is no object, or a CSV row that does not fit the header
    "invalid_utf8",  # bytes that are not UTF-8, or a lone surrogate written as \ud800
    "no_question",  # no such column, or nothing in it
    "wrong_type",  # a list, object or number where text must be
    "too_long",  # more than `max_chars` characters
    "duplicate_id",
    "duplicate_question",
)
"""Why a record was not taken."""

NOTES = (
    "empty_answer",
    "no_knowledge_points",
    "difficulty_off_scale",  # outside the scale or no number; the seed's difficulty is null
    "language_guessed",
    "id_made",
)
"""Marks of seeds that were kept, counted in `Seeds.notes`."""

_LABELS = ("id", "language", "source", "license")
_MENDS = {
    "no_question": "; name the question's column: columns={'question': 'COLUMN'} (--map question=COLUMN)",
    "invalid_utf8": "; save the file as UTF-8",
    "too_long": "; a larger max_chars takes longer records",
}
_BATCH_ROWS = 16_384
# An Arrow text column addresses 2^31 bytes, and a character takes at most 4.
_BATCH_CHARS = 2**27
_MAX_LAYOUTS = 1024
_KP_SEPARATORS = re.compile("[;|\uff1b]")
_NAME_NOISE = re.compile(r"[_\-\s]")


def read_seeds(paths: str | Path | Sequence[str | Path], config: SeedsConfig | None = None, **settings: Any) -> Seeds:
    """Read seed QA from files.

    Parameters
    ----------
    paths : path or glob pattern, or several
        `.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv` (each also with `.gz` or `.zst` behind it), `.parquet`.
        Read in the order given, the files of a pattern sorted; a file named twice is read once.
    config : SeedsConfig, optional
    **settings
        Fields of `SeedsConfig` in place of `config`, e.g. `columns={"question": "stem"}`.

    Returns
    -------
    Seeds
        `table` with the columns of `seed_schema()`, in input order; `rejects`, each with its file as the user named
        it, its 1-based line (record number in JSON and Parquet), one of `REASONS` and a detail; `notes`, counts of
        `NOTES`. The table and the rejects together are all records of the files.

    Raises
    ------
    ConfigError
        A setting is unknown or wrong, or both `config` and `settings` are given.
    DataError
        A file is missing, of no known format or broken as a whole; a column of `columns` is in no record of
        a file; or not a single record was taken.
    """
    intake = _Intake(_config(config, settings))
    for file in records.find_files(paths):
        intake.read(file)
    return intake.seeds()


def _config(config: SeedsConfig | None, settings: Mapping[str, Any]) -> SeedsConfig:
    if config is not None and settings:
        raise ConfigError(f"give either config or settings of its own ({', '.join(settings)}), not both")
    made: SeedsConfig = from_mapping(SeedsConfig, settings) if config is None else config
    for field, column in made.columns.items():
        if not isinstance(column, str):
            raise ConfigError(f"columns[{field!r}] = {column!r} must be the name of a column")
    return made


def _folded(name: str) -> str:
    return _NAME_NOISE.sub("", name.casefold())


_FOLDED_NAMES = {field: tuple(map(_folded, names)) for field, names in USUAL_NAMES.items()}


class _Columns:
    """Which columns of one file feed which fields; records of one shape share one plan."""

    def __init__(self, file: SourceFile, mapped: Mapping[str, str]) -> None:
        self._file = file
        self._mapped = mapped
        self._missing = set(mapped.values())
        self._seen: dict[str, None] = {}  # columns in the order they were met
        self._plans: dict[tuple[str, ...], dict[str, str] | Unfit] = {}

    def plan(self, names: tuple[str, ...]) -> dict[str, str] | Unfit:
        """Give, for records with these keys, field (or 'input', see `_question`) -> column."""
        plan = self._plans.get(names)
        if plan is None:
            plan = self._new_plan(names)
            self._missing.difference_update(names)
            if len(self._plans) < _MAX_LAYOUTS:  # keys that differ in each record must not fill the memory
                self._plans[names] = plan
                self._seen.update(dict.fromkeys(names))
        return plan

    def _new_plan(self, names: tuple[str, ...]) -> dict[str, str] | Unfit:
        by_folded: dict[str, str] = {}
        for name in names:
            by_folded.setdefault(_folded(name), name)
        columns: dict[str, str] = {}
        for field, usual in _FOLDED_NAMES.items():
            if field in self._mapped:
                column = self._mapped[field] if self._mapped[field] in names else None
            else:
                column = next((by_folded[name] for name in usual if name in by_folded), None)
            if column is not None:
                columns[field] = column
        extra = by_folded.get("input")
        if _folded(columns.get("question", "")) == "instruction" and extra not in (None, *columns.values()):
            columns["input"] = str(extra)
        if "question" in columns:
            return columns
        wanted = (self._mapped["question"],) if "question" in self._mapped else USUAL_NAMES["question"]
        return Unfit("no_question", f"no column {', '.join(wanted)} among {listed(names)}")

    def select(self, names: Sequence[str]) -> list[str]:
        """Choose the columns to read of a file with a header, where a wrong mapping shows at once."""
        plan = self.plan(tuple(names))
        self.check()
        return [] if isinstance(plan, Unfit) else list(dict.fromkeys(plan.values()))

    def check(self) -> None:
        """Raise `DataError` when a mapped column was in no record."""
        if self._missing and self._seen:
            missing = listed(sorted(self._missing))
            raise DataError(f"{self._file.name}: no column {missing}, asked for; the file has {listed(self._seen)}")


class _Intake:
    """Takes records one by one into Arrow batches; remembers digests, never texts, of what it took."""

    def __init__(self, config: SeedsConfig) -> None:
        self._config = config
        self._schema = seed_schema()
        self._batches: list[Any] = []  # Arrow record batches
        self._rows: list[tuple[Any, ...]] = []
        self._chars = 0
        self._rejects: list[Reject] = []
        self._notes: Counter[str] = Counter()
        self._ids: set[bytes] = set()
        self._questions: set[bytes] = set()
        self._files: list[str] = []

    def read(self, file: SourceFile) -> None:
        """Take all records of one file."""
        self._files.append(file.name)
        columns = _Columns(file, self._config.columns)
        for line, record in records.read_records(file, columns.select):
            try:
                self._take(record, columns)
            except Unfit as unfit:
                detail = unfit.detail[:200].encode(errors="backslashreplace").decode()
                self._rejects.append(Reject(file.name, line, unfit.reason, detail))
        columns.check()

    def _take(self, record: Any, columns: _Columns) -> None:
        if isinstance(record, Unfit):
            raise record
        if not isinstance(record, dict):
            raise Unfit("not_a_record", f"{records.kind_of(record)}, not an object")
        plan = columns.plan(tuple(record))
        if isinstance(plan, Unfit):
            raise Unfit(*plan.args)  # a new one: an exception that is raised again and again grows its traceback
        values = {field: record[column] for field, column in plan.items()}
        row, chars, marks = _seed(values, self._config)
        if not self._config.keep_duplicates:
            self._refuse_duplicate(row, "id_made" in marks)
        for mark in marks:
            self._notes[mark] += 1
        self._rows.append(row)
        self._chars += chars
        if len(self._rows) >= _BATCH_ROWS or self._chars >= _BATCH_CHARS:
            self._flush()

    def _refuse_duplicate(self, row: tuple[Any, ...], id_made: bool) -> None:
        id_, question, _, options, *_ = row
        id_digest = hashlib.blake2b(id_.encode(), digest_size=16).digest()
        # `_compared` leaves no U+001F in a text (it counts as white space), so the joint is unambiguous.
        compared = "\x1f".join(map(_compared, (question, *options)))
        question_digest = hashlib.blake2b(compared.encode(), digest_size=16).digest()
        seen_id = id_digest in self._ids
        if question_digest in self._questions and (id_made or not seen_id):
            raise Unfit("duplicate_question", "question and options were read before")
        if seen_id:
            raise Unfit("duplicate_id", f"id {id_!r} was read before")
        self._ids.add(id_digest)
        self._questions.add(question_digest)

    def _flush(self) -> None:
        import pyarrow as pa

        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, self._schema, strict=True)]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._rows, self._chars = [], 0

    def seeds(self) -> Seeds:
        """Give what was taken; nothing at all is a `DataError`."""
        import pyarrow as pa

        if self._rows:
            self._flush()
        if not self._batches:
            raise DataError(self._nothing_taken())
        table = pa.Table.from_batches(self._batches, self._schema)
        return Seeds(table, self._rejects, self._notes)

    def _nothing_taken(self) -> str:
        if not self._rejects:
            return f"no seed was read: no records in {listed(self._files)}"
        counts = Counter(reject.reason for reject in self._rejects)
        first = self._rejects[0]
        by_reason = ", ".join(f"{reason} {n:,}" for reason, n in counts.most_common())
        return (
            f"no seed was read: all {len(self._rejects):,} records were rejected ({by_reason}); first"
            f" {first.file}:{first.line}: {first.reason}: {first.detail}{_MENDS.get(counts.most_common(1)[0][0], '')}"
        )


def _seed(values: Mapping[str, Any], config: SeedsConfig) -> tuple[tuple[Any, ...], int, list[str]]:
    """Bring a record's values into one form: (row in the order of `seed_schema`, its characters, marks)."""
    marks: list[str] = []
    question = _question(values)
    answer = text_of("answer", values.get("answer"))
    options = _options(values.get("options"))
    chars = len(question) + len(answer) + sum(map(len, options))
    if chars > config.max_chars:
        raise Unfit("too_long", f"{chars:,} characters; max_chars is {config.max_chars:,}")
    points = _knowledge_points(values.get("knowledge_points"), config.route_separator)
    named = texts_of("disciplines", records.decoded(values.get("disciplines")))
    disciplines = [name.strip() for name in named if name.strip()]
    id_, language, source, license_ = (text_of(name, values.get(name)) for name in _LABELS)
    chars = _check_unicode(question, answer, *options, *points, *disciplines, id_, language, source, license_)
    difficulty, on_scale = _difficulty(values.get("difficulty"), config.difficulty_scale)
    if not on_scale:
        marks.append("difficulty_off_scale")
    if not answer.strip():
        marks.append("empty_answer")
    if not points:
        marks.append("no_knowledge_points")
    if not id_.strip():
        marks.append("id_made")
        id_ = made_id(question, options, answer)
    if not language.strip():
        marks.append("language_guessed")
        language = guess_language(question)
    origin = (source or None, license_ or None)
    return (id_, question, answer, options, disciplines, difficulty, points, language, *origin), chars, marks


def made_id(question: str, options: Sequence[str], answer: str) -> str:
    """Name a seed by its content: 'seed-' and 16 hex digits of BLAKE2b over the JSON of the three texts."""
    text = json.dumps([question, list(options), answer], ensure_ascii=False)
    return f"seed-{hashlib.blake2b(text.encode()).hexdigest()[:16]}"


def _compared(text: str) -> str:
    """Give the form under which texts are compared for duplicates."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _check_unicode(*texts: str) -> int:
    """Give the characters of all texts; Arrow and files hold UTF-8, which has no lone surrogates."""
    joined = "".join(texts)
    try:
        joined.encode()
    except UnicodeEncodeError as error:
        raise Unfit("invalid_utf8", f"the lone surrogate {joined[error.start]!r} in a text") from None
    if len(joined) > records.MAX_LINE:
        raise Unfit("too_long", f"{len(joined):,} characters in all fields")
    return len(joined)


def _question(values: Mapping[str, Any]) -> str:
    question = values["question"]
    if not text_of("question", question).strip():
        raise Unfit("no_question", "the question is empty")
    if not isinstance(question, str):
        raise Unfit("wrong_type", "question is a number, not a text")
    extra = text_of("input", values.get("input"))
    return f"{question}\n\n{extra}" if extra.strip() else question


def _options(value: Any) -> list[str]:
    value = records.decoded(value)
    if isinstance(value, dict):
        if isinstance(value.get("text"), list):  # {"text": [...], "label": ["A", ...]}
            value = value["text"]
        else:
            keys = sorted(value, key=lambda key: (len(key), key))  # so that "10" comes behind "9"
            # Parquet gives every row the keys of all rows: null is an option that this row has not.
            value = [value[key] for key in keys if value[key] is not None]
    return texts_of("options", value)


def _knowledge_points(value: Any, route_separator: str | None) -> list[str]:
    value = records.decoded(value)
    if isinstance(value, str):
        points = [point.strip() for point in _KP_SEPARATORS.split(value)]
    else:
        points = texts_of("knowledge_points", value)
    if route_separator is not None:
        points = [node.strip() for point in points for node in point.split(route_separator)]
    return [point for point in points if point.strip()]


def _difficulty(value: Any, scale: str) -> tuple[int | None, bool]:
    """Give (level 1..5 or None, whether the value is missing or on the scale)."""
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return None, True
    level = difficulty_scale(scale).level(value)
    return level, level is not None
