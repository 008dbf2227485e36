"""Which seed holds which knowledge point, from a Parquet file, by Arrow and NumPy: the mirror of cuDF's way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from linksyn_gpu.errors import DataError
from linksyn_gpu.tables import Int32, Int64
from linksyn_gpu.text import name_key


def incidence_from_table(
    path: str | Path, column: str, *, kp_form: str = "folded", max_kps_per_seed: int | None = None
) -> tuple[Int64, Int32, list[str], Counter[str]]:
    """Read KP names of seeds, number them, and list each seed's KPs.

    Parameters
    ----------
    path : str or Path
        A Parquet file with one row a seed.
    column : str
        Its list<string> column of KP names; neither lists nor names are null.
    kp_form : {'folded', 'exact'}
        'folded': names are one KP when `text.name_key` is the same; 'exact': byte for byte.
    max_kps_per_seed : int, optional
        Use at most this many KPs of a seed, the first in the seed's own order.

    Returns
    -------
    indptr : int64 [n_seeds + 1], in the backend's memory
    kp_indices : int32 [n_mentions], in the backend's memory
        KPs of each seed, ascending and distinct in a seed.
    names : list of str [n_kps]
        First spelling of each KP, in order of first appearance.
    drops : Counter
        Mentions left out, by reason: 'repeated_in_seed', 'max_kps_per_seed'.

    Raises
    ------
    DataError
        No seed has a KP.
    """
    import pyarrow.parquet as pq

    lists = pq.read_table(path, columns=[column]).column(column)
    return incidence_from_lists(lists, kp_form=kp_form, max_kps_per_seed=max_kps_per_seed)


def incidence_from_lists(
    column: Any, *, kp_form: str = "folded", max_kps_per_seed: int | None = None
) -> tuple[Int64, Int32, list[str], Counter[str]]:
    """Do the same for an Arrow column of list<string> in memory."""
    import pyarrow as pa

    # 64-bit offsets: the chunks of a large table hold more than 2 GiB of names together.
    lists = column.cast(pa.large_list(pa.large_string())).combine_chunks()
    offsets = lists.offsets.to_numpy().astype(np.int64)
    if offsets[-1] == offsets[0]:
        raise DataError("no seed has a knowledge point; map their column with --map knowledge_points=COLUMN")
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
