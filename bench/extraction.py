"""Knowledge points that the extractors find, compared with labels: `python bench/extraction.py`

Without files: the glossary and the seeds of LINKSYN_DATA, which the rules were developed on. With files, such as
`bench/openstax.py` makes of a book: `--glossary FILE... --seeds FILE...`; all seeds are one bank and all glossaries one
glossary, as users have them. The labels of a seed are, in this order:

marked              terms that the authors of the text emphasise
knowledge_points    those that are terms of the glossary; section titles are not
otherwise           the terms of its chapter's glossary that a plain regular expression finds in the text

Recall is the share of the labels that are among the (at most 8) names of the seed. "in its book" is the share of the
names that a plain regular expression finds with the glossary of the seed's own book: a lower bound of precision, since
a term of another book can be right. With --phrases the most frequent key phrases are printed, without labels.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from linksyn_gpu.knowledge.extract.glossary import Glossary, Term
from linksyn_gpu.knowledge.extract.plain_text import JOINT
from linksyn_gpu.knowledge.extract.selection import find_terms
from linksyn_gpu.knowledge.merge.normal_form import merge_key, normal_form

Row = dict[str, Any]
DATA = Path(os.environ.get("LINKSYN_DATA") or Path(__file__).parents[2] / "shared" / "data")
NOTE = re.compile(r"\s*[(（]([^()（）]*)[)）]\s*$")


def key(name: str) -> str:
    """Key of an entry without its note."""
    return merge_key(normal_form(NOTE.sub("", name) or name))


def read(paths: Sequence[Path]) -> list[Row]:
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines() if line]


def text_of(seed: Row) -> str:
    return JOINT.join([seed["question"], *seed["options"], seed["answer"]])


class PlainSearch:
    """Terms of a glossary in a text by regular expressions, independent of the extractor: the longest ones."""

    def __init__(self, terms: Iterable[str]) -> None:
        self._patterns = [(key(term), pattern) for term in terms for pattern in patterns(term)]

    def __call__(self, text: str) -> set[str]:
        spans = [(at.start(), at.end(), name) for name, found in self._patterns for at in found.finditer(text)]
        return {
            name
            for start, end, name in spans
            if not any(s <= start and e >= end and e - s > end - start for s, e, _ in spans)
        }


def patterns(term: str) -> list[re.Pattern[str]]:
    """An entry without its note in singular and plural, and a note in capitals."""
    note = NOTE.search(term)
    words = re.split(r"[\s-]+", (term[: note.start()] if note else term).strip())
    if not words[0]:
        return []
    last = words[-1]
    endings = [re.escape(last) + "(?:s|es)?"]
    endings += [re.escape(last[:-1]) + "ies"] if last.endswith("y") else []
    endings += [re.escape(last[:-1])] if last.endswith("s") and len(last) > 4 else []
    joined = r"[\s-]+".join([*map(re.escape, words[:-1]), f"(?:{'|'.join(endings)})"])
    found = [re.compile(rf"(?<!\w){joined}(?!\w)", 0 if " ".join(words).isupper() else re.IGNORECASE)]
    if note and len(note[1]) > 1 and note[1].isupper():
        found.append(re.compile(rf"(?<!\w){re.escape(note[1])}s?(?!\w)"))
    return found


def label(seeds: Sequence[Row], glossaries: Sequence[Row]) -> tuple[list[set[str]], list[set[str]]]:
    """Labels of each seed, and the terms of its book in it."""
    by_book: dict[str, dict[str, None]] = defaultdict(dict)
    by_chapter: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for row in glossaries:
        for entry in row["key_terms"]:
            by_book[row["book"]][entry["term"]] = None
            by_chapter[row["book"], row["chapter"]][entry["term"]] = None
    every = {key(term) for terms in by_book.values() for term in terms}
    books = {book: PlainSearch(terms) for book, terms in by_book.items()}
    chapters = {place: PlainSearch(terms) for place, terms in by_chapter.items()}
    nothing = PlainSearch(())
    labels, in_book = [], []
    for seed in seeds:
        listed = seed.get("marked", seed.get("knowledge_points"))
        if listed is None:
            labels.append(chapters.get((seed["book"], seed["chapter"]), nothing)(text_of(seed)))
        else:
            labels.append({key(name) for name in listed if name != seed.get("section")} & every)
        in_book.append(books.get(seed["book"], nothing)(text_of(seed)))
    return labels, in_book


def measure(seeds: Sequence[Row], glossaries: Sequence[Row], most: int) -> None:
    disciplines: dict[str, dict[str, None]] = defaultdict(dict)
    for row in glossaries:
        for entry in row["key_terms"]:
            disciplines[entry["term"]][row["discipline"]] = None
    glossary = Glossary(Term(name, (), tuple(where)) for name, where in disciplines.items())
    begin = time.process_time()
    found = list(find_terms(((text_of(seed), seed["discipline"]) for seed in seeds), glossary, most))
    seconds = time.process_time() - begin
    labels, in_book = label(seeds, glossaries)
    figures: dict[str, Counter[str]] = defaultdict(Counter)
    for seed, names, given, plain in zip(seeds, found, labels, in_book, strict=True):
        mine = {key(name) for name in names}
        kind = f"{seed['book']}, {'paragraphs' if 'marked' in seed else 'exercises'}"
        for group in (kind, "all exercises") if "marked" not in seed else (kind, "all paragraphs"):
            figures[group].update(
                seeds=1, labels=len(given), hit=len(given & mine), found=len(mine), own=len(mine & plain)
            )
    print(f"{len(seeds):,} seeds, {len(glossary):,} terms; {len(seeds) / seconds:,.0f} seeds/s of processor time")
    for group, n in figures.items():
        recall, own = (n["hit"] / max(1, n["labels"]), n["own"] / max(1, n["found"]))
        print(f"{group:60} seeds {n['seeds']:5d}  labels {n['labels']:5d}  recall {recall:.3f}  in its book {own:.3f}")
    print_most_frequent(found)


def phrases(seeds: Sequence[Row], most: int) -> None:
    from linksyn_gpu.knowledge.extract.keyphrases import find_keyphrases

    begin = time.process_time()
    triples = ((text_of(seed), seed.get("language", "en"), seed["discipline"]) for seed in seeds)
    found = list(find_keyphrases(triples, most))
    print(f"{len(seeds):,} seeds; {len(seeds) / (time.process_time() - begin):,.0f} seeds/s of processor time")
    for language in ("en", "zh"):
        print_most_frequent(
            [names for seed, names in zip(seeds, found, strict=True) if seed.get("language", "en") == language]
        )


def print_most_frequent(found: Iterable[Sequence[str]], shown: int = 40) -> None:
    """Print the most frequent names, one per merge key."""
    count, forms = Counter[str](), defaultdict[str, Counter[str]](Counter)
    for names in found:
        for name in names:
            forms[merge_key(normal_form(name))][name] += 1
        count.update({merge_key(normal_form(name)) for name in names})
    first = sorted(count.items(), key=lambda item: (-item[1], item[0]))[:shown]
    print(", ".join(f"{_commonest(forms[name])} {n}" for name, n in first))


def _commonest(forms: Mapping[str, int]) -> str:
    return min(forms, key=lambda form: (-forms[form], form))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glossary", type=Path, nargs="+", default=[DATA / "openstax_key_terms.jsonl"])
    parser.add_argument("--seeds", type=Path, nargs="+", default=[DATA / "seed_openstax_en.jsonl"])
    parser.add_argument("--most", type=int, default=8, help="names per seed")
    parser.add_argument("--phrases", action="store_true", help="key phrases instead of the terms of the glossary")
    options = parser.parse_args()
    seeds = read(options.seeds)
    if options.phrases:
        phrases(seeds, options.most)
    else:
        measure(seeds, read(options.glossary), options.most)


if __name__ == "__main__":
    sys.exit(main())
