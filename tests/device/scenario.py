"""Every operation of the GPU backend once, against the reference: a scenario that launches every kernel."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from linksyn_gpu.backend.gpu.cuda import declared_kernels
from linksyn_gpu.backend.protocol import EdgeRule
from linksyn_gpu.backend.reference import operations as ref
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.tables import KPGraph, SeedLabels
from linksyn_gpu.taxonomy.disciplines import default_taxonomy
from tests.graphs import random_graph, random_incidence

KEY = derive_key(42, Purpose.WALK)


@dataclass(frozen=True)
class Tables:
    """A round's tables, on either side."""

    graph: Any
    transition: Any
    start: Any


def allowed_shape(blocks: int, threads: int) -> Callable[[str, int], tuple[int, int]]:
    """In place of `launch_shape`: the same shape for every kernel, with the largest block that its bounds allow."""
    declared = declared_kernels()
    return lambda name, n_threads: (blocks, min(threads, declared[name].max_threads or threads))


def assert_same(gpu: Any, expected: Any, found: Any, what: str) -> None:
    """The same bits, the same type, the same shape."""
    host = gpu.to_host(found)
    assert host.dtype == expected.dtype, f"{what}: {host.dtype}, not {expected.dtype}"
    assert host.shape == expected.shape, f"{what}: {host.shape}, not {expected.shape}"
    assert np.array_equal(host.view(np.uint8), np.ascontiguousarray(expected).view(np.uint8)), what


def tables_of(ops: Any, graph: KPGraph, value: Any, target: Any, steps: int = 2**40) -> Tables:
    """With what a backend adds for many steps, unless there are few."""
    on_ops = ops.load_graph(graph, second_order=True)
    value, target = ops.asarray(value), ops.asarray(target)
    transition = ops.transition_table(on_ops, value, steps=steps)
    return Tables(on_ops, transition, ops.start_table(transition, target, value))


def assert_same_tables(gpu: Any, graph: KPGraph, value: Any, target: Any, steps: int = 2**40) -> tuple[Tables, Tables]:
    expected, found = (tables_of(ops, graph, value, target, steps) for ops in (ref, gpu))
    assert_same(gpu, expected.transition.prefix, found.transition.prefix, "row prefix sums")
    assert_same(gpu, expected.transition.total, found.transition.total, "row totals")
    assert_same(gpu, expected.start.prefix, found.start.prefix, "start prefix sums")
    return expected, found


def assert_same_cells(gpu: Any, graph: KPGraph, value: Any, scale: float, seed: int) -> None:
    """Tables of a graph with foreign edges, the count of foreign steps and the calibration of their factor."""
    rows = np.repeat(np.arange(graph.n_kps), graph.degree)
    foreign = (rows + graph.indices) % 3 == seed % 3  # symmetric
    weight = np.where(foreign, -graph.weight, graph.weight)
    results = []
    for ops in (ref, gpu):
        factor = ops.asarray(np.full(1, scale))
        cell = ops.cell_graph(ops.load_graph(graph, second_order=False), ops.asarray(weight))
        device_value = ops.asarray(value)
        table = ops.transition_table(cell, device_value, factor)
        start = ops.start_table(table, device_value, device_value)
        ids = ops.asarray(np.arange(40))
        nodes = ops.sample_walks(cell, table, start, ids, length=4, rule=ref.StepRule(True, 1.0, 1.0), key=KEY)
        steps = ops.count_steps(cell, nodes[:30])
        share = ops.asarray(np.full(1, 0.1))
        results.append((table.prefix, table.total, nodes, steps, ops.calibrated_scale(factor, share, steps)))
    for name, expected, found in zip(("prefix", "total", "walks", "steps", "scale"), *results, strict=True):
        assert_same(gpu, np.asarray(expected), found, f"{name} of a cell")


def assert_same_walks(
    gpu: Any, expected: Tables, found: Tables, ids: Any, length: int, rule: Any, key: int = KEY
) -> tuple[Any, Any]:
    """The same paths; returns them, in the memory of the reference and of the GPU backend."""
    walks = []
    for ops, tables in ((ref, expected), (gpu, found)):
        parts = (tables.graph, tables.transition, tables.start)
        walks.append(ops.sample_walks(*parts, ops.asarray(ids), length=length, rule=rule, key=key))
    assert_same(gpu, walks[0], walks[1], f"walks of {rule}")
    return walks[0], walks[1]


def assert_same_construction(gpu: Any, indptr: Any, kps: Any, n_kps: int, limit: int | None = None) -> tuple[Any, ...]:
    expected = ref.cooccurrence(indptr, kps, n_kps)
    found = gpu.cooccurrence(gpu.asarray(indptr), gpu.asarray(kps), n_kps, memory_limit=limit)
    for name, a, b in zip(("indptr", "indices", "count"), expected, found, strict=True):
        assert_same(gpu, a, b, name)
    return expected


def assert_same_evidence(gpu: Any, indptr: Any, kps: Any, rows: Any, columns: Any) -> None:
    expected = ref.evidence(indptr, kps, rows, columns)
    found = gpu.evidence(*(gpu.asarray(a) for a in (indptr, kps, rows, columns)))
    for name, a, b in zip(("evidence indptr", "evidence"), expected, found, strict=True):
        assert_same(gpu, a, b, name)


def assert_same_graph(gpu: Any, indptr: Any, kps: Any, n_kps: int, rule: EdgeRule, limit: int | None = None) -> None:
    """A whole graph: weights, pruning, evidence and components."""
    expected = ref.graph_arrays(indptr, kps, n_kps, rule)
    found = gpu.graph_arrays(gpu.asarray(indptr), gpu.asarray(kps), n_kps, rule, memory_limit=limit)
    for name in expected.__dataclass_fields__:
        if name == "drops":
            assert found.drops == expected.drops
        else:
            assert_same(gpu, getattr(expected, name), getattr(found, name), f"{name} for {rule}")


def assert_same_statistics(gpu: Any, indptr: Any, kps: Any, n_kps: int, rng: np.random.Generator) -> None:
    labels = some_labels(indptr.size - 1, rng)
    counts = [
        ops.kp_counts(ops.asarray(indptr), ops.asarray(kps), n_kps, ops.load_labels(labels), 4) for ops in (ref, gpu)
    ]
    for name in counts[0].__dataclass_fields__:
        assert_same(gpu, getattr(counts[0], name), getattr(counts[1], name), name)


def some_labels(n_seeds: int, rng: np.random.Generator) -> SeedLabels:
    """Seeds with none, one or more disciplines, and with and without a level."""
    membership = sparse.csr_array(rng.random((n_seeds, 4)) < 0.3).astype(np.int64)
    return SeedLabels(list("abcd"), membership, rng.integers(0, 6, n_seeds), default_taxonomy())


def assert_same_bundles(gpu: Any, graph: KPGraph, rank: Any, nodes: tuple[Any, Any], ids: Any, keep: Any) -> None:
    """The same seeds, whether edges are searched where paths take them or their best seeds are listed."""
    expected = ref.load_evidence(graph)
    key = derive_key(42, Purpose.BUNDLE)
    bundles = ref.link_paths(expected, ref.rank_evidence(expected, rank), nodes[0], ids, keep, key)
    for chunk in (1, 3, 32):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys.modules["linksyn_gpu.backend.gpu.bundle"], "CHUNK", chunk)
            evidence = gpu.load_evidence(graph, gpu.load_graph(graph, second_order=False) if chunk == 3 else None)
        for name in expected.__dataclass_fields__:
            assert_same(gpu, getattr(expected, name), getattr(evidence, name), f"evidence, {name}")
        ranked = gpu.rank_evidence(evidence, gpu.asarray(rank))
        for rows in (slice(0, len(ids) // 2), slice(len(ids) // 2, None)):  # lists of the first call serve the second
            device_ids, device_keep = gpu.asarray(ids[rows]), gpu.asarray(keep[rows])
            found = gpu.link_paths(evidence, ranked, nodes[1][rows], device_ids, device_keep, key)
            assert_same(gpu, bundles[rows], found, f"bundles, chunks of {chunk}")
    of_cell = (np.arange(rank.size) % 3 == 0).astype(np.uint8)
    status = np.where(keep, 0, 1).astype(np.uint8)
    for own in (None, of_cell):
        screened = [
            ops.screen_bundles(
                ops.asarray(bundles), ops.asarray(status), None if own is None else ops.asarray(own), 2,
                ops.asarray(np.full(1, 0.3)),
            )
            for ops in (ref, gpu)
        ]  # fmt: skip
        assert_same(gpu, *screened, "status of bundles")


def assert_same_ranks(gpu: Any, rng: np.random.Generator) -> None:
    labels = some_labels(70, rng)
    uses, distances = rng.integers(0, 9, 70), rng.integers(0, 6, 8)
    for wanted in (np.zeros(4, np.uint8), np.array([0, 1, 0, 1], np.uint8)):
        ranked = [ops.rank_seeds(ops.load_labels(labels), ops.asarray(uses), wanted, distances) for ops in (ref, gpu)]
        for expected, found, name in zip(*ranked, ("rank", "own"), strict=True):
            assert_same(gpu, expected, found, name)


def run_everything(gpu: Any) -> None:
    """Compare every operation once, on inputs that are not degenerate."""
    rng = np.random.default_rng(7)
    indptr, kps = random_incidence(80, 24, rng, most=7)
    rows, columns, _ = assert_same_construction(gpu, indptr, kps, 24)
    assert_same_construction(gpu, indptr, kps, 24, limit=3000)
    assert_same_evidence(gpu, indptr, kps, rows, columns)
    for rule in (EdgeRule(), EdgeRule("cosine", 2), EdgeRule("jaccard", 1, 2), EdgeRule("npmi", 2, 3)):
        for limit in (None, 3000):
            assert_same_graph(gpu, indptr, kps, 24, rule, limit)
    gpu.check_incidence(gpu.asarray(indptr), gpu.asarray(kps), 24)
    assert_same_statistics(gpu, indptr, kps, 24, rng)

    graph = random_graph(n_seeds=90, n_kps=24, seed=3)
    target = graph.seed_count / graph.seed_count.sum()
    visits = rng.integers(0, 50, 24)
    for beta in (0.0, 0.5, 1.0, 2.0):
        value = ref.node_value(target, np.ones(24), visits, beta)
        device = [gpu.asarray(a) for a in (target, np.ones(24), visits)]
        assert_same(gpu, value, gpu.node_value(*device, beta), f"value for beta {beta}")
    assert_same(
        gpu,
        ref.calibrated_potential(np.ones(24), target, visits),
        gpu.calibrated_potential(*(gpu.asarray(a) for a in (np.ones(24), target, visits))),
        "potential",
    )
    expected, found = assert_same_tables(gpu, graph, value, target)
    nodes = (None, None)
    for ids, length in ((np.arange(300), 4), (np.array([5, 2**32 + 1, 2**40]), 2)):
        for rule in (ref.StepRule(True, 1.0, 1.0), ref.StepRule(False, 0.25, 4.0), ref.StepRule(True, 2.0, 0.5)):
            nodes = assert_same_walks(gpu, expected, found, ids, length, rule)
            assert (nodes[0] >= 0).any()
    scan = ref.StepRule(True, 2.0**-16, 2.0**16)  # proposals almost never pass: the exact scan decides
    nodes = assert_same_walks(gpu, expected, found, np.arange(60), 4, scan)

    keep = rng.random(60) < 0.8
    assert_same(gpu, ref.path_lengths(nodes[0]), gpu.path_lengths(nodes[1]), "lengths")
    assert_same(
        gpu,
        ref.count_occurrences(nodes[0], keep, 24),
        gpu.count_occurrences(nodes[1], gpu.asarray(keep), 24),
        "occurrences",
    )
    seen, device_seen = ref.key_set(), gpu.key_set()
    for _ in range(2):
        assert_same(gpu, ref.screen_paths(nodes[0], 3, seen), gpu.screen_paths(nodes[1], 3, device_seen), "screening")
    assert_same_bundles(gpu, graph, rng.integers(0, 4, 90), nodes, np.arange(60), keep)
    assert_same_ranks(gpu, rng)
    for scale in (1.0, 1.0 / 3.0, 2.0**-20):
        assert_same_cells(gpu, graph, value, scale, 1)
