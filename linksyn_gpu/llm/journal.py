"""Append-only journal of answers: what was paid for is on disk before anything else is done with it.

One record per line, `<crc32 of the payload, 8 hex digits> <payload: one JSON object with an "id">\\n`, in numbered
segments. A record is one write to a file opened for appending. A process killed at any moment therefore leaves at most
one unfinished line at the end, which is cut off when the journal is opened again. A damaged line elsewhere (a power
cut) fails its checksum: it is counted and skipped, and its request is asked again.

    answers-00007.jsonl       the last segment, as it is written
    answers-00006.jsonl.zst   a full one, compressed (`segments`)
    answers-00006.index       its index: which requests it answers, and where. It is made again when it is missing

A full segment is deleted only when its compressed file and its index are on the disk; while both exist, it counts.
Damage to a compressed segment is found when a record is read: its request is asked again by the next call.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import threading
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import orjson

from linksyn_gpu.clock import REAL_CLOCK, Clock
from linksyn_gpu.disk import NOT_SUPPORTED, REAL_DISK, Disk, Lock, make_folders
from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm.protocol import TRANSIENT, Outcome, count, from_record, to_json
from linksyn_gpu.llm.segments import CompressedSegment, PlainSegment, compress
from linksyn_gpu.tables import Int64

Keys = np.ndarray[Any, np.dtype[np.bytes_]]
"""Digests of request ids as [n] bytes S16. They sort and compare as `bytes` of that length do."""
Ranks = np.ndarray[Any, np.dtype[np.uint8]]

SEGMENT = re.compile(r"answers-(\d+)\.jsonl(\.zst)?")
"""Names of segments."""
SEGMENT_BYTES = 2**25
OFFSET_BITS = 40
OPEN_SEGMENTS = 16
"""Most segments that are open for reading at a time."""
SYNC_SECONDS = 1.0
MERGE_AT = 2**16
"""Newest records, about 200 bytes each, that are merged into the sorted arrays of an index, 25 bytes each."""
# What is known of a request, best first: a completion beats a failure, a final failure a transient one.
ANSWERED, FAILED, TO_ASK_AGAIN, NEVER_ASKED = 0, 1, 2, 3
RANKING = zlib.crc32(repr((1, sorted(TRANSIENT))).encode())
"""Differs when the same record gets another rank: an index with other ranks is made again."""


def request_key(request_id: str) -> bytes:
    """16-byte digest that represents a request id in memory."""
    return hashlib.blake2b(request_id.encode(errors="surrogatepass"), digest_size=16).digest()


def request_keys(request_ids: Iterable[str]) -> Keys:
    """`request_key` of each id, sorted, without duplicates: 16 bytes per id."""
    joined = bytearray()
    for request_id in request_ids:
        joined += request_key(request_id)
    return np.unique(np.frombuffer(joined, "S16"))


def find_key(keys: Keys, key: bytes) -> int:
    """Row of a key in sorted `keys`, or -1."""
    wanted = np.frombuffer(key, "S16")
    at = int(np.searchsorted(keys, wanted)[0])
    return at if at < keys.size and keys[at] == wanted[0] else -1


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Best record of each request, as arrays sorted by key: 25 bytes per request."""

    key: Keys
    place: Int64
    rank: Ranks

    @classmethod
    def of(cls, key: Keys, place: Int64, rank: Ranks) -> _Sorted:
        """Sort records. Of those of one id the best is taken, the first of equals."""
        order = np.lexsort((place, rank, key))
        key = key[order]
        first = np.ones(order.size, bool)
        first[1:] = key[1:] != key[:-1]
        order = order[first]
        return cls(key[first], place[order], rank[order])

    def with_newer(self, newer: _Sorted) -> _Sorted:
        """These records and newer ones, by copying; nothing is sorted again."""
        at = np.searchsorted(self.key, newer.key)
        held = np.zeros(newer.key.size, bool)
        inside = at < self.key.size
        held[inside] = self.key[at[inside]] == newer.key[inside]
        place, rank = self.place.copy(), self.rank.copy()
        better = np.flatnonzero(held)
        better = better[newer.rank[better] < rank[at[better]]]
        place[at[better]], rank[at[better]] = newer.place[better], newer.rank[better]
        new = ~held
        return _Sorted(
            np.insert(self.key, at[new], newer.key[new]),
            np.insert(place, at[new], newer.place[new]),
            np.insert(rank, at[new], newer.rank[new]),
        )


_COLUMNS = ("key", "place", "rank")


class Index:
    """Which requests a journal has records of, and where the best record of each lies. `Journal.append` adds to it.

    One thread may add while others look up.
    """

    def __init__(self) -> None:
        self.damaged = 0
        """Lines that failed their checksum."""
        self.tokens = 0
        """Tokens that all records together say were spent."""
        self._sorted = _Sorted(np.zeros(0, "S16"), np.zeros(0, np.int64), np.zeros(0, np.uint8))
        self._newest: dict[bytes, tuple[int, int]] = {}  # key -> (rank, place)
        self._new_ids = 0
        self._lost: set[bytes] = set()

    @classmethod
    def of(cls, lines: Iterable[tuple[int, dict[str, Any] | None]]) -> Index:
        """Index the lines of a journal: (place, record or None where it is damaged)."""
        index = cls()
        keys, places, ranks = bytearray(), array("q"), bytearray()
        for place, record in lines:
            if record is None:
                index.damaged += 1
                continue
            keys += request_key(record["id"])
            places.append(place)
            ranks.append(rank_of(record))
            index.tokens += count(record.get("spent_tokens"))
        place_of, rank = np.frombuffer(places, np.int64), np.frombuffer(ranks, np.uint8)
        index._sorted = _Sorted.of(np.frombuffer(keys, "S16"), place_of, rank)
        return index

    @classmethod
    def joined(cls, segments: Iterable[tuple[int, Index]]) -> Index:
        """The indexes of numbered segments as one."""
        index, parts = cls(), [_Sorted.of(np.zeros(0, "S16"), np.zeros(0, np.int64), np.zeros(0, np.uint8))]
        for number, segment in segments:
            index.damaged += segment.damaged
            index.tokens += segment.tokens
            known = segment._sorted
            parts.append(_Sorted(known.key, known.place | (number << OFFSET_BITS), known.rank))
        key, place, rank = (np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS)
        index._sorted = _Sorted.of(key, place, rank) if len(parts) > 2 else parts[-1]
        return index

    def to_bytes(self, size: int) -> bytes:
        """The content of an index file for a compressed segment of `size` bytes."""
        content, known = io.BytesIO(), self._sorted
        facts = np.array([RANKING, size, self.damaged, self.tokens], np.int64)
        np.savez(content, allow_pickle=False, facts=facts, **{name: getattr(known, name) for name in _COLUMNS})
        return b"%08x\n" % zlib.crc32(content.getvalue()) + content.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, size: int) -> Index | None:
        """The index in a file; None if it is damaged, of another segment or of other ranks."""
        index = cls()
        if content[:9] != b"%08x\n" % zlib.crc32(content[9:]):
            return None
        with np.load(io.BytesIO(content[9:]), allow_pickle=False) as arrays:
            ranking, of_size, index.damaged, index.tokens = arrays["facts"].tolist()
            index._sorted = _Sorted(*(arrays[name] for name in _COLUMNS))
        return index if (ranking, of_size) == (RANKING, size) else None

    def forget(self, request_id: str) -> None:
        """Its record is damaged: the request was never asked."""
        self._merge()
        key = request_key(request_id)
        row = find_key(self._sorted.key, key)
        if row >= 0 and key not in self._lost:
            self.damaged += 1
            self._lost.add(key)
            self._sorted.rank[row], self._sorted.place[row] = NEVER_ASKED, -1

    def add(self, record: Mapping[str, Any], place: int) -> None:
        """Take note of a record that was appended."""
        key, found = request_key(record["id"]), (rank_of(record), place)
        self._lost.discard(key)
        if key not in self._newest and find_key(self._sorted.key, key) < 0:
            self._new_ids += 1
        self._newest[key] = min(found, self._newest.get(key, found))
        self.tokens += count(record.get("spent_tokens"))
        if len(self._newest) >= MERGE_AT:
            self._merge()

    def _merge(self) -> None:
        if self._newest:
            keys = np.frombuffer(b"".join(self._newest), "S16")
            ranks, places = (np.array(column) for column in zip(*self._newest.values(), strict=True))
            # In this order: a lookup in another thread reads the newest records first.
            self._sorted = self._sorted.with_newer(_Sorted.of(keys, places, ranks.astype(np.uint8)))
            self._newest.clear()
            self._new_ids = 0

    def __len__(self) -> int:
        return int(self._sorted.key.size) + self._new_ids - len(self._lost)

    def find(self, request_id: str) -> tuple[int, int]:
        """(rank, place) of the best record of a request; (NEVER_ASKED, -1) without one."""
        key = request_key(request_id)
        newest = self._newest.get(key)
        known = self._sorted
        row = find_key(known.key, key) if known.key.size else -1
        old = (NEVER_ASKED, -1) if row < 0 else (int(known.rank[row]), int(known.place[row]))
        return old if newest is None else min(old, newest)

    def ranks_of(self, keys: Keys) -> Ranks:
        """[m] rank of each of `keys`, NEVER_ASKED where the journal has no record."""
        self._merge()
        known = self._sorted
        ranks = np.full(keys.size, NEVER_ASKED, np.uint8)
        if known.key.size:
            at = np.minimum(np.searchsorted(known.key, keys), known.key.size - 1)
            held = known.key[at] == keys
            ranks[held] = known.rank[at[held]]
        return ranks

    def __contains__(self, request_id: str) -> bool:
        return self.find(request_id)[0] < NEVER_ASKED

    def settled(self, request_id: str) -> bool:
        """Whether the request has an answer, or a failure that would come again."""
        return self.find(request_id)[0] < TO_ASK_AGAIN

    def unsettled(self, requests: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Requests that are still to be asked, each id once."""
        seen: set[str] = set()
        for request in requests:
            request_id = request["custom_id"]
            if request_id not in seen and not self.settled(request_id):
                seen.add(request_id)
                yield request


class Journal:
    """The answers of a run; open it for reading (`writable=False`) or for appending.

    Parameters
    ----------
    folder : path
        `DIR/journal`; made when it is missing and `writable`.
    writable : bool
        Take the folder's lock, cut off an unfinished last line, and compress full segments.
    segment_bytes : int
        Size at which a new segment is begun.
    disk, clock : Disk, Clock
        Those of the machine, except in tests.

    Raises
    ------
    EngineError
        Another process is appending to the folder, or the disk refuses.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        writable: bool = True,
        segment_bytes: int = SEGMENT_BYTES,
        disk: Disk = REAL_DISK,
        clock: Clock = REAL_CLOCK,
    ) -> None:
        self.folder = Path(folder)
        self._disk, self._clock = disk, clock
        self.writable = writable
        self._index: Index | None = None
        self._segment_bytes = segment_bytes
        self._file: BinaryIO | None = None
        self._lock: Lock | None = None
        self._size = 0
        self._dirty = False
        self._synced_at = clock.monotonic()
        self._guard = threading.Lock()  # the file must not be closed while another thread syncs
        self._readers: OrderedDict[int, PlainSegment | CompressedSegment] = OrderedDict()
        if writable:
            try:
                make_folders(disk, self.folder)
            except OSError as error:
                raise EngineError(f"{self.folder}: cannot make the journal: {error}") from error
            self._take_lock()
            try:
                self._open_last()
            except OSError as error:
                self.close()
                raise EngineError(f"{self.folder}: cannot open the journal: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------ writing

    def append(self, record: dict[str, Any]) -> None:
        """Write one record, which must hold an "id". On return it survives the death of this process.

        Raises
        ------
        EngineError
            The disk is full or refuses. No part of the record stays behind.
        """
        payload = to_json(record)
        line = b"%08x %b\n" % (zlib.crc32(payload), payload)
        full = self._number if self._size and self._size + len(line) > self._segment_bytes else None
        if full is not None:
            self._next_segment()
        assert self._file is not None, "the journal is not open for writing"
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            raise EngineError(
                f"{self._path(self._number)}: an answer could not be written: {error.strerror}; "
                "answers written before are safe. Free some disk space, then run the same command again"
            ) from error
        if self._index is not None:
            self._index.add(record, (self._number << OFFSET_BITS) | self._size)
        self._size += len(line)
        self._dirty = True
        if self._clock.monotonic() - self._synced_at >= SYNC_SECONDS:
            self.sync()
        if full is not None:
            self._compress(full)

    def sync(self) -> None:
        """Write to the disk itself, so that records survive a power cut, too."""
        with self._guard:
            if not self._dirty or self._file is None:
                return
            self._dirty = False  # before the sync: a record that is written meanwhile needs another one
            try:
                self._disk.fsync(self._file)
            except OSError as error:
                self._dirty = True
                raise EngineError(f"{self.folder}: the journal could not be synced: {error}") from error
            finally:
                self._synced_at = self._clock.monotonic()

    def close(self) -> None:
        """Sync and release the lock. May be called twice."""
        try:
            self.sync()
        finally:
            self._close_file()
            if self._lock is not None:
                self._lock.close()
            self._lock = None
            for reader in self._readers.values():
                reader.close()
            self._readers.clear()

    def _close_file(self) -> None:
        with self._guard:
            if self._file is not None:
                self._file.close()
            self._file = None

    def _take_lock(self) -> None:
        try:
            self._lock = self._disk.lock(self.folder / "lock")
        except BlockingIOError:
            raise EngineError(
                f"{self.folder}: another process is writing answers here; wait for it or stop it"
            ) from None
        except OSError as error:
            if error.errno not in NOT_SUPPORTED:  # else only the run folder's own lock protects the journal
                raise EngineError(f"{self.folder}: cannot lock the journal: {error}") from error

    def _open_last(self) -> None:
        numbers, plain = self._segments(), self._plain()
        last = max(numbers, default=0)
        self._number = last if last in plain or not numbers else last + 1
        self._file = self._disk.open(self._path(self._number), "ab")
        with self._disk.open(self._path(self._number), "rb") as segment:
            size = segment.seek(0, os.SEEK_END)
            self._size = _whole_lines(segment, size)
        if self._size < size:
            self._file.truncate(self._size)
        if size:  # records of a process that was killed count as answers from now on: they must survive a power cut
            self._disk.fsync(self._file)
        self._disk.fsync_folder(self.folder)
        for number in plain:  # of a call that was killed, or of an older version
            if number != self._number:
                self._compress(number)

    def _next_segment(self) -> None:
        self.sync()
        with self._guard:
            file = self._disk.open(self._path(self._number + 1), "ab")
            self._disk.fsync_folder(self.folder)
            if self._file is not None:
                self._file.close()
            self._file, self._number, self._size = file, self._number + 1, 0

    def _compress(self, number: int) -> None:
        """Replace a full segment by its compressed file and its index."""
        path = self._path(number)
        try:
            with self._replacing(_compressed(path)) as out, self._disk.open(path, "rb") as plain:
                compress(plain, out)
            self._scan(number)
            self._disk.fsync_folder(self.folder)
            if (reader := self._readers.pop(number, None)) is not None:
                reader.close()
            self._disk.unlink(path)
        except OSError as error:
            raise EngineError(
                f"{path}: the answers in it could not be compressed: {error.strerror or error}; they are safe. Free "
                "some disk space, then run the same command again"
            ) from error

    @contextlib.contextmanager
    def _replacing(self, target: Path) -> Iterator[BinaryIO]:
        """A file to write to, which gets its name when the block succeeds."""
        part = target.with_name(f".{target.name}.part")
        self._disk.unlink(part)
        try:
            with self._disk.open(part, "xb") as out:
                yield out
                self._disk.fsync(out)
            self._disk.replace(part, target)
        finally:
            self._disk.unlink(part)

    def purge(self, ids: set[str]) -> int:
        """Delete the records of some requests for good; the other lines stay. Returns how many were deleted."""
        removed = 0
        for number in self._segments():
            held = self._index_of(number)
            if not any(name in held for name in ids):
                continue
            with self._open(number) as segment, self._replacing(self._path(number)) as out:
                for _, line in segment.lines():
                    record = _read_line(line)
                    if record is not None and record["id"] in ids:
                        removed += 1
                    else:
                        out.write(line)
            self._disk.fsync_folder(self.folder)
        self._index = None
        self._close_file()
        self._open_last()
        return removed

    # ------------------------------------------------------------------ reading

    def index(self) -> Index:
        """What the journal holds. It is read on the first call, and records appended later are added."""
        if self._index is None:
            self._index = Index.joined((number, self._index_of(number)) for number in self._segments())
        return self._index

    def _index_of(self, number: int) -> Index:
        """Index of a segment: that of its file, if it is compressed; else its lines are read."""
        path = self._path(number)
        compressed = self._disk.status(_compressed(path))
        if compressed is None or self._disk.status(path) is not None:
            return self._scan(number)
        try:
            with self._disk.open(_index(path), "rb") as file:
                found = Index.from_bytes(file.read(), compressed.size)
        except FileNotFoundError:
            found = None
        return self._scan(number) if found is None else found

    def _scan(self, number: int) -> Index:
        """Read the lines of a segment, and write the index of one that is compressed."""
        with self._open(number) as segment:
            index = Index.of((offset, _read_line(line)) for offset, line in segment.lines())
        compressed = self._disk.status(_compressed(self._path(number)))
        if self.writable and compressed is not None:
            with self._replacing(_index(self._path(number))) as out:
                out.write(index.to_bytes(compressed.size))
        return index

    def read(self) -> Iterator[dict[str, Any]]:
        """The best record of each request, in the order of the journal: its first completion or its first failure."""
        index = self.index()
        for place, record in self.lines():
            if record is not None and index.find(record["id"])[1] == place:
                yield record

    def get(self, request_id: str, index: Index) -> dict[str, Any] | None:
        """The best record of a request, or None when the journal holds none, or its line is damaged."""
        place = index.find(request_id)[1]
        if place < 0:
            return None
        number, offset = divmod(place, 2**OFFSET_BITS)
        record = _read_line(self._reader(number).line(offset))
        if record is None or record["id"] != request_id:
            index.forget(request_id)
            if self.writable:  # the next call reads the segment again: it may hold another record of this request
                self._disk.unlink(_index(self._path(number)))
            return None
        return record

    def _reader(self, number: int) -> PlainSegment | CompressedSegment:
        reader = self._readers.get(number)
        if reader is None:
            reader = self._readers[number] = self._open(number)
            if len(self._readers) > OPEN_SEGMENTS:
                self._readers.popitem(last=False)[1].close()
        self._readers.move_to_end(number)
        return reader

    def outcome(self, request_id: str) -> Outcome | None:
        """The best outcome of a request, or None when the journal holds none."""
        record = self.get(request_id, self.index())
        return None if record is None else from_record(record)

    def lines(self) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """Every line as (place, record); record is None where the line fails its checksum.

        An unfinished last line is left out: without the lock it may be a record that is being written.
        """
        for number in self._segments():
            with self._open(number) as segment:
                for offset, line in segment.lines():
                    yield (number << OFFSET_BITS) | offset, _read_line(line)

    def _open(self, number: int) -> PlainSegment | CompressedSegment:
        path = self._path(number)
        try:
            return PlainSegment(self._disk.open(path, "rb"))
        except FileNotFoundError:  # it is compressed, perhaps since its name was read
            return CompressedSegment(self._disk.open(_compressed(path), "rb"))

    def _path(self, number: int) -> Path:
        return self.folder / f"answers-{number:05d}.jsonl"

    def _segments(self) -> list[int]:
        return sorted({int(found[1]) for name in self._disk.names(self.folder) if (found := SEGMENT.fullmatch(name))})

    def _plain(self) -> list[int]:
        """Numbers of segments that are not compressed, or still exist although they are."""
        found = map(SEGMENT.fullmatch, self._disk.names(self.folder))
        return sorted(int(match[1]) for match in found if match and not match[2])


def _compressed(path: Path) -> Path:
    return path.with_name(f"{path.name}.zst")


def _index(path: Path) -> Path:
    return path.with_suffix(".index")


def _read_line(line: bytes) -> dict[str, Any] | None:
    line = line.rpartition(b"\0")[2]  # zeros: a lost write before this one. No record holds that byte
    payload = line[9:-1]
    try:
        if line[8:9] != b" " or int(line[:8], 16) != zlib.crc32(payload):
            return None
        record = orjson.loads(payload)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("id"), str) else None


def rank_of(record: Mapping[str, Any]) -> int:
    """What a record says about its request: ANSWERED, FAILED or TO_ASK_AGAIN."""
    if record.get("kind") != "failure":
        return ANSWERED
    return TO_ASK_AGAIN if record.get("reason") in TRANSIENT else FAILED


def _whole_lines(file: BinaryIO, size: int, block: int = 2**16) -> int:
    """Bytes of a file up to its last newline, included."""
    end = size
    while end > 0:
        start = max(0, end - block)
        file.seek(start)
        at = file.read(end - start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0
