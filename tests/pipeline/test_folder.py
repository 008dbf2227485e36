"""The run folder: complete files only, stages that are finished or not, one process at a time."""

import errno
import json
import os
import stat
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import pyarrow as pa
import pytest

from linksyn_gpu.cli.summary import cell_table, synthesis_line
from linksyn_gpu.config import RunConfig, WalkConfig
from linksyn_gpu.config.loader import from_mapping
from linksyn_gpu.errors import ConfigError, DataError
from linksyn_gpu.pipeline import stages, store
from linksyn_gpu.pipeline.folder import Workspace

SETTINGS = {"seeds": {"max_chars": 5}}


def ingest(ws, settings=SETTINGS, text="rows", **options):
    if ws.begin("ingest", settings, **options):
        for name in ("seeds.parquet", "rejects.jsonl"):
            with ws.replacing(name) as part:
                part.write_text(text)
        ws.finish("ingest", {"seeds": 3})
        return True
    return False


def test_a_finished_stage_does_not_run_again(tmp_path):
    with Workspace(tmp_path / "run") as ws:
        assert ingest(ws)
    with Workspace(tmp_path / "run") as ws:
        assert not ingest(ws)
        assert ws.counts("ingest") == {"seeds": 3}
        assert ws.settings("ingest") == SETTINGS


def test_other_settings_are_refused_with_the_differences(tmp_path):
    with Workspace(tmp_path) as ws:
        ingest(ws)
        with pytest.raises(ConfigError, match=r"seeds\.max_chars was 5, is 6.*--force"):
            ws.begin("ingest", {"seeds": {"max_chars": 6}})


def test_settings_of_a_stage_that_wrote_nothing_may_change(tmp_path):
    """A wrong setting fails before anything is written; correcting it must not need --force."""
    with Workspace(tmp_path) as ws:
        assert ws.begin("ingest", {"seeds": {"max_chars": 7}})
    with Workspace(tmp_path) as ws:
        assert ingest(ws, {"seeds": {"max_chars": 8}})
        assert ws.settings("ingest") == {"seeds": {"max_chars": 8}}


@pytest.fixture
def older(tmp_path):
    """A folder of a version without `max_chars`, `keep_duplicates` and table `graph`, and with two other settings."""
    with Workspace(tmp_path) as ws:
        settings = {"seeds": {"columns": {"question": "stem"}, "strict": True}, "threads": 4}
        ingest(ws, settings)
        ws.begin("build", {})
        ws.finish("build", {})
    return tmp_path


NOW = {"columns": {"question": "stem"}, "max_chars": 32_000, "keep_duplicates": False}


def test_a_setting_that_an_older_version_did_not_have_takes_its_default(older):
    with Workspace(older) as ws:
        assert not ws.begin("ingest", {"seeds": NOW})
        assert not ws.begin("build", {"graph": {"kp_form": "folded", "top_k": None}})
        for changed in ({"max_chars": 5}, {"keep_duplicates": True}, {"columns": {}}):
            with pytest.raises(ConfigError, match=rf"\(seeds.{next(iter(changed))}[^;]*\)"):
                ws.begin("ingest", {"seeds": {**NOW, **changed}})
        ws.path("kps.parquet").write_text("of the folded names")
        with pytest.raises(ConfigError, match='kp_form was "folded", is "exact"'):
            ws.begin("build", {"graph": {"kp_form": "exact"}})


def test_a_setting_that_this_version_no_longer_has_is_not_compared_and_not_returned(older):
    with Workspace(older) as ws:
        assert ws.settings("ingest") == {"seeds": {"columns": {"question": "stem"}}}
        from_mapping(RunConfig, ws.settings("ingest"))
        assert ws.manifest["stages"]["ingest"]["settings"]["threads"] == 4, "the manifest keeps what it recorded"


def test_an_unfinished_stage_of_an_older_version_goes_on(older):
    with Workspace(older) as ws:
        del ws.manifest["stages"]["build"]["finished"]
        ws.path("kps.parquet").write_text("half of the work")
        assert ws.begin("build", {"graph": {"kp_form": "folded"}})
        assert ws.path("kps.parquet").read_text() == "half of the work"


def test_operational_settings_are_kept_but_never_differ(tmp_path):
    with Workspace(tmp_path) as ws:
        ws.begin("ingest", SETTINGS, operational={"synthesis": {"concurrency": 1}})
        assert ws.settings("ingest") == {**SETTINGS, "synthesis": {"concurrency": 1}}
        assert ws.begin("ingest", SETTINGS, operational={"synthesis": {"concurrency": 2}})
        assert ws.settings("ingest") == {**SETTINGS, "synthesis": {"concurrency": 2}}


def test_counts_of_an_unfinished_stage_can_be_read(tmp_path):
    with Workspace(tmp_path) as ws:
        assert ws.counts_so_far("ingest") is None
        ws.begin("ingest", SETTINGS)
        ws.note("ingest", {"seeds": 1})
    with Workspace(tmp_path, lock=False) as ws:
        assert ws.counts_so_far("ingest") == {"seeds": 1}
        assert not ws.finished("ingest")


def test_answers_are_renamed_never_deleted(tmp_path):
    with Workspace(tmp_path) as ws:
        for number in (1, 2):
            (tmp_path / "journal").mkdir()
            (tmp_path / "journal" / "answers-00000.jsonl").write_text(f"answer {number}")
            ws.discard("synthesize")
            assert not (tmp_path / "journal").exists()
            assert (tmp_path / f"journal.{number}" / "answers-00000.jsonl").read_text() == f"answer {number}"


def test_files_derived_from_a_graph_are_removed_with_it(tmp_path):
    with Workspace(tmp_path) as ws:
        for name in ("analytics.parquet", "report.html"):
            ws.path(name).write_text("of the old graph")
        ws.discard("build")
        assert not ws.path("analytics.parquet").exists()
        assert not ws.path("report.html").exists()


def test_force_starts_over_and_discards_later_stages(tmp_path):
    with Workspace(tmp_path) as ws:
        ingest(ws)
        assert ws.begin("build", {})
        with ws.replacing("graph/indptr.npy") as part:
            part.write_text("x")
        ws.finish("build", {})
        assert ingest(ws, {"seeds": {"max_chars": 6}}, force=True)
        assert ws.settings("build") is None
        assert not ws.path("graph").exists()


def test_a_stage_needs_the_one_before(tmp_path):
    with Workspace(tmp_path) as ws, pytest.raises(ConfigError, match="run 'linksyn-gpu ingest' first"):
        ws.begin("build", {})


def test_a_new_input_changes_every_later_digest(tmp_path):
    with Workspace(tmp_path) as ws:
        ingest(ws)
        ws.begin("build", {})
        ws.finish("build", {})
        ws.manifest["stages"]["ingest"]["digest"] = "of another input"
        ws.path("kps.parquet").write_text("of the old input")
        with pytest.raises(ConfigError, match="stage 'ingest' ran again"):
            ws.begin("build", {})


@pytest.mark.parametrize("harm", ["removed", "cut"])
def test_a_stage_with_a_missing_or_short_file_runs_again(tmp_path, harm):
    with Workspace(tmp_path) as ws:
        ingest(ws)
        path = ws.path("seeds.parquet")
        path.unlink() if harm == "removed" else path.write_text("row")
        assert ingest(ws)
        assert path.read_text() == "rows"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    with Workspace(tmp_path) as ws:
        ingest(ws)
        with pytest.raises(ZeroDivisionError), ws.replacing("seeds.parquet") as part:
            part.write_text(f"half {1 / 0}")
        assert ws.path("seeds.parquet").read_text() == "rows"
    assert not list(tmp_path.glob(".*.part"))


def test_an_incomplete_file_of_a_killed_process_is_not_used(tmp_path):
    script = textwrap.dedent(f"""
        import os, signal
        from linksyn_gpu.pipeline.folder import Workspace
        with Workspace({str(tmp_path)!r}) as ws:
            ws.begin("ingest", {SETTINGS!r})
            with ws.replacing("seeds.parquet") as part:
                part.write_text("half of the")
                os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert list(tmp_path.glob(".*.part"))
    with Workspace(tmp_path) as ws:
        assert not list(tmp_path.glob(".*.part"))
        assert not ws.path("seeds.parquet").exists()
        with pytest.raises(ConfigError, match="not finished"):
            ws.counts("ingest")
        assert ingest(ws)


def test_two_processes_do_not_share_a_folder(tmp_path):
    with Workspace(tmp_path), pytest.raises(ConfigError, match="another linksyn-gpu process"):
        Workspace(tmp_path).__enter__()
    with Workspace(tmp_path), Workspace(tmp_path, lock=False):
        pass


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not empty"):
        Workspace(tmp_path).__enter__()
    with pytest.raises(ConfigError, match="holds no run"):
        Workspace(tmp_path, create=False)
    with pytest.raises(ConfigError, match="is a file"):
        Workspace(tmp_path / "thesis.txt")


ENTRY = {"digest": "d", "settings": {}}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", DataError),
        ("[]", DataError),
        ("\ud800", DataError),
        ("[" * 100_000, DataError),
        ('{"format": 99}', ConfigError),
        ('{"format": 1}', DataError),
        *(
            (json.dumps({"format": 1, "stages": stages}), DataError)
            for stages in (
                [],
                {"ingest": []},
                {"ingest": {}},
                {"elsewhere": ENTRY},
                {"ingest": {**ENTRY, "digest": 1}},
                {"ingest": {**ENTRY, "settings": {"seeds": 3}}},
                {"ingest": {**ENTRY, "operational": {"synthesis": "x"}}},
                {"ingest": {**ENTRY, "counts": 3}},
                {"ingest": {**ENTRY, "finished": "today"}},
            )
        ),
    ],
)
def test_an_invalid_manifest_is_an_error_not_a_new_run(tmp_path, text, error):
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(error):
        Workspace(tmp_path).__enter__()


def up_to_answers(folder, answers=b"paid for"):
    """Run stages up to synthesize, with a file of answers."""
    with Workspace(folder) as ws:
        ingest(ws)
        for stage in ("build", "walk"):
            ws.begin(stage, {})
            ws.finish(stage, {})
        ws.begin("synthesize", {})
        ws.path("journal").mkdir()
        (ws.path("journal") / "answers-00000.jsonl").write_bytes(answers)
        ws.note("synthesize", {})


def test_answers_of_a_run_whose_manifest_was_damaged_are_used_again(tmp_path):
    up_to_answers(tmp_path)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text()[:-9])
    with pytest.raises(DataError, match=r"rename it to manifest.damaged and run the same 'run' or 'ingest' command"):
        Workspace(tmp_path).__enter__()
    manifest.rename(tmp_path / "manifest.damaged")
    with Workspace(tmp_path) as ws:
        assert ingest(ws)
        for stage in ("build", "walk", "synthesize"):
            assert ws.begin(stage, {})
            ws.finish(stage, {})
    assert (tmp_path / "journal" / "answers-00000.jsonl").read_bytes() == b"paid for"


def test_answers_are_set_aside_under_the_next_free_number(tmp_path):
    up_to_answers(tmp_path)
    (tmp_path / "journal.2").mkdir()
    (tmp_path / "journal.2" / "x").touch()
    for expected in ("journal.1", "journal.3"):
        with Workspace(tmp_path) as ws:
            ws.begin("synthesize", {}, force=True)
            assert (tmp_path / expected / "answers-00000.jsonl").read_bytes() == b"paid for"
            ws.path("journal").mkdir()
            (ws.path("journal") / "answers-00000.jsonl").write_bytes(b"paid for")


def test_a_stage_is_forgotten_after_its_files_are_gone(tmp_path, monkeypatch):
    up_to_answers(tmp_path)
    with Workspace(tmp_path) as ws, monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ws.begin("synthesize", {}, force=True)
    with Workspace(tmp_path) as ws:
        assert ws.settings("synthesize") == {}
        assert ws.begin("synthesize", {}, force=True)
        assert (tmp_path / "journal.1").is_dir()


def flip(path, place=0):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["seeds.parquet", "rejects.jsonl"])
def test_a_stage_with_a_changed_byte_in_a_file_runs_again(tmp_path, name):
    with Workspace(tmp_path) as ws:
        ingest(ws)
        assert not ingest(ws)
    flip(tmp_path / name)
    with Workspace(tmp_path) as ws:
        assert not ws.finished("ingest")
        with pytest.raises(ConfigError, match="'ingest' has missing or damaged files; run 'linksyn-gpu ingest' first"):
            ws.counts("ingest")
        assert ingest(ws)
        assert ws.path(name).read_text() == "rows"


def test_a_file_is_checked_when_it_is_opened_and_again_after_it_changed(tmp_path):
    with Workspace(tmp_path) as ws:
        ingest(ws)
        assert ws.checked("seeds.parquet").read_text() == "rows"
        flip(tmp_path / "seeds.parquet")
        with pytest.raises(DataError, match=r"seeds.parquet is damaged.*run 'linksyn-gpu ingest' again"):
            ws.checked("seeds.parquet")
        ws.path("seeds.parquet").unlink()
        with pytest.raises(DataError, match=r"seeds.parquet is missing"):
            ws.checked("seeds.parquet")


def test_a_file_written_again_before_a_crash_is_not_taken_for_damaged(tmp_path):
    with Workspace(tmp_path) as ws:
        ingest(ws)
    with Workspace(tmp_path) as ws, ws.replacing("seeds.parquet") as part:
        part.write_text("new")
    with Workspace(tmp_path) as ws:  # the manifest was not written after the file
        assert ws.checked("seeds.parquet").read_text() == "new"
        assert not ws.finished("ingest")


def test_a_folder_without_checksums_is_read_as_before(tmp_path):
    with Workspace(tmp_path) as ws:
        ingest(ws)
        del ws.manifest["stages"]["ingest"]["checksums"]
        ws._write_manifest()
    with Workspace(tmp_path) as ws:
        assert not ingest(ws)
        assert ws.checked("seeds.parquet").read_text() == "rows"


@pytest.fixture
def walked(tmp_path, monkeypatch):
    """A run with graph and paths, made without checksums, as older versions did."""
    monkeypatch.setattr(Workspace, "_record_checksum", lambda *_: None)
    seeds = tmp_path / "seeds.jsonl"
    rows = [{"question": f"Question {i}?", "answer": "yes", "kps": [f"k{i % 4}", f"k{(i + 1) % 4}"]} for i in range(8)]
    seeds.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = RunConfig(paths=3, backend="cpu", walk=WalkConfig(length=2, calibration_rounds=0))
    with Workspace(tmp_path / "run") as ws:
        stages.ingest(ws, [str(seeds)], config)
        stages.build(ws, config)
        stages.walk(ws, config)
        for entry in ws.manifest["stages"].values():
            del entry["checksums"]
        ws._write_manifest()
    return tmp_path / "run"


READERS = {
    "seeds.arrow": store.read_seed_table,
    "kps.parquet": store.read_graph,
    "graph/indices.npy": store.read_graph,
    "paths.parquet": lambda ws: list(store.read_batches(ws, "paths.parquet")),
    "plan.json": store.read_plan,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", [b"", b"x" * 300, b"{}"])
def test_a_damaged_file_without_a_checksum_is_an_error_that_names_it(walked, name, content):
    (walked / name).write_bytes(content)
    with Workspace(walked) as ws, pytest.raises(DataError, match=rf"{name} is damaged \(.*remove it and run"):
        READERS[name](ws)


def test_a_good_file_that_cannot_be_opened_is_not_called_damaged(walked, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(pa, "memory_map", refuse)
    with (
        Workspace(walked) as ws,
        pytest.raises(DataError, match=r"seeds.arrow cannot be opened: Too many open files"),
    ):
        store.read_seed_table(ws)


@pytest.mark.parametrize("name", [".lock", ".seeds.parquet.{pid}.part"])
def test_files_behind_symbolic_links_are_never_written(tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name.format(pid=os.getpid())).symlink_to(victim)
    if name == ".lock":
        with pytest.raises(ConfigError, match=r"\.lock is a symbolic link; remove it"):
            Workspace(tmp_path / "run").__enter__()
    else:
        with Workspace(tmp_path / "run") as ws:
            assert ingest(ws)
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EINVAL])
def test_a_file_system_without_locks_or_folder_sync_is_used_with_a_warning(tmp_path, monkeypatch, caplog, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    sync = os.fsync
    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr(os, "fsync", lambda fd: refuse() if stat.S_ISDIR(os.fstat(fd).st_mode) else sync(fd))
    with Workspace(tmp_path) as ws:
        assert ingest(ws)
    assert len(caplog.records) == 1
    assert "this file system has no locks" in caplog.text


def test_incomplete_files_of_a_process_that_still_runs_are_kept(tmp_path):
    (tmp_path / f".report.html.{os.getppid()}.part").touch()
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    for name in (f".report.html.{gone.stdout.strip()}.part", ".report.html.part", f".x.{10**30}.part"):
        (tmp_path / name).touch()
    with Workspace(tmp_path):
        assert [path.name for path in tmp_path.glob(".*.part")] == [f".report.html.{os.getppid()}.part"]


def test_the_manifest_lists_versions_and_files(tmp_path):
    with Workspace(tmp_path) as ws:
        ingest(ws)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    entry = manifest["stages"]["ingest"]
    assert entry["files"] == {"seeds.parquet": 4, "rejects.jsonl": 4}
    assert entry["checksums"] == dict.fromkeys(entry["files"], f"{zlib.crc32(b'rows'):08x}")
    assert {"linksyn-gpu", "python", "numpy"} <= set(entry["environment"])


def test_other_settings_are_refused_while_a_later_stage_that_works_ahead_holds_answers(tmp_path):
    with Workspace(tmp_path / "out") as ws:
        for stage in ("ingest", "build"):
            ws.begin(stage, {})
            ws.finish(stage, {})
        ws.begin("walk", {"paths": 1})
        ws.begin("synthesize", {}, ahead=True)
        journal = ws.path("journal")
        journal.mkdir()
        (journal / "answers-00000.jsonl").write_bytes(b"")
        assert ws.begin("walk", {"paths": 2}), "an empty journal holds no answers"
        ws.begin("synthesize", {}, ahead=True)
        journal.mkdir(exist_ok=True)
        (journal / "answers-00000.jsonl").write_bytes(b"paid for")
        with pytest.raises(ConfigError, match="paths was 2, is 3"):
            ws.begin("walk", {"paths": 3})
        assert (journal / "answers-00000.jsonl").read_bytes() == b"paid for"


def test_a_checksum_is_in_the_manifest_as_soon_as_the_file_is_written(tmp_path):
    with Workspace(tmp_path) as ws:
        ws.begin("ingest", {})
        with ws.replacing("seeds.parquet") as part:
            part.write_text("rows")
    flip(tmp_path / "seeds.parquet")
    with Workspace(tmp_path) as ws:
        assert not ws.intact("seeds.parquet")


def test_a_reader_without_the_lock_accepts_a_file_that_the_writer_replaced(tmp_path):
    with Workspace(tmp_path / "run") as ws:
        ingest(ws)
        with Workspace(tmp_path / "run", lock=False) as reader:
            assert reader.intact("seeds.parquet")
            with ws.replacing("seeds.parquet") as part:
                part.write_text("other rows")
            assert reader.intact("seeds.parquet")
            ws.path("seeds.parquet").write_text("damaged")
            assert not reader.intact("seeds.parquet")


def test_a_plan_of_an_older_version_is_read_and_shown(tmp_path):
    with Workspace(tmp_path) as ws:
        cell = {"discipline": None, "difficulty": None, "asked": 3000, "delivered": 2831}
        ws.path("plan.json").write_text(json.dumps({"cells": [cell]}))
        cells = store.read_plan(ws)
    assert cells[0]["dropped_by_reason"] == {}
    assert cell_table(cells).split()[-4:] == ["level", "3,000", "2,831", "169"]


def test_the_counts_of_an_older_version_are_separated_by_their_reasons(tmp_path):
    older = {
        **{"generated": 14, "kept": 5, "dropped": 9, "paths_dropped": 2, "pending": 1},
        **{"requests_answered": 6, "requests_failed": 3, "explanations_left_out": 0, "pending_reasons": {"timeout": 1}},
        **dict.fromkeys(("prompt_tokens", "completion_tokens", "prompt_tokens_estimated"), 40),
        **dict.fromkeys(("pending_prompt_tokens", "pending_completion_tokens"), 7),
        "reasons": {
            "path": {"few_seeds": 1, "prompt_too_long": 1},
            "request": {"bad_request": 1},
            "answer": {"cut_off": 2},
            "qa": {"repeats_seed": 2, "item_missing": 3, "item_surplus": 1},
        },
        "kept_by_cell": {"0": 5},
    }
    with Workspace(tmp_path) as ws:
        ws.manifest["stages"]["synthesize"] = {"digest": "", "settings": {}, "counts": older}
        counts = ws.counts_so_far("synthesize")
    assert (counts["requests"], counts["answered"], counts["failed"], counts["pending"]) == (7, 3, 3, 1)
    assert (counts["written"], counts["kept"], counts["dropped"]) == (7, 5, 2)
    assert (counts["items_missing"], counts["answers_with_surplus"]) == (3, 1)
    lines = synthesis_line(counts).splitlines()
    assert lines[0] == "requests   8 paths = 7 requests + 1 (prompt_too_long 1) dropped"
    assert lines[1].endswith("3 (cut_off 2, bad_request 1) without a usable answer + 1 (timeout 1) pending")
