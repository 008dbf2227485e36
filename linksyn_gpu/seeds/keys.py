"""Keys of texts: 128-bit hashes that find duplicates among any number of records, and what ASCII bytes tell of a text.

A slot of a table takes 20 bytes, a table is at most 70 % full, and there are two: 57 to 114 bytes per record, however
long its texts are, and half as much again while a table grows.
The hash is this project's own (FNV-1a in two lanes with Murmur3's final mix). It is not cryptographic: among 10 million
records that nobody crafted, two different ones share a key with probability 10^-25.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from linksyn_gpu.tables import Bool, Int32, UInt64
from linksyn_gpu.text.languages import FUNCTION_WORDS, MIN_FUNCTION_WORDS

UInt8 = NDArray[np.uint8]

_P1, _P2 = np.uint64(0x100000001B3), np.uint64(0x9E3779B97F4A7C15)
_START1, _START2 = np.uint64(0xCBF29CE484222325), np.uint64(0x84222325CBF29CE4)
_MIX1, _MIX2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_SEPARATOR = np.uint64(0x1F)
_SPACE = np.uint64(0x20)
FULLNESS = 0.7

BLANK, VISIBLE, UNSURE = 0, 1, 2
"""Whether a text has a character that is not white space; UNSURE: only characters beyond ASCII can tell."""

NEW, SEEN_QUESTION, SEEN_ID = 0, 2, 3
"""Verdicts on rows."""
_NO_FILE = np.int32(2**31 - 1)
"""In place of a file's number: the key of an id that was made unique."""


@njit(cache=True, nogil=True)
def _step(first: Any, second: Any, byte: Any) -> Any:
    return (first ^ byte) * _P1, ((second << np.uint64(23)) | (second >> np.uint64(41))) * _P2 ^ byte


@njit(cache=True, nogil=True)
def _mixed(value: Any) -> Any:
    value = (value ^ (value >> np.uint64(33))) * _MIX1
    value = (value ^ (value >> np.uint64(33))) * _MIX2
    return value ^ (value >> np.uint64(33))


@njit(cache=True, nogil=True)
def _is_space(byte: Any) -> Any:
    """White space of `str.split` within ASCII."""
    return byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31


@njit(cache=True, nogil=True)
def _collapsed(data: UInt8, start: Any, end: Any, first: Any, second: Any) -> Any:
    """Add a text to a hash, trimmed and with runs of white space as one space; returns also whether it is ASCII."""
    begun = gap = False
    for place in range(start, end):
        byte = data[place]
        if byte >= 128:
            return first, second, False
        if _is_space(byte):
            gap = begun
            continue
        if gap:
            first, second = _step(first, second, _SPACE)
        first, second = _step(first, second, np.uint64(byte))
        begun, gap = True, False
    return first, second, True


@njit(cache=True, nogil=True)
def ascii_question_keys(data: UInt8, offsets: Int32, option_data: UInt8, option_offsets: Int32, lists: Int32) -> Any:
    """Return uint64 [n, 2] keys of questions with their options, and bool [n], whether a row is ASCII and has one."""
    n = offsets.size - 1
    keys = np.empty((n, 2), np.uint64)
    done = np.ones(n, np.bool_)
    for row in range(n):
        first, second, plain = _collapsed(data, offsets[row], offsets[row + 1], _START1, _START2)
        for option in range(lists[row], lists[row + 1]):
            first, second = _step(first, second, _SEPARATOR)
            first, second, also = _collapsed(
                option_data, option_offsets[option], option_offsets[option + 1], first, second
            )
            plain = plain and also
        keys[row, 0], keys[row, 1], done[row] = _mixed(first), _mixed(second), plain
    return keys, done


@njit(cache=True, nogil=True)
def text_keys(data: UInt8, offsets: Int32) -> Any:
    """Return uint64 [n, 2] keys of texts, byte by byte."""
    n = offsets.size - 1
    keys = np.empty((n, 2), np.uint64)
    for row in range(n):
        first, second = _START1, _START2
        for place in range(offsets[row], offsets[row + 1]):
            first, second = _step(first, second, np.uint64(data[place]))
        keys[row, 0], keys[row, 1] = _mixed(first), _mixed(second)
    return keys


@njit(cache=True, nogil=True)
def visible_texts(data: UInt8, offsets: Int32) -> Any:
    """Return uint8 [n]: BLANK, VISIBLE or UNSURE."""
    n = offsets.size - 1
    found = np.zeros(n, np.uint8)
    for row in range(n):
        for place in range(offsets[row], offsets[row + 1]):
            if data[place] >= 128:
                found[row] = UNSURE
            elif not _is_space(data[place]):
                found[row] = VISIBLE
                break
    return found


_MAX_WORD = 8
_WORDS_BY_LANGUAGE = {
    language: [word for word in words if word.isascii()] for language, words in FUNCTION_WORDS.items()
}
assert max(len(word) for words in _WORDS_BY_LANGUAGE.values() for word in words) <= _MAX_WORD
_PACKED = np.array(
    sorted({int.from_bytes(word.encode(), "big") for words in _WORDS_BY_LANGUAGE.values() for word in words}), np.uint64
)
"""ASCII function words, each as a number, in order."""
_OF_LANGUAGE = np.array(
    [
        [int(packed).to_bytes(_MAX_WORD, "big").lstrip(b"\0").decode() in words for words in FUNCTION_WORDS.values()]
        for packed in _PACKED
    ]
)
_ENGLISH = list(FUNCTION_WORDS).index("English")


@njit(cache=True, nogil=True)
def _surely_english(data: UInt8, offsets: Int32, packed: UInt64, of_language: Bool, english: Any, fewest: Any) -> Any:
    n = offsets.size - 1
    sure = np.zeros(n, np.bool_)
    counts = np.zeros(of_language.shape[1], np.int64)
    for row in range(n):
        counts[:] = 0
        place, end, plain = offsets[row], offsets[row + 1], True
        while place < end and plain:
            length, code, proper = 0, np.uint64(0), True
            while place < end:  # a word: letters, with single apostrophes inside
                byte = data[place]
                if byte == 0xE2 and data[place + 1] == 0x80:  # U+2000 to U+203F: quotes, dashes, spaces
                    place += 2
                    byte = np.uint8(39 if data[place] == 0x99 else 45)  # U+2019 is an apostrophe
                if byte >= 128 or byte == 36 or byte == 92 or byte == 96 or byte == 123:  # $ \ ` {: a formula or code
                    plain = False
                    break
                is_upper = 65 <= byte <= 90
                is_letter = is_upper or 97 <= byte <= 122
                inside = byte == 39 and length > 0 and place + 1 < end
                inside = inside and (65 <= data[place + 1] <= 90 or 97 <= data[place + 1] <= 122)
                if not (is_letter or inside):
                    break
                proper = proper and not (is_upper and length > 0)
                code = (code << np.uint64(8)) | np.uint64(byte + 32 if is_upper else byte)
                length += 1
                place += 1
            place += 1
            if 2 <= length <= _MAX_WORD and proper:
                found = np.searchsorted(packed, code)
                if found < packed.size and packed[found] == code:
                    for language in range(counts.size):
                        counts[language] += of_language[found, language]
        own = counts[english]
        counts[english] = 0
        sure[row] = plain and counts.max() < max(fewest, own + 1)
    return sure


def surely_english(data: UInt8, offsets: Int32) -> Bool:
    """Tell for each text whether it is sure that `guess_language` finds it to be English.

    It is sure of texts in ASCII and typographic marks without formulas.
    """
    found: Bool = _surely_english(data, offsets, _PACKED, _OF_LANGUAGE, _ENGLISH, MIN_FUNCTION_WORDS)
    return found


@njit(cache=True, nogil=True)
def _slot(keys: UInt64, files: Int32, first: Any, second: Any) -> Any:
    """Return the slot of a key, or the free one where it belongs."""
    last = np.uint64(files.size - 1)
    slot = first & last
    while files[slot] != 0 and (keys[slot, 0] != first or keys[slot, 1] != second):
        slot = (slot + np.uint64(1)) & last
    return slot


@njit(cache=True, nogil=True)
def _move(keys: UInt64, files: Int32, new_keys: UInt64, new_files: Int32) -> None:
    for slot in range(files.size):
        if files[slot] != 0:
            new = _slot(new_keys, new_files, keys[slot, 0], keys[slot, 1])
            new_keys[new], new_files[new] = keys[slot], files[slot]


@njit(cache=True, nogil=True)
def _judge(
    begin: Any, questions: UInt64, ids: UInt64, made: Bool, file: Any,
    q_keys: UInt64, q_files: Int32, i_keys: UInt64, i_files: Int32, verdicts: UInt8,
) -> Any:  # fmt: skip
    """Judge rows from `begin` on; returns the first row whose id an earlier file has, or the number of rows."""
    for row in range(begin, verdicts.size):
        question = _slot(q_keys, q_files, questions[row, 0], questions[row, 1])
        id_ = _slot(i_keys, i_files, ids[row, 0], ids[row, 1])
        seen_id = i_files[id_] == file
        if q_files[question] != 0 and (made[row] or not seen_id):
            verdicts[row] = SEEN_QUESTION
        elif seen_id:
            verdicts[row] = SEEN_ID
        elif i_files[id_] != 0:
            return row
        else:
            q_keys[question], q_files[question] = questions[row], 1
            i_keys[id_], i_files[id_] = ids[row], file
    return verdicts.size


class _Table:
    """A hash table with open addressing: key -> number of a file, 0 for a free slot."""

    def __init__(self) -> None:
        self.keys: UInt64 = np.zeros((1024, 2), np.uint64)
        self.files: Int32 = np.zeros(1024, np.int32)
        self.used = 0

    def reserve(self, more: int) -> None:
        """Make place for further keys."""
        size = self.files.size
        while self.used + more > FULLNESS * size:
            size *= 2
        if size != self.files.size:
            keys, files = np.zeros((size, 2), np.uint64), np.zeros(size, np.int32)
            _move(self.keys, self.files, keys, files)
            self.keys, self.files = keys, files

    def put(self, key: UInt64, file: int) -> None:
        """Set the file of a key."""
        slot = _slot(self.keys, self.files, key[0], key[1])
        self.used += self.files[slot] == 0
        self.keys[slot], self.files[slot] = key, file

    def has(self, key: UInt64) -> bool:
        """Whether the key is in the table."""
        return bool(self.files[_slot(self.keys, self.files, key[0], key[1])])


class SeenKeys:
    """Keys of the seeds so far: their questions, and their ids with the file that each was last read from."""

    def __init__(self) -> None:
        self._questions, self._ids = _Table(), _Table()

    def judge(self, questions: UInt64, ids: UInt64, made: Bool, file: int, rename: Any) -> UInt8:
        """Return a verdict on each row, in order, and remember the new ones.

        Parameters
        ----------
        questions, ids : uint64 [n, 2]
            Keys.
        made : bool [n]
            Whether the id was derived from the content.
        file : int
            Number of the file, from 1.
        rename : callable
            Given a row whose id an earlier file has and a function that tells whether a key is in use, returns the key
            of a unique id.
        """
        verdicts = np.zeros(len(made), np.uint8)
        self._questions.reserve(len(made))
        self._ids.reserve(2 * len(made))
        row = renamed = 0
        while True:
            q, i = self._questions, self._ids
            row = _judge(row, questions, ids, made, np.int32(file), q.keys, q.files, i.keys, i.files, verdicts)
            if row == len(made):
                break
            i.put(ids[row], file)
            i.put(rename(row, i.has), int(_NO_FILE))
            q.put(questions[row], 1)
            renamed += 1
            row += 1
        by_judge = int((verdicts == NEW).sum()) - renamed  # `put` counts its own
        self._questions.used += by_judge
        self._ids.used += by_judge
        return verdicts
