"""Seeds made by columns are those made record by record; keys find exactly the same texts."""

import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linksyn_gpu.errors import DataError
from linksyn_gpu.seeds import keys, normalize
from linksyn_gpu.seeds.columns import text_buffers
from linksyn_gpu.seeds.normalize import made_id, read_seeds
from linksyn_gpu.tables import Seeds
from linksyn_gpu.text.languages import guess_language

TEXT = st.one_of(
    st.text(alphabet="ab  \t\u3000é光’\x1c$", max_size=8),
    st.sampled_from(["", " ", "A", "b.", "2", "nan", "None", "['x', 'y']", "the cat of", "work\n#### 42", "Level 2"]),
)
SCALAR = st.one_of(TEXT, TEXT, TEXT, st.none(), st.integers(-1, 6), st.floats(), st.booleans())
TEXTS = st.lists(st.one_of(TEXT, TEXT, st.none()), max_size=3)
COLUMNS = {
    "question": TEXT,
    "answer": st.one_of(TEXT, SCALAR),
    "options": st.one_of(TEXTS, TEXTS, SCALAR),
    "id": st.one_of(TEXT, st.integers(0, 3), SCALAR),
    "discipline": st.one_of(TEXT, TEXTS, SCALAR),
    "level": SCALAR,
    "kps": st.one_of(TEXTS, TEXT, SCALAR),
    "language": st.one_of(TEXT, st.none()),
    "source": st.one_of(TEXT, SCALAR),
    "explanation": st.one_of(TEXT, SCALAR),
}


@st.composite
def banks(draw):
    """Records with the same keys; a column mostly holds values of one kind."""
    names = ["question", *draw(st.lists(st.sampled_from([*COLUMNS][1:]), unique=True))]
    kinds = {
        name: draw(st.sampled_from([COLUMNS[name], TEXT, TEXTS if name in ("kps", "options") else TEXT]))
        for name in names
    }
    return draw(st.lists(st.fixed_dictionaries(kinds), min_size=1, max_size=8))


def outcome(read, **options):
    try:
        seeds = read(**options)
    except DataError as error:
        return str(error)
    rejects = [(reject.line, reject.reason) for reject in seeds.rejects]
    return seeds.table.to_pylist(), rejects, seeds.notes, seeds.layouts, list(seeds.unanswered)


OPTIONS = st.fixed_dictionaries(
    {
        "keep_duplicates": st.booleans(),
        "route_separator": st.sampled_from([None, "a"]),
        "max_chars": st.sampled_from([9, 99]),
    }
)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=banks(), options=OPTIONS)
def test_seeds_made_by_columns_are_those_made_one_by_one(monkeypatch, records, options):
    found = []
    for fewest in (1, 10**9):
        monkeypatch.setattr(normalize, "_FEWEST_BY_COLUMNS", fewest)
        found.append(outcome(lambda **o: Seeds.from_records(records, **o), **options))
    assert found[0] == found[1]


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=banks(), options=OPTIONS)
def test_parquet_columns_give_the_seeds_of_their_rows(monkeypatch, tmp_path, records, options):
    try:
        table = pa.Table.from_pylist(records)
    except (pa.ArrowException, TypeError, OverflowError):
        return  # values of several types
    pq.write_table(table, tmp_path / "x.parquet")
    found = []
    for fewest in (1, 10**9):
        monkeypatch.setattr(normalize, "_FEWEST_BY_COLUMNS", fewest)
        found.append(outcome(lambda **o: read_seeds(tmp_path / "x.parquet", **o), **options))
    assert found[0] == found[1]


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=5), max_size=3), st.text(), st.text())
def test_a_made_id_is_that_of_the_json_of_its_texts(options, question, answer):
    import hashlib

    try:
        text = json.dumps([question, options, answer], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    assert made_id(question, options, answer) == f"seed-{hashlib.blake2b(text).hexdigest()[:16]}"


# --- kernels

WORDS = [
    *"the der ist une le und What x don't AB il che van het para d' 'a a''b l’eau e.g. 2nd is_the of — “the é".split(),  # noqa: SIM905
    *(" ", "\t"),
]


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | st.text(max_size=12), max_size=6))
def test_a_text_that_is_surely_english_is_guessed_to_be(texts):
    texts = [text for text in texts if text.isprintable() or text.isascii()]
    found = keys.surely_english(*text_buffers(pa.array(texts, pa.string())))
    assert [guess_language(text) for text, sure in zip(texts, found, strict=True) if sure] == ["en"] * int(found.sum())


def test_plain_english_is_recognised_without_python():
    texts = [
        "What moves water through a membrane?",
        "It’s the “last” one — isn't it?",
        "1 + 1",
        "Was ist das für der?",
        "$x$",
    ]
    assert keys.surely_english(*text_buffers(pa.array(texts))).tolist() == [True, True, True, False, False]


def test_no_two_of_a_million_similar_texts_share_either_half_of_a_key():
    found = keys.text_keys(*text_buffers(pa.array([f"question {i}" for i in range(1_000_000)])))
    assert len(np.unique(found[:, 0])) == len(np.unique(found[:, 1])) == 1_000_000


def test_the_table_of_keys_grows_and_stays_as_full_as_it_may_be():
    seen, made = keys.SeenKeys(), np.zeros(1000, np.bool_)
    for part in range(20):
        texts = pa.array([f"{part} {i}" for i in range(1000)])
        found = keys.text_keys(*text_buffers(texts))
        assert (seen.judge(found, found, made, 1, None) == keys.NEW).all()
        assert (seen.judge(found, found, made, 1, None) == keys.SEEN_ID).all()
    table = seen._questions
    assert table.used == np.count_nonzero(table.files) == 20_000
    assert table.used <= keys.FULLNESS * table.files.size


@pytest.mark.parametrize("n", [0, 3])
def test_buffers_of_a_slice_are_those_of_its_texts(n):
    texts = pa.array(["a", "bc", "", "def", "g"]).slice(1, n)
    data, offsets = text_buffers(texts)
    assert [bytes(data[a:b]).decode() for a, b in pairwise(offsets)] == texts.to_pylist()
