"""Seed files to raw records: JSONL, JSON, CSV, TSV and Parquet, plain or compressed.

A reader yields `(line, record)` for every record of a file, in order. Where a record cannot be read it
yields an `Unfit` in the record's place, so one bad row never ends a file. What makes the *whole* file
unreadable (it is missing, cut off, no Parquet at all) is a `DataError` that names it.

JSONL, CSV, TSV and Parquet are streamed; a `.json` file is one value and is held in memory whole.
"""

from __future__ import annotations

import ast
import csv
import glob
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

from linksyn_gpu.errors import DataError

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}

# A line of JSONL, or a cell of CSV, of more bytes or characters is no seed: it is never held whole.
MAX_LINE = 2**26
_PARQUET_ROWS = 8192
_BOM = b"\xef\xbb\xbf"
_STRING = r"""(?:'(?:[^'\\]|\\[\\'"nrtxuU])*'|"(?:[^"\\]|\\[\\'"nrtxuU])*")"""
_PYTHON_LIST = re.compile(rf"\[\s*{_STRING}(?:\s*,\s*{_STRING})*\s*\]")
_GLOB = re.compile(r"[*?\[]")


class Unfit(Exception):
    """The verdict on a record that is not taken: one of `linksyn_gpu.seeds.normalize.REASONS`, and what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


Records = Iterator[tuple[int, Any]]
"""(1-based line, or record number where a format has no lines; the record, or an `Unfit` in its place)."""

Select = Callable[[Sequence[str]], list[str]]
"""Given the columns of a file that has a header: those that will be used."""


@dataclass(frozen=True)
class SourceFile:
    """One input file."""

    name: str
    """As the user wrote it; for a glob, as the pattern gave it."""
    path: Path
    format: str
    """A value of `FORMATS`."""
    compression: str | None
    """A value of `COMPRESSIONS`, or None."""


def find_files(paths: str | Path | Iterable[str | Path]) -> list[SourceFile]:
    """Find the files that `paths` name.

    Parameters
    ----------
    paths : path or glob pattern, or several
        Files keep the order given; the files of a pattern come sorted by name. Patterns follow the shell:
        `*` leaves out names that begin with a dot, `**` stands for any folders.

    Returns
    -------
    list of SourceFile
        Each file once, also where it is named twice.

    Raises
    ------
    DataError
        A file is missing, is a folder or has an unknown suffix, or a pattern matches no file.
    """
    named = [paths] if isinstance(paths, (str, Path)) else list(paths)
    found: dict[Path, SourceFile] = {}
    for name in named:
        try:
            for match in _expand(str(name)):
                file = _source_file(match)
                found.setdefault(file.path.resolve(), file)
        except OSError as error:  # a folder that may not be entered, a name longer than names can be
            raise DataError(f"{name}: cannot be looked up: {error.strerror}") from error
    if not found:
        raise DataError("no seed file was named")
    return list(found.values())


def _expand(name: str) -> list[str]:
    # A file whose own name holds brackets is that file, not a pattern.
    if not _GLOB.search(name) or Path(name).is_file():
        return [name]
    matches = glob.glob(name, recursive=True)  # noqa: PTH207 - as the shell does, absolute patterns too
    files = sorted(match for match in matches if Path(match).is_file())
    if not files:
        raise DataError(f"{name}: the pattern matches no file; check its folder and its suffix")
    return files


def _source_file(name: str) -> SourceFile:
    path = Path(name)
    if path.is_dir():
        raise DataError(f"{name}: is a folder; name the files in it, e.g. '{path / '*.jsonl'}'")
    if not path.is_file():
        raise DataError(f"{name}: no such file")
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression is not None:
        suffixes.pop()
    format_ = FORMATS.get(suffixes[-1]) if suffixes else None
    if format_ is None or (format_ == "parquet" and compression is not None):
        raise DataError(
            f"{name}: unknown suffix; seeds are read from {', '.join(FORMATS)}"
            f" (all but .parquet also with {' or '.join(COMPRESSIONS)} behind it)"
        )
    return SourceFile(name, path, format_, compression)


def read_records(file: SourceFile, select: Select) -> Records:
    """Read the records of one file, in order.

    Parameters
    ----------
    file : SourceFile
    select : callable
        Called once with the column names of a CSV, TSV or Parquet file, before its first record; returns
        the columns to read, of which Parquet then reads no others.

    Yields
    ------
    (int, object)
        The 1-based line where the record begins (JSONL, CSV, TSV) or its 1-based number (JSON, Parquet),
        and the record: any JSON value, a dict for CSV, TSV and Parquet, or an `Unfit`. Blank lines are
        no records.

    Raises
    ------
    DataError
        The file as a whole cannot be read: cut off, not what its suffix says, no permission.
    """
    import pyarrow as pa

    try:
        if file.format == "parquet":
            yield from _parquet_records(file, select)
            return
        with pa.input_stream(str(file.path), compression=file.compression) as source:
            stream = io.BufferedReader(source, 2**20)
            if file.format == "jsonl":
                yield from _jsonl_records(stream)
            elif file.format == "json":
                yield from _json_records(file, stream)
            else:
                yield from _csv_records(file, stream, select)
    # What is not UTF-8 here is in the file's own structure; a record's text is judged by itself.
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        kind = file.format if file.compression is None else f"{file.compression} of {file.format}"
        raise DataError(f"{file.name}: cannot be read to its end as {kind}: {error}") from error


def _lines(stream: BinaryIO, limit: int = -1) -> Iterator[bytes]:
    """Yield lines with their ends, without the byte order mark; at most `limit` + 1 bytes of each."""
    if limit >= 0:
        limit += 1
    line = stream.readline(limit).removeprefix(_BOM)
    while line:
        yield line
        # The rest of a line that is over the limit is passed over, a piece at a time.
        while limit >= 0 and line and not line.endswith(b"\n"):
            line = stream.readline(limit)
        line = stream.readline(limit)


def _bad_bytes(error: UnicodeDecodeError) -> Unfit:
    return Unfit("invalid_utf8", f"byte {error.start + 1} of the line: {error.reason}")


def _jsonl_records(stream: BinaryIO) -> Records:
    for number, line in enumerate(_lines(stream, MAX_LINE), 1):
        if len(line) > MAX_LINE:
            yield number, Unfit("too_long", f"the line is longer than {MAX_LINE:,} bytes")
        elif line := line.rstrip():  # without its end, which would put a parser's column on the next line
            yield number, _json_value(line)


def _json_value(line: bytes) -> Any:
    try:
        return json.loads(line.decode())
    except UnicodeDecodeError as error:
        return _bad_bytes(error)
    except json.JSONDecodeError as error:
        return Unfit("invalid_json", f"column {error.colno}: {error.msg}")
    except ValueError as error:  # an integer of thousands of digits
        return Unfit("invalid_json", str(error))
    except RecursionError:
        return Unfit("invalid_json", "nested too deeply")


def _json_records(file: SourceFile, stream: BinaryIO) -> Records:
    try:
        value = json.loads(stream.read().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{file.name}: byte {error.start + 1} is not UTF-8: {error.reason}") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{file.name}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}"
            " (a file with one JSON object in each line must be named .jsonl)"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file.name}: not valid JSON: {error}") from error
    yield from enumerate(_list_of_records(file, value), 1)


def _list_of_records(file: SourceFile, value: Any) -> list[Any]:
    """Find the records in a JSON value: a list, or an object with one list in it."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise DataError(f"{file.name}: holds one JSON {type(value).__name__}, not a list of records")
    lists = {key: item for key, item in value.items() if isinstance(item, list)}
    # {"data": [{...}], "splits": ["train"]}: a list of objects is the records, other lists are about them.
    of_objects = {key: item for key, item in lists.items() if any(isinstance(x, dict) for x in item)}
    candidates = of_objects or {key: item for key, item in lists.items() if not item}
    if len(candidates) != 1:
        raise DataError(
            f"{file.name}: {len(candidates)} lists of records among its keys {listed(value)}; needed is a"
            " list of objects, or an object that holds exactly one such list"
        )
    return next(iter(candidates.values()))


class _DecodedLines:
    """Lines of text for `csv`; `error` is the last line's that was not UTF-8, until it is taken."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = _lines(stream)
        self.error: UnicodeDecodeError | None = None

    def __iter__(self) -> _DecodedLines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            self.error = error
            return line.decode(errors="replace")


def _csv_records(file: SourceFile, stream: BinaryIO, select: Select) -> Records:
    # The limit is the whole process's; raising it takes nothing from other readers.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
    lines = _DecodedLines(stream)
    # strict: without it `"Hi" he said` loses its quotes and a missing closing quote swallows the file.
    rows = csv.reader(lines, delimiter="\t" if file.format == "tsv" else ",", strict=True)
    header: list[str] | None = None
    places: dict[str, int] = {}
    while True:
        line = rows.line_num + 1
        row = _next_row(rows, lines)
        if row is None:
            return
        if row == []:  # a blank line
            continue
        if header is None:
            if isinstance(row, Unfit):
                raise DataError(f"{file.name}:{line}: the header cannot be read: {row.detail}")
            header = row
            select(header)
            for place, name in enumerate(header):  # of columns with one name the first is read
                places.setdefault(name, place)
        elif isinstance(row, Unfit):
            yield line, row
        elif len(row) < len(header) or any(row[len(header) :]):
            # Filling up a short row would hide a line break that a writer forgot to quote.
            yield line, Unfit("not_a_record", f"{len(row)} cells where the header has {len(header)}")
        else:
            yield line, {name: row[place] for name, place in places.items()}


def _next_row(rows: Iterator[list[str]], lines: _DecodedLines) -> list[str] | Unfit | None:
    """Give the next row of cells, what is wrong with it, or None at the end."""
    try:
        row = next(rows, None)
    except csv.Error as error:
        lines.error = None
        return Unfit("not_a_record", f"not valid CSV: {error}")
    if lines.error is not None:
        bad, lines.error = _bad_bytes(lines.error), None
        return bad
    return row


def _parquet_records(file: SourceFile, select: Select) -> Records:
    import pyarrow.parquet as pq

    with pq.ParquetFile(str(file.path)) as parquet:
        used = select(parquet.schema_arrow.names)
        number = 1
        # Without a usable column all are read, so that every record is still counted.
        for batch in parquet.iter_batches(batch_size=_PARQUET_ROWS, columns=used or None):
            yield from enumerate(_batch_records(batch), number)
            number += batch.num_rows


def _batch_records(batch: Any) -> list[Any]:
    try:
        return list(batch.to_pylist())
    except (ValueError, OverflowError):
        # Arrow does not check text that it reads. One row at a time, then, to find the bad one.
        return [_row_record(batch.slice(row, 1)) for row in range(batch.num_rows)]


def _row_record(row: Any) -> Any:
    try:
        return row.to_pylist()[0]
    except UnicodeDecodeError as error:
        return Unfit("invalid_utf8", f"byte {error.start + 1} of a text: {error.reason}")
    except (ValueError, OverflowError) as error:
        return Unfit("wrong_type", f"a value that Python cannot hold: {error}")


def listed(names: Iterable[str], most: int = 20) -> str:
    """List names for a message, the first `most` of them."""
    quoted = [repr(name) for name in names]
    return ", ".join(quoted[:most]) + (f" and {len(quoted) - most} more" if len(quoted) > most else "")


def kind_of(value: Any) -> str:
    """Name the kind of a value for a message."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)


def text_of(field: str, value: Any) -> str:
    """Give a scalar as text: a number as JSON writes it, what is missing as ''."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and value != value):  # NaN is pandas' missing value
        return ""
    if isinstance(value, (int, float)):
        return json.dumps(value)
    if isinstance(value, Decimal):
        return str(value)
    raise Unfit("wrong_type", f"{field} is {kind_of(value)}, not a text")


def texts_of(field: str, value: Any) -> list[str]:
    """Give a list of scalars as texts; a bare scalar is a list of one, or of none where it is blank."""
    if isinstance(value, list):
        name = f"an entry of {field}"
        return [entry if type(entry) is str else text_of(name, entry) for entry in value]
    text = text_of(field, value)
    return [text] if text.strip() else []


def decoded(value: Any) -> Any:
    """Decode a list or object that a CSV or Parquet column holds as a string; give anything else back."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except RecursionError:
        return value
    except ValueError:
        pass
    if not _PYTHON_LIST.fullmatch(value.strip()):
        return value
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return value
