"""A finished campaign whose every name and text tries to leave its place on the page."""

import json

from tests.cli.test_cli import answer, invoke, requests_of
from tests.conftest import QUICK

NAME = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
LINK = '<a href="https://example.org/"><b>%{x} $x$ {{ 7*7 }} &lt;i&gt;</b></a>'
FORMULA = "$x^2$ <b>"
QUOTES = "\"' onmouseover='document.title=1' ]]> <!-- \u2028 -->"
LONG = "a discipline whose name is too long for the axis of a chart: part"
DISCIPLINES = [NAME, FORMULA, f"{LONG} one", f"{LONG} two"]
WORDS = ("ash", "basalt", "copper", "delta", "ember", "fjord", "granite", "harbor", "island", "jasper", "kelp")
SETTINGS = """
[synthesis]
question_types = ["open"]
[checks]
off = ["markup", "unbalanced", "unrelated_answer"]
[curate]
near_duplicates = 1.0
"""


def hostile_campaign(folder):
    """Make the campaign in `folder`, and return its run folder."""
    seeds = [
        {
            "id": f"{i}{NAME}",
            "question": f"{i} {NAME} {QUOTES}",
            "answer": LINK,
            "kps": [f"{NAME}{i % 5}", f"{LINK}{i % 3}", f"{QUOTES}{i % 4}"],
            "discipline": DISCIPLINES[i % 4],
            "difficulty": 1 + i % 5,
        }
        for i in range(60)
    ]
    write(folder / "seeds.jsonl", [*seeds, seeds[0]])
    out, settings = folder / "out", folder / "run.toml"
    settings.write_text(SETTINGS, encoding="utf-8")
    invoke("run", folder / "seeds.jsonl", "--out", out, "--config", settings, "--discipline", "uniform", *QUICK)
    answers = [
        answer(
            request,
            question=f"Why is {NAME} {WORDS[i]} not {LINK}?" if i < 11 else "TODO",
            answer=f"Because {QUOTES} differs.",
            explanation=NAME,
            difficulty=1 + i % 5,
        )
        for i, request in enumerate(requests_of(out))
    ]
    write(folder / "answers.jsonl", answers)
    invoke("synthesize", out, "--collect", folder / "answers.jsonl")
    invoke("curate", out, "--config", settings)
    invoke("report", out)
    return out


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
