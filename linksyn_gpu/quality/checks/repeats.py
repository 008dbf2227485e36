"""Whether a question was asked before: exact repeats of seeds and of earlier QA, by hashes of their texts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

import numpy as np

from linksyn_gpu.quality.options import by_letter, fold, match_option, plain_answer

LAYOUT = re.compile(r"[\s$~_]+")
STOPS = re.compile(r"\(\)|[,.:;!?、。](?!\d)")
"""Together with `LAYOUT`: what may differ between two copies of one question (white space, "$", blanks, stops)."""
OTHER_OPTIONS = re.compile(r"\b(?:above|these|them|other|others)\b|以上|上述|其他", re.IGNORECASE)
"""An option that refers to the others: "all of the above"."""


def _digest(*parts: str) -> int:
    """64-bit hash of some texts."""
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(errors="replace"), digest_size=8).digest())


class DigestSet:
    """A set of digests at 8 bytes each: a sorted array, and a small set of new ones that are merged into it later."""

    MERGE_AT = 2**14
    """The new digests are merged when there are this many, or a sixteenth of the array if that is more."""

    def __init__(self, digests: Iterable[int] = ()) -> None:
        self._sorted = np.unique(np.fromiter(digests, np.uint64))
        self._newest: set[int] = set()

    def __len__(self) -> int:
        return self._sorted.size + len(self._newest)

    def __contains__(self, key: int) -> bool:
        if key in self._newest:
            return True
        at = self._sorted.searchsorted(np.uint64(key))
        return bool(at < self._sorted.size and self._sorted[at] == key)

    def add(self, key: int) -> bool:
        """Add a digest; False if it is there already."""
        if key in self:
            return False
        self._newest.add(key)
        if len(self._newest) >= max(self.MERGE_AT, self._sorted.size // 16):
            merged = np.concatenate([self._sorted, np.fromiter(self._newest, np.uint64, len(self._newest))])
            merged.sort()
            self._sorted = merged
            self._newest.clear()
        return True


def repeat_keys(question: str | None, options: Sequence[str], answer: str | None) -> tuple[list[int], list[int]]:
    """Digests of what this question would repeat, and digests by which later questions find it.

    Two questions with options are the same if they have the same stem and the same options or right option: the stem
    alone may be "Which statement is correct?". If one of two questions has no options, the stem decides.
    """
    stem = STOPS.sub("", LAYOUT.sub("", fold(question or "")))
    alone, with_options = _digest(stem), _digest(stem, "options")
    if not options:
        return [alone, with_options], [alone]
    texts = [plain_answer(text) for text in by_letter(options).values()]
    keys = [_digest(stem, "options", *sorted(texts))]
    right = match_option(answer or "", options)
    if right is not None and not OTHER_OPTIONS.search(texts[right]):
        keys.append(_digest(stem, "answer", texts[right]))
    return [alone, *keys], [with_options, *keys]
