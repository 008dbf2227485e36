"""How well a student model knows each KP -> a factor of the target: weak KPs get more paths.

The factor of a KP is (w / mean w)^strength, clipped to [1/16, 16], where w is 1 - accuracy, or the loss, and the mean
is over the KPs with a score. A KP without a score has the factor 1. This project's own formula.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linksyn_gpu.errors import DataError
from linksyn_gpu.tables import Float64
from linksyn_gpu.text import name_key

LARGEST_FACTOR = 16.0
LARGEST_LOSS = 1e9
MAX_EXAMPLES = 8


@dataclass(frozen=True, eq=False)
class ScoreMatch:
    """Scores of a file for the KPs of a graph."""

    scores: Float64
    """[n_kps] NaN: no score."""
    unmatched: Sequence[str]
    """Names of the file that are no KP of the graph."""

    def counts(self) -> dict[str, Any]:
        """For the manifest."""
        matched = int((~np.isnan(self.scores)).sum())
        return {"matched": matched, "unmatched": len(self.unmatched), "examples": list(self.unmatched[:MAX_EXAMPLES])}


def read_scores(path: str | Path, kind: str) -> dict[str, float]:
    """Read a score for each KP name.

    Parameters
    ----------
    path : path
        `.jsonl` with objects, or `.csv` with a header: the columns `kp` and `accuracy` or `loss`.
    kind : {'accuracy', 'loss'}
        The column to read; an accuracy lies in [0, 1], a loss is >= 0.

    Raises
    ------
    DataError
        The file cannot be read, or a line has no name or no such number; the message names the line.
    """
    path = Path(path)
    scores: dict[str, float] = {}
    try:
        for number, row in _rows(path):
            name, score = row.get("kp"), row.get(kind)
            try:
                value = float(score)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                value = math.nan
            if (
                not isinstance(name, str)
                or not name.strip()
                or not 0.0 <= value <= (1.0 if kind == "accuracy" else LARGEST_LOSS)
            ):
                limit = "in [0, 1]" if kind == "accuracy" else ">= 0"
                raise DataError(f"{path}:{number}: needs 'kp', a name, and '{kind}', a number {limit}")
            if name_key(name) in scores:
                raise DataError(f"{path}:{number}: {name!r} has a score already; keep one of them")
            scores[name_key(name)] = value
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not scores:
        raise DataError(f"{path}: has no scores")
    return scores


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(line number, row) of each line with content."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        if path.suffix.lower() == ".csv":
            reader = csv.DictReader(lines)
            for row in reader:
                yield reader.line_num, row
            return
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}:{number}: not JSON: {error}") from error
            if not isinstance(found, dict):
                raise DataError(f"{path}:{number}: must be a JSON object with 'kp' and a score")
            yield number, found


def match_scores(scores: Mapping[str, float], names: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> ScoreMatch:
    """Assign scores to KPs by name or alias, without regard to case and width.

    Parameters
    ----------
    scores : mapping
        Of `read_scores`.
    names : sequence of str
        [n_kps]
    aliases : mapping
        Other names of a KP, by its name. If several have a score, the KP gets their mean.
    """
    found = np.full(len(names), np.nan)
    used = set()
    for row, name in enumerate(names):
        keys = {name_key(text) for text in (name, *aliases.get(name, ()))} & scores.keys()
        if keys:
            found[row] = np.mean([scores[key] for key in sorted(keys)])
            used |= keys
    return ScoreMatch(found, [key for key in scores if key not in used])


def score_factor(scores: Float64, kind: str, strength: float) -> Float64:
    """Factor of the target of each KP: float64 [n_kps], from scores with NaN where there is none."""
    weakness = 1.0 - scores if kind == "accuracy" else scores
    known = ~np.isnan(weakness)
    mean = weakness[known].mean() if known.any() else 0.0
    if mean == 0.0:  # no score, or no KP is weak
        return np.ones(scores.size)
    relative = np.where(known, weakness / mean, 1.0) ** strength
    return np.clip(relative, 1.0 / LARGEST_FACTOR, LARGEST_FACTOR)
