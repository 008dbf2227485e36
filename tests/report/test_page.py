"""report.html: one file that loads nothing, whatever the texts of the campaign contain."""

import base64
import hashlib
import importlib.util
import json
from collections import Counter
from html.parser import HTMLParser

import pytest

from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.stages.report import gather, write_page
from linksyn_gpu.report import embedding, page
from linksyn_gpu.report.figures import figures_of
from linksyn_gpu.report.page import flow_of, render_page
from tests.report.hostile import LINK, NAME

PLOTLY, IGRAPH = (importlib.util.find_spec(name) is not None for name in ("plotly", "igraph"))
needs_plotly = pytest.mark.skipif(not PLOTLY, reason="needs Plotly: pip install -e '.[report]'")
MOST_BYTES = 8_000_000


class Page(HTMLParser):
    """Elements, attributes, scripts and texts of a page."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.scripts, self.texts = Counter(), [], [], []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append([dict(attrs).get("type"), ""])

    def handle_endtag(self, tag):
        self._in_script = False

    def handle_data(self, data):
        if self._in_script:
            self.scripts[-1][1] += data
        else:
            self.texts.append(data)

    def data(self):
        (text,) = (text for kind, text in self.scripts if kind == "application/json")
        return json.loads(text)


@pytest.fixture(scope="module")
def folder(hostile):
    return hostile


@pytest.fixture(scope="module")
def stats(folder):
    with Workspace(folder, create=False, lock=False) as ws:
        return gather(ws)


@pytest.fixture(scope="module")
def text(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def test_hostile_texts_make_no_element_attribute_or_script(text):
    found = Page(text)
    assert not {"img", "iframe", "object", "embed", "link", "base", "form"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on") or name in ("src", "srcset", "action")]
    assert all(value.startswith("#") for name, value in found.attributes if name == "href")
    assert [kind for kind, _ in found.scripts] == [None, "application/json", *[None] * (1 + PLOTLY + IGRAPH)]
    shown = "".join(found.texts)
    assert NAME in shown, "texts are shown as they are"
    assert LINK in shown


def test_the_policy_admits_the_scripts_of_the_page_and_nothing_else(text):
    found = Page(text)
    (policy,) = (value for name, value in found.attributes if name == "content" and "default-src" in value)
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    assert rules["default-src"] == ["'none'"]
    hashes = [hashlib.sha256(script.encode()).digest() for kind, script in found.scripts if kind is None]
    assert set(rules["script-src"]) == {f"'sha256-{base64.b64encode(digest).decode()}'" for digest in hashes}


def test_json_in_a_script_element_cannot_end_it_and_is_the_same_value():
    value = {"<!--": ["</script>", "\u2028", "&lt;", "\U0001f600"]}
    made = embedding.json_for_script(value)
    assert not set("<>&\u2028") & set(made)
    assert json.loads(made) == value


def test_every_figure_has_named_axes_data_and_a_place_on_the_page(stats, text):
    figures = figures_of(stats)
    drawn = set(Page(text).data()["figures"])
    assert {"coverage-curve", "visits-against-target", "qa-by-discipline"} <= drawn
    assert drawn == {figure.name for figure in figures}
    for figure in figures:
        assert figure.x_title, figure.name
        assert figure.y_title, figure.name
        assert len(list(figure.rows())) > 1, figure.name
        alone = figure.name in ("qa-by-language", "qa-by-question-type")  # one bar, which the text tells
        assert (f'id="{figure.name}"' in text) != alone, figure.name


@needs_plotly
def test_the_page_with_charts_and_map_is_below_eight_megabytes(text):
    assert len(text.encode()) < MOST_BYTES


def test_without_plotly_and_igraph_the_page_says_how_to_get_charts_and_map(stats, monkeypatch):
    monkeypatch.setattr(page, "plotly_script", lambda: None)
    monkeypatch.setattr(page, "igraph_is_installed", lambda: False)
    found = Page(render_page(stats))
    assert found.texts.count("pip install 'linksyn-gpu[report]'") == 2
    assert found.data()["figures"]
    assert found.data()["graph"] is None
    assert found.tags["canvas"] == 0


def test_every_reason_of_a_drop_has_its_count_and_an_example(stats):
    for stage, name in (("ingest", "rejected"), ("synthesize", "dropped"), ("curate", "dropped")):
        counts = stats.stages[stage][f"{name}_by_reason"]
        drops = {drop.reason: drop for drop in stats.drops if drop.stage == stage and drop.reason in counts}
        assert {reason: drop.n for reason, drop in drops.items()} == counts, stage
        assert all(drop.meaning and drop.example for drop in drops.values()), stage
    (duplicate,) = (drop for drop in stats.drops if drop.reason == "duplicate_id")
    assert duplicate.example["record"] == "seeds.jsonl, line 61", "no folder of this machine"
    assert any("TODO" in drop.example.get("question", "") for drop in stats.drops)


def test_in_each_step_of_the_flow_what_came_is_kept_lost_or_waits(stats):
    flow = flow_of(stats)
    assert [bar["title"] for bar in flow] == ["Seeds", "Paths", "Requests", "New QA", "Curated QA"]
    for bar in flow:
        assert bar["n"] == bar["n_kept"] + bar["n_lost"] + sum(n for _, n in bar["waiting"]), bar["title"]
        assert sum(drop.n for drop in bar["drops"]) == bar["n_lost"], bar["title"]


def test_samples_are_of_different_paths_with_their_seeds_and_are_copied_to_the_letter(text, stats):
    assert len({row["walk_id"] for row in stats.samples}) == len(stats.samples) > 3
    assert {row["difficulty"] for row in stats.samples} == {1, 2, 3, 4, 5}
    assert all([seed["id"] for seed in row["seeds"]] == row["seed_ids"] for row in stats.samples)
    assert all(NAME in seed["question"] for row in stats.samples for seed in row["seeds"])
    copied = Page(text).data()["samples"]
    names = ("question", "answer", "path", "seed_ids")
    assert [[row[name] for name in names] for row in copied] == [[row[name] for name in names] for row in stats.samples]


def test_the_counts_of_the_page_add_up(stats):
    assert stats.result_of == "curate"
    assert stats.qa == stats.stages["curate"]["kept"]
    assert all(counts.total() == stats.qa for counts in stats.kept_by.values())
    assert all(sum(lengths.counts) == stats.qa for lengths in stats.lengths.values())
    assert sum(stats.coverage.path_lengths.values()) == stats.stages["walk"]["kept"]
    assert sum(stats.coverage.seed_uses.values()) == stats.stages["ingest"]["seeds"]
    assert stats.coverage.expected.sum() == pytest.approx(stats.coverage.visits.sum())


def test_the_same_folder_gives_the_same_page(folder, text):
    with Workspace(folder, create=False, lock=False) as ws:
        write_page(ws, gather(ws))
    assert (folder / "report.html").read_text(encoding="utf-8") == text
