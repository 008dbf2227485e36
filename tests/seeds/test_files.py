"""Where seeds come from: folders, saved data sets, Arrow files, standard input, other encodings and delimiters."""

import gzip
import io
import json
import sys
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linksyn_gpu.errors import ConfigError, DataError
from linksyn_gpu.seeds.encodings import Transcoded, detect_encoding
from linksyn_gpu.seeds.files import find_files
from linksyn_gpu.seeds.normalize import read_seeds


def record(question, **fields):
    return {"question": question, "answer": "a", **fields}


def write_jsonl(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")


def write_arrow(path, *records, as_file=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(list(records))
    new = pa.ipc.new_file if as_file else pa.ipc.new_stream
    with pa.OSFile(str(path), "wb") as sink, new(sink, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=2):
            writer.write_batch(batch)


def save_dataset(folder, *shards):
    """The files that `datasets` writes with save_to_disk."""
    names = [f"data-{i:05}-of-{len(shards):05}.arrow" for i in range(len(shards))]
    for name, records in zip(names, shards, strict=True):
        write_arrow(folder / name, *records)
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train", "_fingerprint": "0"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def questions(seeds):
    return seeds.table["question"].to_pylist()


# --- folders


def test_a_folder_stands_for_its_files_of_known_suffix_and_the_others_are_named_once(tmp_path):
    write_jsonl(tmp_path / "b.jsonl", record("b"))
    write_jsonl(tmp_path / "sub" / "c.jsonl", record("c"))
    write_jsonl(tmp_path / "sub" / ".hidden.jsonl", record("hidden"))
    write_jsonl(tmp_path / ".cache" / "x.jsonl", record("hidden"))
    pq.write_table(pa.Table.from_pylist([record("a")]), tmp_path / "a.parquet")
    (tmp_path / "README.md").touch()
    (tmp_path / "sub" / "notes.txt").touch()
    (tmp_path / "dataset_infos.json").write_text("{}")
    seeds = read_seeds(tmp_path)
    assert questions(seeds) == ["a", "b", "c"]
    assert list(seeds.remarks) == [f"{tmp_path}: 2 files of other kinds are not read: 'README.md', 'sub/notes.txt'"]


def test_a_file_named_alone_and_in_its_folder_is_read_once(tmp_path):
    write_jsonl(tmp_path / "b.jsonl", record("b"))
    write_jsonl(tmp_path / "a.jsonl", record("a"))
    assert questions(read_seeds([tmp_path / "b.jsonl", tmp_path])) == ["b", "a"]


# --- data sets that Hugging Face `datasets` saved


def test_a_saved_data_set_is_read_in_the_order_of_its_shards(tmp_path):
    save_dataset(tmp_path / "saved", [record("a"), record("b"), record("c")], [record("d")])
    write_arrow(tmp_path / "saved" / "cache-0.arrow", record("cached"))
    seeds = read_seeds(tmp_path / "saved")
    assert questions(seeds) == ["a", "b", "c", "d"]
    assert seeds.remarks == []


def test_all_splits_of_a_saved_data_set_are_read_in_their_order(tmp_path):
    for split in ("train", "dev"):
        save_dataset(tmp_path / "saved" / split, [record(split)])
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "dev"]}')
    write_jsonl(tmp_path / "more.jsonl", record("more"))
    assert questions(read_seeds(tmp_path / "saved")) == ["train", "dev"]
    assert questions(read_seeds(tmp_path)) == ["more", "train", "dev"]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ('{"_data_files": [{"filename": "../x.arrow"}]}', "names no data files"),
        ('{"_data_files": []}', "names no data files"),
        ("[]", "names no data files"),
        ("{", "state.json: is not valid JSON"),
        ('{"_data_files": [{"filename": "gone.arrow"}]}', "gone.arrow: no such file"),
        ('{"_indices_data_files": [{"filename": "i.arrow"}]}', "flatten_indices"),
    ],
)
def test_a_damaged_state_of_a_saved_data_set_is_an_error(tmp_path, state, message):
    save_dataset(tmp_path, [record("a")])
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(DataError, match=message):
        read_seeds(tmp_path)


# --- Arrow


@pytest.mark.parametrize("as_file", [False, True])
def test_arrow_files_and_streams_are_read_with_the_columns_that_are_needed(tmp_path, as_file):
    write_arrow(tmp_path / "x.arrow", *(record(f"q{i}", kps=["k"], extra={"n": i}) for i in range(5)), as_file=as_file)
    seeds = read_seeds(tmp_path / "x.arrow")
    assert questions(seeds) == [f"q{i}" for i in range(5)]
    assert seeds[4]["knowledge_points"] == ["k"]


def test_an_empty_arrow_file_has_no_records(tmp_path):
    (tmp_path / "x.arrow").touch()
    with pytest.raises(DataError, match="no records in"):
        read_seeds(tmp_path / "x.arrow")


def test_a_file_that_is_not_arrow_is_an_error_that_names_it(tmp_path):
    (tmp_path / "x.arrow").write_text("plain text, and more of it")
    with pytest.raises(DataError, match=r"x.arrow: cannot be read to its end as arrow"):
        read_seeds(tmp_path / "x.arrow")


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 2_000), value=st.integers(0, 255), as_file=st.booleans())
def test_a_damaged_arrow_file_is_read_or_refused(tmp_path, where, value, as_file):
    path = tmp_path / "x.arrow"
    write_arrow(path, *(record(f"question {i}", kps=["k", "l"]) for i in range(9)), as_file=as_file)
    damaged = bytearray(path.read_bytes())
    damaged[where % len(damaged)] = value
    path.write_bytes(damaged)
    try:
        seeds = read_seeds(path)
    except DataError as error:
        seeds, message = None, str(error)
    if seeds is None:
        assert "x.arrow" in message
    else:
        seeds.table.validate(full=True)


# --- standard input


def as_parquet():
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([record("q")]), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "data",
    [
        b'{"question": "q", "answer": "a"}\n',
        b'\xef\xbb\xbf [{"question": "q", "answer": "a"}]',
        b"question,answer\nq,a\n",
        gzip.compress(b'{"question": "q", "answer": "a"}\n', mtime=0),
        as_parquet(),
    ],
)
def test_standard_input_is_read_in_the_format_that_it_begins_with(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    seeds = read_seeds("-")
    assert (questions(seeds), seeds[0]["answer"]) == (["q"], "a")


def test_the_copy_of_standard_input_is_removed(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"question\nq\n")))
    [file] = find_files("-")
    path = file.path
    assert path.read_bytes() == b"question\nq\n"
    del file
    assert not path.exists()


# --- ids


def test_an_id_of_two_files_becomes_unique_and_the_id_in_the_file_is_kept(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", record("a", id="1"), record("b", id="1@2"), record("c"))
    write_jsonl(tmp_path / "b.jsonl", record("d", id="1"), record("e", id="2"), record("f", id="2"))
    seeds = read_seeds([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    made = seeds[2]["id"]
    assert seeds.table["id"].to_pylist() == ["1", "1@2", made, "1@2@2", "2"]
    assert seeds.table["source_id"].to_pylist() == ["1", "1@2", None, "1", "2"]
    assert seeds.notes["id_in_earlier_file"] == 1
    assert [(r.line, r.reason) for r in seeds.rejects] == [(3, "duplicate_id")]


def test_seeds_of_the_first_files_are_the_same_when_files_are_added_at_the_end(tmp_path):
    names = ["a.jsonl", "b.jsonl", "c.jsonl"]
    for name in names:
        write_jsonl(tmp_path / name, *(record(f"{name} {i}", id=i) for i in range(3)))
    tables = [read_seeds([tmp_path / name for name in names[:n]]).table for n in (1, 2, 3)]
    assert tables[2].slice(0, 6).equals(tables[1])
    assert tables[1].slice(0, 3).equals(tables[0])


# --- delimiters


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_of_a_csv_file_is_found_and_named(tmp_path, delimiter):
    path = tmp_path / "x.csv"
    path.write_text(f'question{delimiter}answer\n"one, or two{delimiter} is what?"{delimiter}a\n', encoding="utf-8")
    seeds = read_seeds(path)
    assert (seeds[0]["question"], seeds[0]["answer"]) == (f"one, or two{delimiter} is what?", "a")
    assert list(seeds.remarks) == [f"{path}: read with {delimiter!r} between the cells"]


def test_a_comma_stays_the_delimiter_where_other_signs_are_text(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("question,note;more|and\nq,a;b|c\n", encoding="utf-8")
    assert (questions(read_seeds(path)), read_seeds(path).remarks) == (["q"], [])


def test_an_mmlu_file_without_a_header_is_read(tmp_path):
    path = tmp_path / "anatomy_test.csv"
    path.write_text('"Longest bone, in adults?",rib,femur,tibia,ulna,B\nOf the skull?,A,jaw,C,D,B\n', encoding="utf-8")
    seeds = read_seeds(path)
    assert seeds.table["answer"].to_pylist() == ["femur", "jaw"]
    assert questions(seeds)[0] == "Longest bone, in adults?"
    assert list(seeds.remarks) == [f"{path}: has no header; its columns are read as question, A, B, C, D, answer"]
    assert seeds.layouts == {"ceval": 2}


# --- encodings

TEXTS = {
    "gb18030": ["求下列方程的正根，并说明理由。", "光合作用在哪里发生？", "下列哪一项是正确的？"],
    "big5": ["光合作用在哪裡發生？", "下列哪一項是正確的？", "請說明理由。"],
    "cp932": ["植物が吸収する気体は何ですか。", "呼吸で放出される気体は何ですか。", "細胞小器官は何ですか。"],
    "cp1252": ["Où est l'été ?", "Qu'est-ce que la vérité à côté ?", "Le théorème énonce l'égalité", "Déjà vu"],
    "cp1251": ["Что такое осмос?", "Где происходит фотосинтез?", "Какая формула верна?"],
    "utf-16": ["光合作用在哪里发生？"],
    "utf-32": ["Où est l'été ?"],
}


@pytest.mark.parametrize("encoding", TEXTS)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".jsonl"])
def test_another_encoding_is_detected_and_named(tmp_path, encoding, suffix):
    path = tmp_path / f"x{suffix}"
    lines = [json.dumps(record(text), ensure_ascii=False) for text in TEXTS[encoding]]
    if ".csv" in suffix:
        lines = ["question,answer", *(f'"{text}",a' for text in TEXTS[encoding])]
    data = ("\n".join(lines) + "\n").encode(encoding)
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    seeds = read_seeds(path)
    assert questions(seeds) == TEXTS[encoding]
    assert list(seeds.remarks) == [f"{path}: read as {encoding}, which was detected; to name another: --encoding"]


def test_a_named_encoding_is_used_without_a_remark_and_a_line_beyond_it_is_rejected(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("question\n什么是冰？\n".encode("gb18030") + b"\xff\xff\nlast\n")
    seeds = read_seeds(path, encoding="GBK")
    assert (questions(seeds), seeds.remarks) == (["什么是冰？", "last"], [])
    assert [(r.line, r.reason) for r in seeds.rejects] == [(3, "invalid_utf8")]


@pytest.mark.parametrize("encoding", ["no-such", "base64", "\0", ""])
def test_an_unknown_encoding_is_a_wrong_setting(tmp_path, encoding):
    with pytest.raises(ConfigError, match="encoding = "):
        read_seeds(tmp_path, encoding=encoding)


def test_single_damaged_lines_do_not_make_a_file_another_encoding():
    assert detect_encoding("\n".join(["été"] * 4).encode() + b"\n\xe9\n\xe9\n\xe9\n\xe9") == "utf-8"
    assert detect_encoding(b"plain\n\xe9\n\xe9\nplain\n") == "utf-8"
    assert detect_encoding("é".encode()[:1]) == "utf-8"
    assert detect_encoding(b"") == "utf-8"


def test_text_is_transcoded_in_pieces_of_any_size(monkeypatch):
    text = "".join(TEXTS["gb18030"]) * 20
    monkeypatch.setattr(Transcoded, "_CHUNK", 7)
    stream = io.BufferedReader(Transcoded(io.BytesIO(text.encode("gb18030")), "gb18030"), 16)
    assert stream.read().decode() == text
