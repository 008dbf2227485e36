"""Merging of names: what merges, what stays apart, and that rules of the user override everything."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linksyn_gpu.errors import ConfigError, DataError
from linksyn_gpu.knowledge.merge.clusters import Link, complete_linkage
from linksyn_gpu.knowledge.merge.guards import veto
from linksyn_gpu.knowledge.merge.lookalike import slip
from linksyn_gpu.knowledge.merge.merge import Mention, merge_names
from linksyn_gpu.knowledge.merge.normal_form import merge_key, normal_form
from linksyn_gpu.knowledge.merge.rules import Rules, read_rules
from linksyn_gpu.knowledge.merge.synonyms import is_abbreviation, split_gloss, synonyms_in_text

sys.path.insert(0, str(Path(__file__).parents[2]))
from bench.merging import ROUNDS, canonical, quality, read_pairs, shipped, sides


def merged(*names, synonyms=(), **options):
    """Canonical name of each (name or (name, discipline))."""
    mentions = [Mention(*name) if isinstance(name, tuple) else Mention(name) for name in names]
    return merge_names(mentions, replace(shipped(), **options), synonyms)


@given(st.text(max_size=40))
def test_a_normal_form_has_single_spaces_and_a_key(name):
    form = normal_form(name)
    assert form == " ".join(form.split())
    assert isinstance(merge_key(form), str)


@given(st.lists(st.text("abcdefghijklmnopqrstuvwxyz光合作用的", min_size=1, max_size=12), max_size=5).map(" ".join))
def test_the_normal_form_of_words_without_capitals_is_its_own_normal_form(name):
    """Capitals carry meaning (AIDS, Po), and a normal form has none left; numbers may lose a sign."""
    assert normal_form(normal_form(name)) == normal_form(name)


def test_the_normal_form_of_every_labelled_name_without_capitals_is_its_own_normal_form():
    names = {p[side].casefold() for number in ROUNDS for p in read_pairs(ROUNDS[number]) for side in ("left", "right")}
    assert len(names) > 1000
    forms = {normal_form(name) for name in names}
    assert {normal_form(form) for form in forms if normal_form(form) != form} == set()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ｎewton's 2nd Laws", "newton second law"),
        ("$\\alpha$ decay", "α decay"),
        ("H$_2$O", "H<sub>2</sub>O"),
        ("2H_{2}O", "2H₂O"),
        ("光合 作用", "光合作用"),
        ("第十二章", "第12章"),
        ("U.S. Constitution", "US constitution"),
        ("Twenty-first Amendment", "21st amendment"),
        ("thirteenth amendment", "13th Amendment"),
        ("ganglia", "ganglion"),
        ("os\u2060mosis", "osmosis\u200e"),
        ("water\u200b", "water"),
        ("Na$^+$ pump", "Na⁺ pump"),
    ],
)
def test_spacing_case_width_plural_and_latex_do_not_change_the_normal_form(one, other):
    assert normal_form(one) == normal_form(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Co", "CO"),
        ("C", "C++"),
        ("x^2", "x^3"),
        ("AIDS", "aid"),
        ("-1", "1"),
        ("हिन्दी", "हिन्द"),
        ("type 1 1", "type 11"),
        ("5%", "5"),
        ("US", "us"),
        ("arms", "arm"),
        ("twenty one-cell stages", "21st cell stage"),
        ("目的地", "目地"),
        ("标的物", "标物"),
        ("乾坤", "干坤"),
    ],
)
def test_similar_names_of_different_things_have_different_keys(one, other):
    assert merge_key(normal_form(one)) != merge_key(normal_form(other))


@pytest.mark.parametrize(
    ("one", "other", "guard"),
    [
        ("first law of motion", "second law of motion", "number"),
        ("vitamin c", "vitamin d", "number"),
        ("monosaccharide", "disaccharide", "number"),
        ("equilibrium", "disequilibrium", "negation"),
        ("metal", "nonmetal", "negation"),
        ("hypertension", "hypotension", "affix"),
        ("sulfate", "sulfite", "affix"),
        ("supply curve", "demand curve", "antonym"),
        ("正弦定理", "余弦定理", "antonym"),
        ("金属", "非金属", "negation"),
        ("一元一次方程", "一元二次方程", "number"),
        ("law of cosines", "law of cosines", None),
    ],
)
def test_guards_name_the_difference(one, other, guard):
    assert veto(normal_form(one), normal_form(other)) == guard
    assert veto(normal_form(other), normal_form(one)) == guard


@pytest.mark.slow
def test_the_labelled_set_is_large_and_merging_is_precise_on_it():
    pairs = read_pairs()
    assert len(pairs) >= 400
    report = quality(pairs)
    for way in ("alone", "together"):
        assert report[way]["precision"] >= 0.97
        assert report[way]["recall"] >= 0.85


@pytest.mark.parametrize(("number", "precision", "recall"), [(2, 0.95, 0.90), (3, 0.86, 0.96)])
def test_precision_and_recall_on_the_later_pairs_are_those_of_the_docs(number, precision, recall):
    """docs/knowledge.md lists the wrong merges: mostly homographs that the table lacks."""
    pairs = read_pairs(ROUNDS[number])
    names = canonical(pairs)
    merged_pairs = [p for p in pairs if len({names[side] for side in sides(p)}) == 1]
    right = sum(p["same"] == "1" for p in merged_pairs)
    assert right >= precision * len(merged_pairs)
    assert right >= recall * sum(p["same"] == "1" for p in pairs)


@pytest.mark.parametrize("number", ROUNDS)
def test_numbers_negation_and_antonyms_of_the_labelled_sets_never_merge(number):
    kinds = ("numbers", "negation", "antonym")
    pairs = [p for p in read_pairs(ROUNDS[number]) if p["same"] == "0" and p["kind"] in kinds]
    names = canonical(pairs)
    assert [p for p in pairs if names[p["left"], None] == names[p["right"], None]] == []


def test_homographs_are_split_by_discipline_and_other_names_are_not():
    found = merged(("mercury", "chemistry"), ("Mercury", "astronomy"), ("energy", "physics"), ("energy", "biology"))
    assert found.canonical[:2] == ["mercury (element)", "Mercury (planet)"]
    assert found.canonical[2] == found.canonical[3] == "energy"
    assert merged(("mercury", "chemistry"), ("mercury", "medicine")).canonical == ["mercury", "mercury"]
    assert len(set(merged(("mercury", "chemistry"), "mercury (planet)").canonical)) == 2


def test_texts_state_abbreviations_and_aliases():
    forms = {"dna", "deoxyribonucleic acid", "normal distribution", "gaussian distribution"}
    said = synonyms_in_text("Deoxyribonucleic acid (DNA) is a molecule.", forms.__contains__)
    assert [(e.short, e.long, e.kind) for e in said] == [("dna", "deoxyribonucleic acid", "abbreviation")]
    found = merged("DNA", "deoxyribonucleic acid", synonyms=said)
    assert len(set(found.canonical)) == 1
    assert found.merges[0]["rule"] == "abbreviation"
    assert "Deoxyribonucleic acid (DNA" in found.merges[0]["detail"]
    assert len(set(merged("DNA", "deoxyribonucleic acid").canonical)) == 2  # nothing is guessed without a text
    also = synonyms_in_text("The normal distribution, also known as the Gaussian distribution, is.", forms.__contains__)
    assert [e.kind for e in also] == ["alias"]
    longer = "The bivariate normal distribution, also known as the Gaussian distribution."
    assert synonyms_in_text(longer, forms.__contains__) == []  # "normal distribution" is only part of that name


def test_an_abbreviation_of_two_names_merges_with_neither():
    names = ("CPA", "certified public accountant (CPA)", "critical path analysis (CPA)")
    found = merged(*names)
    assert len(set(found.canonical)) == 3
    assert found.counts["ambiguous_abbreviations"] == 1


@pytest.mark.parametrize(
    ("short", "long", "fits"),
    [
        ("DNA", "deoxyribonucleic acid", True),
        ("GDP", "gross domestic product", True),
        ("kg", "kilogram", True),
        ("NATO", "North Atlantic Treaty Organization", True),
        ("中共", "中国共产党", True),
        ("GDP", "gross national product", False),
        ("planet", "mercury", False),
        ("DNA", "ribonucleic acid", False),
    ],
)
def test_abbreviations_fit_their_long_forms(short, long, fits):
    assert is_abbreviation(short, long) is fits


def test_notes_in_brackets_are_classified():
    assert split_gloss("enthalpy (H)")[2] == "symbol"
    assert split_gloss("光合作用（photosynthesis）") == ("光合作用", "photosynthesis", "gloss")
    for name in ("mercury (planet)", "vitamin (C)", "hepatitis (B)", "f(x)", "()"):
        assert split_gloss(name) == (name, None, None)


def test_complete_linkage_does_not_chain():
    links = [Link(0, 1, "typo", 0.9), Link(1, 2, "typo", 0.8), Link(3, 4, "typo", 0.7)]
    clusters, refused = complete_linkage(links)
    assert clusters == [[0, 1], [3, 4]]
    assert refused == [links[1]]
    closed, _ = complete_linkage([*links, Link(0, 2, "typo", 0.6)])
    assert closed == [[0, 1, 2], [3, 4]]
    kept, _ = complete_linkage([Link(0, 1, "user", 2.0), Link(1, 2, "user", 2.0)], apart=[(0, 2)])
    assert kept == [[0, 1]]


def test_a_users_rules_win_over_guards_forms_and_titles():
    rules = Rules(
        same=[("first law", "second law")], apart=[("Cell", "cells")], titles={"first law": "The Laws"}, split={"set"}
    )
    found = merged("first law", "second law", "Cell", "cells", ("set", "mathematics"), ("set", "arts"), rules=rules)
    assert found.canonical[:2] == ["The Laws", "The Laws"]
    assert found.canonical[2] != found.canonical[3]
    assert found.canonical[4:] == ["set (mathematics)", "set (arts)"]


def test_the_undo_line_of_a_merge_undoes_it(tmp_path):
    names = ("isotope", "Isotopes", "colour theory", "color theory", "parallelogram law", "paralellogram law")
    first = merged(*names)
    assert {row["rule"] for row in first.merges} >= {"normal_form", "spelling"}
    file = tmp_path / "rules.tsv"
    file.write_text("# mine\n\n" + "\n".join(row["undo"] for row in first.merges) + "\n", encoding="utf-8")
    again = merged(*names, rules=read_rules(file))
    assert again.merges == []
    assert len(set(again.canonical)) == len(names)


@pytest.mark.parametrize("line", ["same\tone", "apart\ta\tb\tc", "merge\ta\tb", "same a b", "split\t"])
def test_an_invalid_rule_is_refused_with_its_line(tmp_path, line):
    file = tmp_path / "rules.tsv"
    file.write_text(f"split\tok\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"rules\.tsv:2"):
        read_rules(file)


def test_rules_that_contradict_each_other_are_refused():
    with pytest.raises(DataError, match="both 'same' and 'apart'"):
        Rules(same=[("a", "b"), ("b", "c")], apart=[("a", "c")])


def test_a_model_decides_doubtful_pairs_and_a_pair_without_an_answer_stays_doubtful():
    asked = []

    def decide(pairs):
        asked.extend((left.spelling, right.spelling) for left, right, _ in pairs)
        return [(True, 0.9) if "Calorimetry" in (left.spelling, right.spelling) else None for left, right, _ in pairs]

    names = ("Calorimetry", "Calorimetrie", "neutral zone", "neutron zone", "supply curve", "demand curve")
    found = merged(*names, decide=decide)
    assert found.canonical[0] == found.canonical[1]
    assert found.merges[0]["rule"] == "model"
    assert ("supply curve", "demand curve") not in asked
    assert found.counts["doubtful"] == len(found.doubtful) == len(asked) - 1


def test_pairs_by_meaning_are_doubtful_below_accept_similarity_and_guards_hold():
    names = ("heart attack", "myocardial infarction", "hyperthermia", "hypothermia")

    def neighbours(spellings):
        assert list(spellings) == list(names)
        return [(0, 1, 0.97), (2, 3, 0.99)]

    asked = merged(*names, neighbours=neighbours)
    assert [(row["left"], row["right"]) for row in asked.doubtful] == [("heart attack", "myocardial infarction")]
    sure = merged(*names, neighbours=neighbours, accept_similarity=0.95)
    assert sure.canonical[0] == sure.canonical[1]
    assert sure.canonical[2] != sure.canonical[3]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("photosynthetic", "photosythetic", True),
        ("embarrassment", "embarasment", True),
        ("desert", "dessert", False),
        ("neuron", "neutron", False),
        ("macroeconomic", "macroeconomics", False),
        ("chloromethane", "chloroethane", False),
    ],
)
def test_a_dropped_letter_or_doubled_letters_in_a_long_word_are_a_typo(one, other, same):
    assert slip(one, other) is slip(other, one) is same


def test_vectors_merge_names_with_one_stem_earlier_and_never_names_that_the_model_cannot_tell_apart():
    names = ("climate policy", "climatic policy", "cardiac muscle", "heart tissue", "Co", "CO")
    pairs = [(0, 1, 0.88), (2, 3, 0.88), (4, 5, 1.0)]
    found = merged(*names, neighbours=lambda spellings: pairs, accept_similarity=0.93)
    assert found.canonical[0] == found.canonical[1]
    assert len(set(found.canonical[2:])) == 4


def test_vectors_of_chinese_names_are_not_used_if_the_model_cannot_read_them():
    names = ("细胞膜", "细胞壁", "动能定理", "动量定理", "heart muscle", "cardiac muscle")
    pairs = [(0, 1, 1.0), (2, 3, 0.98), (4, 5, 0.95)]
    found = merged(*names, neighbours=lambda spellings: pairs, accept_similarity=0.93)
    assert len(set(found.canonical)) == 5
    assert found.canonical[4] == found.canonical[5]
    assert found.counts["pairs_of_unread_script"] == 2


def initials_of(cosine, *names, **options):
    """Merging in which the first name has this cosine with all others."""
    one = np.array([1.0, 0.0], np.float32)
    other = np.array([cosine, np.sqrt(1 - cosine**2)], np.float32)
    return merged(
        *names,
        neighbours=lambda spellings: [],
        vectors=lambda wanted: {name: one if name == names[0] else other for name in wanted},
        **options,
    )


@pytest.mark.parametrize(("cosine", "accept", "kps"), [(0.45, 0.93, 1), (0.35, 0.93, 2), (0.45, None, 2)])
def test_an_abbreviation_by_initials_merges_if_the_vectors_agree_else_it_is_doubtful(cosine, accept, kps):
    found = initials_of(cosine, "TEM", "transmission electron microscopy", accept_similarity=accept)
    assert len(set(found.canonical)) == kps
    assert [row["why"] for row in found.doubtful] == ["initials"] * (kps - 1)


@pytest.mark.parametrize(
    "names",
    [
        ("TEM", "transmission electron microscopy", "total energy method"),  # two names with these initials
        ("EM", "electron microscopy"),  # too short
        ("Tem", "transmission electron microscopy"),  # a word
    ],
)
def test_initials_that_do_not_decide_merge_nothing(names):
    assert len(set(initials_of(0.6, *names, accept_similarity=0.93).canonical)) == len(names)


def test_a_misspelled_name_joins_the_synonyms_of_the_right_one():
    found = merged("photosynthesis", "photosythesis", "光合作用（photosynthesis）", "光合作用")
    assert len(set(found.canonical)) == 1


def test_an_ordinal_before_a_name_is_a_number_after_it():
    assert len(set(merged("Second Punic War", "Punic War II", "2nd Punic War").canonical)) == 1
    assert len(set(merged("Second Punic War", "Punic War I").canonical)) == 2
    assert len(set(merged("2 phase", "phase 2").canonical)) == 2
