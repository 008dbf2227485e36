"""The journal: what was appended survives any death of the process, each id once."""

import errno
import os
import random
import signal
import subprocess
import sys
import textwrap
from unittest import mock

import numpy as np
import pytest

from linksyn_gpu.disk import RealDisk
from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm import journal as journals
from linksyn_gpu.llm.journal import Journal, find_key, request_key, request_keys
from linksyn_gpu.llm.protocol import Completion, Failure, from_record, to_record


def done(name, text="text"):
    return to_record(Completion(name, text, "", "stop", 1, 2, "m", 1, 7))


def failed(name, reason):
    return to_record(Failure(name, reason, "why"))


def ids(journal):
    return [record["id"] for record in journal.read()]


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
        assert ids(journal) == ["a", "b"]


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
            assert segment(folder).stat().st_size == [0, *ends][whole]
            assert ids(journal) == names[:whole]
            journal.append(done("later"))
            assert ids(journal) == [*names[:whole], "later"]


def test_a_record_behind_zeros_of_a_lost_write_is_read(tmp_path):
    """A sync that failed and a power cut leave zeros where a record was; the next one was synced."""
    with Journal(tmp_path) as journal:
        for name in "abc":
            journal.append(done(name))
    first, second, third = segment(tmp_path).read_bytes().splitlines(keepends=True)
    segment(tmp_path).write_bytes(first + bytes(len(second)) + third)
    with Journal(tmp_path) as journal:
        assert ids(journal) == ["a", "c"]
        assert journal.outcome("c") == from_record(done("c"))


def test_a_damaged_line_is_counted_and_skipped(tmp_path):
    with Journal(tmp_path) as journal:
        for name in "abc":
            journal.append(done(name))
    content = bytearray(segment(tmp_path).read_bytes())
    content[content.index(b"\n") + 20] ^= 1
    segment(tmp_path).write_bytes(content)
    with Journal(tmp_path) as journal:
        assert journal.index().damaged == 1
        assert ids(journal) == ["a", "c"]


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
        assert index.ranks_of(np.array([request_key(name) for name in "edcba"], "S16")).tolist() == [3, 2, 1, 0, 0]
        assert [record["id"] for record in journal.read()] == ["b", "c", "a", "d"]


@pytest.mark.parametrize("number", [2**31, 2**70, -1, 1.5e300, None, "many"])
def test_an_impossible_number_of_tokens_in_a_record_blocks_nothing(tmp_path, number):
    with Journal(tmp_path) as journal:
        journal.append({**done("a"), "prompt_tokens": number, "spent_tokens": number})
        assert journal.outcome("a").prompt_tokens == journal.outcome("a").spent_tokens == 0
        assert journal.index().tokens == Journal(tmp_path, writable=False).index().tokens == 0


def test_segments_are_read_as_one(tmp_path):
    names = [str(i) for i in range(50)]
    with Journal(tmp_path, segment_bytes=500) as journal:
        for name in names[:25]:
            journal.append(done(name))
    with Journal(tmp_path, segment_bytes=500) as journal:
        for name in names[25:]:
            journal.append(done(name))
        index = journal.index()
        assert ids(journal) == names
        assert [journal.get(name, index)["id"] for name in names] == names
    assert len(list(tmp_path.glob("answers-*"))) > 5


def test_two_processes_cannot_write_one_journal(tmp_path):
    with Journal(tmp_path) as journal:
        with pytest.raises(EngineError, match="another process"):
            Journal(tmp_path)
        journal.append(done("a"))
        assert ids(Journal(tmp_path, writable=False)) == ["a"]
    Journal(tmp_path).close()


class FullDisk(RealDisk):
    """Takes half of a long write and nothing of a short one, while it is full."""

    full = False

    def open(self, path, mode):
        file = super().open(path, mode)
        if mode == "ab":
            write = file.write
            file = mock.Mock(wraps=file, write=lambda data: self.write(write, data))
        return file

    def write(self, write, data):
        if not self.full:
            return write(data)
        if len(data) > 100:
            return write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_a_clear_error_and_leaves_no_part_of_a_record(tmp_path):
    disk = FullDisk()
    with Journal(tmp_path, disk=disk) as journal:
        journal.append(done("a"))
        before = segment(tmp_path).read_bytes()
        for text in ("x" * 200, ""):
            disk.full = True
            with pytest.raises(EngineError, match="No space left"):
                journal.append({"id": "b", "text": text})
            disk.full = False
            assert segment(tmp_path).read_bytes() == before
        journal.append(done("c"))
        assert ids(journal) == ["a", "c"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")  # noqa: PTH110
def test_a_really_full_device_is_a_clear_error(tmp_path):
    segment(tmp_path).symlink_to("/dev/full")
    with Journal(tmp_path) as journal, pytest.raises(EngineError, match="Free some disk space"):
        journal.append(done("a"))


def test_ids_are_kept_as_sixteen_bytes_and_found_again():
    assert len(request_key("x" * 1000)) == 16
    names = [str(i) for i in range(3000)]  # some of their digests end in zero bytes
    assert any(request_key(name)[-1] == 0 for name in names)
    keys = request_keys(names * 2)
    assert keys.nbytes == 16 * 3000
    assert sorted(find_key(keys, request_key(name)) for name in names) == list(range(3000))
    assert find_key(keys, request_key("stranger")) == -1
    assert find_key(request_keys([]), request_key("a")) == -1


@pytest.fixture(params=[1, 3, 2**16], ids=["merged at once", "merged at times", "never merged"])
def merge_at(monkeypatch, request):
    monkeypatch.setattr(journals, "MERGE_AT", request.param)


@pytest.mark.usefixtures("merge_at")
def test_an_index_follows_what_is_appended(tmp_path):
    rng = random.Random(3)
    with Journal(tmp_path) as journal:
        journal.append(done("before", "old"))
    with Journal(tmp_path, segment_bytes=500) as journal:
        index = journal.index()
        for _ in range(60):
            name = rng.choice("abcdefghij")
            journal.append(
                rng.choice([done(name, rng.random().hex()), failed(name, "timeout"), failed(name, "cut_off")])
            )
            with Journal(tmp_path, writable=False) as fresh:
                again = fresh.index()
                assert len(index) == len(again)
                assert index.tokens == again.tokens
                for name in ("before", *"abcdefghij", "never"):
                    assert index.find(name) == again.find(name)
                    assert journal.get(name, index) == fresh.get(name, again)
        keys = request_keys([*"abcdefghij", "never"])
        assert index.ranks_of(keys).tolist() == again.ranks_of(keys).tolist()
        assert journal.outcome("never") is None
        assert journal.outcome("before").text == "old"


@pytest.mark.usefixtures("merge_at")
def test_requests_without_a_final_outcome_are_unsettled_once_each(tmp_path):
    with Journal(tmp_path) as journal:
        index = journal.index()
        for record in (done("a"), failed("b", "bad_request"), failed("c", "timeout")):
            journal.append(record)
        requests = [{"custom_id": name} for name in "abcdd"]
        assert [request["custom_id"] for request in index.unsettled(requests)] == ["c", "d"]


WRITER = textwrap.dedent(
    """
    import sys
    from linksyn_gpu.llm.journal import Journal
    from linksyn_gpu.llm.protocol import Completion, to_record

    with Journal(sys.argv[1], segment_bytes=200_000) as journal:
        held = journal.index()
        for i in range(int(sys.argv[2])):
            if not held.settled(str(i)):
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
        process.stdout.close()
        if process.wait() == 0:
            break
        kills += process.returncode == -signal.SIGKILL
    with Journal(tmp_path) as journal:
        held = [record["id"] for _, record in journal.lines()]
    assert kills >= 3
    assert len(held) == len(set(held)) == total  # nothing twice, nothing missing
    assert set(acknowledged) <= set(held)
