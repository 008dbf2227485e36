"""What SECURITY.md promises: private folders, a key that is shown nowhere, templates without access to Python."""

import gzip
import os
import stat
import zlib
from pathlib import Path

import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from linksyn_gpu.cli import main
from linksyn_gpu.streams import open_to_read
from linksyn_gpu.synthesis import prompts
from tests.cli.test_server import QUICK, SEEDS, invoke, reply
from tests.llm.fake_server import FakeServer, ok

SECRET = "sk-0123456789-very-secret"


@pytest.fixture
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def run(out, server, *flags, code=0):
    return invoke("run", SEEDS, "--out", out, *QUICK, "--engine", "openai", "--base-url", server.url, *flags, code=code)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.usefixtures("usual_umask")
@pytest.mark.parametrize("made_before", [False, True])
def test_files_of_a_run_can_be_read_by_their_owner_alone(tmp_path, made_before):
    out, dataset = tmp_path / "out", tmp_path / "dataset"
    if made_before:
        out.mkdir()
    with FakeServer(reply) as server:
        run(out, server)
    invoke("curate", out)
    invoke("report", out)
    invoke("export", out, "--to", dataset, "--teacher-terms", "none")
    assert mode(out) == (0o755 if made_before else 0o700)
    inside = list(out.rglob("*"))
    assert len(inside) > 20
    assert {path.relative_to(out).as_posix(): oct(mode(path)) for path in inside if path.is_file()} == {
        path.relative_to(out).as_posix(): oct(0o600) for path in inside if path.is_file()
    }
    assert {mode(path) for path in inside if path.is_dir()} == {0o700}
    published = [path for path in dataset.rglob("*") if path.is_file()]
    assert {mode(path) for path in published} == {0o644}, "a data set is made to be passed on"


def content_of(path):
    """All bytes of a file, with what is compressed in it."""
    if path.suffix == ".parquet":
        return repr(pq.read_table(path).to_pylist()).encode()
    if path.suffix == ".arrow":
        with pyarrow.ipc.open_file(str(path)) as reader:
            return repr(reader.read_all().to_pylist()).encode()
    with open_to_read(path) as stream:
        return stream.read()


def telling(body, n):
    """A server that repeats the key in its answers and its errors."""
    first = zlib.crc32(body["messages"][-1]["content"].encode()) % 3
    if first == 0:
        return {"status": 400, "json": {"error": {"message": f"not with the key {SECRET}"}}}
    if first == 1:
        return ok(f"I was asked with Bearer {SECRET}")
    return reply(body, n)


def test_the_key_is_in_no_file_and_no_message(tmp_path, monkeypatch):
    monkeypatch.setenv("LINKSYN_API_KEY", SECRET)
    out = tmp_path / "out"
    with FakeServer(telling, key=SECRET) as server:
        flags = (*QUICK, "--paths", "24", "--engine", "openai", "--base-url", server.url)
        done = CliRunner().invoke(main, ["run", SEEDS, "--out", str(out), *flags])
        assert done.exit_code in (0, 3)  # 3: its last errors may be those of all requests
        said = done.output + done.stderr
        said += invoke("report", out).output
    with FakeServer(key="other") as server:
        refused = run(tmp_path / "refused", server, code=1)
        assert "refused the API key" in refused.stderr
        said += refused.output + refused.stderr
    assert SECRET not in said
    files = [path for folder in (out, tmp_path / "refused") for path in folder.rglob("*") if path.is_file()]
    contents = {path: content_of(path) for path in files}
    assert any(b"not with the key ***" in content for content in contents.values()), "the error is kept without it"
    assert [path for path, content in contents.items() if SECRET.encode() in content] == []


def test_a_server_cannot_steer_the_terminal(tmp_path):
    def refusing(body, n):
        return {"status": 401, "json": {"error": {"message": "\x1b]0;title\x07\x9b2J\u202egone"}}}

    with FakeServer(refusing) as server:
        refused = run(tmp_path / "out", server, code=3)
    assert "gone" in refused.output
    assert not set("\x1b\x07\x9b\u202e") & set(refused.output)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ kps.__class__.__init__.__globals__ }}",
        "{{ self._TemplateReference__context }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(10**4) %}{% for j in range(10**9) %}x{% endfor %}{% endfor %}",
        "{{ seeds.append(1) }}",
    ],
)
def test_a_template_of_someone_else_gets_no_access_to_python(tmp_path, text):
    templates, out = tmp_path / "templates", tmp_path / "out"
    templates.mkdir()
    packaged = Path(prompts.__file__).parent
    name = next(path.name for path in packaged.rglob("*.jinja") if path.name.startswith("synthesize.en"))
    (templates / name).write_text(text)
    words = ("--engine", "batch", "--model", "m", "--paths", "4", "--calibration-rounds", "2")
    refused = invoke("run", SEEDS, "--out", out, *words, "--templates", templates, code=2)
    assert name in refused.stderr
    assert "Traceback" not in refused.output


def test_a_small_file_that_decompresses_to_a_line_without_end_is_one_reject(tmp_path):
    path, out = tmp_path / "seeds.jsonl.gz", tmp_path / "out"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(Path(SEEDS).read_bytes())
        for _ in range(100):
            stream.write(b"x" * 2**20)
    assert path.stat().st_size < 2**20
    invoke("ingest", path, "--out", out)
    assert b'"too_long"' in (out / "rejects.jsonl").read_bytes()
