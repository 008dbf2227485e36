"""Records to `Seeds`: a record becomes a seed or is rejected with a reason.

Text is never rewritten: question, answer and options have the bytes of the file. Missing ids and languages, and the
forms in which texts are compared, are computed.

What each field accepts (a list or an object may also be written as text, as in CSV):

- question: text. Where its column is `instruction`, a non-blank column `input` (Alpaca) follows after a blank line.
- answer: text or a number. An empty one is kept and noted as 'empty_answer'. An integer or a letter that is not an
  option is the number or the label of one; where no option fits, the answer is left empty ('answer_unresolved').
- options: see `answers.read_options`.
- knowledge_points: a list, without blank entries and words for a missing value ('nan', 'None', ...); any other text is
  split on ; | and U+FF1B. `route_separator` then splits each entry into its nodes.
- disciplines: a list, trimmed and without blank entries; any other text is a single discipline.
- difficulty: a number or text that `difficulty_scale` contains; otherwise null, noted as 'difficulty_off_scale'.
- id, language, source, license, explanation: text or a number. A missing id is derived from the content, a missing
  language is guessed from the question.

Two records are duplicates when they have the same id in one file, or when their questions and options are equal under
NFKC with white space collapsed and trimmed; case is significant (Co is not CO). The same question with other options is
another question; with another answer it is not. The first one is kept. With `keep_duplicates` all are, and ids may
repeat. An id that an earlier file has gets the number of its file: 'q7' of the second file becomes 'q7@2'.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linksyn_gpu.config import SeedsConfig
from linksyn_gpu.config.loader import config_or_fields
from linksyn_gpu.errors import DataError
from linksyn_gpu.seeds.answers import is_index, read_options, resolve_answer, shown_base
from linksyn_gpu.seeds.files import SourceFiles, find_files
from linksyn_gpu.seeds.layouts import Layouts
from linksyn_gpu.seeds.readers import MAX_LINE, Records, read_records
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
    "answer_from_index",  # the answer was the number of an option; it is the text of the option now
    "answer_from_label",  # the answer was the letter or label of an option; it is the text of the option now
    "answer_unresolved",  # the answer is a number or letter that names no option; the seed has no answer now
    "letter_without_options",  # the answer is a single letter, and the seed has no options
    "earlier_turns_left_out",  # a dialogue of several turns, of which the last is the seed
    "id_in_earlier_file",  # the id got the number of its file
    "language_guessed",
    "id_made",
)
"""What was noted about seeds that were kept; counted in `Seeds.notes`."""

NO_ANSWER = ("empty_answer", "answer_unresolved", "letter_without_options")
"""Notes about seeds that have no usable answer."""

_LABELS = ("id", "language", "source", "license", "explanation")
_FIXES = {
    "no_question": "; name the column of the question: columns={'question': 'COLUMN'} (--map question=COLUMN)",
    "invalid_utf8": "; save the file as UTF-8, or name its encoding (--encoding gb18030)",
    "too_long": "; raise max_chars to take longer records",
}
_LEVEL = re.compile(r"Level (\d)")
# Of a file, so many records are looked at for what its integer answers count from; fewer when none is an integer.
_BASE_RECORDS, _BASE_GIVE_UP = 256, 8
_BATCH_ROWS = 16_384
# An Arrow text column addresses 2^31 bytes, and a character takes at most 4.
_BATCH_CHARS = 2**27
_KP_SEPARATORS = re.compile("[;|\uff1b]")


def read_seeds(paths: str | Path | Sequence[str | Path], config: SeedsConfig | None = None, **fields: Any) -> Seeds:
    """Read seed QA from files.

    Parameters
    ----------
    paths : path or glob pattern, or several
        `.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv` (each also followed by `.gz` or `.zst`), `.parquet`, `.arrow`; a
        folder, with all of these in it, or one that Hugging Face `datasets` saved; `-` for standard input.
        Read in the given order, the files of a pattern or folder sorted; a file named twice is read once.
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
    made = config_or_fields(SeedsConfig, config, fields)
    return seeds_of_files(find_files(paths), made)


def seeds_of_files(files: SourceFiles, config: SeedsConfig) -> Seeds:
    """Read seeds from files that were found into memory: see `read_seeds`."""
    return _collected(config, lambda intake: intake.read_files(files))


def seeds_from_records(records: Iterable[Any], config: SeedsConfig | None, fields: Mapping[str, Any]) -> Seeds:
    """Make seeds from records in memory: see `Seeds.from_records`."""
    made = config_or_fields(SeedsConfig, config, fields)
    return _collected(made, lambda intake: intake.read(enumerate(map(_plain, records), 1), intake.layouts("records")))


def _collected(config: SeedsConfig, read: Callable[[Intake], None]) -> Seeds:
    import pyarrow as pa

    batches: list[pa.RecordBatch] = []
    rejects: list[Reject] = []
    intake = Intake(config, batches.append, rejects.append)
    read(intake)
    intake.finish()
    table = pa.Table.from_batches(batches, seed_schema())
    tally = intake.tally
    return Seeds(table, rejects, tally.notes, tally.layouts, tally.remarks, tally.unanswered)


def _plain(value: Any) -> Any:
    """Return a value of a record in memory as JSON would hold it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return _plain(value.tolist()) if hasattr(value, "tolist") else value


@dataclass
class SeedTally:
    """What was read, counted."""

    taken: int = 0
    """Seeds."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Rejected records, by reason."""
    notes: Counter[str] = field(default_factory=Counter)
    layouts: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    """These four are as in `Seeds`."""

    @classmethod
    def of(cls, seeds: Seeds) -> SeedTally:
        """Count seeds that are in memory."""
        rejected = Counter(reject.reason for reject in seeds.rejects)
        return cls(len(seeds), rejected, seeds.notes, seeds.layouts, list(seeds.remarks), list(seeds.unanswered))


class Intake:
    """Turns records into seeds, in batches; it keeps only digests of the texts, to find duplicates.

    Parameters
    ----------
    config : SeedsConfig
    write, reject : callables
        Get each Arrow batch of seeds with the columns of `seed_schema`, and each `Reject`.
    """

    def __init__(
        self, config: SeedsConfig, write: Callable[[pa.RecordBatch], None], reject: Callable[[Reject], None]
    ) -> None:
        self._config = config
        self._schema = seed_schema()
        self._write, self._write_reject = write, reject
        self._rows: list[tuple[Any, ...]] = []
        self._chars = 0
        self._first_reject: Reject | None = None
        self._ids: set[bytes] = set()
        self._ids_of_file: set[bytes] = set()
        self._questions: set[bytes] = set()
        self._sources: list[str] = []
        self._answered = 0  # of this file
        self.tally = SeedTally()

    def read_files(self, files: SourceFiles) -> None:
        """Take or reject all records of files."""
        self.tally.remarks += files.remarks
        for file in files:
            layouts = self.layouts(file.name)
            self.read(read_records(file, layouts.select, self._config.encoding, self.tally.remarks), layouts)

    def layouts(self, source: str) -> Layouts:
        """Return empty `Layouts` for the records of a file or another source."""
        return Layouts(source, self._config)

    def read(self, records: Records, layouts: Layouts) -> None:
        """Take or reject all records of one source."""
        self._sources.append(layouts.source)
        self._ids_of_file = set()
        before, self._answered = self.tally.taken, 0
        base, records = self._index_base(records, layouts)
        for line, record in records:
            try:
                self._take(line, record, layouts, base)
            except Unfit as unfit:
                self._reject(layouts.source, line, unfit)
        layouts.check()
        if self.tally.taken > before and not self._answered:
            self.tally.unanswered.append(layouts.source)
        for kind in ("answer", "options"):
            if columns := [column for column, like in layouts.unused.items() if like == kind]:
                self.tally.remarks.append(
                    f"{layouts.source}: {listed(columns)} not used, but named like {kind};"
                    f" to use it: --map {kind}={columns[0]}"
                )

    def _index_base(self, records: Records, layouts: Layouts) -> tuple[int | None, Records]:
        """Find what integer answers count from; returns it (None: no answer shows it) and all records."""
        if self._config.index_base is not None:
            return self._config.index_base, records
        head: list[tuple[int, Any]] = []
        indexed = False
        for line, record in itertools.islice(records, _BASE_RECORDS):
            head.append((line, record))
            for fields in _readable(record, layouts):
                answer, (options, _) = fields.get("answer"), read_options(fields.get("options"))
                if (base := shown_base(answer, options)) is not None:
                    return base, itertools.chain(head, records)
                indexed |= bool(options) and is_index(answer)
            if not indexed and len(head) >= _BASE_GIVE_UP:
                break
        return None, itertools.chain(head, records)

    def _take(self, line: int, record: Any, layouts: Layouts, base: int | None) -> None:
        if isinstance(record, Unfit):
            raise record
        if not isinstance(record, dict):
            raise Unfit("not_a_record", f"{kind_of(record)}, not an object")
        layout = layouts.layout(tuple(record))
        name, seeds = layout.read(record)
        base = layout.index_base if base is None else base
        for fields in seeds:
            self.tally.layouts[name] += 1
            try:
                self._add(*_seed(fields, self._config, base))
            except Unfit as unfit:
                self._reject(layouts.source, line, unfit)

    def _reject(self, source: str, line: int, unfit: Unfit) -> None:
        detail = unfit.detail[:200].encode(errors="backslashreplace").decode()
        reject = Reject(source, line, unfit.reason, detail)
        self._first_reject = self._first_reject or reject
        self.tally.rejected[unfit.reason] += 1
        self._write_reject(reject)

    def _add(self, row: tuple[Any, ...], chars: int, notes: list[str]) -> None:
        if not self._config.keep_duplicates:
            row = self._unique(row, notes)
        for note in notes:
            self.tally.notes[note] += 1
        self._rows.append(row)
        self.tally.taken += 1
        self._answered += set(notes).isdisjoint(NO_ANSWER)
        self._chars += chars
        if len(self._rows) >= _BATCH_ROWS or self._chars >= _BATCH_CHARS:
            self._flush()

    def _unique(self, row: tuple[Any, ...], notes: list[str]) -> tuple[Any, ...]:
        """Return the row with an id that no other row has; raise `Unfit` for a duplicate."""
        id_, question, _, options, *_ = row
        # `_compared` collapses U+001F as white space, so the joined text is unambiguous.
        question_digest = _digest("\x1f".join(map(_compared, (question, *options))))
        seen_id = _digest(id_) in self._ids_of_file
        if question_digest in self._questions and ("id_made" in notes or not seen_id):
            raise Unfit("duplicate_question", "an earlier record has this question and these options")
        if seen_id:
            raise Unfit("duplicate_id", f"an earlier record of this file has the id {id_!r}")
        unique, number = id_, len(self._sources)
        while _digest(unique) in self._ids:
            unique = f"{unique}@{number}"
        if unique != id_:
            notes.append("id_in_earlier_file")
        self._ids_of_file.add(_digest(id_))
        self._ids.add(_digest(unique))
        self._questions.add(question_digest)
        return (unique, *row[1:])

    def _flush(self) -> None:
        import pyarrow as pa

        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, self._schema, strict=True)]
        self._write(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._rows, self._chars = [], 0

    def finish(self) -> None:
        """Write the last batch; raise `DataError` when no seed was taken."""
        if self._rows:
            self._flush()
        if not self.tally.taken:
            raise DataError(self._nothing_taken())

    def _nothing_taken(self) -> str:
        first = self._first_reject
        if first is None:
            return f"no seed was read: no records in {listed(self._sources)}"
        counts = self.tally.rejected.most_common()
        by_reason = ", ".join(f"{reason} {n:,}" for reason, n in counts)
        return (
            f"no seed was read: all {self.tally.rejected.total():,} records were rejected ({by_reason}); first"
            f" {first.file}:{first.line}: {first.reason}: {first.detail}{_FIXES.get(counts[0][0], '')}"
        )


def _readable(record: Any, layouts: Layouts) -> Sequence[Mapping[str, Any]]:
    """Return the fields of a record's seeds; none where it is rejected."""
    try:
        found = layouts.layout(tuple(record)).read(record)[1] if isinstance(record, dict) else []
        for fields in found:
            read_options(fields.get("options"))
    except Unfit:
        return []
    return found


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _seed(values: Mapping[str, Any], config: SeedsConfig, base: int | None) -> tuple[tuple[Any, ...], int, list[str]]:
    """Make a seed from raw values: (row in the order of `seed_schema`, its characters, notes)."""
    notes: list[str] = list(values.get("notes", ()))
    question = _question(values)
    raw = values.get("answer")
    options, labels = read_options(values.get("options"))
    answer, remark = resolve_answer(raw, text_of("answer", raw), options, labels, base)
    if remark is not None:
        notes.append(remark)
    chars = len(question) + len(answer) + sum(map(len, options))
    if chars > config.max_chars:
        raise Unfit("too_long", f"{chars:,} characters; max_chars is {config.max_chars:,}")
    points = _knowledge_points(values.get("knowledge_points"), config.route_separator)
    disciplines = [name.strip() for name in texts_of("disciplines", decoded(values.get("disciplines")))]
    if not MISSING_WORDS.isdisjoint(map(str.strip, [*points, *disciplines])):
        notes.append("missing_word")
    points = [point for point in points if point.strip() not in MISSING_WORDS]
    disciplines = [name for name in disciplines if name and name not in MISSING_WORDS]
    id_, language, source, license_, explanation = (text_of(name, values.get(name)) for name in _LABELS)
    chars = _check_unicode(
        question, answer, *options, *points, *disciplines, id_, language, source, license_, explanation
    )
    difficulty, on_scale = _difficulty(values.get("difficulty"), config.difficulty_scale)
    if not on_scale:
        notes.append("difficulty_off_scale")
    if not answer.strip() and remark is None:
        notes.append("empty_answer")
    if not points:
        notes.append("no_knowledge_points")
    own_id = id_ if id_.strip() else None
    if own_id is None:
        notes.append("id_made")
        id_ = made_id(question, options, answer)
    if not language.strip():
        notes.append("language_guessed")
        language = guess_language(question)
    origin = (source or None, license_ or None, own_id, explanation if explanation.strip() else None)
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
    if isinstance(value, str) and (named := _LEVEL.fullmatch(value.strip())):
        value = named[1]
    level = difficulty_scale(scale).level(value)
    return level, level is not None
