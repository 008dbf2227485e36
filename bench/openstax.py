"""Make a bank with a glossary from the sources of a textbook: `python bench/openstax.py CHECKOUT --out DIR`

CHECKOUT has the folders `modules` and `collections` of an OpenStax book (github.com/openstax/osbooks-*; CC BY 4.0 or
CC BY-NC-SA 4.0). Three files are written, whose texts are not part of this repository:

NAME.glossary.jsonl    the glossary, one line per section; if the book has none, the terms that its text emphasises
NAME.exercises.jsonl   the exercises with the name of their chapter
NAME.paragraphs.jsonl  the paragraphs of the text in which the authors mark terms, with these terms as `marked`
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

CNXML = "{http://cnx.rice.edu/cnxml}"
MATH = "{http://www.w3.org/1998/Math/MathML}"
COLLECTION = "{http://cnx.rice.edu/collxml}"
TITLE = "{http://cnx.rice.edu/mdml}title"


def text_of(element: ET.Element | None) -> str:
    """Text of an element, one line per paragraph or item; formulas become `$formula$`."""
    return re.sub(r"[ \t\n]*\n[ \t\n]*", "\n", "".join(_pieces(element))).strip() if element is not None else ""


def _pieces(element: ET.Element) -> Iterator[str]:
    if element.tag.startswith(MATH):
        yield " $x=x$ "
        return
    block = element.tag in {CNXML + name for name in ("para", "item", "entry", "title", "list")}
    yield "\n" if block else ""
    yield re.sub(r"\s+", " ", element.text or "")
    for child in element:
        yield from _pieces(child)
        yield re.sub(r"\s+", " ", child.tail or "")
    yield "\n" if block else ""


def chapters(book: Path) -> dict[str, str]:
    """Module -> title of its chapter, of the first collection."""
    found: dict[str, str] = {}
    for collection in sorted((book / "collections").glob("*.collection.xml"))[-1:]:
        for part in ET.parse(collection).iter(COLLECTION + "subcollection"):
            for module in part.iter(COLLECTION + "module"):
                found[module.attrib["document"]] = part.findtext(TITLE, "")
    return found


def sections(book: Path) -> Iterator[tuple[str, str, ET.Element]]:
    """Module, chapter and root of each section."""
    for module, chapter in chapters(book).items():
        path = book / "modules" / module / "index.cnxml"
        if path.is_file():
            yield module, chapter, ET.parse(path).getroot()


def marked(element: ET.Element) -> list[str]:
    """Terms that the authors emphasise in an element."""
    terms = (text_of(term) for term in element.iter(CNXML + "term") if term.get("class") != "no-emphasis")
    return list(dict.fromkeys(term for term in terms if term))


def rows_of(book: Path, discipline: str) -> tuple[list[dict], list[dict], list[dict]]:
    glossary, exercises, paragraphs = [], [], []
    for module, chapter, root in sections(book):
        place = {
            "book": book.name,
            "discipline": discipline,
            "chapter": chapter,
            "section": root.findtext(CNXML + "title"),
        }
        defined = [text_of(entry.find(CNXML + "term")) for entry in root.iter(CNXML + "definition")]
        inline = [term for para in root.iter(CNXML + "para") for term in marked(para)]
        glossary.append({"id": module, **place, "defined": [t for t in defined if t], "inline": inline})
        parts = {part for exercise in root.iter(CNXML + "exercise") for part in exercise.iter(CNXML + "para")}
        for n, exercise in enumerate(root.iter(CNXML + "exercise")):
            question = text_of(exercise.find(CNXML + "problem"))
            if len(question) > 20:
                answer = text_of(exercise.find(CNXML + "solution"))
                exercises.append(
                    {"id": f"{module}-{n}", **place, "question": question, "options": [], "answer": answer}
                )
        for n, para in enumerate(root.iter(CNXML + "para")):
            if para not in parts and (terms := marked(para)):
                row = {"id": f"{module}-p{n}", **place, "question": text_of(para), "options": [], "answer": ""}
                paragraphs.append({**row, "marked": terms})
    with_definitions = any(row["defined"] for row in glossary)
    for row in glossary:
        defined, inline = row.pop("defined"), row.pop("inline")
        row["key_terms"] = [{"term": term} for term in dict.fromkeys(defined if with_definitions else inline)]
    return [row for row in glossary if row["key_terms"]], exercises, paragraphs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--discipline", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    made = zip(("glossary", "exercises", "paragraphs"), rows_of(options.checkout, options.discipline), strict=True)
    for kind, rows in made:
        path = options.out / f"{options.checkout.name}.{kind}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        print(f"{path}: {len(rows)} rows")


if __name__ == "__main__":
    sys.exit(main())
