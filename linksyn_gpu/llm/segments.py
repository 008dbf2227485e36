"""The files of a journal: the segment that is being written is plain text, a full one is compressed in blocks.

A block is whole lines, compressed with zstd on their own, behind a header that says where it belongs. A line is
therefore read without the blocks before it, and damage costs the lines of its block, not the segment. Headers are
skippable frames of the zstd format: `zstd -dc answers-00000.jsonl.zst` prints the lines.
"""

from __future__ import annotations

import bisect
import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, NamedTuple, Protocol, Self

from linksyn_gpu.streams import MAX_LINE

BLOCK_BYTES = 2**18
"""Least size of a block, before compression; its last line may be longer."""
CACHED_BLOCKS = 8
_FIELDS = struct.Struct("<QIII")
_HEADER = struct.Struct(f"<II{_FIELDS.size}sI")
_SIGNATURE = struct.pack("<II", 0x184D2A5C, _FIELDS.size + 4)
"""A skippable frame, and the bytes in it."""


class Segment(Protocol):
    """An open segment; use as a context manager. Offsets are in bytes before compression."""

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Every line as (offset, line with its end); b'' for lines that are lost."""
        ...

    def line(self, offset: int) -> bytes:
        """The line that begins at an offset; b'' if it is lost."""
        ...

    def close(self) -> None: ...


class _File:
    """A segment as a context manager."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PlainSegment(_File):
    """A segment as it is written. An unfinished last line is left out: it may be a record that is being written."""

    def lines(self) -> Iterator[tuple[int, bytes]]:
        offset = 0
        self._file.seek(0)
        for line in self._file:
            if line.endswith(b"\n"):
                yield offset, line
            offset += len(line)

    def line(self, offset: int) -> bytes:
        self._file.seek(offset)
        return self._file.readline()


class Block(NamedTuple):
    """Whole lines of a compressed segment."""

    offset: int
    """Of its first line, before compression."""
    size: int
    """Before compression; 0: the end of the segment."""
    lines: int
    start: int
    """Of the compressed bytes in the file."""
    compressed: int


class CompressedSegment(_File):
    """A full segment, compressed by `compress`."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._blocks = list(_blocks(file))
        self._starts = [block.offset for block in self._blocks]
        self._cache: OrderedDict[int, bytes] = OrderedDict()

    def lines(self) -> Iterator[tuple[int, bytes]]:
        end = 0
        for block in self._blocks:
            if block.offset != end:  # at least one block before this one is lost
                yield end, b""
            offset, found = block.offset, self._content(block).split(b"\n")[:-1]
            end = offset + block.size
            for line in found:
                yield offset, line + b"\n"
                offset += len(line) + 1
            yield from ((offset, b"") for _ in range(block.lines - len(found)))
        if not self._blocks or self._blocks[-1].size:
            yield end, b""

    def line(self, offset: int) -> bytes:
        at = bisect.bisect_right(self._starts, offset) - 1
        if at < 0:
            return b""
        if (data := self._cache.get(at)) is None:
            data = self._cache[at] = self._content(self._blocks[at])
            if len(self._cache) > CACHED_BLOCKS:
                self._cache.popitem(last=False)
        self._cache.move_to_end(at)
        begin = offset - self._starts[at]
        return data[begin : data.find(b"\n", begin) + 1]

    def _content(self, block: Block) -> bytes:
        """The lines of a block; any others, or b'', if they are damaged: each line has its checksum."""
        import pyarrow as pa

        if not 0 < block.size <= BLOCK_BYTES + MAX_LINE:
            return b""
        self._file.seek(block.start)
        try:
            data = pa.Codec("zstd").decompress(self._file.read(block.compressed), block.size, asbytes=True)
        except OSError:
            return b""
        return bytes(data)


def compress(plain: BinaryIO, out: BinaryIO) -> None:
    """Write the whole lines of a plain segment as a compressed one."""
    import pyarrow as pa

    codec = pa.Codec("zstd", compression_level=3)
    offset, size = 0, 0
    lines: list[bytes] = []

    def end_block() -> None:
        data = b"".join(lines)
        compressed = codec.compress(data, asbytes=True) if data else b""
        fields = _FIELDS.pack(offset, len(data), len(compressed), len(lines))
        out.write(_SIGNATURE + fields + struct.pack("<I", zlib.crc32(fields)) + compressed)

    for line in plain:
        if not line.endswith(b"\n"):
            break
        lines.append(line)
        size += len(line)
        if size >= BLOCK_BYTES:
            end_block()
            offset, lines, size = offset + size, [], 0
    if lines:
        end_block()
        offset, lines = offset + size, []
    end_block()  # the end of the segment: without it, it was cut


def _blocks(file: BinaryIO) -> Iterator[Block]:
    """Blocks by their headers. Behind damage, the next header is searched."""
    at = 0
    while True:
        file.seek(at)
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return
        _, _, fields, crc = _HEADER.unpack(head)
        if head.startswith(_SIGNATURE) and crc == zlib.crc32(fields):
            offset, size, compressed, lines = _FIELDS.unpack(fields)
            yield Block(offset, size, lines, at + _HEADER.size, compressed)
            at += _HEADER.size + compressed
            if size == 0:
                return
        else:
            file.seek(at + 1)
            found = file.read().find(_SIGNATURE)
            if found < 0:
                return
            at += 1 + found
