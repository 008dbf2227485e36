"""The counts of each stage as text: in = kept + dropped, each drop with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from linksyn_gpu.pipeline.folder import OPTIONAL

if TYPE_CHECKING:
    from linksyn_gpu.report.stats import RunStats


CURATED = ("asked", "kept", "missing", "reserve")


def reasons(counts: Mapping[str, int]) -> str:
    """'a 3, b 1' of a mapping, the largest first."""
    return ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _with_reasons(n: int, counts: Mapping[str, int]) -> str:
    return f"{n:,} ({reasons(counts)})" if counts else f"{n:,}"


def ingest_line(counts: Mapping[str, Any]) -> str:
    """Records read, kept and rejected."""
    rejected = _with_reasons(counts["rejected"], counts["rejected_by_reason"])
    line = f"seeds      {counts['records']:,} records = {counts['seeds']:,} seeds + {rejected} rejected"
    return line + (f"\n           marked: {reasons(counts['notes'])}" if counts["notes"] else "")


def extract_line(counts: Mapping[str, Any]) -> str:
    """Seeds labelled by the extractor, and names merged."""
    failed = _with_reasons(counts["failed"], counts["failed_by_reason"])
    lines = [f"extractor  {counts['extractor']}: {counts['chosen_because']}"] if counts.get("chosen_because") else []
    lines.append(f"extracted  {counts['asked_about']:,} seeds = {counts['labelled']:,} labelled + {failed} failed")
    if counts.get("pending"):
        lines.append(f"           {counts['pending']:,} requests are pending ({reasons(counts['pending_reasons'])})")
    if "requests_answered" in counts:
        lines.append(
            f"tokens     {counts['prompt_tokens']:,} read, {counts['completion_tokens']:,} written, "
            f"in {counts['requests_answered']:,} answers"
        )
    if counts["without_knowledge_points"]:
        lines.append(f"           {counts['without_knowledge_points']:,} seeds have no knowledge point")
    if (merging := counts["merging"]) is not None:
        lines.append(
            f"merged     {merging['names']:,} names = {merging['kps']:,} knowledge points; "
            f"by rule: {reasons(merging['merged_by_rule']) or 'none'}"
        )
        lines.append(
            f"           {merging['doubtful']:,} pairs doubtful, {merging['homographs_split']:,} homographs split"
        )
    if unknown := counts["unknown_disciplines"]:
        shown = reasons(dict(list(unknown.items())[:8]))
        lines.append(f"           {len(unknown):,} discipline labels unknown: {shown}")
    return "\n".join(lines)


def build_line(counts: Mapping[str, Any]) -> str:
    """Size and shape of the graph."""
    line = (
        f"graph      {counts['kps']:,} KPs, {counts['edges']:,} edges, {counts['components']:,} components "
        f"(largest {counts['kps_in_largest_component']:,} KPs, {counts['isolated_kps']:,} isolated)"
    )
    return line + (f"\n           left out: {reasons(counts['drops'])}" if counts["drops"] else "")


def walk_line(counts: Mapping[str, Any]) -> str:
    """Paths requested, kept and dropped."""
    dropped = _with_reasons(counts["dropped"], counts["dropped_by_reason"])
    return (
        f"paths      {counts['paths']:,} requested = {counts['kept']:,} kept + {dropped} dropped; "
        f"{counts['kps_visited']:,} KPs visited, {counts['redraws']:,} redraws"
    )


def cell_table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Paths requested and delivered in each cell, the shortfall with its causes, and the seeds that the bank has."""
    rows: list[tuple[str, ...]] = [("cell", "requested", "delivered", "shortfall", "seeds", "of the level")]
    notes = []
    for cell in cells:
        asked, delivered = cell["asked"], cell["delivered"]
        label = _cell_label(cell)
        of_level = cell["seeds_of_level"]
        counts = (asked, delivered, asked - delivered, cell["seeds"], of_level)
        rows.append((label, *("" if n is None else f"{n:,}" for n in counts)))
        if of_level == 0:
            notes.append(f"           {label}: no seed has this level; it rests on the language model alone")
        if cell["dropped_by_reason"]:
            notes.append(f"           {label}: missing because of {reasons(cell['dropped_by_reason'])}")
    return "\n".join([_table(rows), *notes])


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text: the first column is aligned to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *numbers in rows:
        cells = (f"  {text:>{width}}" for text, width in zip(numbers, widths[1:], strict=True))
        lines.append("           " + first.ljust(widths[0]) + "".join(cells))
    return "\n".join(lines)


def synthesis_line(counts: Mapping[str, Any]) -> str:
    """New QA: generated = kept + dropped, and the pending requests."""
    dropped = _with_reasons(counts["dropped"], _all_reasons(counts))
    lines = []
    requests = counts["requests_answered"] + counts["pending"]
    if unasked := _unasked(counts):
        paths = requests + sum(unasked.values())
        lines.append(
            f"requests   {paths:,} paths = {requests:,} requests + {_with_reasons(paths - requests, unasked)} dropped"
        )
    lines += [f"new QA     {counts['generated']:,} generated = {counts['kept']:,} kept + {dropped} dropped"]
    if counts["pending"]:
        why = reasons({k: n for k, n in counts.get("pending_reasons", {}).items() if k != "no_answer"})
        lines.append(f"           {counts['pending']:,} requests have no answer yet" + (f" ({why})" if why else ""))
    if (server := counts.get("server")) is not None:
        lines.append(
            f"server     had work {100 * server['busy_share']:.1f}% of {server['seconds']:,.1f} s, "
            f"{server['in_flight']:,.1f} requests in flight on average, "
            f"{server['answers_per_second']:,.2f} answers/s"
        )
        if server["throttled"]:
            lines.append(
                f"           asked for a pause {server['throttled']:,} times, "
                f"{100 * server['throttled_share']:.1f}% of the time (HTTP 429, 503)"
            )
    if "collected" in counts:
        lines.append("           " + _collected(counts["collected"]))
    lines.append(
        f"tokens     {counts['prompt_tokens']:,} read ({counts['prompt_tokens_estimated']:,} estimated), "
        f"{counts['completion_tokens']:,} written, in {counts['requests_answered']:,} answers"
    )
    if counts["pending"]:
        lines.append(
            f"           about {counts['pending_prompt_tokens']:,} to read and "
            f"{counts['pending_completion_tokens']:,} to write are pending"
        )
    return "\n".join(lines)


def enhancement_line(counts: Mapping[str, Any]) -> str:
    """QA considered, kept and dropped, and the levels before and after."""
    dropped = _with_reasons(counts["dropped"], counts["dropped_by_reason"])
    lines = [
        f"enhanced   {counts['candidates']:,} QA = {counts['kept_as_they_were']:,} kept unchanged + "
        f"{counts['kept_rewritten']:,} kept rewritten + {dropped} dropped"
        + (f" + {counts['pending']:,} pending" if counts["pending"] else ""),
        f"           {counts['passed_through']:,} of other disciplines unchanged",
    ]
    if counts["disciplines_without_qa"]:
        lines.append(f"           no QA in: {', '.join(counts['disciplines_without_qa'])}")
    if counts["pending"]:
        lines.append(f"           pending: {reasons(counts['pending_reasons'])}")
    if short := counts["rewrites_with_short_extension"]:
        lines.append(
            f"           {short:,} of {counts['rewrites']:,} rewrites have a path that could not be extended fully"
        )
    lines.append(level_table(counts))
    kinds = {name: counts[f"{name}_requests"] for name in ("judge", "solve", "compare", "rewrite")}
    lines.append(
        f"tokens     {counts['prompt_tokens']:,} read, {counts['completion_tokens']:,} written, in "
        f"{sum(kinds.values()):,} answers ({reasons(kinds)})"
    )
    return "\n".join(lines)


def where_enhanced(folder: str) -> str:
    """The files of stage enhance to look at."""
    return f"look at    {folder}/enhanced.jsonl (final QA), {folder}/enhance-dropped.parquet (drops, with reasons)"


def curation_line(counts: Mapping[str, Any]) -> str:
    """QA of the data set; with a number asked for, what is missing by cell."""
    dropped = _with_reasons(counts["dropped"], counts["dropped_by_reason"])
    line = f"data set   {counts['qa']:,} QA = {counts['kept']:,} kept + {dropped} dropped"
    if "asked" not in counts:
        return line
    header = ("cell", "asked", "kept", "missing", "in reserve")
    rows = [(_cell_label(cell), *(f"{cell[name]:,}" for name in CURATED)) for cell in counts["cells"]]
    return (
        f"{line} + {counts['reserve']:,} in reserve\n"
        f"           {counts['asked']:,} asked for = {counts['kept']:,} kept + {counts['missing']:,} missing\n"
        f"{_table([header, *rows])}"
    )


def where_curated(folder: str) -> str:
    """The files of stage curate to look at."""
    return f"look at    {folder}/curated.jsonl (the data set), {folder}/curate-dropped.parquet (near-duplicates)"


def _cell_label(cell: Mapping[str, Any]) -> str:
    level = f"level {cell['difficulty']}" if cell["difficulty"] else "any level"
    return f"{cell['discipline'] or 'any discipline'}, {level}"


def level_table(counts: Mapping[str, Any]) -> str:
    """QA by the level that the judge assigned, before and after; the first cell names the target level."""
    asked, before, after = str(counts["asked_level"]), counts["levels_before"], counts["levels_after"]
    rows = [
        (f"level (target: {asked})", *"12345", "unknown", "all"),
        ("before", *(f"{before.get(level, 0):,}" for level in (*"12345", "unknown")), f"{sum(before.values()):,}"),
        ("after", *(f"{after.get(level, 0):,}" for level in (*"12345", "unknown")), f"{sum(after.values()):,}"),
    ]
    return _table(rows)


def _unasked(counts: Mapping[str, Any]) -> dict[str, int]:
    """Kept paths without a request, by reason; `walk_line` counts those that the walk dropped."""
    from linksyn_gpu.tables import PATH_STATUS

    return {name: n for name, n in counts["reasons"].get("path", {}).items() if name not in PATH_STATUS}


def _all_reasons(counts: Mapping[str, Any]) -> dict[str, int]:
    """Drops of requests, answers and items, by reason."""
    merged = Counter[str]()
    for stage in {*counts["reasons"]} - {"path"}:
        merged.update(counts["reasons"][stage])
    return merged


def _collected(found: Mapping[str, Any]) -> str:
    parts = {name: found[name] for name in ("completions", "duplicates", "unknown", "unreadable", "missing")}
    lines = [f"{found['lines']:,} lines collected: " + reasons(parts)]
    if found["failed"]:
        lines.append("failed: " + reasons(found["failed"]))
    return "\n           ".join([*lines, *found["examples"]])


def analysis_text(figures: Mapping[str, Any]) -> str:
    """Figures of the graph analytics."""
    top = "\n".join(f"           {share:.5f}  {name}" for name, share in figures["top"])
    return (
        f"analytics  {figures['kps']:,} KPs, {figures['components']:,} components, "
        f"{figures['communities']:,} communities, largest core {figures['largest_core']}\n"
        f"           by {figures['backend']['name']} ({figures['backend']['reason']})\n"
        f"PageRank\n{top}"
    )


def where_to_look(folder: str, counts: Mapping[str, Any], engine: str) -> str:
    """The files to look at, or what to do next."""
    if engine == "batch" and counts["pending"]:
        file = counts["requests_file"]
        return (
            f"next       send {folder}/{file} to a batch API or 'vllm run-batch', then\n"
            f"           linksyn-gpu synthesize {folder} --collect ANSWERS.jsonl\n"
            f"           (the requests name the model of --model; without --model they name 'auto')"
        )
    return (
        f"look at    {folder}/qa.jsonl (new QA), {folder}/report.html (report),\n"
        f"           {folder}/dropped.parquet and {folder}/rejects.jsonl (everything dropped, with reasons)"
    )


def report_text(stats: RunStats) -> str:
    """All figures of a run."""
    lines = []
    for name, line in (("ingest", ingest_line), ("extract", extract_line), ("build", build_line), ("walk", walk_line)):
        counts = stats.stages[name]
        if counts is None and name in OPTIONAL:
            continue
        lines.append(line(counts) if counts is not None else f"{name}: not finished")
    if stats.cells:
        lines.append(cell_table(stats.cells))
    if (coverage := stats.coverage) is not None:
        lines.append(
            f"coverage   {coverage.visited:,} of {coverage.reachable:,} reachable KPs, "
            f"{coverage.seeds_used:,} seeds used, Gini {coverage.gini:.3f}"
        )
        if coverage.divergence == coverage.divergence:  # not NaN: the plan has one target
            lines.append(
                f"           KL(visits || target) {coverage.divergence:.4f} nats, "
                f"noise floor {coverage.noise_floor:.4f}"
            )
    counts = stats.stages["synthesize"]
    if counts is not None:
        lines.append(synthesis_line(counts))
    elif "synthesize" not in stats.outcomes:
        lines.append("synthesize: not started")
    if (enhanced := stats.stages["enhance"]) is not None:
        lines.append(enhancement_line(enhanced))
    if (curated := stats.stages.get("curate")) is not None:
        lines.append(curation_line(curated))
    lines += [f"{stage}: not finished; {n:,} requests have an outcome by now" for stage, n in stats.outcomes.items()]
    for name, found in stats.kept_by.items():
        if found:
            lines.append(f"{name.replace('_', ' '):<14} {reasons(found)}")
    return "\n".join(lines)
