"""Seeds -> KP graph: number the knowledge points, count co-occurrences, weigh and prune edges, keep the evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from linksyn_gpu.backend import resolve
from linksyn_gpu.backend.protocol import AnyOperations, Array, EdgeRule
from linksyn_gpu.config import GraphConfig
from linksyn_gpu.config.loader import config_or_fields
from linksyn_gpu.errors import DataError
from linksyn_gpu.sampling.labels import seed_labels
from linksyn_gpu.tables import MAX_KPS, Bool, KPGraph, KPStatistics, Seeds


@dataclass(frozen=True, eq=False)
class Incidence:
    """Which seed holds which KP: rows of a 0/1 matrix, KPs ascending and distinct in a row."""

    indptr: Array
    """int64 [n_seeds + 1], in the backend's memory."""
    kp_indices: Array
    """int32 [n_mentions], in the backend's memory."""
    names: Sequence[str]
    """[n_kps] first spelling of each KP, in order of first appearance."""
    drops: Counter[str]
    """KP mentions left out, by reason."""


def build_graph(seeds: Seeds, config: GraphConfig | None = None, *, backend: str = "auto", **settings: Any) -> KPGraph:
    """Build the KP graph of seeds.

    Parameters
    ----------
    seeds : Seeds
    config : GraphConfig, optional
        Or its fields as keywords: `build_graph(seeds, kp_form="exact", min_count=2)`.
    backend : {'auto', 'cpu', 'gpu', 'reference'}

    Returns
    -------
    KPGraph
        With names, seed counts and evidence. A KP without neighbours stays as an isolated node.

    Raises
    ------
    DataError
        No seed has a knowledge point, or there are more KPs than the sampler's integers can hold.
    """
    config = config_or_fields(GraphConfig, config, settings)
    incidence = read_incidence(seeds, config, backend)
    statistics = kp_statistics(seeds, incidence, backend)
    return replace(graph_of_incidence(incidence, config, backend), statistics=statistics)


def build_graph_from_incidence(
    indptr: Any,
    kp_indices: Any,
    n_kps: int,
    config: GraphConfig | None = None,
    *,
    names: Sequence[str] | None = None,
    backend: str = "auto",
    **settings: Any,
) -> KPGraph:
    """Build the KP graph of an incidence matrix in CSR form.

    Parameters
    ----------
    indptr : array_like of int [n_seeds + 1]
    kp_indices : array_like of int [n_mentions]
        KPs of each seed, ascending and distinct within a seed.
    n_kps : int
    config, settings
        `GraphConfig`, or its fields as keywords.
    names : sequence of str, optional
        [n_kps]

    Raises
    ------
    DataError
        The arrays are not such a matrix; the message says which rule they break.
    """
    config = config_or_fields(GraphConfig, config, settings)
    ops = resolve(backend).ops
    rows = ops.asarray(np.ascontiguousarray(indptr, np.int64))
    columns = ops.asarray(np.ascontiguousarray(kp_indices, np.int32))
    return replace(_graph(ops, rows, columns, n_kps, config), names=names)


def graph_of_incidence(incidence: Incidence, config: GraphConfig, backend: str = "auto") -> KPGraph:
    """Build the KP graph of an incidence that the same backend read.

    Raises
    ------
    DataError
        There are more KPs than the sampler's integers can hold.
    """
    ops = resolve(backend).ops
    graph = _graph(ops, incidence.indptr, incidence.kp_indices, len(incidence.names), config)
    return replace(graph, names=incidence.names, drops=graph.drops + incidence.drops)


def _graph(ops: AnyOperations, indptr: Array, kp_indices: Array, n_kps: int, config: GraphConfig) -> KPGraph:
    if n_kps > MAX_KPS:
        raise DataError(f"{n_kps:,} KPs; at most {MAX_KPS:,} are supported: merge them, or use fewer seeds")
    ops.check_incidence(indptr, kp_indices, n_kps)
    rule = EdgeRule(config.weight, config.min_count, config.top_k)
    built = ops.graph_arrays(indptr, kp_indices, n_kps, rule, memory_limit=config.memory_limit)
    return KPGraph(**vars(built), n_seeds=indptr.size - 1)


def read_incidence(seeds: Seeds, config: GraphConfig, backend: str = "auto") -> Incidence:
    """Number the KPs of seeds in order of first appearance, and list the KPs of each seed.

    Raises
    ------
    DataError
        No seed has a KP.
    """
    ops = resolve(backend).ops
    indptr, kp_indices, names, drops = ops.incidence(
        seeds.table.column("knowledge_points"), kp_form=config.kp_form, max_kps_per_seed=config.max_kps_per_seed
    )
    return Incidence(indptr, kp_indices, names, drops)


def only_seeds(incidence: Incidence, keep: Bool, backend: str = "auto") -> Incidence:
    """The incidence in which the seeds that are not kept hold nothing; KPs keep their numbers.

    Parameters
    ----------
    keep : bool [n_seeds]
    """
    ops = resolve(backend).ops
    sizes = np.diff(ops.to_host(incidence.indptr))
    indptr = np.concatenate([[0], np.cumsum(np.where(keep, sizes, 0))]).astype(np.int64)
    kept = ops.to_host(incidence.kp_indices)[np.repeat(keep, sizes)]
    return replace(incidence, indptr=ops.asarray(indptr), kp_indices=ops.asarray(kept))


def kp_statistics(seeds: Seeds, incidence: Incidence, backend: str = "auto") -> KPStatistics:
    """Discipline counts and mean difficulty of the seeds of each KP, over all mentions that the graph uses."""
    ops, labels = resolve(backend).ops, seed_labels(seeds)
    n_kps, n_disciplines = len(incidence.names), len(labels.disciplines)
    found = ops.kp_counts(incidence.indptr, incidence.kp_indices, n_kps, ops.load_labels(labels), n_disciplines)
    rated = found.rated > 0
    mean = np.divide(found.level_sum, found.rated, out=np.full(n_kps, np.nan), where=rated)
    parts = found.counts, found.disciplines, found.indptr
    counts = sparse.csr_array(parts, shape=(n_kps, n_disciplines))
    return KPStatistics(found.seed_count, mean, labels.disciplines, counts, labels)
