"""Croissant 1.1 metadata of a published data set, with the fields for responsible AI (RAI 1.0).

Format: https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from linksyn_gpu.dataset.facts import DatasetFacts, PublishedFile
from linksyn_gpu.errors import DataError

METADATA = "croissant.json"
METHOD = "https://arxiv.org/abs/2508.01317"
TYPES = {"string": "sc:Text", "int": "sc:Integer", "float": "sc:Float", "double": "sc:Float", "bool": "sc:Boolean"}
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

COLUMNS = {
    "id": "Identifier of the question-answer pair: that of its request, and its number in the answer.",
    "question": "The new question.",
    "options": "Options of a multiple choice question, in order.",
    "answer": "The final answer; of a multiple choice question the text of the right option.",
    "explanation": "How the answer is found.",
    "reasoning": "The model's reasoning, where the server returned it apart from the answer.",
    "knowledge_points": "Knowledge points that the model named.",
    "discipline": "Discipline of the question.",
    "difficulty": "Difficulty, 1 (easy) to 5, as the model stated it.",
    "language": "Language of the question, ISO 639-1.",
    "question_type": "Type of question.",
    "path": "Knowledge points of the walk that linked the seeds, in order.",
    "seed_ids": "Seeds in the prompt, in the order of the path.",
    "seed_sources": "Source of each seed.",
    "seed_licenses": "License of each seed; empty where it states none.",
    "prompt_digest": "Hash of the prompt templates.",
    "model": "Model, as the server named it.",
    "campaign": "Hash of the campaign's input and settings.",
}
"""What columns of form 'qa' mean; the others are described in docs/publishing.md."""
FROM_MODEL = (
    "question",
    "options",
    "answer",
    "explanation",
    "reasoning",
    "knowledge_points",
    "discipline",
    "difficulty",
)
FROM_SEEDS = ("path", "seed_ids", "seed_sources", "seed_licenses", "seed_difficulties")


def croissant(facts: DatasetFacts, files: Sequence[PublishedFile]) -> dict[str, Any]:
    """The metadata as JSON-LD.

    Parameters
    ----------
    files : sequence of PublishedFile
        The Parquet files.
    """
    distribution: list[dict[str, Any]] = [
        {
            "@type": "cr:FileObject",
            "@id": file.path,
            "name": file.path,
            "contentUrl": file.path,
            "contentSize": f"{file.size} B",
            "encodingFormat": "application/vnd.apache.parquet",
            "sha256": file.sha256,
        }
        for file in files
    ]
    records = []
    for name, patterns in facts.forms.items():
        if name != "qa":
            continue
        for split, pattern in patterns.items():
            distribution.append(
                {
                    "@type": "cr:FileSet",
                    "@id": f"{name}-{split}",
                    "name": f"{name}-{split}",
                    "encodingFormat": "application/vnd.apache.parquet",
                    "includes": pattern,
                }
            )
            records.append(_record_set(facts, name, split))
    models = ", ".join(facts.models) or "not stated"
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": facts.name,
        "description": f"{facts.published:,} question-answer pairs, written by a language model from linked seeds.",
        "version": "1.0.0",
        "datePublished": facts.finished[:10],
        "license": facts.license
        or "not set by the publisher; licenses of the seeds: " + (", ".join(facts.license_names) or "not stated"),
        "creator": {"@type": "sc:Organization", "name": facts.contact or "not stated"},
        "keywords": ["synthetic data", "question answering", "LinkSyn"],
        "inLanguage": facts.languages,
        "citeAs": CITATION,
        "isLiveDataset": False,
        "prov:wasGeneratedBy": _activity(facts),
        "rai:dataCollection": "No data was collected from people: a language model wrote every text.",
        "rai:dataCollectionType": ["Synthetic data"],
        "rai:dataPreprocessingProtocol": [
            "Rule checks of each item; near-duplicates removed by MinHash candidates and their true Jaccard index."
        ],
        "rai:machineAnnotationTools": [f"language model: {models}", f"linksyn-gpu {facts.version}"],
        "rai:dataLimitations": list(WEAKNESSES),
        "rai:dataBiases": ["The QA follow the topics of the seeds, and the opinions of the language model."],
        "rai:dataUseCases": ["Training and evaluation of language models."],
        "rai:personalSensitiveInformation": [
            "None is added on purpose. Seeds and model may contain names of people; see the card for the checks made."
        ],
        "rai:dataReleaseMaintenancePlan": f"Takedown requests: {facts.contact or 'no address is stated'}.",
        "distribution": distribution,
        "recordSet": records,
    }


def changed_files(folder: str | Path) -> list[str]:
    """Files of a published data set that are missing or do not have the SHA-256 of its metadata.

    Raises
    ------
    DataError
        The metadata cannot be read.
    """
    path = Path(folder) / METADATA
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["distribution"]
        recorded = {entry["contentUrl"]: entry["sha256"] for entry in listed if "sha256" in entry}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the metadata of a data set: {error}; export it again") from error
    return [name for name, digest in recorded.items() if _sha256(Path(folder) / name) != digest]


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def published_file(folder: Path, path: Path) -> PublishedFile:
    """A file of a data set, with its size and hash."""
    return PublishedFile(path.relative_to(folder).as_posix(), _sha256(path) or "", path.stat().st_size)


CITATION = (
    "LinkQA: Synthesizing Diverse QA from Multiple Seeds Strongly Linked by Knowledge Points. "
    "ACL 2026, 2026.acl-long.1036; arXiv:2508.01317"
)
WEAKNESSES = (
    "The answers are those of a language model; they were checked by rules, not by experts.",
    "The level of difficulty is the model's own statement unless a judge examined it.",
    "Near-duplicates are found by common word sequences: paraphrases stay.",
    "Benchmark items are found by common word sequences: paraphrases of them are not found.",
)


def _activity(facts: DatasetFacts) -> dict[str, Any]:
    return {
        "@type": "prov:Activity",
        "prov:label": f"linksyn-gpu {facts.version}, campaign {facts.digest}",
        "prov:used": METHOD,
    }


def _record_set(facts: DatasetFacts, form: str, split: str) -> dict[str, Any]:
    name = f"{form}/{split}"
    fields = []
    for column, kind in facts.columns:
        repeated = kind.startswith("list")
        inner = kind.removeprefix("list<").partition(": ")[2].rstrip(">") if repeated else kind
        entry: dict[str, Any] = {
            "@type": "cr:Field",
            "@id": f"{name}/{column}",
            "name": column,
            "description": COLUMNS.get(column, f"Column {column}; see docs/publishing.md of linksyn-gpu."),
            "dataType": next((kind for prefix, kind in TYPES.items() if inner.startswith(prefix)), "sc:Text"),
            "source": {"fileSet": {"@id": f"{form}-{split}"}, "extract": {"column": column}},
        }
        if repeated:
            entry |= {"isArray": True, "arrayShape": "-1"}
        if column in FROM_MODEL:
            entry["prov:wasGeneratedBy"] = f"language model: {', '.join(facts.models) or 'not stated'}"
        elif column in FROM_SEEDS:
            entry["prov:wasDerivedFrom"] = "seeds: " + (", ".join(sorted({r.source for r in facts.licenses})) or "none")
        fields.append(entry)
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "key": {"@id": f"{name}/id"}, "field": fields}
