"""Time and memory of building the co-occurrence graph, compared with scipy's A'A.

    python bench/build.py [--json] [--turns 5]

Both give the full symmetric CSR: columns sorted, no diagonal, int32 counts; equality is asserted before the clock
starts. Memory is the highest resident size of a child process during the call minus its size before (Linux).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import graphs
import numpy as np
from scipy import sparse
from timing import interleave, report

from linksyn_gpu.backend.cpu import operations as cpu


def scipy_graph(indptr: Any, kp_indices: Any, n_kps: int) -> tuple[Any, Any, Any]:
    """A'A without its diagonal, by scipy alone."""
    ones = np.ones(kp_indices.size, np.int32)
    incidence = sparse.csr_matrix((ones, kp_indices, indptr), shape=(indptr.size - 1, n_kps))
    product = (incidence.T @ incidence).tocsr()
    product.setdiag(0)
    product.eliminate_zeros()
    product.sort_indices()
    return product.indptr, product.indices, product.data


def memory_status(field: str) -> int:
    """Bytes of the process now ("VmRSS"), or at most since `clear_refs` was written ("VmHWM")."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def peak(way: str, n_seeds: int, n_kps: int) -> dict[str, float]:
    """In this process: bytes per entry at the peak of one construction."""
    small = graphs.zipf_incidence(2000, 500)
    build = scipy_graph if way == "scipy" else cpu.cooccurrence
    build(*small, 500)  # exclude the memory of compiled code and libraries
    indptr, kp_indices = graphs.cached_incidence(n_seeds, n_kps)
    options = {}
    if way == "cpu, tight":
        pairs = int((np.diff(indptr) * (np.diff(indptr) - 1)).sum())
        options["memory_limit"] = 15 * pairs  # one pass takes at least 16 bytes per pair
    before = memory_status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # loading and compiling may have used more
    entries = int(build(indptr, kp_indices, n_kps, **options)[1].size)
    return {"entries": entries, "bytes_per_entry": (memory_status("VmHWM") - before) / entries}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=500_000)
    parser.add_argument("--kps", type=int, default=200_000)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(json.dumps(peak(options.peak, options.seeds, options.kps)))
        return
    indptr, kp_indices = graphs.cached_incidence(options.seeds, options.kps)
    pairs = int((np.diff(indptr) * (np.diff(indptr) - 1)).sum() // 2)
    ours = cpu.cooccurrence(indptr, kp_indices, options.kps)
    if not all(map(np.array_equal, ours, scipy_graph(indptr, kp_indices, options.kps))):
        raise SystemExit("the two graphs differ")
    entries = int(ours[1].size)
    cases = {
        "scipy A'A": lambda: scipy_graph(indptr, kp_indices, options.kps),
        "cpu": lambda: cpu.cooccurrence(indptr, kp_indices, options.kps),
        "cpu, tight": lambda: cpu.cooccurrence(indptr, kp_indices, options.kps, memory_limit=15 * 2 * pairs),
        "cpu evidence": lambda: cpu.evidence(indptr, kp_indices, ours[0], ours[1]),
    }
    times = interleave(cases, options.turns)
    memory = {
        way: json.loads(
            subprocess.run(
                [sys.executable, __file__, "--peak", way, "--seeds", str(options.seeds), "--kps", str(options.kps)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )["bytes_per_entry"]
        for way in ("scipy", "cpu", "cpu, tight")
    }
    record = {
        "seeds": options.seeds,
        "kps": options.kps,
        "undirected_pairs": pairs,
        "entries": entries,
        "cases": {
            name: {
                "median_s": t.median,
                "spread": t.spread,
                "million_pairs_per_s": pairs / t.median / 1e6,
                "times_scipy": t.ratio_to(times["scipy A'A"]),
                "cpu_times_scipy": t.cpu_ratio_to(times["scipy A'A"]),
            }
            for name, t in times.items()
        },
        "peak_bytes_per_entry": memory,
    }
    lines = [f"{options.seeds:,} seeds, {options.kps:,} KPs, {pairs:,} pairs, {entries:,} entries"]
    # The ratio in brackets is that of processor time.
    lines += [
        f"  {name:14s}{1e3 * case['median_s']:9.0f} ms{case['million_pairs_per_s']:8.1f} M pairs/s"
        f"{case['times_scipy']:8.2f}x scipy ({case['cpu_times_scipy']:.2f}x cpu)   spread {100 * case['spread']:.0f}%"
        for name, case in record["cases"].items()
    ]
    lines += [f"  peak memory, {way}: {n_bytes:.0f} bytes per entry" for way, n_bytes in memory.items()]
    report(record, options.json, lines)


if __name__ == "__main__":
    main()
