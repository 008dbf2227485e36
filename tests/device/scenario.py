"""Every operation of the GPU backend once, against the reference: a scenario that launches every kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from linksyn_gpu.backend.gpu.cuda import declared_kernels
from linksyn_gpu.backend.reference import operations as ref
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.tables import KPGraph
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


def assert_same_bundles(gpu: Any, graph: KPGraph, rank: Any, nodes: tuple[Any, Any], ids: Any, keep: Any) -> None:
    expected_evidence, evidence = ref.load_evidence(graph), gpu.load_evidence(graph)
    for name, a, b in zip("abcdef", astuple(expected_evidence), astuple_shallow(evidence), strict=True):
        assert_same(gpu, a, b, f"evidence {name}")
    expected, found = ref.order_evidence(expected_evidence, rank), gpu.order_evidence(evidence, gpu.asarray(rank))
    assert_same(gpu, expected.seeds, found.seeds, "ordered evidence")
    assert_same(gpu, expected.ties, found.ties, "ties")
    key = derive_key(42, Purpose.BUNDLE)
    assert_same(
        gpu,
        ref.link_paths(expected_evidence, expected, nodes[0], ids, keep, key),
        gpu.link_paths(evidence, found, nodes[1], gpu.asarray(ids), gpu.asarray(keep), key),
        "bundles",
    )


def astuple_shallow(instance: Any) -> tuple[Any, ...]:
    return tuple(getattr(instance, name) for name in instance.__dataclass_fields__)


def run_everything(gpu: Any) -> None:
    """Compare every operation once, on inputs that are not degenerate."""
    rng = np.random.default_rng(7)
    indptr, kps = random_incidence(80, 24, rng, most=7)
    rows, columns, _ = assert_same_construction(gpu, indptr, kps, 24)
    assert_same_construction(gpu, indptr, kps, 24, limit=3000)
    assert_same_evidence(gpu, indptr, kps, rows, columns)

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
    for scale in (1.0, 1.0 / 3.0, 2.0**-20):
        assert_same_cells(gpu, graph, value, scale, 1)
