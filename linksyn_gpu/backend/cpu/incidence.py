"""Which seed holds which knowledge point, by Arrow and NumPy."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu.errors import DataError
from linksyn_gpu.tables import Int32, Int64
from linksyn_gpu.text import name_key

if TYPE_CHECKING:
    import pyarrow as pa

SEEDS_PER_PART = 2**18
"""Seeds whose names are in memory at once."""


def incidence(
    column: pa.ChunkedArray, *, kp_form: str = "folded", max_kps_per_seed: int | None = None
) -> tuple[Int64, Int32, list[str], Counter[str]]:
    """Number the distinct spellings, then the mentions, `SEEDS_PER_PART` seeds at a time."""
    numbers: dict[str, int] = {}
    kp_of: dict[str, int] = {}  # by spelling: each is normalised once, however many seeds hold it
    names: list[str] = []
    drops = Counter[str]()
    sizes, found = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)]
    for begin in range(0, len(column), SEEDS_PER_PART):
        lengths, spellings, mentions = _encoded(column.slice(begin, SEEDS_PER_PART))
        for spelling in spellings:
            if spelling not in kp_of:
                key = name_key(spelling) if kp_form == "folded" else spelling
                if key not in numbers:
                    numbers[key] = len(names)
                    names.append(spelling.strip() if kp_form == "folded" else spelling)
                kp_of[spelling] = numbers[key]
        kps = np.array([kp_of[spelling] for spelling in spellings], np.int64)
        held, kp_indices, dropped = _rows(kps[mentions], lengths, len(names), max_kps_per_seed)
        sizes.append(held)
        found.append(kp_indices)
        drops += dropped
    if not names:
        raise DataError(
            "no seed has a knowledge point; find them with 'linksyn-gpu extract', or name their column with "
            "--map knowledge_points=COLUMN"
        )
    return np.cumsum(np.concatenate(sizes)), np.concatenate(found), names, drops


def _encoded(column: pa.ChunkedArray) -> tuple[Int64, list[str], Int32]:
    """Length of each list, the distinct texts in order of first appearance, and the number of each text."""
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
    parts = pc.list_flatten(column).dictionary_encode().chunks  # they share one dictionary
    if not parts:
        return lengths, [], np.zeros(0, np.int32)
    mentions = np.concatenate([part.indices.to_numpy() for part in parts])
    return lengths, parts[-1].dictionary.to_pylist(), mentions


def _rows(kps: Any, lengths: Any, n_kps: int, limit: int | None) -> tuple[Int64, Int32, Counter[str]]:
    """Drop repeats of a KP in a seed, and KPs past `limit`; sort each seed's KPs. Returns how many each seed has."""
    seed = np.repeat(np.arange(lengths.size, dtype=np.int64), lengths)
    key = seed * n_kps + kps
    _, first = np.unique(key, return_index=True)
    drops = Counter[str]()
    if first.size < key.size:
        drops["repeated_in_seed"] = int(key.size - first.size)
    if limit is not None:
        first = np.sort(first)
        place = np.arange(first.size) - np.searchsorted(seed[first], seed[first])
        if (place >= limit).any():
            drops["max_kps_per_seed"] = int((place >= limit).sum())
        first = first[place < limit]
        first = first[np.argsort(key[first], kind="stable")]
    return np.bincount(seed[first], minlength=lengths.size), kps[first].astype(np.int32), drops
