"""Seed files to records: JSONL, JSON, CSV and TSV, plain or compressed, Parquet and Arrow.

A reader yields `(line, record)` for every record of a file, in order. In place of a record that cannot be read it
yields an `Unfit`, and continues with the next one. A file that cannot be read as a whole (missing, truncated, not
Parquet at all) is a `DataError` that names it.

All formats are streamed. Only a `.json` file that is an object with the list in it is read into memory.
To support another format, add its suffix to `files.FORMATS` and a reader to `read_records`.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import string
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import orjson

from linksyn_gpu.errors import DataError
from linksyn_gpu.machine import collector_paused
from linksyn_gpu.seeds.encodings import UTF8, Transcoded, detect_encoding
from linksyn_gpu.seeds.files import SourceFile
from linksyn_gpu.seeds.layouts import has_question
from linksyn_gpu.seeds.values import Unfit, listed
from linksyn_gpu.streams import MAX_LINE, bounded_lines

if TYPE_CHECKING:
    import pyarrow as pa

_PARQUET_ROWS = 8192
_PARQUET_BYTES = 2**28
# Upper limit in characters of a .json file that is not a list, and is parsed as a whole.
MAX_JSON = 2**28
# A .jsonl file that begins, within so many bytes, as a JSON list of objects is read as one.
MAX_PEEK = 1024
# So much of a text file is looked at to find its encoding.
_SAMPLE = 2**20
# So much of a JSONL file is split into lines at once.
_BLOCK = 2**20
# A longer line is read by Python's own parser.
_FAST_LINE = 2**20
# Records that are taken together.
CHUNK_ROWS, CHUNK_CHARS = 8192, 2**24
_DELIMITERS = ",;\t|"

Records = Iterator[tuple[int, Any]]
"""(1-based line, or record number in a format without lines; the record, or an `Unfit` in its place)."""


@dataclass(frozen=True)
class Chunk:
    """Some records of a file, one after the other."""

    lines: Sequence[int]
    """As in `Records`."""
    records: list[Any] | None
    """As in `Records`; None where they are rows of `batch`."""
    batch: pa.RecordBatch | None

    def __len__(self) -> int:
        return len(self.lines)

    def some(self, first: int, last: int) -> list[Any]:
        """Return the records from place `first` to before `last`."""
        if self.records is not None:
            return self.records[first:last]
        assert self.batch is not None
        return list(self.batch.slice(first, last - first).to_pylist())


Chunks = Iterator[Chunk]

Select = Callable[[Sequence[str]], list[str]]
"""Given the columns of a file that has a header, returns those to read."""


def read_chunks(
    file: SourceFile, select: Select, encoding: str | None = None, remarks: list[str] | None = None
) -> Chunks:
    """Read the records of one file, in order.

    Parameters
    ----------
    file : SourceFile
    select : callable
        Called once with the column names of a CSV, TSV, Parquet or Arrow file, before its first record; returns
        the columns that are needed. Parquet and Arrow read no others.
    encoding : str, optional
        Encoding of a text file; None: UTF-8, or the one that is detected.
    remarks : list of str, optional
        Gets a remark for what was detected: another encoding or delimiter, a CSV without a header.

    Yields
    ------
    Chunk
        For each record the 1-based line where it begins (JSONL, CSV, TSV) or its 1-based number (JSON, Parquet,
        Arrow), and the record: any JSON value, a dict for CSV and TSV, a row of a batch for Parquet and Arrow, or an
        `Unfit`. Blank lines are skipped.

    Raises
    ------
    DataError
        The file as a whole cannot be read: truncated, not what its suffix says, no permission.
    """
    import pyarrow as pa

    try:
        if file.format == "parquet":
            yield from _parquet_chunks(file, select)
            return
        if file.format == "arrow":
            yield from _arrow_file_chunks(file, select)
            return
        remarks = [] if remarks is None else remarks
        with pa.input_stream(str(file.path), compression=file.compression) as source:
            stream = _as_utf8(file, io.BufferedReader(source, _SAMPLE), encoding, remarks)
            if file.format == "jsonl":
                yield from _jsonl_chunks(file, stream)
            elif file.format == "json":
                yield from chunked(_json_records(file, stream))
            else:
                yield from chunked(_table_records(file, stream, select, remarks))
    # A UnicodeDecodeError here comes from the structure of the file; text of a record is an `Unfit`.
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        kind = file.format if file.compression is None else f"{file.compression} of {file.format}"
        raise DataError(f"{file.name}: cannot be read to its end as {kind}: {error}") from error


def chunked(records: Records) -> Chunks:
    """Collect records into chunks of at most `CHUNK_ROWS`, or fewer long ones."""
    lines: list[int] = []
    found: list[Any] = []
    chars = 0
    for line, record in records:
        lines.append(line)
        found.append(record)
        chars += _weight(record)
        if len(found) >= CHUNK_ROWS or chars >= CHUNK_CHARS:
            yield Chunk(lines, found, None)
            lines, found, chars = [], [], 0
    if found:
        yield Chunk(lines, found, None)


def _weight(record: Any) -> int:
    """Count the characters of a record, about."""
    chars = 0
    for value in record.values() if type(record) is dict else (record,):
        if type(value) is str:
            chars += len(value)
        elif type(value) is list and all(type(entry) is str for entry in value):
            chars += sum(map(len, value))
        elif type(value) in (list, dict):
            chars += len(repr(value))
    return chars


def _as_utf8(
    file: SourceFile, stream: io.BufferedReader, encoding: str | None, remarks: list[str]
) -> io.BufferedReader:
    """Return a text stream as UTF-8."""
    found = encoding or detect_encoding(stream.peek(_SAMPLE)[:_SAMPLE])
    if codecs.lookup(found).name == UTF8:
        return stream
    if encoding is None:
        remarks.append(f"{file.name}: read as {found}, which was detected; to name another: --encoding")
    return io.BufferedReader(Transcoded(stream, found), _SAMPLE)


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(1-based number, line with its end but without byte order marks); of a longer one `MAX_LINE` + 1 bytes."""
    return ((number, _without_mark(line)) for number, line in bounded_lines(stream, MAX_LINE))


def _without_mark(line: bytes) -> bytes:
    while line.startswith(codecs.BOM_UTF8):  # also at the joint of files that were concatenated
        line = line.removeprefix(codecs.BOM_UTF8)
    return line


def _decoded_line(line: bytes) -> str | Unfit:
    if len(line) > MAX_LINE:
        return Unfit("too_long", f"the line is longer than {MAX_LINE:,} bytes")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        return Unfit("invalid_utf8", f"byte {error.start + 1} of the line: {error.reason}")


def _jsonl_chunks(file: SourceFile, stream: io.BufferedReader) -> Chunks:
    if re.match(rb"\s*\[\s*(\{|$)", stream.peek(MAX_PEEK)[:MAX_PEEK].replace(codecs.BOM_UTF8, b"")):
        yield from chunked(_json_records(file, stream))  # a JSON list under the name of a .jsonl file
        return
    numbers: list[int] = []
    found: list[Any] = []
    size = 0
    for first, lines in _line_blocks(stream):
        done = 0
        while done < len(lines):
            done, size = _parse_lines(lines, done, first, numbers, found, size)
            if len(found) >= CHUNK_ROWS or size >= CHUNK_CHARS:
                yield Chunk(numbers, found, None)
                numbers, found, size = [], [], 0
    if found:
        yield Chunk(numbers, found, None)


def _parse_lines(
    lines: Sequence[bytes], done: int, first: int, numbers: list[int], found: list[Any], size: int
) -> tuple[int, int]:
    """Append the records of lines from place `done` on until a chunk is full; returns the next place and the size."""
    fast = min(_FAST_LINE, MAX_LINE)
    with collector_paused():
        for place in range(done, len(lines)):
            line = lines[place]
            try:
                # In long lines it keeps more memory, and it has no limit on the depth of a value.
                value = orjson.loads(line) if len(line) < fast else None
            except orjson.JSONDecodeError:  # also for NaN, lone surrogates and integers of more than 64 bits
                value = None
            if value is None:
                # Without the white space behind it: a line end would shift the parser's column to the next line.
                if not (line := _without_mark(line).rstrip()):
                    continue
                text = _decoded_line(line)
                value = text if isinstance(text, Unfit) else _json_value(text)
            numbers.append(first + place)
            found.append(value)
            size += len(line)
            if len(found) >= CHUNK_ROWS or size >= CHUNK_CHARS:
                return place + 1, size
    return len(lines), size


def _line_blocks(stream: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    """Yield (1-based number of the first, lines without their ends); a line longer than `MAX_LINE` is incomplete."""
    number, rest = 1, b""
    while block := stream.read(_BLOCK):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()[: MAX_LINE + 1]
        yield number, lines
        number += len(lines)
    if rest:
        yield number, [rest]


def _json_value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return Unfit("invalid_json", f"column {error.colno}: {error.msg}")
    except ValueError as error:  # an integer with thousands of digits
        return Unfit("invalid_json", str(error))
    except RecursionError:
        return Unfit("invalid_json", "nested too deeply")


def _json_records(file: SourceFile, stream: BinaryIO) -> Records:
    try:
        text = _JsonText(stream)
        if text.next_char() == "[":
            yield from enumerate(text.elements(), 1)
        else:
            yield from enumerate(_list_of_records(file, text.whole()), 1)
    except UnicodeDecodeError as error:
        raise DataError(f"{file.name}: byte {text.n_bytes(error)} is not UTF-8: {error.reason}") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{file.name}:{text.place(error)}: not valid JSON: {error.msg}"
            " (a file with one JSON object per line must be named .jsonl)"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file.name}: not valid JSON: {error}") from error


class _JsonText:
    """The text of a JSON file, read as far as it is needed: a list is parsed element by element."""

    _CHUNK = 2**20
    _decode = staticmethod(json.JSONDecoder().raw_decode)

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._read = 0  # bytes
        self._text = ""
        self._at = 0
        self._line, self._column = 1, 1  # of the start of `_text`
        self._ended = False

    def _more(self, chars: int) -> None:
        """Drop what was parsed and read at least `chars` more, if there are as many."""
        done = self._text[: self._at]
        self._line += done.count("\n")
        self._column = len(done) - done.rfind("\n") if "\n" in done else self._column + len(done)
        parts, self._at = [self._text[self._at :]], 0
        while chars > 0 and not self._ended:
            data = self._stream.read(self._CHUNK)
            self._read += len(data)
            self._ended = not data
            parts.append(self._utf8.decode(data, final=self._ended))
            chars -= len(parts[-1])
        self._text = "".join(parts)

    def next_char(self) -> str:
        """Return the next character that is not white space, or '' at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._more(1)

    def elements(self) -> Iterator[Any]:
        """Yield the elements of the list that begins here."""
        self._at += 1
        if self.next_char() == "]":
            self._at += 1
        else:
            while True:
                yield self._value()
                if (char := self.next_char()) not in (",", "]"):
                    raise json.JSONDecodeError("Expecting ',' delimiter", self._text, self._at)
                self._at += 1
                if char == "]":
                    break
        if self.next_char():
            raise json.JSONDecodeError("Extra data", self._text, self._at)

    def _value(self) -> Any:
        self.next_char()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError:
                if self._ended:
                    raise
            else:
                if end < len(self._text) or self._ended:  # a number may go on
                    self._at = end
                    return value
            if len(self._text) - self._at > MAX_LINE:
                raise ValueError(f"an element of the list is longer than {MAX_LINE:,} characters, or is not JSON")
            self._more(len(self._text) - self._at)

    def whole(self) -> Any:
        """Parse all of it as one value."""
        self._more(MAX_JSON)
        if not self._ended:
            raise ValueError(
                f"only a list may have more than {MAX_JSON:,} characters; write one object per line, as .jsonl"
            )
        return json.loads(self._text)

    def place(self, error: json.JSONDecodeError) -> str:
        """Return 'line:column' in the file of an error in the current text."""
        line, column = self._line + error.lineno - 1, error.colno
        return f"{line}:{column + self._column - 1 if error.lineno == 1 else column}"

    def n_bytes(self, error: UnicodeDecodeError) -> int:
        """Return the 1-based position in the file of a byte that is not UTF-8."""
        return self._read - len(error.object) + error.start + 1


def _list_of_records(file: SourceFile, value: Any) -> list[Any]:
    """Return the records in a JSON value that is an object: its one list of objects."""
    if not isinstance(value, dict):
        raise DataError(f"{file.name}: holds one JSON {type(value).__name__}, not a list of records")
    lists = {key: item for key, item in value.items() if isinstance(item, list)}
    # {"data": [{...}], "splits": ["train"]}: the records are the list of objects.
    of_objects = {key: item for key, item in lists.items() if any(isinstance(x, dict) for x in item)}
    candidates = of_objects or {key: item for key, item in lists.items() if not item}
    if len(candidates) != 1:
        raise DataError(
            f"{file.name}: {len(candidates)} lists of records among its keys {listed(value)}; the file must be a list"
            " of objects, or an object with exactly one such list"
        )
    return next(iter(candidates.values()))


class _TableLines:
    """Lines of a CSV or TSV file for `csv.reader`. Lines of one record can be returned, to be read one by one."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = _lines(stream)
        self._returned: deque[tuple[int, str | Unfit]] = deque()
        self.record: list[tuple[int, str | Unfit]] = []
        """Lines of the current record, with their numbers."""

    def start(self) -> bool:
        """Start a new record; return whether its first line is read again."""
        self.record.clear()
        return bool(self._returned)

    def __iter__(self) -> _TableLines:
        return self

    def __next__(self) -> str:
        if self._returned:
            number, text = self._returned.popleft()
        else:
            number, line = next(self._lines)
            text = _decoded_line(line)
        self.record.append((number, text))
        if isinstance(text, Unfit):
            return ""
        if len(self.record) > 1 and sum(len(line) for _, line in self.record if isinstance(line, str)) > MAX_LINE:
            raise csv.Error("a quoted cell is too long")
        return text

    def keep_first(self) -> None:
        """Return all lines of the current record but the first."""
        self._returned.extendleft(reversed(self.record[1:]))
        del self.record[1:]


_STRAY_QUOTE = Unfit("not_a_record", "a quote in this line does not enclose a whole cell")


def _delimiter_and_header(start: bytes) -> tuple[str, list[str] | None]:
    """Find the delimiter of a CSV file from its start, and its columns if it is an MMLU file without a header."""
    line = start.removeprefix(codecs.BOM_UTF8).split(b"\n", 1)[0].decode(errors="replace").strip("\r")
    rows = {delimiter: next(csv.reader([line], delimiter=delimiter), []) for delimiter in _DELIMITERS}
    # Of the delimiters that give a column of questions, or else of all, the one with the most columns.
    usual = [delimiter for delimiter, row in rows.items() if has_question(row)]
    delimiter = max(usual or _DELIMITERS, key=lambda one: len(rows[one])) if usual or len(rows[","]) < 2 else ","
    row = rows[delimiter]
    letters = list(string.ascii_uppercase[: max(0, len(row) - 2)])
    is_mmlu = len(letters) >= 2 and row[-1].strip() in letters and row[1:-1] != letters and not has_question(row)
    return delimiter, ["question", *letters, "answer"] if is_mmlu else None


def _table_records(file: SourceFile, stream: io.BufferedReader, select: Select, remarks: list[str]) -> Records:
    """Read CSV or TSV. A stray quote never joins records: in TSV it is text, in CSV its line is rejected."""
    # The limit holds for the whole process; raising it does not affect other readers.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
    made: list[str] | None = None
    delimiter = "\t"
    if file.format == "csv":
        delimiter, made = _delimiter_and_header(stream.peek(_SAMPLE)[:_SAMPLE])
        if delimiter != ",":
            remarks.append(f"{file.name}: read with {delimiter!r} between the cells")
        if made is not None:
            remarks.append(f"{file.name}: has no header; its columns are read as {', '.join(made)}")
    lines = _TableLines(stream)
    # Without strict, `"Hi" he said` loses its quotes, and a missing closing quote takes in the rest of the file.
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = made or []
    places = {name: place for place, name in enumerate(header)}
    if made is not None:
        select(made)
    while True:
        again = lines.start()
        problem: Unfit | None = None
        try:
            row = next(rows, None)
        except csv.Error as error:
            row, problem = [], Unfit("not_a_record", f"not valid CSV: {error}")
        if row is None:
            return
        number, first = lines.record[0]
        if len(lines.record) > 1 and (problem or _are_records(lines.record, header, delimiter)):
            lines.keep_first()
            problem = _STRAY_QUOTE
        elif again and isinstance(first, str) and first.count('"') % 2:
            problem = _STRAY_QUOTE
        problem = next((line for _, line in lines.record if isinstance(line, Unfit)), problem)
        if delimiter == "\t" and len(lines.record) == 1 and isinstance(first, str):
            cells = first.rstrip("\r\n").split("\t")
            if len(cells) == len(header) and (problem or len(row) != len(header)):
                row, problem = cells, None
        if not header:
            if problem:
                raise DataError(f"{file.name}:{number}: the header cannot be read: {problem.detail}")
            header = row
            if header:
                select(header)
                for place, name in enumerate(header):  # of columns with the same name the first is read
                    places.setdefault(name, place)
        elif problem:
            yield number, problem
        elif row == []:  # a blank line
            continue
        elif row == header:
            yield number, Unfit("not_a_record", "the line repeats the header")
        elif len(row) < len(header) or any(row[len(header) :]):
            # A short row may come from an unquoted line break, so it is not padded.
            yield number, Unfit("not_a_record", f"{len(row)} cells where the header has {len(header)}")
        else:
            yield number, {name: row[place] for name, place in places.items()}


def _are_records(lines: Sequence[tuple[int, str | Unfit]], header: Sequence[str], delimiter: str) -> bool:
    """Whether each line of a record with line breaks has as many cells as the header if its quotes are text.

    Then a stray quote opened a cell and another one closed it; lines of a text have other numbers of commas. A comma
    before a space does not count: it is part of a sentence.
    """
    separator = re.compile(",(?! )" if delimiter == "," else re.escape(delimiter))
    return len(header) > 1 and all(
        isinstance(line, str) and len(separator.findall(line)) == len(header) - 1 for _, line in lines
    )


def _parquet_chunks(file: SourceFile, select: Select) -> Chunks:
    import pyarrow.parquet as pq

    with pq.ParquetFile(str(file.path)) as parquet:
        used = select(parquet.schema_arrow.names)
        leaves = [parquet.schema.column(number) for number in range(len(parquet.schema))]
        texts = [leaf.path for leaf in leaves if leaf.logical_type.type == "STRING"]
        rows = _PARQUET_ROWS
        if all(map(_TEXTS.fullmatch, texts)):
            texts = [path for path in texts if "." not in path]  # Arrow reads no lists of dictionaries
        else:
            # All rows may share one value of a dictionary page, so a batch takes up to rows times the size of a row
            # group. (The size of a single column would be closer, but Arrow aborts on a damaged one.)
            groups = map(parquet.metadata.row_group, range(parquet.num_row_groups))
            largest = max((group.total_byte_size for group in groups), default=1)
            rows, texts = min(rows, max(1, _PARQUET_BYTES // max(1, largest))), []
    with pq.ParquetFile(str(file.path), read_dictionary=texts) as parquet:
        # Without a usable column all are read: every record is counted.
        batches = parquet.iter_batches(batch_size=rows, columns=used or None)
        yield from arrow_chunks(part for batch in batches for part in _decoded(batch))


# Leaves of Parquet columns that are texts or lists of texts. Entries of lists are taken to be short.
_TEXTS = re.compile(r"[^.]+(\.list\.(element|item))?")


def _decoded(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Replace dictionaries by their texts, in parts of at most `_PARQUET_BYTES`: many rows may share a long text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sizes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        if isinstance(column, pa.DictionaryArray):
            lengths = pc.binary_length(column.dictionary).take(column.indices)
            sizes += pc.fill_null(lengths, 0).to_numpy(False)
    ends = np.cumsum(sizes)
    first = 0
    while first < batch.num_rows:
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + _PARQUET_BYTES, "right")))
        part = batch.slice(first, last - first)
        columns = [c.dictionary_decode() if isinstance(c, pa.DictionaryArray) else c for c in part.columns]
        yield pa.RecordBatch.from_arrays(columns, part.schema.names)
        first = last


def _arrow_file_chunks(file: SourceFile, select: Select) -> Chunks:
    """Read an Arrow IPC file or stream, memory-mapped."""
    import pyarrow as pa

    with pa.memory_map(str(file.path)) as source:
        if source.size() == 0:
            return
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        with pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source) as reader:
            used = select(reader.schema.names) or reader.schema.names
            batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
            yield from arrow_chunks(_sound(batch.select(used)) for batch in batches)


def _sound(batch: Any) -> Any:
    """Return a record batch after all its offsets and texts were checked: Arrow follows wrong ones out of the file."""
    batch.validate(full=True)
    return batch


def arrow_chunks(batches: Iterable[Any]) -> Chunks:
    """Yield Arrow record batches as chunks: as columns if all texts in them are valid, row by row otherwise."""
    import pyarrow as pa

    number = 1
    for batch in batches:
        try:
            batch.validate(full=True)
        except pa.ArrowInvalid:
            records = [_row_record(batch.slice(row, 1)) for row in range(batch.num_rows)]
            yield Chunk(range(number, number + batch.num_rows), records, None)
        else:
            yield Chunk(range(number, number + batch.num_rows), None, batch)
        number += batch.num_rows


def _row_record(row: Any) -> Any:
    try:
        return row.to_pylist()[0]
    except UnicodeDecodeError as error:
        return Unfit("invalid_utf8", f"byte {error.start + 1} of a text: {error.reason}")
    except (ValueError, OverflowError) as error:
        return Unfit("wrong_type", f"a value that Python cannot hold: {error}")
