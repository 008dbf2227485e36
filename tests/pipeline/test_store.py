"""Files of a run: what their sizes of batches may not change."""

import pyarrow as pa
import pytest

from linksyn_gpu.errors import DataError
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.tables import Reject, Seeds


@pytest.fixture
def seeds():
    records = ({"question": f"q{i}", "options": ["a"] * (i % 3), "kps": [f"k{i % 5}"]} for i in range(50))
    table = Seeds.from_records(records).table
    pieces = pa.concat_tables([table.slice(start, 7) for start in range(0, 50, 7)])
    return Seeds(pieces, [Reject("file", 3, "invalid_json", "detail")])


@pytest.mark.parametrize(("rows", "size"), [(1, 2**27), (20, 2**27), (65_536, 2**27), (65_536, 1), (65_536, 1000)])
def test_seeds_are_read_as_they_were_written_whatever_the_batches_of_the_file(tmp_path, monkeypatch, seeds, rows, size):
    monkeypatch.setattr(store, "SEED_BATCH_ROWS", rows)
    monkeypatch.setattr(store, "SEED_BATCH_BYTES", size)
    with Workspace(tmp_path / "run") as ws:
        store.write_seeds(ws, seeds)
        found = store.read_taken(ws)
        assert found.equals(seeds.table)
        assert ws.path("rejects.jsonl").read_text().count("\n") == 1
    n_batches = found.column("id").num_chunks
    assert n_batches == {(20, 2**27): 3, (65_536, 2**27): 1}.get((rows, size), n_batches)


def test_a_file_without_seeds_can_be_read(tmp_path, seeds):
    with Workspace(tmp_path / "run") as ws:
        store.write_seeds(ws, Seeds(seeds.table.slice(0, 0)))
        assert store.read_taken(ws).num_rows == 0


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (OSError("Memory mapping file failed: Cannot allocate memory"), DataError, "its checksum is right"),
        (pa.ArrowMemoryError("malloc of size 64 failed"), MemoryError, "malloc of size 64 failed"),
    ],
)
def test_a_good_file_is_not_called_damaged_where_memory_is_short(
    tmp_path, monkeypatch, seeds, error, expected, message
):
    def fails(path):
        raise error

    with Workspace(tmp_path / "run") as ws:
        ws.begin("ingest", {})
        store.write_seeds(ws, seeds)
        ws.finish("ingest", {})
        monkeypatch.setattr(store, "_mapped", fails)
        with pytest.raises(expected, match=message) as raised:
            store.read_taken(ws)
    assert "remove" not in str(raised.value)
