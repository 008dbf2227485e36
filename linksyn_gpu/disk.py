"""The disk, as a small interface: every file that a later call trusts is written through a `Disk`.

`REAL_DISK` is the file system. A simulated one (`tests/simulation/`) loses, cuts and refuses writes.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, cast

NOT_SUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.EINVAL, errno.ENOTSUP)
"""Errors of file systems that have no locks, or cannot sync a folder."""
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
"""Permissions of new files and folders of a run: they hold seeds and answers."""


def private(path: str, flags: int) -> int:
    """An `opener` for `open`: only the user may read a new file."""
    return os.open(path, flags, PRIVATE_FILE)


class Status(NamedTuple):
    """What a path names."""

    is_folder: bool
    size: int
    version: tuple[int, ...]
    """Differs when the content may have changed: device, inode, size and time of change."""


class Lock(Protocol):
    """A lock that this process holds. It ends with the process, too."""

    def close(self) -> None: ...


class Disk(Protocol):
    """What is asked of a file system. Errors are those of the operating system (`OSError`)."""

    def open(self, path: Path, mode: str) -> BinaryIO:
        """Open a file: 'rb'; 'wb'; 'rb+'; 'xb', a new file, never through a symbolic link; or 'ab', of which each
        `write` is one system call and returns the bytes written.
        """
        ...

    def fsync(self, file: BinaryIO) -> None:
        """Flush a file's content to the device, so that it survives a power cut."""
        ...

    def fsync_folder(self, path: Path) -> None:
        """Flush the names in a folder to the device, where the file system can."""
        ...

    def replace(self, path: Path, target: Path) -> None:
        """Rename a file or folder; a file with the name `target` is replaced at once."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a file, if it exists."""
        ...

    def remove_folder(self, path: Path) -> None:
        """Remove a folder with all that it holds."""
        ...

    def make_folder(self, path: Path) -> None:
        """Make a folder, unless it exists; its parent must exist."""
        ...

    def names(self, path: Path) -> list[str]:
        """Sorted names in a folder; [] if it does not exist."""
        ...

    def status(self, path: Path) -> Status | None:
        """What a path names, links followed; None: nothing, or something that is neither a file nor a folder."""
        ...

    def lock(self, path: Path) -> Lock:
        """Lock a file, which is made if it is missing.

        Raises
        ------
        BlockingIOError
            Another process holds the lock.
        OSError
            `NOT_SUPPORTED`: the file system has no locks; ELOOP: the path is a symbolic link.
        """
        ...


class RealDisk:
    """The file system of this machine."""

    def open(self, path: Path, mode: str) -> BinaryIO:
        buffering = 0 if mode == "ab" else -1
        return cast(BinaryIO, open(path, mode, buffering, opener=private))

    def fsync(self, file: BinaryIO) -> None:
        file.flush()
        os.fsync(file.fileno())

    def fsync_folder(self, path: Path) -> None:
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno not in NOT_SUPPORTED:
                raise
        finally:
            os.close(folder)

    def replace(self, path: Path, target: Path) -> None:
        path.replace(target)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        shutil.rmtree(path)

    def make_folder(self, path: Path) -> None:
        path.mkdir(PRIVATE_FOLDER, exist_ok=True)

    def names(self, path: Path) -> list[str]:
        try:
            return sorted(entry.name for entry in path.iterdir())
        except FileNotFoundError:
            return []

    def status(self, path: Path) -> Status | None:
        try:
            found = path.stat()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            return None
        version = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        return Status(stat.S_ISDIR(found.st_mode), found.st_size, version)

    def lock(self, path: Path) -> Lock:
        try:
            import fcntl
        except ImportError:  # not a POSIX system
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE), "rb+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            file.close()
            raise
        return file


REAL_DISK: Disk = RealDisk()


def make_folders(disk: Disk, path: Path) -> None:
    """Make a folder and its missing parents; its name then survives a power cut.

    Its parent is synced also where the folder exists: a process that was killed may have made it just before.
    """
    parent = path.absolute().parent
    if disk.status(parent) is None:
        make_folders(disk, parent)
    disk.make_folder(path)
    disk.fsync_folder(parent)
