"""What a campaign will give, before a token is spent: coverage, purity, tokens, cost and time. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from linksyn_gpu.sampling.causes import Keys, kp_set_keys
from linksyn_gpu.tables import Bool, Cell, Float64, Int32, Int64

CURVE_POINTS = 50
SECONDS_PER_DAY = 86_400


class PathFigures:
    """Sums over the kept paths of a campaign, batch by batch in the order of the paths.

    Parameters
    ----------
    cells : sequence of Cell
    own : sequence
        Per cell, bool [n_seeds]: the seeds of its discipline; None: the cell has none.
    difficulty : int64 [n_seeds]
        Level of each seed, 0 if it is not rated.
    """

    def __init__(self, n_kps: int, cells: Sequence[Cell], own: Sequence[Bool | None], difficulty: Int64) -> None:
        self._cells, self._own, self._difficulty = cells, own, difficulty
        self.first_kp: Int64 = np.full(n_kps, -1, np.int64)
        """[n_kps] number of the first kept path with each KP, from 0; -1: none."""
        self.first_seed: Int64 = np.full(difficulty.size, -1, np.int64)
        self.visits: list[Int64] = [np.zeros(n_kps, np.int64) for _ in cells]
        self.kept = 0
        self.path_lengths: Int64 = np.zeros(0, np.int64)
        """Kept paths by their number of KPs, from 0."""
        self.seed_uses: Int64 = np.zeros(difficulty.size, np.int64)
        """[n_seeds] kept bundles that hold each seed."""
        self._keys: list[Keys] = []
        self._n_seeds, self._n_own, self._n_rated, self._n_level, self._distance = np.zeros((5, len(cells)), np.int64)

    def add(self, nodes: Int32, seeds: Int32, cell: Int32) -> None:
        """Count kept paths: KPs and seeds of each, padded with -1, and its cell."""
        for numbers, first in ((nodes, self.first_kp), (seeds, self.first_seed)):
            places = np.flatnonzero((numbers >= 0) & (first[numbers] < 0))  # in later batches only a few are new
            found, at = np.unique(numbers.ravel()[places], return_index=True)
            first[found] = self.kept + places[at] // numbers.shape[1]
        self.kept += len(cell)
        lengths = np.bincount((nodes >= 0).sum(axis=1), minlength=nodes.shape[1] + 1)
        self.path_lengths = lengths if self.path_lengths.size == 0 else self.path_lengths + lengths
        self.seed_uses += np.bincount(seeds[seeds >= 0], minlength=self.seed_uses.size)
        self._keys.append(kp_set_keys(nodes))
        for number in np.unique(cell).tolist():
            rows = cell == number
            own_nodes, own_seeds = nodes[rows], seeds[rows]
            flat = own_seeds[own_seeds >= 0]
            self.visits[number] += np.bincount(own_nodes[own_nodes >= 0], minlength=self.first_kp.size)
            self._n_seeds[number] += flat.size
            if (own := self._own[number]) is not None:
                self._n_own[number] += int(own[flat].sum())
            if (level := self._cells[number].difficulty) is not None:
                rated = self._difficulty[flat]
                rated = rated[rated > 0]
                self._n_rated[number] += rated.size
                self._n_level[number] += int((rated == level).sum())
                self._distance[number] += int(np.abs(rated - level).sum())

    def distinct_kp_sets(self) -> int:
        """Distinct KP sets among the kept paths, by a 64-bit hash."""
        keys = np.sort(np.concatenate([*self._keys, np.zeros(0, np.uint64)]))
        return int((keys[1:] != keys[:-1]).sum()) + (keys.size > 0)

    def of_cell(self, number: int) -> dict[str, float | None]:
        """Shares among the seeds of a cell's paths; None where the cell asks for nothing, or no seed is rated.

        `own_share`: seeds of the discipline; `rated_share`: seeds with a level; of these, `level_share`: at the level
        of the cell, and `level_distance`: mean distance to it.
        """
        n, rated = int(self._n_seeds[number]), int(self._n_rated[number])
        cell = self._cells[number]
        return {
            "own_share": int(self._n_own[number]) / n if n and cell.discipline is not None else None,
            "rated_share": rated / n if n and cell.difficulty is not None else None,
            "level_share": int(self._n_level[number]) / rated if rated else None,
            "level_distance": int(self._distance[number]) / rated if rated else None,
        }

    def coverage_curve(self, points: int = CURVE_POINTS) -> list[tuple[int, int, int]]:
        """(paths, distinct KPs, distinct seeds) of the first paths, for about `points` numbers of paths."""
        at = np.unique(np.linspace(0, self.kept, points + 1).round().astype(np.int64))
        columns = [np.searchsorted(np.sort(first[first >= 0]), at) for first in (self.first_kp, self.first_seed)]
        return [(int(n), int(kps), int(seeds)) for n, kps, seeds in zip(at, *columns, strict=True)]


def noise_floor(target: Float64, visits: int) -> float | None:
    """Mean KL in nats if `visits` were drawn from the target itself: (KPs with a target - 1) / (2 visits)."""
    return (int((target > 0.0).sum()) - 1) / (2 * visits) if visits else None


def sampled_total(counts: Sequence[int], population: int) -> tuple[int, float]:
    """A total over a population by the mean of a random sample, and its standard error (0 if all were counted)."""
    values = np.asarray(counts, np.float64)
    if values.size == population or values.size < 2:
        return round(float(values.sum()) * (population / max(1, values.size))), 0.0
    unseen = 1.0 - values.size / population  # finite population
    error = population * math.sqrt(unseen * values.var(ddof=1) / values.size)
    return round(population * float(values.mean())), error


def cost_of(prompt_tokens: float, completion_tokens: float, price_in: float, price_out: float) -> float:
    """Cost of tokens at prices per million tokens."""
    return (prompt_tokens * price_in + completion_tokens * price_out) / 1e6


def scale_to_tokens(tokens: float, measured: Mapping[str, float]) -> dict[str, Any]:
    """Size of a campaign that gives `tokens` written tokens of kept QA, from what was measured or assumed.

    Parameters
    ----------
    measured : mapping
        `tokens_per_answer`, `kept_share` (kept QA per QA asked for), `requests_per_path`, `bytes_per_path`,
        `bytes_per_request`, `bytes_per_answer`, `prompt_tokens_per_request`, and `tokens_per_second` if it is known.

    Returns
    -------
    dict
        `requests` = tokens / (tokens_per_answer kept_share), `paths` = requests / requests_per_path, `bytes` = paths
        bytes_per_path + requests (bytes_per_request + bytes_per_answer), `written_tokens` = requests tokens_per_answer,
        `read_tokens` = requests prompt_tokens_per_request, `days` = written_tokens / tokens_per_second / 86,400.
    """
    m = measured
    requests = math.ceil(tokens / (m["tokens_per_answer"] * m["kept_share"]))
    paths = math.ceil(requests / m["requests_per_path"])
    written = requests * m["tokens_per_answer"]
    rate = m.get("tokens_per_second")
    return {
        "tokens": tokens,
        "requests": requests,
        "paths": paths,
        "bytes": round(paths * m["bytes_per_path"] + requests * (m["bytes_per_request"] + m["bytes_per_answer"])),
        "written_tokens": round(written),
        "read_tokens": round(requests * m["prompt_tokens_per_request"]),
        "days": None if rate is None else written / rate / SECONDS_PER_DAY,
    }
