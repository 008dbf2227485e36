"""The counts of each stage as text: in = kept + dropped, each drop with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from linksyn_gpu.pipeline.folder import OPTIONAL

if TYPE_CHECKING:
    from linksyn_gpu.report.compare import Comparison
    from linksyn_gpu.report.stats import RunStats


MAX_LABELS = 6
CURATED = ("asked", "kept", "missing", "reserve")


def reasons(counts: Mapping[str, int]) -> str:
    """'a 3, b 1' of a mapping, the largest first."""
    return ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _with_reasons(n: int, counts: Mapping[str, int]) -> str:
    return f"{n:,} ({reasons(counts)})" if counts else f"{n:,}"


def ingest_line(counts: Mapping[str, Any]) -> str:
    """Records read, kept and rejected; their layouts, and what to know about the files."""
    rejected = _with_reasons(counts["rejected"], counts["rejected_by_reason"])
    lines = [f"seeds      {counts['records']:,} records = {counts['seeds']:,} seeds + {rejected} rejected"]
    if layouts := counts.get("layouts"):  # not in the manifest of an older version
        lines.append(f"           layout: {reasons(layouts)}")
    if counts["notes"]:
        lines.append(f"           marked: {reasons(counts['notes'])}")
    lines += [f"           no usable answer in {name}" for name in counts.get("files_without_answers", ())]
    lines += [f"           {remark}" for remark in counts.get("remarks", ())]
    if benchmarks := counts.get("benchmarks"):
        light = f" ({benchmarks['too_light']:,} are too short to be found)" if benchmarks["too_light"] else ""
        lines.append(
            f"benchmarks {benchmarks['items']:,} items{light}: {counts['rejected_by_reason'].get('contaminated', 0):,} "
            f"contaminated seeds rejected, listed in contaminated.jsonl; what is found: certificate.json"
        )
    return "\n".join(lines)


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
    line = (
        f"paths      {counts['paths']:,} requested = {counts['kept']:,} kept + {dropped} dropped; "
        f"{counts['kps_visited']:,} KPs visited, {counts['redraws']:,} redraws"
    )
    if (scores := counts.get("kp_scores")) is not None:
        others = f" ({', '.join(scores['examples'])}, ...)" if scores["unmatched"] else ""
        line += f"\n           scores of {scores['matched']:,} KPs; {scores['unmatched']:,} names match no KP{others}"
    for name, total in counts.get("quota_sums", {}).items():
        line += f"\n           the shares of quota.{name} sum to {total:g}: each was divided by that"
    return line


def cell_table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Paths requested and delivered in each cell, the shortfall with its causes, and the seeds that the bank has."""
    rows: list[tuple[str, ...]] = [("cell", "requested", "delivered", "shortfall", "seeds", "of the level")]
    notes: list[str] = []
    without: list[str] = []
    for cell in cells:
        asked, delivered = cell["asked"], cell["delivered"]
        label = _cell_label(cell)
        of_level = cell["seeds_of_level"]
        counts = (asked, delivered, asked - delivered, cell["seeds"], of_level)
        rows.append((label, *("" if n is None else f"{n:,}" for n in counts)))
        if of_level == 0:
            without.append(label)
        if missing := cell.get("causes"):
            last = f"; last draws: {reasons(found)}" if (found := cell["dropped_by_reason"]) else ""
            notes.append(f"           {label}: missing because of {reasons(missing)}{last}")
        if (qa := cell.get("qa")) and qa["causes"]:
            notes.append(
                f"           {label}: {qa['kept']:,} of {qa['asked']:,} QA, missing because of {reasons(qa['causes'])}"
            )
    if without:
        more = f" and {len(without) - MAX_LABELS:,} more" if len(without) > MAX_LABELS else ""
        notes.insert(
            0,
            f"           levels without a seed rest on the language model alone: "
            f"{'; '.join(without[:MAX_LABELS])}{more}",
        )
    return "\n".join([_table(rows), *notes])


def purity_table(cells: Sequence[Mapping[str, Any]]) -> str:
    """How near the paths of each cell are to what it asks for: seeds of its discipline and level, KL and its floor."""
    rows: list[tuple[str, ...]] = [
        ("cell", "own seeds", "rated", "at the level", "levels away", "KL to target", "noise floor")
    ]
    for cell in cells:
        shares = [_figure(cell[name], ".1%") for name in ("own_share", "rated_share", "level_share")]
        others = [_figure(cell[n], f) for n, f in zip(DISTANCES, (".2f", ".4f", ".4f"), strict=True)]
        rows.append((_cell_label(cell), *shares, *others))
    used = [column for column in zip(*rows, strict=True) if any(column[1:])]
    return _table(list(zip(*used, strict=True)))


DISTANCES = ("level_distance", "divergence", "noise_floor")


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def campaign_lines(campaign: Mapping[str, Any]) -> str:
    """Coverage as paths are added, and the KPs that no path visits."""
    unvisited = campaign["unvisited"]
    lines = [
        f"KPs        {campaign['kps']:,} = {campaign['visited']:,} visited + "
        f"{_with_reasons(sum(unvisited.values()), unvisited)} not visited; "
        f"{campaign['distinct_kp_sets']:,} distinct KP sets"
    ]
    curve = campaign["curve"]
    if len(curve) > 1:
        at = sorted({round(share * (len(curve) - 1)) for share in (0.1, 0.25, 0.5, 0.75, 1.0)})
        columns = list(zip(*(curve[i] for i in at), strict=True))
        names = ("paths", "KPs covered", "seeds used")
        rows = [(name, *(f"{n:,}" for n in column)) for name, column in zip(names, columns, strict=True)]
        lines.append(_table(rows))
    return "\n".join(lines)


def forecast_lines(found: Mapping[str, Any]) -> str:
    """Tokens, cost and time of a campaign, each with how it is known."""
    error = found["prompt_tokens_error"]
    exact = "" if error is None or error == 0.0 else f" (standard error {error:,.0f})"
    lines = [
        f"forecast   {found['requests']:,} requests for {found['qa']:,} QA",
        f"           {found['prompt_tokens']:,} tokens to read{exact}, {found['prompt_tokens_by']}",
        f"           {found['completion_tokens']:,} tokens to write, {found['completion_tokens_by']}",
    ]
    if found["cost"] is not None:
        lines.append(f"           cost {found['cost']:,.2f} at the given prices, if each request is asked once")
    if found["hours"] is not None:
        rate = found["measured"]["tokens_per_second"]
        lines.append(
            f"           {found['hours']:,.2f} hours at {rate:,.0f} written tokens per second, "
            f"{found['tokens_per_second_by']}"
        )
    if (scaled := found["scaled"]) is not None:
        lines.append(_scaled_lines(scaled, found["measured"], found["not_measured"]))
    return "\n".join(lines)


def _scaled_lines(scaled: Mapping[str, Any], measured: Mapping[str, float], not_measured: Sequence[str]) -> str:
    days = "unknown without --tokens-per-second" if scaled["days"] is None else f"{scaled['days']:,.1f}"
    lines = [
        f"for {scaled['tokens']:,.0f} written tokens of kept QA",
        f"  requests = tokens / (tokens_per_answer * kept_share) = {scaled['requests']:,}",
        f"  paths    = requests / requests_per_path = {scaled['paths']:,}",
        f"  storage  = paths * bytes_per_path + requests * (bytes_per_request + bytes_per_answer) = "
        f"{scaled['bytes'] / 1e9:,.1f} GB",
        f"  days     = requests * tokens_per_answer / tokens_per_second / 86,400 = {days} (of one such server)",
        f"  to read  = requests * prompt_tokens_per_request = {scaled['read_tokens']:,} tokens",
        "  with " + ", ".join(f"{name} {value:,.6g}" for name, value in measured.items()),
    ]
    lines.append(
        "  if a larger campaign makes as many requests per path: 'plan' with that --paths says whether it does"
    )
    if not_measured:
        lines.append(
            f"  not measured yet: {', '.join(not_measured)}; 'run' with --max-requests 50 on this folder measures them"
        )
    return "\n".join("           " + line for line in lines)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text: the first column is aligned to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *numbers in rows:
        cells = (f"  {text:>{width}}" for text, width in zip(numbers, widths[1:], strict=True))
        lines.append(("           " + first.ljust(widths[0]) + "".join(cells)).rstrip())
    return "\n".join(lines)


def synthesis_line(counts: Mapping[str, Any]) -> str:
    """Requests = answered + without a usable answer + pending; new QA: written = kept + dropped."""
    lines = []
    if unasked := _unasked(counts):
        paths = counts["requests"] + sum(unasked.values())
        lines.append(
            f"requests   {paths:,} paths = {counts['requests']:,} requests + "
            f"{_with_reasons(paths - counts['requests'], unasked)} dropped"
        )
    waiting = {name: n for name, n in counts["pending_reasons"].items() if name != "no_answer"}
    lines.append(
        f"{'' if lines else 'requests':<10} {counts['requests']:,} requests = {counts['answered']:,} answered + "
        f"{_with_reasons(counts['failed'], counts['failed_by_reason'])} without a usable answer + "
        f"{_with_reasons(counts['pending'], waiting)} pending"
    )
    lines.append(
        f"new QA     {counts['written']:,} written = {counts['kept']:,} kept + "
        f"{_with_reasons(counts['dropped'], counts['dropped_by_reason'])} dropped"
    )
    if missing := counts["items_missing"]:
        lines.append(f"           {missing:,} QA that were asked for are missing from the answers")
    if surplus := counts["answers_with_surplus"]:
        lines.append(f"           {surplus:,} answers have more QA than were asked for; these are not used")
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
        endpoints = server.get("endpoints", {})
        for url, figures in endpoints.items() if len(endpoints) > 1 else ():
            lines.append("           " + _endpoint(url, figures))
    if "collected" in counts:
        lines.append("           " + _collected(counts["collected"]))
    lines.append(
        f"tokens     {counts['prompt_tokens']:,} read ({counts['prompt_tokens_estimated']:,} estimated), "
        f"{counts['completion_tokens']:,} written, for {counts['requests'] - counts['pending']:,} requests"
    )
    if counts["pending"]:
        lines.append(
            f"           {counts['pending']:,} requests have no answer yet: about {counts['pending_prompt_tokens']:,} "
            f"tokens to read and {counts['pending_completion_tokens']:,} to write are pending"
        )
    return "\n".join(lines)


def _endpoint(url: str, figures: Mapping[str, Any]) -> str:
    """What one of several servers did."""
    return (
        f"{url}: {figures['answered']:,} answers, {figures['answers_per_second']:,.2f} answers/s, "
        f"{figures['completion_tokens']:,} tokens written, "
        f"{_with_reasons(sum(figures['errors'].values()), figures['errors'])} not answered"
        + (f"; left out {figures['times_left_out']:,} times" if figures["times_left_out"] else "")
        + (", also at the end" if figures["left_out"] else "")
    )


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
    if counts.get("pending"):
        return f"{_steps(counts)}judge      {counts['pending']:,} of {counts['qa']:,} QA wait for the judge"
    dropped = _with_reasons(counts["dropped"], counts["dropped_by_reason"])
    line = f"{_steps(counts)}data set   {counts['qa']:,} QA = {counts['kept']:,} kept + {dropped} dropped"
    if "requests_answered" in counts:
        line += (
            f"\njudge      {counts['prompt_tokens']:,} tokens read, {counts['completion_tokens']:,} written, "
            f"for {counts['requests_answered']:,} requests"
        )
    if "asked" not in counts:
        return line
    header = ("cell", "asked", "kept", "missing", "in reserve")
    rows = [(_cell_label(cell), *(f"{cell[name]:,}" for name in CURATED)) for cell in counts["cells"]]
    return (
        f"{line} + {counts['reserve']:,} in reserve\n"
        f"           {counts['asked']:,} asked for = {counts['kept']:,} kept + {counts['missing']:,} missing\n"
        f"{_table([header, *rows])}"
    )


def _steps(counts: Mapping[str, Any]) -> str:
    """One line for each step of stage curate that dropped something, or compared something."""
    lines = []
    for step in counts.get("steps", ()):
        dropped = _with_reasons(step["dropped"], step["dropped_by_reason"])
        facts = {
            "made_in": "passed in stage synthesize with the same thresholds",
            "clusters": f"{step.get('clusters', 0):,} clusters",
            "compared": f"{step.get('compared', 0):,} benchmark items",
        }
        notes = "".join(f"; {text}" for name, text in facts.items() if step.get(name))
        if step["dropped"] or notes:
            lines.append(f"{step['step']:<10} {step['in']:,} QA = {step['kept']:,} kept + {dropped} dropped{notes}\n")
    return "".join(lines)


def where_curated(folder: str) -> str:
    """The files of stage curate to look at."""
    return (
        f"look at    {folder}/curated.jsonl (the data set), {folder}/clusters.parquet (near-duplicates),\n"
        f"           {folder}/curate-dropped.parquet (what was dropped, with reasons)"
    )


def export_lines(counts: Mapping[str, Any]) -> list[str]:
    """Rows of each split, files, and what the publisher should know."""
    rows = counts["rows"]
    parts = " + ".join(f"{n:,} {name}" for name, n in rows.items())
    files = f"{counts['files']:,} Parquet files, {counts['bytes'] / 1e6:,.1f} MB: {', '.join(counts['forms'])}"
    return [
        f"exported   {sum(rows.values()):,} QA = {parts}",
        f"           {files}",
        *(f"note       {remark}" for remark in counts["remarks"]),
    ]


def _cell_label(cell: Mapping[str, Any]) -> str:
    level = f"level {cell['difficulty']}" if cell["difficulty"] else "any level"
    group = f", licenses {cell['license_group']}" if cell.get("license_group") else ""
    return f"{cell['discipline'] or 'any discipline'}, {level}{group}"


def level_table(counts: Mapping[str, Any]) -> str:
    """QA by the level that the judge assigned, before and after; the first cell names the target level."""
    asked, before, after = str(counts["asked_level"]), counts["levels_before"], counts["levels_after"]
    rows = [
        (f"level (target: {asked})", *"12345", "unknown", "all"),
        ("before", *(f"{before.get(level, 0):,}" for level in (*"12345", "unknown")), f"{sum(before.values()):,}"),
        ("after", *(f"{after.get(level, 0):,}" for level in (*"12345", "unknown")), f"{sum(after.values()):,}"),
    ]
    return _table(rows)


def judged_table(judged: Mapping[tuple[str, str], int]) -> str:
    """QA by the level of their cell (rows) and the level that the judge gave (columns)."""
    asked = sorted({level for level, _ in judged})
    rows = [("level asked for", *(f"judged {level}" for level in "12345"))]
    rows += [
        (f"level {row}" if row != "any" else "any", *(f"{judged.get((row, c), 0):,}" for c in "12345")) for row in asked
    ]
    return _table(rows)


def _unasked(counts: Mapping[str, Any]) -> dict[str, int]:
    """Kept paths without a request, by reason; `walk_line` counts those that the walk dropped."""
    from linksyn_gpu.tables import PATH_STATUS

    return {name: n for name, n in counts["paths_dropped_by_reason"].items() if name not in PATH_STATUS}


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
            f"           linksyn-gpu synthesize {folder} --collect ANSWERS.jsonl"
        )
    return (
        f"look at    {folder}/qa.jsonl (new QA), {folder}/report.html (report),\n"
        f"           {folder}/dropped.parquet and {folder}/rejects.jsonl (everything dropped, with reasons)"
    )


LINES = {
    "ingest": ingest_line,
    "extract": extract_line,
    "build": build_line,
    "walk": lambda counts: "\n".join(
        [walk_line(counts), *([cell_table(counts["cells"])] if "cells" in counts else [])]
    ),
    "synthesize": synthesis_line,
    "enhance": enhancement_line,
    "curate": curation_line,
}
"""The text for the counts of each stage."""


def plan_text(stats: RunStats) -> str:
    """What a campaign will give and cost."""
    lines = [cell_table(stats.cells), purity_table(stats.cells)]
    if stats.campaign is not None:
        lines.append(campaign_lines(stats.campaign))
    lines += _coverage_lines(stats)
    if stats.forecast is not None:
        lines.append(forecast_lines(stats.forecast))
    return "\n".join(lines)


def _coverage_lines(stats: RunStats) -> list[str]:
    if (coverage := stats.coverage) is None:
        return []
    lines = [
        f"coverage   {coverage.visited:,} of {coverage.reachable:,} reachable KPs, "
        f"{coverage.seeds_used:,} seeds used, Gini {coverage.gini:.3f}"
    ]
    if coverage.divergence == coverage.divergence:  # not NaN: the plan has one cell
        lines.append(
            f"           KL(visits || target) {coverage.divergence:.4f} nats, noise floor {coverage.noise_floor:.4f}"
        )
    return lines


def report_text(stats: RunStats) -> str:
    """All figures of a run."""
    lines = []
    of_files = stats.overview is not None and stats.overview.of_files  # such a folder has no graph, paths and requests
    for name, line in (("ingest", ingest_line), ("extract", extract_line), ("build", build_line), ("walk", walk_line)):
        counts = stats.stages[name]
        if counts is None and (of_files or name in OPTIONAL):
            continue
        lines.append(line(counts) if counts is not None else f"{name}: not finished")
    if stats.cells:
        lines.append(plan_text(stats))
    counts = stats.stages["synthesize"]
    if counts is not None:
        lines.append(synthesis_line(counts))
    elif "synthesize" not in stats.outcomes and not of_files:
        lines.append("synthesize: not started")
    if (enhanced := stats.stages["enhance"]) is not None:
        lines.append(enhancement_line(enhanced))
        if stats.judged:
            lines.append(judged_table(stats.judged))
    if (curated := stats.stages.get("curate")) is not None:
        lines.append(curation_line(curated))
    lines += [f"{stage}: not finished; {n:,} requests have an outcome by now" for stage, n in stats.outcomes.items()]
    for name, found in stats.kept_by.items():
        if found:
            lines.append(f"{name.replace('_', ' '):<14} {reasons(found)}")
    return "\n".join(lines)


def comparison_text(comparison: Comparison) -> str:
    """The tables of two runs side by side."""
    from linksyn_gpu.report.compare import tables_of

    blocks = []
    for table in tables_of(comparison):
        lines = [table.title, _table([table.header, *table.rows])]
        blocks.append("\n".join([*lines, *([f"           {table.note}"] if table.note else [])]))
    return "\n\n".join(blocks)
