"""Quotas: how far the paths of each cell keep to its discipline and its level.

    python bench/control.py [--json] [--data FOLDER] [--package FOLDER] [--paths N]
    python bench/control.py --limit [--data FOLDER]     # own share for fixed factors of foreign edges (OpenStax)
    python bench/control.py --cost                      # time of the walks of cells against walks without a quota

Banks: examples/seeds.jsonl with the quota of docs/campaign.md and, when --data or LINKSYN_DATA names their folder,
OpenStax (3 and 6 disciplines x 3 levels), TAL (5 levels) and a bank mixed of the three whose labels of one discipline
differ. The campaigns run in a process of their own; --package names the folder of another version of linksyn_gpu for
it. Paths are evaluated here, by the same rule for every version:

    own      mean share of a path's seeds that are of the discipline (asked for: 1 - cross_discipline = 0.90)
    none     kept paths without such a seed
    match    rated seeds at the level of the cell; `near`: at most one level away
    KL       of the visits of kept paths from the cell's target; `floor`: its mean for independent draws
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from timing import report

from linksyn_gpu import Seeds, Walker, build_graph, open_run, read_seeds
from linksyn_gpu.config import QuotaConfig, WalkConfig
from linksyn_gpu.sampling.bundle import SeedLinker
from linksyn_gpu.sampling.labels import seed_labels, seeds_of
from linksyn_gpu.sampling.plan import cell_goals, plan_cells
from linksyn_gpu.sampling.value import divergence
from linksyn_gpu.tables import Cell

REPOSITORY = Path(__file__).resolve().parents[1]
TAL_FLAGS = ["--map", "knowledge_points=kp_routes", "--split-routes", "->", "--difficulty-scale", "0-4"]
VARIANTS = {
    "chemistry": ["chemistry", "Chemistry", "化学"],
    "psychology": ["psychology", "Psychology", "心理学"],
    "economics": ["economics", "Economics", "经济学"],
}


@dataclass(frozen=True)
class Case:
    """A bank and a quota."""

    name: str
    files: Sequence[Path]
    discipline: Mapping[str, float] = field(default_factory=dict)
    difficulty: Mapping[str, float] = field(default_factory=dict)
    flags: Sequence[str] = ()


def mixed_bank(files: Sequence[Path], out: Path) -> Path:
    """One file of all seeds, with the labels of `VARIANTS` in turn."""
    number = 0
    with out.open("w", encoding="utf-8") as rows:
        for file in files:
            for line in file.open(encoding="utf-8"):
                seed = json.loads(line)
                if "kp_routes" in seed:
                    routes = seed.pop("kp_routes")
                    seed["knowledge_points"] = sorted({kp.strip() for route in routes for kp in route.split("->")})
                    seed["disciplines"], seed["difficulty"] = [["Math", "数学"][number % 2]], None
                for key in ("discipline", "disciplines", "subject"):
                    names = [seed[key]] if isinstance(seed.get(key), str) else seed.get(key) or []
                    names = [VARIANTS[n][number % 3] if n in VARIANTS else n for n in names]
                    if names:
                        seed[key] = names
                number += 1
                rows.write(json.dumps(seed, ensure_ascii=False) + "\n")
    return out


def cases(data: str | None, scratch: Path) -> list[Case]:
    examples = REPOSITORY / "examples" / "seeds.jsonl"
    levels = {"3": 0.3, "4": 0.4, "5": 0.3}
    found = [Case("examples", [examples], {"law": 0.25, "medicine": 0.25, "physics": 0.5}, levels)]
    if data is not None:
        openstax, tal = Path(data) / "seed_openstax_en.jsonl", Path(data) / "seed_tal_math_en_zh.jsonl"
        three = {"economics": 0.3, "history": 0.3, "psychology": 0.4}
        six = dict.fromkeys(("chemistry", "economics", "history", "microbiology", "psychology", "sociology"), 1.0)
        mixed = {"mathematics": 0.4, "chemistry": 0.2, "economics": 0.2, "psychology": 0.1, "law": 0.1}
        found += [
            Case("OpenStax, 3 disciplines", [openstax], three, levels),
            Case("OpenStax, 6 disciplines", [openstax], six, levels),
            Case("TAL", [tal], difficulty=dict.fromkeys("12345", 1.0), flags=TAL_FLAGS),
            Case("mixed", [mixed_bank([examples, openstax, tal], scratch / "mixed.jsonl")], mixed),
        ]
    return found


def run_campaign(case: Case, folder: Path, n_paths: int, package: str) -> float:
    """Sample the paths in a process of their own; returns the seconds of stage walk."""
    config = folder.with_suffix(".toml")
    tables = {"quota.discipline": case.discipline, "quota.difficulty": case.difficulty}
    config.write_text(
        "".join(f"[{name}]\n" + "".join(f'"{k}" = {v}\n' for k, v in table.items()) for name, table in tables.items()),
        encoding="utf-8",
    )

    def stage(*arguments: str) -> None:
        command = [sys.executable, "-m", "linksyn_gpu", *arguments]
        environment = {**os.environ, "PYTHONPATH": package}
        subprocess.run(command, env=environment, cwd=folder.parent, check=True, capture_output=True)

    stage("ingest", *map(str, case.files), "--out", str(folder), *case.flags)
    stage("build", str(folder))
    begin = time.perf_counter()
    stage("walk", str(folder), "--paths", str(n_paths), "--config", str(config), "--backend", "cpu")
    return time.perf_counter() - begin


def evaluate(case: Case, folder: Path) -> list[dict[str, Any]]:
    """Figures of each cell of a finished campaign."""
    seeds = open_run(folder).seeds
    labels, graph = seed_labels(seeds), build_graph(seeds, backend="cpu")
    quota = QuotaConfig(case.discipline, case.difficulty)
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["cells"]
    cells = [Cell(row["discipline"], row["difficulty"], row["asked"]) for row in plan]
    goals = cell_goals(cells, graph, graph.statistics, quota, 0.5)
    paths = pq.read_table(folder / "paths.parquet").to_pylist()
    reachable = graph.degree > 0
    found = []
    for number, (cell, goal) in enumerate(zip(cells, goals, strict=True)):
        kept = [p for p in paths if p["cell"] == number and p["drop_reason"] is None]
        row: dict[str, Any] = {"cell": cell.label, "asked": cell.n_paths, "kept": len(kept)}
        if cell.discipline is not None:
            own = seeds_of(cell.discipline, labels)
            shares = np.array([own[p["seeds"]].mean() for p in kept])
            row |= {"seeds": int(own.sum()), "own": float(shares.mean()), "none": int((shares == 0.0).sum())}
        used = np.array([seed for p in kept for seed in p["seeds"]], np.int64)
        level = labels.difficulty[used]
        if cell.difficulty is not None and (level > 0).any():
            away = np.abs(level[level > 0] - cell.difficulty)
            row |= {"match": float((away == 0).mean()), "near": float((away <= 1).mean())}
        visits = np.bincount([v for p in kept for v in p["nodes"]], minlength=graph.n_kps)
        aimed = reachable & (goal.target > 0.0)
        row |= {"kl": divergence(visits, goal.target, aimed), "floor": (int(aimed.sum()) - 1) / (2 * int(visits.sum()))}
        found.append(row)
    return found


class FixedScale:
    """Operations of a backend, with a factor of foreign edges that is not calibrated."""

    def __init__(self, ops: Any, scale: float) -> None:
        self._ops, self._scale = ops, scale

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ops, name)

    def calibrated_scale(self, *_: Any) -> Any:
        return self._ops.asarray(np.array([self._scale]))


def limit(data: Path) -> dict[str, dict[str, float]]:
    """Own share of kept paths for several factors of foreign edges, and for the calibrated one (None)."""
    seeds = read_seeds([data / "seed_openstax_en.jsonl"])
    graph = build_graph(seeds, backend="cpu")
    quota = QuotaConfig({"chemistry": 1.0, "psychology": 1.0, "economics": 1.0})
    cells = plan_cells(quota, 0)
    found: dict[str, dict[str, float]] = {}
    for scale in (2.0**-6, 1.0, 64.0, 2.0**20, None):
        for number, cell in enumerate(cells):
            walker = Walker(graph, WalkConfig(distinct=True), 0, "cpu", quota=quota)
            if scale is not None:
                walker._ops = FixedScale(walker._ops, scale)
                walker._cells[number].scale = np.array([scale])
            linker = SeedLinker(graph, seeds, None, 0, "cpu", quota=quota)
            linker.begin_round(cell)
            _, bundles = walker.sample_linked(2000, number, linker)
            chosen = bundles.seeds[bundles.kept]
            own = seeds_of(cell.discipline or "", graph.statistics.labels)[chosen] & (chosen >= 0)
            found.setdefault(cell.label, {})[str(scale)] = float(own.sum() / (chosen >= 0).sum())
    return found


def cost(n_seeds: int = 60_000, n_kps: int = 30_000, walks: int = 1_000_000) -> dict[str, float]:
    """Processor time of walks under a quota of three disciplines, divided by that of as many without a quota."""
    rng = np.random.default_rng(0)
    rank = 1.0 / np.arange(1, n_kps + 1)
    kps = rng.choice(n_kps, (n_seeds, 5), p=rank / rank.sum())
    field_of = rng.integers(0, 6, n_kps)
    names = ("physics", "biology", "law", "history", "economics", "chemistry")
    seeds = Seeds.from_records(
        {
            "id": str(i),
            "question": f"question {i}",
            "answer": "a",
            "knowledge_points": [f"kp {v}" for v in set(row.tolist())],
            "disciplines": [names[field_of[row[0]]]],
        }
        for i, row in enumerate(kps)
    )
    graph = build_graph(seeds, backend="cpu")
    quota = QuotaConfig(dict.fromkeys(names[:3], 1.0))
    ratios: dict[str, list[float]] = {"with calibration": [], "without calibration": []}
    for _ in range(3):
        for label, rounds in (("with calibration", 20), ("without calibration", 0)):
            seconds = []
            for cells in (None, quota):
                began = time.process_time()
                Walker(graph, WalkConfig(calibration_rounds=rounds), 0, "cpu", quota=cells).sample(walks)
                seconds.append(time.process_time() - began)
            ratios[label].append(seconds[1] / seconds[0])
    return {label: float(np.median(found)) for label, found in ratios.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", default=os.environ.get("LINKSYN_DATA"))
    parser.add_argument("--package", default=str(REPOSITORY), help="folder that holds the linksyn_gpu to measure")
    parser.add_argument("--paths", type=int, default=1800)
    parser.add_argument("--limit", action="store_true", help="own share for fixed factors of foreign edges")
    parser.add_argument("--cost", action="store_true", help="processor time of cells")
    options = parser.parse_args()
    if options.limit or options.cost:
        found = {**(limit(Path(options.data)) if options.limit else {}), **(cost() if options.cost else {})}
        report(found, options.json, [f"{name}: {value}" for name, value in found.items()])
        return
    record: dict[str, Any] = {"paths": options.paths, "banks": {}}
    lines = []
    columns = ("asked", "kept", "seeds", "own", "none", "match", "near", "kl", "floor")
    with tempfile.TemporaryDirectory() as scratch:
        for number, case in enumerate(cases(options.data, Path(scratch))):
            folder = Path(scratch) / str(number)
            n_paths = 200 if case.name == "examples" else options.paths
            seconds = run_campaign(case, folder, n_paths, options.package)
            rows = evaluate(case, folder)
            record["banks"][case.name] = {"seconds": seconds, "cells": rows}
            lines.append(f"{case.name}: {n_paths:,} paths, stage walk {seconds:.1f} s")
            lines.append(f"  {'cell':28s}" + "".join(f"{name:>8s}" for name in columns))
            for row in rows:
                values = (
                    "-" if (v := row.get(c)) is None else f"{v:.3f}" if isinstance(v, float) else v for c in columns
                )
                lines.append(f"  {row['cell']:28s}" + "".join(f"{value:>8}" for value in values))
    report(record, options.json, lines)


if __name__ == "__main__":
    main()
