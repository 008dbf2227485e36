"""Speed of walks, compared with a naive loop over float prefix sums, and with PecanPy if it is installed.

    python bench/walks.py [--json] [--turns 7] [--tau 1 0.5 0] [--scaling docs/walks-scaling.svg] [--start-up]

Every sampler walks the same graph under the same values (weights times a value with feedback, as in a round of a
campaign), with the same number of threads, in turn within one run: it draws the starts, steps, and returns a new
array (PecanPy is given the starts). The report gives ratios within that run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import numba
import numpy as np
from numba import float32, int64, njit, prange, uint64
from timing import Times, interleave, report

from linksyn_gpu.backend.cpu import operations as cpu
from linksyn_gpu.sampling.value import target_shares
from linksyn_gpu.tables import KPGraph

KEY = 20261122
RULES = {
    "canonical": cpu.StepRule(False, 1.0, 1.0),
    "no-revisit": cpu.StepRule(True, 1.0, 1.0),
    "no-revisit, p=2 q=0.5": cpu.StepRule(True, 2.0, 0.5),
    "no-revisit, p=0.5 q=2": cpu.StepRule(True, 0.5, 2.0),
}


# ---------------------------------------------------------------------- the naive loop


@njit(inline="always")
def _uniform(key, walk, step):
    """24 random bits by splitmix64 of a counter, as a float in [0, 1): cheaper than Philox."""
    x = uint64(key) + uint64(0x9E3779B97F4A7C15) * (uint64(walk) * uint64(65536) + uint64(step) + uint64(1))
    x = (x ^ (x >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> uint64(27))) * uint64(0x94D049BB133111EB)
    return float32((x ^ (x >> uint64(31))) >> uint64(40)) * float32(2.0**-24)


@njit(parallel=True, cache=True)
def naive_sums(indptr, indices, weight, value, sums):
    """Float prefix sums of weight * value in each row."""
    for u in prange(indptr.size - 1):
        running = float32(0)
        for e in range(indptr[u], indptr[u + 1]):
            running += float32(weight[e]) * value[indices[e]]
            sums[e] = running


@njit(inline="always")
def _first_above(sums, begin, n, x):
    """First of n sums from `begin` on that is above x, by binary search."""
    while n > 1:
        half = n >> 1
        begin = begin + half if sums[begin + half - 1] <= x else begin
        n -= half
    return begin


@njit(parallel=True, cache=True)
def naive_walks(indptr, indices, sums, start_sums, n_walks, length, key):
    """One walk after the other, a binary search per draw: the obvious first implementation."""
    out = np.empty((n_walks, length + 1), np.int32)
    for i in prange(n_walks):
        v = _first_above(start_sums, int64(0), start_sums.size, _uniform(key, i, 0) * start_sums[-1])
        out[i, 0] = v
        for step in range(1, length + 1):
            begin, end = indptr[v], indptr[v + 1]
            v = int64(indices[_first_above(sums, begin, end - begin, _uniform(key, i, step) * sums[end - 1])])
            out[i, step] = v
    return out


# ---------------------------------------------------------------------- cases


def campaign_value(graph: KPGraph, tau: float, rounds: int = 8, walks: int = 500_000) -> tuple[Any, Any]:
    """Target shares, and a value as in the middle of a campaign: calibrated, with feedback of a round's visits."""
    target = target_shares(graph.seed_count, tau)
    loaded = cpu.load_graph(graph, second_order=False)
    potential, nothing = np.ones(graph.n_kps), np.zeros(graph.n_kps, np.int64)
    visits = nothing
    for _ in range(rounds):
        value = cpu.node_value(target, potential, nothing, 0.0)
        table = cpu.transition_table(loaded, value)
        start = cpu.start_table(table, target, value)
        nodes = cpu.sample_walks(
            loaded, table, start, cpu.walk_ids(0, walks), length=4, rule=RULES["no-revisit"], key=KEY
        )
        visits = cpu.count_occurrences(nodes, np.ones(walks, bool), graph.n_kps)
        potential = cpu.calibrated_potential(potential, target, visits)
    return target, cpu.node_value(target, potential, visits, 1.0)


def pecanpy_case(graph: KPGraph, value: Any, starts: Any, length: int) -> Callable[[], Any] | str:
    """PecanPy's first-order kernel without its string ids and lists, or the reason why there is none."""
    try:
        from numba_progress import ProgressBar
        from pecanpy.pecanpy import PreCompFirstOrder
    except Exception as error:  # noqa: BLE001 - its version pins fail in many ways; the report shows which
        return f"not importable ({type(error).__name__})"
    walker = PreCompFirstOrder(p=1, q=1, random_state=1)
    walker.indptr, walker.indices = graph.indptr.astype(np.uint32), graph.indices.astype(np.uint32)
    walker.data = (graph.weight * value[graph.indices]).astype(np.float32)
    walker.preprocess_transition_probs()
    has_neighbours, move, first = walker.get_has_nbrs(), walker.get_move_forward(), starts.astype(np.uint32)

    def walk() -> Any:
        with ProgressBar(total=first.size, disable=True) as progress:  # its thread ends only when it is closed
            return walker._random_walks(first.size, length, 1, first, has_neighbours, move, progress)

    return walk


def measure(graph: KPGraph, tau: float, n: int, length: int, turns: int) -> dict[str, Any]:
    """Time every sampler on one graph and one value."""
    target, value = campaign_value(graph, tau)
    loaded = cpu.load_graph(graph, second_order=True)
    table = cpu.transition_table(loaded, value)
    start = cpu.start_table(table, target, value)
    ids = cpu.walk_ids(0, n)

    def walk(rule: cpu.StepRule) -> Any:
        return cpu.sample_walks(loaded, table, start, ids, length=length, rule=rule, key=KEY)

    nodes = walk(RULES["canonical"])
    float_value, sums = value.astype(np.float32), np.empty(graph.indices.size, np.float32)
    start_sums = np.cumsum(np.where(graph.degree > 0, target * value, 0.0)).astype(np.float32)
    naive_sums(graph.indptr, graph.indices, graph.weight, float_value, sums)
    everything = np.ones(n, bool)
    cases: dict[str, Callable[[], Any]] = {
        "naive loop": lambda: naive_walks(graph.indptr, graph.indices, sums, start_sums, n, length, KEY),
        **{name: lambda rule=rule: walk(rule) for name, rule in RULES.items()},
        "rebuild of a round's tables": lambda: cpu.start_table(cpu.transition_table(loaded, value), target, value),
        "naive rebuild of float sums": lambda: naive_sums(graph.indptr, graph.indices, graph.weight, float_value, sums),
        "count visits": lambda: cpu.count_occurrences(nodes, everything, graph.n_kps),
    }
    pecanpy = pecanpy_case(graph, value, nodes[:, 0], length)
    if not isinstance(pecanpy, str):
        cases["PecanPy first-order kernel"] = pecanpy
    times = interleave(cases, turns)
    naive, canonical = times["naive loop"], times["canonical"]
    return {
        "tau": tau,
        "entries": int(graph.indices.size),
        "walks": n,
        "steps": length,
        "mean_degree_of_visited": float(graph.degree[nodes[:, :-1][nodes[:, 1:] >= 0]].mean()),
        "searches_per_step": share_of_searches(graph, table, nodes),
        "pecanpy": pecanpy if isinstance(pecanpy, str) else canonical.ratio_to(times["PecanPy first-order kernel"]),
        "pecanpy_cpu": None
        if isinstance(pecanpy, str)
        else canonical.cpu_ratio_to(times["PecanPy first-order kernel"]),
        "rebuild_over_canonical": canonical.ratio_to(times["rebuild of a round's tables"]),
        "rebuild_over_canonical_cpu": canonical.cpu_ratio_to(times["rebuild of a round's tables"]),
        "cases": {name: row(t, naive, n * length) for name, t in times.items()},
    }


def row(t: Times, naive: Times, steps: int) -> dict[str, float]:
    return {
        "median_s": t.median,
        "spread": t.spread,
        "million_steps_per_s": steps / t.median / 1e6,
        "times_naive": t.ratio_to(naive),
        "cpu_times_naive": t.cpu_ratio_to(naive),
    }


def share_of_searches(graph: KPGraph, table: cpu.TransitionTable, nodes: Any) -> float:
    """Share of steps that need a search of the prefix sums."""
    open_cells = np.concatenate([[0], np.cumsum(table.cells[:-1] >> np.uint64(63), dtype=np.int64)])
    share = (open_cells[graph.indptr[1:]] - open_cells[graph.indptr[:-1]]) / np.maximum(graph.degree, 1)
    at = nodes[:, :-1]
    return float(share[at[at >= 0]].mean())


def lines_of(record: dict[str, Any]) -> list[str]:
    lines = [
        f"tau {record['tau']}: {record['entries']:,} entries, mean degree of visited KPs "
        f"{record['mean_degree_of_visited']:,.0f}, {100 * record['searches_per_step']:.0f}% of steps need a search",
        f"  {'':32s}{'ms':>9s}{'M steps/s':>11s}{'x naive':>9s}{'(cpu)':>8s}{'spread':>8s}",
    ]
    for name, case in record["cases"].items():
        walked = "rebuild" not in name and "visits" not in name
        speed = " " * 28
        if walked:
            speed = f"{case['million_steps_per_s']:11.1f}{case['times_naive']:9.2f}{case['cpu_times_naive']:8.2f}"
        lines.append(f"  {name:32s}{1e3 * case['median_s']:9.1f}{speed}{100 * case['spread']:7.0f}%")
    lines.append(
        f"  rebuild / canonical walk of all steps: {record['rebuild_over_canonical']:.2f} "
        f"({record['rebuild_over_canonical_cpu']:.2f} of processor time)"
    )
    pecanpy = record["pecanpy"]
    ratio = pecanpy if isinstance(pecanpy, str) else f"{pecanpy:.1f}x ({record['pecanpy_cpu']:.1f}x of processor time)"
    lines.append(f"  canonical over PecanPy: {ratio}")
    return lines


# ---------------------------------------------------------------------- cost against size, and start-up


def scaling(n: int, length: int, turns: int) -> list[dict[str, Any]]:
    """The same on graphs of growing size, at tau = 0.5."""
    records = []
    for name, (n_seeds, n_kps) in graphs.SIZES.items():
        record = measure(graphs.zipf_graph(n_seeds, n_kps), 0.5, n, length, turns)
        records.append({"size": name, "seeds": n_seeds, "kps": n_kps, **record})
    return records


def plot(records: list[dict[str, Any]], file: Path) -> None:
    """Walks per second against entries."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "linksyn-gpu"
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name in ("canonical", "no-revisit", "no-revisit, p=2 q=0.5", "naive loop"):
        speed = [r["walks"] / r["cases"][name]["median_s"] for r in records]
        axes.plot([r["entries"] for r in records], speed, marker="o", label=name)
    axes.set(
        xscale="log", yscale="log", xlabel="entries of the graph", ylabel=f"walks of {records[0]['steps']} steps / s"
    )
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


START_UP = """
import time; begin = time.perf_counter()
import numpy as np
from linksyn_gpu.backend.cpu import operations as cpu
from linksyn_gpu.tables import KPGraph
imported = time.perf_counter()
graph = KPGraph.from_csr([0, 2, 4, 6], [1, 2, 0, 2, 0, 1], [1, 2, 1, 3, 2, 3])
ones = np.ones(3)
loaded = cpu.load_graph(graph, second_order=True)
value = cpu.node_value(ones, cpu.calibrated_potential(ones, ones, np.ones(3, np.int64)), np.ones(3, np.int64), 1.0)
table = cpu.transition_table(loaded, value); start = cpu.start_table(table, ones, value)
nodes = cpu.sample_walks(loaded, table, start, cpu.walk_ids(0, 9), length=2, rule=cpu.StepRule(True, .5, 2.), key=1)
cpu.screen_paths(nodes, 2, cpu.key_set()); cpu.count_occurrences(nodes, np.ones(9, bool), 3)
print(imported - begin, time.perf_counter() - imported)
"""


def start_up() -> dict[str, Any]:
    """Seconds of a new process until all walk kernels have run once: compiling, and from the cache."""
    seconds = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in ("first_use", "warm"):
            out = subprocess.run(
                [sys.executable, "-c", START_UP],
                env={**os.environ, "NUMBA_CACHE_DIR": cache},
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()
            seconds[name] = {"import_s": float(out[0]), "walk_path_s": float(out[1])}
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--walks", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--tau", type=float, nargs="*", default=[1.0, 0.5, 0.0])
    parser.add_argument("--scaling", type=Path, help="also measure other sizes, and draw this plot")
    parser.add_argument("--start-up", action="store_true", help="also time a new process, compiling and warm")
    options = parser.parse_args()
    begin = time.perf_counter()
    graph = graphs.zipf_graph() if options.tau else None
    record: dict[str, Any] = {
        "threads": numba.get_num_threads(),
        "walks": [measure(graph, tau, options.walks, options.steps, options.turns) for tau in options.tau if graph],
    }
    lines = [line for part in record["walks"] for line in lines_of(part)]
    if options.start_up:
        record["start_up"] = start_up()
        for name, part in record["start_up"].items():
            lines.append(f"{name}: import {part['import_s']:.1f} s, walk kernels {part['walk_path_s']:.1f} s")
    if options.scaling:
        record["scaling"] = scaling(options.walks, options.steps, options.turns)
        plot(record["scaling"], options.scaling)
        for part in record["scaling"]:
            speeds = {name: part["walks"] / case["median_s"] / 1e6 for name, case in part["cases"].items()}
            lines.append(
                f"{part['entries']:>12,} entries, {part['kps']:,} KPs: M walks/s "
                + ", ".join(f"{name} {speeds[name]:.2f}" for name in ("naive loop", *RULES))
                + f"; rebuild {1e3 * part['cases']['rebuild of a round' + chr(39) + 's tables']['median_s']:.1f} ms"
            )
    record["seconds"] = time.perf_counter() - begin
    report(record, options.json, lines)


if __name__ == "__main__":
    main()
