"""CPU against GPU: the same graph, the same walks, parity first.

    python bench/gpu.py --size 10M --walks 1000000 --length 8

First both backends build a graph and walk on it, and their bits are compared; only then the clock starts. Transfer,
compilation, each operation on the device, and the whole (from host arrays to host arrays) are timed
separately. Every timed region ends with a wait for the device. Without a device it says so and times the CPU alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from graphs import SIZES, cached_incidence, zipf_graph
from timing import Times, interleave, report

from linksyn_gpu.backend.cpu import operations as cpu
from linksyn_gpu.backend.gpu import cuda as kernels
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.tables import KPGraph

KEY = derive_key(7, Purpose.WALK)
RULE = cpu.StepRule(True, 1.0, 1.0)


def synchronise() -> None:
    """Wait for the device."""
    import cupy

    cupy.cuda.runtime.deviceSynchronize()


def walk(ops: Any, graph: Any, value: Any, target: Any, n_walks: int, length: int) -> Any:
    table = ops.transition_table(graph, value)
    start = ops.start_table(table, target, value)
    ids = ops.walk_ids(0, n_walks)
    return ops.sample_walks(graph, table, start, ids, length=length, rule=RULE, key=KEY)


def check_parity(gpu: Any, incidence: tuple[Any, Any], graph: KPGraph, target: Any, n_walks: int, length: int) -> None:
    """Stop with an error unless both backends give the same bits, on inputs that are not degenerate."""
    on_device = gpu.cooccurrence(*map(gpu.asarray, incidence), graph.n_kps)
    for name, expected, found in zip(
        ("indptr", "indices", "count"), (graph.indptr, graph.indices, graph.count), on_device, strict=True
    ):
        if not np.array_equal(expected, gpu.to_host(found)):
            sys.exit(f"parity: {name} of the co-occurrence graph differs; nothing was timed")
    paths = []
    for ops in (cpu, gpu):
        on_ops = ops.load_graph(graph, second_order=False)
        one, share = ops.asarray(np.ones(graph.n_kps)), ops.asarray(target)
        paths.append(ops.to_host(walk(ops, on_ops, one, share, n_walks, length)))
    if not (paths[0] >= 0).any() or not np.array_equal(paths[0], paths[1]):
        sys.exit("parity: walks differ; nothing was timed")


def compile_seconds() -> dict[str, float]:
    """Seconds to compile each source file in this process, or to load it from CuPy's cache on disk."""
    import cupy

    kernels._module.cache_clear()
    seconds = {}
    for file in kernels.source_files():
        begin = time.perf_counter()
        kernels._module(file, cupy.cuda.Device().id)
        seconds[file] = time.perf_counter() - begin
    return seconds


def cases(ops: Any, sync: Callable[[], None], graph: KPGraph, incidence: Any, target: Any, n: int, length: int) -> Any:
    """What is timed on a backend: name -> function; arrays are in its memory already, except for the last two."""
    on_ops = ops.load_graph(graph, second_order=False)
    value, share = ops.asarray(np.ones(graph.n_kps)), ops.asarray(target)
    seeds = tuple(map(ops.asarray, incidence))
    table = ops.transition_table(on_ops, value)
    start = ops.start_table(table, share, value)
    ids = ops.walk_ids(0, n)

    def timed(work: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            work()
            sync()

        return run

    def sample() -> Any:
        return ops.sample_walks(on_ops, table, start, ids, length=length, rule=RULE, key=KEY)

    def end_to_end() -> Any:
        loaded = ops.load_graph(graph, second_order=False)
        return ops.to_host(walk(ops, loaded, ops.asarray(np.ones(graph.n_kps)), ops.asarray(target), n, length))

    return {
        "co-occurrence": timed(lambda: ops.cooccurrence(*seeds, graph.n_kps)),
        "transition table": timed(lambda: ops.transition_table(on_ops, value)),
        "walks": timed(sample),
        "graph to memory": timed(lambda: ops.load_graph(graph, second_order=False)),
        "round, host to host": timed(end_to_end),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="1M", help="approximate number of entries of the graph")
    parser.add_argument("--walks", type=int, default=200_000)
    parser.add_argument("--length", type=int, default=8)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    usable, finding = kernels.probe_device()
    n_seeds, n_kps = SIZES[options.size]
    incidence, graph = cached_incidence(n_seeds, n_kps), zipf_graph(n_seeds, n_kps)
    target = graph.seed_count / graph.seed_count.sum()
    shape = (graph, incidence, target, options.walks, options.length)
    everything = {f"cpu: {name}": work for name, work in cases(cpu, lambda: None, *shape).items()}
    compiled: dict[str, float] = {}
    if usable:
        from linksyn_gpu.backend.gpu import operations as gpu

        check_parity(gpu, incidence, graph, target, min(options.walks, 20_000), options.length)
        compiled = compile_seconds()
        everything |= {f"gpu: {name}": work for name, work in cases(gpu, synchronise, *shape).items()}
    times = interleave(everything, options.turns)
    record = {
        "what": "CPU and GPU" if usable else "CPU alone",
        "device": finding,
        "parity": "same bits" if usable else "not compared",
        "entries": int(graph.indices.size),
        "kps": graph.n_kps,
        "walks": options.walks,
        "length": options.length,
        "compile_seconds": compiled,
        "steps": steps_of(graph, target, options.walks, options.length),
        "seconds": {name: {"median": t.median, "spread": t.spread} for name, t in times.items()},
    }
    report(record, options.json, lines(record, times))


def steps_of(graph: KPGraph, target: Any, n_walks: int, length: int) -> int:
    """Steps that these walks take: some end early."""
    nodes = walk(cpu, cpu.load_graph(graph, second_order=False), np.ones(graph.n_kps), target, n_walks, length)
    return int((nodes[:, 1:] >= 0).sum())


def lines(record: dict[str, Any], times: dict[str, Times]) -> list[str]:
    steps = record["steps"]
    found = [
        f"{record['what']}: {record['device']}; parity: {record['parity']}",
        f"graph of {record['kps']:,} KPs and {record['entries']:,} entries, "
        f"{record['walks']:,} walks of up to {record['length']} steps",
    ]
    if record["compile_seconds"]:
        found.append(f"compile, all kernels: {sum(record['compile_seconds'].values()):.2f} s")
    for name, taken in times.items():
        rate = f"  {steps / taken.median / 1e6:,.1f} M steps/s" if name.endswith("walks") else ""
        found.append(f"{name:<28}{taken.median * 1e3:>10.2f} ms  spread {taken.spread:.0%}{rate}")
    return found


if __name__ == "__main__":
    main()
