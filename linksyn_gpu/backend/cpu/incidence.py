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


def incidence(
    column: pa.ChunkedArray, *, kp_form: str = "folded", max_kps_per_seed: int | None = None
) -> tuple[Int64, Int32, list[str], Counter[str]]:
    """Number the distinct spellings, then the mentions."""
    import pyarrow as pa

    # 64-bit offsets: the chunks of a large table hold more than 2 GiB of names together.
    lists = column.cast(pa.large_list(pa.large_string())).combine_chunks()
    offsets = lists.offsets.to_numpy().astype(np.int64)
    if offsets[-1] == offsets[0]:
        raise DataError(
            "no seed has a knowledge point; find them with 'linksyn-gpu extract', or name their column with "
            "--map knowledge_points=COLUMN"
        )
    # Distinct spellings first: each is normalised once, however many seeds hold it.
    encoded = lists.values[offsets[0] : offsets[-1]].dictionary_encode()
    numbers: dict[str, int] = {}
    names: list[str] = []
    kp_of_spelling = np.empty(len(encoded.dictionary), np.int64)
    for i, spelling in enumerate(encoded.dictionary.to_pylist()):
        key = name_key(spelling) if kp_form == "folded" else spelling
        if key not in numbers:
            numbers[key] = len(names)
            names.append(spelling.strip() if kp_form == "folded" else spelling)
        kp_of_spelling[i] = numbers[key]
    indptr, kps, drops = _rows(
        kp_of_spelling[encoded.indices.to_numpy()], np.diff(offsets), len(names), max_kps_per_seed
    )
    return indptr, kps, names, drops


def _rows(kps: Any, lengths: Any, n_kps: int, limit: int | None) -> tuple[Int64, Int32, Counter[str]]:
    """Drop repeats of a KP in a seed, and KPs past `limit`; sort each seed's KPs."""
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
    indptr = np.searchsorted(seed[first], np.arange(lengths.size + 1)).astype(np.int64)
    return indptr, kps[first].astype(np.int32), drops
