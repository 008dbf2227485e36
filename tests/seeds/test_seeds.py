"""Reading seeds: every format, every column name, every reason to reject a record."""

import csv
import gc
import itertools
import json
import unicodedata
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linksyn_gpu.config import SeedsConfig
from linksyn_gpu.errors import ConfigError, DataError
from linksyn_gpu.seeds import layouts, readers
from linksyn_gpu.seeds.normalize import NOTES, REASONS, read_seeds
from linksyn_gpu.seeds.values import decoded
from linksyn_gpu.tables import Seeds, seed_schema
from linksyn_gpu.text.languages import guess_language

RECORDS = [
    {
        "id": "a1",
        "question": "What moves water through a membrane?",
        "answer": "Osmosis",
        "options": ["Osmosis", "Torque"],
        "discipline": "biology",
        "difficulty": 2,
        "knowledge_points": ["osmosis", "cell membrane"],
        "language": "en",
        "source": "own",
        "license": "CC0",
    },
    {
        "id": "a2",
        "question": "求 $x^2=4$ 的正根。",
        "answer": "2",
        "options": [],
        "discipline": "mathematics",
        "difficulty": 1,
        "knowledge_points": ["quadratic equation"],
        "language": "zh",
        "source": "own",
        "license": "CC0",
    },
]
EXPECTED = [
    {
        **{key: value for key, value in record.items() if key != "discipline"},
        **{"disciplines": [record["discipline"]], "source_id": record["id"], "explanation": None},
    }
    for record in RECORDS
]


def rows_of(seeds):
    return [seeds[row] for row in range(len(seeds))]


def verdicts(seeds):
    return [(reject.line, reject.reason) for reject in seeds.rejects]


@pytest.fixture
def jsonl(tmp_path):
    """Writes records, or raw lines of bytes, to a JSONL file."""

    def write(*lines, name="seeds.jsonl"):
        path = tmp_path / name
        raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        path.write_bytes(b"\n".join(raw) + b"\n")
        return path

    return write


def read_one(jsonl, record, **options):
    seeds = read_seeds(jsonl(record), **options)
    assert len(seeds) == 1
    return seeds[0]


# --- formats


def delimited(delimiter, path):
    cells = [{k: json.dumps(v) if isinstance(v, list) else v for k, v in record.items()} for record in RECORDS]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(cells[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(cells)


def json_lines(path):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in RECORDS), encoding="utf-8")


WRITERS = {
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".json": lambda path: path.write_text(json.dumps(RECORDS), encoding="utf-8"),
    ".csv": lambda path: delimited(",", path),
    ".tsv": lambda path: delimited("\t", path),
    ".parquet": lambda path: pq.write_table(pa.Table.from_pylist(RECORDS), path),
}
TEXT_SUFFIXES = [suffix for suffix in WRITERS if suffix != ".parquet"]


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_the_same_seeds(tmp_path, suffix):
    path = tmp_path / f"bank.v2{suffix}"
    WRITERS[suffix](path)
    seeds = read_seeds(path)
    assert rows_of(seeds) == EXPECTED
    assert seeds.table.schema == seed_schema()
    assert (seeds.rejects, seeds.notes) == ([], Counter())


@pytest.mark.parametrize("suffix", TEXT_SUFFIXES)
@pytest.mark.parametrize(("ending", "codec"), [(".gz", "gzip"), (".zst", "zstd"), (".GZ", "gzip")])
def test_every_text_format_is_read_compressed(tmp_path, suffix, ending, codec):
    plain, packed = tmp_path / f"p{suffix}", tmp_path / f"packed{suffix}{ending}"
    WRITERS[suffix](plain)
    with pa.output_stream(str(packed), compression=codec) as stream:
        stream.write(plain.read_bytes())
    assert rows_of(read_seeds(packed)) == EXPECTED


@pytest.mark.parametrize("suffix", TEXT_SUFFIXES)
def test_a_byte_order_mark_is_not_part_of_the_first_record(tmp_path, suffix):
    path = tmp_path / f"bom{suffix}"
    WRITERS[suffix](path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert rows_of(read_seeds(path)) == EXPECTED


def test_byte_order_marks_inside_and_repeated_are_ignored(jsonl):
    mark = b"\xef\xbb\xbf"
    path = jsonl(mark + mark + b'{"question": "one"}', mark + b'{"question": "two"}')
    assert read_seeds(path).table["question"].to_pylist() == ["one", "two"]


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_a_json_list_named_jsonl_is_read_as_a_list(tmp_path, indent):
    path = tmp_path / "list.jsonl"
    path.write_text("\n" + json.dumps(RECORDS, indent=indent))
    assert rows_of(read_seeds(path)) == EXPECTED


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_a_json_list_is_read_in_pieces(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(readers._JsonText, "_CHUNK", chunk)
    path = tmp_path / "pieces.json"
    values = [*RECORDS, 12, [], "é" * 50, {"question": "x\ny"}, -1.5e3]
    for text in (json.dumps(values), json.dumps(values, indent=3, ensure_ascii=False) + "\n "):
        path.write_text(text, encoding="utf-8")
        seeds = read_seeds(path)
        assert rows_of(seeds)[:2] == EXPECTED
        assert verdicts(seeds) == [(n, "not_a_record") for n in (3, 4, 5, 7)]
    for end in ("", "]]", " 1]", ",]", "\n, {]"):
        path.write_text(json.dumps(values)[:-1] + end)
        with pytest.raises(DataError, match=r"pieces.json:[12]:\d+: not valid JSON"):
            read_seeds(path)
    path.write_bytes(b'[{"question": "q"},\n "\xff"]')
    with pytest.raises(DataError, match="byte 23 is not UTF-8"):
        read_seeds(path)


def test_a_huge_json_value_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAX_JSON", 1000)
    monkeypatch.setattr(readers, "MAX_LINE", 1000)
    monkeypatch.setattr(readers._JsonText, "_CHUNK", 100)
    path = tmp_path / "huge.json"
    path.write_text(json.dumps({"data": [{"question": "q" * 3000}]}))
    with pytest.raises(DataError, match=r"huge.json: .*write one object per line, as .jsonl"):
        read_seeds(path)
    path.write_text(json.dumps([{"question": "q" * 3000}]))
    with pytest.raises(DataError, match=r"huge.json: .*an element of the list is longer than 1,000 characters"):
        read_seeds(path)


def test_a_json_object_may_hold_the_list_of_records(tmp_path):
    path = tmp_path / "wrapped.json"
    path.write_text(json.dumps({"version": 1, "splits": ["train"], "data": RECORDS}))
    assert rows_of(read_seeds(path)) == EXPECTED


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"train": RECORDS, "test": RECORDS}, "2 lists of records among its keys 'train', 'test'"),
        ({"question": "one record", "options": ["a"]}, "0 lists of records"),
        ("text", "not a list of records"),
    ],
)
def test_json_without_one_list_of_records_is_refused(tmp_path, value, message):
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match=message):
        read_seeds(path)


def test_a_csv_record_has_the_line_where_it_starts(tmp_path):
    path = tmp_path / "lines.csv"
    path.write_text('\nquestion,answer\r\n"two\r\nlines",1\r\n\r\n,no question\r\n"third, with ""quotes""",3,\r\n')
    seeds = read_seeds(path)
    assert seeds.table["question"].to_pylist() == ["two\r\nlines", 'third, with "quotes"']
    assert verdicts(seeds) == [(6, "no_question")]


def test_csv_rows_that_do_not_fit_are_rejected_one_by_one(tmp_path):
    path = tmp_path / "broken.csv"
    path.write_bytes(
        b"id,question,answer\n1,short\n2,long,x,y\n3,ok,x\n4,bad \xff byte,x\n"
        b'5,"stray" quote,x\n6,nul \x00 byte,x\n7,"never closed\n'
    )
    seeds = read_seeds(path)
    assert seeds.table["question"].to_pylist() == ["ok", "nul \x00 byte"]
    assert verdicts(seeds) == [
        (2, "not_a_record"),
        (3, "not_a_record"),
        (5, "invalid_utf8"),
        (6, "not_a_record"),
        (8, "not_a_record"),
    ]
    assert seeds.rejects[0].detail == "2 cells where the header has 3"


QUOTE_PAIR = '"a quote opens here,1\nplain,2\nanother closes 20",3\nlast,4\n'


def test_a_pair_of_stray_quotes_in_csv_joins_no_rows(tmp_path):
    path = tmp_path / "pair.csv"
    path.write_text(f"question,answer\n{QUOTE_PAIR}")
    seeds = read_seeds(path)
    assert seeds.table["question"].to_pylist() == ["plain", "last"]
    assert verdicts(seeds) == [(2, "not_a_record"), (4, "not_a_record")]
    assert seeds.rejects[0].detail == "a quote in this line does not enclose a whole cell"


def test_a_quote_that_never_closes_rejects_only_one_csv_row(tmp_path):
    path = tmp_path / "open.csv"
    path.write_text('question,answer\n"never closed,1\n' + "".join(f"row {i},{i}\n" for i in range(50)))
    seeds = read_seeds(path)
    assert (len(seeds), verdicts(seeds)) == (50, [(2, "not_a_record")])


def test_line_breaks_and_commas_in_a_quoted_csv_cell_are_text(tmp_path):
    text = "First, read the text.\nThen, name\n\nits author, if any."
    path = tmp_path / "breaks.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["question", "answer"], [text, "x"], ["plain", "y"]])
    assert read_seeds(path).table["question"].to_pylist() == [text, "plain"]


def test_a_quote_in_tsv_is_text_unless_it_encloses_a_cell(tmp_path):
    path = tmp_path / "quotes.tsv"
    stray = QUOTE_PAIR.replace(",", "\t")
    path.write_text(f'question\tanswer\n{stray}"Hi" he said\t"5\n"an ""old"" one\nwith a\ttab"\t6\n"x\ty"\tz\n')
    seeds = read_seeds(path)
    assert seeds.table["question"].to_pylist() == [
        '"a quote opens here',
        "plain",
        'another closes 20"',
        "last",
        '"Hi" he said',
        'an "old" one\nwith a\ttab',
        "x\ty",
    ]
    assert seeds.rejects == []


@settings(deadline=None)
@given(lines=st.lists(st.lists(st.text(alphabet='ab"', max_size=5), min_size=3, max_size=3), min_size=1))
def test_every_physical_line_of_a_table_without_line_breaks_is_taken_or_rejected(tmp_path_factory, lines):
    for delimiter, suffix in (("\t", "tsv"), (",", "csv")):
        path = tmp_path_factory.getbasetemp() / f"lines.{suffix}"
        rows = [delimiter.join(["question", "answer", "source"]), *map(delimiter.join, lines)]
        path.write_text("\n".join(rows) + "\n")
        seeds = attempt(path, keep_duplicates=True)
        if isinstance(seeds, Seeds):
            assert len(seeds) + len(seeds.rejects) == len(lines)


def test_a_repeated_csv_header_is_not_a_record(tmp_path):
    path = tmp_path / "joined.csv"
    path.write_bytes(b"\xef\xbb\xbfquestion,answer\nq,1\n\xef\xbb\xbfquestion,answer\nr,2\n")
    seeds = read_seeds(path)
    assert (seeds.table["question"].to_pylist(), verdicts(seeds)) == (["q", "r"], [(3, "not_a_record")])


def test_a_csv_line_over_the_limit_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAX_LINE", 64)
    path = tmp_path / "long.csv"
    path.write_text(f"question,answer\n{'q' * 100},1\nshort,2\n")
    seeds = read_seeds(path)
    assert (seeds.table["question"].to_pylist(), verdicts(seeds)) == (["short"], [(2, "too_long")])


def test_of_csv_columns_with_one_name_the_first_is_read(tmp_path):
    path = tmp_path / "twice.csv"
    path.write_text("question,answer,question\nfirst,x,second\n")
    assert read_seeds(path)[0]["question"] == "first"


def test_a_long_csv_cell_is_read_whole(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text(f"question,answer\n{'q' * 200_000},a\n")
    assert len(read_seeds(path, max_chars=300_000)[0]["question"]) == 200_000


def test_parquet_is_read_across_batches_with_its_own_types(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "_PARQUET_ROWS", 3)
    path = tmp_path / "types.parquet"
    n = 10
    columns = {
        "Question ID": pa.array(range(n), pa.int64()),
        "question": pa.array([f"q{i}" for i in range(n)]).dictionary_encode(),
        "answer": pa.array([Decimal(i) / 2 for i in range(n)], pa.decimal128(5, 1)),
        "choices": pa.array([{"B": "b", "A": f"a{i}", "C": None} for i in range(n)]),
        "level": pa.array([float(i % 5 + 1) for i in range(n)]),
        "unused": pa.array([b"\xff"] * n),
    }
    pq.write_table(pa.table(columns), path)
    seeds = read_seeds(path)
    assert len(seeds) == n
    assert seeds.table["id"].to_pylist() == [str(i) for i in range(n)]
    assert (seeds[3]["answer"], seeds[3]["options"], seeds[3]["difficulty"]) == ("1.5", ["a3", "b"], 4)


def test_a_long_text_that_many_parquet_rows_share_is_not_copied_for_all_of_them_at_once(tmp_path, monkeypatch):
    path = tmp_path / "repeated.parquet"
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 400, pa.int32()), pa.array(["q" * 100_000]))
    pq.write_table(pa.table({"question": texts}), path, dictionary_pagesize_limit=2**30, store_schema=False)
    sizes = []
    convert = readers.arrow_chunks

    def watched(batches):
        return convert(sizes.append(batch.nbytes) or batch for batch in batches)

    monkeypatch.setattr(readers, "arrow_chunks", watched)
    monkeypatch.setattr(readers, "_PARQUET_BYTES", 1_000_000)
    with pytest.raises(DataError, match="too_long 400"):
        read_seeds(path)
    assert max(sizes) <= 1_000_100, "all rows together take 40 MB"


def test_only_the_parquet_row_that_is_not_utf8_is_rejected(tmp_path):
    texts = pa.array([b"one", b"tw\xff", b"three"]).view(pa.string())
    path = tmp_path / "bytes.parquet"
    pq.write_table(pa.table({"question": texts}), path)
    seeds = read_seeds(path)
    assert seeds.table["question"].to_pylist() == ["one", "three"]
    assert verdicts(seeds) == [(2, "invalid_utf8")]


# --- files


def test_files_keep_their_order_and_a_pattern_is_sorted(tmp_path, jsonl):
    for name in ("b.jsonl", "a.jsonl", "c.jsonl", ".hidden.jsonl"):
        jsonl({"question": name}, name=name)
    seeds = read_seeds([tmp_path / "c.jsonl", str(tmp_path / "*.jsonl"), tmp_path / "." / "b.jsonl"])
    assert seeds.table["question"].to_pylist() == ["c.jsonl", "a.jsonl", "b.jsonl"]


def test_a_pattern_matches_in_subfolders_and_matches_files_only(tmp_path, jsonl):
    (tmp_path / "x" / "folder.jsonl").mkdir(parents=True)
    jsonl({"question": "deep"}, name="x/folder.jsonl/deep.jsonl")
    jsonl({"question": "brackets"}, name="x/set[1].jsonl")
    assert len(read_seeds(tmp_path / "**" / "*.jsonl")) == 2
    assert read_seeds(tmp_path / "x" / "set[1].jsonl")[0]["question"] == "brackets"


def test_rejects_name_the_file_as_the_user_wrote_it(tmp_path, jsonl, monkeypatch):
    jsonl({"question": "q"}, b"{", name="x.jsonl")
    monkeypatch.chdir(tmp_path)
    assert read_seeds("./x.jsonl").rejects[0].file == "./x.jsonl"
    assert read_seeds("x*.jsonl").rejects[0].file == "x.jsonl"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.jsonl", "none.jsonl: no such file"),
        ("none*.jsonl", r"none\*.jsonl: the pattern matches no file"),
        ("folder", "folder: no file of seeds in this folder"),
        ("hf://datasets/cais/mmlu/all", r"save_to_disk\('FOLDER'\).*hf download cais/mmlu"),
        ("https://host/seeds.jsonl", "seeds are read from local files; download it first"),
        ("notes.txt", "unknown suffix; seeds are read from .jsonl, .ndjson"),
        ("table.parquet.gz", "unknown suffix"),
        ("packed.gz", "unknown suffix"),
        ("x" * 300 + ".jsonl", "cannot be opened"),
    ],
)
def test_a_path_that_is_not_a_seed_file_is_an_error_with_the_cause(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    for other in ("notes.txt", "table.parquet.gz", "packed.gz"):
        (tmp_path / other).touch()
    with pytest.raises(DataError, match=message):
        read_seeds(name if "//" in name else tmp_path / name)


def test_an_empty_list_of_paths_is_an_error():
    with pytest.raises(DataError, match="no seed file is named"):
        read_seeds([])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bad.json", b'[{"question": "q"},\n {]', r"bad.json:2:3: not valid JSON.*must be named .jsonl"),
        ("lines.json", b'{"question": "q"}\n{"question": "r"}\n', r"lines.json:2:1: .*must be named .jsonl"),
        ("bytes.json", b'[{"question": "\xff"}]', "byte 16 is not UTF-8"),
        ("deep.json", b"[" * 100_000, "deep.json: not valid JSON"),
        ("digits.json", b"[" + b"1" * 5000 + b"]", "digits.json: not valid JSON"),
        ("text.jsonl.gz", b"plain text", "text.jsonl.gz: cannot be read to its end as gzip of jsonl"),
        ("text.csv.zst", b"plain text", "text.csv.zst: cannot be read to its end as zstd of csv"),
        ("text.parquet", b"plain text", "text.parquet: cannot be read to its end as parquet"),
        ("head.csv", b"\xff,question\nx,y\n", "head.csv:1: the header cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_at_all_is_an_error_that_names_it(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_seeds(tmp_path / name)


@pytest.mark.parametrize(("ending", "codec"), [(".gz", "gzip"), (".zst", "zstd")])
def test_a_truncated_compressed_file_is_an_error(tmp_path, ending, codec):
    path = tmp_path / f"cut.jsonl{ending}"
    with pa.output_stream(str(path), compression=codec) as stream:
        stream.write(b"".join(b'{"question": "%d"}\n' % i for i in range(9999)))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=f"cut.jsonl{ending}: cannot be read to its end"):
        read_seeds(path)


def test_a_truncated_parquet_file_is_an_error(tmp_path):
    path = tmp_path / "cut.parquet"
    WRITERS[".parquet"](path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"cut.parquet: cannot be read to its end"):
        read_seeds(path)


# --- columns


@pytest.mark.parametrize(
    ("field", "name"), [(f, n) for f, names in layouts.USUAL_NAMES.items() for n in names if f != "question"]
)
def test_every_usual_name_is_found(jsonl, field, name):
    seed = read_one(jsonl, {"question": "q", name: "4", **({"answer": "a"} if field == "explanation" else {})})
    assert seed[field] in ("4", ["4"], 4)


@pytest.mark.parametrize("name", [*layouts.USUAL_NAMES["question"], "Question", "PROMPT", " Que-sti_on "])
def test_spelling_of_a_column_name_is_ignored(jsonl, name):
    assert read_one(jsonl, {name: "q"})["question"] == "q"


def test_the_first_usual_name_is_used_even_when_its_value_is_empty(jsonl):
    record = {"query": "5", "problem": "4", "prompt": "2", "output": "o", "response": None}
    seed = read_one(jsonl, record)
    assert (seed["question"], seed["answer"]) == ("2", "")


def test_a_mapping_overrides_the_usual_names(jsonl):
    record = {"question": "not this", "stem": "this", "answer": "a", "topic": ["x"]}
    seed = read_one(jsonl, record, columns={"question": "stem", "knowledge_points": "topic"})
    assert (seed["question"], seed["answer"], seed["knowledge_points"]) == ("this", "a", ["x"])


def test_a_record_without_its_mapped_column_does_not_fall_back(jsonl):
    path = jsonl({"stem": "s"}, {"question": "q"})
    seeds = read_seeds(path, columns={"question": "stem"})
    assert verdicts(seeds) == [(2, "no_question")]
    assert seeds.rejects[0].detail == "no column stem among 'question'"


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_mapped_column_that_no_record_has_is_an_error_with_the_columns(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    WRITERS[suffix](path)
    with pytest.raises(DataError, match=r"there is no column 'stem'; its columns are 'id', 'question', 'answer'"):
        read_seeds(path, columns={"question": "stem"})


def test_records_with_different_keys_each_are_read(jsonl, monkeypatch):
    monkeypatch.setattr(layouts, "_MAX_LAYOUTS", 2)
    path = jsonl(*({"question": f"q{i}", f"k{i}": 1} for i in range(6)), {"question": "last", "kp": "late"})
    assert read_seeds(path, columns={"knowledge_points": "kp"})[6]["knowledge_points"] == ["late"]


def test_alpaca_input_follows_the_instruction_after_a_blank_line(jsonl):
    path = jsonl(
        {"instruction": "Translate.", "input": "le chat", "output": "the cat"},
        {"instruction": "Say hello.", "input": " ", "output": "hello"},
        {"question": "Not Alpaca?", "input": "ignored", "output": "yes"},
        {"instruction": "Lists?", "input": ["x"], "output": "no"},
    )
    seeds = read_seeds(path)
    assert seeds.table["question"].to_pylist() == ["Translate.\n\nle chat", "Say hello.", "Not Alpaca?"]
    assert verdicts(seeds) == [(4, "wrong_type")]
    mapped = read_seeds(path, columns={"answer": "input"})
    assert mapped[0]["question"] == "Translate."


MMLU = "Question,A,B,C,D,Answer\nlongest bone?,humerus,femur,tibia,,B\nbeside the fibula?,rib,skull,tibia,ulna,(c)\n"


def test_options_in_lettered_columns_are_read_and_a_letter_stands_for_its_option(tmp_path):
    path = tmp_path / "mmlu.csv"
    path.write_text(MMLU + "odd?,x,y,,,E\n")
    seeds = read_seeds(path)
    assert seeds.table["options"].to_pylist() == [
        ["humerus", "femur", "tibia"],
        ["rib", "skull", "tibia", "ulna"],
        ["x", "y"],
    ]
    assert seeds.table["answer"].to_pylist() == ["femur", "tibia", ""]
    assert (seeds.notes["answer_from_label"], seeds.notes["answer_unresolved"]) == (2, 1)
    table = pa.Table.from_pydict({"question": ["q"], "A": ["x"], "B": ["y"], "answer": ["A"]})
    pq.write_table(table, tmp_path / "mmlu.parquet")
    assert read_seeds(tmp_path / "mmlu.parquet")[0]["answer"] == "x"


def test_columns_a_and_b_are_no_options_next_to_a_column_of_options(jsonl):
    assert read_one(jsonl, {"question": "q", "A": "x", "B": "y", "choices": ["u", "v"]})["options"] == ["u", "v"]
    seed = read_one(jsonl, {"question": "q", "A": "x", "B": "y"}, columns={"answer": "A"})
    assert (seed["options"], seed["answer"]) == ([], "x")


@pytest.mark.parametrize(
    ("answer", "text", "note"),
    [
        (1, "22", "answer_from_index"),
        (0, "12", "answer_from_index"),
        (12, "12", None),
        (2, "22", "answer_from_index"),  # two options: answers of this file count from 1
        (3.0, "", "answer_unresolved"),
        (-1, "", "answer_unresolved"),
        ("1", "22", "answer_from_index"),
        ("12 bones", "12 bones", None),
        (True, "true", None),
    ],
)
def test_an_integer_answer_that_is_not_an_option_is_the_index_of_one(jsonl, answer, text, note):
    seeds = read_seeds(jsonl({"question": "How many?", "choices": ["12", "22"], "answer": answer}))
    assert seeds[0]["answer"] == text
    assert {name for name in seeds.notes if name.startswith("answer")} == ({note} if note else set())


def test_words_for_a_missing_value_are_no_names_and_their_seeds_are_counted(jsonl):
    path = jsonl(
        {"question": "q", "kps": ["force", "nan"], "subject": "None"},
        {"question": "r", "kps": ["N/A"], "subject": "physics"},
        {"question": "None", "answer": "nan", "kps": ["null hypothesis"]},
    )
    seeds = read_seeds(path)
    assert seeds.table["knowledge_points"].to_pylist() == [["force"], [], ["null hypothesis"]]
    assert seeds.table["disciplines"].to_pylist() == [[], ["physics"], []]
    assert (seeds[2]["question"], seeds[2]["answer"]) == ("None", "nan")
    assert (seeds.notes["missing_word"], seeds.notes["no_knowledge_points"]) == (2, 1)


@pytest.mark.timeout(60)  # minutes and more if the time grows with the square of the length
def test_lists_written_by_python_are_parsed_in_linear_time():
    for text in (
        "['" + "\\'" * 200_000,
        "[" + "'a' " * 200_000,
        "(" * 200_000,
        "{'a':" * 100_000,
        "[" + "nan " * 200_000,
    ):
        decoded(text)


# --- values


@pytest.mark.parametrize(
    ("value", "points"),
    [
        (["b", "", "a", " ", "b"], ["b", "a", "b"]),
        ([" kept as it is ", None, 7], [" kept as it is ", "7"]),
        ("algebra", ["algebra"]),
        ("algebra; roots |sets；集合;", ["algebra", "roots", "sets", "集合"]),
        ("a, b", ["a, b"]),
        ('["a; b", "c"]', ["a; b", "c"]),
        ("['it\\'s', \"b\", 'c\\\\d']", ["it's", "b", "c\\d"]),
        ("[not a list]", ["[not a list]"]),
        ("['\\xzz']", ["['\\xzz']"]),
        ("[" * 50_000, ["[" * 50_000]),
        ("['a' 'b c'\n 'd']", ["a", "b c", "d"]),
        ("['it\\'s' \"b's\"]", ["it's", "b's"]),
        ("('a', 'b',)", ["a", "b"]),
        ("['a', 7, 0.5, None]", ["a", "7", "0.5"]),
        ("[np.str_('a'), np.str_('b')]", ["a", "b"]),
        ("array(['a', 'b'], dtype=object)", ["array(['a', 'b'], dtype=object)"]),
        ("['a', nan, 'nan', 'N/A', 'NULL', '<NA>', 'None', 'Na']", ["a", "Na"]),
        ("nan", []),
        ("algebra; None", ["algebra"]),
        ("['a' 'b'] or ['c']", ["['a' 'b'] or ['c']"]),
        ("(a) the first", ["(a) the first"]),
        ("['never closed", ["['never closed"]),
        ("", []),
        (None, []),
        (float("nan"), []),
    ],
)
def test_knowledge_points_are_read_from_lists_and_strings(jsonl, value, points):
    assert read_one(jsonl, {"question": "q", "kps": value})["knowledge_points"] == points


def test_routes_are_split_into_their_nodes(jsonl):
    record = {"question": "q", "tags": ["Algebra -> Roots->", "Algebra->Sets"]}
    assert read_one(jsonl, record, route_separator="->")["knowledge_points"] == ["Algebra", "Roots", "Algebra", "Sets"]
    record["tags"] = "A->B; C"
    assert read_one(jsonl, record, route_separator="->")["knowledge_points"] == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("value", "options"),
    [
        (["x", 2, 0.5, True, None], ["x", "2", "0.5", "true", ""]),
        ({"B": "two", "A": "one", "C": None}, ["one", "two"]),
        ({str(i): f"o{i}" for i in (10, 9, 1)}, ["o1", "o9", "o10"]),
        ({"text": ["one", "two"], "label": ["A", "B"]}, ["one", "two"]),
        ('["one", "two"]', ["one", "two"]),
        ('{"B": "two", "A": "one"}', ["one", "two"]),
        ("[0, 1)", ["[0, 1)"]),
        ("(1, 2)", ["(1, 2)"]),
        ("{1, 2}", ["{1, 2}"]),
        ("{'B': 'two', 'A': 'one'}", ["one", "two"]),
        ("{2: 'two', 1: 'one'}", ["one", "two"]),
        ("{'text': array(['one', 'two'], dtype=object), 'label': array(['A', 'B'], dtype='<U1')}", ["one", "two"]),
        ("", []),
    ],
)
def test_options_are_read_from_lists_objects_and_strings(jsonl, value, options):
    assert read_one(jsonl, {"question": "q", "choices": value})["options"] == options


@pytest.mark.parametrize(
    ("value", "scale", "level"),
    [
        (1, "1-5", 1),
        (5.0, "1-5", 5),
        ("3", "1-5", 3),
        (" 4.0 ", "1-5", 4),
        (0, "0-4", 1),
        ("4", "0-4", 5),
        (None, "1-5", None),
        (" ", "1-5", None),
        (float("nan"), "1-5", None),
    ],
)
def test_difficulty_is_mapped_to_1_to_5(jsonl, value, scale, level):
    seeds = read_seeds(jsonl({"question": "q", "level": value}), difficulty_scale=scale)
    assert seeds[0]["difficulty"] == level
    assert "difficulty_off_scale" not in seeds.notes


@pytest.mark.parametrize(
    "value", [0, 6, 2.5, "hard", True, [3], {"x": 1}, 10**400, float("inf"), "nan", "1e999", -(10**30)]
)
def test_difficulty_off_the_scale_becomes_null_and_is_counted(jsonl, value):
    seeds = read_seeds(jsonl({"question": "q", "level": value}))
    assert seeds[0]["difficulty"] is None
    assert seeds.notes["difficulty_off_scale"] == 1
    assert seeds.rejects == []


def test_disciplines_are_trimmed_and_keep_their_order(jsonl):
    assert read_one(jsonl, {"question": "q", "subject": [" physics", "", "art"]})["disciplines"] == ["physics", "art"]


AWKWARD = "ﬁne  \u00a0Ａ\u0301\u200b e\u0301é \\frac{1}{2}\r\n\t\x00 𠀀 🜁 \u2028 $$x^{2}$$ "


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_text_keeps_its_bytes(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    record = {"question": AWKWARD, "answer": AWKWARD, "options": [AWKWARD, " "], "kps": [AWKWARD]}
    if suffix == ".jsonl":
        path.write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8", newline="")
    elif suffix == ".json":
        path.write_text(json.dumps([record], ensure_ascii=False), encoding="utf-8", newline="")
    elif suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            cells = {k: v if isinstance(v, str) else json.dumps(v) for k, v in record.items()}
            csv.writer(file).writerows([cells.keys(), cells.values()])
    else:
        pq.write_table(pa.Table.from_pylist([record]), path)
    seed = read_seeds(path)[0]
    assert {key: seed[key] for key in ("question", "answer", "options")} == {
        key: record[key] for key in ("question", "answer", "options")
    }
    assert seed["knowledge_points"] == [AWKWARD]


def test_a_missing_id_is_derived_from_the_content_only(jsonl):
    one = {"question": "q", "options": ["a"], "answer": "x"}
    seeds = read_seeds(
        jsonl({"source": "elsewhere", **one}, {**one, "options": ["a", "b"]}, {"id": 7, "question": "r"})
    )
    again = read_seeds(jsonl(one, name="other.jsonl"))
    assert seeds[0]["id"] == again[0]["id"] == "seed-8619a51b4aaaf284"
    assert seeds[1]["id"] != seeds[0]["id"]
    assert seeds[2]["id"] == "7"
    assert seeds.notes["id_made"] == 2


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is osmosis?", "en"),
        ("1 + 1 = ?", "en"),
        ("什么是渗透？", "zh"),
        ("计算：$$\\frac{{{5}^{2}}+1}{{{5}^{2}}-1}+\\frac{{{7}^{2}}+1}{{{7}^{2}}-1}$$", "zh"),
        ("Where does the word 茶 for tea come from?", "en"),
        ("Où est l'été ?", "en"),
    ],
)
def test_a_missing_language_is_guessed_by_the_share_of_ideographs(jsonl, text, language):
    seeds = read_seeds(jsonl({"question": text}, {"question": "given", "language": "fr"}))
    assert seeds.table["language"].to_pylist() == [language, "fr"]
    assert seeds.notes["language_guessed"] == 1


def test_seeds_without_answer_or_points_are_kept_and_counted(jsonl):
    path = jsonl(
        {"question": "a", "answer": " "}, {"question": "b", "kps": []}, {"question": "c", "answer": "", "kps": "k"}
    )
    seeds = read_seeds(path)
    assert len(seeds) == 3
    assert seeds.notes == {"empty_answer": 3, "no_knowledge_points": 2, "id_made": 3, "language_guessed": 3}
    assert set(seeds.notes) <= set(NOTES)


# --- rejects

REFUSED = [
    (b"{not json", "invalid_json"),
    (b"[" * 100_000, "invalid_json"),
    (b'{"question": ' + b"1" * 5000 + b"}", "invalid_json"),
    (b'{"question": "raw \x00 NUL"}', "invalid_json"),
    (b'"text"', "not_a_record"),
    (b"[1, 2]", "not_a_record"),
    (b"null", "not_a_record"),
    (b"12", "not_a_record"),
    (b'{"question": "\xff"}', "invalid_utf8"),
    (b'{"question": "\\ud800"}', "invalid_utf8"),
    (b'{"question": "q", "kps": ["\\udfff"]}', "invalid_utf8"),
    (b'{"question": "q", "id": "\\ud83d"}', "invalid_utf8"),
    (b"{}", "no_question"),
    (b'{"text": "q"}', "no_question"),
    (b'{"question": null}', "no_question"),
    (b'{"question": NaN}', "no_question"),
    (b'{"question": " \\n\\u3000"}', "no_question"),
    (b'{"question": 5}', "wrong_type"),
    (b'{"question": ["q"]}', "wrong_type"),
    (b'{"question": {"q": "q"}}', "wrong_type"),
    (b'{"question": "q", "answer": ["a"]}', "wrong_type"),
    (b'{"question": "q", "options": [["a"]]}', "wrong_type"),
    (b'{"question": "q", "options": {"A": {}}}', "wrong_type"),
    (b'{"question": "q", "kps": [{"name": "k"}]}', "wrong_type"),
    (b'{"question": "q", "kps": "[\'a\' \'b\' ... \'z\']"}', "wrong_type"),
    (b'{"question": "q", "id": {"$oid": "1"}}', "wrong_type"),
    (b'{"question": "' + b"q" * 101 + b'"}', "too_long"),
    (b'{"question": "q", "answer": "' + b"a" * 60 + b'", "options": ["' + b"o" * 60 + b'"]}', "too_long"),
    (b'{"question": "kept", "id": "other"}', "duplicate_question"),
    (b'{"question": "another", "id": "first"}', "duplicate_id"),
]


@pytest.mark.parametrize(("line", "reason"), REFUSED)
def test_a_bad_row_is_rejected_with_its_line_and_reason_and_reading_goes_on(jsonl, line, reason):
    path = jsonl({"id": "first", "question": "kept"}, b" \t\r", line, {"id": "last", "question": "kept too"})
    seeds = read_seeds(path, max_chars=100)
    assert seeds.table["id"].to_pylist() == ["first", "last"]
    [reject] = seeds.rejects
    assert (reject.file, reject.line, reject.reason) == (str(path), 3, reason)
    assert reject.detail
    reject.detail.encode()  # can be written to a file


def test_every_reason_is_tested():
    assert {reason for _, reason in REFUSED} == set(REASONS) - {"contaminated", "private_data"}  # tests/cli, and below


def test_a_line_over_the_limit_is_skipped_without_being_held_in_memory(jsonl, monkeypatch):
    monkeypatch.setattr(readers, "MAX_LINE", 64)
    seeds = read_seeds(jsonl({"question": "a"}, b"x" * 1000, b'{"question": "' + b"b" * 47 + b'"}', b"y" * 65))
    assert seeds.table["question"].to_pylist() == ["a", "b" * 47]
    assert verdicts(seeds) == [(2, "too_long"), (4, "too_long")]


def test_the_detail_of_a_reject_is_short(jsonl):
    seeds = read_seeds(jsonl({"question": "q", "id": "i" * 5000}, {"question": "r", "id": "i" * 5000}))
    assert len(seeds.rejects[0].detail) <= 200


def test_an_input_without_a_valid_record_is_an_error_with_counts_and_the_first_reject(jsonl):
    path = jsonl(b"{", {"text": "x"}, {"text": "y"})
    with pytest.raises(DataError) as caught:
        read_seeds(path)
    assert str(caught.value) == (
        f"no seed was read: all 3 records were rejected (no_question 2, invalid_json 1); first {path}:1: invalid_json:"
        " column 2: Expecting property name enclosed in double quotes; name the column of the question:"
        " columns={'question': 'COLUMN'} (--map question=COLUMN)"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [("e.jsonl", b"\n \n"), ("e.json", b"[]"), ("e.json", b'{"data": []}'), ("e.csv", b"question\n")],
)
def test_an_input_without_records_is_an_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"no seed was read: no records in '.*{name}'"):
        read_seeds(tmp_path / name)


def test_an_empty_file_next_to_others_is_accepted(tmp_path, jsonl):
    (tmp_path / "empty.csv").touch()
    assert len(read_seeds([tmp_path / "empty.csv", jsonl({"question": "q"})], columns={"question": "question"})) == 1


# --- duplicates


def test_duplicates_are_found_across_spacing_and_unicode_composition(jsonl):
    path = jsonl(
        {"id": 1, "question": "What is caf\u00e9  ﬁne?"},
        {"id": 2, "question": " What is cafe\u0301\nfine？", "answer": "another"},
        {"id": 3, "question": "what is café fine?"},
    )
    seeds = read_seeds(path)
    assert seeds.table["id"].to_pylist() == ["1", "3"]  # case is significant
    assert verdicts(seeds) == [(2, "duplicate_question")]


def test_the_same_stem_with_other_options_is_another_question(jsonl):
    stem = "Which of the following statements is true?"
    path = jsonl(
        {"question": stem, "options": ["Salt is sweet.", "Ice floats."]},
        {"question": stem, "options": ["Lead floats.", "Ice floats."]},
        {"question": stem},
        {"question": stem, "options": [""]},
        {"question": stem, "options": ["Ice floats.", "Salt is sweet."]},
        {"question": stem, "options": [" Salt is  sweet.", "Ice floats."]},
    )
    assert verdicts(read_seeds(path)) == [(6, "duplicate_question")]


def test_duplicates_are_found_across_files_and_formats(tmp_path, jsonl):
    WRITERS[".csv"](tmp_path / "a.csv")
    WRITERS[".parquet"](tmp_path / "b.parquet")
    seeds = read_seeds([tmp_path / "a.csv", tmp_path / "b.parquet", jsonl({**RECORDS[0], "id": "new"})])
    assert [(Path(r.file).name, r.line, r.reason) for r in seeds.rejects] == [
        ("b.parquet", 1, "duplicate_question"),
        ("b.parquet", 2, "duplicate_question"),
        ("seeds.jsonl", 1, "duplicate_question"),
    ]


def test_only_kept_records_count_as_read_before(jsonl):
    path = jsonl({"id": "x", "question": "q", "answer": []}, {"id": "x", "question": "q"}, {"question": "q"})
    assert verdicts(read_seeds(path)) == [(1, "wrong_type"), (3, "duplicate_question")]


def test_an_id_that_equals_a_derived_one_is_a_duplicate(jsonl):
    made = read_seeds(jsonl({"question": "q"}))[0]["id"]
    assert verdicts(read_seeds(jsonl({"id": made, "question": "r"}, {"question": "q"}))) == [(2, "duplicate_id")]


def test_keep_duplicates_keeps_all(jsonl):
    path = jsonl({"id": 1, "question": "q"}, {"id": 1, "question": "q"}, {"question": "q"}, {"question": "q"})
    seeds = read_seeds(path, keep_duplicates=True)
    assert (len(seeds), seeds.rejects) == (4, [])


# --- records in memory


IN_MEMORY = [{"id": 1, "question": "q", "kps": ["a", "b"]}, {"id": 1, "question": "r"}, {"text": "s"}]


def test_records_in_memory_are_read_and_rejected_as_those_of_a_file(jsonl):
    from_file = read_seeds(jsonl(*IN_MEMORY), max_chars=50)
    for made in (
        Seeds.from_records(iter(IN_MEMORY), max_chars=50),
        Seeds.from_records(IN_MEMORY, SeedsConfig(max_chars=50)),
    ):
        assert made.table.equals(from_file.table)
        assert made.notes == from_file.notes
        assert [(r.file, r.line, r.reason) for r in made.rejects] == [
            ("records", 2, "duplicate_id"),
            ("records", 3, "no_question"),
        ]


def test_numpy_values_and_tuples_of_a_record_are_numbers_and_lists():
    record = {"question": "q", "options": ("x", "y"), "kps": np.array(["a", "b"]), "level": np.int64(2)}
    seed = Seeds.from_records([record])[0]
    assert (seed["options"], seed["knowledge_points"], seed["difficulty"]) == (["x", "y"], ["a", "b"], 2)


def test_an_arrow_table_a_batch_and_a_reader_give_the_same_seeds():
    table = pa.Table.from_pylist([*RECORDS, {"id": "a3", "question": None}])
    for data in (table, table.to_batches()[0], table.to_reader()):
        seeds = Seeds.from_arrow(data)
        assert rows_of(seeds) == EXPECTED
        assert verdicts(seeds) == [(3, "no_question")]


def test_a_data_frame_gives_the_same_seeds_and_its_missing_values_are_missing():
    frame = pd.DataFrame([*RECORDS, {"id": "a3", "question": "No answer?"}], index=[7, 8, 9])
    seeds = Seeds.from_pandas(frame)
    assert rows_of(seeds)[:2] == EXPECTED
    assert (seeds[2]["answer"], seeds[2]["options"], seeds[2]["difficulty"]) == ("", [], None)
    assert Seeds.from_pandas(frame.convert_dtypes()).table.equals(seeds.table)


def test_a_wrong_mapping_is_an_error_for_records_in_memory_too():
    for make, data in ((Seeds.from_records, RECORDS), (Seeds.from_arrow, pa.Table.from_pylist(RECORDS))):
        with pytest.raises(DataError, match="records: there is no column 'stem'"):
            make(data, columns={"question": "stem"})


# --- settings


def test_settings_are_fields_of_the_config(jsonl):
    path = jsonl({"stem": "q", "level": 0})
    settings = {"columns": {"question": "stem"}, "difficulty_scale": "0-4"}
    assert rows_of(read_seeds(path, **settings)) == rows_of(read_seeds(path, SeedsConfig(**settings)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"colums": {}}, "colums: no such setting; allowed here: columns"),
        ({"columns": {"stem": "question"}}, "columns: 'stem' is not a field of a seed"),
        ({"columns": {"question": 3}}, "must be the name of a column"),
        ({"difficulty_scale": "1-7"}, "difficulty_scale"),
        ({"max_chars": 0}, "max_chars"),
        ({"config": SeedsConfig(), "max_chars": 5}, "not both"),
    ],
)
def test_wrong_settings_fail_before_a_file_is_opened(settings, message):
    with pytest.raises(ConfigError, match=message):
        read_seeds("no such file.jsonl", **settings)


def test_the_batch_size_does_not_change_the_result(jsonl, monkeypatch):
    path = jsonl(*({"question": f"q{i}", "kps": ["k"] * (i % 3)} for i in range(50)))
    whole = read_seeds(path)
    monkeypatch.setattr(readers, "CHUNK_ROWS", 7)
    monkeypatch.setattr(readers, "CHUNK_CHARS", 60)
    cut = read_seeds(path)
    assert cut.table["id"].num_chunks > 1
    assert cut.table.equals(whole.table)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_lines_that_lie_in_several_blocks_are_read_as_one(jsonl, monkeypatch, block):
    lines = (
        {"question": "a"},
        b"",
        b"  \r",
        b"{",
        b"\xef\xbb\xbf" + b'{"question": "b\xff"}',
        b"y" * 90,
        {"question": "c"},
    )
    path = jsonl(*lines)
    whole = read_seeds(path)
    monkeypatch.setattr(readers, "_BLOCK", block)
    cut = read_seeds(path)
    assert cut.table.equals(whole.table)
    assert cut.rejects == whole.rejects
    assert verdicts(cut) == [(4, "invalid_json"), (5, "invalid_utf8"), (6, "invalid_json")]


def test_the_collector_runs_again_after_a_file_was_read(jsonl):
    with pytest.raises(DataError):
        read_seeds(jsonl(b"{", b"["))
    assert gc.isenabled()


# --- arbitrary input

JSON_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet=st.characters(), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
USUAL = [name for names in layouts.USUAL_NAMES.values() for name in names]
LINES = st.one_of(
    st.binary(max_size=40),
    st.dictionaries(st.sampled_from(USUAL), JSON_VALUE, max_size=6).map(lambda r: json.dumps(r).encode()),
    st.dictionaries(st.sampled_from(USUAL), JSON_VALUE).map(lambda r: json.dumps({"question": "q", **r}).encode()),
)


def attempt(path, **options):
    try:
        return read_seeds(path, **options)
    except DataError as error:
        return error


FUZZ = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(lines=st.lists(LINES, max_size=8), keep=st.booleans(), route=st.sampled_from([None, "->"]))
def test_no_line_crashes_and_every_line_is_kept_or_has_a_reason(tmp_path, lines, keep, route):
    path = tmp_path / "fuzz.jsonl"
    path.write_bytes(b"\n".join(lines))
    content = path.read_bytes().replace(b"\xef\xbb\xbf", b"")
    expected = sum(bool(line.strip()) for line in content.split(b"\n"))
    seeds = attempt(path, keep_duplicates=keep, route_separator=route)
    if isinstance(seeds, DataError):
        assert str(seeds).startswith("no seed was read") or content.lstrip().startswith(b"[")
        return
    assert len(seeds) + len(seeds.rejects) == expected
    assert {reject.reason for reject in seeds.rejects} <= set(REASONS)
    seeds.table.validate(full=True)
    if not keep:
        assert len(set(seeds.table["id"].to_pylist())) == len(seeds)


@FUZZ
@given(body=st.binary(max_size=80) | st.text(alphabet='a,"\n\r\t;1', max_size=40).map(str.encode))
def test_no_csv_crashes(tmp_path, body):
    path = tmp_path / "fuzz.csv"
    path.write_bytes(b"question,answer\nq,a\n" + body)
    seeds = read_seeds(path)
    assert seeds[0]["question"] == "q"
    seeds.table.validate(full=True)


@FUZZ
@given(where=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_damaged_parquet_file_is_read_or_refused(tmp_path, where, value):
    path = tmp_path / "fuzz.parquet"
    pq.write_table(pa.Table.from_pylist(RECORDS), path, compression="none")
    content = bytearray(path.read_bytes())
    content[where % len(content)] = value
    path.write_bytes(content)
    seeds = attempt(path)
    if isinstance(seeds, DataError):
        assert "fuzz.parquet" in str(seeds)
    else:
        seeds.table.validate(full=True)


# --- real data


def graph_size(seeds, same):
    """(KPs, co-occurring pairs) computed from the lists only."""
    names, pairs = set(), set()
    for points in seeds.table["knowledge_points"].to_pylist():
        points = sorted(set(map(same, points)))
        names.update(points)
        pairs.update(itertools.combinations(points, 2))
    return len(names), len(pairs)


def folded(name):
    return unicodedata.normalize("NFKC", name).casefold().strip()


def test_openstax_has_the_graph_size_that_was_measured_independently(real_data):
    path = real_data("seed_openstax_en.jsonl")
    seeds = read_seeds(path)
    assert (len(seeds), Counter(r.reason for r in seeds.rejects)) == (3271, {"duplicate_question": 165})
    assert graph_size(seeds, folded) == (2944, 15008)
    everything = read_seeds(path, keep_duplicates=True)
    assert len(everything) == 3436
    assert graph_size(everything, str) == (2975, 15132)


def test_tal_routes_yield_their_nodes_in_both_languages(real_data):
    path = real_data("seed_tal_math_en_zh.jsonl")
    settings = {"columns": {"knowledge_points": "kp_routes"}, "route_separator": "->", "difficulty_scale": "0-4"}
    seeds = read_seeds(path, **settings)
    assert (len(seeds), Counter(r.reason for r in seeds.rejects)) == (3881, {"duplicate_question": 119})
    assert "difficulty_off_scale" not in seeds.notes
    assert Counter(seeds.table["language"].to_pylist()).keys() == {"en", "zh"}

    everything = read_seeds(path, keep_duplicates=True, **settings)
    raw = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for field in ("question", "answer", "options"):  # Chinese and LaTeX as shipped
        assert everything.table[field].to_pylist() == [record[field] for record in raw]
    assert everything.table["difficulty"].to_pylist() == [record["difficulty"] + 1 for record in raw]
    # The README's 1,272 points and 6,324 pairs of the Chinese half leave out the two top levels of each route.
    inner = set(), set()
    for record in raw:
        if record["language"] == "zh":
            nodes = sorted({node for route in record["kp_routes"] for node in route.split("->")[2:]})
            inner[0].update(nodes)
            inner[1].update(itertools.combinations(nodes, 2))
    assert tuple(map(len, inner)) == (1272, 6324)


def test_the_language_guess_agrees_with_the_labels_of_real_questions(real_data):
    labelled = [
        json.loads(line)
        for name in ("seed_openstax_en.jsonl", "seed_tal_math_en_zh.jsonl")
        for line in real_data(name).read_text(encoding="utf-8").splitlines()
    ]
    wrong = [record for record in labelled if guess_language(record["question"]) != record["language"]]
    assert len(wrong) <= 5  # English questions with a Chinese heading, labelled zh


def test_seeds_with_private_data_are_rejected_only_if_wanted(tmp_path):
    path = tmp_path / "seeds.jsonl"
    rows = [{"question": "Who answers?", "answer": f"Ask jane.roe{i}@uni-bonn.de"} for i in range(20)]
    rows.append({"question": "Who else answers?", "answer": "Nobody."})
    path.write_text(
        "".join(json.dumps({**row, "question": f"{i}: {row['question']}"}) + "\n" for i, row in enumerate(rows))
    )
    assert len(read_seeds(path)) == 21
    seeds = read_seeds(path, reject_private=True)
    assert len(seeds) == 1
    assert {(reject.reason, reject.detail) for reject in seeds.rejects} == {("private_data", "email")}
