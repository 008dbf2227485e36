"""A stand-in for cuVS's brute force and IVF-Flat, over device arrays of the CuPy stand-in.

It refuses what the real one refuses (type, memory order, sizes) or cannot survive (an index whose vectors were freed),
and where that promises little it is unhelpful on purpose: equal neighbours come in any order, a search of lists that
meets too few vectors fills up with numbers that are no row.
"""

from __future__ import annotations

import types
import weakref
from typing import Any

import numpy as np

from tests.device.standin_cupy import ndarray, unwrap

NO_ROW = (2**63 - 1, -1)
SEARCHES: list[str] = []
"""Names of the searches that ran."""


def _matrix(array: Any, dtype: Any, shape: tuple[int | None, ...] = (None, None)) -> Any:
    assert isinstance(array, ndarray), "cuVS wants an array in device memory"
    host = unwrap(array)
    assert host.dtype == dtype, host.dtype
    assert host.flags.c_contiguous, "row major input is expected"
    assert all(want in (None, have) for want, have in zip(shape, host.shape, strict=True)), host.shape
    return host


class Index:
    """An index that does not own its vectors, as the real ones need not."""

    def __init__(self, dataset: ndarray, metric: str) -> None:
        assert metric == "sqeuclidean"
        self.rows = _matrix(dataset, np.float32)
        self._owner = weakref.ref(dataset)

    def check(self) -> None:
        assert self._owner() is not None, "the vectors of the index were freed"


def _nearest(index: Index, query: Any, k: int, among: Any) -> tuple[Any, Any]:
    """Rows and squared distances of one query's neighbours, by the expanded form in single precision."""
    rows = index.rows[among]
    lengths = (rows * rows).sum(axis=1) + (query * query).sum()
    distance = (lengths - 2 * (rows @ query)).astype(np.float32)
    turned = np.random.default_rng(among.size).permutation(among.size)  # equal ones in any order
    order = turned[np.argsort(distance[turned], kind="stable")[:k]]
    return among[order], distance[order]


def _search(name: str, index: Index, queries: Any, k: int, neighbors: Any, distances: Any, lists: Any) -> None:
    index.check()
    SEARCHES.append(name)
    asked = _matrix(queries, np.float32, (None, index.rows.shape[1]))
    out = _matrix(neighbors, np.int64, (len(asked), k)), _matrix(distances, np.float32, (len(asked), k))
    for at, query in enumerate(asked):
        found, far = _nearest(index, query, k, lists(query))
        out[0][at], out[1][at] = NO_ROW[at % 2], np.inf
        out[0][at, : found.size], out[1][at, : found.size] = found, far


class IndexParams:
    def __init__(self, *, n_lists: int, metric: str) -> None:
        self.n_lists, self.metric = n_lists, metric


class SearchParams:
    def __init__(self, *, n_probes: int) -> None:
        self.n_probes = n_probes


class Lists(Index):
    def __init__(self, index_params: IndexParams, dataset: ndarray) -> None:
        super().__init__(dataset, index_params.metric)
        assert index_params.n_lists <= len(self.rows), "more lists than vectors to train them on"
        self.centres = self.rows[np.random.default_rng(1).choice(len(self.rows), index_params.n_lists, replace=False)]
        self.list_of = np.array([self._by_distance(row)[0] for row in self.rows])

    def _by_distance(self, query: Any) -> Any:
        return np.argsort(((self.centres - query) ** 2).sum(axis=1), kind="stable")

    def probed(self, query: Any, n_probes: int) -> Any:
        assert 1 <= n_probes <= len(self.centres)
        return np.flatnonzero(np.isin(self.list_of, self._by_distance(query)[:n_probes]))


def modules() -> tuple[types.ModuleType, types.ModuleType]:
    """The stand-ins as modules named cuvs and cuvs.neighbors."""
    package, neighbors = types.ModuleType("cuvs"), types.ModuleType("cuvs.neighbors")

    def brute_force_search(index: Index, queries: Any, k: int, *, neighbors: Any, distances: Any) -> None:
        assert k <= len(index.rows)
        whole = np.arange(len(index.rows))
        _search("brute force", index, queries, k, neighbors, distances, lambda query: whole)

    def ivf_flat_search(
        search_params: SearchParams, index: Lists, queries: Any, k: int, *, neighbors: Any, distances: Any
    ) -> None:
        n_probes = search_params.n_probes
        _search("ivf", index, queries, k, neighbors, distances, lambda query: index.probed(query, n_probes))

    neighbors.brute_force = types.SimpleNamespace(
        build=lambda dataset, *, metric: Index(dataset, metric), search=brute_force_search
    )
    neighbors.ivf_flat = types.SimpleNamespace(
        IndexParams=IndexParams, SearchParams=SearchParams, build=Lists, search=ivf_flat_search
    )
    package.neighbors = neighbors
    return package, neighbors
