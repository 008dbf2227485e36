"""New seeds in a campaign that has paths: what these paths refer to must stay as it is.

Paths hold row numbers of seeds and numbers of KPs. Both continue when seeds are added at the end of the input: a seed
keeps its row, and KPs are numbered in the order of their first appearance. These functions check that, before a file
is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from linksyn_gpu.config import QuotaConfig, RunConfig
from linksyn_gpu.config.loader import from_mapping
from linksyn_gpu.errors import ConfigError
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.sampling.labels import seed_labels
from linksyn_gpu.sampling.licenses import group_names, group_numbers
from linksyn_gpu.sampling.plan import plan_cells, resolve_quota, with_license_groups

if TYPE_CHECKING:
    import pyarrow as pa

    from linksyn_gpu.tables import KPGraph, KPStatistics

INSTEAD = "choose another --out, or pass --force to start over (answers received are then moved to journal.N)"


def seeds_in_use(ws: Workspace) -> int:
    """How many of the first seeds the paths of the campaign were walked with."""
    return _largest(ws, "seeds")


def _largest(ws: Workspace, name: str) -> int:
    return max((part.get(name, 0) for part in planned_parts(ws)), default=0)


def quota_of(ws: Workspace, config: RunConfig) -> QuotaConfig:
    """The quota without presets, in the order of the campaign's first call, which numbers the cells.

    The shares that a preset stood for in that call are those of the whole campaign.
    """
    facts = ws.facts("walk")
    if "quota" in facts:
        return replace(config.quota, discipline_preset=None, difficulty_preset=None, **facts["quota"])
    known = facts.get("settings", {}).get("quota", {})

    def ordered(name: str) -> dict[str, float]:
        shares = getattr(config.quota, name)
        return {key: shares[key] for key in known.get(name, shares)}

    quota = replace(config.quota, discipline=ordered("discipline"), difficulty=ordered("difficulty"))
    groups = config.bundle.license_groups if not quota.license_group else {}
    if quota.discipline_preset is None and quota.difficulty_preset is None and not groups:
        return quota
    seeds = store.read_seed_table(ws, ["difficulty", "disciplines", "license"])
    labels = seed_labels(seeds)
    resolved = resolve_quota(quota, labels)
    if groups:
        resolved = with_license_groups(resolved, group_names(groups), group_numbers(seeds, groups), labels)
    if facts:
        names = ("discipline", "difficulty", *(("license_group",) if groups else ()))
        ws.record("walk", quota={name: getattr(resolved, name) for name in names})
    return resolved


def recorded_config(ws: Workspace, stage: str) -> RunConfig:
    """The settings that the folder recorded of a stage; defaults for all others."""
    settings = {name: value for name, value in (ws.settings(stage) or {}).items() if name in RunConfig.__annotations__}
    made: RunConfig = from_mapping(RunConfig, settings)
    return made


def license_graphs(ws: Workspace, config: RunConfig) -> dict[str, tuple[KPGraph, KPStatistics]]:
    """Graph and statistics of each group of licenses; {} without groups."""
    from linksyn_gpu.sampling.licenses import group_graphs

    if not config.bundle.license_groups:
        return {}
    seeds = store.read_seed_table(ws, ["knowledge_points", "difficulty", "disciplines", "license"])
    return group_graphs(
        seeds,
        config.bundle.license_groups,
        recorded_config(ws, "build").graph,
        config.backend,
        without=ws.facts("ingest").get("revoked", ()),
    )


def planned_parts(ws: Workspace) -> list[dict[str, Any]]:
    """The parts of the campaign: 'paths' of each cell and, once walked, 'redraws', 'digest', 'seeds' and 'kps'."""
    facts = ws.facts("walk")
    if "parts" in facts or "counts" not in facts:
        return list(facts.get("parts", ()))
    # Paths of an older version, or bundles from memory: a single part.
    if ws.intact("plan.json"):
        paths = [cell["asked"] for cell in store.read_plan(ws)]
    else:
        quota = from_mapping(QuotaConfig, (ws.settings("walk") or {}).get("quota", {}))
        paths = [cell.n_paths for cell in plan_cells(quota, facts["counts"]["paths"])]
    size = ws.facts("build").get("counts", {})
    return [{"paths": paths, **{name: size[name] for name in ("seeds", "kps") if name in size}}]


def record_parts(ws: Workspace) -> None:
    """Record the parts of an older version's campaign, before the graph that they were walked on is replaced."""
    if "parts" not in ws.facts("walk") and (parts := planned_parts(ws)):
        ws.record("walk", parts=parts)


def continues(ws: Workspace, files: Mapping[str, str]) -> bool:
    """Whether input files, as names with their hashes, differ from those of the campaign only by files at the end."""
    known = [*known_input(ws).items()]
    shorter = min(len(known), len(files))
    return shorter > 0 and known[:shorter] == [*files.items()][:shorter]


def input_changed(ws: Workspace, files: Mapping[str, str]) -> bool:
    """Whether input files, as names with their hashes, are others than those of the campaign, or in another order."""
    return [*known_input(ws).items()] != [*files.items()]


def known_input(ws: Workspace) -> dict[str, str]:
    """Names of the campaign's input files with their hashes, in their order."""
    return dict(ws.facts("ingest").get("settings", {}).get("input", {}))


def check_seeds(ws: Workspace, seeds: pa.Table) -> None:
    """Compare the seeds that paths refer to with their rows in a new table.

    Raises
    ------
    ConfigError
        They differ, or the file of the earlier ones is missing or damaged.
    """
    used = seeds_in_use(ws)
    name = store.file_of_seeds(ws)
    if not ws.intact(name):
        raise ConfigError(
            f"{ws.path(name)} is missing or damaged, so other input cannot be compared with it: first pass "
            f"the files of before, in their order ({', '.join(known_input(ws))})"
        )
    earlier = store.read_taken(ws)
    if seeds.num_rows < used:
        raise ConfigError(
            f"{ws.folder}: paths refer to {used:,} seeds, and the input has {seeds.num_rows:,}; {INSTEAD}"
        )
    for name in earlier.column_names:
        if name in seeds.column_names and not earlier.column(name).slice(0, used).equals(
            seeds.column(name).slice(0, used)
        ):
            raise ConfigError(f"{ws.folder}: the new input changes '{name}' of seeds that paths refer to; {INSTEAD}")


def check_kps(ws: Workspace, earlier: Sequence[str], names: Sequence[str]) -> None:
    """Compare the KPs that paths refer to with a new numbering.

    Raises
    ------
    ConfigError
        They differ.
    """
    used = _largest(ws, "kps")
    if list(names[:used]) != list(earlier[:used]):
        raise ConfigError(f"{ws.folder}: the new seeds change the knowledge points that paths refer to; {INSTEAD}")


def keep_rows(table: pa.Table, earlier: pa.Table, rows: int) -> pa.Table:
    """The table with the first rows of an earlier one, which paths refer to."""
    import pyarrow as pa

    kept: list[Any] = [earlier.select(table.column_names).slice(0, rows), table.slice(rows)]
    return pa.concat_tables(kept)
