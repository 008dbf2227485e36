"""Linking seeds along paths, on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cupy as cp
import numpy as np

from linksyn_gpu.backend.gpu.build import offsets, upper
from linksyn_gpu.backend.gpu.cuda import launch
from linksyn_gpu.backend.gpu.device import DeviceArray, flatnonzero, size_of, to_device
from linksyn_gpu.backend.gpu.walk import WalkGraph
from linksyn_gpu.backend.protocol import FEW_SEEDS, FOREIGN, OFF_CELL, RANKS_PER_USE
from linksyn_gpu.backend.reference.bundle import LabelTable
from linksyn_gpu.errors import DataError
from linksyn_gpu.tables import KPGraph, SeedLabels

CHUNK = 32  # seeds that one thread reads; the best seeds of an edge with more are listed once per round
MAX_EDGES = 2**32 - 2  # numbers of edges share 32 bits with two marks


@dataclass(frozen=True, eq=False)
class EvidenceGraph:
    """Evidence of a graph, and what finds an edge in it."""

    graph_indptr: Any
    graph_indices: Any
    upper_first: Any
    """[n_kps] int64: first entry of a row whose column is above the row's KP."""
    upper_running: Any
    """[n_kps + 1] int64: undirected edges before a row."""
    indptr: Any
    """[n_edges + 1] int64"""
    seeds: Any
    """[sum of sizes] int32: seeds of each edge, ascending."""
    long_edges: Any
    """[n_long] int64: edges with more than CHUNK seeds, ascending."""
    first_chunk: Any
    """[n_long + 1] int64: chunks of long edges before each of them."""
    long_start: Any
    """[n_long + 1] int64: seeds of long edges before each of them."""
    n_chunks: int
    n_listed: int
    """Seeds of all long edges."""
    chunk: int


@dataclass(frozen=True, eq=False)
class RankedEvidence:
    """Evidence in a round, in which each seed has a rank; the best seeds of a long edge once a path takes it."""

    rank: Any
    """[n_seeds] int64: lower is better."""
    best: Any
    """[n_listed] int32: seeds of each long edge in the order of (rank, seed)."""
    listed: Any
    """[n_long] int32: seeds that are listed; 0: none yet."""
    ties: Any
    """[n_long] int32: seeds of the best rank."""
    last: Any
    """[n_long] int64: rank of the last seed that is listed."""


def load_labels(labels: SeedLabels) -> LabelTable:
    """Copy the rows of the membership matrix, and the levels in one byte each."""
    rows = labels.membership
    columns = rows.indptr.astype(np.int64), rows.indices.astype(np.int32), labels.difficulty.astype(np.uint8)
    return LabelTable(*(to_device(column, "load_labels") for column in columns))


def rank_seeds(labels: LabelTable, uses: DeviceArray, wanted: Any, distances: Any) -> tuple[DeviceArray, DeviceArray]:
    """One thread per seed."""
    n_seeds = uses.size
    rank, own = cp.empty(n_seeds, np.int64), cp.empty(n_seeds, np.uint8)
    launch(
        "rank_seeds", n_seeds,
        labels.indptr, labels.disciplines, labels.level, uses, to_device(wanted, "rank_seeds"),
        to_device(distances, "rank_seeds"), RANKS_PER_USE, FOREIGN, n_seeds, rank, own,
    )  # fmt: skip
    return rank, own


def load_evidence(graph: KPGraph, loaded: WalkGraph | None = None) -> EvidenceGraph:
    """Copy the evidence, and the graph unless it is on the device; what finds an edge is computed there."""
    graph = graph.checked
    if graph.evidence is None or graph.evidence_indptr is None:
        raise DataError("the graph has no evidence: build it from seeds, not from a bare matrix")
    if graph.n_edges > MAX_EDGES:
        raise DataError(f"{graph.n_edges:,} edges exceed {MAX_EDGES:,}: prune edges, or pass --backend cpu")
    graph_indptr = to_device(graph.indptr, "load_evidence") if loaded is None else loaded.indptr
    graph_indices = to_device(graph.indices, "load_evidence") if loaded is None else loaded.indices
    indptr = to_device(graph.evidence_indptr, "load_evidence")
    sizes = indptr[1:] - indptr[:-1]
    long_edges = flatnonzero(sizes > CHUNK)
    sizes = sizes[long_edges]
    first_chunk, long_start = offsets((sizes + (CHUNK - 1)) // CHUNK), offsets(sizes)
    return EvidenceGraph(
        graph_indptr,
        graph_indices,
        *upper(graph_indptr, graph_indices),
        indptr,
        to_device(graph.evidence, "load_evidence"),
        long_edges,
        first_chunk,
        long_start,
        size_of(first_chunk[-1]),
        size_of(long_start[-1]),
        CHUNK,
    )


def rank_evidence(evidence: EvidenceGraph, rank: DeviceArray) -> RankedEvidence:
    """Keep the ranks, and make space for the best seeds of long edges."""
    n_long = evidence.long_edges.size
    best = cp.empty(evidence.n_listed, np.int32)
    listed, ties = cp.zeros(n_long, np.int32), cp.zeros(n_long, np.int32)
    return RankedEvidence(rank, best, listed, ties, cp.zeros(n_long, np.int64))


def link_paths(
    evidence: EvidenceGraph, ranked: RankedEvidence, nodes: DeviceArray, ids: DeviceArray, keep: Any, key: int
) -> DeviceArray:
    """One thread per step finds edges, one per chunk lists seeds of long edges, one per path links its bundle."""
    n_paths, length, n_long = nodes.shape[0], nodes.shape[1] - 1, evidence.long_edges.size
    bundles, taken = cp.empty((length, n_paths), np.int32), cp.zeros(n_long, np.uint8)
    row_stride, column_stride = (step // nodes.itemsize for step in nodes.strides)
    launch(
        "find_edges", n_paths * length,
        evidence.graph_indptr, evidence.graph_indices, evidence.upper_first, evidence.upper_running, evidence.indptr,
        evidence.long_edges, n_long, evidence.chunk, nodes, row_stride, column_stride, keep, n_paths, length, bundles,
        taken,
    )  # fmt: skip
    _list_best(evidence, ranked, taken, length)
    launch(
        "link_paths", n_paths,
        evidence.indptr, evidence.seeds, ranked.rank, evidence.long_edges, evidence.long_start, n_long,
        evidence.chunk, ranked.best, ranked.listed, ranked.ties, ids, n_paths, length, key, bundles,
    )  # fmt: skip
    return bundles.T


def _list_best(evidence: EvidenceGraph, ranked: RankedEvidence, taken: Any, length: int) -> None:
    """List the best seeds of long edges that paths take: rank by rank, until there is a seed for every step."""
    n_long, n_chunks = evidence.long_edges.size, evidence.n_chunks
    opened, least = cp.empty(n_long, np.uint8), cp.empty(n_long, np.int64)
    chunks = (
        *(evidence.indptr, evidence.seeds, ranked.rank),
        *(evidence.long_edges, evidence.first_chunk, n_long, n_chunks, evidence.chunk, opened),
    )

    def open_edges() -> int:
        n_open = cp.zeros(1, np.int64)
        launch(
            "open_edges", n_long,
            evidence.indptr, evidence.long_edges, n_long, taken, ranked.listed, length, opened, least, n_open,
        )  # fmt: skip
        return size_of(n_open[0]) if n_long else 0

    while open_edges():
        ties = cp.empty(n_chunks, np.int64)
        launch("least_ranks", n_chunks, *chunks, ranked.listed, ranked.last, least)
        launch("count_ties", n_chunks, *chunks, least, ties)
        running = cp.cumsum(ties, dtype=np.int64)
        launch("list_ties", n_chunks, *chunks, least, running, ranked.listed, evidence.long_start, ranked.best)
        launch(
            "count_listed", n_long,
            evidence.first_chunk, n_long, opened, least, running, ranked.listed, ranked.ties, ranked.last,
        )  # fmt: skip


def screen_bundles(
    bundles: DeviceArray, status: DeviceArray, own: Any, min_seeds: int, min_own_share: DeviceArray
) -> DeviceArray:
    """One thread per path."""
    n_paths, length = bundles.shape
    row_stride, column_stride = (step // bundles.itemsize for step in bundles.strides)
    screened = cp.empty(n_paths, np.uint8)
    launch(
        "screen_bundles", n_paths,
        bundles, n_paths, length, row_stride, column_stride, status, status if own is None else own, own is not None,
        min_seeds, min_own_share, FEW_SEEDS, OFF_CELL, screened,
    )  # fmt: skip
    return screened
