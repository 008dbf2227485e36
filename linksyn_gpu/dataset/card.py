"""README.md of a published data set, with the Hub's front matter, and the summary sheet for Article 53(1)(d)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from linksyn_gpu.config.licenses import hub_license, license_key
from linksyn_gpu.dataset.croissant import WEAKNESSES
from linksyn_gpu.dataset.facts import UNKNOWN, DatasetFacts

TEMPLATES = Path(__file__).parent / "templates"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LARGER = ((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"))
FORM_TEXTS = {
    "qa": "all columns: texts, path, seeds with their sources and licenses, model, sampling",
    "chat": "`messages` of user and assistant",
    "alpaca": "`instruction`, `input`, `output`",
    "text": "`text`, by one of the templates in docs/publishing.md of linksyn-gpu",
}
SHOWN = ("walk", "quota", "bundle", "synthesis", "enhance", "checks", "curate", "judge", "decontaminate")
"""Tables of settings that the card lists."""
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#])")


def render_card(facts: DatasetFacts) -> str:
    """The text of README.md."""
    return front_matter(facts) + _render(
        "card.md.jinja",
        facts=facts,
        form_texts=FORM_TEXTS,
        settings=list(_settings(facts.stages)),
        flow=list(_flow(facts.stages)),
        duplicates=_duplicates(facts.stages),
        versions=facts.stages.get("curate", {}).get("environment", {}),
        weaknesses=WEAKNESSES,
    )


def render_summary(facts: DatasetFacts) -> str:
    """The text of TRAINING_SUMMARY.md."""
    return _render("training_summary.md.jinja", facts=facts)


def front_matter(facts: DatasetFacts) -> str:
    """YAML block of the card. Values are written as JSON, which is YAML too."""
    known = {
        "pretty_name": facts.name,
        **_licenses(facts),
        "language": facts.languages,
        "size_categories": [_size_category(facts.published)],
        "task_categories": ["question-answering", "text-generation"],
        "annotations_creators": ["machine-generated"],
        "language_creators": ["machine-generated"],
        "tags": ["synthetic", "linksyn", "question-answering"],
        "configs": [
            {
                "config_name": form,
                "data_files": [{"split": split, "path": pattern} for split, pattern in patterns.items()],
                **({"default": True} if number == 0 else {}),
            }
            for number, (form, patterns) in enumerate(facts.forms.items())
        ],
    }
    lines = (f"{key}: {_yaml(value)}" for key, value in known.items())
    return "\n".join(["---", *lines, "---", "", ""])


def _yaml(value: Any) -> str:
    """A value as JSON on one line, with the characters escaped that YAML does not take as they are."""
    return _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


def _licenses(facts: DatasetFacts) -> dict[str, Any]:
    """`license`: that of the publisher, or those of the seeds; `license_name`: those that the Hub does not list."""
    if facts.license is not None:
        names = [license_key(facts.license)]
    elif not facts.licenses or any(row.license == UNKNOWN for row in facts.licenses):
        return {"license": "unknown"}
    else:
        names = facts.license_names
    keys = list(dict.fromkeys(map(hub_license, names)))
    others = [name for name in names if hub_license(name) == "other"]
    return {"license": keys[0] if len(keys) == 1 else keys, **({"license_name": ", ".join(others)} if others else {})}


def _size_category(rows: int) -> str:
    return next((name for limit, name in (*SIZES, *LARGER) if rows < limit), "n>1T" if rows >= 10**12 else "1B<n<10B")


def _settings(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Settings of all stages as ('walk.length', '6')."""
    for entry in stages.values():
        for table, values in entry.get("settings", {}).items():
            if table in SHOWN and isinstance(values, Mapping):
                for name, value in values.items():
                    if value in (None, {}, []):
                        continue
                    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                    yield f"{table}.{name}", text
            elif table == "seed":
                yield "seed", str(values)


def _flow(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """Rows of the table from seeds to rows: stage, in, kept, and drops by reason."""
    columns = (
        ("ingest", "records", "seeds", "rejected_by_reason"),
        ("walk", "paths", "kept", "dropped_by_reason"),
        ("synthesize", "requests", "answered", "failed_by_reason"),
        ("synthesize", "written", "kept", "dropped_by_reason"),
        ("enhance", "qa", "kept", "dropped_by_reason"),
        ("curate", "qa", "kept", "dropped_by_reason"),
    )
    for stage, entered, kept, reasons in columns:
        counts = stages.get(stage, {}).get("counts", {})
        if entered in counts:
            by_reason = counts.get(reasons, {})
            drops = ", ".join(f"{reason} {n:,}" for reason, n in by_reason.items())
            if left := counts.get("reserve", 0) if stage == "curate" else 0:
                drops = ", ".join(filter(None, (drops, f"kept in reserve {left:,}")))
            yield f"{stage}: {entered}", f"{counts[entered]:,}", f"{counts.get(kept, 0):,}", drops


def _duplicates(stages: Mapping[str, Mapping[str, Any]]) -> str:
    entry = stages.get("curate", {})
    threshold = entry.get("settings", {}).get("curate", {}).get("near_duplicates")
    reasons = entry.get("counts", {}).get("dropped_by_reason", {})
    found = f"{reasons.get('near_duplicate', 0):,} among the new QA, {reasons.get('near_seed', 0):,} of seeds"
    return f"{found} (Jaccard index of word 3-grams of at least {threshold})."


def markdown_text(value: object) -> str:
    """A text inside Markdown: on one line, and without any effect on its surroundings."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(value).split())) if value is not None else ""


def _render(name: str, **values: Any) -> str:
    import jinja2

    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters["cell"] = markdown_text
    text: str = environment.get_template(name).render(**values)
    return re.sub(r"\n{3,}", "\n\n", text)


def _key(name: str) -> str:
    """A key of TOML, in quotation marks where it needs them."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def settings_toml(tables: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Tables of settings in TOML; a setting that is None is left out."""
    lines = []
    for name, values in tables:
        lines += ["", f"[{name}]"] if name else []
        nested = {key: value for key, value in values.items() if isinstance(value, Mapping)}
        for key, value in values.items():
            if value is not None and key not in nested:
                lines.append(f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}")
        for key, inner in nested.items():
            if inner:
                lines.append(f"[{name}.{_key(key)}]")
                lines += [f"{_key(k)} = {json.dumps(v, ensure_ascii=False)}" for k, v in inner.items()]
    return "\n".join(lines).strip() + "\n"
