"""Figures of a run from the files of its folder, at any moment of any stage, and report.html."""

from __future__ import annotations

import itertools
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from linksyn_gpu.config import RunConfig
from linksyn_gpu.config.loader import merged, to_mapping
from linksyn_gpu.pipeline import store
from linksyn_gpu.pipeline.folder import STAGES, Workspace
from linksyn_gpu.pipeline.growth import known_input
from linksyn_gpu.pipeline.outcomes import read_outcomes
from linksyn_gpu.pipeline.stages.curate import CERTIFICATE
from linksyn_gpu.pipeline.stages.curate import REASONS as CURATE_REASONS
from linksyn_gpu.pipeline.stages.export import campaign_digest
from linksyn_gpu.pipeline.stages.forecast import campaign_figures, read_forecast
from linksyn_gpu.report.stats import (
    FINISHED,
    NOT_BEGUN,
    UNFINISHED,
    Clusters,
    Dropped,
    Extraction,
    Histogram,
    Outcomes,
    Overview,
    RunStats,
    StageState,
)
from linksyn_gpu.sampling.forecast import cost_of
from linksyn_gpu.tables import Int64

if TYPE_CHECKING:
    import pyarrow as pa

    from linksyn_gpu.report.graph_view import GraphView

log = logging.getLogger(__name__)

SAMPLES = 20
FREQUENT, MERGES, DOUBTFUL = 30, 20, 20
CLUSTERS_SHOWN, MEMBERS_SHOWN = 5, 4
HISTOGRAM_BINS = 40
QUESTIONS_OF_KP, QUESTION_SHOWN = 3, 120
"""Questions of a KP on the map, and their characters, at most."""
SEED_SHOWN = 2_000
"""Characters of each text of a sample's seed, at most."""
MAP_CHARACTERS = 400_000
"""Characters of all questions of the map beyond which no KP gets a second one."""
MAPPED_QA = 200_000
"""QA whose questions the map looks at, the first ones."""
RESULTS = {"curate": "curated.parquet", "enhance": "enhanced.parquet", "synthesize": "qa.parquet"}
"""Files with QA, the last stage first."""
KEPT_BY = ("language", "question_type", "discipline", "disciplines", "difficulty")
"""Columns of QA; those of files are read as seeds, which have a list of disciplines."""
LENGTHS = ("question", "answer", "explanation")
SEED_COLUMNS = ["id", "question", "options", "answer", "source", "license"]
PATH_REASONS = {
    "too_short": "the walk ended before it had enough knowledge points",
    "repeated": "another path has the same set of knowledge points",
    "few_seeds": "the path links too few distinct seeds",
    "off_cell": "too few of its seeds are of the discipline of its cell",
    "no_start": "no knowledge point of the cell can start a walk",
    "revoked": "a takedown of seeds removed it",
    "prompt_too_long": "the prompt with its seeds is longer than the limit",
}
SEED_REASONS = {
    "invalid_json": "the line is not JSON",
    "not_a_record": "not a record with the columns of its file",
    "invalid_utf8": "bytes that are not UTF-8",
    "no_question": "no question",
    "wrong_type": "a list, object or number where text is needed",
    "too_long": "longer than the limit",
    "duplicate_id": "an earlier record has this id",
    "duplicate_question": "an earlier record has this question",
    "private_data": "an e-mail address, a telephone number or a key",
    "contaminated": "it holds a benchmark item",
}


def report(ws: Workspace) -> RunStats:
    """Files of a run -> its figures, and report.html.

    A page that cannot be written is a warning: the run has its result, or an error that must be seen.
    """
    stats = gather(ws)
    try:
        write_page(ws, stats)
    except OSError as error:
        log.warning("%s was not written: %s; 'linksyn-gpu report' writes it later", ws.path("report.html"), error)
    return stats


def write_page(ws: Workspace, stats: RunStats) -> None:
    """Write report.html."""
    from linksyn_gpu.report.page import render_page

    view = _view(ws, stats)
    questions = {} if view is None else _questions_of_kps(ws, stats, view)
    page = render_page(stats, view, questions)
    with ws.replacing("report.html") as part:
        part.write_text(page, encoding="utf-8")


def gather(ws: Workspace) -> RunStats:
    """Read the figures of a run at any moment, also while another process works in the folder."""
    stages = {name: ws.counts(name) if ws.finished(name) else None for name in STAGES}
    for name in ("extract", "synthesize", "enhance", "curate"):
        stages[name] = ws.counts_so_far(name)  # also before they are finished
    result_of = next((name for name, file in RESULTS.items() if _is_there(ws, name, file)), None)
    journals = read_outcomes(ws)
    stats = RunStats(
        stages,
        states=[_state(ws, name) for name in STAGES],
        judged=_judged(ws),
        journals=journals,
        result_of=result_of,
        drops=[*_drops(ws, stages)],
        extraction=_extraction(ws) if stages["build"] is not None else None,
        clusters=_clusters(ws, result_of) if ws.finished("curate") else None,
        certificates=_certificates(ws),
    )
    if result_of is not None:
        stats = replace(stats, **_kept(ws, RESULTS[result_of], stages["ingest"] is not None))
    if stages["build"] is not None and ws.intact("plan.json") and ws.intact("paths.parquet"):
        coverage, cells, campaign = campaign_figures(ws)
        _add_judged_levels(ws, cells)
        forecast = read_forecast(ws, store.count_rows(ws, "paths.parquet"))
        stats = replace(stats, coverage=coverage, cells=cells, campaign=campaign, forecast=forecast)
    return replace(stats, overview=_overview(ws, journals, stats.forecast, result_of))


def _is_there(ws: Workspace, stage: str, name: str) -> bool:
    """Whether a file of QA belongs to the campaign as it is now."""
    return (ws.finished(stage) or stage == "synthesize") and ws.path(name).is_file()


def _state(ws: Workspace, stage: str) -> StageState:
    facts = ws.facts(stage)
    state = FINISHED if ws.finished(stage) else UNFINISHED if facts else NOT_BEGUN
    return StageState(stage, state, facts.get("begun"), facts.get("finished") if state == FINISHED else None)


# ---------------------------------------------------------------------- the map of the graph


def _view(ws: Workspace, stats: RunStats) -> GraphView | None:
    """The map of the KP graph; None before stage build, for a graph without an edge, and without igraph."""
    from linksyn_gpu.report.graph_view import igraph_is_installed, view_of

    if stats.stages["build"] is None or not igraph_is_installed():
        return None
    graph, statistics = store.read_graph(ws)
    visits = np.zeros(graph.n_kps, np.int64) if stats.coverage is None else stats.coverage.visits
    held = statistics.discipline_counts
    rows = np.repeat(np.arange(graph.n_kps), np.diff(held.indptr))
    order = np.lexsort((held.indices, -held.data, rows))
    kps, first = np.unique(rows[order], return_index=True)
    most = dict(zip(kps.tolist(), held.indices[order][first].tolist(), strict=True))
    disciplines = [statistics.disciplines[most[kp]] if kp in most else "" for kp in range(graph.n_kps)]
    wanted = {name for row in stats.samples for name in row.get("path") or ()}
    assert graph.names is not None
    place = {name: kp for kp, name in enumerate(graph.names) if name in wanted}
    paths = [[place[name] for name in row.get("path") or () if name in place] for row in stats.samples]
    return view_of(graph, visits, disciplines, paths)


def _questions_of_kps(ws: Workspace, stats: RunStats, view: GraphView) -> dict[str, list[str]]:
    """Questions of QA whose path has a KP, by its name: one for each KP of the map, and more while there is space."""
    found: dict[str, list[str]] = {name: [] for name in view.names}
    if stats.result_of is None or "path" not in store.read_schema(ws, RESULTS[stats.result_of]).names:
        return {}
    space = MAP_CHARACTERS
    for most in (1, QUESTIONS_OF_KP):
        for question, path in itertools.islice(_question_paths(ws, RESULTS[stats.result_of]), MAPPED_QA):
            places = [found[name] for name in path if name in found and len(found[name]) < most]
            if places and (most == 1 or space > 0):
                text = shortened(question, QUESTION_SHOWN)
                space -= len(text)
                for place in places:
                    if text not in place:
                        place.append(text)
    return found


def _question_paths(ws: Workspace, name: str) -> Iterator[tuple[str, list[str]]]:
    for batch in store.read_batches(ws, name, ["question", "path"]):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def shortened(text: str | None, limit: int) -> str:
    """The beginning of a text, with an ellipsis if there is more."""
    text = text or ""
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}\u2026"


# ---------------------------------------------------------------------- the campaign


def _overview(
    ws: Workspace, journals: Mapping[str, Outcomes], forecast: Mapping[str, Any] | None, result_of: str | None
) -> Overview:
    recorded = [ws.facts(name) for name in STAGES]
    moments = [facts[name] for facts in recorded for name in ("begun", "finished") if name in facts]
    environment: dict[str, str] = next((facts["environment"] for facts in recorded[::-1] if "environment" in facts), {})
    synthesis = (ws.settings("synthesize") or {}).get("synthesis", {})
    read = sum(found.read_tokens for found in journals.values())
    written = sum(found.written_tokens for found in journals.values())
    spent = sum(found.spent_tokens for found in journals.values())
    paid: Mapping[str, Any] = (ws.settings("synthesize") or {}).get("plan") or forecast or {}
    prices = [paid.get(name) for name in ("price_in", "price_out")]
    cost = None if None in prices or not journals else cost_of(read, written, *prices)  # type: ignore[arg-type]
    models = Counter[str]()
    if result_of is not None and "model" in store.read_schema(ws, RESULTS[result_of]).names:
        for batch in store.read_batches(ws, RESULTS[result_of], ["model"]):
            models.update({name or "unknown": n for name, n in _value_counts(batch.column(0))})
    return Overview(
        name=ws.folder.resolve().name,
        digest=campaign_digest(ws),
        version=ws.manifest["linksyn_gpu"],
        environment=environment,
        created=ws.manifest["created"],
        updated=max(moments, default=None),
        engine=synthesis.get("engine"),
        models=dict(models.most_common()),
        settings=_settings(ws),
        read_tokens=read,
        written_tokens=written,
        spent_tokens=spent if spent > read + written else None,
        cost=cost,
        files=[*known_input(ws)],
        of_files=ws.of_files,
        backends=sorted({facts["backend"]["name"] for facts in recorded if "backend" in facts}),
        checks=_checks(ws) if result_of is not None else [],
    )


def _checks(ws: Workspace) -> list[str]:
    """Rule checks of the last stage that made them, but for those that were left out."""
    from linksyn_gpu.quality.checks import CHECKS

    made = [found["checks"] for stage in ("curate", "synthesize") if "checks" in (found := ws.settings(stage) or {})]
    off = made[0].get("off", ()) if made else ()
    return [reason for reason, _, _ in CHECKS if made and reason not in off]


def _settings(ws: Workspace) -> list[tuple[str, str]]:
    """Recorded settings that differ from the defaults, without credentials in addresses and folders of this machine."""
    recorded: dict[str, Any] = {}
    for stage in STAGES:
        recorded = merged(recorded, ws.settings(stage) or {})
    defaults = to_mapping(RunConfig())
    found = []
    for name, value in recorded.items():
        if name not in defaults:
            continue
        entries = (
            {f"{name}.{key}": (own, defaults[name].get(key)) for key, own in value.items()}
            if isinstance(defaults[name], Mapping) and isinstance(value, Mapping)
            else {name: (value, defaults[name])}
        )
        for label, (own, default) in entries.items():
            if own != default:
                found.append((label, shown_setting(own)))
    return found


def shown_setting(value: Any) -> str:
    """A setting as text."""
    if isinstance(value, str) and "://" in value:
        address = urlsplit(value)
        return address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()
    if isinstance(value, list):
        return ", ".join(map(shown_setting, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={shown_setting(inner)}" for name, inner in value.items())
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else str(value)


# ---------------------------------------------------------------------- QA


def _value_counts(column: pa.Array) -> Iterator[tuple[Any, int]]:
    for found in column.value_counts().to_pylist():
        yield found["values"], found["counts"]


def _kept(ws: Workspace, name: str, with_seeds: bool) -> dict[str, Any]:
    """Fields of `RunStats` about the QA in a file."""
    import pyarrow.compute as pc

    there = set(store.read_schema(ws, name).names)
    kept_by = {column: Counter[str]() for column in KEPT_BY if column in there}
    lengths: dict[str, list[Int64]] = {column: [] for column in LENGTHS if column in there}
    tokens: list[Int64] = []
    columns = [*kept_by, *lengths, *(["completion_tokens"] if "completion_tokens" in there else [])]
    for batch in store.read_batches(ws, name, columns):
        for column, counts in kept_by.items():
            for value, n in _value_counts(_first_values(batch.column(column))):
                counts["unknown" if value is None else str(value)] += n
        for column, parts in lengths.items():
            parts.append(pc.utf8_length(batch.column(column)).fill_null(0).to_numpy(zero_copy_only=False))
        if "completion_tokens" in there:
            tokens.append(batch.column("completion_tokens").fill_null(0).to_numpy(zero_copy_only=False))
    found = {column: histogram(np.concatenate(parts)) for column, parts in lengths.items() if parts}
    if tokens:
        found["written tokens"] = histogram(np.concatenate(tokens))
    samples = _samples(ws, name, there)
    if with_seeds:
        _add_seeds(ws, samples)
    return {
        "kept_by": {column.replace("disciplines", "discipline"): counts for column, counts in kept_by.items()},
        "lengths": found,
        "samples": samples,
    }


def _first_values(column: pa.Array) -> pa.Array:
    """The first value of each list; other columns are returned as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_list(column.type):
        return column
    filled = pc.if_else(pc.equal(pc.list_value_length(column), 0), pa.scalar(None, column.type), column)
    return pc.list_element(pc.fill_null(filled, pa.scalar([None], column.type)), 0)


def histogram(values: Int64, bins: int = HISTOGRAM_BINS) -> Histogram:
    """Counts of values >= 0 in bins of equal width; the last one also has the largest hundredth."""
    if not values.size or not values.any():
        return Histogram([0.0, 1.0], [int(values.size)])
    width = max(1, -(-int(np.quantile(values, 0.99) + 1) // bins))
    counts = np.bincount(np.minimum(values // width, bins - 1).astype(np.int64))
    return Histogram([float(width * i) for i in range(counts.size + 1)], counts.tolist())


def _samples(ws: Workspace, name: str, there: set[str], n: int = SAMPLES) -> list[dict[str, Any]]:
    """Rows of different cells and different paths, spread evenly over the file."""
    if {"cell", "walk_id"} <= there:
        table = store.read_table(ws, name, ["cell", "walk_id"])
        cell, walk = (table.column(column).to_numpy() for column in ("cell", "walk_id"))
    else:  # QA of files
        walk = np.arange(store.count_rows(ws, name))
        cell = np.zeros_like(walk)
    first = np.sort(np.unique(walk, return_index=True)[1])  # one QA of each path
    rows_of = [first[cell[first] == number] for number in np.unique(cell)]
    if len(rows_of) > n:
        rows_of = [rows_of[i] for i in np.linspace(0, len(rows_of) - 1, n).astype(int)]
    shares = [0] * len(rows_of)
    while sum(shares) < n and any(share < rows.size for share, rows in zip(shares, rows_of, strict=True)):
        for number, rows in enumerate(rows_of):
            shares[number] += shares[number] < rows.size and sum(shares) < n
    chosen = [
        rows[np.linspace(0, rows.size - 1, share + 2)[1:-1].round().astype(int)] if share < rows.size else rows
        for share, rows in zip(shares, rows_of, strict=True)
        if share
    ]
    return _take_rows(ws, name, np.unique(np.concatenate([*chosen, np.zeros(0, np.int64)])).astype(np.int64))


def _take_rows(ws: Workspace, name: str, rows: Int64) -> list[dict[str, Any]]:
    """Some rows of a Parquet file; `rows` ascend."""
    found: list[dict[str, Any]] = []
    first = 0
    for batch in store.read_batches(ws, name):
        own = rows[(rows >= first) & (rows < first + batch.num_rows)] - first
        if own.size:
            found += batch.take(own).to_pylist()
        first += batch.num_rows
    return found


def _add_seeds(ws: Workspace, samples: Sequence[dict[str, Any]]) -> None:
    """Add to each sample the seeds of its bundle, with the beginnings of their texts."""
    wanted = {name for row in samples for name in row.get("seed_ids") or ()}
    seeds = _rows_with_ids(store.read_seed_table(ws, SEED_COLUMNS).table, wanted) if wanted else {}
    for seed in seeds.values():
        seed |= {name: shortened(seed[name], SEED_SHOWN) for name in ("question", "answer")}
        seed["options"] = [shortened(option, SEED_SHOWN) for option in seed["options"] or ()]
    for row in samples:
        row["seeds"] = [seeds.get(name, {"id": name}) for name in row.get("seed_ids") or ()]


def _rows_with_ids(table: pa.Table, ids: set[str]) -> dict[str, dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pc.is_in(table.column("id"), value_set=pa.array(sorted(ids), pa.string()))
    return {row["id"]: row for row in table.filter(wanted).to_pylist()}


def _judged(ws: Workspace) -> dict[tuple[str, str], int]:
    """QA by the level that their cell asked for and the level that the judge gave."""
    counts = Counter[tuple[str, str]]()
    for batch in _judged_batches(ws, "difficulty_asked"):
        for asked, judged in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if judged is not None:
                counts["any" if asked is None else str(asked), str(judged)] += 1
    return dict(counts)


def _add_judged_levels(ws: Workspace, cells: Sequence[dict[str, Any]]) -> None:
    """Add 'judged_level' to the rows of cells."""
    levels: Counter[int] = Counter()
    judged: Counter[int] = Counter()
    for batch in _judged_batches(ws, "cell"):
        for cell, level in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if level is not None:
                judged[cell] += 1
                levels[cell] += level
    for number, row in enumerate(cells):
        row["judged_level"] = levels[number] / judged[number] if judged[number] else None


def _judged_batches(ws: Workspace, column: str) -> Iterator[pa.RecordBatch]:
    names = [column, "level_judged"]
    if ws.intact("enhanced.parquet") and {*names} <= {*store.read_schema(ws, "enhanced.parquet").names}:
        yield from store.read_batches(ws, "enhanced.parquet", names)


# ---------------------------------------------------------------------- drops


def _drops(ws: Workspace, stages: Mapping[str, Mapping[str, Any] | None]) -> Iterator[Dropped]:
    """What each stage dropped, by reason, with an example of each reason."""
    from linksyn_gpu.llm.protocol import ANSWER_REASONS, REQUEST_REASONS
    from linksyn_gpu.quality import checks
    from linksyn_gpu.synthesis import answers
    from linksyn_gpu.synthesis import enhance as raising

    lost = {
        "ingest": ("rejected_by_reason", SEED_REASONS, _rejected(ws)),
        "walk": ("dropped_by_reason", PATH_REASONS, _dropped_paths(ws)),
        "synthesize": (
            ("paths_dropped_by_reason", "failed_by_reason", "dropped_by_reason"),
            {**PATH_REASONS, **REQUEST_REASONS, **ANSWER_REASONS, **answers.REASONS, **checks.REASONS},
            _dropped_rows(ws, "dropped.parquet"),
        ),
        "enhance": (
            "dropped_by_reason",
            {**checks.REASONS, **raising.REASONS},
            _dropped_rows(ws, "enhance-dropped.parquet"),
        ),
        "curate": (
            "dropped_by_reason",
            {**checks.REASONS, **CURATE_REASONS},
            _dropped_rows(ws, "curate-dropped.parquet"),
        ),
    }
    for stage, (names, meanings, examples) in lost.items():
        counts = stages[stage] or {}
        walked = set((stages["walk"] or {}).get("dropped_by_reason", ())) if stage == "synthesize" else set()
        for name in (names,) if isinstance(names, str) else names:
            for reason, n in Counter(counts.get(name, {})).most_common():
                if not (name == "paths_dropped_by_reason" and reason in walked):  # counted by stage walk
                    yield Dropped(stage, reason, n, meanings.get(reason, ""), examples.get(reason, {}))


def _rejected(ws: Workspace) -> dict[str, dict[str, str]]:
    """The first reject of each reason."""
    found: dict[str, dict[str, str]] = {}
    if ws.intact("rejects.jsonl"):
        with ws.path("rejects.jsonl").open(encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                if row["reason"] not in found:
                    place = f"{Path(row['file']).name}, line {row['line']}"
                    found[row["reason"]] = {"record": place, **_texts(row, "detail")}
    if "contaminated" in found and ws.intact("contaminated.jsonl"):
        with ws.path("contaminated.jsonl").open(encoding="utf-8") as lines:
            if row := next(map(json.loads, lines), None):
                found["contaminated"] |= _texts(row, "question", "item", "matched")
    return found


def _texts(row: Mapping[str, Any], *names: str) -> dict[str, str]:
    """Parts of a row as texts; empty ones are left out."""
    return {name: str(row[name]) for name in names if row.get(name)}


def _dropped_paths(ws: Workspace) -> dict[str, dict[str, str]]:
    if not (ws.intact("paths.parquet") and ws.intact("kps.parquet")):
        return {}
    rows = _first_of_each(ws, "paths.parquet", "drop_reason", ["nodes"])
    names = store.read_kp_names(ws) if rows else []
    return {reason: {"path": " - ".join(names[kp] for kp in row["nodes"])} for reason, row in rows.items()}


def _dropped_rows(ws: Workspace, name: str) -> dict[str, dict[str, str]]:
    """The first dropped item of each reason: its question, options and answer, or the model's text, and the detail."""
    if not ws.intact(name):
        return {}
    there = set(store.read_schema(ws, name).names)
    columns = [c for c in ("text", "question", "options", "answer", "detail", "repeats") if c in there]
    found = {}
    for reason, row in _first_of_each(ws, name, "reason", columns).items():
        text = row.pop("text", None)
        try:
            item = json.loads(text or "")
        except ValueError:
            item = None
        row |= item if isinstance(item, dict) and "question" in item else {"text": text}
        row["options"] = " / ".join(map(str, row.get("options") or ()))
        found[reason] = _texts(row, "question", "options", "answer", "text", "detail", "repeats")
    return found


def _first_of_each(ws: Workspace, name: str, by: str, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The first row of each value of a column, without null."""
    found: dict[str, dict[str, Any]] = {}
    for batch in store.read_batches(ws, name, [by, *columns]):
        keys = batch.column(by).to_pylist()
        for row, key in enumerate(keys):
            if key is not None and key not in found:
                found[key] = batch.slice(row, 1).drop_columns([by]).to_pylist()[0]
    return found


# ---------------------------------------------------------------------- knowledge points, near-duplicates, benchmarks


def _extraction(ws: Workspace) -> Extraction:
    table = store.read_table(ws, "kps.parquet", ["name", "aliases", "seed_count"])
    count = table.column("seed_count").to_numpy()
    most = np.argsort(-count, kind="stable")[:FREQUENT]
    frequent = [(row["name"], row["seed_count"], row["aliases"]) for row in table.take(most).to_pylist()]
    merges, doubtful = (_lines(ws, name) for name in ("merges.jsonl", "doubtful.jsonl"))
    first = sorted(merges, key=lambda row: -row["seeds"])[:MERGES]
    return Extraction(frequent, first, doubtful[:DOUBTFUL], len(merges), len(doubtful))


def _lines(ws: Workspace, name: str) -> list[dict[str, Any]]:
    if not (ws.finished("extract") and ws.intact(name)):
        return []
    with ws.path(name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _clusters(ws: Workspace, result_of: str | None) -> Clusters:
    table = store.read_table(ws, "clusters.parquet")
    names = table.column("cluster").to_pylist()
    sizes = Counter(names)
    largest = dict(sizes.most_common(CLUSTERS_SHOWN))
    members: dict[str, list[str]] = {name: [] for name in largest}
    for row in sorted(table.to_pylist(), key=lambda row: not row["kept"]):
        if row["cluster"] in members and len(members[row["cluster"]]) < MEMBERS_SHOWN:
            members[row["cluster"]].append(row["id"])
    texts = _questions(ws, set(itertools.chain.from_iterable(members.values())))
    examples = [[texts[name] for name in ids if name in texts] for ids in members.values()]
    return Clusters(dict(Counter(sizes.values())), [found for found in examples if len(found) > 1])


def _questions(ws: Workspace, ids: set[str]) -> dict[str, str]:
    """Questions of QA and seeds by id."""
    found: dict[str, str] = {}
    if not ids:
        return found
    for name in ("curated.parquet", "curate-dropped.parquet", "reserve.parquet"):
        rows = _rows_with_ids(store.read_table(ws, name, ["id", "question"]), ids)
        found |= {key: row["question"] for key, row in rows.items()}
    if not ws.of_files:
        rows = _rows_with_ids(store.read_seed_table(ws, ["id", "question"]).table, ids - found.keys())
        found |= {key: row["question"] for key, row in rows.items()}
    return found


def _certificates(ws: Workspace) -> dict[str, dict[str, Any]]:
    files = {"seeds": ("ingest", "certificate.json"), "QA": ("curate", CERTIFICATE)}
    return {
        what: json.loads(ws.path(name).read_text(encoding="utf-8"))
        for what, (stage, name) in files.items()
        if ws.finished(stage) and ws.intact(name)
    }
