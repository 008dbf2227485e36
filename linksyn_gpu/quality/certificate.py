"""What decontamination finds, measured on the user's own benchmark files: items are injected in known forms.

The recall of a form is the share of the injected items that are found. Random numbers have fixed seeds: the same files
give the same certificate.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from linksyn_gpu.quality.contamination import BenchmarkItem, Benchmarks
from linksyn_gpu.quality.injection import FORMS, injected

ITEMS = 300
"""Items of each form, at most."""
SHOWN = 20
"""False hits that the certificate lists."""
LIMITS = (
    "N-grams do not see paraphrases, translations or the same problem with other numbers: this certificate says nothing"
    " about them."
)


def certify(benchmarks: Benchmarks, clean: Sequence[str] = (), items: int = ITEMS) -> dict[str, Any]:
    """Measure recall by form, and false hits on clean text.

    Parameters
    ----------
    benchmarks : Benchmarks
    clean : sequence of str
        Texts that are known to hold no benchmark item.
    items : int
        Items of each form, at most.

    Returns
    -------
    dict, ready for JSON
        'items', of them 'too_light' (never found); 'forms': for each form the items 'injected' and 'found', and the
        'recall' (None where no item has the form); 'clean': 'texts', 'hits' in them, and their 'share'.
    """
    return {
        "items": len(benchmarks),
        "too_light": int(benchmarks.too_light.sum()),
        "share": benchmarks.share,
        "forms": {form: _recall(form, benchmarks, items) for form in FORMS},
        "clean": _false_hits(benchmarks, clean),
        "limits": LIMITS,
    }


def injections(form: str, items: Sequence[BenchmarkItem], limit: int = ITEMS) -> list[tuple[int, str]]:
    """Choose items at random and return their numbers with their texts in a form that changes them."""
    chosen: list[tuple[int, str]] = []
    for number in random.Random(form).sample(range(len(items)), len(items)):
        if (text := injected(form, items[number], items)) is not None:
            chosen.append((number, text))
            if len(chosen) == limit:
                break
    return chosen


def _recall(form: str, benchmarks: Benchmarks, limit: int) -> dict[str, Any]:
    chosen = injections(form, benchmarks.items, limit)
    texts, items, _ = benchmarks.found([text for _, text in chosen])
    hits = set(zip(texts.tolist(), items.tolist(), strict=True))
    found = sum((row, number) in hits for row, (number, _) in enumerate(chosen))
    return {"injected": len(chosen), "found": found, "recall": round(found / len(chosen), 4) if chosen else None}


def _false_hits(benchmarks: Benchmarks, texts: Sequence[str]) -> dict[str, Any]:
    found = [hit for hit in benchmarks.best_hits(texts) if hit is not None]
    return {
        "texts": len(texts),
        "hits": len(found),
        "share": round(len(found) / len(texts), 6) if texts else None,
        "examples": [hit.row() for hit in found[:SHOWN]],
    }


def certificate_table(certificate: dict[str, Any]) -> str:
    """The certificate as a Markdown table."""
    lines = ["| injected form | items | found | recall |", "|---|---|---|---|"]
    for form, row in certificate["forms"].items():
        recall = "no such item" if row["recall"] is None else f"{row['recall']:.3f}"
        lines.append(f"| {form} | {row['injected']:,} | {row['found']:,} | {recall} |")
    clean = certificate["clean"]
    share = "no such text was given" if clean["share"] is None else f"{clean['share']:.4%} false hits"
    lines.append(f"| text known to be clean | {clean['texts']:,} | {clean['hits']:,} | {share} |")
    light = f"{certificate['too_light']:,} of {certificate['items']:,} benchmark items are too short to be found. "
    return "\n".join([*lines, "", (light if certificate["too_light"] else "") + certificate["limits"]])
