"""Counts and settings in the manifest of an older version, as this version has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any


def current_counts(stage: str, counts: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of a stage; those of an older version get the names of this one.

    Earlier, stage synthesize counted failed requests, missing items and answers with surplus items together with QA.
    Each had a reason, by which they are separated here. Only the counts per cell are not known.
    """
    if stage != "synthesize" or "requests" in counts:
        return dict(counts)
    made = dict(counts)
    by_stage = made.pop("reasons")
    failed = Counter({**by_stage.get("request", {}), **by_stage.get("answer", {})})
    settled = made.pop("requests_answered")
    of_qa = Counter(by_stage.get("qa", {}))
    missing, surplus = of_qa.pop("item_missing", 0), of_qa.pop("item_surplus", 0)
    for name in ("generated", "kept_by_cell", "requests_failed"):
        made.pop(name, None)
    return {
        **made,
        "requests": settled + made["pending"],
        "answered": settled - failed.total(),
        "failed": failed.total(),
        "failed_by_reason": dict(failed),
        "pending_reasons": made.get("pending_reasons", {}),
        "paths_dropped_by_reason": by_stage.get("path", {}),
        "written": made["kept"] + of_qa.total(),
        "dropped": of_qa.total(),
        "dropped_by_reason": dict(of_qa),
        "items_missing": missing,
        "answers_with_surplus": surplus,
        "cells": [],
    }


def current_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded settings of a stage. Earlier, engine 'batch' needed no model: its requests then name 'auto'."""
    synthesis = settings.get("synthesis")
    if not isinstance(synthesis, Mapping) or synthesis.get("engine") != "batch" or synthesis.get("model"):
        return dict(settings)
    return {**settings, "synthesis": {**synthesis, "model": "auto"}}
