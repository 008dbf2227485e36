"""The simulation finds bugs: each of these is planted, and a seed shows it.

A change of the journal, the run folder or the dispatcher could bring them in; the simulation found some of them when
they were there.
"""

import contextlib
import re

import pytest

from linksyn_gpu.llm import dispatch
from linksyn_gpu.llm import journal as journals
from linksyn_gpu.llm.budget import Budget
from linksyn_gpu.llm.client import Client
from linksyn_gpu.llm.journal import Index, Journal
from linksyn_gpu.pipeline.folder import Workspace
from tests.simulation.disk import SimDisk
from tests.simulation.run import Finding, simulate

SEEDS = 3000
"""Runs within which a bug must be found. Most are found within 100."""


def no_sync_of_answers(patch):
    """The journal is never synced."""
    real = SimDisk.fsync
    patch.setattr(SimDisk, "fsync", lambda disk, file: "answers-" in file.path.name or real(disk, file))


def no_sync_of_files(patch):
    """A file of a stage gets its name before its content is on the disk."""
    real = SimDisk.fsync
    patch.setattr(SimDisk, "fsync", lambda disk, file: file.path.name.endswith("part") or real(disk, file))


def no_sync_of_names(patch):
    """A rename is not synced."""
    patch.setattr(SimDisk, "fsync_folder", lambda disk, path: None)


def no_sync_of_a_killed_process_answers(patch):
    """Answers that a killed process wrote count, although no sync covers them."""
    real, opening = Journal._open_last, []

    def open_last(journal):
        opening.append(journal)
        try:
            real(journal)
        finally:
            opening.clear()

    sync = SimDisk.fsync
    patch.setattr(Journal, "_open_last", open_last)
    patch.setattr(SimDisk, "fsync", lambda disk, file: bool(opening) or sync(disk, file))


def rename_before_the_write(patch):
    """A file has its final name while it is written."""

    @contextlib.contextmanager
    def replacing(ws, name):
        target, disk = ws.path(name), ws.disk
        if disk.status(target.parent) is None:
            disk.make_folder(target.parent)
        yield target
        with disk.open(target, "rb+") as written:
            disk.fsync(written)
        disk.fsync_folder(target.parent)
        ws._record_checksum(name, target, "checksums")

    patch.setattr(Workspace, "replacing", replacing)


def double_send(patch):
    """Each request is sent twice at the same time."""

    real = Client._send

    async def send(client, request_id, body, attempt):
        tasks = [dispatch.asyncio.ensure_future(real(client, request_id, body, attempt)) for _ in range(2)]
        try:
            return (await dispatch.asyncio.gather(*tasks))[0]
        finally:
            for task in tasks:
                task.cancel()

    patch.setattr(Client, "_send", send)


def answers_are_not_looked_up(patch):
    """A resumed run sends what is answered already."""
    patch.setattr(Index, "settled", lambda index, request_id: False)


def acknowledged_before_it_is_written(patch):
    """Records wait in memory until the next sync."""
    waiting = []

    def append(journal, record):
        waiting.append((journal, record))
        if journal._index is not None:
            journal._index.add(record, 0)

    real, sync = Journal.append, Journal.sync

    def write(journal):
        mine = [record for owner, record in waiting if owner is journal]
        waiting.clear()
        for record in mine:
            real(journal, record)
        sync(journal)

    patch.setattr(Journal, "append", append)
    patch.setattr(Journal, "sync", write)


def unfinished_line_stays(patch):
    """A line that a killed process left unfinished is not cut off."""
    patch.setattr(journals, "_whole_lines", lambda file, size: size)


def no_checksum_of_lines(patch):
    """A line counts if it can be read as JSON, whatever its checksum."""
    patch.setattr(journals, "_read_line", lambda line: journals.orjson.loads(line[9:-1]))


def part_of_a_record_stays(patch):
    """After a failed write the journal goes on behind what was written of it."""
    real = SimDisk.write

    def write(disk, path, node, offset, data):
        done = real(disk, path, node, offset, data)
        return len(data) if "answers-" in path.name and path.name.endswith(".jsonl") else done

    patch.setattr(SimDisk, "write", write)


def segment_is_deleted_before_it_is_compressed(patch):
    """A full segment goes before its compressed file has its name."""
    real = Journal._replacing

    @contextlib.contextmanager
    def replacing(journal, target):
        with real(journal, target) as out:
            yield out
            if target.suffix == ".zst":
                journal._disk.unlink(target.with_suffix(""))

    patch.setattr(Journal, "_replacing", replacing)


def index_of_another_segment(patch):
    """The index file of a segment is read without a look at which segment it is of."""
    real = Index.to_bytes
    patch.setattr(Index, "to_bytes", lambda index, size: real(Index(), size))


def spending_of_before_is_forgotten(patch):
    """Each call has the whole budget again."""
    real = Budget.__init__

    def init(budget, max_requests=None, max_tokens=None, **spent):
        real(budget, max_requests, max_tokens)

    patch.setattr(Budget, "__init__", init)


def files_are_not_checked(patch):
    """A file that exists passes its check."""
    patch.setattr(Workspace, "_matches", lambda ws, name: ws.is_file(name))


def no_lock(patch):
    """Two processes work in a folder at the same time."""
    patch.setattr(Workspace, "_take_lock", lambda ws: None)


def failed_answers_are_final(patch):
    """A failure that passes is never asked again."""
    patch.setattr(journals, "TRANSIENT", frozenset())


# With the seed of a run that shows it, and how. A change of the program changes what seeds mean: then it is searched.
BUGS = {
    no_sync_of_answers: (16, "record is lost"),
    no_sync_of_files: (4, "is lost|is damaged"),
    no_sync_of_names: (4, "is lost|is damaged"),
    no_sync_of_a_killed_process_answers: (85, "record is lost"),
    rename_before_the_write: (0, "is damaged"),
    files_are_not_checked: (100, "other content|not the file|JSONDecodeError"),
    double_send: (0, "second time before its first answer"),
    answers_are_not_looked_up: (0, "sent again"),
    acknowledged_before_it_is_written: (20, "record is lost"),
    unfinished_line_stays: (5, "record is lost"),
    no_checksum_of_lines: (28, "cannot be read"),
    part_of_a_record_stays: (20, "record is lost"),
    segment_is_deleted_before_it_is_compressed: (12, "record is lost"),
    index_of_another_segment: (0, "sent again"),
    spending_of_before_is_forgotten: (13, "requests were asked"),
    failed_answers_are_final: (0, "not complete"),
    no_lock: (8, "FileNotFoundError|same time"),
}


@pytest.mark.parametrize("plant", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found_with_a_seed_that_replays_it(plant, monkeypatch):
    plant(monkeypatch)
    known, shown = BUGS[plant]
    found = next(filter(None, (finding(seed, shown) for seed in (known, *range(SEEDS)))), None)
    assert found is not None, f"not found in {SEEDS} runs"
    again = finding(found.seed, shown)
    assert again is not None
    assert again.what == found.what
    assert f"--seed {found.seed} " in str(found)


def finding(seed, shown):
    """What the run of a seed shows, if it is about the bug."""
    try:
        simulate(seed)
    except Finding as found:
        return found if re.search(shown, found.what) else None
    return None
