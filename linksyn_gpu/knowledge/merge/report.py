"""The page merges.md: figures, the largest clusters and the doubtful pairs of a merge, for review."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

CLUSTERS, DOUBTS, LABELS = 40, 100, 40


def merge_report(
    counts: Mapping[str, Any], merges: Sequence[Mapping[str, Any]], doubtful: Sequence[Mapping[str, Any]]
) -> str:
    """Markdown of the page; `counts` are those of the stage, the rows those of merges.jsonl and doubtful.jsonl."""
    lines = ["# Knowledge points", ""]
    lines.append(
        f"{counts['seeds']:,} seeds, {counts['without_knowledge_points']:,} of them without a knowledge point."
    )
    if counts["asked_about"]:
        reasons = ", ".join(f"{name} {n:,}" for name, n in counts["failed_by_reason"].items())
        lines.append(
            f"Extraction: {counts['asked_about']:,} seeds asked about = {counts['labelled']:,} labelled + "
            f"{counts['failed']:,} failed" + (f" ({reasons})." if reasons else ".")
        )
    if (merging := counts["merging"]) is not None:
        rules = ", ".join(f"{name} {n:,}" for name, n in sorted(merging["merged_by_rule"].items()))
        guards = ", ".join(f"{name} {n:,}" for name, n in sorted(merging["kept_apart_by_guard"].items()))
        lines += [
            f"Merging: {merging['names']:,} names became {merging['kps']:,} knowledge points.",
            f"Aliases by rule: {rules or 'none'}.",
            f"Pairs kept apart by a guard: {guards or 'none'}.",
            f"Homographs split into senses: {merging['homographs_split']:,}. Doubtful pairs: {len(doubtful):,}.",
        ]
        if (found := merging.get("embedding")) is not None:
            lines.append(
                f"Similar in meaning by {_cell(found['model'])}: {found['pairs']:,} pairs of {found['names']:,} names "
                f"({found['search']}; backend {found['backend']})."
            )
    lines += [
        "",
        "## Largest clusters",
        "",
        "To undo a merge, add the `undo` line of its row in merges.jsonl to your merge rules (`--merge-rules FILE`).",
        "",
    ]
    lines += _clusters(merges)
    lines += [
        "",
        "## Doubtful pairs",
        "",
        "These pairs were not merged. To merge one, add its `merge` line in doubtful.jsonl to your merge rules.",
        "",
    ]
    for row in doubtful[:DOUBTS]:
        detail = f"; {_cell(row['detail'])}" if row["detail"] else ""
        lines.append(f"- {_cell(row['left'])} | {_cell(row['right'])} ({row['why']}, {row['score']:.2f}{detail})")
    if len(doubtful) > DOUBTS:
        lines.append(f"- and {len(doubtful) - DOUBTS:,} more in doubtful.jsonl")
    if labels := counts["unknown_disciplines"]:
        lines += [
            "",
            "## Labels without a discipline",
            "",
            "Seeds with these labels have the discipline 'unknown'. Add the labels to a file for `--taxonomy`.",
            "",
        ]
        lines += [f"- {_cell(label)}: {n:,}" for label, n in list(labels.items())[:LABELS]]
    return "\n".join(lines) + "\n"


def _clusters(merges: Sequence[Mapping[str, Any]]) -> list[str]:
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in merges:
        found[row["canonical"]].append(row)
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    lines = []
    for name, rows in ordered[:CLUSTERS]:
        aliases = ", ".join(f"{_cell(row['alias'])} ({row['rule']}, {row['seeds']:,} seeds)" for row in rows)
        lines.append(f"- **{_cell(name)}**: {aliases}")
    if len(ordered) > CLUSTERS:
        lines.append(f"- and {len(ordered) - CLUSTERS:,} more in merges.jsonl")
    return lines or ["None."]


def _cell(text: str) -> str:
    """Escape a text: it must not end a line or contain markup."""
    return " ".join(text.replace("|", "/").replace("*", "\\*").replace("<", "&lt;").split())
