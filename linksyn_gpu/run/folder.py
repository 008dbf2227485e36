"""A run's folder: atomic writes, stage completion, the manifest, and what makes a run resumable.

A file appears under its name only when it is whole (written beside it, synced, renamed), and a stage counts as
done only when `manifest.json` says so, after all its files. Killing a run at any moment therefore leaves nothing
that the next run trusts and should not. Each stage is named by a digest of its settings, its input and the stages
before it.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from linksyn_gpu import __version__
from linksyn_gpu.config.loader import digest, merged
from linksyn_gpu.errors import ConfigError, DataError

FORMAT = 1
MANIFEST = "manifest.json"
LOCK = ".lock"
PART = ".part"
STAGES = ("ingest", "extract", "build", "walk", "synthesize", "enhance")
OPTIONAL = ("extract", "enhance")
"""Stages that a run may do without; the next stage takes up what the one before left."""
OUTPUTS = {
    "ingest": ("seeds.parquet", "rejects.jsonl"),
    "extract": (
        "annotated.parquet",
        "extracted.parquet",
        "merges.jsonl",
        "doubtful.jsonl",
        "merges.md",
    ),
    "build": ("kps.parquet", "graph"),
    "walk": ("plan.json", "paths.parquet"),
    "synthesize": (
        "requests.jsonl",
        "requests-pending.jsonl",
        "tasks.parquet",
        "journal",
        "qa.parquet",
        "qa.jsonl",
        "dropped.parquet",
    ),
    "enhance": ("enhanced.parquet", "enhanced.jsonl", "enhance-dropped.parquet"),
}
# Made from a stage's files by commands of their own; stale once the stage is done anew.
DERIVED = {"build": ("analytics.parquet",)}
REPORT = "report.html"
PACKAGES = ("numpy", "scipy", "numba", "pyarrow", "cupy-cuda13x", "cudf-cu13", "cugraph-cu13")


class Workspace:
    """An open run folder, locked against other processes; use as a context manager.

    Parameters
    ----------
    folder : Path
        Made when missing.
    create : bool
        False: the folder must hold a run already.
    lock : bool
        False: only look, also while another process works in the folder.

    Raises
    ------
    ConfigError
        The folder holds something else, another version's run, or another process works in it.
    """

    def __init__(self, folder: str | Path, *, create: bool = True, lock: bool = True) -> None:
        self.folder = Path(folder)
        self._wants_lock = lock
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError(f"{self.folder} is a file; a run needs a folder of its own")
        self._lock: IO[str] | None = None
        if not create and not (self.folder / MANIFEST).is_file():
            raise ConfigError(
                f"{self.folder} holds no run ({MANIFEST} is missing); begin with "
                f"'linksyn-gpu run' or 'linksyn-gpu ingest'"
            )

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        manifest = self.folder / MANIFEST
        if not manifest.exists() and any(not p.name.startswith(".") for p in self.folder.iterdir()):
            raise ConfigError(f"{self.folder} is not empty and holds no run; choose another --out")
        if self._wants_lock:
            self._take_lock()
        try:
            self.manifest: dict[str, Any] = self._read_manifest() if manifest.exists() else _new_manifest()
            if not self._wants_lock:
                return self
            for left_over in (*self.folder.glob(f".*{PART}"), *self.folder.glob(f"*/.*{PART}")):
                left_over.unlink()
        except BaseException:
            self._release_lock()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release_lock()

    # ------------------------------------------------------------------ files

    def path(self, name: str) -> Path:
        """Where a file of the run lies."""
        return self.folder / name

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """Give a path to write to, which becomes `name` when the block ends well and vanishes when it does not."""
        target = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}{PART}")
        try:
            yield part
            with part.open("rb+") as written:
                os.fsync(written.fileno())
            part.replace(target)
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the new name itself must outlive a power cut
            finally:
                os.close(folder)
        finally:
            part.unlink(missing_ok=True)

    # ------------------------------------------------------------------ stages

    def settings(self, stage: str) -> dict[str, Any] | None:
        """What a stage was begun with in this folder, operational settings included; None when it never was."""
        entry = self.manifest["stages"].get(stage)
        return None if entry is None else merged(entry["settings"], entry.get("operational", {}))

    def counts_so_far(self, stage: str) -> dict[str, Any] | None:
        """What a stage has counted, finished or not; None when it has counted nothing."""
        entry = self.manifest["stages"].get(stage, {})
        return dict(entry["counts"]) if "counts" in entry else None

    def counts(self, stage: str) -> dict[str, Any]:
        """What a finished stage counted.

        Raises
        ------
        ConfigError
            The stage is not finished.
        """
        if not self.finished(stage):
            raise ConfigError(f"{self.folder}: stage '{stage}' is not finished; run 'linksyn-gpu {stage}' first")
        return dict(self.manifest["stages"][stage]["counts"])

    def begin(
        self,
        stage: str,
        settings: Mapping[str, Any],
        *,
        operational: Mapping[str, Any] | None = None,
        force: bool = False,
        ahead: bool = False,
    ) -> bool:
        """Say whether a stage has work to do, and note in the manifest that it began.

        Parameters
        ----------
        stage : str
            One of `STAGES`; the one before it must be finished.
        settings : mapping
            All that shapes the stage's output, ready for JSON.
        operational : mapping, optional
            Settings that do not; they are kept as defaults for the next call.
        force : bool
            Throw away what the folder holds of this stage and the later ones; answers are set aside.
        ahead : bool
            The stage before may still be at work: its output is taken up as it comes.

        Returns
        -------
        bool
            False: finished before with the same settings, all files in place.

        Raises
        ------
        ConfigError
            Begun before with other settings, and not `force`; the message names each difference.
        """
        if (before := self._before(stage)) is not None and not ahead:
            self.counts(before)
        entry = self.manifest["stages"].get(stage)
        named = self._digest(stage, settings)
        differs = entry is not None and entry["digest"] != named
        if differs and not force and (self._holds(stage) or self._answers_after(stage)):
            raise ConfigError(self._difference(stage, entry["settings"], settings))
        if entry is not None and not differs and not force and self.finished(stage):
            return False
        if entry is None and not force and stage in OPTIONAL:
            self._check_nothing_after(stage)
        if force or entry is None or differs:
            self.discard(stage)
            entry = {"digest": named, "settings": dict(settings), "begun": _now()}
        self.manifest["stages"][stage] = {**entry, "operational": dict(operational or {})}
        self._write_manifest()
        return True

    def note(self, stage: str, counts: Mapping[str, Any]) -> None:
        """Record what a stage that is not finished has counted so far."""
        entry = self.manifest["stages"][stage]
        entry.pop("finished", None)
        entry["counts"] = dict(counts)
        self._write_manifest()

    def finish(self, stage: str, counts: Mapping[str, Any], **facts: Any) -> None:
        """Record that a stage is done: its counts, and the size of each of its files."""
        files = {
            str(path.relative_to(self.folder)): path.stat().st_size
            for name in OUTPUTS[stage]
            for path in _files(self.path(name))
        }
        self.manifest["stages"][stage].update(
            counts=dict(counts), files=files, finished=_now(), environment=_environment(), **facts
        )
        self._write_manifest()

    def discard(self, stage: str) -> None:
        """Remove what the folder holds of a stage and of those after it."""
        for name in STAGES[STAGES.index(stage) :]:
            known = self.manifest["stages"].pop(name, None)
            if known is not None:
                self._write_manifest()  # first the promise, then the files
            for output in (*OUTPUTS[name], *DERIVED.get(name, ())):
                self._remove(output)
        self._remove(REPORT)

    def _remove(self, output: str) -> None:
        path = self.path(output)
        if output.endswith("journal") and any(file.stat().st_size > 0 for file in _files(path)):
            # Answers may have been paid for: they are set aside, never deleted.
            number = 1 + sum(1 for _ in self.folder.glob(f"{output}.*"))
            path.rename(self.path(f"{output}.{number}"))
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def _holds(self, stage: str) -> bool:
        """Whether there is anything of a stage that other settings would spoil; a mistake leaves nothing."""
        return any(file.stat().st_size > 0 for output in OUTPUTS[stage] for file in _files(self.path(output)))

    def _answers_after(self, stage: str) -> bool:
        """Whether a later stage holds answers already: stages may work side by side."""
        later = STAGES[STAGES.index(stage) + 1 :]
        journals = [output for name in later for output in OUTPUTS[name] if output.endswith("journal")]
        return any(file.stat().st_size > 0 for output in journals for file in _files(self.path(output)))

    def finished(self, stage: str) -> bool:
        """Whether the manifest says that a stage is done and its files still have their sizes."""
        entry = self.manifest["stages"].get(stage)
        if entry is None or "finished" not in entry:
            return False
        sizes = {name: self.path(name) for name in entry["files"]}
        return all(p.is_file() and p.stat().st_size == entry["files"][n] for n, p in sizes.items())

    def _before(self, stage: str) -> str | None:
        """The stage whose output a stage takes up: the last one before it that is not optional, or was begun here."""
        earlier = [s for s in STAGES[: STAGES.index(stage)] if s not in OPTIONAL or s in self.manifest["stages"]]
        return earlier[-1] if earlier else None

    def _check_nothing_after(self, stage: str) -> None:
        later = [name for name in STAGES[STAGES.index(stage) + 1 :] if name in self.manifest["stages"]]
        if later:
            raise ConfigError(
                f"{self.folder}: stage '{later[0]}' was made without '{stage}'; --force throws it away, "
                f"or choose another --out"
            )

    def _digest(self, stage: str, settings: Mapping[str, Any]) -> str:
        before = self._before(stage)
        chain = [] if before is None else [self.manifest["stages"][before]["digest"]]
        return digest({"stage": stage, "settings": settings, "before": chain})

    def _difference(self, stage: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
        changes = [f"{name} was {_short(before)}, is {_short(after)}" for name, before, after in _compare(old, new)]
        return (
            f"{self.folder}: stage '{stage}' was begun with other settings ({'; '.join(changes)}); "
            f"use them again, choose another --out, or --force to start anew (answers are then set aside in journal.N)"
        )

    # ------------------------------------------------------------------ manifest and lock

    def _read_manifest(self) -> dict[str, Any]:
        path = self.folder / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            written = manifest["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is no manifest of linksyn-gpu: {error}") from error
        if written != FORMAT:
            raise ConfigError(f"{path} has format {written}, this version writes {FORMAT}; choose another --out")
        return dict(manifest)

    def _write_manifest(self) -> None:
        with self.replacing(MANIFEST) as part:
            part.write_text(json.dumps(self.manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def _take_lock(self) -> None:
        import fcntl

        self._lock = (self.folder / LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._release_lock()
            raise ConfigError(f"another linksyn-gpu is at work in {self.folder}; wait for it to end") from None

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _new_manifest() -> dict[str, Any]:
    return {"format": FORMAT, "linksyn_gpu": __version__, "created": _now(), "stages": {}}


def _environment() -> dict[str, str]:
    """Versions that a stage ran with."""
    found = {"linksyn-gpu": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    return [path] if path.is_file() else []


def _compare(old: Any, new: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Leaves that differ between two JSON values, with their dotted names."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted({*old, *new})
        return [d for k in keys for d in _compare(old.get(k), new.get(k), f"{name}.{k}" if name else k)]
    return [] if old == new else [(name, old, new)]


def _short(value: Any, limit: int = 60) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 1] + "…"
