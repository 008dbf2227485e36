"""Near-duplicates against a slow version that compares all pairs, and the choice of what is kept."""

import itertools
import random
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linksyn_gpu.quality.duplicates import clusters_of, compared_text
from linksyn_gpu.quality.select import best_first, best_of_cells, representatives
from linksyn_gpu.text.ngrams import gram_sets

WORDS = [
    "force",
    "mass",
    "energy",
    "heat",
    "work",
    "cell",
    "gene",
    "acid",
    "base",
    "salt",
    "law",
    "court",
    "bond",
    "price",
    "sum",
    "root",
]


def grams(text):
    """The documented rule, in Python: runs of words and signs, and runs of Chinese characters."""
    tokens = re.findall(r"[\u4e00-\u9fff]|[^\W_\u4e00-\u9fff]+|[-+=<>*/%^|\\$]", text.casefold())
    found = set()
    for _, group in itertools.groupby(tokens, key=lambda token: "\u4e00" <= token <= "\u9fff"):
        run = list(group)
        width = min(3, len(run))
        found |= {tuple(run[i : i + width]) for i in range(len(run) - width + 1)}
    return found


def index(a, b):
    return len(a & b) / len(a | b) if a | b else 0.0


def slow_clusters(texts, threshold=0.8):
    sets = [grams(text) for text in texts]
    parent = list(range(len(texts)))

    def find(row):
        while parent[row] != row:
            row = parent[row]
        return row

    for a, b in itertools.combinations(range(len(texts)), 2):
        if index(sets[a], sets[b]) >= threshold:
            x, y = sorted((find(a), find(b)))
            parent[y] = x
    return [find(row) for row in range(len(texts))]


def sample(rng, n):
    texts = []
    for _ in range(n):
        if texts and rng.random() < 0.5:
            words = rng.choice(texts).split()
            words[rng.randrange(len(words))] = rng.choice(WORDS)
            texts.append(" ".join(words))
        else:
            texts.append(" ".join(rng.choices(WORDS, k=rng.randint(8, 40))))
    return texts


@pytest.mark.parametrize("seed", range(5))
def test_clusters_are_those_of_all_pairs(seed):
    texts = sample(random.Random(seed), 120)
    assert clusters_of(texts).tolist() == slow_clusters(texts)


@given(st.lists(st.text("ab 中文字-+=.，$AB", max_size=14), max_size=12))
def test_n_grams_follow_the_rule(texts):
    sets = gram_sets(texts, 3)
    expected = [len(grams(text)) for text in texts]
    assert sets.sizes.tolist() == expected
    for row in range(len(texts)):
        own = sets.grams[sets.indptr[row] : sets.indptr[row + 1]]
        assert (np.diff(own.astype(object)) > 0).all(), "hashes ascend"


def test_case_width_spaces_and_punctuation_make_no_difference_but_numbers_and_signs_do():
    same = ["What is the mass of 3 kg + 4 kg of iron in all?", "what is the  MASS of ３ kg + 4 kg of iron, in all"]
    other = [
        same[0].replace("+", "-").replace("4", "7"),
        "水的沸点是多少？在标准大气压下。",
        "水的沸点是多少 在标准大气压下",
    ]
    assert clusters_of([*same, *other]).tolist() == [0, 0, 2, 3, 3]


def test_texts_without_a_token_are_like_no_other():
    assert clusters_of(["", "?!", "", "..."]).tolist() == [0, 1, 2, 3]
    assert clusters_of([]).tolist() == []


def test_options_are_compared_too():
    stem = "Which of the following statements about the cell is true?"
    one, two = (compared_text(stem, [f"{word} {n}" for word in WORDS[:4]]) for n in (1, 2))
    assert clusters_of([one, two, one]).tolist() == [0, 1, 0]


@given(st.integers(0, 10**6))
def test_the_choice_does_not_depend_on_the_order_of_the_rows(seed):
    rng = np.random.default_rng(seed)
    n = 40
    ids = np.array([f"id{i:03}" for i in range(n)])
    rank, cell, cluster = rng.integers(0, 5, n), rng.integers(0, 3, n), rng.integers(0, 15, n)

    def chosen(order):
        first = best_first(rank[order], ids[order].tolist())
        single = representatives(cluster[order], first) == np.arange(n)
        keep = best_of_cells(np.where(single, cell[order], -1), first, [2, 3, 100])
        return set(ids[order][keep].tolist())

    expected = chosen(np.arange(n))
    assert chosen(rng.permutation(n)) == expected
    kept = [int(i[2:]) for i in expected]
    assert len(set(cluster[kept])) == len(kept), "two of one cluster"
    assert (np.bincount(cell[kept], minlength=3) <= [2, 3, 100]).all()


def test_a_cluster_with_a_seed_has_no_representative():
    cluster = np.array([0, 1, 0, 3, 3])  # two seeds, then three rows
    assert representatives(cluster, np.array([2, 1, 0]), n_others=2).tolist() == [-1, 2, 2]
