"""A plan of device memory, and a count of the copies between host and device.

Pure arithmetic: nothing here touches a device, so a plan can be made on any machine.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from linksyn_gpu.backend.protocol import CampaignSize
from linksyn_gpu.errors import BackendUnavailable

ROW_BYTES = 16  # begin, degree and total of a row of the transition table: kernels/walk.cuh
ENTRY_BYTES = 8  # a prefix sum with its neighbour
GUIDE_BYTES = 4
SECTOR = 32  # bytes that a device reads from memory at least
# Random sectors that a step without no_revisit, p and q reads, counted on the host for a Zipf graph by
# tests/device/test_hubs.py: the row (1), two neighbouring guide entries (1.1), and the pairs that the search compares,
# the answer among them (the rest).
SECTORS_PER_STEP = 3.2

# Bytes per KP, entry, edge, seed and walk, with the scratch that is needed while they are computed.
KP_ARRAYS = {
    "indptr": 8,
    "value": 24,
    "visits of a round": 32,
    "rows of the table": ROW_BYTES,
    "start prefix sums": 4,
    "start masses and their scan": 24,
}
CELL_KP_ARRAYS = {"targets, starts, potentials, visits of cells": 32}
ENTRY_ARRAYS = {"indices": 4, "weight": 4, "prefix sums with neighbours": ENTRY_BYTES, "guide table": GUIDE_BYTES}
KP_EVIDENCE = {"upper_first, upper_running": 16}
EDGE_ARRAYS = {"evidence indptr": 8}
# At most one edge in 33 seeds of edges is long; 50 bytes for each, and 16 bytes for each 32 of their seeds.
EVIDENCE_ARRAYS = {"evidence": 4, "best seeds of long edges": 7}
SEED_ARRAYS = {"disciplines and levels": 17, "uses": 24, "ranks": 9}  # two disciplines per seed
PATH_ARRAYS = {"keys of KP sets": 24}  # the set, its copy while it grows and is sorted, keys of redrawn paths
WALK_BYTES = {"ids": 8, "lengths, masks and status": 10, "path keys and their sort": 56}
MANY_WALKS = 1 << 20  # walks at once that are worth more than weights which need not be copied again
PINNED_BYTES = 16 << 20  # of each of the two host buffers that results pass through
SLACK = 64 << 20  # CUDA context growth, compiled kernels, rounding of the pool


@dataclass(frozen=True)
class MemoryPlan:
    """Device memory of a campaign."""

    arrays: dict[str, int]
    """Bytes of each array that is kept for the whole campaign."""
    per_walk: int
    """Bytes per walk while its batch is on the device."""
    free_bytes: int
    n_walks: int
    walks_per_batch: int
    n_batches: int
    n_weights: int
    """Edge weights of disciplines that are on the device at once: all of them, or one at a time."""

    @property
    def resident_bytes(self) -> int:
        """Bytes that are kept for the whole campaign."""
        return sum(self.arrays.values())

    @property
    def peak_bytes(self) -> int:
        """Bytes at the peak of a round."""
        return self.resident_bytes + self.per_walk * self.walks_per_batch + SLACK

    def table(self) -> str:
        """The plan as text, one line per array."""
        lines = [f"{name:<32}{_readable(size):>12}" for name, size in self.arrays.items()]
        lines += [
            f"{'walks, ' + format(self.walks_per_batch, ',') + ' at a time':<32}"
            f"{_readable(self.per_walk * self.walks_per_batch):>12}",
            f"{'slack':<32}{_readable(SLACK):>12}",
            f"{'pinned, on the host':<32}{_readable(2 * PINNED_BYTES):>12}",
            f"{'peak':<32}{_readable(self.peak_bytes):>12}",
            f"{'free on the device':<32}{_readable(self.free_bytes):>12}",
            f"a round of {self.n_walks:,} walks takes {self.n_batches} batch{'es' if self.n_batches > 1 else ''}",
        ]
        return "\n".join(lines)


def plan_memory(size: CampaignSize, n_walks: int, length: int, free_bytes: int) -> MemoryPlan:
    """Plan the device memory of a campaign, and split its rounds into batches that fit.

    Parameters
    ----------
    size : CampaignSize
    n_walks : int
        Walks of a round, or of a calibration round if these have more.
    length : int
        Steps of a walk.
    free_bytes : int
        What the device has free now.

    Raises
    ------
    BackendUnavailable
        Graph and tables alone do not fit: this device cannot serve this graph.
    """
    n_kps, n_cells = size.n_kps, size.n_cells
    arrays = {name: each * n_kps for name, each in KP_ARRAYS.items()}
    arrays |= {name: each * n_kps * n_cells for name, each in CELL_KP_ARRAYS.items()}
    arrays |= {name: each * size.n_entries for name, each in ENTRY_ARRAYS.items()}
    if size.n_weights:
        arrays["own and foreign KPs of cells"] = 16 * n_kps * n_cells
    if size.n_evidence:
        arrays |= {name: each * n_kps for name, each in KP_EVIDENCE.items()}
        arrays |= {name: each * (size.n_entries // 2) for name, each in EDGE_ARRAYS.items()}
        arrays |= {name: each * size.n_evidence for name, each in EVIDENCE_ARRAYS.items()}
        arrays |= {name: each * size.n_seeds for name, each in SEED_ARRAYS.items()}
    if size.n_paths:
        arrays |= {name: each * size.n_paths for name, each in PATH_ARRAYS.items()}
    # Paths as they are drawn, those of the batch before, and the copies of both on their way to the host.
    per_walk = sum(WALK_BYTES.values()) + 3 * 4 * (length + 1) + (2 * 4 * length if size.n_evidence else 0)
    n_weights = size.n_weights
    weight_bytes = 4 * size.n_entries
    room = free_bytes - SLACK - sum(arrays.values()) - per_walk * min(n_walks, MANY_WALKS)
    if weight_bytes * n_weights > room:
        n_weights = min(n_weights, 1)
    if n_weights:
        arrays["edge weights of disciplines"] = weight_bytes * n_weights
    available = free_bytes - sum(arrays.values()) - SLACK
    if available < (least := per_walk * min(n_walks, 1024)):
        raise BackendUnavailable(
            f"graph and tables take {_readable(free_bytes - available + least)} of device memory; "
            f"{_readable(free_bytes)} are free. Prune the graph, or pass --backend cpu"
        )
    n_batches = max(1, -(-n_walks * per_walk // max(1, available)))
    return MemoryPlan(arrays, per_walk, free_bytes, n_walks, -(-n_walks // n_batches), n_batches, n_weights)


def items_that_fit(free_bytes: int, bytes_per_item: int, n_items: int) -> int:
    """Items of a batch: all, or as many as fit in half of the free memory, at least 1."""
    return max(1, min(n_items, free_bytes // 2 // bytes_per_item))


def _readable(n_bytes: int) -> str:
    size, unit = float(n_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024.0 or unit == "TiB":
            break
        size /= 1024.0
    return f"{n_bytes} B" if unit == "B" else f"{size:.1f} {unit}"


@dataclass
class Crossings:
    """Copies between host and device, by the name of the place that makes them.

    If only the device knows the size of a result (a list of rows, the distinct keys), that one number is read back.
    These reads are counted under 'sizes'.
    """

    copies: Counter[str] = field(default_factory=Counter)
    n_bytes: Counter[str] = field(default_factory=Counter)

    def count(self, place: str, n_bytes: int) -> None:
        """Count one copy."""
        self.copies[place] += 1
        self.n_bytes[place] += int(n_bytes)

    def clear(self) -> None:
        """Forget all copies."""
        self.copies.clear()
        self.n_bytes.clear()

    def summary(self) -> dict[str, dict[str, int]]:
        """Copies and bytes of each place, ready for a manifest."""
        return {place: {"copies": n, "bytes": self.n_bytes[place]} for place, n in sorted(self.copies.items())}


crossings = Crossings()
