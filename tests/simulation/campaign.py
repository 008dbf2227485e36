"""A campaign in miniature: the stages of a run over the real folder, journal, budget, dispatcher and client.

Only what the stages compute is replaced: each file has a known content, so that a wrong one is seen. The order of
files, journal and manifest is that of `linksyn_gpu/pipeline/stages/`.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm import Engine, dispatch
from linksyn_gpu.llm.client import Client, Limits
from linksyn_gpu.llm.journal import Index, Journal
from linksyn_gpu.llm.protocol import Completion, from_record
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.serving import run_budget
from tests.simulation.disk import SimDisk
from tests.simulation.loop import SimLoop
from tests.simulation.server import Connection, SimServer, answer_text, request_of, validate
from tests.simulation.world import Life, Violation

FOLDER = Path("/run")
BEFORE = {"ingest": ("seeds.arrow",), "build": ("graph/indptr.npy", "kps.parquet"), "walk": ("paths.parquet",)}
"""Stages before the requests, with their files."""
REQUESTS = ("requests/requests-00000.jsonl", "requests/requests-00001.jsonl")


@dataclass(frozen=True)
class Task:
    """What the campaign is to do."""

    requests: int
    concurrency: int
    segment_bytes: int
    max_requests: int | None = None
    max_tokens: int | None = None


class WatchedJournal(Journal):
    """Tells a witness what was acknowledged."""

    def __init__(self, witness: Any, *args: Any, **options: Any) -> None:
        self._witness = witness
        super().__init__(*args, **options)

    def append(self, record: dict[str, Any]) -> None:
        self._witness.appending(record)
        super().append(record)
        self._witness.appended(record)

    def sync(self) -> None:
        covered = self._witness.unsynced()
        try:
            super().sync()
        except BaseException:
            self._witness.not_synced(covered)
            raise
        self._witness.synced(covered)


class Campaign:
    """The program, as it runs in one process."""

    def __init__(self, task: Task, disk: SimDisk, life: Life, server: SimServer, witness: Any) -> None:
        self._task, self._disk, self._life, self._server, self._witness = task, disk, life, server, witness

    def run(self, *, limited: bool = True) -> bool:
        """Do what is left; whether the campaign is complete. `limited`: within the budget of the task."""
        with Workspace(FOLDER, disk=self._disk, clock=self._life.clock) as ws:
            for stage, names in BEFORE.items():
                if ws.begin(stage, {"size": self._task.requests}):
                    for name in names:
                        self._write(ws, name, content_of(name, self._task))
                    ws.finish(stage, {"files": len(names)})
            if ws.begin("synthesize", {"size": self._task.requests}) and not self._synthesize(ws, limited):
                return False
            if ws.begin("curate", {"size": self._task.requests}):
                rows = self._read(ws, "qa.jsonl")
                self._write(ws, "curated.jsonl", rows)
                ws.finish("curate", {"kept": rows.count(b"\n")})
            self._witness.complete(ws)
        return True

    # ------------------------------------------------------------------ stage synthesize

    def _synthesize(self, ws: Workspace, limited: bool) -> bool:
        for name in (*BEFORE["walk"], *BEFORE["build"]):
            if self._read(ws, name) != content_of(name, self._task):
                raise Violation(f"{name} has other content than was written, and passed its check")
        with self._journal(ws.path("journal")) as journal:
            self._write_requests(ws)
            failed = self._ask(ws, journal, limited)
            counts = self._assemble(ws, journal, journal.index())
            if counts["pending"] == 0 and failed is None:
                ws.finish("synthesize", counts)
                return True
            ws.note("synthesize", counts)
            return False

    def _journal(self, path: Path) -> Journal:
        return WatchedJournal(
            self._witness, path, segment_bytes=self._task.segment_bytes, disk=self._disk, clock=self._life.clock
        )

    def _write_requests(self, ws: Workspace) -> None:
        if ws.is_file("tasks.parquet") and all(ws.intact(name) for name in ("tasks.parquet", *REQUESTS)):
            return
        for name in REQUESTS:
            self._write(ws, name, content_of(name, self._task))
        self._write(ws, "tasks.parquet", content_of("tasks.parquet", self._task))

    def _requests(self, ws: Workspace) -> Iterator[dict[str, Any]]:
        for name in REQUESTS:
            for line in self._read(ws, name).splitlines():
                yield json.loads(line)

    def _ask(self, ws: Workspace, journal: Journal, limited: bool) -> EngineError | None:
        index = journal.index()
        requests = [*self._requests(ws)]
        if requests != [request_of(n) for n in range(self._task.requests)]:
            raise Violation("the requests files have other content than was written, and passed their check")
        if all(index.settled(request["custom_id"]) for request in requests):
            return None
        task = self._task
        bounds = (task.max_requests, task.max_tokens) if limited else (None, None)
        limits: Any = SimpleNamespace(max_requests=bounds[0], budget_tokens=bounds[1])
        budget = run_budget(ws, limits, "synthesize", index)
        server, life = self._server, self._life
        engine = Engine("http://127.0.0.1:1/v1", "sim", watch=server if server.watched else None)
        connect = functools.partial(
            Client,
            engine,
            Limits(concurrency=task.concurrency, timeout=10.0),
            validate,
            clock=life.clock,
            connect=lambda _, timeout: Connection(server, life, timeout),
        )
        work = dispatch.ask(requests, connect, journal, index, budget)
        try:
            SimLoop(life.clock, life.chance).run(work)
        except EngineError as error:
            return error
        return None

    def _assemble(self, ws: Workspace, journal: Journal, index: Index) -> dict[str, Any]:
        kept, dropped = [], []
        pending = 0
        for line in self._read(ws, "tasks.parquet").splitlines():
            request_id = line.decode()
            record = journal.get(request_id, index)
            outcome = None if record is None else from_record(record)
            if isinstance(outcome, Completion):
                if outcome.text != answer_text(request_id) or outcome.model not in self._server.sent[request_id]:
                    raise Violation(f"{request_id} has an answer that the server did not give: {outcome}")
                kept.append(f"{request_id}: {outcome.text}\n")
            elif outcome is None or outcome.transient:
                pending += 1
            else:
                dropped.append(f"{request_id}: {outcome.reason}\n")
        self._write(ws, "qa.jsonl", "".join(kept).encode())
        self._write(ws, "dropped.parquet", "".join(dropped).encode())
        return {"requests": self._task.requests, "kept": len(kept), "dropped": len(dropped), "pending": pending}

    # ------------------------------------------------------------------ files

    def _write(self, ws: Workspace, name: str, content: bytes) -> None:
        with ws.replacing(name) as part, self._disk.open(part, "wb") as out:
            half = len(content) // 2
            out.write(content[:half])
            out.flush()
            out.write(content[half:])

    def _read(self, ws: Workspace, name: str) -> bytes:
        with contextlib.closing(self._disk.open(ws.checked(name), "rb")) as file:
            return bytes(file.read())


def content_of(name: str, task: Task) -> bytes:
    """What a file must hold."""
    if name in REQUESTS:
        half = task.requests // 2
        numbers = range(half) if name == REQUESTS[0] else range(half, task.requests)
        return b"".join(json.dumps(request_of(n)).encode() + b"\n" for n in numbers)
    if name == "tasks.parquet":
        return b"".join(b"item-%d\n" % n for n in range(task.requests))
    return f"{name} of {task.requests}\n".encode() * 20
