"""Effect of the value function: coverage, Gini and divergence of visits with and without its parts.

    python bench/value.py [--json] [--data FOLDER] [--walks 1000000] [--steps 6] [--tau 0 0.5 1]

On the Zipf graph and, when --data or LINKSYN_DATA names a folder with seed_openstax_en.jsonl, on real seeds. For each
tau: plain walks (no value), live feedback, calibration, and both. `floor` is the mean divergence of the same number of
independent draws from the target itself: (KPs - 1) / (2 * visits).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import graphs
import numpy as np
from timing import report

from linksyn_gpu import WalkConfig, Walker
from linksyn_gpu.sampling.value import divergence, gini, target_shares
from linksyn_gpu.tables import KPGraph

WAYS = {
    "plain": (0.0, 0),
    "feedback": (1.0, 0),
    "calibration": (0.0, 20),
    "both": (1.0, 20),
}  # beta, calibration rounds
OPENSTAX = "seed_openstax_en.jsonl"


def measure(graph: KPGraph, tau: float, way: str, n: int, steps: int, rounds: int, no_revisit: bool) -> dict[str, Any]:
    beta, calibration = WAYS[way]
    # A plain walk has no target: its starts follow popularity for any tau.
    config = WalkConfig(
        length=steps,
        tau=1.0 if way == "plain" else tau,
        beta=beta,
        rounds=rounds,
        calibration_rounds=calibration,
        no_revisit=no_revisit,
        max_redraws=0,
    )
    begin = time.perf_counter()
    batch = Walker(graph, config, seed=1, backend="cpu").sample(n)
    seconds = time.perf_counter() - begin
    visits = np.bincount(batch.nodes[batch.nodes >= 0], minlength=graph.n_kps)
    reachable = graph.degree > 0
    sets = np.sort(batch.nodes, axis=1)
    return {
        "coverage": float((visits[reachable] > 0).mean()),
        "gini": gini(visits[reachable]),
        "kl": divergence(visits, target_shares(graph.seed_count, tau), reachable),
        "floor": (int(reachable.sum()) - 1) / (2 * int(visits.sum())),
        "distinct_sets": float(np.unique(sets, axis=0).shape[0] / n),
        "seconds": seconds,
    }


def openstax_graph(folder: str | None) -> KPGraph | str:
    """The graph of the OpenStax seeds, or the reason why there is none."""
    if folder is None:
        return "no folder given (--data or LINKSYN_DATA)"
    file = Path(folder) / OPENSTAX
    if not file.is_file():
        return f"{OPENSTAX} is not in that folder"
    from linksyn_gpu import build_graph, read_seeds

    return build_graph(read_seeds(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", default=os.environ.get("LINKSYN_DATA"))
    parser.add_argument("--walks", type=int, default=1_000_000, help="on the Zipf graph")
    parser.add_argument("--real-walks", type=int, default=20_000, help="on the OpenStax graph")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--revisit", action="store_true", help="allow revisits (the default walk does not)")
    parser.add_argument("--tau", type=float, nargs="*", default=[0.0, 0.5, 1.0])
    options = parser.parse_args()
    real = openstax_graph(options.data)
    tasks: list[tuple[str, KPGraph, int]] = [("Zipf", graphs.zipf_graph(), options.walks)]
    if isinstance(real, str):
        print(f"OpenStax skipped: {real}", file=sys.stderr)
    else:
        tasks.append(("OpenStax", real, options.real_walks))
    record: dict[str, Any] = {"steps": options.steps, "rounds": options.rounds, "graphs": {}}
    lines = []
    for name, graph, n in tasks:
        found = record["graphs"][name] = {"kps": graph.n_kps, "edges": graph.n_edges, "walks": n, "results": []}
        lines.append(f"{name}: {graph.n_kps:,} KPs, {graph.n_edges:,} edges, {n:,} walks of {options.steps} steps")
        lines.append(
            f"  {'tau':>4s} {'way':12s}{'coverage':>9s}{'Gini':>7s}{'KL':>9s}{'floor':>9s}{'KL/floor':>9s}"
            f"{'distinct':>9s}{'s':>7s}"
        )
        for tau in options.tau:
            for way in WAYS:
                r = measure(graph, tau, way, n, options.steps, options.rounds, not options.revisit)
                found["results"].append({"tau": tau, "way": way, **r})
                lines.append(
                    f"  {tau:4.1f} {way:12s}{r['coverage']:9.4f}{r['gini']:7.3f}{r['kl']:9.4f}{r['floor']:9.4f}"
                    f"{r['kl'] / r['floor']:9.2f}{r['distinct_sets']:9.4f}{r['seconds']:7.1f}"
                )
    report(record, options.json, lines)


if __name__ == "__main__":
    main()
