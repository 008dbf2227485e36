"""A journal that is asked again and again: what it holds stays known without reading it anew for each batch.

A stage that asks in many small steps, each from the answers of the one before, would else read a growing journal
once a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from linksyn_gpu.llm.journal import TO_ASK_AGAIN, Index, Journal, key_of, rank_of
from linksyn_gpu.llm.protocol import Outcome, from_record

Request = Mapping[str, Any]
MERGE_AT = 2**16
"""Newest answers, of some 200 bytes each, that are merged into the index's 25."""


class Ledger(Journal):
    """An open journal with its index kept up to date.

    Parameters
    ----------
    folder : path

    Raises
    ------
    EngineError
        See `Journal`.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        self._known = self.index()
        self.opened_with = self._known
        """What the journal held when it was opened."""
        self._newest: dict[bytes, tuple[int, int]] = {}  # key -> (rank, place)

    def append(self, record: dict[str, Any]) -> int:
        """Write one record and remember where it lies."""
        place = super().append(record)
        key, found = key_of(record["id"]), (rank_of(record), place)
        self._newest[key] = min(found, self._newest.get(key, found))
        if len(self._newest) >= MERGE_AT:
            self._merge()
        return place

    def outcome(self, request_id: str) -> Outcome | None:
        """The best outcome of a request; None: it was never asked."""
        place = self._find(request_id)[1]
        return None if place < 0 else from_record(self.at(place))

    def unsettled(self, requests: Iterable[Request]) -> Iterator[Request]:
        """Requests, each id once, that have neither an answer nor a failure that asking again would not mend."""
        seen: set[str] = set()
        for request in requests:
            name = request["custom_id"]
            if name not in seen and self._find(name)[0] >= TO_ASK_AGAIN:
                seen.add(name)
                yield request

    def _find(self, request_id: str) -> tuple[int, int]:
        """(rank, place) of the best record of an id; place -1 without one."""
        row = self._known.row(request_id)
        old = (TO_ASK_AGAIN + 1, -1) if row < 0 else (int(self._known.rank[row]), int(self._known.place[row]))
        return min(old, self._newest.get(key_of(request_id), old))

    def _merge(self) -> None:
        known, newest = self._known, self._newest
        places = np.fromiter((place for _, place in newest.values()), np.int64, len(newest))
        ranks = np.fromiter((rank for rank, _ in newest.values()), np.uint8, len(newest))
        self._known = Index.of(
            np.concatenate([known.key, np.frombuffer(b"".join(newest), "S16")]),
            np.concatenate([known.place, places]),
            np.concatenate([known.rank, ranks]),
            known.damaged,
            known.tokens,
        )
        newest.clear()


NOTHING = Index.of(np.zeros(0, "S16"), np.zeros(0, np.int64), np.zeros(0, np.uint8))
"""Index of an empty journal: for a loop whose requests were looked up before."""
