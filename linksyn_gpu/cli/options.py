"""Flags that are settings: each names the field of `RunConfig` that it sets, such as `walk.length`."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import click

from linksyn_gpu import config as allowed
from linksyn_gpu.config import EXTRACTORS, MERGES, RunConfig
from linksyn_gpu.config.loader import from_mapping, merged, read_toml

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class Bytes(click.ParamType[int]):
    """A number of bytes, with or without a unit."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read '40GiB' as 42949672960."""
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", str(value).strip())
        if found is None or found[2].upper() not in UNITS:
            self.fail(f"{value!r} is no size; write bytes, or a number with KB, MB, GB, KiB, MiB or GiB", param, ctx)
        return int(float(found[1]) * UNITS[found[2].upper()])


class Names(click.ParamType[list[str]]):
    """Names with commas between them."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Read 'law, physics' as two names."""
        names = [name.strip() for name in str(value).split(",")]
        if not all(names):
            self.fail(f"{value!r} holds an empty name; write names with commas between them", param, ctx)
        return names


class Words(click.ParamType[list[str]]):
    """Words of a command line, quoted as for a shell."""

    name = "words"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Read '--max-model-len 8192' as two words."""
        try:
            return shlex.split(str(value))
        except ValueError as error:
            self.fail(f"{value!r}: {error}; quote it as for a shell", param, ctx)


# flag, the field it sets, click's type, help
_SEEDS: list[tuple[str, str, Any, str]] = [
    ("--keep-duplicates", "seeds.keep_duplicates", bool, "Keep records whose id or question was seen before."),
    ("--split-routes", "seeds.route_separator", str, "Split each knowledge point at this text, such as '->'."),
    (
        "--difficulty-scale",
        "seeds.difficulty_scale",
        str,
        f"Scale of the difficulty column: {', '.join(allowed.DIFFICULTY_SCALES)}, or a .toml file.",
    ),
]
_EXTRACT: list[tuple[str, str, Any, str]] = [
    ("--extractor", "extract.extractor", click.Choice(EXTRACTORS), "Where knowledge points come from."),
    ("--merge", "extract.merge", click.Choice(MERGES), "Which names become one knowledge point."),
    ("--only-missing", "extract.only_missing", bool, "Extract for seeds without knowledge points alone."),
    ("--max-kps", "extract.max_kps", int, "Most knowledge points that are extracted for a seed."),
    ("--glossary", "extract.glossary", click.Path(), "Terms, .jsonl or .txt, for extractor terms."),
    ("--merge-rules", "extract.merge_rules", click.Path(), "Your own rules on names; they win."),
    ("--homographs", "extract.homographs", click.Path(), "TOML file with further homographs."),
    ("--taxonomy", "extract.taxonomy", click.Path(), "TOML file with your own disciplines."),
    ("--decide-doubtful", "extract.decide_doubtful", bool, "Let the model decide doubtful pairs of names."),
    ("--map-labels", "extract.map_labels", bool, "Let the model map unknown discipline labels."),
    ("--embed-url", "extract.embed_url", str, "Server of OpenAI embeddings, for pairs by meaning."),
    ("--embed-model", "extract.embed_model", str, "Its embedding model."),
]
_GRAPH: list[tuple[str, str, Any, str]] = [
    ("--kp-form", "graph.kp_form", click.Choice(allowed.KP_FORMS), "When two KP names are one KP."),
    ("--weight", "graph.weight", click.Choice(allowed.EDGE_WEIGHTS), "Edge weight."),
    ("--min-count", "graph.min_count", int, "Drop edges held by fewer seeds."),
    ("--top-k", "graph.top_k", int, "Keep only edges among the K heaviest of one of their ends."),
    ("--max-kps-per-seed", "graph.max_kps_per_seed", int, "Use at most this many KPs of a seed."),
]
_WALK: list[tuple[str, str, Any, str]] = [
    ("--paths", "paths", int, "Paths to sample in the whole campaign."),
    ("--seed", "seed", int, "Campaign seed: the same seed gives the same paths, to the bit."),
    ("--length", "walk.length", int, "Steps of a path."),
    ("--tau", "walk.tau", float, "Target visits go as seeds-of-KP ** tau: 1 popularity, 0 uniform coverage."),
    ("--beta", "walk.beta", float, "Strength of live feedback: 0, 0.5, 1 or 2."),
    ("--revisit/--no-revisit", "walk.revisit", bool, "Whether a walk may visit a KP twice; by default it may not."),
    ("--p", "walk.p", float, "node2vec return parameter."),
    ("--q", "walk.q", float, "node2vec in-out parameter."),
    ("--walker", "walk.walker", click.Choice(allowed.WALKERS), "Own exact walks, or cuGraph's on a GPU."),
    ("--rounds", "walk.rounds", int, "Rounds that the campaign is cut into."),
    ("--calibration-rounds", "walk.calibration_rounds", int, "Throw-away rounds before the campaign."),
]
_SYNTHESIS: list[tuple[str, str, Any, str]] = [
    ("--engine", "synthesis.engine", click.Choice(allowed.ENGINES), "Who writes the new QA."),
    ("--base-url", "synthesis.base_url", str, "Address of an OpenAI-protocol server, with /v1."),
    ("--model", "synthesis.model", str, "Model name; left out: the server's first. Engine vllm serves it."),
    ("--per-path", "synthesis.per_path", int, "New QA asked for from each path."),
    ("--language", "synthesis.language", click.Choice(allowed.LANGUAGES), "Language of the new QA."),
    ("--max-tokens", "synthesis.max_tokens", int, "Room for one answer."),
    ("--concurrency", "synthesis.concurrency", int, "Requests in flight."),
    ("--max-requests", "synthesis.max_requests", int, "Most requests asked in the whole run."),
    ("--budget-tokens", "synthesis.budget_tokens", int, "Tokens after which no further request is sent."),
    ("--templates", "synthesis.templates", click.Path(), "Folder with your own prompt templates."),
    ("--model-file", "synthesis.model_file", click.Path(), "GGUF file for engine smol."),
]
_ENHANCE: list[tuple[str, str, Any, str]] = [
    (
        "--enhance-disciplines",
        "enhance.disciplines",
        Names(),
        "Bring the QA of these disciplines to a level: names with commas between them, or all.",
    ),
    ("--enhance-level", "enhance.level", int, "The level asked for, 2..5."),
    ("--enhance-tries", "enhance.tries", int, "Rewrites of one QA, at most."),
    ("--enhance-solves", "enhance.solves", int, "Independent solves by which an answer is checked."),
]
_VLLM: list[tuple[str, str, Any, str]] = [
    ("--vllm-python", "synthesis.vllm_python", click.Path(), "Python of the environment that has vLLM."),
    ("--vllm-command", "synthesis.vllm_command", str, "Command line that stands for 'vllm'."),
    ("--data-parallel", "synthesis.data_parallel", int, "Replicas of the model in the vLLM server."),
    ("--tensor-parallel", "synthesis.tensor_parallel", int, "Devices that a replica is spread over."),
    ("--vllm-args", "synthesis.vllm_args", Words(), "Further words for 'vllm serve', in one quoted string."),
]
_BACKEND: list[tuple[str, str, Any, str]] = [
    ("--backend", "backend", click.Choice(allowed.BACKENDS), "Where graphs and walks are computed."),
    ("--gpu-memory", "gpu_memory", Bytes(), "Device memory that graph and walks may take, such as 40GiB."),
]

SEEDS, GRAPH, WALK, BACKEND = _SEEDS, [*_GRAPH, *_BACKEND], [*_WALK, *_BACKEND], _BACKEND
# A server that is started beside graph and walks asks what those take of the device.
SYNTHESIS = [*_SYNTHESIS, *_VLLM, *_BACKEND]
_MODEL = ("--engine", "--base-url", "--model", "--concurrency", "--templates", "--model-file")
_BOUNDS = ("--max-tokens", "--max-requests", "--budget-tokens")
EXTRACT = [*_EXTRACT, *(flag for flag in _SYNTHESIS if flag[0] in _MODEL), *_VLLM, *_BACKEND]
ENHANCE = [*_ENHANCE, *(flag for flag in _SYNTHESIS if flag[0] in (*_MODEL, *_BOUNDS)), *_VLLM, *_BACKEND]
EVERYTHING = [*_SEEDS, *_EXTRACT, *_GRAPH, *_WALK, *_SYNTHESIS, *_ENHANCE, *_VLLM, *_BACKEND]


def config_flags(flags: Sequence[tuple[str, str, Any, str]]) -> Decorator:
    """Add `--config` and these flags; the command receives `overrides`, a nested mapping of what was given."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        fields = {_parameter(flag): field for flag, field, _, _ in flags}
        maps = any(field.startswith("seeds.") for field in fields.values())

        @functools.wraps(function)
        def wrapped(**params: Any) -> Any:
            given = {name: params.pop(name) for name in fields}
            overrides = _nest({fields[name]: value for name, value in given.items() if value is not None})
            if "revisit" in overrides.get("walk", {}):
                overrides["walk"]["no_revisit"] = not overrides["walk"].pop("revisit")
            if maps and (columns := params.pop("map_columns")):
                overrides.setdefault("seeds", {})["columns"] = dict(_pair(text) for text in columns)
            return function(overrides=overrides, **params)

        decorated: Callable[..., Any] = wrapped
        for flag, _, kind, help_text in reversed(flags):
            extra = {"is_flag": True} if kind is bool else {"type": kind}
            decorated = click.option(flag, default=None, help=help_text, **extra)(decorated)
        if maps:
            decorated = click.option(
                "--map",
                "map_columns",
                multiple=True,
                metavar="FIELD=COLUMN",
                help="Read a seed field from this column, e.g. question=stem; may be given several times.",
            )(decorated)
        return click.option(
            "--config", "config_file", type=click.Path(), help="TOML file with settings; flags win over it."
        )(decorated)

    return decorate


def force_flag(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--force`."""
    return click.option(
        "--force",
        is_flag=True,
        help="Do this stage and the later ones anew; answers received are set aside in journal.N.",
    )(function)


def resolve_config(config_file: str | None, overrides: dict[str, Any], recorded: Any = None) -> RunConfig:
    """Settings of a command: defaults, then what the folder recorded, then the file, then the flags."""
    values: dict[str, Any] = {} if recorded is None else recorded
    where = ""
    if config_file is not None:
        values, where = merged(values, read_toml(config_file)), f"{config_file}, with the flags: "
    made: RunConfig = from_mapping(RunConfig, merged(values, overrides), where=where)
    return made


def _parameter(flag: str) -> str:
    """Name under which click passes a flag on."""
    return flag.split("/")[0].strip("-").replace("-", "_")


def _nest(flat: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *tables, leaf = name.split(".")
        inner = nested
        for table in tables:
            inner = inner.setdefault(table, {})
        inner[leaf] = value
    return nested


def _pair(text: str) -> tuple[str, str]:
    name, separator, column = text.partition("=")
    if not (name and separator and column):
        raise click.UsageError(f"--map {text!r} must read FIELD=COLUMN, such as question=stem")
    return name, column
