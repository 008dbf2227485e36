"""Seeds from columns of plain values, a batch at a time: what `normalize` makes of each record, without its loop.

Rows that need more than a column holds, such as an answer that names an option, are left to the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from linksyn_gpu.seeds import keys
from linksyn_gpu.seeds.answers import is_choice, is_reference
from linksyn_gpu.tables import Bool, Int32, UInt64, seed_schema
from linksyn_gpu.text.languages import guess_language

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BYTES = 2**22
"""A row whose texts together are longer is left to the loop, which counts its characters."""
_LONGEST_REFERENCE = 12


class PlainSeeds(NamedTuple):
    """Seeds of a batch."""

    batch: pa.RecordBatch
    """Columns of `seed_schema`."""
    left: Bool
    """Rows that are left to the loop; what `batch` and `notes` hold of them has no meaning."""
    notes: dict[str, Bool]
    """Note -> rows that have it."""


class NotPlain(Exception):
    """A column holds values of other types."""


class ValueRules(NamedTuple):
    """Functions of `normalize` for single values; each may raise `Unfit`, which leaves the row to the loop."""

    disciplines: Callable[[Any], tuple[list[str], bool]]
    points: Callable[[Any], tuple[list[str], bool]]
    clean_point: Callable[[str], bool] | None
    """Whether an entry of a list of knowledge points stays as it is; None: lists are changed by `points`."""
    difficulty: Callable[[Any], tuple[int | None, bool]]
    made_id: Callable[[str, Sequence[str], str], str]
    unfit: type[Exception]


def columns_of_records(records: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> dict[str, pa.Array]:
    """Return the fields of records with the same keys as Arrow arrays; raise `NotPlain` for values of other types."""
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), list: pa.list_(pa.string())}
    found: dict[str, pa.Array] = {}
    for field, column in columns.items():
        values = [record[column] for record in records]
        first = next((type(value) for value in values if value is not None), str)
        # Arrow would take a whole float for an integer, and an integer for a float.
        numbers = first in (int, float) and any(type(value) not in (first, type(None)) for value in values)
        if first not in kinds or numbers:
            raise NotPlain(field)
        try:
            found[field] = pa.array(values, kinds[first])
        except (pa.ArrowException, TypeError, ValueError, OverflowError):  # other types, or a lone surrogate
            raise NotPlain(field) from None
    return found


def plain_seeds(columns: Mapping[str, pa.Array], n: int, max_chars: int, rules: ValueRules) -> PlainSeeds:
    """Make seeds of columns: seed field -> array of texts, integers or lists of texts.

    Raises
    ------
    NotPlain
        A column has another type, or the answers are numbers of options.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    question = _text(columns, "question", n)
    raw_answer = columns.get("answer")
    answer = _text(columns, "answer", n)
    options = _text_lists(columns.get("options"), n)
    left = ~_visible(question) | question.is_null().to_numpy(False) | _has_null(options)
    question, answer = pc.fill_null(question, ""), pc.fill_null(answer, "")

    n_options = np.diff(options.offsets.to_numpy())
    if raw_answer is not None and pa.types.is_integer(raw_answer.type) and n_options.any():
        raise NotPlain("answer")
    lengths = pc.binary_length(answer).to_numpy(False)
    left |= pc.match_substring(answer, "####").to_numpy(False)
    short = np.flatnonzero((lengths > 0) & (lengths <= _LONGEST_REFERENCE))
    for row, text in zip(short.tolist(), answer.take(short).to_pylist(), strict=True):
        if is_reference(text) if n_options[row] else is_choice(text):
            left[row] = True

    sizes = np.concatenate(([0], np.cumsum(pc.utf8_length(pc.fill_null(options.values, "")).to_numpy(False))))
    ends = options.offsets.to_numpy()
    chars = (
        pc.add(pc.utf8_length(question), pc.utf8_length(answer)).to_numpy(False) + sizes[ends[1:]] - sizes[ends[:-1]]
    )
    left |= chars > max_chars

    own_id, source, license_, explanation, language = (
        _text(columns, name, n) for name in ("id", "source", "license", "explanation", "language")
    )
    disciplines, missing_discipline = _by_value(columns.get("disciplines"), n, rules.disciplines, rules.unfit, left)
    points, missing_point = _points(columns.get("knowledge_points"), n, rules, left)
    difficulty, off_scale = _difficulty(columns.get("difficulty"), n, rules, left)
    texts = (question, answer, own_id, source, license_, explanation, language)
    left |= sum(pc.fill_null(pc.binary_length(text), 0).to_numpy(False).astype(np.int64) for text in texts) > MAX_BYTES

    made, guessed = ~_visible(own_id), ~_visible(language)
    own_id = pc.if_else(pa.array(made), None, own_id)
    rows = np.flatnonzero(made & ~left)
    ids = _filled(own_id, rows, map(rules.made_id, *(c.take(rows).to_pylist() for c in (question, options, answer))))
    english = keys.surely_english(*text_buffers(question))
    language = pc.if_else(pa.array(guessed), "en", language)
    rows = np.flatnonzero(guessed & ~english & ~left)
    language = _filled(language, rows, map(guess_language, question.take(rows).to_pylist()))
    arrays = [
        *(ids, question, answer, options, disciplines, difficulty, points, language),
        *(
            _nonempty(source),
            _nonempty(license_),
            own_id,
            pc.if_else(pa.array(_visible(explanation)), explanation, None),
        ),
    ]
    notes = {
        "empty_answer": ~_visible(answer),
        "no_knowledge_points": np.diff(points.offsets.to_numpy()) == 0,
        "difficulty_off_scale": off_scale,
        "missing_word": missing_discipline | missing_point,
        "language_guessed": guessed,
        "id_made": made,
    }
    return PlainSeeds(pa.RecordBatch.from_arrays(arrays, schema=seed_schema()), left, notes)


def question_keys(batch: pa.RecordBatch, compared: Callable[[str], str]) -> UInt64:
    """Return the keys of the questions with their options, in the form in which they are compared."""
    import pyarrow as pa

    question, options = batch.column("question"), batch.column("options")
    lists = options.offsets.to_numpy()
    found, done = keys.ascii_question_keys(*text_buffers(question), *text_buffers(options.values), lists)
    rows = np.flatnonzero(~done)
    if rows.size:
        both = zip(question.take(rows).to_pylist(), options.take(rows).to_pylist(), strict=True)
        # `compared` collapses U+001F as white space, so the joined text is unambiguous.
        joined = pa.array(["\x1f".join(map(compared, (text, *more))) for text, more in both], pa.string())
        found[rows] = keys.text_keys(*text_buffers(joined))
    return found  # type: ignore[no-any-return]


def id_keys(ids: pa.Array) -> UInt64:
    """Return the keys of ids."""
    return keys.text_keys(*text_buffers(ids))  # type: ignore[no-any-return]


def text_buffers(texts: pa.Array) -> tuple[Any, Int32]:
    """Return the bytes of an array of texts, and int32 [n + 1] where each begins."""
    _, offsets, data = texts.buffers()
    found = np.frombuffer(data, np.uint8) if data is not None and data.size else _NO_BYTES
    if offsets is None or not len(texts):
        return found, _NO_OFFSETS
    return found, np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]


_NO_BYTES, _NO_OFFSETS = np.zeros(0, np.uint8), np.zeros(1, np.int32)
_NO_BYTES.flags.writeable = _NO_OFFSETS.flags.writeable = False  # as those of Arrow: Numba compiles for one kind


def _text(columns: Mapping[str, pa.Array], field: str, n: int) -> pa.Array:
    """Return a column as texts; integers are written as JSON writes them."""
    import pyarrow as pa

    column = columns.get(field)
    if column is None or pa.types.is_null(column.type):
        return pa.nulls(n, pa.string())
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    kind = column.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (is_text or (pa.types.is_integer(kind) and field != "question")):
        raise NotPlain(field)
    return column.cast(pa.string())


def _text_lists(column: pa.Array | None, n: int) -> pa.ListArray:
    """Return lists of texts; a null list is empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = pa.list_(pa.string())
    if column is None or pa.types.is_null(column.type):
        return pa.array([[]] * n, lists)
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise NotPlain("lists")
    if not (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)):
        if len(pc.list_flatten(column)):
            raise NotPlain("lists")
        return pa.array([[]] * n, lists)
    sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy(False)
    offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pc.list_flatten(column).cast(pa.string()))


def _has_null(options: pa.ListArray) -> Bool:
    nulls = np.concatenate(([0], np.cumsum(options.values.is_null().to_numpy(False))))
    ends = options.offsets.to_numpy()
    return np.asarray(nulls[ends[1:]] > nulls[ends[:-1]])


def _visible(texts: pa.Array) -> Bool:
    """Whether each text has a character that is not white space; a null has none."""
    found = keys.visible_texts(*text_buffers(texts))
    for row in np.flatnonzero(found == keys.UNSURE).tolist():
        found[row] = bool(texts[row].as_py().strip())
    return np.asarray((found == keys.VISIBLE) & texts.is_valid().to_numpy(False))


def _by_value(
    column: pa.Array | None, n: int, rule: Callable[[Any], tuple[list[str], bool]], unfit: type[Exception], left: Bool
) -> tuple[pa.ListArray, Bool]:
    """Apply a rule for lists to each value, to texts that repeat once; returns lists, and where a word was missing."""
    import pyarrow as pa

    lists = pa.list_(pa.string())
    flagged = np.zeros(n, np.bool_)
    if column is None or pa.types.is_null(column.type):
        return pa.array([[]] * n, lists), flagged
    known: dict[Any, tuple[list[str], bool] | None] = {}
    made: list[list[str]] = []
    for row, value in enumerate(column.to_pylist()):
        key = tuple(value) if type(value) is list else value
        try:
            if key not in known:
                known[key] = rule(value)
        except unfit:
            known[key] = None
        except TypeError:  # a list of lists or objects has no hash
            raise NotPlain("lists") from None
        result = known[key]
        if result is None:
            left[row] = True
        made.append([] if result is None else result[0])
        flagged[row] = result is not None and result[1]
    return pa.array(made, lists), flagged


def _points(column: pa.Array | None, n: int, rules: ValueRules, left: Bool) -> tuple[pa.ListArray, Bool]:
    """Return lists of knowledge points, and where a word was missing."""
    import pyarrow as pa

    is_list = column is not None and (pa.types.is_list(column.type) or pa.types.is_large_list(column.type))
    if not is_list or rules.clean_point is None:
        return _by_value(column, n, rules.points, rules.unfit, left)
    lists = _text_lists(column, n)
    encoded = lists.values.dictionary_encode()
    clean = np.array([*map(rules.clean_point, encoded.dictionary.to_pylist()), False])
    places = encoded.indices.fill_null(len(clean) - 1).to_numpy(False)
    unclean = np.concatenate(([0], np.cumsum(~clean[places])))[lists.offsets.to_numpy()]
    left |= np.diff(unclean) > 0
    return lists, np.zeros(n, np.bool_)


def _difficulty(column: pa.Array | None, n: int, rules: ValueRules, left: Bool) -> tuple[pa.Array, Bool]:
    import pyarrow as pa

    if column is None or pa.types.is_null(column.type):
        return pa.nulls(n, pa.int8()), np.zeros(n, np.bool_)
    if pa.types.is_nested(column.type):
        raise NotPlain("difficulty")
    encoded = column if isinstance(column, pa.DictionaryArray) else column.dictionary_encode()
    levels = [rules.difficulty(value) for value in encoded.dictionary.to_pylist()]
    values = pa.array([level for level, _ in levels], pa.int8())
    off = np.array([not on_scale for _, on_scale in levels] + [False])
    places = encoded.indices.fill_null(len(levels)).to_numpy(False)
    return values.take(encoded.indices), off[places]


def _nonempty(texts: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(texts, ""), None, texts)


def _filled(texts: pa.Array, rows: Any, values: Any) -> pa.Array:
    """Return texts with those of some rows replaced."""
    import pyarrow as pa
    import pyarrow.compute as pc

    mask = np.zeros(len(texts), np.bool_)
    mask[rows] = True
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(list(values), pa.string()))
