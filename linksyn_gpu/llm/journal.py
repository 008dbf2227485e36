"""Append-only journal of answers: what was paid for is on disk before anything else is done with it.

One record a line, `<crc32 of the payload, 8 hex digits> <payload: one JSON object with an "id">\\n`, in
numbered segments. A record is one write to a file opened for appending, so a process killed at any moment
leaves at most one unfinished line at the end, which is cut off when the journal is opened again. A damaged line
elsewhere (a power cut) fails its checksum: it is counted and passed over, and its request is asked again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
import time
import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import orjson

from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm.protocol import TRANSIENT, to_json
from linksyn_gpu.tables import Int64

Keys = np.ndarray[Any, np.dtype[np.bytes_]]
"""Digests of ids as [n] bytes S16, which sort and compare as `bytes` of that length do."""

SEGMENT_BYTES = 2**30
OFFSET_BITS = 40
SYNC_SECONDS = 1.0
# What is known of a request, best first: a completion beats a failure, a final failure a transient one.
ANSWERED, FAILED, TO_ASK_AGAIN, NEVER_ASKED = 0, 1, 2, 3


def key_of(request_id: str) -> bytes:
    """16-byte digest that stands for a request id in memory."""
    return hashlib.blake2b(request_id.encode(), digest_size=16).digest()


def keys_of(request_ids: Iterable[str]) -> Keys:
    """`key_of` each id, sorted, each once: 16 bytes an id."""
    joined = bytearray()
    for request_id in request_ids:
        joined += key_of(request_id)
    return np.unique(np.frombuffer(joined, "S16"))


def find(keys: Keys, key: bytes) -> int:
    """Row of a key in sorted `keys`, or -1."""
    wanted = np.frombuffer(key, "S16")
    at = int(np.searchsorted(keys, wanted)[0])
    return at if at < keys.size and keys[at] == wanted[0] else -1


@dataclass(frozen=True, eq=False)
class Index:
    """Which ids the journal holds and where, 25 bytes each: sorted arrays, so tens of millions fit."""

    key: Keys
    """[n] `key_of` each id, sorted."""
    place: Int64
    """[n] segment << 40 | offset of the id's best record; the first of equals."""
    rank: np.ndarray[Any, np.dtype[np.uint8]]
    """[n] ANSWERED, FAILED or TO_ASK_AGAIN."""
    damaged: int
    """Lines that failed their checksum."""
    tokens: int = 0
    """Tokens that all its records together say were spent."""

    @classmethod
    def of(
        cls, key: Keys, place: Int64, rank: np.ndarray[Any, np.dtype[np.uint8]], damaged: int = 0, tokens: int = 0
    ) -> Index:
        """Make an index of records in any order; of those of one id the best is taken, the first of equals."""
        order = np.lexsort((place, rank, key))
        key = key[order]
        first = np.ones(order.size, bool)
        first[1:] = key[1:] != key[:-1]
        order = order[first]
        return cls(key[first], place[order], rank[order], damaged, tokens)

    def __len__(self) -> int:
        return int(self.key.size)

    def row(self, request_id: str) -> int:
        """Row of an id, or -1."""
        return find(self.key, key_of(request_id))

    def ranks_of(self, keys: Keys) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """[m] rank of each of `keys`, NEVER_ASKED where the journal has none."""
        ranks = np.full(keys.size, NEVER_ASKED, np.uint8)
        if len(self):
            at = np.minimum(np.searchsorted(self.key, keys), len(self) - 1)
            held = self.key[at] == keys
            ranks[held] = self.rank[at[held]]
        return ranks

    def __contains__(self, request_id: str) -> bool:
        return self.row(request_id) >= 0

    def settled(self, request_id: str) -> bool:
        """The id has an answer or a failure that asking again would not mend."""
        at = self.row(request_id)
        return at >= 0 and int(self.rank[at]) < TO_ASK_AGAIN

    def answered(self, request_id: str) -> bool:
        """The id has a completion."""
        at = self.row(request_id)
        return at >= 0 and int(self.rank[at]) == ANSWERED


class Journal:
    """The answers of a run; open it for reading (`writable=False`) or for appending.

    Parameters
    ----------
    folder : path
        `DIR/journal`; made when it is missing and `writable`.
    writable : bool
        Cut off an unfinished last line and take the folder's lock.
    segment_bytes : int
        Begin a new segment when the last one has grown to this size.

    Raises
    ------
    EngineError
        Another process is appending to the folder, or the disk refuses.
    """

    def __init__(self, folder: str | Path, *, writable: bool = True, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = Path(folder)
        self.writable = writable
        self.torn_bytes = 0
        """Bytes of an unfinished last line that were cut off on opening."""
        self._segment_bytes = segment_bytes
        self._fd = -1
        self._lock_fd = -1
        self._size = 0
        self._dirty = False
        self._synced_at = time.monotonic()
        self._guard = threading.Lock()  # a sync in another thread must not meet a closed descriptor
        self._readers: dict[int, BinaryIO] = {}
        if writable:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
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

    def append(self, record: dict[str, Any]) -> int:
        """Write one record, which must hold an "id"; on return it survives the death of this process.

        Returns
        -------
        int
            Where it lies, as in `Index.place`.

        Raises
        ------
        EngineError
            The disk is full or refuses; nothing of the record stays behind.
        """
        payload = to_json(record)
        line = b"%08x %b\n" % (zlib.crc32(payload), payload)
        if self._size and self._size + len(line) > self._segment_bytes:
            self._next_segment()
        try:
            written = os.write(self._fd, line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise EngineError(
                f"{self._path(self._number)}: an answer could not be written: {error.strerror}; "
                "answers written before are safe: make room, then run the same command again"
            ) from error
        place = (self._number << OFFSET_BITS) | self._size
        self._size += len(line)
        self._dirty = True
        if time.monotonic() - self._synced_at >= SYNC_SECONDS:
            self.sync()
        return place

    def sync(self) -> None:
        """Bring what was written to the disk itself, so that it survives a power cut too."""
        with self._guard:
            if not self._dirty or self._fd < 0:
                return
            self._dirty = False  # before: a record that is written meanwhile needs another sync
            try:
                os.fsync(self._fd)
            except OSError as error:
                self._dirty = True
                raise EngineError(f"{self.folder}: the journal could not be synced: {error}") from error
            finally:
                self._synced_at = time.monotonic()

    def close(self) -> None:
        """Sync and give back the lock. May be called twice."""
        try:
            self.sync()
        finally:
            with self._guard:
                for fd in (self._fd, self._lock_fd):
                    if fd >= 0:
                        os.close(fd)
                self._fd = self._lock_fd = -1
            for reader in self._readers.values():
                reader.close()
            self._readers.clear()

    def _take_lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # not a POSIX system: the run folder's own care must do
            return
        self._lock_fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock_fd)
            self._lock_fd = -1
            raise EngineError(
                f"{self.folder}: another process is writing answers here; wait for it or stop it"
            ) from None
        except OSError:  # a file system without locks
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _open_last(self) -> None:
        self._number = max(self._segments(), default=0)
        self._fd = self._open_segment(self._number)
        size = os.fstat(self._fd).st_size
        self._size = _whole_lines(self._path(self._number), size)
        self.torn_bytes = size - self._size
        if self.torn_bytes:
            os.ftruncate(self._fd, self._size)
            os.fsync(self._fd)

    def _open_segment(self, number: int) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        return os.open(self._path(number), flags | getattr(os, "O_BINARY", 0), 0o644)

    def _next_segment(self) -> None:
        self.sync()
        with self._guard:
            fd = self._open_segment(self._number + 1)
            os.close(self._fd)
            self._fd, self._number, self._size = fd, self._number + 1, 0

    # ------------------------------------------------------------------ reading

    def index(self) -> Index:
        """Read the whole journal once and say which ids it holds and where."""
        keys, places, ranks = bytearray(), array("q"), bytearray()
        damaged = tokens = 0
        for place, record in self._scan():
            if record is None:
                damaged += 1
                continue
            keys += key_of(record["id"])
            places.append(place)
            ranks.append(rank_of(record))
            tokens += record.get("spent_tokens") or 0
        place_of, rank = np.frombuffer(places, np.int64), np.frombuffer(ranks, np.uint8)
        return Index.of(np.frombuffer(keys, "S16"), place_of, rank, damaged, tokens)

    def read(self, index: Index | None = None) -> Iterator[dict[str, Any]]:
        """Each id's record once, in the order of the journal: its first completion, else its first failure."""
        index = self.index() if index is None else index
        for place, record in self._scan():
            if record is not None and int(index.place[index.row(record["id"])]) == place:
                yield record

    def get(self, request_id: str, index: Index) -> dict[str, Any] | None:
        """The record of an id, or None when the journal holds none."""
        row = index.row(request_id)
        return None if row < 0 else self.at(int(index.place[row]))

    def at(self, place: int) -> dict[str, Any]:
        """The record at a place that `append` or an index gave."""
        number, offset = divmod(place, 2**OFFSET_BITS)
        reader = self._readers.get(number)
        if reader is None:
            reader = self._readers[number] = self._path(number).open("rb")
        reader.seek(offset)
        record = _read_line(reader.readline())
        if record is None:
            raise EngineError(f"{self._path(number)}: the line at byte {offset} changed while it was read")
        return record

    def _scan(self) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """Every line as (place, record); record is None where it fails its checksum.

        An unfinished last line is left alone: without the lock it may be a record being written.
        """
        for number in self._segments():
            offset = 0
            with self._path(number).open("rb") as lines:
                for line in lines:
                    if line.endswith(b"\n"):
                        yield (number << OFFSET_BITS) | offset, _read_line(line)
                    offset += len(line)

    def _path(self, number: int) -> Path:
        return self.folder / f"answers-{number:05d}.jsonl"

    def _segments(self) -> list[int]:
        return sorted(int(path.stem.partition("-")[2]) for path in self.folder.glob("answers-*.jsonl"))


def _read_line(line: bytes) -> dict[str, Any] | None:
    payload = line[9:-1]
    try:
        if line[8:9] != b" " or int(line[:8], 16) != zlib.crc32(payload):
            return None
        record = orjson.loads(payload)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("id"), str) else None


def rank_of(record: dict[str, Any]) -> int:
    """What a record says of its request: ANSWERED, FAILED or TO_ASK_AGAIN."""
    if record.get("kind") != "failure":
        return ANSWERED
    return TO_ASK_AGAIN if record.get("reason") in TRANSIENT else FAILED


def _whole_lines(path: Path, size: int, block: int = 2**16) -> int:
    """Bytes of `path` up to and with its last newline."""
    with path.open("rb") as file:
        end = size
        while end > 0:
            start = max(0, end - block)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                return start + at + 1
            end = start
    return 0
