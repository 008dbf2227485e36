"""Entries of glossaries as texts write them, and words that are common language and not knowledge."""

import numpy as np
import pytest

from linksyn_gpu.knowledge.extract.common_words import general_frequency, weirdness
from linksyn_gpu.knowledge.extract.entry import spellings
from linksyn_gpu.knowledge.extract.glossary import Glossary, Term, read_glossary
from linksyn_gpu.knowledge.extract.selection import find_terms

FILLER = "The students read a short passage about the history of this city and discuss it with their teacher."


def found(text, *entries):
    return [entries[place] for place in Glossary(map(Term, entries)).find(text)]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("mean (arithmetic)", "the mean of it"),
        ("mean (arithmetic)", "an arithmetic mean"),
        ("frequency (f)", "its frequency"),
        ("confidence interval (CI)", "a 95% CI"),
        ("confidence interval (CI)", "two CIs"),
        ("Confidence Interval (CI)", "confidence intervals"),
        ("error bound for a population mean (EBM)", "the EBM is"),
        ("degrees of freedom (df)", "with df 9"),
        ("regression, linear", "linear regression"),
        ("均值（算术）", "求均值"),
        ("find()", "text.find('a')"),
    ],
)
def test_an_entry_is_found_as_texts_write_it(entry, text):
    assert found(text, entry) == [entry]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("frequency (f)", "let f be"),
        ("confidence interval (CI)", "the ci of"),
        ("degrees of freedom (df)", "the DF of"),
        ("civil war (US)", "in the US"),
        ("find()", "find the mean"),
        ("regression, linear", "a regression"),
        ("F", "the F test"),
    ],
)
def test_a_symbol_a_qualifier_or_another_case_of_an_abbreviation_is_not_the_entry(entry, text):
    assert found(text, entry) == []


def test_a_head_that_two_qualified_entries_share_is_neither_of_them():
    entries = ("mean (arithmetic)", "mean (geometric)")
    assert found("the mean, the geometric mean", *entries) == ["mean (geometric)"]
    assert found("the mean", *entries, "mean") == ["mean"]


def test_two_entries_with_one_head_are_found_as_the_first():
    assert found("a confidence interval and its CI", "confidence interval", "Confidence interval (CI)") == [
        "confidence interval"
    ]


def test_the_main_spelling_comes_first():
    assert [spelling.text for spelling in spellings("random variable (RV)")] == ["random variable", "RV"]


@pytest.fixture
def glossary():
    computing = [Term(word, (), ("computing",)) for word in ("and", "not", "type", "loop", "function")]
    return Glossary([*computing, Term("force", (), ("physics",)), Term("cell", (), ("biology",))])


def bank(extra):
    """40 seeds of each discipline, each with its own words."""
    own = {
        "computing": "Which type of loop calls the function, and why not another one in its place?",
        "physics": "Which type of force acts, and why not friction? Find the force.",
        "biology": "Which type of cell divides? Name the cell.",
        "history": f"Which type of document is it? {FILLER}",
    }
    return [(f"{text} {FILLER} {extra.get(name, '')}", name) for name, text in own.items() for _ in range(40)]


def test_common_words_take_no_place_and_terms_keep_theirs(glossary):
    seeds = bank({"history": "They loop and force it."})
    names = {discipline: terms for (_, discipline), terms in zip(seeds, find_terms(seeds, glossary, 8), strict=True)}
    assert names["physics"] == ["force"]
    assert names["computing"] == ["loop", "function"]
    assert names["biology"] == ["cell"]


def test_a_common_word_that_another_discipline_uses_far_more_than_the_language_is_a_term_there(glossary):
    names = list(find_terms(bank({"biology": "A force, the force."}), glossary, 8))
    assert names[80] == ["cell", "force"]


def test_the_terms_of_the_own_discipline_come_first_when_places_are_few():
    words = [Term(f"alien{n}word", (), ("other",)) for n in range(8)] + [Term("mitochondrion", (), ("biology",))]
    text = " ".join(term.name for term in words)
    assert next(find_terms([(text, "biology")], Glossary(words), 1)) == ["mitochondrion"]


def test_the_selection_does_not_depend_on_the_order_of_the_seeds(glossary):
    seeds = bank({})
    forward = list(find_terms(seeds, glossary, 8))
    backward = list(find_terms(seeds[::-1], glossary, 8))
    assert forward == backward[::-1]


def test_no_seed_and_no_term_are_allowed(glossary):
    assert list(find_terms([], glossary, 8)) == []
    assert list(find_terms([("a text", "")], Glossary([]), 8)) == [[]]


def test_weirdness_divides_by_the_median_of_the_disciplines_or_by_general_language():
    seeds_with, words, seeds = np.array([[9, 3, 3], [1, 0, 0]]), np.array([300, 300, 300]), np.array([40, 40, 40])
    assert weirdness(seeds_with, words, seeds, np.array([0.0, 1 / 300])) == pytest.approx(
        np.array([[3.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    )
    few = np.array([40, 40, 2])
    assert np.isinf(weirdness(seeds_with, words, few, np.array([0.0, 0.0]))[0]).all()


def test_general_frequency_knows_both_languages_and_plurals():
    assert general_frequency("the") > general_frequency("cells") == general_frequency("cell") > 0
    assert general_frequency("问题") > 1e-4 > general_frequency("等差数列")


def test_a_term_of_two_glossaries_belongs_to_both_disciplines(tmp_path):
    path = tmp_path / "glossary.jsonl"
    path.write_text(
        '{"term": "class", "discipline": "computing"}\n{"discipline": "sociology", "key_terms": [{"term": "class"}]}\n'
    )
    assert read_glossary(path, str.upper).disciplines == [("COMPUTING", "SOCIOLOGY")]


# ------------------------------------------------------------------ key phrases

SUBJECTS = [
    "mitochondria",
    "ribosomes",
    "chloroplasts",
    "lysosomes",
    "chromosomes",
    "antibodies",
    "neurons",
    "hormones",
    "arteries",
    "enzymes",
]
SENTENCES = (
    "{} matter to every organism.", "Some say that {} decide this.", "Do you know {}?", "It depends on {}.",
    "Many books describe {} at length.", "Not all {} look alike.", "Here are {}.", "Without {} nothing works.",
    "Where would one look for {} first?", "Few people have seen {} at work.",
)  # fmt: skip


@pytest.fixture
def phrases():
    """Names of all seeds of a bank, in small letters."""
    pytest.importorskip("yake")
    pytest.importorskip("jieba")
    from linksyn_gpu.knowledge.extract.keyphrases import find_keyphrases

    def names(texts, language="en", disciplines=("",)):
        seeds = [(text, language, disciplines[n % len(disciplines)]) for n, text in enumerate(texts)]
        return {name.casefold() for found in find_keyphrases(seeds, 8) for name in found}

    return names


def exercises(frame):
    """Each sentence with each subject, in a frame with `{sentence}` and a number `{n}`."""
    pairs = [(sentence, subject) for sentence in SENTENCES for subject in SUBJECTS]
    return [frame.format(sentence=sentence.format(subject), n=n + 2) for n, (sentence, subject) in enumerate(pairs)]


def test_words_of_one_frame_are_the_wording_of_the_bank(phrases):
    names = phrases(exercises("Watch this video to learn more. {sentence} See Figure {n}."))
    assert not {"watch", "video", "learn", "figure"} & names
    assert set(SUBJECTS) <= names


def test_counted_things_are_left_out(phrases):
    names = phrases(exercises("{sentence} Bob counts {n} marbles"))
    assert "marbles" not in names
    assert set(SUBJECTS) <= names


def test_chinese_headings_of_exercises_are_left_out(phrases):
    subjects = ("等差数列", "直角三角形", "概率", "不等式", "函数", "平行四边形", "圆周率", "二次函数", "椭圆")
    names = phrases([f"短文改错（每小题{n}分）。关于{name}，求证。" for n, name in enumerate(subjects, 1)], "zh")
    assert not {"短文", "改错", "短文改错", "小题"} & names
    assert {"等差数列", "概率"} <= names


def test_words_that_all_disciplines_use_are_left_out(phrases):
    disciplines = ("botany", "anatomy", "genetics")
    own = [(n, SENTENCES[n % 10].format(f"{disciplines[n % 3]} cells")) for n in range(120)]
    worksheets = ("A worksheet asks it.", "Take your worksheet.", "What else does the worksheet say?", "No worksheet!")
    names = phrases([f"{text} {worksheets[n % 4]}" for n, text in own], disciplines=disciplines)
    assert "worksheet" not in names
    assert any("botany" in name for name in names)
