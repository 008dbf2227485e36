"""Records to `Seeds`: a record becomes a seed or is rejected with a reason.

Text is never rewritten: question, answer and options have the bytes of the file. Missing ids and languages, and the
forms in which texts are compared, are computed.

What each field accepts (a list or an object may also be written as text, as in CSV):

- question: text. Where its column is `instruction`, a non-blank column `input` (Alpaca) follows after a blank line.
- answer: text or a number. An empty one is kept and noted as 'empty_answer'. An integer that is not an option is the
  index of one, from 0 (cais/mmlu); a letter is one where the options are columns A, B, C, ... (CMMLU).
- options: a list; an object, in the order of its keys ({"A": ..., "B": ...}) or, as {"text": [...]}, by its texts;
  any other text is a single option.
- knowledge_points: a list, without blank entries and words for a missing value ('nan', 'None', ...); any other text is
  split on ; | and U+FF1B. `route_separator` then splits each entry into its nodes.
- disciplines: a list, trimmed and without blank entries; any other text is a single discipline.
- difficulty: a number or text that `difficulty_scale` contains; otherwise null, noted as 'difficulty_off_scale'.
- id, language, source, license: text or a number. A missing id is derived from the content, a missing language is
  guessed from the question.

Two records are duplicates when they have the same id, or when their questions and options are equal under NFKC with
white space collapsed and trimmed; case is significant (Co is not CO). The same question with other options is another
question; with another answer it is not. The first one is kept. With `keep_duplicates` all are, and ids may repeat.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linksyn_gpu.config import SeedsConfig
from linksyn_gpu.config.loader import config_or_fields
from linksyn_gpu.errors import DataError
from linksyn_gpu.seeds.layouts import Layouts
from linksyn_gpu.seeds.readers import MAX_LINE, Records, find_files, read_records
from linksyn_gpu.seeds.values import MISSING_WORDS, Unfit, decoded, kind_of, listed, text_of, texts_of
from linksyn_gpu.tables import Reject, Seeds, seed_schema
from linksyn_gpu.taxonomy.difficulty import difficulty_scale
from linksyn_gpu.text.languages import guess_language

if TYPE_CHECKING:
    import pyarrow as pa

REASONS = (
    "invalid_json",  # a line that is not JSON
    "not_a_record",  # JSON that is not an object, or a CSV row that does not fit the header
    "invalid_utf8",  # bytes that are not UTF-8, or a lone surrogate written as \ud800
    "no_question",  # no such column, or a blank value
    "wrong_type",  # a list, object or number where text is needed
    "too_long",  # more than `max_chars` characters
    "duplicate_id",
    "duplicate_question",
)
"""Why a record was rejected."""

NOTES = (
    "empty_answer",
    "no_knowledge_points",
    "difficulty_off_scale",  # not on the scale or not a number; the difficulty of the seed is null
    "missing_word",  # 'nan', 'None', 'N/A', ... among the knowledge points or disciplines, and left out
    "answer_from_index",  # the answer was the index, from 0, of an option; it is the text of the option now
    "answer_not_an_option",  # the answer is an integer, but no option and no index of one
    "language_guessed",
    "id_made",
)
"""What was noted about seeds that were kept; counted in `Seeds.notes`."""

_LABELS = ("id", "language", "source", "license")
_FIXES = {
    "no_question": "; name the column of the question: columns={'question': 'COLUMN'} (--map question=COLUMN)",
    "invalid_utf8": "; save the file as UTF-8",
    "too_long": "; raise max_chars to take longer records",
}
_BATCH_ROWS = 16_384
# An Arrow text column addresses 2^31 bytes, and a character takes at most 4.
_BATCH_CHARS = 2**27
_KP_SEPARATORS = re.compile("[;|\uff1b]")


def read_seeds(paths: str | Path | Sequence[str | Path], config: SeedsConfig | None = None, **fields: Any) -> Seeds:
    """Read seed QA from files.

    Parameters
    ----------
    paths : path or glob pattern, or several
        `.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv` (each also followed by `.gz` or `.zst`), `.parquet`.
        Read in the given order, the files of a pattern sorted; a file named twice is read once.
    config, **fields
        A `SeedsConfig`, or its fields as keywords: `columns={"question": "stem"}`.

    Returns
    -------
    Seeds
        `table` with the columns of `seed_schema()`, in input order; `rejects`, each with its file as the user named
        it, its 1-based line (record number in JSON and Parquet), one of `REASONS` and a detail; `notes`, counts of
        `NOTES`. Seeds and rejects together are all records of the files.

    Raises
    ------
    ConfigError
        A setting is unknown or wrong, or both a config and fields are given.
    DataError
        A file is missing, has an unknown format or cannot be read as a whole; no record of a file has a column of
        `columns`; or no record was taken.
    """
    intake = _Intake(config_or_fields(SeedsConfig, config, fields))
    for file in find_files(paths):
        layouts = intake.layouts(file.name)
        intake.read(read_records(file, layouts.select), layouts)
    return intake.seeds()


def seeds_from_records(records: Iterable[Any], config: SeedsConfig | None, fields: Mapping[str, Any]) -> Seeds:
    """Make seeds of records in memory: see `Seeds.from_records`."""
    intake = _Intake(config_or_fields(SeedsConfig, config, fields))
    intake.read(enumerate(map(_plain, records), 1), intake.layouts("records"))
    return intake.seeds()


def _plain(value: Any) -> Any:
    """Return a value of a record in memory as JSON would hold it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return _plain(value.tolist()) if hasattr(value, "tolist") else value


class _Intake:
    """Collects seeds in Arrow batches. Of the texts it keeps digests only, to find duplicates."""

    def __init__(self, config: SeedsConfig) -> None:
        self._config = config
        self._schema = seed_schema()
        self._batches: list[pa.RecordBatch] = []
        self._rows: list[tuple[Any, ...]] = []
        self._chars = 0
        self._rejects: list[Reject] = []
        self._notes: Counter[str] = Counter()
        self._ids: set[bytes] = set()
        self._questions: set[bytes] = set()
        self._sources: list[str] = []

    def layouts(self, source: str) -> Layouts:
        """Return the layouts of the records of a file or another source, none of them found yet."""
        return Layouts(source, self._config.columns)

    def read(self, records: Records, layouts: Layouts) -> None:
        """Take or reject all records of one source."""
        self._sources.append(layouts.source)
        for line, record in records:
            try:
                self._take(record, layouts)
            except Unfit as unfit:
                detail = unfit.detail[:200].encode(errors="backslashreplace").decode()
                self._rejects.append(Reject(layouts.source, line, unfit.reason, detail))
        layouts.check()

    def _take(self, record: Any, layouts: Layouts) -> None:
        if isinstance(record, Unfit):
            raise record
        if not isinstance(record, dict):
            raise Unfit("not_a_record", f"{kind_of(record)}, not an object")
        row, chars, notes = _seed(layouts.layout(tuple(record)).read(record), self._config)
        if not self._config.keep_duplicates:
            self._refuse_duplicate(row, "id_made" in notes)
        for note in notes:
            self._notes[note] += 1
        self._rows.append(row)
        self._chars += chars
        if len(self._rows) >= _BATCH_ROWS or self._chars >= _BATCH_CHARS:
            self._flush()

    def _refuse_duplicate(self, row: tuple[Any, ...], id_made: bool) -> None:
        id_, question, _, options, *_ = row
        id_digest = hashlib.blake2b(id_.encode(), digest_size=16).digest()
        # `_compared` collapses U+001F as white space, so the joined text is unambiguous.
        compared = "\x1f".join(map(_compared, (question, *options)))
        question_digest = hashlib.blake2b(compared.encode(), digest_size=16).digest()
        seen_id = id_digest in self._ids
        if question_digest in self._questions and (id_made or not seen_id):
            raise Unfit("duplicate_question", "an earlier record has this question and these options")
        if seen_id:
            raise Unfit("duplicate_id", f"an earlier record has the id {id_!r}")
        self._ids.add(id_digest)
        self._questions.add(question_digest)

    def _flush(self) -> None:
        import pyarrow as pa

        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, self._schema, strict=True)]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._rows, self._chars = [], 0

    def seeds(self) -> Seeds:
        """Return the seeds; raise `DataError` when there are none."""
        import pyarrow as pa

        if self._rows:
            self._flush()
        if not self._batches:
            raise DataError(self._nothing_taken())
        return Seeds(pa.Table.from_batches(self._batches, self._schema), self._rejects, self._notes)

    def _nothing_taken(self) -> str:
        if not self._rejects:
            return f"no seed was read: no records in {listed(self._sources)}"
        counts = Counter(reject.reason for reject in self._rejects).most_common()
        first = self._rejects[0]
        by_reason = ", ".join(f"{reason} {n:,}" for reason, n in counts)
        return (
            f"no seed was read: all {len(self._rejects):,} records were rejected ({by_reason}); first"
            f" {first.file}:{first.line}: {first.reason}: {first.detail}{_FIXES.get(counts[0][0], '')}"
        )


def _seed(values: Mapping[str, Any], config: SeedsConfig) -> tuple[tuple[Any, ...], int, list[str]]:
    """Make a seed of raw values: (row in the order of `seed_schema`, its characters, notes)."""
    notes: list[str] = []
    question = _question(values)
    answer = text_of("answer", values.get("answer"))
    options = _options(values.get("options"))
    if type(index := values.get("answer")) is int and options and answer not in options:
        notes.append("answer_from_index" if 0 <= index < len(options) else "answer_not_an_option")
        answer = options[index] if 0 <= index < len(options) else answer
    chars = len(question) + len(answer) + sum(map(len, options))
    if chars > config.max_chars:
        raise Unfit("too_long", f"{chars:,} characters; max_chars is {config.max_chars:,}")
    points = _knowledge_points(values.get("knowledge_points"), config.route_separator)
    disciplines = [name.strip() for name in texts_of("disciplines", decoded(values.get("disciplines")))]
    if not MISSING_WORDS.isdisjoint(map(str.strip, [*points, *disciplines])):
        notes.append("missing_word")
    points = [point for point in points if point.strip() not in MISSING_WORDS]
    disciplines = [name for name in disciplines if name and name not in MISSING_WORDS]
    id_, language, source, license_ = (text_of(name, values.get(name)) for name in _LABELS)
    chars = _check_unicode(question, answer, *options, *points, *disciplines, id_, language, source, license_)
    difficulty, on_scale = _difficulty(values.get("difficulty"), config.difficulty_scale)
    if not on_scale:
        notes.append("difficulty_off_scale")
    if not answer.strip():
        notes.append("empty_answer")
    if not points:
        notes.append("no_knowledge_points")
    if not id_.strip():
        notes.append("id_made")
        id_ = made_id(question, options, answer)
    if not language.strip():
        notes.append("language_guessed")
        language = guess_language(question)
    origin = (source or None, license_ or None)
    return (id_, question, answer, options, disciplines, difficulty, points, language, *origin), chars, notes


def made_id(question: str, options: Sequence[str], answer: str) -> str:
    """Derive an id from content: 'seed-' and 16 hex digits of BLAKE2b over the JSON of the three texts."""
    text = json.dumps([question, list(options), answer], ensure_ascii=False)
    return f"seed-{hashlib.blake2b(text.encode()).hexdigest()[:16]}"


def _compared(text: str) -> str:
    """Return the form in which texts are compared for duplicates."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _check_unicode(*texts: str) -> int:
    """Count the characters of all texts. Lone surrogates are refused: UTF-8 and Arrow cannot hold them."""
    joined = "".join(texts)
    try:
        joined.encode()
    except UnicodeEncodeError as error:
        raise Unfit("invalid_utf8", f"a text contains the lone surrogate {joined[error.start]!r}") from None
    if len(joined) > MAX_LINE:
        raise Unfit("too_long", f"{len(joined):,} characters in all fields")
    return len(joined)


def _question(values: Mapping[str, Any]) -> str:
    question = values["question"]
    if not text_of("question", question).strip():
        raise Unfit("no_question", "the question is empty")
    if not isinstance(question, str):
        raise Unfit("wrong_type", "question is a number, not a text")
    return question


def _options(value: Any) -> list[str]:
    value = decoded(value)
    if isinstance(value, dict):
        if isinstance(value.get("text"), list):  # {"text": [...], "label": ["A", ...]}
            value = value["text"]
        else:
            keys = sorted(value, key=lambda key: (len(key), key))  # "10" after "9"
            # A Parquet row has the keys of all rows: null is an option that this row does not have.
            value = [value[key] for key in keys if value[key] is not None]
    return texts_of("options", value)


def _knowledge_points(value: Any, route_separator: str | None) -> list[str]:
    value = decoded(value)
    if isinstance(value, str):
        points = [point.strip() for point in _KP_SEPARATORS.split(value)]
    else:
        points = texts_of("knowledge_points", value)
    if route_separator is not None:
        points = [node.strip() for point in points for node in point.split(route_separator)]
    return [point for point in points if point.strip()]


def _difficulty(value: Any, scale: str) -> tuple[int | None, bool]:
    """Return (level 1..5 or None, whether the value is missing or on the scale)."""
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return None, True
    level = difficulty_scale(scale).level(value)
    return level, level is not None
