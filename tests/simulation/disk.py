"""A disk that forgets what was not synced.

Writes and names go to the page cache, which survives the death of a process. A power cut leaves what was synced; each
later write and name is there, or lost, or (writes) there in part, as POSIX allows. `SimDisk` is how one process sees
the `Device`.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import random
from pathlib import Path
from typing import Any

from linksyn_gpu.disk import Status
from tests.simulation.world import Life

BUFFER = 8192


class FileNode:
    """Content of a file: in the cache, on the device, and the changes between both."""

    def __init__(self, number: int) -> None:
        self.number, self.changed = number, 0.0
        self.data = bytearray()
        self.durable = b""
        self.pending: list[tuple[int, bytes | None]] = []  # (offset, data), or (size, None) for a truncation

    def change(self, offset: int, data: bytes | None) -> None:
        _apply(self.data, offset, data)
        self.pending.append((offset, data))

    def sync(self) -> None:
        self.durable = self._with(self.pending)
        self.pending = []

    def lose_power(self, chance: random.Random) -> None:
        """Keep what was synced, and of the rest what chance says."""
        if not self.pending:
            kept = []
        elif (draw := chance.random()) < 0.4:
            kept = self.pending[: chance.randint(0, len(self.pending))]
        elif draw < 0.6:
            kept = [change for change in self.pending if chance.random() < 0.5]
        else:
            kept = []
        if kept and chance.random() < 0.6:  # the last one in part, or as zeros
            offset, data = kept[-1]
            if data:
                cut = data[: chance.randint(0, len(data))]
                kept = [*kept[:-1], (offset, cut if chance.random() < 0.7 else bytes(len(cut)))]
        self.durable = self._with(kept)
        self.data, self.pending = bytearray(self.durable), []

    def _with(self, changes: list[tuple[int, bytes | None]]) -> bytes:
        content = bytearray(self.durable)
        for offset, data in changes:
            _apply(content, offset, data)
        return bytes(content)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
    content.extend(bytes(max(0, offset - len(content))))
    if data is not None:
        content[offset : offset + len(data)] = data


class FolderNode:
    """Names in a folder: in the cache, and on the device."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.names: dict[str, Node] = {}
        self.durable: dict[str, Node] = {}


Node = FileNode | FolderNode
Change = list[tuple[FolderNode, str, Node | None]]
"""Names that one call sets, or removes (None): all of them or none survive."""


class Device:
    """The medium. It outlives the processes.

    Parameters
    ----------
    lies : float
        Probability that a sync returns without having done anything.
    ordered : bool
        Names survive a power cut in the order of the calls, as in file systems with a log.
    """

    def __init__(self, chance: random.Random, *, lies: float = 0.0, ordered: bool = True) -> None:
        self.chance, self.lies, self.ordered = chance, lies, ordered
        self.numbers = itertools.count(1)
        self.root = FolderNode(0)
        self.pending: list[Change] = []
        self.locks: dict[Path, Life] = {}

    def lose_power(self) -> None:
        """Keep what was synced, and of the rest what chance says."""
        pending, self.pending = self.pending, []
        if self.ordered:
            kept = pending[: self.chance.randint(0, len(pending))]
        else:
            kept = [change for change in pending if self.chance.random() < 0.5]
        for change in kept:
            _set(change)
        self._forget(self.root, set())

    def _forget(self, folder: FolderNode, seen: set[int]) -> None:
        folder.names = dict(folder.durable)
        for node in folder.names.values():
            if isinstance(node, FolderNode):
                self._forget(node, seen)
            elif node.number not in seen:
                seen.add(node.number)
                node.lose_power(self.chance)

    def change(self, names: Change) -> None:
        for folder, name, node in names:
            _put(folder.names, name, node)
        self.pending.append(names)

    def sync_names(self, folder: FolderNode) -> None:
        done = [change for change in self.pending if any(where is folder for where, _, _ in change)]
        for change in done:
            _set(change)
        self.pending = [change for change in self.pending if change not in done]

    def find(self, path: Path) -> Node | None:
        node: Node | None = self.root
        for name in path.parts[1:]:
            if not isinstance(node, FolderNode):
                return None
            node = node.names.get(name)
        return node

    def is_locked_by(self, life: Life) -> bool:
        return any(holder is life for holder in self.locks.values())

    def free(self, life: Life) -> None:
        """A process ended: the system releases its locks."""
        self.locks = {path: holder for path, holder in self.locks.items() if holder is not life}


def _set(change: Change) -> None:
    for folder, name, node in change:
        _put(folder.durable, name, node)


def _put(names: dict[str, Node], name: str, node: Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


class SimDisk:
    """The device as one process sees it, with the faults of its life."""

    def __init__(self, device: Device, life: Life) -> None:
        self.device, self.life = device, life

    # ------------------------------------------------------------------ the interface of linksyn_gpu.disk.Disk

    def open(self, path: Path, mode: str) -> Any:
        self.life.step(f"open {mode} {path}", may_fail=True)
        node, folder = self.device.find(path), self._folder(path.parent)
        if isinstance(node, FolderNode):
            raise _error(errno.EISDIR)
        if mode in ("rb", "rb+") and node is None:
            raise _error(errno.ENOENT)
        if mode == "xb" and node is not None:
            raise _error(errno.EEXIST)
        if node is None:
            node = FileNode(next(self.device.numbers))
            self.device.change([(folder, path.name, node)])
        if mode == "rb":
            return io.BytesIO(bytes(node.data))
        if mode == "wb" and node.data:
            node.change(0, None)
        return SimFile(self, path, node, appends=mode == "ab")

    def fsync(self, file: Any) -> None:
        file.flush()
        self._sync(f"fsync {file.path}", file.node)

    def fsync_folder(self, path: Path) -> None:
        self._sync(f"fsync folder {path}", self._folder(path))

    def replace(self, path: Path, target: Path) -> None:
        self.life.step(f"rename {path} to {target.name}", may_fail=True)
        node = self.device.find(path)
        if node is None:
            raise _error(errno.ENOENT)
        if isinstance(self.device.find(target), FolderNode):
            raise _error(errno.EEXIST)
        self.device.change(
            [(self._folder(path.parent), path.name, None), (self._folder(target.parent), target.name, node)]
        )

    def unlink(self, path: Path) -> None:
        if self.device.find(path) is None:
            if self.life.dead:
                self.life.step("")
            return
        self.life.step(f"unlink {path}", may_fail=True)
        if self.device.find(path) is not None:
            self.device.change([(self._folder(path.parent), path.name, None)])

    def remove_folder(self, path: Path) -> None:
        for name in self.names(path):
            if isinstance(self.device.find(path / name), FolderNode):
                self.remove_folder(path / name)
            else:
                self.unlink(path / name)
        self.life.step(f"rmdir {path}", may_fail=True)
        self.device.change([(self._folder(path.parent), path.name, None)])

    def make_folder(self, path: Path) -> None:
        if self.device.find(path) is None:
            self.life.step(f"mkdir {path}", may_fail=True)
        if self.device.find(path) is None:
            self.device.change([(self._folder(path.parent), path.name, FolderNode(next(self.device.numbers)))])

    def names(self, path: Path) -> list[str]:
        node = self.device.find(path)
        return sorted(node.names) if isinstance(node, FolderNode) else []

    def status(self, path: Path) -> Status | None:
        node = self.device.find(path)
        if node is None:
            return None
        if isinstance(node, FolderNode):
            return Status(True, 0, (node.number,))
        return Status(False, len(node.data), (node.number, len(node.data), int(node.changed * 1000)))

    def lock(self, path: Path) -> Any:
        self.life.step(f"lock {path}", may_fail=True)
        if path in self.device.locks:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if self.device.find(path) is None:
            self.device.change([(self._folder(path.parent), path.name, FileNode(next(self.device.numbers)))])
        self.device.locks[path] = self.life
        return SimLock(self.device, path)

    # ------------------------------------------------------------------ faults

    def write(self, path: Path, node: FileNode, offset: int, data: bytes) -> int:
        """One system call. It may take a part only: the process dies in it, or the disk is full."""
        was_dead = self.life.dead
        try:
            self.life.step(f"write {len(data)} bytes at {offset} of {path}", may_fail=True)
        except BaseException:
            if not was_dead:
                node.change(offset, data[: self.life.chance.choice((0, 0, len(data) // 2, len(data)))])
            raise
        if self.life.space is not None:
            if self.life.space <= 0 < len(data):
                self.life.fail("write", errno.ENOSPC)
            data = data[: self.life.space]
            self.life.space -= len(data)
        node.change(offset, data)
        node.changed = self.life.clock.time()
        return len(data)

    def _sync(self, what: str, node: Node) -> None:
        failed = len(self.life.failed)
        try:
            self.life.step(what, may_fail=True)
        except OSError:  # as on Linux: the pages count as clean, and no later sync writes them
            if isinstance(node, FileNode) and len(self.life.failed) > failed:
                node.pending = []
            raise
        if self.device.lies and self.device.chance.random() < self.device.lies:
            return
        if isinstance(node, FileNode):
            node.sync()
        else:
            self.device.sync_names(node)

    def _folder(self, path: Path) -> FolderNode:
        node = self.device.find(path)
        if not isinstance(node, FolderNode):
            raise _error(errno.ENOENT if node is None else errno.ENOTDIR)
        return node


class SimFile:
    """An open file. As in Python, only a file that appends is unbuffered."""

    def __init__(self, disk: SimDisk, path: Path, node: FileNode, *, appends: bool) -> None:
        self.disk, self.path, self.node, self._appends = disk, path, node, appends
        self._buffer = bytearray()
        self._at = 0
        self._closed = False

    def write(self, data: bytes) -> int:
        if self._appends:
            return self.disk.write(self.path, self.node, len(self.node.data), data)
        self._buffer += data
        if len(self._buffer) > BUFFER:
            self.flush()
        return len(data)

    def flush(self) -> None:
        while self._buffer:
            written = self.disk.write(self.path, self.node, self._at, bytes(self._buffer))
            self._at += written
            del self._buffer[:written]

    def truncate(self, size: int) -> int:
        self.disk.life.step(f"truncate {self.path} to {size}", may_fail=True)
        self.node.change(size, None)
        return size

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.flush()

    def __enter__(self) -> SimFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class SimLock:
    """A lock of one process."""

    def __init__(self, device: Device, path: Path) -> None:
        self._device, self._path = device, path

    def close(self) -> None:
        self._device.locks.pop(self._path, None)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))
