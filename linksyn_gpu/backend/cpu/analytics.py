"""Graph analytics on the CPU."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.backend.reference.edges import number_by_first as number_by_first
from linksyn_gpu.errors import BackendUnavailable
from linksyn_gpu.tables import KPGraph

DAMPING = 0.85
LEIDEN_SEED = 0
LEIDEN_ITERATIONS = 100


def analytics(graph: KPGraph) -> dict[str, NDArray[Any]]:
    """By SciPy and python-igraph.

    Raises
    ------
    BackendUnavailable
        python-igraph is not installed.
    """
    try:
        import igraph
    except ModuleNotFoundError as error:
        if error.name != "igraph":
            raise
        raise BackendUnavailable(
            "graph analytics on the CPU need python-igraph: pip install 'linksyn-gpu[analytics]'"
        ) from None
    from scipy import sparse
    from scipy.sparse import csgraph

    graph = graph.checked
    if graph.n_edges == 0:
        return without_edges(graph)
    n_kps = graph.n_kps
    matrix = sparse.csr_array((graph.weight, graph.indices, graph.indptr), shape=(n_kps, n_kps))
    rows = np.repeat(np.arange(n_kps, dtype=np.int32), graph.degree)
    above = rows < graph.indices
    edges = np.stack([rows[above], graph.indices[above]], axis=1)
    network = igraph.Graph(n=n_kps, edges=edges, directed=False)
    network.es["weight"] = graph.weight[above].tolist()
    igraph.set_random_number_generator(random.Random(LEIDEN_SEED))
    try:
        communities = network.community_leiden(
            objective_function="modularity", weights="weight", n_iterations=LEIDEN_ITERATIONS
        )
    finally:
        igraph.set_random_number_generator(random)
    component = csgraph.connected_components(matrix, directed=False)[1]
    return {
        "degree": graph.degree,
        "component": number_by_first(component),
        "pagerank": np.array(network.pagerank(weights="weight", damping=DAMPING), np.float64),
        "core": np.array(network.coreness(), np.int32),
        "community": number_by_first(np.array(communities.membership, np.int64)),
    }


def without_edges(graph: KPGraph) -> dict[str, NDArray[Any]]:
    """Analytics of a graph in which every KP is alone."""
    alone = np.arange(graph.n_kps, dtype=np.int32)
    return {
        "degree": graph.degree,
        "component": alone,
        "pagerank": np.full(graph.n_kps, 1.0 / max(graph.n_kps, 1)),
        "core": np.zeros(graph.n_kps, np.int32),
        "community": alone.copy(),
    }
