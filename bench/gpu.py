"""The GPU backend: compilation, primitives, random reads, and a whole round next to the CPU; parity first.

    python bench/gpu.py --size 10M --walks 1000000 --length 8 --out gpu.json

1. Kernels are compiled with an empty cache.
2. Both backends build a graph and walk on it; unless the bits are the same, nothing else is timed.
3. Each primitive runs in its own warm loop, timed by events of the device.
4. A kernel measures how many random sectors per second the device reads, and a copy its bandwidth. Walks are compared
   with both.
5. Whole rounds, from host arrays to host arrays, run on CPU and GPU in turn.

Without a device it says so and times the CPU alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from graphs import SIZES, cached_incidence, zipf_graph
from timing import Times, interleave, machine, report

from linksyn_gpu.backend.cpu import operations as cpu
from linksyn_gpu.backend.gpu import cuda as kernels
from linksyn_gpu.backend.gpu.memory import SECTOR, SECTORS_PER_STEP
from linksyn_gpu.backend.protocol import EdgeRule
from linksyn_gpu.backend.rng import Purpose, derive_key
from linksyn_gpu.tables import KPGraph

KEY = derive_key(7, Purpose.WALK)
RULES = {
    "walks": cpu.StepRule(False, 1.0, 1.0),
    "walks, no revisit": cpu.StepRule(True, 1.0, 1.0),
    "walks, no revisit, p = 0.25, q = 4": cpu.StepRule(True, 0.25, 4.0),
}
RULE = RULES["walks, no revisit"]
WARM_UP, LOOP = 3, 20
READS_PER_THREAD = 64


def synchronise() -> None:
    """Wait for the device."""
    import cupy

    cupy.cuda.runtime.deviceSynchronize()


def walk(ops: Any, graph: Any, value: Any, target: Any, n_walks: int, length: int, rule: Any = RULE) -> Any:
    table = ops.transition_table(graph, value, steps=n_walks * length)
    start = ops.start_table(table, target, value)
    ids = ops.walk_ids(0, n_walks)
    return ops.sample_walks(graph, table, start, ids, length=length, rule=rule, key=KEY)


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
    """Seconds to compile each source file, with no cache of before."""
    import cupy

    kernels._module.cache_clear()
    seconds = {}
    before = os.environ.get("CUPY_CACHE_DIR")
    with tempfile.TemporaryDirectory() as empty:
        os.environ["CUPY_CACHE_DIR"] = empty
        try:
            for file in kernels.source_files():
                begin = time.perf_counter()
                kernels._module(file, cupy.cuda.Device().id)
                seconds[file] = time.perf_counter() - begin
        finally:
            del os.environ["CUPY_CACHE_DIR"]
            if before is not None:
                os.environ["CUPY_CACHE_DIR"] = before
    return seconds


def device_seconds(work: Callable[[], Any], loop: int) -> float:
    """Median seconds of a warm call, between two events of the device."""
    import cupy

    for _ in range(WARM_UP):
        work()
    seconds = []
    for _ in range(loop):
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        work()
        end.record()
        end.synchronize()
        seconds.append(cupy.cuda.get_elapsed_time(begin, end) / 1e3)
    return statistics.median(seconds)


def primitives(
    gpu: Any, graph: KPGraph, incidence: Any, target: Any, n: int, length: int
) -> dict[str, Callable[[], Any]]:
    """Each operation on arrays that are on the device already."""
    seeds = tuple(map(gpu.asarray, incidence))
    on_device = gpu.load_graph(graph, second_order=False)
    second_order = gpu.load_graph(graph, second_order=True)
    value, share = gpu.asarray(np.ones(graph.n_kps)), gpu.asarray(target)
    visits = gpu.asarray(np.zeros(graph.n_kps, np.int64))
    steps = max(n * length, graph.indices.size)  # with the guide table
    table = gpu.transition_table(on_device, value, steps=steps)
    start = gpu.start_table(table, share, value)
    ids = gpu.walk_ids(0, n)
    columns = gpu.asarray(graph.indptr), gpu.asarray(graph.indices)
    postings = (gpu.to_host(array) for array in gpu.evidence(*seeds, *columns))
    with_evidence = replace(graph, **dict(zip(("evidence_indptr", "evidence"), postings, strict=True)))
    linked = gpu.load_evidence(with_evidence, on_device)
    rank = gpu.asarray(np.arange(graph.n_seeds) % 4)
    ranked = gpu.rank_evidence(linked, rank)
    keep = gpu.asarray(np.ones(n, np.bool_))

    def sample(rule: Any) -> Any:
        held = second_order if rule.second_order else on_device
        return gpu.sample_walks(held, table, start, ids, length=length, rule=rule, key=KEY)

    nodes = sample(RULE)
    return {
        "co-occurrence": lambda: gpu.cooccurrence(*seeds, graph.n_kps),
        "evidence": lambda: gpu.evidence(*seeds, *columns),
        "graph with evidence, to the host": lambda: gpu.graph_arrays(*seeds, graph.n_kps, EdgeRule()),
        "value": lambda: gpu.node_value(share, value, visits, 1.0),
        "transition table": lambda: gpu.transition_table(on_device, value),
        "transition table with guide": lambda: gpu.transition_table(on_device, value, steps=steps),
        "start table": lambda: gpu.start_table(table, share, value),
        **{name: (lambda rule=rule: sample(rule)) for name, rule in RULES.items()},
        "screening": lambda: gpu.screen_paths(nodes, 2, gpu.key_set()),
        "occurrences": lambda: gpu.count_occurrences(nodes, keep, graph.n_kps),
        "bundles, first of a round": lambda: gpu.link_paths(
            linked, gpu.rank_evidence(linked, rank), nodes, ids, keep, KEY
        ),
        "bundles": lambda: gpu.link_paths(linked, ranked, nodes, ids, keep, KEY),
    }


def memory_rates(n_bytes: int, loop: int) -> dict[str, float]:
    """Random sectors per second, and bytes per second of a copy (read and written), over arrays of `n_bytes`."""
    import cupy

    words = cupy.zeros(n_bytes // 8, np.uint64)
    n_sectors, threads = n_bytes // SECTOR, max(n_bytes // SECTOR // READS_PER_THREAD, 1)
    sums = cupy.empty(threads, np.uint64)
    module = cupy.RawModule(
        code=(Path(__file__).parent / "random_sectors.cu").read_text(encoding="utf-8"),
        options=kernels.COMPILE_OPTIONS,
        backend="nvrtc",
    )
    module.compile()
    function = module.get_function("random_sectors")
    blocks = min(-(-threads // 256), kernels.MAX_BLOCKS)
    arguments = (words, np.int64(n_sectors), np.int64(threads), np.int64(READS_PER_THREAD), sums)
    reading = device_seconds(lambda: function((blocks,), (256,), arguments), loop)
    copying = device_seconds(words.copy, loop)
    return {
        "random_sectors_per_second": threads * READS_PER_THREAD / reading,
        "copy_bytes_per_second": 2 * words.nbytes / copying,
    }


def rounds(ops: Any, sync: Callable[[], None], graph: KPGraph, target: Any, n: int, length: int) -> Any:
    """What runs on both backends, from host arrays to host arrays: name -> function."""

    def load() -> None:
        ops.load_graph(graph, second_order=False)
        sync()

    def end_to_end() -> Any:
        loaded = ops.load_graph(graph, second_order=False)
        return ops.to_host(walk(ops, loaded, ops.asarray(np.ones(graph.n_kps)), ops.asarray(target), n, length))

    return {"graph to memory": load, "round, host to host": end_to_end}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="1M", help="approximate number of entries of the graph")
    parser.add_argument("--walks", type=int, default=200_000)
    parser.add_argument("--length", type=int, default=8)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--loop", type=int, default=LOOP, help="timed calls of each primitive")
    parser.add_argument("--table-bytes", type=int, default=4 << 30, help="bytes that random reads are spread over")
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    parser.add_argument("--out", type=Path, help="write JSON to this file too")
    options = parser.parse_args()
    usable, finding = kernels.probe_device()
    compiled = compile_seconds() if usable else {}
    n_seeds, n_kps = SIZES[options.size]
    incidence, graph = cached_incidence(n_seeds, n_kps), zipf_graph(n_seeds, n_kps)
    target = graph.seed_count / graph.seed_count.sum()
    n, length = options.walks, options.length
    everything = {f"cpu: {name}": work for name, work in rounds(cpu, lambda: None, graph, target, n, length).items()}
    on_device: dict[str, float] = {}
    rates: dict[str, float] = {}
    if usable:
        from linksyn_gpu.backend.gpu import operations as gpu

        check_parity(gpu, incidence, graph, target, min(n, 20_000), length)
        works = primitives(gpu, graph, incidence, target, n, length)
        on_device = {name: device_seconds(work, options.loop) for name, work in works.items()}
        del works
        gpu.release()
        rates = memory_rates(options.table_bytes, options.loop)
        everything |= {
            f"gpu: {name}": work for name, work in rounds(gpu, synchronise, graph, target, n, length).items()
        }
    times = interleave(everything, options.turns)
    record = {
        "what": "CPU and GPU" if usable else "CPU alone",
        "device": finding,
        "parity": "same bits" if usable else "not compared",
        "entries": int(graph.indices.size),
        "kps": graph.n_kps,
        "walks": n,
        "length": length,
        "compile_seconds": compiled,
        "device_seconds": on_device,
        "memory": rates,
        "steps": {name: steps_of(graph, target, n, length, rule) for name, rule in RULES.items()},
        "seconds": {name: {"median": t.median, "spread": t.spread} for name, t in times.items()},
    }
    if options.out is not None:
        options.out.write_text(json.dumps({**record, "machine": machine()}, indent=2) + "\n", encoding="utf-8")
    report(record, options.json, lines(record, times))


def steps_of(graph: KPGraph, target: Any, n_walks: int, length: int, rule: Any) -> int:
    """Steps that these walks take: some end early."""
    loaded = cpu.load_graph(graph, second_order=rule.second_order)
    nodes = walk(cpu, loaded, np.ones(graph.n_kps), target, n_walks, length, rule)
    return int((nodes[:, 1:] >= 0).sum())


def lines(record: dict[str, Any], times: dict[str, Times]) -> list[str]:
    """The record as a table."""
    found = [
        f"{record['what']}: {record['device']}; parity: {record['parity']}",
        f"graph of {record['kps']:,} KPs and {record['entries']:,} entries, "
        f"{record['walks']:,} walks of up to {record['length']} steps",
    ]
    if record["compile_seconds"]:
        found.append(f"compile, all kernels, empty cache: {sum(record['compile_seconds'].values()):.2f} s")
    for name, seconds in record["device_seconds"].items():
        note = ""
        if name in record["steps"]:
            rate = record["steps"][name] / seconds
            note = f"  {rate / 1e6:,.1f} M steps/s"
            if name == "walks":
                note += against_memory(rate, record["memory"])
        found.append(f"{'device: ' + name:<32}{seconds * 1e3:>10.3f} ms{note}")
    if record["memory"]:
        found.append(
            f"device: {record['memory']['random_sectors_per_second'] / 1e9:.2f} G random sectors/s, "
            f"copy {record['memory']['copy_bytes_per_second'] / 1e9:,.1f} GB/s"
        )
    for name, taken in times.items():
        found.append(f"{name:<32}{taken.median * 1e3:>10.3f} ms  spread {taken.spread:.0%}")
    return found


def against_memory(steps_per_second: float, memory: dict[str, float]) -> str:
    """What a step reads, against what the device can read."""
    sectors = steps_per_second * SECTORS_PER_STEP
    return (
        f"; at {SECTORS_PER_STEP} sectors ({SECTORS_PER_STEP * SECTOR:.0f} bytes) per step "
        f"{sectors / memory['random_sectors_per_second']:.0%} of the random reads and "
        f"{sectors * SECTOR / memory['copy_bytes_per_second']:.0%} of the bandwidth"
    )


if __name__ == "__main__":
    main()
