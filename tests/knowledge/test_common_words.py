"""Spellings of glossary entries, and words that are common in the seeds of a discipline."""

import numpy as np
import pytest

from linksyn_gpu.knowledge.extract.common_words import general_frequency, is_term
from linksyn_gpu.knowledge.extract.entry import spellings
from linksyn_gpu.knowledge.extract.glossary import Glossary, Term
from linksyn_gpu.knowledge.extract.selection import find_terms, without_common_words


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("mean (arithmetic)", {"mean", "arithmetic mean"}),
        ("confidence interval (CI)", {"confidence interval", "CI"}),
        ("frequency (f)", {"frequency"}),
        ("regression, linear", {"regression, linear", "linear regression"}),
        ("find()", {"find("}),
        ("supply and demand", {"supply and demand"}),
    ],
)
def test_an_entry_has_the_spellings_that_texts_use(entry, expected):
    assert {spelling.text for spelling in spellings(entry)} == expected


@pytest.mark.parametrize(
    ("text", "entry", "found"),
    [
        ("the 95% confidence interval is wide", "confidence interval (CI)", True),
        ("a CI of two", "confidence interval (CI)", True),
        ("a ci of two", "confidence interval (CI)", False),
        ("the arithmetic mean of these", "mean (arithmetic)", True),
        ("the frequency of a note", "frequency (f)", True),
        ("f of x", "frequency (f)", False),
        ("use linear regression here", "regression, linear", True),
        ("call text.find('a')", "find()", True),
        ("find the sum", "find()", False),
    ],
)
def test_entries_with_a_qualifier_are_found_as_texts_write_them(text, entry, found):
    assert bool(Glossary([Term(entry)]).find(text)) == found


def test_a_qualifier_that_two_entries_have_means_neither():
    glossary = Glossary([Term("mean (arithmetic)"), Term("mean (geometric)")])
    assert glossary.find("the mean of these") == []
    assert [glossary.names[i] for i in glossary.find("the geometric mean")] == ["mean (geometric)"]


def counts(*numbers):
    return np.array(numbers, np.int64)


def test_a_function_word_is_never_a_term_and_a_rare_word_always():
    every = np.ones(2, bool)
    assert not is_term(counts(90, 90), counts(100, 100), counts(9, 9), general_frequency("and"), every).any()
    assert is_term(counts(1, 0), counts(10**6, 10**6), counts(9, 9), general_frequency("mitochondrion"), ~every).all()


def test_a_common_word_is_a_term_where_it_is_much_more_frequent_than_elsewhere():
    words, seeds = counts(10**5, 10**5, 10**5), counts(1000, 1000, 1000)
    terms = is_term(counts(500, 3, 2), words, seeds, general_frequency("force"), np.zeros(3, bool))
    assert terms.tolist() == [True, False, False]


def bank(n=60):
    """Physics speaks of force; every discipline says 'type'."""
    for i in range(n):
        yield f"Which type of force acts on body {i}? The force is a push.", "physics"
        yield f"Which type of contract binds party {i}? The party pays.", "law"
        yield f"Which type of verse has line {i}? The line rhymes.", "literature"


def test_common_words_of_a_glossary_do_not_take_the_places_of_terms():
    glossary = Glossary([Term("type"), Term("of"), Term("force", (), ("physics",)), Term("contract", (), ("law",))])
    found = list(find_terms(bank(), glossary, 1))
    assert found[0::3] == [["force"]] * 60
    assert found[1::3] == [["contract"]] * 60
    assert found[2::3] == [[]] * 60


def test_key_phrases_of_common_words_alone_are_left_out():
    phrases = [["type", "push force"], ["type", "contract"], ["verse type", "type"]] * 60
    found = list(without_common_words(phrases, bank(), 8))
    assert found[0] == ["push force"]
    assert "type" not in [name for names in found for name in names]


def test_the_result_does_not_depend_on_the_order_of_seeds():
    seeds = list(bank(20))
    glossary = Glossary([Term("force"), Term("contract"), Term("line")])
    forward = list(find_terms(seeds, glossary, 8))
    assert list(find_terms(seeds[::-1], glossary, 8))[::-1] == forward
