"""Figures of a campaign from its folder: what the paths give and what is missing, and what the requests will cost.

`campaign_figures` needs the paths, and is part of every report. `forecast` needs the requests too; the command `plan`
writes it to forecast.json.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from linksyn_gpu.config import RunConfig
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.llm import Engine, api_key
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.growth import license_graphs, quota_of, recorded_config
from linksyn_gpu.pipeline.progress import Progress, silent
from linksyn_gpu.report.stats import Coverage
from linksyn_gpu.sampling.causes import PathRules, ShortfallExplainer, qa_causes
from linksyn_gpu.sampling.forecast import PathFigures, cost_of, noise_floor, sampled_total, scale_to_tokens
from linksyn_gpu.sampling.labels import seed_labels, seeds_of
from linksyn_gpu.sampling.plan import cell_goals, plan_cells
from linksyn_gpu.sampling.value import divergence, gini
from linksyn_gpu.tables import Cell, Int64
from linksyn_gpu.text import COMPLETION_GUESS

if TYPE_CHECKING:
    import pyarrow as pa

FORECAST = "forecast.json"
MAX_COUNTED = 20_000
"""Requests whose tokens are counted one by one; of more, a sample of this size is counted."""


def campaign_figures(ws: Workspace) -> tuple[Coverage, list[dict[str, Any]], dict[str, Any]]:
    """Figures of the paths, in one pass over paths.parquet.

    Returns
    -------
    Coverage
    list of dict
        The rows of plan.json, each with `visits`, `own_share`, `rated_share`, `level_share`, `level_distance`,
        `divergence` and `noise_floor` (KL of the cell's visits and its target), `causes` of its lost paths, and
        `qa` (asked, kept and causes), None while there are no answers.
    dict
        `curve`: (paths, KPs, seeds) in the order of the paths; `distinct_kp_sets`; `kps`, those `visited`, and
        `unvisited` by cause.
    """
    config = recorded_config(ws, "walk")
    graph, statistics = store.read_graph(ws)
    labels = seed_labels(store.read_seed_table(ws, ["difficulty", "disciplines"]))
    rows = store.read_plan(ws)
    cells = [Cell(row["discipline"], row["difficulty"], row["asked"], row["license_group"]) for row in rows]
    own = [None if cell.discipline is None else seeds_of(cell.discipline, labels) for cell in cells]
    factor = store.read_factors(ws)
    groups = license_graphs(ws, config)
    settings = config.quota, config.walk.tau, factor
    goals = cell_goals(cells, graph, replace(statistics, labels=labels), *settings, groups)
    walk = config.walk
    rules = PathRules(
        *(walk.length, walk.min_length, walk.no_revisit, walk.distinct),
        *(config.bundle.min_seeds, config.quota.min_own_share),
    )
    explainer = ShortfallExplainer(graph, cells, goals, labels, rules)
    figures = PathFigures(graph.n_kps, cells, own, labels.difficulty)
    for batch in store.read_batches(ws, "paths.parquet"):
        nodes = store.padded_lists(batch.column("nodes"), walk.length + 1)
        seeds = store.padded_lists(batch.column("seeds"), walk.length)
        cell = batch.column("cell").to_numpy()
        kept = batch.column("drop_reason").is_null().to_numpy(zero_copy_only=False)
        explainer.add(nodes, cell, kept)
        figures.add(nodes[kept], seeds[kept], cell[kept])
    causes = explainer.path_causes()
    for number, (row, goal) in enumerate(zip(rows, goals, strict=True)):
        visits = figures.visits[number]
        total = int(visits.sum())
        row |= figures.of_cell(number)
        row["visits"] = total
        row["divergence"] = divergence(visits, goal.target, graph.degree > 0) if total else None
        row["noise_floor"] = noise_floor(np.where(graph.degree > 0, goal.target, 0.0), total)
        row |= {"causes": causes[number], "qa": None}
    _add_missing_qa(ws, rows, causes)
    visits = np.sum(figures.visits, axis=0)
    expected = np.zeros(graph.n_kps)
    for goal, row in zip(goals, rows, strict=True):
        target = np.where(graph.degree > 0, goal.target, 0.0)
        expected += row["visits"] * target / max(float(target.sum()), np.finfo(float).tiny)
    live = np.asarray(graph.degree > 0)
    total, alone = int(visits.sum()), len(rows) == 1 and rows[0]["divergence"] is not None
    coverage = Coverage(
        visits=visits,
        popularity=graph.seed_count / max(1, int(graph.seed_count.sum())),
        reachable=int(live.sum()),
        visited=int((visits > 0).sum()),
        gini=gini(visits[live]),
        divergence=rows[0]["divergence"] if alone else float("nan"),
        noise_floor=(int(live.sum()) - 1) / (2 * total) if total else float("nan"),
        seeds_used=int((figures.first_seed >= 0).sum()),
        expected=expected,
        path_lengths=_counted(figures.path_lengths),
        seed_uses=_counted(np.bincount(figures.seed_uses)),
    )
    further = {
        "curve": figures.coverage_curve(),
        "distinct_kp_sets": figures.distinct_kp_sets(),
        "kps": graph.n_kps,
        "visited": coverage.visited,
        "unvisited": explainer.kp_causes(visits > 0),
    }
    return coverage, rows, further


def _counted(counts: Int64) -> dict[int, int]:
    """Numbers that were counted, with their counts."""
    return {number: n for number, n in enumerate(counts.tolist()) if n}


def _add_missing_qa(ws: Workspace, rows: Sequence[dict[str, Any]], lost_paths: Sequence[Mapping[str, int]]) -> None:
    """Add 'qa' to the rows of cells: asked, kept, and the missing ones by cause. Not for counts of an older version."""
    counts = ws.counts_so_far("synthesize")
    if counts is None or not counts["cells"]:
        return
    per_path = recorded_config(ws, "synthesize").synthesis.per_path
    walk = recorded_config(ws, "walk")
    if walk.qa is None:
        asked = [per_path * row["asked"] for row in rows]
    else:
        asked = [cell.n_paths for cell in plan_cells(quota_of(ws, walk), walk.qa)]
    later = _lost_later(ws, len(rows))
    of_cell = {cell["cell"]: cell for cell in counts["cells"]}
    for number, row in enumerate(rows):
        if (own := of_cell.get(number)) is None:
            continue
        lost = later[number]
        kept = min(own["kept"] - lost.total(), asked[number])
        bounded = "bound" in counts
        causes = qa_causes(asked[number], kept, per_path, lost_paths[number], own, lost, bounded=bounded)
        row["qa"] = {"asked": asked[number], "kept": kept, "causes": causes}


def _lost_later(ws: Workspace, n_cells: int) -> list[Counter[str]]:
    """QA of each cell that the stages enhance and curate dropped, or that enhance waits for, by cause."""
    lost = [Counter[str]() for _ in range(n_cells)]
    if ws.counts_so_far("enhance") is not None:
        tasks = store.read_table(ws, "tasks.parquet", ["walk_id", "cell"])
        walk_id, cell = (tasks.column(name).to_numpy() for name in ("walk_id", "cell"))
        order = np.argsort(walk_id, kind="stable")
        dropped = store.read_table(ws, "enhance-dropped.parquet", ["walk_id", "reason"])
        cells = cell[order[np.searchsorted(walk_id[order], dropped.column("walk_id").to_numpy())]]
        for number, reason in zip(cells.tolist(), dropped.column("reason").to_pylist(), strict=True):
            lost[number][f"lost_to_enhancement: {reason}"] += 1
        before, after = (
            np.bincount(store.read_table(ws, name, ["cell"]).column("cell").to_numpy(), minlength=n_cells)
            for name in ("qa.parquet", "enhanced.parquet")
        )
        for number, n in enumerate((before - after).tolist()):
            if (pending := n - lost[number].total()) > 0:
                lost[number]["pending"] += pending
    if ws.finished("curate"):
        for row in store.read_table(ws, "curate-dropped.parquet", ["cell", "reason"]).to_pylist():
            lost[row["cell"]][f"lost_in_curation: {row['reason']}"] += 1
    return lost


# ---------------------------------------------------------------------- tokens, cost, time


def forecast(
    ws: Workspace, config: RunConfig, *, engine: Engine | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Tokens, cost and time of the requests of a run; written to forecast.json.

    Parameters
    ----------
    engine : Engine, optional
        A running server that counts prompt tokens; None: `synthesis.base_url`, if the engine is 'openai'.

    Returns
    -------
    dict
        `paths`, `requests`, `prompt_tokens` with `prompt_tokens_by` (how they were counted) and
        `prompt_tokens_error` (standard error, 0 if all requests were counted), `completion_tokens` with
        `completion_tokens_by`; `cost` and `hours`, None without prices and a rate; `measured` (see
        `sampling.forecast.scale_to_tokens`) with `not_measured`; and `scaled`, if `plan.tokens` is set.
    """
    asked, plan = config.synthesis, config.plan
    tasks = store.read_table(ws, "tasks.parquet", ["request_id", "language", "prompt_tokens_estimated"])
    made = tasks.filter(tasks.column("request_id").is_valid())
    n = made.num_rows
    if n == 0:
        raise ConfigError(f"{ws.folder}: no path makes a request; see dropped paths in 'linksyn-gpu report'")
    found = _prompt_tokens(ws, config, made, engine, progress)
    counts = ws.counts_so_far("synthesize") or {}
    settled = counts.get("requests", 0) - counts.get("pending", 0)
    if plan.completion_tokens is not None:
        per_answer, by = plan.completion_tokens, "as set by --completion-tokens"
    elif settled:
        per_answer, by = counts["completion_tokens"] / settled, f"mean of {settled:,} answers in this folder"
    else:
        per_answer, by = float(COMPLETION_GUESS * asked.per_path), f"assumed: {COMPLETION_GUESS} for each QA"
    rate, rate_by = plan.tokens_per_second, "as set by --tokens-per-second"
    if rate is None and counts.get("server", {}).get("answers_per_second"):
        rate, rate_by = counts["server"]["answers_per_second"] * per_answer, "measured by the last call in this folder"
    written = n * per_answer
    cost = None
    if plan.price_in is not None and plan.price_out is not None:
        cost = cost_of(found["prompt_tokens"], written, plan.price_in, plan.price_out)
    measured, not_measured = _measured(ws, config, n, found["prompt_tokens"] / n, per_answer, counts)
    if rate is not None:
        measured["tokens_per_second"] = rate
    made_forecast = {
        "paths": tasks.num_rows,
        "requests": n,
        "qa": n * asked.per_path,
        **found,
        "completion_tokens": round(written),
        "completion_tokens_by": by,
        "cost": cost,
        "price_in": plan.price_in,
        "price_out": plan.price_out,
        "hours": None if rate is None else written / rate / 3600,
        "tokens_per_second_by": None if rate is None else rate_by,
        "measured": measured,
        "not_measured": not_measured,
        "scaled": None if plan.tokens is None else scale_to_tokens(plan.tokens, measured),
    }
    with ws.replacing(FORECAST) as part:
        part.write_text(json.dumps(made_forecast, indent=1) + "\n", encoding="utf-8")
    return made_forecast


def read_forecast(ws: Workspace, paths: int) -> dict[str, Any] | None:
    """The forecast that `plan` wrote; None if there is none, or if the campaign has another number of paths now."""
    if not ws.path(FORECAST).is_file():
        return None
    found: dict[str, Any] = json.loads(ws.path(FORECAST).read_text(encoding="utf-8"))
    return found if found["paths"] == paths else None


def _prompt_tokens(
    ws: Workspace, config: RunConfig, made: pa.Table, engine: Engine | None, progress: Progress
) -> dict[str, Any]:
    """Prompt tokens of all requests, counted as exactly as it is possible here."""
    from linksyn_gpu.llm.tokenizing import count_on_server, count_with_file
    from linksyn_gpu.synthesis.requests import read_requests, requests_paths

    n = made.num_rows
    server = engine or _given_server(config)
    if config.plan.tokenizer is not None or server is not None:
        sample = np.arange(n)
        if n > MAX_COUNTED:
            sample = np.sort(np.random.default_rng(config.seed).choice(n, MAX_COUNTED, replace=False))
        chosen, prompts, number = set(sample.tolist()), [], 0
        for path in requests_paths(ws.folder):
            for request in read_requests(path):
                if number in chosen:
                    prompts.append(request["body"]["messages"])
                number += 1
        counted = progress.of("plan")
        counted("prompts counted", 0, len(prompts))
        tokens, by = None, ""
        if config.plan.tokenizer is not None:
            tokens, by = count_with_file(prompts, config.plan.tokenizer), "tokenizer.json, without the chat template"
        elif server is not None:
            tokens, by = count_on_server(prompts, server), "the server's tokenizer"
        if tokens is not None:
            counted("prompts counted", len(prompts), len(prompts))
            total, error = sampled_total(tokens, n)
            how = by if len(prompts) == n else f"{by}, on a random sample of {len(prompts):,} requests"
            return {"prompt_tokens": total, "prompt_tokens_by": how, "prompt_tokens_error": error}
    languages = made.group_by("language").aggregate([("prompt_tokens_estimated", "sum")]).to_pylist()
    counts = ws.counts_so_far("synthesize") or {}
    factor = 1.0
    why = "" if server is None else "; the server does not count tokens"
    if counts.get("prompt_tokens") and counts["prompt_tokens_estimated"]:
        factor = counts["prompt_tokens"] / counts["prompt_tokens_estimated"]
        why += f"; times {factor:.3f}, as the answers in this folder report"
    by_language = {row["language"]: round(factor * row["prompt_tokens_estimated_sum"]) for row in languages}
    return {
        "prompt_tokens": sum(by_language.values()),
        "prompt_tokens_by": f"estimated from characters (4 per token, 1.5 for CJK{why})",
        "prompt_tokens_error": None,
        "prompt_tokens_by_language": by_language,
    }


def _given_server(config: RunConfig) -> Engine | None:
    """The server of engine 'openai'. Other engines would have to be started, which a forecast does not do."""
    synthesis = config.synthesis
    if synthesis.engine != "openai":
        return None
    return Engine(synthesis.urls[0], synthesis.model or "", api_key())


def _measured(
    ws: Workspace, config: RunConfig, requests: int, read: float, written: float, counts: Mapping[str, Any]
) -> tuple[dict[str, float], list[str]]:
    """Inputs of `scale_to_tokens` from this folder, and the names of those that it cannot give yet."""
    from linksyn_gpu.synthesis.requests import requests_paths

    paths = store.count_rows(ws, "paths.parquet")
    bytes_of = {name: ws.path(name).stat().st_size for name in ("paths.parquet", "tasks.parquet")}
    files = sum(path.stat().st_size for path in requests_paths(ws.folder))
    settled, kept = counts.get("requests", 0) - counts.get("pending", 0), counts.get("kept", 0)
    measured = {
        "tokens_per_answer": written,
        "prompt_tokens_per_request": read,
        "requests_per_path": requests / paths,
        "bytes_per_path": sum(bytes_of.values()) / paths,
        "bytes_per_request": files / requests,
        "kept_share": 1.0,
        "bytes_per_answer": 0.0,
    }
    if not kept:
        return measured, ["kept_share", "bytes_per_answer"]
    outputs = ["qa.parquet", "qa.jsonl", "dropped.parquet", "journal"]
    sizes = [
        sum(f.stat().st_size for f in path.rglob("*")) if path.is_dir() else path.stat().st_size
        for path in map(ws.path, outputs)
    ]
    measured["kept_share"] = kept / (settled * config.synthesis.per_path)
    measured["bytes_per_answer"] = sum(sizes) / settled
    return measured, []
