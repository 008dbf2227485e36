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
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from json import encoder as json_encoder
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from linksyn_gpu.config import SeedsConfig
from linksyn_gpu.config.loader import config_or_fields
from linksyn_gpu.errors import DataError
from linksyn_gpu.seeds.answers import is_index, read_options, resolve_answer, shown_base
from linksyn_gpu.seeds.columns import (
    NotPlain,
    ValueRules,
    columns_of_records,
    id_keys,
    plain_seeds,
    question_keys,
)
from linksyn_gpu.seeds.files import SourceFiles, find_files
from linksyn_gpu.seeds.keys import NEW, SEEN_QUESTION, SeenKeys
from linksyn_gpu.seeds.layouts import Layouts
from linksyn_gpu.seeds.readers import Chunk, Chunks, arrow_chunks, chunked, read_chunks
from linksyn_gpu.seeds.values import MISSING_WORDS, Unfit, decoded, kind_of, listed, text_of, texts_of
from linksyn_gpu.streams import MAX_LINE
from linksyn_gpu.tables import Bool, Int64, Reject, Seeds, seed_schema
from linksyn_gpu.taxonomy.difficulty import difficulty_scale
from linksyn_gpu.text.languages import guess_language
from linksyn_gpu.text.privacy import find_private

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
    "private_data",  # an e-mail address, a telephone number or a key, with `reject_private`
    "contaminated",  # it holds an item of a benchmark file that was named
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

_quoted = json_encoder.encode_basestring
_LABELS = ("id", "language", "source", "license", "explanation")
_FIXES = {
    "no_question": "; name the column of the question: columns={'question': 'COLUMN'} (--map question=COLUMN)",
    "invalid_utf8": "; save the file as UTF-8, or name its encoding (--encoding gb18030)",
    "too_long": "; raise max_chars to take longer records",
}
_LEVEL = re.compile(r"Level (\d)")
# Of a file, so many records are looked at for what its integer answers count from; fewer when none is an integer.
_BASE_RECORDS, _BASE_GIVE_UP = 256, 8
# Steps of layouts that leave rows which `columns` takes as they are.
_BY_COLUMNS = {"gsm8k", "mmlu"}
# So few records with the same keys are not worth an array for each column.
_FEWEST_BY_COLUMNS = 16
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
    chunks = chunked(enumerate(map(_plain, records), 1))
    return _collected(made, lambda intake: intake.read(chunks, intake.layouts("records")))


def seeds_from_batches(
    batches: Iterable[pa.RecordBatch], config: SeedsConfig | None, fields: Mapping[str, Any]
) -> Seeds:
    """Make seeds from Arrow record batches: see `Seeds.from_arrow`."""
    made = config_or_fields(SeedsConfig, config, fields)
    return _collected(made, lambda intake: intake.read(arrow_chunks(batches), intake.layouts("records")))


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
    """Turns records into seeds, in batches; it keeps only keys of the texts, to find duplicates.

    Parameters
    ----------
    config : SeedsConfig
    write, reject : callables
        Get each Arrow batch of seeds with the columns of `seed_schema`, and each `Reject`.
    contaminated : callable, optional
        Given such a batch, returns for each seed the benchmark item that it holds, or None.
    """

    def __init__(
        self,
        config: SeedsConfig,
        write: Callable[[pa.RecordBatch], None],
        reject: Callable[[Reject], None],
        contaminated: Callable[[pa.RecordBatch], Sequence[str | None]] | None = None,
    ) -> None:
        self._config = config
        self._write, self._write_reject = write, reject
        self._contaminated = contaminated
        self._first_reject: Reject | None = None
        self._seen = SeenKeys()
        self._sources: list[str] = []
        self._answered = 0  # of this file
        self._rules = ValueRules(
            disciplines=_disciplines,
            points=lambda value: _without_missing(_knowledge_points(value, config.route_separator)),
            clean_point=None if config.route_separator is not None else _is_clean,
            difficulty=lambda value: _difficulty(value, config.difficulty_scale),
            made_id=made_id,
            unfit=Unfit,
        )
        self.tally = SeedTally()

    def read_files(self, files: SourceFiles) -> None:
        """Take or reject all records of files."""
        self.tally.remarks += files.remarks
        for file in files:
            layouts = self.layouts(file.name)
            self.read(read_chunks(file, layouts.select, self._config.encoding, self.tally.remarks), layouts)

    def layouts(self, source: str) -> Layouts:
        """Return empty `Layouts` for the records of a file or another source."""
        return Layouts(source, self._config)

    def read(self, chunks: Chunks, layouts: Layouts) -> None:
        """Take or reject all records of one source."""
        self._sources.append(layouts.source)
        before, self._answered = self.tally.taken, 0
        base, found = self._config.index_base, self._config.index_base is not None
        for number, chunk in enumerate(chunks):
            if number == 0 and not found:
                base = _index_base(chunk, layouts)
            self._take_chunk(chunk, layouts, base)
        layouts.check()
        if self.tally.taken > before and not self._answered:
            self.tally.unanswered.append(layouts.source)
        for kind in ("answer", "options"):
            if columns := [column for column, like in layouts.unused.items() if like == kind]:
                self.tally.remarks.append(
                    f"{layouts.source}: {listed(columns)} not used, but named like {kind};"
                    f" to use it: --map {kind}={columns[0]}"
                )

    def _take_chunk(self, chunk: Chunk, layouts: Layouts, base: int | None) -> None:
        """Make seeds of plain records by columns and of the others one by one; write those that are new."""
        pieces: list[_Piece] = []
        refused: list[tuple[int, Unfit]] = []
        left = self._by_columns(chunk, layouts, pieces)
        rows: list[tuple[Any, ...]] = []
        places: list[int] = []
        noted: list[list[str]] = []
        for place in left:
            [record] = chunk.some(place, place + 1)
            try:
                for made in self._seeds_of(record, layouts, base):
                    if isinstance(made, Unfit):
                        refused.append((place, made))
                        continue
                    rows.append(made[0])
                    noted.append(made[1])
                    places.append(place)
            except Unfit as unfit:
                refused.append((place, unfit))
        if rows:
            pieces.append(_piece_of_rows(places, rows, noted))
        if pieces:
            refused += self._accept(_joined(pieces))
        for place, why in sorted(refused, key=lambda one: one[0]):
            self._reject(layouts.source, chunk.lines[place], why)

    def _by_columns(self, chunk: Chunk, layouts: Layouts, pieces: list[_Piece]) -> list[int]:
        """Make seeds of records with the same keys by columns; returns the places of the records that are left."""
        groups: dict[tuple[str, ...], list[int]] = {}
        if chunk.batch is not None:
            groups[tuple(chunk.batch.schema.names)] = list(range(chunk.batch.num_rows))
        records = chunk.records or []
        for place, record in enumerate(records):
            groups.setdefault(tuple(record) if type(record) is dict else (), []).append(place)
        left: list[int] = []
        for names, places in groups.items():
            try:
                layout = layouts.layout(names)
                if len(places) < _FEWEST_BY_COLUMNS or not _BY_COLUMNS.issuperset(layout.steps):
                    raise NotPlain("layout")
                if chunk.batch is not None:
                    columns = {field: chunk.batch.column(name) for field, name in layout.columns.items()}
                else:
                    columns = columns_of_records([records[place] for place in places], layout.columns)
                made = plain_seeds(columns, len(places), self._config.max_chars, self._rules)
            except (Unfit, NotPlain):
                left += places
                continue
            rows = np.array(places)
            taken = np.flatnonzero(~made.left)
            if taken.size:
                batch = made.batch if taken.size == len(places) else made.batch.take(taken)
                pieces.append(_Piece(rows[taken], batch, {name: mask[taken] for name, mask in made.notes.items()}))
            left += rows[made.left].tolist()
            self.tally.layouts["columns"] += taken.size
        return sorted(left)

    def _seeds_of(
        self, record: Any, layouts: Layouts, base: int | None
    ) -> Iterator[tuple[tuple[Any, ...], list[str]] | Unfit]:
        """Make the seeds of one record; yields each, or why it is not taken."""
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
                yield _seed(fields, self._config, base)
            except Unfit as unfit:
                yield unfit

    def _accept(self, piece: _Piece) -> list[tuple[int, Unfit]]:
        """Write the seeds that are new; returns the places and reasons of the others."""
        import pyarrow as pa

        places, batch, notes = piece
        refused: list[tuple[int, Unfit]] = []
        if not self._config.keep_duplicates:
            ids = batch.column("id")
            renamed: dict[int, str] = {}

            def rename(row: int, in_use: Callable[[Any], bool]) -> Any:
                unique = ids[row].as_py()
                while in_use(key := id_keys(pa.array([unique], pa.string()))[0]):
                    unique = f"{unique}@{len(self._sources)}"
                renamed[row] = unique
                return key

            keys = question_keys(batch, _compared), id_keys(ids)
            verdicts = self._seen.judge(*keys, notes["id_made"], len(self._sources), rename)
            for row in np.flatnonzero(verdicts != NEW).tolist():
                if verdicts[row] == SEEN_QUESTION:
                    why = Unfit("duplicate_question", "an earlier record has this question and these options")
                else:
                    why = Unfit("duplicate_id", f"an earlier record of this file has the id {ids[row].as_py()!r}")
                refused.append((int(places[row]), why))
            if renamed:
                notes["id_in_earlier_file"] = np.isin(np.arange(len(ids)), list(renamed))
                texts = [renamed.get(row, id_) for row, id_ in enumerate(ids.to_pylist())]
                batch = batch.set_column(0, "id", pa.array(texts, pa.string()))
            kept = np.flatnonzero(verdicts == NEW)
            if kept.size < batch.num_rows:
                places, batch, notes = _some(_Piece(places, batch, notes), kept)
        if self._config.reject_private and batch.num_rows:
            kinds = [*map(_private_kind, batch.select(_WITH_TEXTS).to_pylist())]
            refused += [(int(p), Unfit("private_data", kind)) for p, kind in zip(places, kinds, strict=True) if kind]
            places, batch, notes = _some(_Piece(places, batch, notes), np.flatnonzero([not kind for kind in kinds]))
        if self._contaminated is not None and batch.num_rows:
            found = self._contaminated(batch)
            refused += [
                (int(place), Unfit("contaminated", item)) for place, item in zip(places, found, strict=True) if item
            ]
            places, batch, notes = _some(_Piece(places, batch, notes), np.flatnonzero([item is None for item in found]))
        for name, mask in notes.items():
            if count := int(mask.sum()):
                self.tally.notes[name] += count
        unanswered = np.any([notes[name] for name in NO_ANSWER if name in notes], axis=0)
        self.tally.taken += batch.num_rows
        self._answered += batch.num_rows - int(np.sum(unanswered))
        if batch.num_rows:
            self._write(batch)
        return refused

    def _reject(self, source: str, line: int, unfit: Unfit) -> None:
        detail = unfit.detail[:200].encode(errors="backslashreplace").decode()
        reject = Reject(source, line, unfit.reason, detail)
        self._first_reject = self._first_reject or reject
        self.tally.rejected[unfit.reason] += 1
        self._write_reject(reject)

    def finish(self) -> None:
        """Raise `DataError` when no seed was taken."""
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


_WITH_TEXTS = ["question", "answer", "options", "explanation"]


def _private_kind(seed: Mapping[str, Any]) -> str:
    """Kind of the first private datum of a seed; '' without one."""
    for text in (seed["question"], seed["answer"], seed["explanation"] or "", *seed["options"]):
        if (found := find_private(text)) is not None:
            return found[0]
    return ""


class _Piece(NamedTuple):
    """Seeds of some records of a chunk."""

    places: Int64
    """Place of each record in its chunk."""
    batch: pa.RecordBatch
    notes: dict[str, Bool]


def _some(piece: _Piece, rows: Any) -> _Piece:
    """Return some rows of a piece."""
    places, batch, notes = piece
    return _Piece(places[rows], batch.take(rows), {name: mask[rows] for name, mask in notes.items()})


def _piece_of_rows(places: Sequence[int], rows: Sequence[tuple[Any, ...]], noted: Sequence[list[str]]) -> _Piece:
    import pyarrow as pa

    schema = seed_schema()
    arrays = [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), schema, strict=True)]
    names = {name for notes in noted for name in notes} | {"id_made"}
    masks = {name: np.array([name in notes for notes in noted]) for name in names}
    return _Piece(np.array(places), pa.RecordBatch.from_arrays(arrays, schema=schema), masks)


def _joined(pieces: Sequence[_Piece]) -> _Piece:
    """Put seeds in the order of their records."""
    import pyarrow as pa

    if len(pieces) == 1:
        return pieces[0]
    places = np.concatenate([piece.places for piece in pieces])
    order = np.argsort(places, kind="stable")
    table = pa.Table.from_batches([piece.batch for piece in pieces]).take(pa.array(order))
    notes = {}
    for name in {name for piece in pieces for name in piece.notes}:
        masks = [piece.notes.get(name, np.zeros(len(piece.places), np.bool_)) for piece in pieces]
        notes[name] = np.concatenate(masks)[order]
    return _Piece(places[order], table.combine_chunks().to_batches()[0], notes)


def _index_base(chunk: Chunk, layouts: Layouts) -> int | None:
    """Find what integer answers count from in the first records; None if no answer shows it."""
    indexed = False
    for number, record in enumerate(chunk.some(0, _BASE_RECORDS), 1):
        for fields in _readable(record, layouts):
            answer, (options, _) = fields.get("answer"), read_options(fields.get("options"))
            if (base := shown_base(answer, options)) is not None:
                return base
            indexed |= bool(options) and is_index(answer)
        if not indexed and number >= _BASE_GIVE_UP:
            break
    return None


def _readable(record: Any, layouts: Layouts) -> Sequence[Mapping[str, Any]]:
    """Return the fields of a record's seeds; none where it is rejected."""
    try:
        found = layouts.layout(tuple(record)).read(record)[1] if isinstance(record, dict) else []
        for fields in found:
            read_options(fields.get("options"))
    except Unfit:
        return []
    return found


def _seed(values: Mapping[str, Any], config: SeedsConfig, base: int | None) -> tuple[tuple[Any, ...], list[str]]:
    """Make a seed from raw values: (row in the order of `seed_schema`, notes)."""
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
    points, lacks_point = _without_missing(_knowledge_points(values.get("knowledge_points"), config.route_separator))
    disciplines, lacks_discipline = _disciplines(values.get("disciplines"))
    if lacks_point or lacks_discipline:
        notes.append("missing_word")
    id_, language, source, license_, explanation = (text_of(name, values.get(name)) for name in _LABELS)
    _check_unicode(question, answer, *options, *points, *disciplines, id_, language, source, license_, explanation)
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
    return (id_, question, answer, options, disciplines, difficulty, points, language, *origin), notes


def made_id(question: str, options: Sequence[str], answer: str) -> str:
    """Derive an id from content: 'seed-' and 16 hex digits of BLAKE2b over the JSON of the three texts."""
    # As json.dumps([question, options, answer], ensure_ascii=False) writes it, in a third of the time.
    text = f"[{_quoted(question)}, [{', '.join(map(_quoted, options))}], {_quoted(answer)}]"
    return f"seed-{hashlib.blake2b(text.encode()).hexdigest()[:16]}"


def _compared(text: str) -> str:
    """Return the form in which texts are compared for duplicates."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _check_unicode(*texts: str) -> None:
    """Refuse lone surrogates, which UTF-8 and Arrow cannot hold, and more than `MAX_LINE` characters."""
    joined = "".join(texts)
    try:
        joined.encode()
    except UnicodeEncodeError as error:
        raise Unfit("invalid_utf8", f"a text contains the lone surrogate {joined[error.start]!r}") from None
    if len(joined) > MAX_LINE:
        raise Unfit("too_long", f"{len(joined):,} characters in all fields")


def _question(values: Mapping[str, Any]) -> str:
    question = values["question"]
    if not text_of("question", question).strip():
        raise Unfit("no_question", "the question is empty")
    if not isinstance(question, str):
        raise Unfit("wrong_type", "question is a number, not a text")
    return question


def _disciplines(value: Any) -> tuple[list[str], bool]:
    return _without_missing([name.strip() for name in texts_of("disciplines", decoded(value)) if name.strip()])


def _is_clean(point: str) -> bool:
    """Whether an entry of a list of knowledge points is taken as it is."""
    return bool(point.strip()) and point.strip() not in MISSING_WORDS


def _without_missing(names: list[str]) -> tuple[list[str], bool]:
    """Return names without words for a missing value, and whether there were any."""
    kept = [name for name in names if name.strip() not in MISSING_WORDS]
    return kept, len(kept) < len(names)


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
