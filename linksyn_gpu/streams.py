"""Files that may be compressed, read as a stream and line by line, with bounded memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
"""Names of compressed files end so."""
MAX_LINE = 2**26
"""Bytes of the longest line that is held in memory, so that a small compressed file cannot fill the memory."""
_BUFFER = 2**20


def open_to_read(path: str | Path) -> BinaryIO:
    """Open a file for reading; one whose name ends in .gz or .zst is decompressed.

    Damage is an OSError, when it is reached.
    """
    import pyarrow as pa

    compression = COMPRESSIONS.get(Path(path).suffix.lower())
    if compression is None:
        return Path(path).open("rb")
    return io.BufferedReader(pa.input_stream(str(path), compression=compression), _BUFFER)


def open_to_write(path: str | Path, *, compressed: bool) -> IO[bytes]:
    """Open a file for writing, compressed with zstd or plain."""
    import pyarrow as pa

    if not compressed:
        return Path(path).open("wb")
    return cast(IO[bytes], pa.CompressedOutputStream(str(path), "zstd"))


def bounded_lines(stream: BinaryIO, limit: int = MAX_LINE) -> Iterator[tuple[int, bytes]]:
    """Yield (1-based number, line with its end); of a line longer than `limit`, its first `limit` + 1 bytes."""
    number = 0
    while line := stream.readline(limit + 1):
        number += 1
        end = line
        while end and not end.endswith(b"\n") and len(line) > limit:  # skip the rest
            end = stream.readline(limit + 1)
        yield number, line
