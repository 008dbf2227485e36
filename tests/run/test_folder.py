"""The run folder: complete files only, stages that are finished or not, one process at a time."""

import json
import subprocess
import sys
import textwrap

import pytest

from linksyn_gpu.config import RunConfig
from linksyn_gpu.config.loader import from_mapping
from linksyn_gpu.errors import ConfigError, DataError
from linksyn_gpu.run.folder import Workspace

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
        from linksyn_gpu.run.folder import Workspace
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


@pytest.mark.parametrize(("text", "error"), [("{", DataError), ("[]", DataError), ('{"format": 99}', ConfigError)])
def test_an_invalid_manifest_is_an_error_not_a_new_run(tmp_path, text, error):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(error):
        Workspace(tmp_path).__enter__()


def test_the_manifest_lists_versions_and_files(tmp_path):
    with Workspace(tmp_path) as ws:
        ingest(ws)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    entry = manifest["stages"]["ingest"]
    assert entry["files"] == {"seeds.parquet": 4, "rejects.jsonl": 4}
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
