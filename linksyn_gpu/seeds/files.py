"""Which files seeds are read from: names, patterns, folders, data sets saved by Hugging Face, standard input."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from linksyn_gpu.errors import DataError
from linksyn_gpu.seeds.values import listed
from linksyn_gpu.streams import COMPRESSIONS

FORMATS = {
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv"},
    **{".parquet": "parquet", ".arrow": "arrow"},
}
BINARY = ("parquet", "arrow")
"""Formats that are not text: not compressed as a whole, and without an encoding."""

SAVED_STATE, SAVED_PARTS = "state.json", "dataset_dict.json"
"""Files of a data set that `datasets` saved (`save_to_disk`): of one, and of one that has several splits."""
SAVED_FACTS = ("dataset_info.json", "dataset_infos.json")
"""Files beside the data that `datasets` and the Hugging Face Hub write; they hold no records."""

STDIN = "-"
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_MAGIC_OF_FORMAT = {b"PAR1": "parquet", b"ARROW1": "arrow", b"\xff\xff\xff\xff": "arrow"}
_GLOB = re.compile(r"[*?\[]")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


class _Copy:
    """A temporary file, which is removed when nothing refers to this object any more, or at exit."""

    def __init__(self, stream: BinaryIO) -> None:
        with tempfile.NamedTemporaryFile(prefix="linksyn-stdin-", delete=False) as file:
            self.path = Path(file.name)
            weakref.finalize(self, self.path.unlink, missing_ok=True)
            shutil.copyfileobj(stream, file, 2**20)


@dataclass(frozen=True)
class SourceFile:
    """One input file."""

    name: str
    """As the user wrote it; for a pattern or a folder, as it was found there."""
    path: Path
    format: str
    """A value of `FORMATS`."""
    compression: str | None
    """A value of `COMPRESSIONS`, or None."""
    copy: _Copy | None = field(default=None, compare=False, repr=False)
    """What keeps a temporary file that holds the records; None for a file of the user."""


@dataclass(frozen=True)
class SourceFiles:
    """Input files in the order in which they are read."""

    files: list[SourceFile]
    remarks: list[str]
    """What was found and is not read."""

    def __iter__(self) -> Iterator[SourceFile]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


def find_files(paths: str | Path | Iterable[str | Path]) -> SourceFiles:
    """Find the files that `paths` name.

    Parameters
    ----------
    paths : path, pattern or folder, or several
        Files keep the order given; the files of a pattern or folder are sorted by name. Patterns follow the shell:
        `*` skips names that begin with a dot, `**` matches any folders. A folder stands for all files in it that have
        a known suffix, or for the files of a saved data set in its order. `-` is standard input.

    Returns
    -------
    SourceFiles
        Each file once, even when it is named twice.

    Raises
    ------
    DataError
        A file is missing or has an unknown suffix, a pattern matches no file, or a folder has no file of seeds.
    """
    named = [paths] if isinstance(paths, (str, Path)) else list(paths)
    found: dict[Path, SourceFile] = {}
    remarks: list[str] = []
    for name in map(str, named):
        try:
            for file in _files_of(name, remarks):
                found.setdefault(file.path.resolve(), file)
        except OSError as error:  # no permission to enter a folder, a name that is too long
            raise DataError(f"{name}: cannot be opened: {error.strerror}") from error
    if not found:
        raise DataError("no seed file is named; pass at least one path")
    return SourceFiles(list(found.values()), remarks)


def _files_of(name: str, remarks: list[str]) -> list[SourceFile]:
    if name == STDIN:
        return [_standard_input()]
    if _URL.match(name):
        raise DataError(_advice(name))
    # An existing file whose name contains brackets is that file, not a pattern.
    if _GLOB.search(name) and not Path(name).exists():
        matches = glob.glob(name, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute patterns
        files = sorted(match for match in matches if Path(match).is_file())
        if not files:
            raise DataError(f"{name}: the pattern matches no file; check the folder and the suffix")
        return [_source_file(match) for match in files]
    return _folder(Path(name), remarks) if Path(name).is_dir() else [_source_file(name)]


def _advice(url: str) -> str:
    if not url.startswith("hf://"):
        return f"{url}: seeds are read from local files; download it first"
    name = "/".join(url.removeprefix("hf://").removeprefix("datasets/").split("/")[:2])
    return (
        f"{url}: seeds are read from local files. Save the data set first, in Python with"
        f" datasets.load_dataset({name!r}).save_to_disk('FOLDER'), or with 'hf download {name} --repo-type dataset"
        f" --local-dir FOLDER'; then pass FOLDER"
    )


def _source_file(name: str) -> SourceFile:
    path = Path(name)
    if not path.is_file():
        raise DataError(f"{name}: no such file")
    format_, compression = _kind(path)
    if format_ is None:
        raise DataError(
            f"{name}: unknown suffix; seeds are read from {', '.join(FORMATS)}"
            f" (also followed by {' or '.join(COMPRESSIONS)}, except {' and '.join(f'.{name}' for name in BINARY)})"
        )
    return SourceFile(name, path, format_, compression)


def _kind(path: Path) -> tuple[str | None, str | None]:
    """Return format and compression by the suffixes of a name; the format is None where it is not known."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression is not None:
        suffixes.pop()
    format_ = FORMATS.get(suffixes[-1]) if suffixes else None
    return (None if compression is not None and format_ in BINARY else format_), compression


def _folder(folder: Path, remarks: list[str]) -> list[SourceFile]:
    """Find the files of a folder and the folders in it; other files are named in one remark."""
    files: list[SourceFile] = []
    others: list[str] = []
    for place, folders, names in os.walk(folder, onerror=_raise):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if SAVED_PARTS in names:
            splits = _saved_list(here / SAVED_PARTS, "splits")
            folders[:] = [split for split in splits if (here / split).is_dir()]
            continue
        if SAVED_STATE in names and SAVED_FACTS[0] in names:
            files += _saved_dataset(here)
            folders.clear()
            continue
        for name in sorted(name for name in names if not name.startswith(".")):
            if _kind(Path(name))[0] is None:
                others.append(str((here / name).relative_to(folder)))
            elif name not in SAVED_FACTS:
                files.append(_source_file(str(here / name)))
    if others:
        remarks.append(f"{folder}: {len(others):,} files of other kinds are not read: {listed(others, 5)}")
    if not files:
        raise DataError(f"{folder}: no file of seeds in this folder; seeds are read from {', '.join(FORMATS)}")
    return files


def _raise(error: OSError) -> None:
    raise error


def _saved_dataset(folder: Path) -> list[SourceFile]:
    """Return the files of a data set saved by Hugging Face `datasets`, in the order of its rows."""
    state = _saved_json(folder / SAVED_STATE)
    if state.get("_indices_data_files"):
        raise DataError(f"{folder}: the rows of this data set are chosen by an index; save it after flatten_indices()")
    entries = state.get("_data_files")
    names = [str(entry.get("filename")) for entry in entries or () if isinstance(entry, dict)]
    if not names or not all(Path(name).name == name for name in names):
        raise DataError(f"{folder / SAVED_STATE}: names no data files; save the data set again with save_to_disk")
    return [_source_file(str(folder / name)) for name in names]


def _saved_list(path: Path, key: str) -> list[str]:
    names = _saved_json(path).get(key)
    if not isinstance(names, list) or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise DataError(f"{path}: has no list {key!r}; save the data set again with save_to_disk")
    return names


def _saved_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON: {error}; save the data set again with save_to_disk") from error
    return value if isinstance(value, dict) else {}


def _standard_input() -> SourceFile:
    """Copy standard input to a temporary file, so that it can be hashed and read; find its format from its start."""
    copy = _Copy(sys.stdin.buffer)
    with copy.path.open("rb") as file:
        start = file.read(64)
    compression = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    if compression is not None:
        start = _first_bytes(str(copy.path), compression)
    format_ = next((kind for magic, kind in _MAGIC_OF_FORMAT.items() if start.startswith(magic)), None)
    if format_ is None:
        text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
        format_ = "jsonl" if text[:1] in (b"{", b"[", b"") else "csv"
    return SourceFile(STDIN, copy.path, format_, compression, copy)


def _first_bytes(path: str, compression: str) -> bytes:
    import pyarrow as pa

    try:
        with pa.input_stream(path, compression=compression) as stream:
            return bytes(stream.read(64))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{STDIN}: cannot be read as {compression}: {error}") from error
