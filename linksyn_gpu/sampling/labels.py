"""Disciplines and levels of seeds, and which labels of a bank are the discipline that a quota names."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
from scipy import sparse

from linksyn_gpu.errors import ConfigError
from linksyn_gpu.tables import Bool, SeedLabels, Seeds
from linksyn_gpu.taxonomy.disciplines import Taxonomy
from linksyn_gpu.text import name_key

MAX_LISTED = 8  # disciplines that a message lists


def seed_labels(seeds: Seeds) -> SeedLabels:
    """Disciplines and levels of a seed table."""
    import pyarrow.compute as pc

    column = seeds.table.column("disciplines")
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    parts = pc.list_flatten(column).dictionary_encode().chunks  # they share one dictionary; no text is copied
    spellings = parts[-1].dictionary.to_pylist() if parts else []
    names: dict[str, str] = {}
    for name in spellings:
        names.setdefault(name_key(name), name)
    number = {key: i for i, key in enumerate(names)}
    renumbered = np.array([number[name_key(name)] for name in spellings], np.int32)
    indices = np.concatenate([np.zeros(0, np.int32), *(renumbered[part.indices.to_numpy()] for part in parts)])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    shape = (len(seeds), len(names))
    membership = sparse.csr_array((np.ones(indices.size, np.int64), indices, offsets), shape=shape)
    membership.sum_duplicates()
    membership.data[:] = 1
    level = seeds.table.column("difficulty").fill_null(0).to_numpy().astype(np.int64)
    return SeedLabels(list(names.values()), membership, level, seeds.taxonomy)


def find_discipline(discipline: str, labels: Sequence[str], taxonomy: Taxonomy) -> list[int]:
    """Which labels are a discipline, or belong to it if it is a group of the taxonomy: "Math" and "数学" are one.

    Raises
    ------
    ConfigError
        No label is; the message names similar ones.
    """
    wanted, group = taxonomy.key(discipline), taxonomy.group
    keys = [taxonomy.key(label) for label in labels]
    if found := [i for i, key in enumerate(keys) if wanted in (key, group(key))]:
        return found
    spellings = {name_key(name): name for name in (*keys, *labels)}
    similar = [spellings[key] for key in get_close_matches(name_key(discipline), spellings)]
    if similar:
        hint = f"did you mean {' or '.join(similar)}?"
    elif len(labels) <= MAX_LISTED:
        hint = f"the seeds have: {', '.join(sorted(labels)) or 'none'}"
    else:
        hint = f"the seeds have {len(labels):,} disciplines, among them {', '.join(labels[:MAX_LISTED])}"
    raise ConfigError(f"quota names discipline {discipline!r}, which no seed has; {hint}")


def seeds_of(discipline: str, labels: SeedLabels, *, exactly: bool = False) -> Bool:
    """Which seeds are of a discipline: bool [n_seeds]; `exactly`: a group has none of the seeds of its disciplines."""
    key_of = labels.taxonomy.key
    columns = find_discipline(discipline, labels.disciplines, labels.taxonomy)
    if exactly:
        key = key_of(discipline)
        columns = [i for i in columns if key_of(labels.disciplines[i]) == key]
    return np.asarray(labels.membership[:, columns].sum(axis=1)).ravel() > 0
