"""The journal: what was appended is there after any death of the process, each id once."""

import errno
import os
import random
import signal
import subprocess
import sys
import textwrap

import pytest

from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm.journal import Journal, key_of
from linksyn_gpu.llm.protocol import Completion, Failure, from_record, to_record


def done(name, text="text"):
    return to_record(Completion(name, text, "", "stop", 1, 2, "m", 1, 7))


def failed(name, reason):
    return to_record(Failure(name, reason, "why"))


def segment(folder, number=0):
    return folder / f"answers-{number:05d}.jsonl"


def test_records_come_back_as_they_were(tmp_path):
    outcomes = [
        Completion("a", 'line\nbreak "quoted" 四 \u2028', "thought", "stop", 1, 2, "m", 3, None),
        Failure("b", "cut_off", "why", 2, "{", 3, 4, "m"),
    ]
    with Journal(tmp_path) as journal:
        for outcome in outcomes:
            journal.append(to_record(outcome))
        assert [from_record(record) for record in journal.read()] == outcomes
        assert list(journal.answered_ids()) == ["a", "b"]


def test_cut_at_any_byte_it_keeps_every_whole_record_and_goes_on(tmp_path):
    names = ["first", "second", "third"]
    with Journal(tmp_path / "whole") as journal:
        for name in names:
            journal.append({"id": name, "text": "é"})
    content = segment(tmp_path / "whole").read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
    for cut in range(len(content) + 1):
        folder = tmp_path / str(cut)
        folder.mkdir()
        segment(folder).write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends)
        with Journal(folder) as journal:
            assert journal.torn_bytes == cut - ([0, *ends][whole])
            assert list(journal.answered_ids()) == names[:whole]
            journal.append(done("later"))
            assert list(journal.answered_ids()) == [*names[:whole], "later"]


def test_a_damaged_line_is_counted_and_passed_over(tmp_path):
    with Journal(tmp_path) as journal:
        for name in "abc":
            journal.append(done(name))
    content = bytearray(segment(tmp_path).read_bytes())
    content[content.index(b"\n") + 20] ^= 1
    segment(tmp_path).write_bytes(content)
    with Journal(tmp_path) as journal:
        assert journal.index().damaged == 1
        assert list(journal.answered_ids()) == ["a", "c"]


def test_the_first_completion_wins_and_beats_any_failure(tmp_path):
    with Journal(tmp_path) as journal:
        for record in (
            failed("a", "timeout"),
            done("b", "first"),
            failed("b", "cut_off"),
            done("b", "second"),
            failed("c", "timeout"),
            failed("c", "cut_off"),
            done("a", "at last"),
            failed("d", "server_error"),
        ):
            journal.append(record)
        index = journal.index()
        assert len(index) == 4
        assert journal.get("a", index)["text"] == "at last"
        assert journal.get("b", index)["text"] == "first"
        assert journal.get("c", index)["reason"] == "cut_off"
        assert journal.get("e", index) is None
        assert "e" not in index
        assert [index.settled(name) for name in "abcde"] == [True, True, True, False, False]
        assert [record["id"] for record in journal.read()] == ["b", "c", "a", "d"]


def test_segments_are_read_as_one(tmp_path):
    names = [str(i) for i in range(50)]
    with Journal(tmp_path, segment_bytes=500) as journal:
        for name in names[:25]:
            journal.append(done(name))
    with Journal(tmp_path, segment_bytes=500) as journal:
        for name in names[25:]:
            journal.append(done(name))
        index = journal.index()
        assert list(journal.answered_ids()) == names
        assert [journal.get(name, index)["id"] for name in names] == names
    assert len(list(tmp_path.glob("answers-*"))) > 5


def test_two_processes_cannot_write_one_journal(tmp_path):
    with Journal(tmp_path) as journal:
        with pytest.raises(EngineError, match="another process"):
            Journal(tmp_path)
        journal.append(done("a"))
        assert list(Journal(tmp_path, writable=False).answered_ids()) == ["a"]
    Journal(tmp_path).close()


def test_a_full_disk_is_a_clear_error_and_leaves_no_part_of_a_record(tmp_path, monkeypatch):
    write = os.write

    def full(fd, data):
        if len(data) > 100:  # half goes in, then the disk is full
            return write(fd, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with Journal(tmp_path) as journal:
        journal.append(done("a"))
        before = segment(tmp_path).read_bytes()
        for text in ("x" * 200, ""):
            with monkeypatch.context() as patch:
                patch.setattr(os, "write", full)
                with pytest.raises(EngineError, match="No space left"):
                    journal.append({"id": "b", "text": text})
            assert segment(tmp_path).read_bytes() == before
        journal.append(done("c"))
        assert list(journal.answered_ids()) == ["a", "c"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")  # noqa: PTH110
def test_a_really_full_device_is_a_clear_error(tmp_path):
    segment(tmp_path).symlink_to("/dev/full")
    with Journal(tmp_path) as journal, pytest.raises(EngineError, match="make room"):
        journal.append(done("a"))


def test_ids_are_kept_as_sixteen_bytes():
    assert len(key_of("x" * 1000)) == 16
    assert key_of("a") != key_of("b")


WRITER = textwrap.dedent(
    """
    import sys
    from linksyn_gpu.llm.journal import Journal
    from linksyn_gpu.llm.protocol import Completion, to_record

    with Journal(sys.argv[1], segment_bytes=200_000) as journal:
        held = set(journal.answered_ids())
        for i in range(int(sys.argv[2])):
            if str(i) not in held:
                journal.append(to_record(Completion(str(i), "t" * (i % 3000), "", "stop", 1, 1, "m")))
                print(i, flush=True)
    """
)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this system")
def test_kill_nine_at_random_moments_loses_nothing_and_repeats_nothing(tmp_path):
    total, rng, acknowledged = 3000, random.Random(5), []
    kills = 0
    while True:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(total)], stdout=subprocess.PIPE, text=True
        )
        wait_for = rng.randint(1, 700)
        for line in process.stdout:
            acknowledged.append(line.strip())
            wait_for -= 1
            if wait_for == 0:
                process.kill()
                kills += 1
        process.stdout.close()
        if process.wait() == 0:
            break
    with Journal(tmp_path) as journal:
        ids = [record["id"] for _, record in journal._scan()]
    assert kills >= 3
    assert len(ids) == len(set(ids)) == total  # nothing twice, nothing missing
    assert set(acknowledged) <= set(ids)
