"""What is known of a published data set: the input of its card, its Croissant metadata and its summary sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from linksyn_gpu.config.licenses import license_key

UNKNOWN = ""
"""A license that a seed does not state."""
NOT_KNOWN = "unknown"
"""The name under which rows without a language, type, discipline or level are counted."""


@dataclass(frozen=True)
class SourceLicense:
    """Seeds of one source with one license."""

    source: str
    license: str
    seeds: int
    """Seeds that the published QA use."""
    qa: int
    """Published QA that use one of them."""


@dataclass(frozen=True)
class PublishedFile:
    """A file of the data set."""

    path: str
    """Relative to the folder of the data set, with '/'."""
    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True)
class DatasetFacts:
    """Everything that the documents of a data set state. They state nothing else."""

    name: str
    license: str | None
    """As the publisher decided; None: not set."""
    teacher_terms: str | None
    contact: str | None
    digest: str
    """Hash of the campaign."""
    version: str
    """Of linksyn-gpu."""
    finished: str
    """When the data set was chosen, ISO 8601."""
    splits: Mapping[str, int]
    """Rows of each split, 'withheld' included."""
    forms: Mapping[str, Mapping[str, str]]
    """Configuration -> split -> pattern of its files."""
    columns: Sequence[tuple[str, str]]
    """Columns of form 'qa': name and Arrow type."""
    counts: Mapping[str, Mapping[str, int]]
    """QA by language, question type, discipline and difficulty."""
    tokens: int
    """Written tokens of the kept answers, as the server counted."""
    characters: int
    """Of questions, options, explanations and answers."""
    licenses: Sequence[SourceLicense]
    models: Mapping[str, int]
    """QA by model, as the server named it."""
    stages: Mapping[str, Mapping[str, Any]]
    """Settings and counts of each stage."""
    cells: Sequence[Mapping[str, Any]]
    """Discipline, difficulty, paths asked for and delivered, and QA kept, of each cell."""
    prompt_digests: Mapping[str, int] = field(default_factory=dict)
    """QA by the hash of their prompt templates."""
    certificate: Mapping[str, Any] | None = None
    """Of the decontamination; None: it was not done."""

    @property
    def published(self) -> int:
        """Rows in the splits that are published."""
        return sum(n for name, n in self.splits.items() if name != "withheld")

    @property
    def languages(self) -> list[str]:
        """Languages of the published QA, without those that are not known."""
        return sorted(set(self.counts.get("language", {})) - {NOT_KNOWN})

    @property
    def license_names(self) -> list[str]:
        """Licenses of the seeds, as the Hub writes them where it knows them; without those that are not stated."""
        return sorted({license_key(row.license) for row in self.licenses if row.license != UNKNOWN})

    @property
    def license_remarks(self) -> list[str]:
        """What a publisher must look at before choosing a license."""
        remarks = []
        if missing := sum(row.seeds for row in self.licenses if row.license == UNKNOWN):
            remarks.append(f"{missing:,} seeds state no license.")
        names = self.license_names
        if len(names) > 1:
            remarks.append(
                f"The seeds have {len(names)} licenses: {', '.join(names)}. Check that they may be combined."
            )
        for part, meaning in (
            ("nc", "forbids commercial use"),
            ("nd", "forbids sharing of adapted material"),
            ("sa", "asks for the same license for adapted material"),
        ):
            remarks += [f"{name} {meaning}." for name in names if part in name.split("-")]
        return remarks
