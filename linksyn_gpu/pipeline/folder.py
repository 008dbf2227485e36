"""The folder of a run: atomic writes, the manifest, and which stages are finished.

A file gets its name only when it is complete: it is written under another name, synced and renamed. A stage is
finished only when `manifest.json` says so, which is written after all files of the stage. A process killed at any
moment therefore leaves no incomplete file that a later call reads. The manifest records for each stage its settings,
a digest of them, of its input and of the stages before it, and a checksum of each of its files, so that damage is
noticed before a file is used. Each line of a journal has its own checksum.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fnmatch
import functools
import importlib.metadata
import json
import logging
import os
import platform
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from linksyn_gpu import __version__
from linksyn_gpu.clock import REAL_CLOCK, Clock
from linksyn_gpu.config import RunConfig
from linksyn_gpu.config.loader import TABLES, known_settings, merged, settings_digest, to_mapping
from linksyn_gpu.disk import NOT_SUPPORTED, REAL_DISK, Disk, Lock, make_folders
from linksyn_gpu.errors import ConfigError, DataError
from linksyn_gpu.pipeline.older import current_counts, current_settings

FORMAT = 1
MANIFEST = "manifest.json"
DAMAGED = "manifest.damaged"
"""Name that the user gives to a damaged manifest."""
LOCK = ".lock"
JOURNAL = "journal"
PENDING = "requests-pending"
PART = ".part"
STAGES = ("ingest", "extract", "build", "walk", "synthesize", "enhance", "curate")
OPTIONAL = ("extract", "enhance", "curate")
"""Stages that a run may skip; the next stage then reads the output of the one before."""
CHEAP = ("curate",)
"""Stages that are repeated without being asked for when an earlier one is added: they ask no model."""
OUTPUTS = {
    # seeds.parquet: of an older version
    "ingest": ("seeds.arrow", "seeds.parquet", "rejects.jsonl", "contaminated.jsonl", "certificate.json"),
    "extract": (
        "annotated.parquet",
        "extracted.parquet",
        "merges.jsonl",
        "doubtful.jsonl",
        "merges.md",
        "taxonomy.toml",
    ),
    "build": ("kps.parquet", "graph"),
    "walk": ("plan.json", "paths.parquet", "visits.npz", "kp-factors.npy"),
    "synthesize": (
        "requests",
        "requests.jsonl",  # of versions that wrote a single file
        PENDING,
        "requests-pending.jsonl",  # likewise
        "tasks.parquet",
        JOURNAL,
        "qa.parquet",
        "qa.jsonl",
        "dropped.parquet",
    ),
    "enhance": ("enhanced.parquet", "enhanced.jsonl", "enhance-dropped.parquet"),
    "curate": (
        "curated.parquet",
        "curated.jsonl",
        "reserve.parquet",
        "curate-dropped.parquet",
        "clusters.parquet",
        "curate-certificate.json",
    ),
}
# Made from the files of a stage by a separate command; out of date once the stage runs again.
DERIVED = {"build": ("analytics.parquet",), "walk": ("forecast.json",)}
LATER: dict[str, Any] = {"decontamination": {}}
"""Inputs of a stage that older versions did not record, since they did not have them."""
REPORT = "report.html"
KIND_FILES = "files"
REVOKING = "revoking"
"""In the manifest while a takedown is under way: ids of its seeds."""
PACKAGES = ("numpy", "scipy", "numba", "pyarrow", "cupy-cuda13x", "cudf-cu13", "cugraph-cu13")


class Workspace:
    """An open run folder, locked against other processes; use as a context manager.

    Parameters
    ----------
    folder : Path
        Created when it does not exist.
    create : bool
        False: the folder must already hold a run.
    lock : bool
        False: for reading only, also while another process works in the folder.
    disk, clock : Disk, Clock
        Those of the machine, except in tests.

    Raises
    ------
    ConfigError
        The folder holds other files or a run in another format, or another process works in it.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        create: bool = True,
        lock: bool = True,
        disk: Disk = REAL_DISK,
        clock: Clock = REAL_CLOCK,
    ) -> None:
        self.folder = Path(folder)
        self.disk, self._clock = disk, clock
        self._wants_lock = lock
        self.revoking = False
        found = disk.status(self.folder)
        if found is not None and not found.is_folder:
            raise ConfigError(f"{self.folder} is a file; pass the name of a folder")
        self._lock: Lock | None = None
        self._writing = threading.RLock()
        self._checksums: dict[tuple[int, ...], str] = {}  # by `Status.version`
        if not create and not self.is_file(MANIFEST):
            raise ConfigError(
                f"{self.folder} holds no run ({MANIFEST} is missing); start one with "
                f"'linksyn-gpu run' or 'linksyn-gpu ingest'"
            )

    def __enter__(self) -> Self:
        make_folders(self.disk, self.folder)
        is_run = self.is_file(MANIFEST)
        has_files = any(not name.startswith(".") for name in self.disk.names(self.folder))
        # A folder with answers but without a manifest is a run whose manifest was damaged and moved away.
        was_run = self.is_file(DAMAGED) or fnmatch.filter(self._names_in(self.path(JOURNAL)), "answers-*.jsonl*")
        if not is_run and has_files and not was_run:
            raise ConfigError(f"{self.folder} is not empty and holds no run; choose another --out")
        if self._wants_lock:
            self._take_lock()
        try:
            is_run = self.is_file(MANIFEST)  # another process may have begun the run before the lock was taken
            self.manifest: dict[str, Any] = self._read_manifest() if is_run else self._new_manifest()
            if not self._wants_lock:
                return self
            for folder in (self.folder, *map(self.path, self.disk.names(self.folder))):
                for name in self._names_in(folder):
                    if name.startswith(".") and name.endswith(PART) and not _is_being_written(name):
                        self.disk.unlink(folder / name)
        except BaseException:
            self._release_lock()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._release_lock()

    # ------------------------------------------------------------------ files

    def path(self, name: str) -> Path:
        """Path of a file of the run."""
        return self.folder / name

    def is_file(self, name: str) -> bool:
        """Whether the run has a file of this name."""
        found = self.disk.status(self.path(name))
        return found is not None and not found.is_folder

    def _names_in(self, folder: Path) -> list[str]:
        """Names in a folder; [] if it is not one."""
        found = self.disk.status(folder)
        return self.disk.names(folder) if found is not None and found.is_folder else []

    def _files(self, path: Path) -> list[Path]:
        """The file, or the files in a folder, without those that are being written."""
        found = self.disk.status(path)
        if found is None:
            return []
        if not found.is_folder:
            return [path]
        return [file for name in self.disk.names(path) for file in self._files(path / name) if name[0] != "."]

    def _size(self, path: Path) -> int:
        """Bytes of a file; -1 if it does not exist."""
        found = self.disk.status(path)
        return -1 if found is None or found.is_folder else found.size

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """Yield a path to write to; it is renamed to `name` when the block succeeds and removed when it raises."""
        target, disk = self.path(name), self.disk
        if target.parent != self.folder:
            make_folders(disk, target.parent)
        part = target.with_name(f".{target.name}.{os.getpid()}{PART}")
        disk.unlink(part)
        disk.open(part, "xb").close()
        try:
            yield part
            with disk.open(part, "rb+") as written:
                disk.fsync(written)
            # A process killed between the file and the manifest must leave no checksum, rather than a wrong one.
            self._record_checksum(name, None)
            disk.replace(part, target)
            disk.fsync_folder(target.parent)  # or the new name may be lost in a power failure
            self._record_checksum(name, target)
        finally:
            disk.unlink(part)

    def _record_checksum(self, name: str, path: Path | None) -> None:
        """Write the checksum of a stage's file to the manifest, or remove it."""
        with self._writing:
            entry = self._writer(name)
            if entry is None:
                return
            before = entry.setdefault("checksums", {}).pop(name, None)
            if path is not None:
                entry["checksums"][name] = self._checksum(path)
            if path is not None or before is not None:
                self._write_manifest()

    def intact(self, name: str) -> bool:
        """Whether a file exists and has the content that its stage wrote, as far as a checksum was recorded."""
        if self._matches(name):
            return True
        if self._wants_lock or not self.is_file(name):
            return False
        self.manifest = self._read_manifest()  # the process that holds the lock may have replaced the file
        return self._matches(name)

    def _matches(self, name: str) -> bool:
        if not self.is_file(name):
            return False
        recorded = (self._writer(name) or {}).get("checksums", {}).get(name)
        return recorded is None or recorded == self._checksum(self.path(name))

    def has_checksum(self, name: str) -> bool:
        """Whether a checksum was recorded for a file."""
        return name in (self._writer(name) or {}).get("checksums", {})

    def checked(self, name: str) -> Path:
        """Return the path of a file after its checksum was verified.

        Raises
        ------
        DataError
            The file is missing or does not have the content that its stage wrote.
        """
        if not self.intact(name):
            what = "is damaged: its checksum differs" if self.disk.status(self.path(name)) else "is missing"
            raise DataError(f"{self.path(name)} {what}; run 'linksyn-gpu {_stage_of(name)}' again to make it again")
        return self.path(name)

    def _writer(self, name: str) -> dict[str, Any] | None:
        """Manifest entry of the stage that writes a file; None for a file without a checksum."""
        entry: dict[str, Any] | None = self.manifest["stages"].get(_stage_of(name))
        return entry

    def _checksum(self, path: Path) -> str:
        """CRC-32 of a file in hex; computed once while the file does not change."""
        found = self.disk.status(path)
        key = () if found is None else found.version
        if key not in self._checksums:
            value = 0
            with self.disk.open(path, "rb") as file:
                while chunk := file.read(2**20):
                    value = zlib.crc32(chunk, value)
            self._checksums[key] = f"{value:08x}"
        return self._checksums[key]

    # ------------------------------------------------------------------ stages

    @property
    def of_files(self) -> bool:
        """Whether the folder holds QA of other files instead of a campaign: it has the stages ingest and curate."""
        return self.manifest.get("kind") == KIND_FILES

    def take_files(self) -> None:
        """Make this a folder for QA of other files.

        Raises
        ------
        ConfigError
            It holds a campaign.
        """
        if not self.of_files and self.manifest["stages"]:
            raise ConfigError(f"{self.folder} holds a campaign: choose another --out for QA of files")
        self.manifest["kind"] = KIND_FILES
        self._write_manifest()

    def require_campaign(self, command: str) -> None:
        """Refuse a command that needs the walks of a campaign.

        Raises
        ------
        ConfigError
            The folder holds QA of other files.
        """
        if self.of_files:
            raise ConfigError(
                f"{self.folder} holds QA of files, made by 'curate --out': '{command}' needs the run folder of a "
                "campaign. The data set of files is in curated.parquet; to remove a row, delete it from the files and "
                "curate them into a new folder"
            )

    def settings(self, stage: str) -> dict[str, Any] | None:
        """Return the recorded settings of a stage, as `RunConfig` knows them; None when it was never started."""
        entry = self.manifest["stages"].get(stage)
        return None if entry is None else known_settings(_recorded(entry))

    def counts_so_far(self, stage: str) -> dict[str, Any] | None:
        """Return the counts of a stage, finished or not; None when it has none yet."""
        entry = self.manifest["stages"].get(stage, {})
        return current_counts(stage, entry["counts"]) if "counts" in entry else None

    def counts(self, stage: str) -> dict[str, Any]:
        """Return the counts of a finished stage.

        Raises
        ------
        ConfigError
            The stage is not finished.
        """
        if not self.finished(stage):
            ended = "finished" in self.manifest["stages"].get(stage, {})
            state = "has missing or damaged files" if ended else "is not finished"
            raise ConfigError(f"{self.folder}: stage '{stage}' {state}; run 'linksyn-gpu {stage}' first")
        return current_counts(stage, self.manifest["stages"][stage]["counts"])

    def begin(
        self,
        stage: str,
        settings: Mapping[str, Any],
        *,
        operational: Mapping[str, Any] | None = None,
        force: bool = False,
        ahead: bool = False,
        growing: Sequence[str] = (),
    ) -> bool:
        """Record in the manifest that a stage starts, and return whether it has work to do.

        Parameters
        ----------
        stage : str
            One of `STAGES`; the one before it must be finished.
        settings : mapping
            Everything that shapes the output of the stage, ready for JSON.
        operational : mapping, optional
            Settings that do not shape the output; they are the defaults of the next call.
        force : bool
            Discard what the folder holds of this stage and the later ones; answers are set aside.
        ahead : bool
            The stage before may still be running; this one reads its output as it comes.
        growing : sequence of str
            Settings, by their names in `settings`, whose change adds to the output of the stage and changes nothing in
            it: the later stages stay valid, and continue with the larger output.

        Returns
        -------
        bool
            False: the stage is finished with the same settings, and its files are complete.

        Raises
        ------
        ConfigError
            The stage was started with other settings, and not `force`; the message lists the differences.
        """
        if REVOKING in self.manifest and not self.revoking:
            raise ConfigError(self._interrupted())
        if self.of_files and stage not in (STAGES[0], STAGES[-1]):
            raise ConfigError(f"{self.folder} holds QA of files, made by 'curate --out': choose another --out")
        if (before := self._before(stage)) is not None and not ahead:
            self.counts(before)
        entry = self.manifest["stages"].get(stage)
        changes = [] if entry is None else self._changes(stage, entry, settings)
        if entry is not None and changes and not force:
            known = {name: entry["settings"][name] for name in growing if name in entry["settings"]}
            grown = {**{name: value for name, value in settings.items() if name not in growing}, **known}
            if not self._changes(stage, entry, grown):
                self._grow(stage, entry, settings)
                changes = []
        if changes and not force and (self._holds(stage) or self._answers_after(stage)):
            raise ConfigError(
                f"{self.folder}: stage '{stage}' was started with other settings ({'; '.join(changes)}); use the same "
                f"ones, choose another --out, or pass --force to start over (answers are then set aside in journal.N)"
            )
        if entry is not None and not changes and not force and self.finished(stage):
            return False
        if entry is None and not force and stage in OPTIONAL:
            self._check_nothing_after(stage)
        if force or entry is None or changes:
            # Answers without an entry are those of a folder whose manifest was lost: they are used again.
            self.discard(stage, answers=force or entry is not None)
            entry = {"digest": self._digest(stage, settings), "settings": dict(settings), "begun": self._now()}
        self.manifest["stages"][stage] = {**entry, "operational": dict(operational or {})}
        self._write_manifest()
        return True

    def _grow(self, stage: str, entry: dict[str, Any], settings: Mapping[str, Any]) -> None:
        """Give a stage other settings, and the later stages the digests that follow from them; none is finished."""
        entry.pop("finished", None)
        entry.update(settings=dict(settings), digest=self._digest(stage, settings))
        for later in STAGES[STAGES.index(stage) + 1 :]:
            if (known := self.manifest["stages"].get(later)) is not None:
                known["digest"] = self._digest(later, known["settings"])
        self._reopen(STAGES[STAGES.index(stage) + 1 :])

    def _reopen(self, stages: Sequence[str]) -> None:
        """Stages whose input is another now run again, with what they have."""
        for stage in stages:
            self.manifest["stages"].get(stage, {}).pop("finished", None)

    def facts(self, stage: str) -> dict[str, Any]:
        """Return what `record` recorded of a stage, and its other entries in the manifest; {} if it was not started."""
        return dict(self.manifest["stages"].get(stage, {}))

    def record(self, stage: str, **facts: Any) -> None:
        """Record facts about a stage that is not finished: it runs again, and so do the later ones."""
        self._reopen(STAGES[STAGES.index(stage) :])
        self.manifest["stages"][stage].update(facts)
        self._write_manifest()

    def begin_takedown(self, ids: Sequence[str], *names: str) -> list[str]:
        """Record a takedown of seeds: until `end_takedown`, no stage begins outside of it.

        Returns the stages that were finished before it, and those of the files `names` that were there.

        Raises
        ------
        ConfigError
            A stage is under way, or a takedown of other seeds was interrupted.
        """
        known = self.manifest.get(REVOKING)
        if known is not None and known["seeds"] != [*ids]:
            raise ConfigError(self._interrupted())
        if known is None:
            done = [name for name in STAGES if self.finished(name)]
            begun = [name for name in self.manifest["stages"] if name not in done and self._holds(name)]
            if begun:
                raise ConfigError(f"{self.folder}: stage '{begun[0]}' is not finished: finish it before a takedown")
            known = {"seeds": [*ids], "finished": [*done, *filter(self.is_file, names)]}
        self.revoking = True
        self.manifest[REVOKING] = known
        self._write_manifest()
        return list(known["finished"])

    def _interrupted(self) -> str:
        command = f"linksyn-gpu revoke {self.folder} {' '.join(self.manifest[REVOKING]['seeds'])}"
        return f"{self.folder}: a takedown was interrupted; finish it first: {command}"

    def end_takedown(self) -> None:
        """Record that the takedown is complete."""
        self.revoking = False
        self.manifest.pop(REVOKING, None)
        self._write_manifest()

    def reopen(self, stage: str) -> None:
        """The stage and the later ones run again, with what they have."""
        self._reopen(STAGES[STAGES.index(stage) :])
        self._write_manifest()

    def note(self, stage: str, counts: Mapping[str, Any]) -> None:
        """Record the counts of a stage that is not finished."""
        self.record(stage, counts=dict(counts))

    def finish(self, stage: str, counts: Mapping[str, Any], **facts: Any) -> None:
        """Record that a stage is finished: its counts, and size and checksum of each of its files."""
        files = {
            str(path.relative_to(self.folder)): self._size(path)
            for name in OUTPUTS[stage]
            for path in self._files(self.path(name))
        }
        checksums = {name: self._checksum(self.path(name)) for name in files if _stage_of(name)}
        for folder in sorted({self.path(name).parent for name in files} - {self.folder}):
            self.disk.fsync_folder(folder)  # a process that was killed may have left a name that is not on the device
        self._reopen(STAGES[STAGES.index(stage) + 1 :])
        self.manifest["stages"][stage].update(
            counts=dict(counts),
            files=files,
            checksums=checksums,
            finished=self._now(),
            environment=dict(_environment()),
            **facts,
        )
        self._write_manifest()

    def discard(self, stage: str, *, answers: bool = True) -> None:
        """Remove the files of a stage and of the stages after it; answers are renamed, or kept if not `answers`."""
        stages = STAGES[STAGES.index(stage) :]
        outputs = [name for later in stages for name in (*OUTPUTS[later], *DERIVED.get(later, ()))]
        for output in (*outputs, REPORT):
            path = self.path(output)
            found = self.disk.status(path)
            if output == JOURNAL and self._has_bytes(output):
                if answers:  # they may have cost money: they are never deleted
                    taken, number = self.disk.names(self.folder), 1
                    while f"{output}.{number}" in taken:
                        number += 1
                    self.disk.replace(path, self.path(f"{output}.{number}"))
            elif found is not None and found.is_folder:
                self.disk.remove_folder(path)
            else:
                self.disk.unlink(path)
        # Last: a stage whose files are gone is not finished, but one that is forgotten cannot be discarded again.
        if [name for name in stages if self.manifest["stages"].pop(name, None)]:
            self._write_manifest()

    def _holds(self, stage: str) -> bool:
        """Whether a stage has written anything. A call that failed on a wrong setting has not."""
        return any(map(self._has_bytes, OUTPUTS[stage]))

    def _has_bytes(self, output: str) -> bool:
        return any(self._size(file) > 0 for file in self._files(self.path(output)))

    def _answers_after(self, stage: str) -> bool:
        """Whether a later stage already holds answers: stages may run at the same time."""
        later = STAGES[STAGES.index(stage) + 1 :]
        return any(JOURNAL in OUTPUTS[name] for name in later) and self._has_bytes(JOURNAL)

    def finished(self, stage: str) -> bool:
        """Whether the manifest lists a stage as finished and its files have the recorded sizes and checksums."""
        entry = self.manifest["stages"].get(stage)
        if entry is None or "finished" not in entry:
            return False
        return all(self._size(self.path(name)) == size and self.intact(name) for name, size in entry["files"].items())

    def _before(self, stage: str) -> str | None:
        """The stage whose output a stage reads: the last one before it that is required, or was started here."""
        if self.of_files:
            return None if stage == STAGES[0] else STAGES[0]
        earlier = [s for s in STAGES[: STAGES.index(stage)] if s not in OPTIONAL or s in self.manifest["stages"]]
        return earlier[-1] if earlier else None

    def _check_nothing_after(self, stage: str) -> None:
        others = (name for name in STAGES[STAGES.index(stage) + 1 :] if name not in CHEAP)
        later = [name for name in others if name in self.manifest["stages"] and self._holds(name)]
        if later:
            raise ConfigError(
                f"{self.folder}: stage '{later[0]}' ran without '{stage}'; pass --force to discard it, "
                f"or choose another --out"
            )

    def _digest(self, stage: str, settings: Mapping[str, Any]) -> str:
        before = self._before(stage)
        chain = [] if before is None else [self.manifest["stages"][before]["digest"]]
        return settings_digest({"stage": stage, "settings": settings, "before": chain})

    def _changes(self, stage: str, entry: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
        """Differences between what a stage was started with and what it would be started with now.

        Only settings that this version has are compared. One that is missing from the manifest of an older version
        had its default: a new setting must change nothing unless it is set.
        """
        recorded = _fill(settings, _recorded(entry))
        changes = [f"{name} was {_short(old)}, is {_short(new)}" for name, old, new in _compare(recorded, settings)]
        if entry["digest"] != self._digest(stage, entry["settings"]):
            changes.append(f"stage '{self._before(stage)}' ran again")
        return changes

    # ------------------------------------------------------------------ manifest and lock

    def _read_manifest(self) -> dict[str, Any]:
        path = self.folder / MANIFEST
        try:
            with self.disk.open(path, "rb") as file:
                manifest = json.loads(file.read().decode())
            written = manifest["format"]
            if written == FORMAT:
                for stage, entry in manifest["stages"].items():
                    _check_entry(stage, entry)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(
                f"{path} is damaged or is not a manifest of linksyn-gpu ({type(error).__name__}: {error}); rename it to"
                f" {DAMAGED} and run the same 'run' or 'ingest' command again: the stages run again, and answers"
                f" in {JOURNAL}/ are used again"
            ) from error
        if written != FORMAT:
            raise ConfigError(f"{path} has format {written}, this version reads {FORMAT}; choose another --out")
        return dict(manifest)

    def _write_manifest(self) -> None:
        with self._writing, self.replacing(MANIFEST) as part:
            text = json.dumps(self.manifest, indent=1, ensure_ascii=False) + "\n"
            with self.disk.open(part, "wb") as out:
                out.write(text.encode())

    def _new_manifest(self) -> dict[str, Any]:
        return {"format": FORMAT, "linksyn_gpu": __version__, "created": self._now(), "stages": {}}

    def _now(self) -> str:
        return datetime.datetime.fromtimestamp(self._clock.time(), datetime.UTC).isoformat(timespec="seconds")

    def _take_lock(self) -> None:
        path = self.folder / LOCK
        try:
            self._lock = self.disk.lock(path)
        except BlockingIOError:
            raise ConfigError(f"another linksyn-gpu process works in {self.folder}; wait until it ends") from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise ConfigError(f"{path} is a symbolic link; remove it") from None
            if error.errno not in NOT_SUPPORTED:
                raise
            logging.getLogger(__name__).warning(
                "%s: this file system has no locks; do not run two commands on the folder at the same time", self.folder
            )

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


@functools.cache
def _environment() -> dict[str, str]:
    """Versions of the packages that a stage ran with."""
    found = {"linksyn-gpu": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _stage_of(name: str) -> str | None:
    """Stage that writes a file; None for a file without a checksum in the manifest, such as those of the journal."""
    output = name.split("/")[0]
    return None if output == JOURNAL else next((stage for stage, names in OUTPUTS.items() if output in names), None)


def _check_entry(stage: str, entry: Mapping[str, Any]) -> None:
    """Raise ValueError unless an entry of the manifest has the parts that are used without a check."""
    parts = [
        entry["settings"],
        *(entry[name] for name in ("operational", "counts", "files", "checksums") if name in entry),
    ]
    parts += [values[name] for values in parts[:2] for name in TABLES if name in values]
    if stage not in STAGES or not isinstance(entry["digest"], str) or not all(isinstance(p, dict) for p in parts):
        raise ValueError(f"wrong entry of stage {stage!r}")
    if "finished" in entry and not {"counts", "files"} <= entry.keys():
        raise ValueError(f"stage {stage!r} is finished without counts or files")


def _is_being_written(part: str) -> bool:
    """Whether the process that writes an incomplete file still runs; `report` writes without the lock."""
    pid = part.removesuffix(PART).rpartition(".")[2]
    if not pid.isdecimal() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _recorded(entry: Mapping[str, Any]) -> dict[str, Any]:
    """All recorded settings of a stage: those that shape its output, and the operational ones."""
    return current_settings(merged(entry["settings"], entry.get("operational", {})))


@functools.cache
def _defaults() -> dict[str, Any]:
    """Value of each setting that a folder did not record."""
    return {**to_mapping(RunConfig()), **LATER}


def _fill(settings: Mapping[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a folder recorded for each of `settings`; what it did not record has its default."""
    defaults = _defaults()
    filled: dict[str, Any] = {}
    for name, value in settings.items():
        default = defaults.get(name, value)
        if name in TABLES:
            table = recorded.get(name, {})
            filled[name] = {key: table.get(key, default.get(key, now)) for key, now in value.items()}
        else:
            filled[name] = recorded.get(name, default)
    return filled


def _compare(old: Any, new: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Leaves that differ between two JSON values, with their dotted names."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted({*old, *new})
        return [d for k in keys for d in _compare(old.get(k), new.get(k), f"{name}.{k}" if name else k)]
    return [] if old == new else [(name, old, new)]


def _short(value: Any, limit: int = 60) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 1] + "…"
