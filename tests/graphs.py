"""Small graphs and seeds for tests, made from a seed or by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from linksyn_gpu.sampling.graph import build_graph_from_incidence
from linksyn_gpu.tables import KPGraph, Seeds, seed_schema


def random_incidence(n_seeds: int, n_kps: int, rng: np.random.Generator, most: int = 5) -> tuple[Any, Any]:
    """A random 0/1 matrix in CSR form: 0 .. most KPs per seed, popular KPs more often."""
    rows = []
    share = 1.0 / np.arange(1, n_kps + 1)
    share /= share.sum()
    for _ in range(n_seeds):
        size = min(int(rng.integers(0, most + 1)), n_kps)
        rows.append(np.sort(rng.choice(n_kps, size, replace=False, p=share)).astype(np.int32))
    indptr = np.concatenate([[0], np.cumsum([row.size for row in rows])]).astype(np.int64)
    return indptr, np.concatenate([*rows, np.zeros(0, np.int32)]).astype(np.int32)


def random_graph(n_seeds: int = 60, n_kps: int = 20, seed: int = 0) -> KPGraph:
    """A random co-occurrence graph with evidence."""
    indptr, kps = random_incidence(n_seeds, n_kps, np.random.default_rng(seed))
    return build_graph_from_incidence(indptr, kps, n_kps, backend="reference")


def edge_graph(n_kps: int, edges: dict[tuple[int, int], int]) -> KPGraph:
    """The graph of these undirected edges and counts."""
    matrix = np.zeros((n_kps, n_kps), np.int64)
    for (u, v), count in edges.items():
        matrix[u, v] = matrix[v, u] = count
    rows, columns = np.nonzero(matrix)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n_kps))])
    return KPGraph.from_csr(indptr, columns, matrix[rows, columns])


def hub_graph(n_hubs: int, n_leaves: int, seed: int) -> KPGraph:
    """Hubs that share leaves and know each other, and a few edges between leaves; weights up to 1,000."""
    rng = np.random.default_rng(seed)
    n = n_hubs + n_leaves
    edges = {(u, v) for u in range(n_hubs) for v in range(u + 1, n_hubs)}
    for leaf in range(n_hubs, n):
        edges |= {(int(hub), leaf) for hub in rng.integers(0, n_hubs, rng.integers(1, 3))}
    pairs = np.sort(rng.integers(n_hubs, n, (n_leaves // 4, 2)), axis=1).tolist()
    edges |= {(u, v) for u, v in pairs if u < v}
    low, high = np.array(sorted(edges)).T
    weight = rng.integers(1, 1000, low.size)
    rows, columns = np.concatenate([low, high]), np.concatenate([high, low])
    order = np.lexsort((columns, rows))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))])
    return KPGraph.from_csr(indptr, columns[order], np.concatenate([weight, weight])[order])


def make_seeds(rows: list[dict[str, Any]]) -> Seeds:
    """Seeds from partial rows; missing fields are filled in."""
    full = [
        {
            "id": f"s{i}",
            "question": f"question {i}",
            "answer": f"answer {i}",
            "options": [],
            "disciplines": [],
            "difficulty": None,
            "knowledge_points": [],
            "language": "en",
            "source": "",
            "license": "",
            **row,
        }
        for i, row in enumerate(rows)
    ]
    return Seeds(pa.Table.from_pylist(full, schema=seed_schema()))
