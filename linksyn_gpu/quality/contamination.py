"""Benchmark items in texts: an item is found if enough of its weight stands in n-grams that the text has too.

Items and texts are cut into tokens (`text.tokens`), in which case, width, punctuation, LaTeX spelling and traditional
characters make no difference. A token weighs its inverse document frequency among the items, scaled so that a word
that no other item has weighs 1; words of every exam question weigh little even where the benchmark is small. A token
of an item is matched if one of the item's n-grams around it is an n-gram of the text. n is 5, and 3 where a part of an
item has fewer than 10 tokens. Each option and the answer are parts of their own: their order makes no difference.

An item is a hit if enough of the weight of its question is matched: all of it for a question that weighs `ALONE`, and
less for a heavier one, down to `SHARE` from `HEAVY` on. A lighter question ("Which of the following is true?"), or one
of which less is matched, is a hit only together with its options or with its answer: at least `SHARE` of each is
matched, and of both together all if they weigh `FLOOR`, less if they weigh more. An item without a question, and one
that weighs less than `FLOOR` with options and answer, is never a hit.

An item is looked up by its rarest n-grams: as many of them as a hit cannot do without. The lookup therefore loses no
hit. Nothing depends on the order of the texts, on batches or on threads.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numba import get_num_threads, njit
from numpy.typing import NDArray

from linksyn_gpu.tables import Bool, Float64, Int64, UInt64
from linksyn_gpu.text.languages import FUNCTION_WORDS
from linksyn_gpu.text.ngrams import FNV_PRIME, mixed
from linksyn_gpu.text.tokens import folded, tokens_of, word_hash
from linksyn_gpu.text.words import word_list

REASON = "contaminated"
"""Reason of a drop."""
SHARE = 0.6
FLOOR, ALONE, HEAVY = 2.5, 5.0, 12.0
"""Weights of an item: the least one with options or answer, the least one without, and where `SHARE` suffices."""
WIDE, NARROW, FEWEST_FOR_WIDE = 5, 3, 10
SLACK = 1e-9
"""For sums of weights that are equal but for rounding."""
PRIOR_ITEMS = 1_000
"""Imagined items that make the weights of a small benchmark like those of a large one."""
EXAM_WORDS = word_list(
    "which following statement statements true false correct incorrect wrong right answer answers option options "
    "choose select best describes describe described above below none all both neither one two three four not except "
    "example most likely least true according passage text figure question questions find calculate compute determine "
    "value values number numbers many much if then given let suppose following true would you your we there following "
    "his her he she they them their an i ii iii iv only about between"
)
EXAM_CHARACTERS = (
    "下列说法正确的是不中面哪项个一有关于叙述错误以选择题目答案其为和或与在了请问多少几如果那么则上以这些种各"
)
BATCH = 512
"""Texts that a thread searches at a time. Never changes a result."""
MAX_SHOWN = 400
"""Longest matched text that a hit names, in characters."""


@dataclass(frozen=True)
class BenchmarkItem:
    """One item of a benchmark file."""

    id: str
    file: str
    question: str
    options: tuple[str, ...] = ()
    answer: str = ""


@dataclass(frozen=True)
class Hit:
    """A benchmark item that stands in a text."""

    item: str
    """Id of the item."""
    file: str
    """Its benchmark file."""
    share: float
    """Share of the item's weight that is matched: of its question, or of its question with options or answer."""
    matched: str
    """The parts of the text that match, as they are compared, with ' … ' between them."""

    def row(self) -> dict[str, Any]:
        """The hit as a row of a JSON file."""
        return {**asdict(self), "share": round(self.share, 4)}


def searched_text(
    question: str, options: Sequence[str] | None = None, answer: str | None = None, explanation: str | None = None
) -> str:
    """The text of a seed or QA that is searched: all that it says."""
    return "\n".join([question, *(options or ()), answer or "", explanation or ""])


class Benchmarks:
    """Benchmark items, ready to be found in texts.

    Parameters
    ----------
    items : sequence of BenchmarkItem
    share : float
        Least share of an item's weight that a hit matches, in (0, 1].
    remarks : sequence of str
        What to know about the files: items that could not be read.

    Examples
    --------
    >>> item = BenchmarkItem("q1", "exam.jsonl", "Which enzyme unwinds the double helix ahead of the fork?")
    >>> found = Benchmarks([item]).best_hits(["1. Which enzyme unwinds the DOUBLE HELIX ahead of the fork"])
    >>> found[0].item, found[0].share
    ('q1', 1.0)
    """

    def __init__(self, items: Sequence[BenchmarkItem], share: float = SHARE, remarks: Sequence[str] = ()) -> None:
        self.items = list(items)
        self.share = share
        self.remarks = list(remarks)
        parts = [part for item in self.items for part in (item.question, *item.options, item.answer)]
        cut = tokens_of(parts)
        sizes = [2 + len(item.options) for item in self.items]
        self._item_parts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
        self._part_tokens, self._tokens = cut.indptr, cut.tokens
        self._weights = _weights(cut.tokens, np.diff(cut.indptr[self._item_parts]))
        self._index = _index(self._tokens, self._weights, self._part_tokens, self._item_parts, share)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def too_light(self) -> Bool:
        """[n_items] items that are no hit of any text: they have no question or weigh less than `FLOOR`."""
        sums = np.concatenate([[0.0], np.cumsum(self._weights)])
        weight = np.diff(sums[self._part_tokens])
        first, answer = self._item_parts[:-1], self._item_parts[1:] - 1
        question = weight[first]
        options = np.diff(np.concatenate([[0.0], np.cumsum(weight)])[np.stack([first + 1, answer])], axis=0)[0]
        both = question + np.maximum(options, weight[answer])
        empty = np.diff(self._part_tokens)[first] == 0
        light: Bool = empty | ((question < ALONE) & (both < FLOOR))
        return light

    def best_hits(self, texts: Iterable[str]) -> list[Hit | None]:
        """Find the item of which each text has the largest share, the first of equal ones; None without a hit."""
        return [hits[0] if hits else None for hits in self.hits(texts)]

    def hits(self, texts: Iterable[str]) -> Iterator[list[Hit]]:
        """Yield all hits of each text, the largest share first."""
        for batch, (rows, items, shares) in self._searched(texts):
            order = np.lexsort((items, -shares, rows))
            starts = np.searchsorted(rows[order], np.arange(len(batch) + 1))
            for text, (a, b) in zip(batch, itertools.pairwise(starts.tolist()), strict=True):
                yield [self._hit(text, int(items[n]), float(shares[n])) for n in order[a:b]]

    def found(self, texts: Iterable[str]) -> tuple[Int64, Int64, Float64]:
        """Text number, item number and share of every hit, in the order of the texts and then of the items."""
        parts: list[list[Any]] = [[np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]]
        first = 0
        for batch, (rows, items, shares) in self._searched(texts):
            order = np.lexsort((items, rows))
            for part, values in zip(parts, (rows + first, items, shares), strict=True):
                part.append(values[order])
            first += len(batch)
        return tuple(map(np.concatenate, parts))  # type: ignore[return-value]

    def _searched(self, texts: Iterable[str]) -> Iterator[tuple[list[str], tuple[Int64, Int64, Float64]]]:
        """Search batches of texts in threads; yields them in their order."""
        threads = get_num_threads()
        rows = iter(texts)
        with ThreadPoolExecutor(threads) as pool:
            waiting: list[Any] = []
            while True:
                while len(waiting) < 2 * threads and (batch := list(itertools.islice(rows, BATCH))):
                    waiting.append((batch, pool.submit(self._search, batch)))
                if not waiting:
                    return
                batch, search = waiting.pop(0)
                yield batch, search.result()

    def _search(self, texts: Sequence[str]) -> tuple[Int64, Int64, Float64]:
        cut = tokens_of(texts)
        rows, items, shares = _hits(
            cut.tokens,
            cut.indptr,
            *self._index,
            self._tokens,
            self._weights,
            self._part_tokens,
            self._item_parts,
            self.share,
        )
        return rows, items, shares

    def _hit(self, text: str, number: int, share: float) -> Hit:
        item = self.items[number]
        return Hit(item.id, item.file, share, self._matched_text(text, number))

    def _matched_text(self, text: str, number: int) -> str:
        """The stretches of a text that have n-grams of an item, the longest first if there is no room for all."""
        first, last = self._item_parts[number], self._item_parts[number + 1]
        grams = {
            gram
            for part in range(first, last)
            for gram in _grams(self._tokens[self._part_tokens[part] : self._part_tokens[part + 1]])
        }
        cut = tokens_of([text])
        matched = np.zeros(cut.tokens.size + 2, np.int8)
        for width in _WIDTHS:
            for place, gram in enumerate(_grams_of_width(cut.tokens, width)):
                if gram in grams:
                    matched[place + 1 : place + 1 + width] = 1
        edges = np.flatnonzero(np.diff(matched)).reshape(-1, 2)
        stretches = [(int(cut.begin[a]), int(cut.end[b - 1])) for a, b in edges]
        shown: list[tuple[int, int]] = []
        for a, b in sorted(stretches, key=lambda stretch: stretch[0] - stretch[1]):
            if shown and sum(y - x for x, y in shown) + b - a > MAX_SHOWN:
                break
            shown.append((a, b))
        whole = folded(text)
        return " … ".join(whole[a : min(b, a + MAX_SHOWN)] for a, b in sorted(shown))


_WIDTHS = (1, 2, NARROW, WIDE)


def _grams(tokens: UInt64) -> list[int]:
    return list(_grams_of_width(tokens, _width(tokens.size))) if tokens.size else []


def _grams_of_width(tokens: UInt64, width: int) -> Iterator[int]:
    for first in range(tokens.size - width + 1):
        yield int(_gram(tokens, first, width))


@functools.cache
def _common_tokens() -> UInt64:
    """Words of every exam question, ascending."""
    words = {*FUNCTION_WORDS["English"], *EXAM_WORDS, *EXAM_CHARACTERS}
    return np.array(sorted({word_hash(word) for word in words}), np.uint64)


@functools.cache
def _frequent_tokens() -> UInt64:
    """Small numbers and single letters, ascending."""
    words = {*(f"{n}" for n in range(101)), *(f"{n:02}" for n in range(10)), *map(chr, range(97, 123))}
    return np.array(sorted({word_hash(word) for word in words}), np.uint64)


def _weights(tokens: UInt64, sizes: Int64) -> Float64:
    """[n_tokens] log((N + P) / (df + p)), scaled to 1 for a token of a single item, and not below 0.

    N items and P = `PRIOR_ITEMS` imagined ones; df of the items have the token, and p of the imagined ones: half of
    them if it is a word of every exam, a twentieth if it is a small number or a letter, 1 otherwise.
    """
    known, number = np.unique(tokens, return_inverse=True)
    item = np.repeat(np.arange(sizes.size), sizes)
    pairs = np.unique(number.astype(np.int64) * max(1, sizes.size) + item)
    df = np.bincount(pairs // max(1, sizes.size), minlength=known.size)
    prior = np.ones(known.size)
    prior[np.isin(known, _frequent_tokens())] = PRIOR_ITEMS / 20
    prior[np.isin(known, _common_tokens())] = PRIOR_ITEMS / 2
    total = sizes.size + PRIOR_ITEMS
    weights = np.log(total / (df + prior)) / np.log(total / 2)
    return np.asarray(np.maximum(weights, 0.0)[number], np.float64)


def _index(
    tokens: UInt64, weights: Float64, part_tokens: Int64, item_parts: Int64, share: float
) -> tuple[UInt64, Int64, Int64, Int64]:
    """Hash table of the n-grams that items are looked up by: keys, place of each key, its postings, the items."""
    grams, owner, place = _question_grams(tokens, part_tokens, item_parts)
    _, number, count = np.unique(grams, return_inverse=True, return_counts=True)
    chosen = _needed(grams, owner, place, count[number], weights, part_tokens, item_parts, share)
    pairs = np.unique(np.stack([grams[chosen], owner[chosen].astype(np.uint64)]), axis=1)
    keys, starts = np.unique(pairs[0], return_index=True)
    slots, rows = _hash_table(keys)
    return slots, rows, np.append(starts, pairs.shape[1]).astype(np.int64), pairs[1].astype(np.int64)


@njit(nogil=True, cache=True)
def _width(size: int) -> int:
    """Tokens of an n-gram of a part of an item."""
    return WIDE if size >= FEWEST_FOR_WIDE else min(NARROW, size)


@njit(nogil=True, cache=True)
def _gram(tokens: UInt64, first: int, width: int) -> np.uint64:
    gram = np.uint64(width)
    for i in range(first, first + width):
        gram = mixed((gram ^ tokens[i]) * FNV_PRIME)
    return max(gram, np.uint64(1))  # 0 marks a free slot


@njit(nogil=True, cache=True)
def _question_grams(tokens: UInt64, part_tokens: Int64, item_parts: Int64) -> tuple[UInt64, Int64, Int64]:
    """The n-grams of all questions, the item of each, and its first token."""
    grams = np.empty(tokens.size, np.uint64)
    owner = np.empty(tokens.size, np.int64)
    place = np.empty(tokens.size, np.int64)
    filled = 0
    for item in range(item_parts.size - 1):
        begin, end = part_tokens[item_parts[item]], part_tokens[item_parts[item] + 1]
        width = _width(end - begin)
        if width == 0:
            continue
        for first in range(begin, end - width + 1):
            grams[filled], owner[filled], place[filled] = _gram(tokens, first, width), item, first
            filled += 1
    return grams[:filled].copy(), owner[:filled].copy(), place[:filled].copy()


@njit(nogil=True, cache=True)
def _needed(
    grams: UInt64,
    owner: Int64,
    place: Int64,
    count: Int64,
    weights: Float64,
    part_tokens: Int64,
    item_parts: Int64,
    share: float,
) -> NDArray[np.bool_]:
    """Which n-grams an item is looked up by.

    The rarest ones, until the tokens that stand in no other n-gram weigh more than a hit may lack: a text with none of
    them is no hit.
    """
    chosen = np.zeros(grams.size, np.bool_)
    left = np.zeros(weights.size, np.int64)  # n-grams around each token that are not chosen
    begin = 0
    while begin < grams.size:
        end = begin
        while end < grams.size and owner[end] == owner[begin]:
            end += 1
        part = item_parts[owner[begin]]
        size = part_tokens[part + 1] - part_tokens[part]
        width = _width(size)
        for n in range(begin, end):
            left[place[n] : place[n] + width] += 1
        total = weights[part_tokens[part] : part_tokens[part + 1]].sum()
        lost = 0.0
        for n in begin + np.argsort(count[begin:end], kind="mergesort"):
            chosen[n] = True
            for token in range(place[n], place[n] + width):
                left[token] -= 1
                if left[token] == 0:
                    lost += weights[token]
            if lost > (1.0 - share) * total + SLACK:
                break
        begin = end
    return chosen


@njit(nogil=True, cache=True)
def _hash_table(keys: UInt64) -> tuple[UInt64, Int64]:
    """Open addressing: the keys in their slots, 0 where a slot is free, and the row of each key."""
    size = 16
    while size < 4 * keys.size:
        size *= 2
    slots = np.zeros(size, np.uint64)
    rows = np.zeros(size, np.int64)
    for row in range(keys.size):
        slot = _slot(slots, keys[row])
        slots[slot], rows[slot] = keys[row], row
    return slots, rows


@njit(nogil=True, cache=True)
def _slot(slots: UInt64, key: np.uint64) -> np.uint64:
    """Slot of a key, or the free one where it would be."""
    mask = np.uint64(slots.size - 1)
    slot = key & mask
    while slots[slot] != np.uint64(0) and slots[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(nogil=True, cache=True)
def _matched(
    part: int, tokens: UInt64, weights: Float64, part_tokens: Int64, text_grams: UInt64
) -> tuple[float, float]:
    """Weight of a part of an item that is matched, and all its weight."""
    begin, end = part_tokens[part], part_tokens[part + 1]
    width = _width(end - begin)
    total, found = 0.0, 0.0
    covered = begin  # tokens before this one are counted
    for token in range(begin, end):
        total += weights[token]
    if width == 0:
        return 0.0, 0.0
    for first in range(begin, end - width + 1):
        gram = _gram(tokens, first, width)
        if text_grams[_slot(text_grams, gram)] == gram:
            for token in range(max(covered, first), first + width):
                found += weights[token]
            covered = first + width
    return found, total


@njit(nogil=True, cache=True)
def _share_of(
    item: int,
    tokens: UInt64,
    weights: Float64,
    part_tokens: Int64,
    item_parts: Int64,
    text_grams: UInt64,
    share: float,
) -> float:
    """Share of an item's weight that is matched; 0 if the item is no hit."""
    first, answer = item_parts[item], item_parts[item + 1] - 1
    found, total = _matched(first, tokens, weights, part_tokens, text_grams)
    if found < share * total - SLACK:
        return 0.0
    if found >= _required(total, ALONE, share) - SLACK:
        return found / total
    best = 0.0
    for begin, end in ((first + 1, answer), (answer, answer + 1)):  # the options, the answer
        more_found, more = 0.0, 0.0
        for part in range(begin, end):
            a, b = _matched(part, tokens, weights, part_tokens, text_grams)
            more_found += a
            more += b
        enough = found + more_found >= _required(total + more, FLOOR, share) - SLACK
        if more_found >= share * more - SLACK and more > 0.0 and enough:
            best = max(best, (found + more_found) / (total + more))
    return best


@njit(nogil=True, cache=True)
def _required(total: float, floor: float, share: float) -> float:
    """Weight that a hit matches out of `total`; infinite below the floor."""
    if total < floor:
        return np.inf
    light = max(0.0, (HEAVY - total) / (HEAVY - floor))  # 1 at the floor, 0 from HEAVY on
    return (share + (1.0 - share) * light) * total


@njit(nogil=True, cache=True)
def _text_grams(tokens: UInt64, begin: int, end: int) -> UInt64:
    """The n-grams of a text, of all widths, as a hash table."""
    size = 16
    while size < 2 * len(_WIDTHS) * (end - begin):
        size *= 2
    slots = np.zeros(size, np.uint64)
    for width in _WIDTHS:
        for first in range(begin, end - width + 1):
            gram = _gram(tokens, first, width)
            slots[_slot(slots, gram)] = gram
    return slots


@njit(nogil=True, cache=True)
def _hits(
    text_tokens: UInt64,
    indptr: Int64,
    slots: UInt64,
    rows: Int64,
    postings: Int64,
    posted: Int64,
    tokens: UInt64,
    weights: Float64,
    part_tokens: Int64,
    item_parts: Int64,
    share: float,
) -> tuple[Int64, Int64, Float64]:
    """Text number, item number and share of every hit."""
    seen = np.full(item_parts.size - 1, -1, np.int64)  # the last text that an item was a candidate of
    candidates = np.empty(item_parts.size - 1, np.int64)
    out_text = [np.int64(0) for _ in range(0)]
    out_item = [np.int64(0) for _ in range(0)]
    out_share = [0.0 for _ in range(0)]
    for text in range(indptr.size - 1):
        begin, end = indptr[text], indptr[text + 1]
        n = 0
        for width in _WIDTHS:
            for first in range(begin, end - width + 1):
                gram = _gram(text_tokens, first, width)
                slot = _slot(slots, gram)
                if slots[slot] != gram:
                    continue
                for i in range(postings[rows[slot]], postings[rows[slot] + 1]):
                    if seen[posted[i]] != text:
                        seen[posted[i]] = text
                        candidates[n] = posted[i]
                        n += 1
        if n == 0:
            continue
        grams = _text_grams(text_tokens, begin, end)
        for item in candidates[:n]:
            found = _share_of(item, tokens, weights, part_tokens, item_parts, grams, share)
            if found > 0.0:
                out_text.append(np.int64(text))
                out_item.append(item)
                out_share.append(found)
    return np.array(out_text), np.array(out_item), np.array(out_share)
