"""Groups of licenses whose seeds never meet in a bundle: each group has a KP graph of its own seeds.

The KPs keep their numbers in all graphs. A campaign has a cell for each group, next to discipline and level; its walks
see only the edges that a seed of the group holds, and its bundles only seeds of the group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from linksyn_gpu.backend import resolve
from linksyn_gpu.config import GraphConfig
from linksyn_gpu.config.licenses import license_key
from linksyn_gpu.sampling.graph import graph_of_incidence, kp_statistics, only_seeds, read_incidence
from linksyn_gpu.tables import Int32, KPGraph, KPStatistics, Seeds

OTHER = "other"
"""Seeds whose license no group lists, or that state none."""
Groups = Mapping[str, Sequence[str]]


def group_names(groups: Groups) -> list[str]:
    """Names of all groups, `OTHER` last."""
    return [*groups, OTHER]


def group_numbers(seeds: Seeds, groups: Groups) -> Int32:
    """Group of each seed, an index into `group_names`: int32 [n_seeds]. `seeds` has the column 'license'."""
    of_license = {license_key(name): number for number, names in enumerate(groups.values()) for name in names}
    encoded = seeds.table.column("license").fill_null("").combine_chunks().dictionary_encode()
    numbers = [of_license.get(license_key(name), len(groups)) for name in encoded.dictionary.to_pylist()]
    found: Int32 = np.array([*numbers, len(groups)], np.int32)[encoded.indices.to_numpy()]
    return found


def group_graphs(
    seeds: Seeds, groups: Groups, config: GraphConfig, backend: str = "auto", *, without: Sequence[int] = ()
) -> dict[str, tuple[KPGraph, KPStatistics]]:
    """The graph of each group that has seeds, and the statistics of its KPs.

    `seeds` has the columns 'knowledge_points', 'disciplines', 'difficulty' and 'license'; the rows `without` are not
    in any graph.
    """
    backend = resolve(backend).name
    incidence = read_incidence(seeds, config, backend)
    number = group_numbers(seeds, groups)
    number[list(without)] = -1
    found = {}
    for group, name in enumerate(group_names(groups)):
        own = number == group
        if not own.any():
            continue
        part = only_seeds(incidence, own, backend)
        found[name] = graph_of_incidence(part, config, backend), kp_statistics(seeds, part, backend)
    return found
