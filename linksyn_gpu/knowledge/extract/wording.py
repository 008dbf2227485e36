"""Phrases that belong to the wording of a bank and not to its subject.

Three properties of a phrase over all seeds tell it, without a list of words:

- it is about as frequent in all disciplines, or in general language (`common_words`): "part", "result"
- it stands mostly in one frame of words: "Watch" and "video" of "Watch this video to learn", "Level" of "Level 3-4"
- it mostly stands next to a number: "12 apples", "Figure 3"
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from linksyn_gpu.knowledge.extract.common_words import COMMON, general_frequency, weirdness
from linksyn_gpu.knowledge.extract.plain_text import MARK
from linksyn_gpu.text import CJK
from linksyn_gpu.text.words import FUNCTION_WORDS, NUMBER_WORDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNUSUAL, UNUSUAL_CAPITAL = 5.0, 15.0
"""Smallest weirdness of a common word that is a key phrase, and of one always in capitals ("Amy", "April")."""
FEWEST = 8
"""Seeds from which the frames of a phrase are judged."""
FRAME, COUNTED = 0.4, 0.4
"""Largest share of the seeds in which a phrase has one frame, or stands next to a number."""
_DISTINCT = 64
"""Frames kept for each phrase and side; a phrase with more has no frame that dominates."""
_WORD = re.compile(rf"\d+|[^\W\d]+|[{MARK}]")
_DIGITS = re.compile(r"[\d,.]*\d")
_NUMBERS = [[word] for word in NUMBER_WORDS]
_SHOWN = 40  # characters of the text next to a phrase


@dataclass(slots=True)
class _Use:
    """How the seeds use a phrase."""

    seeds: int = 0
    counted: int = 0
    capital: int = 0
    left: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)


class Bank:
    """Candidate phrases of all seeds, best first, and their use."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}  # merge key -> number of the phrase
        self._names: dict[str, int] = {}  # name as written -> its number
        self._use: list[_Use] = []
        self._general: list[float] = []
        self._phrase, self._name, self._ends = array("I"), array("I"), array("Q")
        self._discipline_of, self._disciplines = array("H"), dict[str, int]()
        self._words: list[int] = []  # of each discipline

    def add(self, text: str, discipline: str, phrases: Sequence[tuple[str, str]]) -> None:
        """Add a seed with its phrases as (merge key, name)."""
        folded = text.casefold()
        for key, name in phrases:
            number = self._numbers.setdefault(key, len(self._numbers))
            if number == len(self._use):
                self._use.append(_Use())
                self._general.append(0.0 if " " in name else general_frequency(name))
            _note(self._use[number], folded, text, name)
            self._phrase.append(number)
            self._name.append(self._names.setdefault(name, len(self._names)))
        self._ends.append(len(self._phrase))
        place = self._disciplines.setdefault(discipline, len(self._disciplines))
        self._discipline_of.append(place)
        self._words += [0] * (len(self._disciplines) - len(self._words))
        self._words[place] += _length(text)

    def knowledge(self, most: int) -> Iterator[list[str]]:
        """For each seed its first `most` phrases that do not belong to the wording of the bank."""
        kept = self._kept()
        names = list(self._names)
        begin = 0
        for end, discipline in zip(self._ends, self._discipline_of, strict=True):
            found = [names[self._name[at]] for at in range(begin, end) if kept[self._phrase[at], discipline]]
            yield found[:most]
            begin = end

    def _kept(self) -> NDArray[np.bool_]:
        """Whether a phrase is kept, (phrases, disciplines) bool."""
        phrases, n = len(self._use), len(self._disciplines)
        discipline_of = np.asarray(self._discipline_of, np.int64)
        seeds = np.bincount(discipline_of, minlength=n)
        ends = np.asarray(self._ends, np.int64)
        phrases_of = ends - np.concatenate((np.zeros(min(1, len(ends)), np.int64), ends[:-1]))
        columns = np.repeat(discipline_of, phrases_of)
        cells = np.asarray(self._phrase, np.int64) * n + columns
        counts = np.bincount(cells, minlength=phrases * n).reshape(phrases, n)
        general = np.asarray(self._general)
        general[general < COMMON] = 0.0
        kept: NDArray[np.bool_]
        capital = np.fromiter((use.capital == use.seeds for use in self._use), bool, phrases)
        least = np.where(capital, UNUSUAL_CAPITAL, UNUSUAL)
        kept = weirdness(counts, np.asarray(self._words, np.int64), seeds, general) >= least[:, None]
        kept &= ~np.fromiter(map(_is_framed, self._use), bool, phrases)[:, None]
        return kept


def _length(text: str) -> int:
    """Number of words; two Chinese characters count as one."""
    chinese = 0 if text.isascii() else len(CJK.findall(text))
    return len(text.split()) + chinese // 2


def _note(use: _Use, folded: str, text: str, name: str) -> None:
    use.seeds += 1
    use.capital += name[:1].isupper() and name.casefold() not in text
    name = name.casefold()
    at = folded.find(name)
    if at < 0:
        return
    before, after = folded[max(0, at - _SHOWN) : at], folded[at + len(name) : at + len(name) + _SHOWN]
    left, right = _frame(before, last=True), _frame(after, last=False)
    last = before.rstrip(" ")[-1:]  # a removed formula ("$12$ apples") is a number here
    counted = last.isdecimal() or last == MARK or before.split()[-1:] in _NUMBERS
    use.counted += counted or after.lstrip()[:1].isdecimal()
    for frames, frame in ((use.left, left), (use.right, right)):
        if frame and (frame in frames or len(frames) < _DISTINCT):
            frames[frame] += 1


def _frame(text: str, *, last: bool) -> str:
    """The two words, or four Chinese characters, next to a phrase; '' if a formula or the end of the text is there."""
    words = _WORD.findall(_DIGITS.sub("0", text))
    joined = words[-2:] if last else words[:2]
    if MARK in joined or not joined:
        return ""
    if CJK.search("".join(joined)):
        line = "".join(joined)
        return line[-4:] if last else line[:4]
    # "of the" is next to every noun
    return " ".join(joined) if len(joined) == 2 and not FUNCTION_WORDS.issuperset(joined) else ""


def _is_framed(use: _Use) -> bool:
    if use.seeds < FEWEST:
        return False
    frames = max(max(side.values(), default=0) for side in (use.left, use.right))
    return frames > FRAME * use.seeds or use.counted > COUNTED * use.seeds
