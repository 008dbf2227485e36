"""report.html: one file that loads nothing, whatever the texts of the campaign contain."""

import base64
import hashlib
import importlib.util
import json
from collections import Counter
from html.parser import HTMLParser

import pytest

from linksyn_gpu.pipeline.folder import Workspace
from linksyn_gpu.pipeline.stages.report import gather
from linksyn_gpu.report import embedding, page
from linksyn_gpu.report.charts import charts_of, label
from linksyn_gpu.report.page import render_page
from tests.report.hostile import LINK, NAME, hostile_campaign

PLOTLY = importlib.util.find_spec("plotly") is not None
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
def folder(tmp_path_factory):
    return hostile_campaign(tmp_path_factory.mktemp("hostile"))


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
    assert [kind for kind, _ in found.scripts] == ["application/json", *[None] * (1 + PLOTLY)]
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


def test_labels_of_charts_hold_no_markup_that_plotly_reads(stats):
    assert label(LINK, 100).startswith("&lt;a href")
    charts = charts_of(stats)
    assert {"heat-kept", "by-discipline", "visits", "growth"} <= {chart.name for chart in charts}
    assert any("&lt;a href" in json.dumps(chart.data) for chart in charts), "the data have such a label"
    for chart in charts:
        assert "<a" not in json.dumps(chart.data)
        assert "</script" not in json.dumps(chart.data)


def test_every_chart_has_a_named_axis_and_a_table_with_the_same_numbers(stats):
    for chart in charts_of(stats):
        assert any(chart.layout[axis]["title"]["text"] for axis in ("xaxis", "yaxis")), chart.name
        assert chart.rows, chart.name
        assert {len(row) for row in chart.rows} == {len(chart.header)}, chart.name


@needs_plotly
def test_plotly_accepts_every_chart(stats):
    from plotly.graph_objects import Figure

    for chart in charts_of(stats):
        Figure(data=chart.data, layout=chart.layout)


@needs_plotly
def test_the_page_with_charts_is_below_eight_megabytes(text):
    assert Page(text).data()["charts"]
    assert len(text.encode()) < MOST_BYTES


def test_without_plotly_the_page_has_the_numbers_as_tables_and_says_how_to_get_charts(stats, monkeypatch):
    monkeypatch.setattr(page, "plotly_script", lambda: None)
    found = Page(render_page(stats, "a run"))
    assert "pip install 'linksyn-gpu[report]'" in found.texts
    assert found.data()["charts"] == []
    for chart in charts_of(stats):
        assert chart.title in found.texts
        assert chart.rows[0][-1] in found.texts


def test_every_reason_of_a_drop_has_an_example(stats):
    files = {"ingest": "rejects.jsonl", "synthesize": "dropped.parquet", "curate": "curate-dropped.parquet"}
    for stage, file in files.items():
        counts = stats.stages[stage]
        reasons = counts["rejected_by_reason" if stage == "ingest" else "dropped_by_reason"]
        assert set(reasons) <= set(stats.examples.get(file, {})), stage
    assert stats.examples["rejects.jsonl"]["duplicate_id"]["what"] == "seeds.jsonl, line 61"
    assert "TODO" in json.dumps(stats.examples["dropped.parquet"])


def test_samples_are_of_different_paths_with_their_seeds_and_are_copied_to_the_letter(text, stats):
    assert len({row["walk_id"] for row in stats.samples}) == len(stats.samples) > 3
    assert {row["difficulty"] for row in stats.samples} == {1, 2, 3, 4, 5}
    assert all([seed["id"] for seed in row["seeds"]] == row["seed_ids"] for row in stats.samples)
    assert all(NAME in seed["question"] for row in stats.samples for seed in row["seeds"])
    copied = Page(text).data()["samples"]
    names = ("question", "answer", "path", "seed_ids")
    assert [[row[name] for name in names] for row in copied] == [[row[name] for name in names] for row in stats.samples]


def test_the_counts_of_the_page_add_up(stats):
    assert stats.final.file == "curated.parquet"
    assert stats.final.rows == stats.final.by_cell.total() == stats.stages["curate"]["kept"]
    assert all(counts.total() == stats.final.rows for counts in stats.final.lengths.values())
    assert stats.paths.lengths.total() == stats.stages["walk"]["kept"]
    assert stats.paths.seed_use.total() == stats.stages["ingest"]["seeds"]
    assert stats.paths.expected.sum() == pytest.approx(stats.coverage.visits.sum())


def test_the_same_folder_gives_the_same_page(folder, text):
    with Workspace(folder, create=False, lock=False) as ws:
        assert render_page(gather(ws), "out") == text
