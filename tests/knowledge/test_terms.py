"""Glossary terms and key phrases in texts without formulas, markup and code."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linksyn_gpu.errors import ConfigError, DataError
from linksyn_gpu.knowledge.extract.glossary import Glossary, Term, read_glossary
from linksyn_gpu.knowledge.extract.plain_text import JOINT, is_name, plain_text
from linksyn_gpu.knowledge.extract.selection import find_terms


def found(text, *terms):
    glossary = Glossary(Term(*term) if isinstance(term, tuple) else Term(term) for term in terms)
    return next(find_terms([(text, "")], glossary, 100))


def test_the_longest_term_wins_and_its_parts_are_not_found():
    terms = ("mass", "atomic mass", "average atomic mass")
    assert found("The average atomic masses of boron", *terms) == ["average atomic mass"]
    assert found("atomic mass, then mass", *terms) == ["atomic mass", "mass"]


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("two Isotopes of it", "isotope"),
        ("its colour", "color"),
        ("Newton’s laws", "Newton's law"),
        ("half life", "half-life"),
        ("the rate constant here", "rate constant (k)"),
        ("the ER is rough", "endoplasmic reticulum (ER)"),
        ("求光合作用的产物", "光合作用"),
        ("遺傳學", "遗传学"),
        ("AIDS is", "AIDS"),
    ],
)
def test_terms_are_found_in_other_forms(text, term):
    assert found(text, term) == [term]


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("it aids us", "AIDS"),
        ("who is it", "WHO"),
        ("interest. rate", "interest rate"),
        ("massive", "mass"),
        ("interest $x$ rate", "interest rate"),
        ("`sort` the list", "sort"),
        ("<code>heap</code>", "heap"),
        ("\\frac{sum}{n}", "sum"),
        ("https://force.org/mass", "mass"),
    ],
)
def test_a_different_word_or_removed_part_is_not_a_term(text, term):
    assert found(text, term) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("costs $5 and $10 a unit", "costs $5 and $10 a unit"),
        ("let $x^2 + y$ be", "let be"),
        ("a <b>bold</b> word", "a bold word"),
        ("a &lt; b &amp; c", "a < b & c"),
        ("$$\\sum_{i}x_i$$ 的值", "的值"),
        ("before\n```python\nimport os\n```\nafter", "before after"),
        ("x = 3 is", "x = 3 is"),
        ("unclosed $x and more", "unclosed $x and more"),
        ("\\text{velocity} grows", "velocity grows"),
    ],
)
def test_plain_text_keeps_words_and_drops_formulas(text, words):
    kept = " ".join(plain_text(text).replace("\u241f", " ").split())
    assert kept == words


@pytest.mark.parametrize(
    "name",
    [
        "$x$",
        "\\frac{1}{2}",
        "12",
        "x",
        "",
        "a < b <c>",
        "What is it?",
        "http://a.b",
        "A long ton is defined as exactly 2240 lb.",
        "pressure is directly proportional to",
        "rate of",
    ],
)
def test_markup_numbers_and_sentences_are_not_names(name):
    assert not is_name(name)


@pytest.mark.parametrize("name", ["pH", "C++ language", "力", "光合作用", "Newton's second law", "U.S. Constitution"])
def test_names_are_recognised(name):
    assert is_name(name)


@pytest.mark.timeout(120)
def test_the_search_in_a_megabyte_ends_with_50_000_terms():
    glossary = Glossary(Term(f"term{i} of kind{i % 97}") for i in range(50_000))
    text = "plain words and term17 of kind17, or term42 of something; " * 18_000
    assert glossary.find(text) == [17]


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        (["spin " * 500 + "end"], "spin " * 50_000),
        (["end " + "spin " * 500], "spin " * 50_000),
        (["spin", "spin " * 500 + "end"], "spin " * 50_000),
        ([f"{'spin ' * n}end" for n in range(1, 200)], "spin " * 50_000),
        ([f"{'a b ' * n}c" for n in range(1, 100)] + ["b", "a"], "a b " * 25_000),
        (["甲" * 400 + "乙", "乙" + "甲" * 300], "甲" * 50_000),
        (["甲" * n for n in range(1, 100)], "甲" * 5_000),
    ],
    ids=["prefix", "suffix", "short and prefix", "many prefixes", "period of two", "characters", "nested"],
)
@pytest.mark.timeout(120)
def test_the_search_ends_where_many_terms_overlap(terms, text):
    """A search that began again at each word would take minutes."""
    found = Glossary(map(Term, terms)).find(text)
    assert all(0 <= place < len(terms) for place in found)


WORDS = st.lists(st.sampled_from(["a1", "b1", "c1", "AB"]), min_size=1, max_size=4).map(" ".join)


@given(st.lists(WORDS, max_size=8), st.lists(st.sampled_from(["a1", "b1", "c1", "AB", "ab"]), max_size=14))
def test_the_search_finds_what_trying_every_term_finds(terms, words):
    """Take the longest term that begins at each word; the term AB matches only in capitals."""
    found, at = [], 0
    while at < len(words):
        fitting = [
            term
            for term in terms
            if (parts := term.split())
            and (
                words[at : at + 1] == parts == ["AB"]
                or (parts != ["AB"] and folded(words[at : at + len(parts)], parts))
            )
        ]
        best = max(fitting, key=lambda term: len(term.split()), default=None)
        found += [best] if best is not None and best not in found else []
        at += 1 if best is None else len(best.split())
    glossary = Glossary(map(Term, dict.fromkeys(terms)))
    assert [glossary.names[place] for place in glossary.find(" ".join(words))] == found


def folded(words, parts):
    return [word.casefold() for word in words] == [part.casefold() for part in parts]


def test_all_forms_of_glossaries_are_read(tmp_path):
    file = tmp_path / "terms.jsonl"
    rows = [
        {"term": "mass", "aliases": ["heaviness"]},
        {"key_terms": [{"term": "force", "meaning": "a push"}], "inline_terms": ["pull"]},
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert read_glossary(file).names == ["mass", "force", "pull"]
    plain = tmp_path / "terms.txt"
    plain.write_text("mass\n\nforce\n", encoding="utf-8")
    assert read_glossary(plain).names == ["mass", "force"]


def test_only_line_breaks_separate_terms(tmp_path):
    file = tmp_path / "terms.txt"
    file.write_text("\ufeffmass\u2028action\r\nforce\n", encoding="utf-8", newline="")
    assert read_glossary(file).names == ["mass\u2028action", "force"]


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"term": ' + "1" * 5000 + "}", "[]", "{", '{"name": "x"}', '{"term": ""}', '{"term": 3}']
)
def test_an_invalid_glossary_line_is_refused_with_its_number(tmp_path, line):
    file = tmp_path / "terms.jsonl"
    file.write_text(f'{{"term": "ok"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"terms\.jsonl:2"):
        read_glossary(file)
    with pytest.raises(ConfigError, match=r"\.jsonl or \.txt"):
        read_glossary(tmp_path / "terms.csv")


def test_openstax_terms_are_found_where_the_seeds_have_them(real_data):
    from linksyn_gpu.knowledge.merge.normal_form import merge_key, normal_form

    glossary = read_glossary(real_data("openstax_key_terms.jsonl"))
    keys = {merge_key(normal_form(name)) for name in glossary.names}
    total = hit = 0
    for line in real_data("seed_openstax_en.jsonl").read_text(encoding="utf-8").splitlines():
        seed = json.loads(line)
        text = plain_text("\n".join([seed["question"], *seed["options"], seed["answer"]]))
        mine = {merge_key(normal_form(glossary.names[place])) for place in glossary.find(text)}
        given = {merge_key(normal_form(kp)) for kp in seed["knowledge_points"] if kp != seed.get("section")} & keys
        total, hit = total + len(given), hit + len(given & mine)
    assert hit >= 0.95 * total


@pytest.fixture
def phrases():
    """Key phrases of one text."""
    pytest.importorskip("yake")
    pytest.importorskip("jieba")
    from linksyn_gpu.knowledge.extract.keyphrases import find_keyphrases

    return lambda text, language="en", most=8: next(find_keyphrases([(text, language, "")], most))


def test_key_phrases_of_both_languages(phrases):
    english = "Why does expansionary monetary policy lower interest rates? Solve $x^2 = 4$."
    chinese = "求一元二次方程的根与系数的关系，光合作用在叶绿体中进行。$$x^2$$"
    one, two, none = phrases(english, most=6), phrases(chinese, "zh", 6), phrases("$$x^2$$")
    assert any("monetary policy" in phrase for phrase in one)
    assert {"光合作用", "一元二次方程"} <= set(two)
    assert none == []
    assert not [phrase for phrase in (*one, *two) if "$" in phrase or "^" in phrase]


def test_no_phrase_crosses_a_line_or_contains_the_label_of_an_option(phrases):
    text = "Slavery in the South resembled\nchattel slavery\ndebt bondage\nrelative poverty\nA. chattel slavery"
    found = phrases(text, most=20)
    assert {"chattel slavery", "debt bondage", "relative poverty"} <= set(found)
    assert not [phrase for phrase in found if any(torn in phrase for torn in ("slavery debt", "bondage rel", "A."))]


@pytest.mark.parametrize(
    ("text", "kept", "dropped"),
    [
        ("Calculate the mass. Explain atomic number.", {"mass", "atomic number"}, {"Calculate", "Explain"}),
        ("Deposits were found by Glenn Seaborg in natural uranium.", {"Glenn Seaborg"}, {"found", "found by Glenn"}),
        ("Boyle's law holds and doesn't melt ice.", {"Boyle's law"}, {"Boyle 's law", "n't melt", "n't"}),
        ("Two odd numbers. True\nFalse\nB. False", {"odd numbers"}, {"True", "False", "False B. False", "Two"}),
        ("The average kinetic energy of a gas", {"kinetic energy"}, {"average kinetic", "kinetic"}),
        ("The pressure exerted is high.The total pressure", {"total pressure"}, {"pressure exerted", "high.The"}),
        ("Bacteria such as E. coli live in the intestine.", {"intestine"}, {"intestine.", "coli live."}),
    ],
)  # fmt: skip
def test_verbs_of_exercises_and_cut_phrases_are_left_out(phrases, text, kept, dropped):
    found = set(phrases(text, most=20))
    assert kept <= found
    assert not dropped & found


@pytest.mark.parametrize(
    ("text", "kept", "dropped"),
    [
        ("在平面直角坐标系中，点不可能在第二象限．", {"直角坐标系"}, {"直角坐标"}),
        ("该三角形是等腰三角形，但不是直角三角形", {"等腰三角形", "直角三角形"}, {"等腰三角", "直角三角"}),
        ("观察函数图象，求函数的单调区间", {"函数"}, {"函数图"}),
        ("已知4个质数的积是它们和的11倍", {"质数"}, {"积是"}),
        ("小明和阳阳比赛，甲乙两人的速度", {"速度"}, {"小明", "阳阳", "甲乙"}),
        ("甲距离出发地后一刻也不停留，骑自行车的乙先到", {"自行车"}, {"甲距", "地后", "乙先"}),
    ],
)
def test_parts_of_words_and_persons_are_not_chinese_key_phrases(phrases, text, kept, dropped):
    found = set(phrases(text, "zh", 20))
    assert kept <= found
    assert not dropped & found


def test_a_term_that_looks_like_a_plural_is_found_only_as_written():
    assert found("more of the following", "mores") == []
    assert found("The mores of a society", "mores") == ["mores"]


def test_no_term_crosses_the_joint_of_two_texts():
    assert found(JOINT.join(["debt", "bondage"]), "debt bondage") == []


def test_a_glossary_of_capitals_only_and_an_alphabet_beyond_the_surrogates_work():
    assert found("the ER and DNA", "DNA", "ER") == ["ER", "DNA"]
    glossary = Glossary(Term(f"word{n}") for n in range(60_000))
    assert glossary.find("word55500 word59999 word1 other") == [55500, 59999, 1]
