"""Flags that are settings: each names the field of `RunConfig` that it sets, such as `walk.length`."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import click

from linksyn_gpu import config as allowed
from linksyn_gpu.cli.console import errors_as_text
from linksyn_gpu.cli.live import watch
from linksyn_gpu.config import RunConfig
from linksyn_gpu.config.loader import from_mapping, merged, read_toml
from linksyn_gpu.errors import ConfigError

VLLM_PROGRAM = ("vllm_command", "vllm_python", "vllm_args")
"""Settings of the program that engine vllm runs."""

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class ParsedValue(click.ParamType[Any]):
    """A value that a function reads; the text of its `ValueError` says what is wrong and how to write it."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self.parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the value, or fail with the function's message."""
        try:
            return self.parse(str(value))
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


def _bytes(text: str) -> int:
    """'40GiB' -> 42949672960."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", text.strip())
    if found is None or found[2].upper() not in UNITS:
        raise ValueError("not a valid size: write bytes, or a number with KB, MB, GB, KiB, MiB or GiB")
    size = Decimal(found[1]) * UNITS[found[2].upper()]
    if size >= 2**63:
        raise ValueError("too large: at most 2^63 - 1 bytes")
    return int(size)


def _names(text: str) -> list[str]:
    """'law, physics' -> ['law', 'physics']."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ValueError("contains an empty name: separate names by single commas")
    return names


def _column(text: str) -> tuple[str, str]:
    """'question=stem' -> ('question', 'stem')."""
    field, _, column = text.partition("=")
    if not (field and column):
        raise ValueError("must have the form FIELD=COLUMN, such as question=stem")
    return field, column


def _renamed(text: str) -> tuple[str, str]:
    """'max_tokens=max_completion_tokens' -> ('max_tokens', 'max_completion_tokens')."""
    name, _, new = text.partition("=")
    if not (name and new):
        raise ValueError("must have the form NAME=NEW, such as max_tokens=max_completion_tokens")
    return name, new


def _shares(text: str) -> dict[str, float] | str:
    """'physics=0.5,law=0.5' -> {'physics': 0.5, 'law': 0.5}; the name of a preset stays."""
    if text.strip() in allowed.PRESETS:
        return text.strip()
    found = {}
    for part in text.split(","):
        name, _, share = part.rpartition("=")
        try:
            found[name.strip()] = float(share)
        except ValueError:
            name = ""
        if not name.strip():
            raise ValueError(
                f"must have the form NAME=SHARE, such as physics=0.5, or be {' or '.join(allowed.PRESETS)}"
            )
    return found


def _types(text: str) -> dict[str, dict[str, float]]:
    """'anatomy:open=1' -> {'anatomy': {'open': 1.0}}; without a discipline: 'default'."""
    name, _, shares = text.rpartition(":")
    found = _shares(shares)
    if isinstance(found, str):
        raise ValueError("must have the form DISCIPLINE:TYPE=SHARE,TYPE=SHARE")
    return {name.strip() or allowed.DEFAULT: found}


BYTES, NAMES, WORDS = ParsedValue("size", _bytes), ParsedValue("names", _names), ParsedValue("words", shlex.split)
COLUMN, RENAME = ParsedValue("field=column", _column), ParsedValue("name=new", _renamed)
FILE, URL = ParsedValue("file", str), ParsedValue("url", str)
LISTS = (FILE, URL)
"""Types of single values; a flag of such a type may be repeated, and replaces the whole list of a file."""
PAIRS = (COLUMN, RENAME)
"""Types of pairs; a flag of such a type may be repeated."""
SHARES, TYPES = ParsedValue("name=share", _shares), ParsedValue("discipline:type=share", _types)
TABLES = (SHARES, TYPES)
"""Types of tables; a flag of such a type may be repeated, and replaces the whole table of a file."""


class Flag(NamedTuple):
    """A flag, the field of `RunConfig` that it sets, click's type, and the help text."""

    flag: str
    field: str
    type: Any
    help: str


SCALES = ", ".join(allowed.DIFFICULTY_SCALES)
GROUPS = {
    "Input": (
        Flag("--map", "seeds.columns", COLUMN, "Column of a field: question=stem, options=A,B,C,D. Repeatable."),
        Flag("--layout", "seeds.layout", click.Choice(allowed.LAYOUTS), "Shape of the records, instead of finding it."),
        Flag("--turns", "seeds.turns", click.Choice(allowed.TURNS), "Of a dialogue, the last pair or all are seeds."),
        Flag("--index-base", "seeds.index_base", int, "Number of the first option in integer answers: 0 or 1."),
        Flag("--encoding", "seeds.encoding", str, "Encoding of text files, such as gb18030, instead of detecting it."),
        Flag("--allow-empty-answers", "seeds.allow_empty_answers", bool, "Accept files without any usable answer."),
        Flag("--split-routes", "seeds.route_separator", str, "Split each knowledge point at this text, such as '->'."),
        Flag("--difficulty-scale", "seeds.difficulty_scale", str, f"Difficulty scale: {SCALES} or a .toml file."),
        Flag("--reject-private", "seeds.reject_private", bool, "Reject seeds with e-mail addresses, phones or keys."),
        Flag("--keep-duplicates", "seeds.keep_duplicates", bool, "Keep records with a repeated id or question."),
        Flag(
            "--against",
            "decontaminate.against",
            FILE,
            "Benchmark file: seeds with an item of it are dropped. Repeatable.",
        ),
        Flag(
            "--clean", "decontaminate.clean", FILE, "File known to hold no such item, for the certificate. Repeatable."
        ),
    ),
    "Knowledge points": (
        Flag("--extractor", "extract.extractor", click.Choice(allowed.EXTRACTORS), "Source of knowledge points."),
        Flag(
            "--merge",
            "extract.merge",
            click.Choice(allowed.MERGES),
            "Which names become one knowledge point; 'forms' if --extractor auto chooses llm or yake.",
        ),
        Flag("--only-missing", "extract.only_missing", bool, "Extract only for seeds without knowledge points."),
        Flag("--max-kps", "extract.max_kps", int, "Extract at most this many knowledge points per seed."),
        Flag("--glossary", "extract.glossary", click.Path(), "Terms, .jsonl or .txt, for extractor 'terms'."),
        Flag("--merge-rules", "extract.merge_rules", click.Path(), "Your own merge rules; they take precedence."),
        Flag("--homographs", "extract.homographs", click.Path(), "TOML file with additional homographs."),
        Flag("--taxonomy", "extract.taxonomy", click.Path(), "TOML file with your own disciplines."),
        Flag("--decide-doubtful", "extract.decide_doubtful", bool, "Let the model decide doubtful pairs of names."),
        Flag("--map-labels", "extract.map_labels", bool, "Let the model map unknown discipline labels."),
        Flag("--embed-url", "extract.embed_url", str, "OpenAI embeddings server, for pairs of similar meaning."),
        Flag("--embed-model", "extract.embed_model", str, "Embedding model on that server."),
    ),
    "Graph": (
        Flag("--kp-form", "graph.kp_form", click.Choice(allowed.KP_FORMS), "How KP names are compared."),
        Flag("--weight", "graph.weight", click.Choice(allowed.EDGE_WEIGHTS), "Edge weight."),
        Flag("--min-count", "graph.min_count", int, "Drop edges that occur in fewer seeds."),
        Flag("--top-k", "graph.top_k", int, "Keep an edge only if it is among the K heaviest of either end."),
        Flag("--max-kps-per-seed", "graph.max_kps_per_seed", int, "Use at most this many KPs of each seed."),
    ),
    "Walks": (
        Flag("--paths", "paths", int, f"Paths of the whole campaign; more continue it. [{allowed.DEFAULT_PATHS}]"),
        Flag("--qa", "qa", int, "Kept QA to reach: paths are added until there are so many, instead of --paths."),
        Flag(
            "--discipline", "quota.discipline", SHARES, "Share of a discipline: law=0.5, or seeds, uniform. Repeatable."
        ),
        Flag("--difficulty", "quota.difficulty", SHARES, "Share: 3=0.5, or a preset: seeds, uniform. Repeatable."),
        Flag("--quota-unit", "quota.unit", click.Choice(("share", "qa")), "Unit of the two: shares, or numbers of QA."),
        Flag("--max-overdraw", "quota.max_overdraw", float, "With --qa: paths per cell, at most, times the fewest."),
        Flag("--seed", "seed", int, "Random seed: the same seed gives the same paths, to the bit."),
        Flag("--length", "walk.length", int, "Steps of a path."),
        Flag("--tau", "walk.tau", float, "Target visits of a KP: its seed count ** tau (1 popularity, 0 uniform)."),
        Flag("--beta", "walk.beta", float, "Strength of feedback from earlier visits: 0, 0.5, 1 or 2."),
        Flag("--no-revisit/--revisit", "walk.no_revisit", bool, "Whether a path may visit a KP twice."),
        Flag("--p", "walk.p", float, "node2vec return parameter."),
        Flag("--q", "walk.q", float, "node2vec in-out parameter."),
        Flag("--kp-scores", "walk.kp_scores", click.Path(), "A student model's scores by KP: weak KPs get more paths."),
        Flag("--kp-scores-kind", "walk.kp_scores_kind", click.Choice(("accuracy", "loss")), "What the scores are."),
        Flag("--walker", "walk.walker", click.Choice(allowed.WALKERS), "Built-in exact walks, or cuGraph's on a GPU."),
        Flag("--rounds", "walk.rounds", int, "Rounds; the value function is updated after each."),
        Flag("--calibration-rounds", "walk.calibration_rounds", int, "Calibration rounds before the campaign."),
    ),
    "Synthesis": (
        Flag("--per-path", "synthesis.per_path", int, "New QA to request from each path."),
        Flag("--question-types", "question_types", TYPES, "Shares: open=0.5,case=0.5 or law:case=1. Repeatable."),
        Flag("--language", "synthesis.language", click.Choice(allowed.LANGUAGES), "Language of the new QA."),
        Flag("--templates", "synthesis.templates", click.Path(), "Folder with your own prompt templates."),
        Flag("--max-tokens", "synthesis.max_tokens", int, "Token limit of one answer."),
        Flag("--batch-requests", "synthesis.batch_requests", int, "Most requests in one requests file."),
        Flag("--batch-bytes", "synthesis.batch_bytes", BYTES, "Largest requests file, such as 100MB."),
        Flag("--max-requests", "synthesis.max_requests", int, "Stop after this many requests in the whole run."),
        Flag("--budget-tokens", "synthesis.budget_tokens", int, "Stop sending after this many tokens in and out."),
    ),
    "Enhancement": (
        Flag("--enhance-disciplines", "enhance.disciplines", NAMES, "Disciplines to raise, with commas, or 'all'."),
        Flag("--enhance-level", "enhance.level", int, "Target level, 2..5."),
        Flag("--enhance-tries", "enhance.tries", int, "Rewrite each QA at most this many times."),
        Flag("--enhance-solves", "enhance.solves", int, "Independent solutions that check an answer."),
    ),
    "Data set": (
        Flag("--near-duplicates", "curate.near_duplicates", float, "Least Jaccard index of two near-duplicates."),
        Flag("--checks-off", "checks.off", NAMES, "Rule checks that are left out, with commas."),
        Flag("--judge", "judge.use", bool, "Ask the model about each QA of the data set."),
        Flag("--judge-score", "judge.min_score", int, "Least score of a QA that the judge keeps, 1..5."),
        Flag("--judge-solves", "judge.solves", int, "Independent solutions of each QA, without its answer."),
        Flag("--judge-agreed", "judge.min_agreed", float, "Least share of them that agree with the answer."),
    ),
    "Server": (
        Flag("--engine", "synthesis.engine", click.Choice(allowed.ENGINES), "Where the language model runs."),
        Flag("--base-url", "synthesis.base_url", URL, "Server of --engine openai, with /v1. Repeatable: more servers."),
        Flag("--model", "synthesis.model", str, "Model name; default: the server's first. Engines vllm, ray serve it."),
        Flag("--model-file", "synthesis.model_file", click.Path(), "GGUF file for engine smol."),
        Flag("--concurrency", "synthesis.concurrency", int, "Requests in flight at each server."),
        Flag("--without", "synthesis.without", NAMES, "Request parameters not to send, e.g. temperature,seed."),
        Flag("--rename", "synthesis.rename", RENAME, "Send a request parameter under another name. Repeatable."),
        Flag("--vllm-python", "synthesis.vllm_python", click.Path(), "Python that has vLLM, or vLLM and Ray."),
        Flag("--vllm-command", "synthesis.vllm_command", str, "Command line to use instead of 'vllm'."),
        Flag("--data-parallel", "synthesis.data_parallel", int, "Replicas of the model in the vLLM server."),
        Flag("--tensor-parallel", "synthesis.tensor_parallel", int, "Devices per replica."),
        Flag("--vllm-args", "synthesis.vllm_args", WORDS, "More arguments for 'vllm serve', in one quoted string."),
        Flag(
            "--ray-address",
            "synthesis.ray_address",
            str,
            "Ray cluster of engine ray, or 'auto'; default: this machine.",
        ),
        Flag("--replicas", "synthesis.replicas", int, "Replicas of the model that engine ray places."),
        Flag("--accelerator", "synthesis.accelerator", str, "Ray's name of their GPUs, e.g. H100; default: no GPU."),
    ),
    "Machine": (
        Flag("--backend", "backend", click.Choice(allowed.BACKENDS), "Where graphs and walks are computed."),
        Flag("--gpu-memory", "gpu_memory", BYTES, "Limit on device memory for graph and walks, such as 40GiB."),
    ),
    "Text work": (
        Flag("--workers", "workers", int, "Processes; default: one per core where there is much text."),
        Flag("--cluster", "cluster", str, "Ray cluster: its address, or 'auto' for the one on this machine."),
    ),
}
FORECAST = "Forecast"
FORECAST_FLAGS = (
    Flag("--price-in", "plan.price_in", float, "Price of a million tokens read."),
    Flag("--price-out", "plan.price_out", float, "Price of a million tokens written."),
    Flag("--tokens-per-second", "plan.tokens_per_second", float, "Tokens that the server writes per second."),
    Flag("--tokens", "plan.tokens", float, "Scale the campaign to so many written tokens, such as 50e9."),
    Flag("--completion-tokens", "plan.completion_tokens", float, "Tokens assumed per answer."),
    Flag("--tokenizer", "plan.tokenizer", click.Path(), "tokenizer.json of the model, to count prompt tokens."),
)
OTHER_FILES = "QA of files"
OTHER_FILES_FLAGS = (
    Flag("--seeds", "curate.seeds", NAMES, "Files of seeds, with commas: QA that repeat one are dropped."),
)
PUBLISHED = "Published data set"
PUBLISHED_FLAGS = (
    Flag("--forms", "export.forms", NAMES, "Forms of the rows: qa, chat, alpaca, text, with commas."),
    Flag("--by-language", "export.by_language", bool, "Also write each language as a configuration, such as qa-en."),
    Flag("--reasoning", "export.reasoning", bool, "Put the model's reasoning into the messages of form chat."),
    Flag("--validation", "export.validation", float, "Share of the validation split, with seeds of its own."),
    Flag("--max-withheld", "export.max_withheld", float, "Share of rows that the split may leave out, at most."),
    Flag("--shard-bytes", "export.shard_bytes", BYTES, "Size of a Parquet file, such as 500MiB."),
    Flag("--name", "export.name", str, "Title of the data set; default: the name of DIR."),
    Flag("--license", "export.license", str, "License of the new texts, which you decide."),
    Flag("--teacher-terms", "export.teacher_terms", str, "What the model's terms say about its outputs."),
    Flag("--contact", "export.contact", str, "Who publishes it, and the address for takedown requests."),
)
RUN_FOLDER = "Run folder"
DISPLAY = "Progress"
PRICES = ("--price-in", "--price-out")
"""Flags of commands that ask a model, to show what it costs."""
Resolve = Callable[[Any], RunConfig]
"""Gives the settings of a call: defaults, then what the folder recorded (the argument), then --config, then flags."""


class GroupedOption(click.Option):
    """An option that `--help` lists under the title of its group."""

    def __init__(self, *args: Any, group: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose `--help` lists its options by group."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section per group, in the order of the options, required options first."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in sorted(self.get_params(ctx), key=lambda param: not param.required):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None:
                sections.setdefault(getattr(param, "group", "Help"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def grouped_option(group: str, *names: str, **attributes: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`click.option` with a group."""
    return click.option(*names, cls=GroupedOption, group=group, **attributes)


def settings_command(
    *groups: str, force: bool = True, progress: bool = True
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command with these groups of flags, or single flags by name, with `--config` and, if wanted, `--force`
    and the flags of `display_options`.

    The function receives `resolve` (see `Resolve`), `watch` (see `live.Watch`), `force`, and its own parameters.
    """
    known = {**GROUPS, FORECAST: FORECAST_FLAGS, PUBLISHED: PUBLISHED_FLAGS, OTHER_FILES: OTHER_FILES_FLAGS}
    chosen = [
        (title, flag) for title, flags in known.items() for flag in flags if title in groups or flag.flag in groups
    ]

    def decorate(function: Callable[..., Any]) -> click.Command:
        @functools.wraps(function)
        def wrapped(config_file: str | None, **params: Any) -> Any:
            if progress:
                display = {name: params.pop(name) for name in ("plain", "metrics_port", "metrics_host")}
                params["watch"] = functools.partial(watch, **display)
            overrides: dict[str, Any] = {}
            for _, flag in chosen:
                value = params.pop(_parameter(flag))
                if flag.type in LISTS:
                    value = list(value) or None
                if flag.type in PAIRS:
                    value = _without_repeats(flag.flag, value) or None
                if flag.type in TABLES:
                    overrides = merged(overrides, _table_of(flag.field, value))
                elif value is not None:
                    *table, name = flag.field.split(".")
                    (overrides.setdefault(table[0], {}) if table else overrides)[name] = value
            return function(resolve=functools.partial(_resolved, config_file, overrides), **params)

        decorated: Callable[..., Any] = errors_as_text(wrapped)
        if progress:
            decorated = display_options(decorated)
        for title, flag in reversed(chosen):
            kind: dict[str, Any] = {"is_flag": True} if flag.type is bool else {"type": flag.type}
            if flag.type in (*LISTS, *PAIRS, *TABLES):
                kind["multiple"] = True
            text = flag.help + _default(flag.field)
            option = grouped_option(title, flag.flag, _parameter(flag), default=None, help=text, **kind)
            decorated = option(decorated)
        if force:
            text = "Redo this stage and the later ones; answers received are moved to journal.N."
            decorated = grouped_option(RUN_FOLDER, "--force", is_flag=True, help=text)(decorated)
        text = "TOML file with settings; flags take precedence."
        decorated = grouped_option(RUN_FOLDER, "--config", "config_file", type=click.Path(), help=text)(decorated)
        return click.command(cls=GroupedCommand)(decorated)

    return decorate


def display_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags that say how progress is shown: parameters `plain`, `metrics_port` and `metrics_host`."""
    plain = "Write progress as plain lines, as when stderr is not a terminal."
    port = "Serve figures for Prometheus at http://127.0.0.1:PORT/metrics while the command runs (extra metrics)."
    host = "Address on which they are served; others than this machine may then read them."
    for option in (
        grouped_option(DISPLAY, "--metrics-host", default="127.0.0.1", show_default=True, help=host),
        grouped_option(DISPLAY, "--metrics-port", type=click.IntRange(0, 65535), metavar="PORT", help=port),
        grouped_option(DISPLAY, "--plain", is_flag=True, help=plain),
    ):
        function = option(function)
    return function


def _without_repeats(flag: str, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The pairs of a repeated flag as a mapping; the same name twice is an error."""
    names = [name for name, _ in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        given = ", ".join(f"{name}={value}" for name, value in pairs if name == twice)
        raise ConfigError(f"{flag} is given twice for {twice!r} ({given}); keep one of them")
    return dict(pairs)


existing_run = click.argument("folder", metavar="DIR", type=click.Path())
"""The run folder, for every command that works in an existing one."""


def new_run(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add SEEDS and `--out DIR`, for the two commands that make a run folder."""
    text = "The run folder; created if missing."
    option = grouped_option(RUN_FOLDER, "--out", required=True, metavar="DIR", type=click.Path(), help=text)
    return click.argument("seeds", nargs=-1, required=True)(option(function))


def _table_of(field: str, values: Sequence[Any]) -> dict[str, Any]:
    """Settings of a flag of `TABLES`: the shares of all its values together, or a preset."""
    if not values:
        return {}
    table, _, name = field.rpartition(".")
    presets = [value for value in values if isinstance(value, str)]
    settings: dict[str, Any] = {name: {}}
    if len(presets) == len(values) == 1:
        settings[f"{name}_preset"] = presets[0]
    elif presets:
        raise ConfigError(f"--{name} {presets[0]}: a preset stands alone, without shares and other presets")
    else:
        for value in values:
            settings[name] = merged(settings[name], value)
        if table:
            settings[f"{name}_preset"] = None
    return {table: settings} if table else settings


def _without_tables(values: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Settings without the tables of shares that flags replace."""
    kept = dict(values)
    for _, flag in ((title, flag) for title, flags in GROUPS.items() for flag in flags if flag.type in TABLES):
        table, _, name = flag.field.rpartition(".")
        if table and name in overrides.get(table, {}) and table in kept:
            kept[table] = {key: value for key, value in kept[table].items() if key != name}
        elif not table and name in overrides:
            kept.pop(name, None)
    return kept


OWN_SERVER = ("smol", "vllm", "ray")
"""Engines that would ignore the address of a server."""
OF_RAY = ("ray_address", "replicas", "accelerator")
"""Settings that engines other than 'ray' would ignore."""


def _resolved(config_file: str | None, overrides: dict[str, Any], recorded: Any = None) -> RunConfig:
    given = merged({} if config_file is None else _without_tables(read_toml(config_file), overrides), overrides)
    where = "" if config_file is None else f"{config_file}, with the flags: "
    if given.keys() & {"paths", "qa"}:  # each of them replaces both
        recorded = {name: value for name, value in (recorded or {}).items() if name not in ("paths", "qa")}
    made: RunConfig = from_mapping(RunConfig, merged(_without_tables(recorded or {}, overrides), given), where=where)
    flags = overrides.get("synthesis", {})
    relevant = flags if "engine" in flags else given.get("synthesis", {})  # --engine may override a file's server
    if "base_url" in relevant and made.synthesis.engine in OWN_SERVER:
        raise ConfigError(
            f"base_url is for --engine openai, and engine '{made.synthesis.engine}' starts its own server: add "
            "--engine openai, or leave base_url out"
        )
    of_ray = [name for name in OF_RAY if name in flags and made.synthesis.engine != "ray"]
    if of_ray:
        raise ConfigError(
            f"--{of_ray[0].replace('_', '-')} is for --engine ray, and the engine is '{made.synthesis.engine}': add "
            "--engine ray, or leave it out"
        )
    _confirm(made, given)
    return made


def _confirm(config: RunConfig, given: dict[str, Any]) -> None:
    """Refuse settings that run a program or receive the API key if they come from the run folder alone.

    A folder may have been edited by someone else. A server on this machine needs no confirmation.
    """
    from linksyn_gpu.llm import Engine, api_key

    synthesis, urls = config.synthesis, [("extract.embed_url", config.extract.embed_url or "")]
    if synthesis.engine == "openai":
        urls += [("synthesis.base_url", url) for url in synthesis.urls]
    held: dict[str, Any] = {name: url for name, url in urls if url and api_key() and not Engine(url, "").is_local}
    if synthesis.engine in ("vllm", "ray"):
        held.update({f"synthesis.{name}": getattr(synthesis, name) for name in (*VLLM_PROGRAM, "ray_address")})
    for name, value in held.items():
        table, _, field = name.partition(".")
        if value and field not in given.get(table, {}):
            raise ConfigError(
                f"{name} = {value!r} comes from the run folder alone, and it runs a program or receives your API key: "
                f"confirm it with --{field.replace('_', '-')} or in a --config file"
            )


def _parameter(flag: Flag) -> str:
    """Name of a flag's parameter in click."""
    return flag.flag.split("/")[0].strip("-").replace("-", "_")


def _default(field: str) -> str:
    """' [24]', the default value of a setting; '' where it is off or empty."""
    value: Any = RunConfig()
    for name in field.split("."):
        value = getattr(value, name)
    return "" if isinstance(value, bool) or value is None or value in ((), {}) else f" [{value}]"
