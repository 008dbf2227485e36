"""Full segments of a journal are compressed and indexed; damage to them costs the damaged lines and nothing else."""

import random
import shutil

import pyarrow as pa
import pytest

from linksyn_gpu.disk import RealDisk
from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm import journal as journals
from linksyn_gpu.llm import segments
from linksyn_gpu.llm.journal import Journal
from tests.llm.test_journal import done, failed, ids

NAMES = [f"request-{number}" for number in range(300)]
SIZE = 9_000


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(segments, "BLOCK_BYTES", 2_000)


@pytest.fixture
def full(tmp_path, small_blocks):
    """A journal of several full segments and the one that is written."""
    folder = tmp_path / "journal"
    with Journal(folder, segment_bytes=SIZE) as journal:
        for number, name in enumerate(NAMES):
            journal.append(done(name, f"{number} " * 20))
    return folder


def names_of(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "lock")


def texts(folder):
    with Journal(folder, writable=False) as journal:
        index = journal.index()
        found = {name: journal.get(name, index) for name in NAMES}
    return {name: None if record is None else record["text"] for name, record in found.items()}


def rebuilt(folder):
    """Names whose answers are known after a call that reads the damaged lines and one that follows."""
    for _ in range(2):
        with Journal(folder) as journal:
            index = journal.index()
            found = [name for name in NAMES if journal.get(name, index) is not None]
    return found


def test_full_segments_are_compressed_and_read_as_before(full):
    *compressed, last = (name for name in names_of(full) if ".jsonl" in name)
    assert len(compressed) > 3
    assert all(name.endswith(".jsonl.zst") for name in compressed)
    assert last.endswith(".jsonl")
    assert [name for name in names_of(full) if name.endswith(".index")] == [name[:13] + ".index" for name in compressed]
    with Journal(full, writable=False) as journal:
        assert ids(journal) == NAMES
        index = journal.index()
        for name in random.Random(1).sample(NAMES, len(NAMES)):
            assert journal.get(name, index)["id"] == name
        assert (len(index), index.damaged) == (300, 0)


def test_the_lines_can_be_read_without_this_project(full):
    with pa.input_stream(str(full / "answers-00001.jsonl.zst"), compression="zstd") as stream:
        lines = stream.read().splitlines()
    with Journal(full, writable=False) as journal:
        of_segment = [record["id"] for place, record in journal.lines() if place >> journals.OFFSET_BITS == 1]
    assert [name for name in of_segment if f'"{name}"'.encode() not in b"".join(lines)] == []
    assert len(lines) == len(of_segment)


def test_a_second_call_reads_no_line_of_a_full_segment(full, monkeypatch):
    read = []
    scan = Journal._scan
    monkeypatch.setattr(Journal, "_scan", lambda self, number: read.append(number) or scan(self, number))
    with Journal(full) as journal:
        assert len(journal.index()) == 300
        last = journal._number
    assert read == [last]


@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "flipped", "of another segment", "of other ranks"])
def test_an_index_that_cannot_be_used_is_made_again(full, harm, monkeypatch):
    path = full / "answers-00001.index"
    before = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm == "of another segment":
        shutil.copy(full / "answers-00002.index", path)
    elif harm == "of other ranks":
        monkeypatch.setattr(journals, "RANKING", 1)
    else:
        middle = len(before) // 2
        flipped = before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :]
        path.write_bytes({"empty": b"", "cut": before[:-40], "flipped": flipped}[harm])
    assert len([text for text in texts(full).values() if text]) == 300
    with Journal(full) as journal:
        assert ids(journal) == NAMES
    assert path.read_bytes() == before or harm == "of other ranks"


def append_all(folder, disk, appended):
    """Append until the disk refuses: the last record was written before the segment before it was compressed."""
    with Journal(folder, segment_bytes=SIZE, disk=disk) as journal:
        for name in NAMES:
            appended.append(name)
            journal.append(done(name))


@pytest.mark.parametrize(("step", "count"), [("replace", 2), ("unlink", 3)])
def test_a_kill_while_a_segment_is_compressed_loses_nothing(tmp_path, small_blocks, step, count):
    class Kill(BaseException):
        pass

    class Disk(RealDisk):
        left = 0

        def replace(self, path, target):
            self._count("replace", target)
            super().replace(path, target)

        def unlink(self, path):
            self._count("unlink", path)
            super().unlink(path)

        def _count(self, name, path):
            if name == step and "00001" in path.name:
                self.left -= 1
                if self.left < 0:
                    raise Kill

    for left in range(count):
        folder, disk = tmp_path / f"{left}", Disk()
        disk.left = left
        appended = []
        with pytest.raises(Kill):
            append_all(folder, disk, appended)
        disk.left = 10**9
        with Journal(folder, segment_bytes=SIZE) as journal:
            assert ids(journal) == appended
            assert [record["id"] for _, record in journal.lines()] == appended
        assert not list(folder.glob("*.part"))
        assert len(list(folder.glob("answers-*.jsonl"))) == 1


def test_no_space_to_compress_is_a_clear_error_and_loses_nothing(tmp_path, small_blocks):
    class Disk(RealDisk):
        def open(self, path, mode):
            if mode == "wb":
                raise OSError(28, "No space left on device")
            return super().open(path, mode)

    appended = []
    with pytest.raises(EngineError, match="No space"):
        append_all(tmp_path, Disk(), appended)
    with Journal(tmp_path, segment_bytes=SIZE) as journal:
        assert ids(journal) == appended


def test_any_flipped_byte_of_a_full_segment_costs_few_answers_and_never_gives_another(full, tmp_path):
    rng, wanted = random.Random(2), texts(full)
    size = (full / "answers-00001.jsonl.zst").stat().st_size
    places = [*range(30), *rng.sample(range(30, size), 40)]
    for place in places:
        folder = tmp_path / f"flip-{place}"
        shutil.copytree(full, folder)
        path = folder / "answers-00001.jsonl.zst"
        content = bytearray(path.read_bytes())
        content[place] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        found = texts(folder)
        assert all(text in (wanted[name], None) for name, text in found.items())
        kept = rebuilt(folder)
        assert len(kept) >= 300 - 2 * 2_000 // 150
        assert {name for name, text in found.items() if text} <= set(kept)
        with Journal(folder) as journal:
            assert (journal.index().damaged > 0) == (len(kept) < 300)


def test_a_cut_segment_keeps_the_answers_before_the_cut(full):
    path = full / "answers-00001.jsonl.zst"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    kept = rebuilt(full)
    assert 240 < len(kept) < 300
    with Journal(full) as journal:
        assert journal.index().damaged >= 1


def test_a_request_whose_record_is_damaged_is_asked_again_and_answered(full):
    path = full / "answers-00001.jsonl.zst"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    lost = set(NAMES) - set(rebuilt(full))
    assert lost
    with Journal(full) as journal:
        index = journal.index()
        asked = [request["custom_id"] for request in index.unsettled({"custom_id": name} for name in NAMES)]
        assert set(asked) == lost
        assert len(index) == 300 - len(lost)
        for name in asked:
            journal.append(done(name, "again"))
        assert len(index) == 300
    assert rebuilt(full) == NAMES


def test_damage_found_while_reading_counts_once_and_the_request_is_unsettled(full):
    path = full / "answers-00001.jsonl.zst"
    path.write_bytes(bytes(path.stat().st_size))
    with Journal(full) as journal:
        index = journal.index()
        assert len(index) == 300
        lost = [name for name in NAMES for _ in range(2) if journal.get(name, index) is None]
        assert len(index) == 300 - len(lost) // 2
        assert index.damaged == len(lost) // 2 > 20
        assert not any(index.settled(name) for name in lost)
        journal.append(done(lost[0], "again"))
        assert journal.get(lost[0], index)["text"] == "again"


def test_segments_of_an_older_version_are_compressed_when_the_run_goes_on(full, tmp_path):
    older = tmp_path / "older"
    older.mkdir()
    with Journal(full, writable=False) as journal:
        for number in journal._segments():
            with journal._open(number) as segment:
                (older / f"answers-{number:05d}.jsonl").write_bytes(b"".join(line for _, line in segment.lines()))
    before = texts(older)
    assert before == texts(full)
    Journal(older).close()
    assert texts(older) == before
    assert names_of(older) == names_of(full)


def test_purged_records_are_in_no_file(full):
    gone = {NAMES[40], NAMES[41], NAMES[290]}
    with Journal(full) as journal:
        journal.append(failed(NAMES[40], "timeout"))
        assert journal.purge(gone) == 4
        assert journal.purge(gone) == 0
        journal.append(done("later"))
        assert ids(journal) == [*(name for name in NAMES if name not in gone), "later"]
    content = b""
    for path in full.glob("answers-*"):
        if path.suffix == ".zst":
            with pa.input_stream(str(path), compression="zstd") as stream:
                content += stream.read()
        else:
            content += path.read_bytes()
    assert not any(f'"{name}"'.encode() in content for name in gone)
    assert f'"{NAMES[42]}"'.encode() in content
