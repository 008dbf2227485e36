"""Seed files to records: JSONL, JSON, CSV, TSV and Parquet, plain or compressed.

A reader yields `(line, record)` for every record of a file, in order. In place of a record that cannot be read it
yields an `Unfit`, and continues with the next one. A file that cannot be read as a whole (missing, truncated, not
Parquet at all) is a `DataError` that names it.

JSONL, CSV, TSV and Parquet are streamed; a `.json` file is a single value and is read into memory.
To support another format, add its suffix to `FORMATS` and a reader to `read_records`.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from linksyn_gpu.errors import DataError
from linksyn_gpu.seeds.values import Unfit, listed

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}

# Upper limit of a JSONL line in bytes and of a CSV cell in characters: longer ones are never held in memory.
MAX_LINE = 2**26
_PARQUET_ROWS = 8192
_BOM = b"\xef\xbb\xbf"
_GLOB = re.compile(r"[*?\[]")


Records = Iterator[tuple[int, Any]]
"""(1-based line, or record number in a format without lines; the record, or an `Unfit` in its place)."""

Select = Callable[[Sequence[str]], list[str]]
"""Given the columns of a file that has a header, returns those to read."""


@dataclass(frozen=True)
class SourceFile:
    """One input file."""

    name: str
    """As the user wrote it; for a pattern, as the pattern matched it."""
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
        Files keep the order given; the files of a pattern are sorted by name. Patterns follow the shell:
        `*` skips names that begin with a dot, `**` matches any folders.

    Returns
    -------
    list of SourceFile
        Each file once, even when it is named twice.

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
        except OSError as error:  # no permission to enter a folder, a name that is too long
            raise DataError(f"{name}: cannot be opened: {error.strerror}") from error
    if not found:
        raise DataError("no seed file is named; pass at least one path")
    return list(found.values())


def _expand(name: str) -> list[str]:
    # An existing file whose name contains brackets is that file, not a pattern.
    if not _GLOB.search(name) or Path(name).is_file():
        return [name]
    matches = glob.glob(name, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute patterns
    files = sorted(match for match in matches if Path(match).is_file())
    if not files:
        raise DataError(f"{name}: the pattern matches no file; check the folder and the suffix")
    return files


def _source_file(name: str) -> SourceFile:
    path = Path(name)
    if path.is_dir():
        raise DataError(f"{name} is a folder; name the files in it, e.g. '{path / '*.jsonl'}'")
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
            f" (also followed by {' or '.join(COMPRESSIONS)}, except .parquet)"
        )
    return SourceFile(name, path, format_, compression)


def read_records(file: SourceFile, select: Select) -> Records:
    """Read the records of one file, in order.

    Parameters
    ----------
    file : SourceFile
    select : callable
        Called once with the column names of a CSV, TSV or Parquet file, before its first record; returns
        the columns that are needed. Parquet reads no others.

    Yields
    ------
    (int, object)
        The 1-based line where the record begins (JSONL, CSV, TSV) or its 1-based number (JSON, Parquet),
        and the record: any JSON value, a dict for CSV, TSV and Parquet, or an `Unfit`. Blank lines are
        skipped.

    Raises
    ------
    DataError
        The file as a whole cannot be read: truncated, not what its suffix says, no permission.
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
    # A UnicodeDecodeError here comes from the structure of the file; text of a record is an `Unfit`.
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        kind = file.format if file.compression is None else f"{file.compression} of {file.format}"
        raise DataError(f"{file.name}: cannot be read to its end as {kind}: {error}") from error


def _lines(stream: BinaryIO, limit: int = -1) -> Iterator[bytes]:
    """Yield lines with their line ends, without the byte order mark; at most `limit` + 1 bytes of each."""
    if limit >= 0:
        limit += 1
    line = stream.readline(limit).removeprefix(_BOM)
    while line:
        yield line
        # Skip the rest of a line that exceeds the limit.
        while limit >= 0 and line and not line.endswith(b"\n"):
            line = stream.readline(limit)
        line = stream.readline(limit)


def _bad_bytes(error: UnicodeDecodeError) -> Unfit:
    return Unfit("invalid_utf8", f"byte {error.start + 1} of the line: {error.reason}")


def _jsonl_records(stream: BinaryIO) -> Records:
    for number, line in enumerate(_lines(stream, MAX_LINE), 1):
        if len(line) > MAX_LINE:
            yield number, Unfit("too_long", f"the line is longer than {MAX_LINE:,} bytes")
        elif line := line.rstrip():  # the line end would shift the parser's column to the next line
            yield number, _json_value(line)


def _json_value(line: bytes) -> Any:
    try:
        return json.loads(line.decode())
    except UnicodeDecodeError as error:
        return _bad_bytes(error)
    except json.JSONDecodeError as error:
        return Unfit("invalid_json", f"column {error.colno}: {error.msg}")
    except ValueError as error:  # an integer with thousands of digits
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
            " (a file with one JSON object per line must be named .jsonl)"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file.name}: not valid JSON: {error}") from error
    yield from enumerate(_list_of_records(file, value), 1)


def _list_of_records(file: SourceFile, value: Any) -> list[Any]:
    """Return the records in a JSON value: a list, or an object that contains one list."""
    if isinstance(value, list):
        return value
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


class _DecodedLines:
    """Lines of text for `csv`; `error` is set by a line that is not UTF-8, until the caller clears it."""

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
    # The limit holds for the whole process; raising it does not affect other readers.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
    lines = _DecodedLines(stream)
    # Without strict, `"Hi" he said` loses its quotes, and a missing closing quote takes in the rest of the file.
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
            for place, name in enumerate(header):  # of columns with the same name the first is read
                places.setdefault(name, place)
        elif isinstance(row, Unfit):
            yield line, row
        elif len(row) < len(header) or any(row[len(header) :]):
            # A short row may come from an unquoted line break, so it is not padded.
            yield line, Unfit("not_a_record", f"{len(row)} cells where the header has {len(header)}")
        else:
            yield line, {name: row[place] for name, place in places.items()}


def _next_row(rows: Iterator[list[str]], lines: _DecodedLines) -> list[str] | Unfit | None:
    """Return the next row of cells, what is wrong with it, or None at the end."""
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
        # Without a usable column all are read: every record is counted.
        yield from arrow_records(parquet.iter_batches(batch_size=_PARQUET_ROWS, columns=used or None))


def arrow_records(batches: Iterable[Any]) -> Records:
    """Yield the rows of Arrow record batches as dicts, with an `Unfit` in place of one that Python cannot hold."""
    number = 1
    for batch in batches:
        try:
            rows = batch.to_pylist()
        except (ValueError, OverflowError):
            # Arrow does not check the text that it reads; convert row by row to find the bad one.
            rows = [_row_record(batch.slice(row, 1)) for row in range(batch.num_rows)]
        yield from enumerate(rows, number)
        number += batch.num_rows


def _row_record(row: Any) -> Any:
    try:
        return row.to_pylist()[0]
    except UnicodeDecodeError as error:
        return Unfit("invalid_utf8", f"byte {error.start + 1} of a text: {error.reason}")
    except (ValueError, OverflowError) as error:
        return Unfit("wrong_type", f"a value that Python cannot hold: {error}")
